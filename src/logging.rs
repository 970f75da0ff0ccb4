//! The server's own log, on standard error. A line that cannot be written is dropped and
//! counted: no task panics because of it, and none waits for a reader that has stopped.

use std::io::{self, IsTerminal as _, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::config::LogFormat;

/// Most bytes in one write: `PIPE_BUF`. A pipe that `poll` reports as writable takes this
/// many without blocking.
const AT_ONCE: usize = 4_096;
/// Longest time that a line waits for a busy reader.
const WRITE_WAIT: Duration = Duration::from_millis(20);

/// Starts to log to standard error. `RUST_LOG` sets the level, `format` the look.
pub fn start(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(Lossy::new(io::stderr()))
        // Otherwise the library reports a failed write with `eprintln!`, which panics in the
        // task that logs.
        .log_internal_errors(false)
        .with_ansi(io::stderr().is_terminal());
    match format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
}

/// Writes whole lines; drops and counts those that cannot be written.
struct Lossy<W> {
    inner: Mutex<Inner<W>>,
}

struct Inner<W> {
    out: W,
    lost: u64,
}

impl<W: Write + AsFd> Lossy<W> {
    fn new(out: W) -> Self {
        Self { inner: Mutex::new(Inner { out, lost: 0 }) }
    }
}

impl<W: Write + AsFd> Inner<W> {
    fn line(&mut self, line: &[u8]) {
        if self.lost > 0 {
            let told = format!("{} log lines before this one could not be written\n", self.lost);
            if self.put(told.as_bytes(), Duration::ZERO).is_err() {
                self.lost += 1;
                return;
            }
            self.lost = 0;
        }
        if self.put(line, WRITE_WAIT).is_err() {
            self.lost = 1;
        }
    }

    fn put(&mut self, line: &[u8], wait: Duration) -> io::Result<()> {
        for part in line.chunks(AT_ONCE) {
            if !can_take(self.out.as_fd(), wait) {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            self.out.write_all(part)?;
        }
        self.out.flush()
    }
}

/// Whether a write would not block, now or within `wait`.
fn can_take(fd: BorrowedFd<'_>, wait: Duration) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::OUT)];
    let timeout = Timespec { tv_sec: 0, tv_nsec: wait.subsec_nanos().into() };
    matches!(poll(&mut fds, Some(&timeout)), Ok(1..))
}

impl<'a, W: Write + AsFd + 'a> MakeWriter<'a> for Lossy<W> {
    type Writer = Line<'a, W>;

    fn make_writer(&'a self) -> Line<'a, W> {
        Line(self)
    }
}

/// Writes one log line. It never returns an error: there is no place to report one.
struct Line<'a, W>(&'a Lossy<W>);

impl<W: Write + AsFd> Write for Line<'_, W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.inner.lock().line(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::Read;

    use super::*;

    #[test]
    fn a_full_disk_takes_no_line_and_fails_nobody() {
        let full = OpenOptions::new().write(true).open("/dev/full").expect("it is there");
        let log = Lossy::new(full);
        for _ in 0..3 {
            assert!(log.make_writer().write_all(b"a line\n").is_ok());
        }
        assert_eq!(log.inner.lock().lost, 3);
    }

    #[test]
    fn a_reader_that_stops_holds_up_nobody_and_is_told_later_what_it_missed() {
        let (mut reader, writer) = io::pipe().expect("a pipe");
        let log = Lossy::new(writer);
        let line = [b'x'; 1_000];
        // A pipe holds 64 KiB.
        for _ in 0..100 {
            log.make_writer().write_all(&line).expect("it never fails");
        }
        let lost = log.inner.lock().lost;
        assert!(lost > 0);
        let mut read = vec![0; 60_000];
        reader.read_exact(&mut read).expect("it is there");
        log.make_writer().write_all(b"again\n").expect("it never fails");
        drop(log);
        let mut rest = String::new();
        reader.read_to_string(&mut rest).expect("text");
        assert!(rest.ends_with(&format!("{lost} log lines before this one could not be written\nagain\n")), "{rest}");
    }
}
