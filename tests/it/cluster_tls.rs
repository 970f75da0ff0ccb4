//! The connection to PostgreSQL over TLS, with a certificate of an authority of its own.

use std::path::Path;
use std::process::{Command, Stdio};

use tokio::io::{AsyncBufReadExt, BufReader};

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
    let mut lines = BufReader::new(refused.stderr.take().expect("its log")).lines();
    let said = async {
        loop {
            let line = lines.next_line().await.expect("text").expect("it goes on trying");
            if line.contains("cannot be reached") {
                return line;
            }
        }
    };
    let line = tokio::time::timeout(PATIENCE, said).await.expect("it says so");
    assert!(line.contains("certificate"), "{line}");
}
