//! The measured processes: they are started, read through `/proc`, and ended by their id.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A server that listens on a port of this machine. Ends when dropped.
pub struct Process {
    child: Child,
    /// Its address.
    pub port: u16,
    /// Whether it has child processes, which end only after SIGTERM.
    has_workers: bool,
}

impl Process {
    /// Starts the release binary of this project (or the one that `SESSIONWATCH_BIN` names),
    /// with a database in `folder`.
    pub fn sessionwatch(folder: &Path, args: &[&str]) -> Self {
        let mut command = sessionwatch(&folder.join("bench.db"));
        // No rate limit: the path of a change is measured.
        command.env("SESSIONWATCH_REPORT_RATE", "0");
        command.args(args);
        Self::announced(command)
    }

    /// Starts this program in the role of a bare server.
    pub fn bare(role: &str, args: &[&str]) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("this program has a path"));
        command.arg("role").arg(role).args(args);
        Self::announced(command)
    }

    /// Starts a server whose first line of output ends with its address.
    pub fn announced(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(log()).spawn().expect("the server starts");
        let mut first = String::new();
        BufReader::new(child.stdout.take().expect("its output")).read_line(&mut first).expect("its first line");
        let port = first.trim().trim_end_matches('/').rsplit(':').next().and_then(|port| port.parse().ok());
        Self { child, port: port.unwrap_or_else(|| panic!("no port in its first line: {first:?}")), has_workers: false }
    }

    /// Starts a server without output: it is ready when it accepts a connection.
    pub fn silent(mut command: Command, port: u16) -> Self {
        let child = command.stdout(Stdio::null()).stderr(log()).spawn().expect("the server starts");
        let begun = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(20), "the server on port {port} does not accept");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { child, port, has_workers: true }
    }

    /// Resident memory, in bytes.
    pub fn rss(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok()).unwrap_or(0.0) * 1_024.0
    }

    /// CPU time of all its running threads.
    pub fn cpu(&self) -> Duration {
        let Ok(tasks) = std::fs::read_dir(format!("/proc/{}/task", self.child.id())) else { return Duration::ZERO };
        let spent = |task: std::fs::DirEntry| {
            let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
            text.split_whitespace().next()?.parse::<u64>().ok()
        };
        Duration::from_nanos(tasks.flatten().filter_map(spent).sum())
    }

    /// Seconds of CPU time of the process and its children, from `/proc/PID/stat`.
    pub fn spent(&self) -> f64 {
        let id = self.child.id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        let all = children.split_whitespace().filter_map(|child| child.parse().ok()).chain([id]);
        all.map(ticks).sum::<f64>() / rustix::param::clock_ticks_per_second() as f64
    }

    /// Sends SIGKILL.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends SIGTERM, and waits until the process has ended.
    pub fn stop(&mut self) {
        let id = self.child.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &id]).status();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.has_workers { self.stop() } else { self.kill() }
    }
}

/// The clock ticks that a process has spent, in user and in system mode.
fn ticks(process: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // The name of the program, in parentheses, may contain anything.
    let fields = stat.rsplit(')').next().unwrap_or_default();
    fields.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum()
}

/// The command that starts the binary with this database and a free port.
pub fn sessionwatch(db: &Path) -> Command {
    let built = env!("CARGO_BIN_EXE_sessionwatch");
    let mut command = Command::new(std::env::var("SESSIONWATCH_BIN").unwrap_or_else(|_| built.to_owned()));
    command.args(["--listen", "127.0.0.1:0", "--max-sessions", "2000000", "--db"]).arg(db);
    command
}

fn log() -> Stdio {
    if std::env::var_os("SESSIONWATCH_TEST_LOG").is_some() { Stdio::inherit() } else { Stdio::null() }
}

/// A free port, for servers that cannot choose one themselves.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").port()
}
