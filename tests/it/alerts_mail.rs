//! Alerts as mails: to a relay without TLS, and with a password over STARTTLS or TLS from the start.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::alerts::{Rules, fail, target, tried};
use crate::cluster_tls::certificates;
use crate::support::{PATIENCE, Server, command};

const PASSWORD: &str = "a secret of the mail server";

/// The side of a mail server: it answers each command, notes what it was told, and checks the password.
#[derive(Default)]
struct MailServer {
    told: Vec<String>,
    /// What it offers after `EHLO`.
    offers: &'static str,
}

impl MailServer {
    /// Talks until the mail is taken; returns the stream when the client asks for TLS before that.
    async fn talk<S: AsyncRead + AsyncWrite + Unpin>(&mut self, stream: S) -> Option<S> {
        let mut stream = BufReader::new(stream);
        let mut is_data = false;
        let mut line = String::new();
        loop {
            line.clear();
            if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                return None;
            }
            let text = line.trim_end().to_owned();
            let answer = match text.as_str() {
                "." => "250 ok\r\n".to_owned(),
                _ if is_data => String::new(),
                "DATA" => "354 go on\r\n".to_owned(),
                "STARTTLS" => "220 go on\r\n".to_owned(),
                "QUIT" => "221 bye\r\n".to_owned(),
                _ if text.starts_with("EHLO") => format!("250-relay\r\n250 {}\r\n", self.offers),
                // AUTH PLAIN: an empty name, the user, the password, in Base64.
                _ if text.starts_with("AUTH PLAIN ") => match is_right(&text["AUTH PLAIN ".len()..]) {
                    true => "235 welcome\r\n".to_owned(),
                    false => "535 wrong password\r\n".to_owned(),
                },
                _ => "250 ok\r\n".to_owned(),
            };
            is_data = text == "DATA" || (is_data && text != ".");
            self.told.push(text.clone());
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream.flush().await.unwrap();
            match text.as_str() {
                "STARTTLS" => return Some(stream.into_inner()),
                "." | "QUIT" => return None,
                _ => {}
            }
        }
    }
}

fn is_right(credentials: &str) -> bool {
    use base64::Engine as _;
    let plain = base64::engine::general_purpose::STANDARD.decode(credentials).unwrap();
    plain == format!("\0ops\0{PASSWORD}").as_bytes()
}

#[tokio::test]
async fn a_mail_arrives_and_no_text_adds_a_header() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("smtp://127.0.0.1:{}", listener.local_addr().unwrap().port());
    let mails = tokio::spawn(async move {
        let mut server = MailServer { offers: "8BITMIME", ..MailServer::default() };
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"220 relay\r\n").await.unwrap();
        server.talk(stream).await;
        server.told
    });
    let more =
        "from = \"sessionwatch <sw@example.com>\"\nto = [\"ops@example.com\", \"b@example.com\"]\nallow_private = true";
    let server = Rules::new(&target("mail", "email", &url, more)).server(&[]).await;
    fail(&server, "nightly").await;
    let mail = tokio::time::timeout(PATIENCE, mails).await.unwrap().unwrap();
    assert!(mail.contains(&"Subject: [sessionwatch] 1 job of backup failed".to_owned()), "{mail:?}");
    assert!(mail.iter().any(|line| line.starts_with("RCPT TO:<b@example.com>")), "{mail:?}");
    let alert = tried(&server, "mail").await;
    assert_eq!((&alert["state"], &alert["answer"]), (&json!("delivered"), &json!("SMTP 250")));
    let id = alert["id"].as_str().unwrap();
    assert!(mail.contains(&format!("Message-ID: <{id}@sessionwatch>")), "{mail:?}");
}

/// A certificate for 127.0.0.1, and the server's side of TLS with it.
fn acceptor(folder: &Path) -> TlsAcceptor {
    certificates(folder);
    let chain = CertificateDer::pem_file_iter(folder.join("server.crt")).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(folder.join("server.key")).unwrap();
    TlsAcceptor::from(Arc::new(ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap()))
}

/// Sends one alert by mail with this password and this authority; returns what the mail server was told before TLS and
/// within it, and the alert after its first try.
async fn mail_over_tls(
    wrapped: bool,
    password: &str,
    authority: &str,
) -> (Vec<String>, Vec<String>, serde_json::Value) {
    let folder = tempfile::tempdir().unwrap();
    let acceptor = acceptor(folder.path());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let talk = tokio::spawn(async move {
        let mut plain = MailServer { offers: "STARTTLS", ..MailServer::default() };
        let mut inner = MailServer { offers: "AUTH PLAIN", ..MailServer::default() };
        let (mut stream, _) = listener.accept().await.unwrap();
        if !wrapped {
            stream.write_all(b"220 relay\r\n").await.unwrap();
            let Some(asked) = plain.talk(stream).await else { return (plain.told, inner.told) };
            stream = asked;
        }
        // A client that does not trust the certificate ends here.
        if let Ok(mut stream) = acceptor.accept(stream).await {
            if wrapped {
                stream.write_all(b"220 relay\r\n").await.unwrap();
            }
            inner.talk(stream).await;
        }
        (plain.told, inner.told)
    });
    let scheme = if wrapped { "smtps" } else { "smtp" };
    let more =
        "from = \"sw@example.com\"\nto = [\"ops@example.com\"]\nallow_private = true\nsecret_file = \"mail.secret\"";
    let rules = Rules::new(&target("mail", "email", &format!("{scheme}://ops@127.0.0.1:{port}"), more));
    let secret = rules.path().with_file_name("mail.secret");
    fs::write(&secret, password).unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let (db, path) = (folder.path().join("test.db"), rules.path());
    let args = ["--rules", path.to_str().unwrap()];
    let mut started = command(&db, "127.0.0.1:0", &args);
    started.env("SSL_CERT_FILE", folder.path().join(authority));
    let server = Server::run(started, &db, &args).await;
    fail(&server, "nightly").await;
    let (plain, inner) = tokio::time::timeout(PATIENCE, talk).await.unwrap().unwrap();
    (plain, inner, tried(&server, "mail").await)
}

#[tokio::test]
async fn a_password_goes_over_tls_only_by_starttls_or_from_the_start() {
    for wrapped in [false, true] {
        let (plain, inner, alert) = mail_over_tls(wrapped, PASSWORD, "ca.crt").await;
        assert_eq!((&alert["state"], &alert["answer"]), (&json!("delivered"), &json!("SMTP 250")), "{alert}");
        assert!(inner.iter().any(|line| line.starts_with("Subject: [sessionwatch]")), "{inner:?}");
        assert!(!plain.iter().any(|line| line.starts_with("AUTH") || line.starts_with("MAIL")), "{plain:?}");
    }
}

#[tokio::test]
async fn a_wrong_password_and_a_strange_certificate_are_told_without_the_secret() {
    let (_, inner, alert) = mail_over_tls(false, "wrong", "ca.crt").await;
    assert!(!inner.iter().any(|line| line.starts_with("MAIL")), "{inner:?}");
    assert_eq!((&alert["state"], &alert["answer"]), (&json!("waiting"), &json!("SMTP 535")), "{alert}");
    assert!(!alert.to_string().contains("wrong"), "{alert}");
    let (_, inner, alert) = mail_over_tls(true, PASSWORD, "other.crt").await;
    assert!(inner.is_empty(), "{inner:?}");
    assert_eq!(alert["answer"], "TLS failed: the mail server's certificate is not one that this machine trusts");
}
