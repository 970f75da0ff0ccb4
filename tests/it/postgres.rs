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

/// The folder belongs to the user that PostgreSQL runs as.
fn own(folder: &Path) {
    if rustix::process::geteuid().is_root() {
        let done = Command::new("chown").arg("postgres:postgres").arg(folder).status();
        assert!(done.expect("chown runs").success(), "the user postgres is there");
    }
}

fn copy(from: &Path, to: &Path) {
    let done = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(done.expect("cp runs").success());
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").port()
}

impl Cluster {
    /// Makes one and starts it.
    pub fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("sw-pg-").tempdir_in("/tmp").expect("a folder");
        own(folder.path());
        let data = folder.path().join("data");
        let made = as_postgres("initdb")
            .args(["--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C", "--no-sync", "-D"])
            .arg(&data)
            .output()
            .expect("initdb runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let port = free_port();
        let postmaster = Self::run(folder.path(), port);
        let cluster = Self { folder, port, postmaster, databases: AtomicUsize::new(0) };
        cluster.wait();
        cluster
    }

    /// A standby of this one, that follows it; from now on a commit waits for it.
    pub fn synchronous_standby(&self) -> Self {
        let standby = Self::of_copy(self.copy_while_it_runs(&["--write-recovery-conf"]));
        standby.databases.store(self.databases.load(Ordering::Relaxed), Ordering::Relaxed);
        self.psql("ALTER SYSTEM SET synchronous_standby_names = 'standby'");
        self.psql("SELECT pg_reload_conf()");
        let begun = Instant::now();
        while self.psql("SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'") != "1" {
            assert!(begun.elapsed() < Duration::from_secs(30), "the standby does not follow");
            std::thread::sleep(Duration::from_millis(20));
        }
        standby
    }

    /// A copy of its data, made while it runs.
    pub fn copy_while_it_runs(&self, args: &[&str]) -> TempDir {
        let folder = tempfile::Builder::new().prefix("sw-pg-").tempdir_in("/tmp").expect("a folder");
        own(folder.path());
        let source = format!("host=127.0.0.1 port={} user=postgres application_name=standby", self.port);
        let copied = as_postgres("pg_basebackup")
            .args(["--checkpoint=fast", "--no-sync", "-d", &source, "-D"])
            .arg(folder.path().join("data"))
            .args(args)
            .output()
            .expect("pg_basebackup runs");
        assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
        folder
    }

    /// Starts a copy on a port of its own.
    pub fn of_copy(folder: TempDir) -> Self {
        let port = free_port();
        let postmaster = Self::run(folder.path(), port);
        let cluster = Self { folder, port, postmaster, databases: AtomicUsize::new(0) };
        cluster.wait();
        cluster
    }

    /// Makes a standby the primary. It waits for no standby of its own.
    pub fn promote(&self) {
        self.psql("SELECT pg_promote()");
        self.psql("ALTER SYSTEM RESET synchronous_standby_names");
        self.psql("SELECT pg_reload_conf()");
    }

    /// Takes connections over TLS too, with this certificate.
    pub fn use_tls(&self, certificate: &Path, key: &Path) {
        for (from, name) in [(certificate, "server.crt"), (key, "server.key")] {
            let to = self.folder.path().join("data").join(name);
            std::fs::copy(from, &to).expect("there is room");
            std::fs::set_permissions(&to, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("it is ours");
            own(&to);
        }
        self.psql("ALTER SYSTEM SET ssl = on");
        self.psql("SELECT pg_reload_conf()");
        let begun = Instant::now();
        while self.psql("SHOW ssl") != "on" {
            assert!(begun.elapsed() < Duration::from_secs(10), "TLS does not begin");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Makes a user that owns a database and has to give a password; returns the URL without it.
    pub fn ask_for_password(&self, user: &str, password: &str) -> String {
        let name = format!("t{}", self.databases.load(Ordering::Relaxed));
        self.psql(&format!("CREATE ROLE {user} LOGIN PASSWORD '{password}'"));
        self.psql(&format!("ALTER DATABASE {name} OWNER TO {user}"));
        let rules = self.folder.path().join("data/pg_hba.conf");
        let others = std::fs::read_to_string(&rules).expect("the rules");
        std::fs::write(&rules, format!("host all {user} 127.0.0.1/32 scram-sha-256\n{others}")).expect("there is room");
        self.psql("SELECT pg_reload_conf()");
        self.url(&name).replace("postgres@", &format!("{user}@"))
    }

    /// What psql prints.
    pub fn psql(&self, sql: &str) -> String {
        self.psql_in("postgres", sql)
    }

    /// What psql prints, asked in this database.
    pub fn psql_in(&self, database: &str, sql: &str) -> String {
        let asked = Command::new(program("psql"))
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", "postgres", "-d", database])
            .args(["-X", "-A", "-t", "-c", sql])
            .output()
            .expect("psql runs");
        assert!(asked.status.success(), "{sql}: {}", String::from_utf8_lossy(&asked.stderr));
        String::from_utf8_lossy(&asked.stdout).trim().to_owned()
    }

    /// All that a database has, as SQL.
    pub fn dump(&self, database: &str) -> String {
        let dumped = Command::new(program("pg_dump"))
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", "postgres", "-d", database])
            .output()
            .expect("pg_dump runs");
        assert!(dumped.status.success(), "{}", String::from_utf8_lossy(&dumped.stderr));
        String::from_utf8_lossy(&dumped.stdout).into_owned()
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

    /// Stops or continues the postmaster and all its processes.
    pub fn freeze(&self, frozen: bool) {
        self.signal(if frozen { "-STOP" } else { "-CONT" });
    }

    fn signal(&self, signal: &str) {
        let parent = self.postmaster.id().to_string();
        let children = Command::new("ps").args(["-o", "pid=", "--ppid", &parent]).output().expect("ps runs");
        let children = String::from_utf8_lossy(&children.stdout).into_owned();
        for process in std::iter::once(parent.as_str()).chain(children.split_whitespace()) {
            let _ = Command::new("kill").args([signal, process]).status();
        }
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
        self.signal("-KILL");
        let _ = self.postmaster.wait();
    }

    /// Copies the data away while it does not run.
    pub fn back_up(&self) -> TempDir {
        let backup = tempfile::Builder::new().prefix("sw-pg-").tempdir_in("/tmp").expect("a folder");
        copy(&self.folder.path().join("data"), &backup.path().join("data"));
        backup
    }

    /// Puts a backup in the place of the data, while it does not run.
    pub fn restore(&self, backup: &TempDir) {
        let data = self.folder.path().join("data");
        std::fs::remove_dir_all(&data).expect("the data goes");
        copy(&backup.path().join("data"), &data);
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
        if !matches!(self.postmaster.try_wait(), Ok(None)) {
            return;
        }
        // A frozen one would not hear it.
        self.freeze(false);
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

/// A new cluster. A process dies with the thread that has started it, so the thread stays.
pub fn on_a_thread_that_stays() -> Cluster {
    staying(Cluster::start)
}

/// A primary with a synchronous standby.
pub fn with_standby(primary: Cluster) -> (Cluster, Cluster) {
    staying(move || {
        let standby = primary.synchronous_standby();
        (primary, standby)
    })
}

/// Starts something on such a thread.
pub fn staying<T: Send + 'static>(start: impl FnOnce() -> T + Send + 'static) -> T {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let _ = tell.send(start());
        loop {
            std::thread::park();
        }
    });
    told.recv().expect("PostgreSQL starts")
}
