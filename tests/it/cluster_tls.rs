//! The connection to PostgreSQL over TLS, with a certificate of an authority of its own; and with
//! a password out of a file.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;

use crate::postgres;
use crate::support::{PATIENCE, Server, command};

fn openssl(folder: &Path, line: &str) {
    let done = Command::new("openssl").args(line.split(' ')).current_dir(folder).output().expect("openssl runs");
    assert!(done.status.success(), "openssl {line}: {}", String::from_utf8_lossy(&done.stderr));
}

/// An authority, a server's certificate that it has signed, and an authority that has signed nothing.
pub fn certificates(folder: &Path) {
    for name in ["ca", "other"] {
        openssl(
            folder,
            &format!(
                "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN={name} -keyout {name}.key -out {name}.crt"
            ),
        );
    }
    openssl(
        folder,
        "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout server.key -out server.csr",
    );
    openssl(
        folder,
        "x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -copy_extensions copy -out server.crt",
    );
}

#[tokio::test]
async fn a_certificate_is_verified_by_the_authority_that_the_url_names() {
    let folder = tempfile::tempdir().expect("a folder");
    certificates(folder.path());
    let cluster = tokio::task::spawn_blocking(postgres::on_a_thread_that_stays).await.expect("it starts");
    cluster.use_tls(&folder.path().join("server.crt"), &folder.path().join("server.key"));
    let plain = cluster.database().await;
    let with = |authority: &str| {
        let path = folder.path().join(authority);
        plain.replace("?sslmode=disable", &format!("?sslmode=verify-full&sslrootcert={}", path.display()))
    };
    let server = Server::start_on(Path::new(&with("ca.crt")), "127.0.0.1:0", &[]).await;
    assert_eq!(server.get("/sessions").await["total"], 0);
    let encrypted = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = 'sessionwatch'";
    assert_eq!(cluster.psql(encrypted), "t", "every connection of the server is encrypted");

    let mut refused = command(Path::new(&with("other.crt")), "127.0.0.1:0", &[])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let line = said(&mut refused, "cannot be reached").await;
    assert!(line.contains("certificate"), "{line}");
}

/// The first line of its log with these words.
async fn said(server: &mut Child, words: &str) -> String {
    let mut lines = BufReader::new(server.stderr.take().expect("its log")).lines();
    let said = async {
        loop {
            let line = lines.next_line().await.expect("text").expect("it goes on");
            if line.contains(words) {
                return line;
            }
        }
    };
    tokio::time::timeout(PATIENCE, said).await.expect("it says so")
}

#[tokio::test]
async fn the_password_is_read_from_a_file_each_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("pass");
    let write = |password: &str, mode: u32| {
        std::fs::write(&file, format!("127.0.0.1:*:*:ana:{password}\n")).expect("there is room");
        std::fs::set_permissions(&file, PermissionsExt::from_mode(mode)).expect("it is ours");
    };
    let cluster = tokio::task::spawn_blocking(postgres::on_a_thread_that_stays).await.expect("it starts");
    cluster.database().await;
    let url = cluster.ask_for_password("ana", "one:two");
    let start = |url: &str| {
        let mut start = command(Path::new(url), "127.0.0.1:0", &[]);
        start.stdout(Stdio::piped()).stderr(Stdio::piped());
        start
    };
    write("wrong", 0o600);
    let mut server = start(&format!("{url}&passfile={}", file.display())).spawn().expect("it starts");
    let line = said(&mut server, "cannot be reached").await;
    assert!(line.contains("password authentication failed"), "{line}");
    // Mended while it tries.
    write("one\\:two", 0o600);
    let listening = async |server: &mut Child| {
        let mut lines = BufReader::new(server.stdout.take().expect("its output")).lines();
        tokio::time::timeout(PATIENCE, lines.next_line()).await.expect("in time").expect("text").expect("a line")
    };
    assert!(listening(&mut server).await.contains("listening"));
    let mut by_environment = start(&url).env("PGPASSFILE", &file).spawn().expect("it starts");
    assert!(listening(&mut by_environment).await.contains("listening"));
    let mut by_word = start(&url).env("PGPASSWORD", "one:two").spawn().expect("it starts");
    assert!(listening(&mut by_word).await.contains("listening"));
    write("one\\:two", 0o644);
    let mut passed_over = start(&url).env("PGPASSFILE", &file).spawn().expect("it starts");
    assert!(said(&mut passed_over, "passed over").await.contains("chmod 600"));
    let refused = start(&format!("{url}&passfile={}", file.display())).output().await.expect("it ends");
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && why.contains("chmod 600"), "{why}");
}
