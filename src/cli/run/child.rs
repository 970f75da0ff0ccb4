//! The command itself: its process group, its signals, its terminal, its end.
//!
//! It runs in a process group of its own, so that a kill reaches all it has started and not us. On a terminal that
//! takes what a shell does for a job: the group is handed the foreground, so that it may read and Ctrl-C goes to it,
//! and when it stops (Ctrl-Z) we stop too, so that the shell that runs us has its prompt.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, IsTerminal},
    os::unix::process::ExitStatusExt,
    process::ExitStatus,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use rustix::{
    process::{
        Pid, Signal, WaitId, WaitIdOptions, getpgrp, getpid, getsid, kill_current_process_group, kill_process,
        kill_process_group, test_kill_process_group, waitid,
    },
    termios::{tcgetpgrp, tcsetpgrp},
};
use tokio::{
    process::Command,
    signal::unix::{self, SignalKind, signal},
    sync::mpsc,
    time::{Instant, sleep, sleep_until},
};

use super::{super::text::escape, complain, link::Kill};

/// Between two looks whether a killed group has gone: its members are not our children, so nobody wakes us.
const GROUP_CHECK: Duration = Duration::from_millis(25);
/// How long processes that got SIGKILL may take to vanish; zombies that nobody reaps are not waited for.
const REAP_LIMIT: Duration = Duration::from_millis(500);

/// A command that runs.
pub(super) struct Child {
    process: tokio::process::Child,
    /// The process, and its group of the same number.
    pid: Pid,
    signals: Signals,
    terminal: Option<Terminal>,
}

impl Child {
    /// Starts `command` with our standard input, output and error, and our environment; without our token unless told.
    ///
    /// # Errors
    /// The system's, where it cannot be started.
    pub(super) fn spawn(command: &[OsString], pass_token: bool) -> io::Result<Self> {
        let (program, args) = command.split_first().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        // Before the command starts, so that no signal finds us unprepared and leaves the command without us.
        let signals = Signals::new()?;
        let mut process = Command::new(program);
        process.args(args).process_group(0).kill_on_drop(false);
        if !pass_token {
            // What it runs may be anybody's code, and the token registers sessions or more.
            process.env_remove("SESSIONWATCH_TOKEN").env_remove("SESSIONWATCH_TOKEN_FILE");
        }
        let process = process.spawn()?;
        let pid = process
            .id()
            .and_then(|pid| Pid::from_raw(pid.cast_signed()))
            .ok_or_else(|| io::Error::other("the command has no process id"))?;
        let terminal = Terminal::open(pid);
        if let Some(terminal) = &terminal {
            // With a pipe at the other end somebody else may need the terminal (`run … | less`): then it is handed over
            // only when the command asks for it, by stopping.
            if io::stdin().is_terminal() && io::stdout().is_terminal() {
                terminal.hand_over();
            }
        }
        Ok(Self { process, pid, signals, terminal })
    }

    /// The command's process id.
    pub(super) fn id(&self) -> u32 {
        self.pid.as_raw_nonzero().get().cast_unsigned()
    }

    /// Waits for the end of the command, passing signals on and obeying a kill; its exit status as a shell tells it.
    ///
    /// # Errors
    /// Where the system cannot wait for it or has no more signal handlers.
    pub(super) async fn see_through(mut self, mut kills: mpsc::Receiver<Kill>, grace: Duration) -> io::Result<Ending> {
        let mut deadline: Option<Instant> = None;
        let status = loop {
            tokio::select! {
                status = self.process.wait() => break status?,
                Some(kill) = kills.recv(), if deadline.is_none() => {
                    complain(&kill_notice(&kill));
                    deadline = Some(Instant::now() + grace);
                    adopt_orphans();
                    self.signal_group(Signal::TERM);
                    // A stopped command could not act on it.
                    self.signal_group(Signal::CONT);
                }
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                    self.signal_group(Signal::KILL);
                    break self.process.wait().await?;
                }
                event = self.signals.next() => self.pass_on(event),
            }
        };
        if let Some(deadline) = deadline {
            self.clear_group(deadline).await;
        }
        if let Some(terminal) = &self.terminal {
            terminal.take_back();
        }
        let lent = self.terminal.is_some_and(|terminal| terminal.lent.load(Ordering::Relaxed));
        let interrupted = lent && status.signal() == Some(libc::SIGINT);
        Ok(Ending { code: exit_code(status), interrupted })
    }

    fn signal_group(&self, signal: Signal) {
        // Gone already is what a kill wants.
        let _ = kill_process_group(self.pid, signal);
    }

    /// After a kill: what the command has started ends with it.
    async fn clear_group(&self, deadline: Instant) {
        while !self.group_is_gone() && Instant::now() < deadline {
            sleep(GROUP_CHECK).await;
        }
        self.signal_group(Signal::KILL);
        let reaped = Instant::now() + REAP_LIMIT;
        while !self.group_is_gone() && Instant::now() < reaped {
            sleep(GROUP_CHECK).await;
        }
    }

    /// Whether nobody of the group is left; asked only after the command itself was waited for.
    fn group_is_gone(&self) -> bool {
        // What we have adopted is ours to wait for, or it would count as there for ever.
        let ended = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        while let Ok(Some(_)) = waitid(WaitId::Pgid(Some(self.pid)), ended) {}
        test_kill_process_group(self.pid).is_err()
    }

    fn pass_on(&self, event: Event) {
        match event {
            // What a terminal would send to the whole group.
            Event::Group(signal) => self.signal_group(signal),
            // What somebody sends to one process reaches that one process, as if we were not there.
            Event::Process(signal) => {
                let _ = kill_process(self.pid, signal);
            }
            Event::ChildChanged => self.follow_stop(),
            Event::Continued => {
                if let Some(terminal) = self.terminal.as_ref().filter(|terminal| terminal.lent.load(Ordering::Relaxed))
                {
                    terminal.hand_over();
                }
                self.signal_group(Signal::CONT);
            }
        }
    }

    /// Where the command has stopped: give it the terminal if that is what it waits for, else stop as it did.
    fn follow_stop(&self) {
        let stopped = waitid(WaitId::Pid(self.pid), WaitIdOptions::STOPPED | WaitIdOptions::NOHANG);
        let Ok(Some(status)) = stopped else { return };
        let (Some(signal), Some(terminal)) = (status.stopping_signal(), &self.terminal) else {
            return;
        };
        let wants_terminal = signal == Signal::TTIN.as_raw() || signal == Signal::TTOU.as_raw();
        if wants_terminal && (terminal.hand_over() || terminal.is_theirs()) {
            self.signal_group(Signal::CONT);
        } else if wants_terminal || signal == Signal::TSTP.as_raw() {
            terminal.take_back();
            if getsid(None).is_ok_and(|session| session == getpid()) {
                // Nobody is above us who could wake us again.
                terminal.hand_over();
                self.signal_group(Signal::CONT);
            } else {
                // We go on here when the shell continues us, and hear of it as Event::Continued.
                let _ = kill_current_process_group(Signal::STOP);
            }
        }
    }
}

/// Makes what the dying command leaves behind our children, so that their end shows at once and not when init looks.
fn adopt_orphans() {
    #[cfg(target_os = "linux")]
    // Without it, their end shows a little later.
    let _ = rustix::process::set_child_subreaper(Some(getpid()));
}

fn kill_notice(kill: &Kill) -> String {
    let by = kill.by.as_deref().map(|by| format!(" by {}", escape(by))).unwrap_or_default();
    match kill.reason.as_deref() {
        Some(reason) => format!("This session is ended{by}: {}", escape(reason)),
        None => format!("This session is ended{by}."),
    }
}

/// How the command ended, and so how we do.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ending {
    /// The exit status as a shell tells it.
    pub(super) code: i32,
    /// Ctrl-C on the terminal ended it.
    interrupted: bool,
}

impl Ending {
    /// Ends this program the same way.
    pub(super) fn exit(self) -> ! {
        if self.interrupted {
            // To whoever looks at `$?` this is 130 as well; but only so a shell's loop around us ends with Ctrl-C.
            set_handling(Signal::INT, libc::SIG_DFL);
            let _ = kill_process(getpid(), Signal::INT);
        }
        std::process::exit(self.code);
    }
}

/// The status as a shell tells it: 128 and the signal's number where one ended the command.
fn exit_code(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1)
}

/// The terminal that we and the command share.
struct Terminal {
    file: File,
    theirs: Pid,
    /// Whether the command was ever given it, and so wants it back when the job is continued.
    lent: AtomicBool,
}

impl Terminal {
    /// The controlling terminal, where there is one.
    fn open(theirs: Pid) -> Option<Self> {
        let file = File::options().read(true).write(true).open("/dev/tty").ok()?;
        // Taking the terminal back from the background would stop us otherwise. The command was started before, so
        // that it does not inherit this.
        set_handling(Signal::TTOU, libc::SIG_IGN);
        Some(Self { file, theirs, lent: AtomicBool::new(false) })
    }

    fn foreground(&self) -> Option<Pid> {
        tcgetpgrp(&self.file).ok()
    }

    fn is_theirs(&self) -> bool {
        self.foreground() == Some(self.theirs)
    }

    /// Makes the command the foreground job, if that is ours to give.
    fn hand_over(&self) -> bool {
        let lent = self.foreground() == Some(getpgrp()) && tcsetpgrp(&self.file, self.theirs).is_ok();
        self.lent.fetch_or(lent, Ordering::Relaxed);
        lent
    }

    /// Makes us the foreground job again, if the command was it.
    fn take_back(&self) {
        if self.is_theirs() {
            // The terminal may have hung up, which ends everything here anyway.
            let _ = tcsetpgrp(&self.file, getpgrp());
        }
    }
}

/// Sets a signal to be ignored (`SIG_IGN`) or to do what it does by itself (`SIG_DFL`).
#[allow(unsafe_code, reason = "no safe call sets how a signal is handled")]
fn set_handling(kind: Signal, handling: libc::sighandler_t) {
    // SAFETY: neither of the two runs code of ours.
    unsafe {
        libc::signal(kind.as_raw(), handling);
    }
}

/// Whether a signal is ignored, as our parent may have set it.
#[allow(unsafe_code, reason = "no safe call tells how a signal is handled")]
fn is_ignored(kind: Signal) -> bool {
    // SAFETY: all zeroes is a sigaction; with no new action the call only writes the present one into it.
    unsafe {
        let mut present: libc::sigaction = std::mem::zeroed();
        libc::sigaction(kind.as_raw(), std::ptr::null(), &raw mut present) == 0 && present.sa_sigaction == libc::SIG_IGN
    }
}

/// What a signal asks of us.
#[derive(Debug, Clone, Copy)]
enum Event {
    Group(Signal),
    Process(Signal),
    ChildChanged,
    Continued,
}

/// The signals that we pass on or act on, from now until the end of the program.
struct Signals(Vec<(unix::Signal, Event)>);

impl Signals {
    fn new() -> io::Result<Self> {
        let group =
            [Signal::INT, Signal::QUIT, Signal::TSTP, Signal::WINCH].map(|signal| (signal, Event::Group(signal)));
        let process =
            [Signal::TERM, Signal::HUP, Signal::USR1, Signal::USR2].map(|signal| (signal, Event::Process(signal)));
        let own = [(Signal::CHILD, Event::ChildChanged), (Signal::CONT, Event::Continued)];
        let all = group.into_iter().chain(process).chain(own);
        // What we were started to ignore (nohup, a script's background job), the command is to ignore as well.
        let heeded = all.filter(|(kind, _)| !is_ignored(*kind));
        heeded
            .map(|(kind, event)| Ok((signal(SignalKind::from_raw(kind.as_raw()))?, event)))
            .collect::<io::Result<_>>()
            .map(Self)
    }

    async fn next(&mut self) -> Event {
        let arrivals = self.0.iter_mut().map(|(signal, event)| {
            let event = *event;
            Box::pin(async move {
                signal.recv().await;
                event
            })
        });
        futures_util::future::select_all(arrivals).await.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_a_shells() {
        assert_eq!(exit_code(ExitStatus::from_raw(3 << 8)), 3);
        assert_eq!(exit_code(ExitStatus::from_raw(libc::SIGTERM)), 143);
        assert_eq!(exit_code(ExitStatus::from_raw(libc::SIGKILL)), 137);
    }
}
