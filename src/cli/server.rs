//! Which server a command speaks to, and as whom.

use std::{fmt, str::FromStr};

use clap::Args;

/// A token that does not show itself in debug output.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl FromStr for Token {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

impl Token {
    /// The token itself, for the wire.
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

/// Which server, and as whom: the arguments every command takes.
#[derive(Debug, Clone, Args)]
pub struct ServerArgs {
    /// The server's address
    #[arg(long, env = "SESSIONWATCH_SERVER", default_value = "http://127.0.0.1:8000", value_name = "URL")]
    pub server: String,
    /// The token that the server asks for
    #[arg(long, env = "SESSIONWATCH_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    pub token: Option<Token>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_never_shows_in_debug_output() {
        let args = ServerArgs { server: "http://h:1".to_owned(), token: "s3cret".parse().ok() };
        assert!(!format!("{args:?}").contains("s3cret"));
    }
}
