//! Health: `sessionwatch health`, `/healthz` and `/readyz` with any Host, and what strangers learn.

use std::process::Output;

use tokio::process::Command;

use crate::support::{PATIENCE, Server};

async fn health(args: &[&str], env: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sessionwatch"));
    command.arg("health").args(args).envs(env.iter().copied()).kill_on_drop(true);
    tokio::time::timeout(PATIENCE, command.output()).await.expect("it ends").expect("it runs")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[tokio::test]
async fn the_exit_code_tells_whether_the_server_takes_changes() {
    let tls = format!("{}/tests/it/gate/tls/test-only", env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().expect("a folder");
    let key = folder.path().join("key.pem");
    std::fs::copy(format!("{tls}.key.pem"), &key).expect("copied");
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("it is ours");
    let (cert, key) = (format!("{tls}.cert.pem"), key.to_str().expect("a plain name").to_owned());
    for args in [&[][..], &["--base-path", "/monitor"], &["--tls-cert", &cert, "--tls-key", &key]] {
        let mut server = Server::start(args).await;
        let listen = format!("127.0.0.1:{}", server.port);
        let mut env = vec![("SESSIONWATCH_LISTEN", listen.as_str())];
        if args.contains(&"--tls-cert") {
            env.push(("SESSIONWATCH_TLS_CERT", &cert));
        }
        if args.contains(&"--base-path") {
            env.push(("SESSIONWATCH_BASE_PATH", "/monitor"));
        }
        for more in [&[][..], &["--live"]] {
            let well = health(more, &env).await;
            assert_eq!((well.status.code(), said(&well).trim()), (Some(0), "ok"), "{args:?}: {}", said(&well));
        }
        server.child.kill().await.expect("it is ours");
        let ill = health(&[], &env).await;
        assert_eq!(ill.status.code(), Some(1), "{}", said(&ill));
    }
    let nowhere = health(&["--url", "http://127.0.0.1:9"], &[]).await;
    assert_eq!(nowhere.status.code(), Some(1));
}

#[tokio::test]
async fn strangers_learn_one_word_and_a_refused_host_is_named() {
    let server = Server::start(&["--strict"]).await;
    for path in ["/healthz", "/readyz"] {
        for host in ["10.1.2.3:8000", "pod.example", "evil.example:1"] {
            let answer = server.client.get(format!("{}{path}", server.url)).header("host", host).send().await.unwrap();
            assert_eq!(answer.status(), 200, "{path} {host}");
            assert!(answer.headers().get("server").is_none() && answer.headers().get("set-cookie").is_none());
            assert_eq!(answer.text().await.unwrap(), "ok");
        }
    }
    let refused = server.client.get(format!("{}/", server.url)).header("host", "pod.example:80").send().await.unwrap();
    assert_eq!(refused.status(), 421);
    let why = refused.text().await.unwrap();
    assert!(why.contains("pod.example:80") && why.contains("--allow-host pod.example"), "{why}");
}
