//! The command itself: its process group, its signals, its terminal, its end.
//!
//! It runs in a process group of its own, so that a kill reaches every process that it has started, and not us. On a
//! terminal we do what a shell does for a job: the group becomes the foreground group, so that it can read and gets
//! Ctrl-C. When it stops (Ctrl-Z) we stop too, so that the shell that runs us shows its prompt.

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

use super::{super::text::escape, complain, link::Kill, script};

/// How often we check whether a killed group is gone. Its members are not our children, so no signal tells us.
const GROUP_CHECK: Duration = Duration::from_millis(25);
/// How long we wait for processes after SIGKILL. Zombies that nobody reaps would never go.
const REAP_LIMIT: Duration = Duration::from_millis(500);

/// A running command.
pub(super) struct Child {
    process: tokio::process::Child,
    /// The process id, which is also the id of its group.
    pid: Pid,
    signals: Signals,
    terminal: Option<Terminal>,
}

impl Child {
    /// Starts `command` with our standard streams and our environment; `pass_token` says whether our token stays in it.
    ///
    /// # Errors
    /// The system's error, where it cannot be started.
    pub(super) fn spawn(command: &[OsString], pass_token: bool) -> io::Result<Self> {
        let (program, args) = command.split_first().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        // Before the command starts: a signal without a handler would end us and leave the command alone.
        let signals = Signals::new()?;
        let start = |mut process: Command| {
            process.args(args).process_group(0).kill_on_drop(false);
            if !pass_token {
                // The command may be foreign code, and the token allows to register sessions or more.
                process.env_remove("SESSIONWATCH_TOKEN").env_remove("SESSIONWATCH_TOKEN_FILE");
            }
            process.spawn()
        };
        let process = match start(Command::new(program)) {
            // A script without `#!`: a shell would run it as well.
            Err(error) if error.raw_os_error() == Some(libc::ENOEXEC) => {
                let mut shell = Command::new("/bin/sh");
                shell.arg(script::of(program).ok_or(error)?);
                start(shell)?
            }
            started => started?,
        };
        let pid = process
            .id()
            .and_then(|pid| Pid::from_raw(pid.cast_signed()))
            .ok_or_else(|| io::Error::other("the command has no process id"))?;
        let terminal = Terminal::open(pid);
        if let Some(terminal) = &terminal {
            // In a pipe another command may need the terminal (`run … | less`). Then the command gets it only when it
            // asks for it, by stopping.
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

    /// Waits for the end of the command, passes signals on and carries out a kill; how the command ended.
    ///
    /// # Errors
    /// The system's error, where it cannot wait for the command.
    pub(super) async fn wait(mut self, mut kills: mpsc::Receiver<Kill>, grace: Duration) -> io::Result<Ending> {
        let mut deadline: Option<Instant> = None;
        let status = loop {
            tokio::select! {
                status = self.process.wait() => break status?,
                Some(kill) = kills.recv(), if deadline.is_none() => {
                    complain(&kill_notice(&kill));
                    deadline = Some(Instant::now() + grace);
                    adopt_orphans();
                    self.signal_group(Signal::TERM);
                    // A stopped command could not handle it.
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
        // An error means that the group is gone already.
        let _ = kill_process_group(self.pid, signal);
    }

    /// After a kill: ends the other processes of the group.
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

    /// Whether the group has no process left; called only after the command itself was waited for.
    fn group_is_gone(&self) -> bool {
        // We have to reap adopted processes, or they would count as present for ever.
        let ended = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        while let Ok(Some(_)) = waitid(WaitId::Pgid(Some(self.pid)), ended) {}
        test_kill_process_group(self.pid).is_err()
    }

    fn pass_on(&self, event: Event) {
        match event {
            // A terminal sends these to the whole group.
            Event::Group(signal) => self.signal_group(signal),
            // These are sent to one process, and so only the command gets them.
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

    /// Handles a stop of the command: gives it the terminal if it waits for that, else stops as well.
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
                // We lead the session: no shell could continue us.
                terminal.hand_over();
                self.signal_group(Signal::CONT);
            } else {
                // When the shell continues us, we go on here and get Event::Continued.
                let _ = kill_current_process_group(Signal::STOP);
            }
        }
    }
}

/// Makes orphaned processes of the command our children, so that we notice their end at once.
fn adopt_orphans() {
    #[cfg(target_os = "linux")]
    // Where it fails, we notice their end a little later.
    let _ = rustix::process::set_child_subreaper(Some(getpid()));
}

fn kill_notice(kill: &Kill) -> String {
    let by = kill.by.as_deref().map(|by| format!(" by {}", escape(by))).unwrap_or_default();
    match kill.reason.as_deref() {
        Some(reason) => format!("This session is ended{by}: {}", escape(reason)),
        None => format!("This session is ended{by}."),
    }
}

/// How the command ended. We end the same way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ending {
    /// The exit status as a shell reports it.
    pub(super) code: i32,
    /// Whether Ctrl-C on the terminal ended it.
    interrupted: bool,
}

impl Ending {
    /// Ends this program the same way.
    pub(super) fn exit(self) -> ! {
        if self.interrupted {
            // `$?` is 130 either way. But only a death by the signal ends a shell's loop around us, as Ctrl-C should.
            set_handling(Signal::INT, libc::SIG_DFL);
            let _ = kill_process(getpid(), Signal::INT);
        }
        std::process::exit(self.code);
    }
}

/// The exit status as a shell reports it: 128 plus the signal's number where a signal ended the command.
fn exit_code(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1)
}

/// The terminal, shared with the command.
struct Terminal {
    file: File,
    theirs: Pid,
    /// Whether the command ever had it, and so gets it again when the job is continued.
    lent: AtomicBool,
}

impl Terminal {
    /// The controlling terminal, where there is one.
    fn open(theirs: Pid) -> Option<Self> {
        let file = File::options().read(true).write(true).open("/dev/tty").ok()?;
        // Otherwise taking the terminal back from the background would stop us. The command is already running, so it
        // does not inherit this.
        set_handling(Signal::TTOU, libc::SIG_IGN);
        Some(Self { file, theirs, lent: AtomicBool::new(false) })
    }

    fn foreground(&self) -> Option<Pid> {
        tcgetpgrp(&self.file).ok()
    }

    fn is_theirs(&self) -> bool {
        self.foreground() == Some(self.theirs)
    }

    /// Makes the command the foreground job, if we are it now.
    fn hand_over(&self) -> bool {
        let lent = self.foreground() == Some(getpgrp()) && tcsetpgrp(&self.file, self.theirs).is_ok();
        self.lent.fetch_or(lent, Ordering::Relaxed);
        lent
    }

    /// Makes us the foreground job again, if the command was it.
    fn take_back(&self) {
        if self.is_theirs() {
            // The terminal may have hung up. Then everything on it ends anyway.
            let _ = tcsetpgrp(&self.file, getpgrp());
        }
    }
}

/// Sets a signal to be ignored (`SIG_IGN`) or to its default action (`SIG_DFL`).
#[allow(unsafe_code, reason = "no safe call sets how a signal is handled")]
fn set_handling(kind: Signal, handling: libc::sighandler_t) {
    // SAFETY: neither of the two runs our code.
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

/// What to do about a signal.
#[derive(Debug, Clone, Copy)]
enum Event {
    Group(Signal),
    Process(Signal),
    ChildChanged,
    Continued,
}

/// The signals that we pass on or handle.
struct Signals(Vec<(unix::Signal, Event)>);

impl Signals {
    fn new() -> io::Result<Self> {
        let group =
            [Signal::INT, Signal::QUIT, Signal::TSTP, Signal::WINCH].map(|signal| (signal, Event::Group(signal)));
        let process =
            [Signal::TERM, Signal::HUP, Signal::USR1, Signal::USR2].map(|signal| (signal, Event::Process(signal)));
        let own = [(Signal::CHILD, Event::ChildChanged), (Signal::CONT, Event::Continued)];
        let all = group.into_iter().chain(process).chain(own);
        // Signals that our parent made us ignore (nohup, a script's background job) are ignored by the command as well.
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
    fn exit_codes_are_those_of_a_shell() {
        assert_eq!(exit_code(ExitStatus::from_raw(3 << 8)), 3);
        assert_eq!(exit_code(ExitStatus::from_raw(libc::SIGTERM)), 143);
        assert_eq!(exit_code(ExitStatus::from_raw(libc::SIGKILL)), 137);
    }
}
