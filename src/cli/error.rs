//! The errors of the command line. Each is one sentence that says what to do.

use std::io;

use super::text::escape;

/// An error that ends a command.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The server answered with an error (problem+json), or refused a socket.
    #[error("{}{}", escape(.detail), if *.status == 401 { "; give it with --token-file, SESSIONWATCH_TOKEN_FILE, --token or SESSIONWATCH_TOKEN" } else { "" })]
    Refused {
        /// The HTTP status, or the HTTP status that stands for the socket's close code.
        status: u16,
        /// The server's sentence about it.
        detail: String,
    },
    /// Nobody answered at the server's address.
    #[error(
        "Cannot reach sessionwatch at {} ({}): start it there with `sessionwatch`, or name the right address with --server or SESSIONWATCH_URL.",
        escape(.server),
        escape(.cause)
    )]
    Unreachable {
        /// The address that was tried.
        server: String,
        /// The system's error, such as `connection refused`.
        cause: String,
    },
    /// The answer does not follow the protocol: another program listens there.
    #[error("The answer from {} is not that of a sessionwatch server ({}): check --server.", escape(.server), escape(.cause))]
    Strange {
        /// The address that was tried.
        server: String,
        /// What was wrong with the answer.
        cause: String,
    },
    /// The arguments ask for something impossible.
    #[error("{0}")]
    Usage(String),
    /// Nobody reads our output any more, as with `| head`. It is not reported.
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

/// The innermost cause of an error, which says what happened; the outer ones only say in which layer.
pub(crate) fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}
