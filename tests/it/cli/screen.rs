//! A command on a real terminal: a pseudo-terminal, and an emulator that shows what a person would see.

use std::{num::NonZeroU16, process::ExitStatus};

use pty_process::{Pty, Size};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::Child,
    time::timeout,
};

use super::support::LIMIT;

/// A command on a terminal, with the terminal's screen.
pub(super) struct Screen {
    pty: Pty,
    child: Child,
    emulator: vt100::Parser,
    /// All that the command has written.
    pub(super) raw: Vec<u8>,
}

impl Screen {
    /// Runs our binary with `words` against the server at `url`, on a terminal of this size.
    pub(super) fn run(url: &str, words: &[&str], rows: u16, columns: u16) -> Self {
        Self::run_with(url, words, &[], rows, columns)
    }

    /// The same with more of an environment.
    pub(super) fn run_with(url: &str, words: &[&str], env: &[(&str, &str)], rows: u16, columns: u16) -> Self {
        let (pty, pts) = pty_process::open().expect("a pseudo-terminal");
        pty.resize(Size::new(rows, columns)).expect("it has a size");
        let child = pty_process::Command::new(env!("CARGO_BIN_EXE_sessionwatch"))
            .args(words)
            .env("SESSIONWATCH_URL", url)
            .env("USER", "tester")
            .env("TERM", "xterm-256color")
            .env_remove("NO_COLOR")
            .env_remove("SESSIONWATCH_TOKEN")
            .env_remove("SESSIONWATCH_TOKEN_FILE")
            .envs(env.iter().copied())
            .kill_on_drop(true)
            .spawn(pts)
            .expect("it starts");
        let emulator = vt100::Parser::new(size(rows), size(columns), 0);
        Self { pty, child, emulator, raw: Vec::new() }
    }

    /// The lines on the screen, without blanks at their ends.
    pub(super) fn lines(&self) -> Vec<String> {
        self.emulator.screen().contents().split('\n').map(ToOwned::to_owned).collect()
    }

    /// The emulator's screen.
    pub(super) fn emulated(&self) -> &vt100::Screen {
        self.emulator.screen()
    }

    /// The first line that holds `text`, by its number.
    pub(super) fn line_of(&self, text: &str) -> Option<usize> {
        self.lines().iter().position(|line| line.contains(text))
    }

    /// Waits until the screen is as `fits` wants it.
    pub(super) async fn until(&mut self, what: &str, fits: impl Fn(&Self) -> bool) {
        let mut some = [0; 4096];
        let reading = async {
            while !fits(self) {
                let read = self.pty.read(&mut some).await.unwrap_or_default();
                if read == 0 {
                    return false;
                }
                self.raw.extend_from_slice(&some[..read]);
                self.emulator.process(&some[..read]);
            }
            true
        };
        let seen = timeout(LIMIT, reading).await.unwrap_or_default();
        assert!(seen, "never seen: {what}; the screen was {:#?}", self.lines());
    }

    /// Waits until `text` is on the screen.
    pub(super) async fn until_text(&mut self, text: &str) {
        self.until(text, |screen| screen.line_of(text).is_some()).await;
    }

    /// Presses keys, as the bytes that a terminal sends for them.
    pub(super) async fn press(&mut self, keys: &str) {
        self.pty.write_all(keys.as_bytes()).await.expect("an open terminal");
    }

    /// Gives the terminal another size.
    pub(super) fn resize(&mut self, rows: u16, columns: u16) {
        self.emulator.screen_mut().set_size(size(rows), size(columns));
        self.pty.resize(Size::new(rows, columns)).expect("an open terminal");
    }

    /// Waits for the end of the command; its status.
    pub(super) async fn end(&mut self) -> ExitStatus {
        let mut some = [0; 4096];
        let reading = async {
            // Once nobody has the terminal open, reading it fails or gives nothing.
            while let Ok(read @ 1..) = self.pty.read(&mut some).await {
                self.raw.extend_from_slice(&some[..read]);
                self.emulator.process(&some[..read]);
            }
            self.child.wait().await.expect("it can be waited for")
        };
        let ended = timeout(LIMIT, reading).await.ok();
        ended.unwrap_or_else(|| panic!("it does not end; the screen was {:#?}", self.lines()))
    }
}

fn size(of: u16) -> NonZeroU16 {
    NonZeroU16::new(of).expect("a size")
}
