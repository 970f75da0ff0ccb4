//! What can go wrong on the command line, each as one sentence that says what to do.

use std::io;

use super::text::escape;

/// Why a command could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The server answered with an error of its own (problem+json), or refused a socket.
    #[error("{}{}", escape(.detail), if *.status == 401 { "; give it with --token-file, SESSIONWATCH_TOKEN_FILE, --token or SESSIONWATCH_TOKEN" } else { "" })]
    Refused {
        /// The HTTP status, or the HTTP status that stands for the socket's close code.
        status: u16,
        /// The server's own sentence.
        detail: String,
    },
    /// Nobody answered at the server's address.
    #[error(
        "Cannot reach sessionwatch at {} ({}): start it there with `sessionwatch`, or name the right address with --server or SESSIONWATCH_SERVER.",
        escape(.server),
        escape(.cause)
    )]
    Unreachable {
        /// The address that was tried.
        server: String,
        /// The system's word for it, such as `connection refused`.
        cause: String,
    },
    /// Somebody answered who does not speak the contract.
    #[error("What answers at {} does not speak like a sessionwatch server ({}): check --server.", escape(.server), escape(.cause))]
    Strange {
        /// The address that was tried.
        server: String,
        /// What was wrong with the answer.
        cause: String,
    },
    /// The command line itself asks for something that cannot be.
    #[error("{0}")]
    Usage(String),
    /// The reader of our output has gone; nothing to complain about.
    #[error("standard output was closed")]
    OutputClosed,
    /// The terminal or standard output failed.
    #[error("Cannot use the terminal: {0}.")]
    Terminal(#[source] io::Error),
}

impl From<io::Error> for CliError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe { Self::OutputClosed } else { Self::Terminal(error) }
    }
}

/// The innermost cause of an error, which names what happened rather than which layer noticed.
pub(crate) fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}
