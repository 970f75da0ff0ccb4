//! The server's address and the token: arguments that every command has.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
};

use clap::Args;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use serde_json::Value;

use super::error::CliError;
use crate::credentials;

/// A token that is not shown in debug output.
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
    /// The token's text, for requests.
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

/// The server's address and the token.
#[derive(Debug, Clone, Args)]
pub struct ServerArgs {
    /// The server's address
    #[arg(long, env = "SESSIONWATCH_URL", default_value = "http://127.0.0.1:8000", value_name = "URL")]
    pub server: String,
    /// The token that the server asks for; others can see it in the list of processes, unlike --token-file
    #[arg(long, env = "SESSIONWATCH_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    pub token: Option<Token>,
    /// A file that holds the token, or the server's own token file
    #[arg(long, env = "SESSIONWATCH_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// A file with the certificates (PEM) that have signed the server's, in the place of the system's
    #[arg(long, env = "SESSIONWATCH_CACERT", value_name = "FILE")]
    pub cacert: Option<PathBuf>,
    /// Which role's token is taken where the file is the server's own token file.
    #[arg(skip)]
    pub role: Role,
}

impl ServerArgs {
    /// The arguments for a server that needs no token.
    #[must_use]
    pub fn open(server: &str) -> Self {
        Self { server: server.to_owned(), token: None, token_file: None, cacert: None, role: Role::default() }
    }

    /// The token: from the command line or the environment, else from the file, else from the systemd credential
    /// `sessionwatch.token`.
    pub(super) fn token(&self) -> Result<Option<Token>, CliError> {
        let given = self.token.clone().filter(|token| !token.reveal().is_empty());
        let file = self.token_file.clone().filter(|path| !path.as_os_str().is_empty());
        match (given, file.or_else(|| credentials::named(credentials::TOKEN))) {
            (Some(token), _) => Ok(Some(token)),
            (None, Some(path)) => read(&path, self.role).map(Some),
            (None, None) => Ok(None),
        }
    }
}

/// What TLS is based on where a file of certificates is given.
///
/// # Errors
/// The file cannot be read, or has no certificate.
pub(super) fn trusting(path: &Path) -> Result<ClientConfig, CliError> {
    let wrong = |why: String| CliError::Usage(format!("--cacert {} {why}.", path.display()));
    let mut roots = RootCertStore::empty();
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let (added, _) = roots.add_parsable_certificates(read.map_err(|error| wrong(format!("cannot be read: {error}")))?);
    if added == 0 {
        return Err(wrong("has no certificate".to_owned()));
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(|error| wrong(error.to_string()))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// The role that a command needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// To list sessions and to end them.
    #[default]
    Admin,
    /// To register a session.
    Ingest,
}

fn read(path: &Path, role: Role) -> Result<Token, CliError> {
    let wrong = |why: &str| CliError::Usage(format!("The token file {} {why}.", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| wrong(&format!("cannot be read: {error}")))?;
    let text = text.trim();
    if !text.starts_with('{') {
        return match text {
            "" => Err(wrong("is empty: put the token into it")),
            token if token.contains(char::is_whitespace) => Err(wrong("holds more than one token: leave one")),
            token => Ok(Token(token.to_owned())),
        };
    }
    let word = if role == Role::Ingest { "ingest" } else { "admin" };
    let file: Value = serde_json::from_str(text).map_err(|_| wrong("is neither a token nor a server's token file"))?;
    let fits = |line: &&Value| line["role"] == word && line["apps"].is_null();
    let token = file["tokens"].as_array().and_then(|lines| lines.iter().find(fits)?["token"].as_str());
    token.map(|token| Token(token.to_owned())).ok_or_else(|| wrong(&format!("has no {word} token for all apps")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_never_shows_in_debug_output() {
        let args = ServerArgs { token: "s3cret".parse().ok(), ..ServerArgs::open("http://h:1") };
        assert!(!format!("{args:?}").contains("s3cret"));
    }

    #[test]
    fn a_token_file_holds_one_token_or_is_the_servers_own() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("t");
        let read = |text: &str, role| {
            std::fs::write(&path, text).expect("written");
            read(&path, role).map(|token| token.reveal().to_owned()).ok()
        };
        assert_eq!(read("s3cret\n", Role::Admin).as_deref(), Some("s3cret"));
        for wrong in ["", "\n", "one two", "{", "{}", r#"{"tokens":[]}"#] {
            assert_eq!(read(wrong, Role::Admin), None, "{wrong:?}");
        }
        let own = r#"{"tokens":[{"role":"admin","token":"l","apps":["risk"]},{"role":"ingest","token":"i"},{"role":"admin","token":"a"}]}"#;
        assert_eq!(read(own, Role::Admin).as_deref(), Some("a"));
        assert_eq!(read(own, Role::Ingest).as_deref(), Some("i"));
    }
}
