//! A real PostgreSQL for the tests: a cluster of their own in a folder, on a free port. It
//! ends with the process.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A running PostgreSQL.
pub struct Cluster {
    folder: TempDir,
    pub port: u16,
    postmaster: std::process::Child,
    databases: AtomicUsize,
}

fn program(name: &str) -> PathBuf {
    let debian = Path::new("/usr/lib/postgresql/15/bin").join(name);
    if debian.exists() { debian } else { PathBuf::from(name) }
}

/// The command, as a user that PostgreSQL agrees to run as; it dies with this thread's process.
fn as_postgres(name: &str) -> Command {
    let is_root = rustix::process::geteuid().is_root();
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "QUIT"]);
    if is_root {
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]);
    }
    command.arg(program(name)).stdin(Stdio::null());
    command
}

impl Cluster {
    /// Makes one and starts it.
    pub fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("sw-pg-").tempdir_in("/tmp").expect("a folder");
        if rustix::process::geteuid().is_root() {
            let done = Command::new("chown").arg("postgres:postgres").arg(folder.path()).status();
            assert!(done.expect("chown runs").success(), "the user postgres is there");
        }
        let data = folder.path().join("data");
        let made = as_postgres("initdb")
            .args(["--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C", "--no-sync", "-D"])
            .arg(&data)
            .output()
            .expect("initdb runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let port = {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
            listener.local_addr().expect("its address").port()
        };
        let postmaster = Self::run(folder.path(), port);
        let cluster = Self { folder, port, postmaster, databases: AtomicUsize::new(0) };
        cluster.wait();
        cluster
    }

    fn run(folder: &Path, port: u16) -> std::process::Child {
        let log = std::fs::File::create(folder.join("log")).expect("a log");
        as_postgres("postgres")
            .arg("-D")
            .arg(folder.join("data"))
            .args(["-c", "listen_addresses=127.0.0.1", "-c", "max_connections=300", "-c", "shared_buffers=64MB"])
            .args(["-c", &format!("port={port}"), "-c", &format!("unix_socket_directories={}", folder.display())])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("postgres starts")
    }

    fn wait(&self) {
        let begun = Instant::now();
        let is_ready = || {
            let mut ask = Command::new(program("pg_isready"));
            ask.args(["-q", "-h", "127.0.0.1", "-p", &self.port.to_string()]).status().is_ok_and(|done| done.success())
        };
        while !is_ready() {
            assert!(begun.elapsed() < Duration::from_secs(30), "PostgreSQL does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The URL of a new, empty database.
    pub async fn database(&self) -> String {
        let name = format!("t{}", self.databases.fetch_add(1, Ordering::Relaxed) + 1);
        let plain = self.url("postgres");
        let (client, connection) = tokio_postgres::connect(&plain, tokio_postgres::NoTls).await.expect("a connection");
        let driven = tokio::spawn(connection);
        client.batch_execute(&format!("CREATE DATABASE {name}")).await.expect("a database");
        drop(client);
        let _ = driven.await;
        self.url(&name)
    }

    /// The URL of the database that was made last.
    pub fn last_database(&self) -> String {
        self.url(&format!("t{}", self.databases.load(Ordering::Relaxed)))
    }

    fn url(&self, name: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{name}?sslmode=disable", self.port)
    }

    /// As the power would end it: all its processes at once.
    pub fn kill9(&mut self) {
        let _ = Command::new("kill").args(["-KILL", &self.postmaster.id().to_string()]).status();
        let _ = self.postmaster.wait();
    }

    /// Starts it again after [`Cluster::kill9`].
    pub fn start_again(&mut self) {
        let begun = Instant::now();
        // The children of the one that was killed leave the shared memory a moment later.
        loop {
            self.postmaster = Self::run(self.folder.path(), self.port);
            std::thread::sleep(Duration::from_millis(200));
            if matches!(self.postmaster.try_wait(), Ok(None)) {
                break;
            }
            assert!(begun.elapsed() < Duration::from_secs(30), "PostgreSQL does not start again");
        }
        self.wait();
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-QUIT", &self.postmaster.id().to_string()]).status();
        let _ = self.postmaster.wait();
    }
}

/// The URL of a new database in the cluster that all tests share.
pub async fn database() -> String {
    static SHARED: OnceLock<Cluster> = OnceLock::new();
    let cluster = tokio::task::spawn_blocking(|| SHARED.get_or_init(on_a_thread_that_stays)).await;
    cluster.expect("it starts").database().await
}

/// A process dies with the thread that has started it, so the thread stays as long as this one.
pub fn on_a_thread_that_stays() -> Cluster {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let _ = tell.send(Cluster::start());
        loop {
            std::thread::park();
        }
    });
    told.recv().expect("PostgreSQL starts")
}
