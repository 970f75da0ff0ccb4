//! Where the tokens are: in a file of one server, or in a database that several share.

use std::path::{Path, PathBuf};

use crate::backend::postgres::TokenBook;
use crate::config::{check_token_file, database_url, token_path};
use crate::tokens::{self, File, Taken};

pub(super) enum Place {
    File(PathBuf),
    Database(TokenBook),
}

impl Place {
    pub(super) async fn open(token_file: Option<&Path>, db: &Path) -> Result<Self, String> {
        check_token_file(token_file, db)?;
        if let Some(url) = database_url(db) {
            return TokenBook::open(url).await.map(Self::Database);
        }
        let path = token_path(token_file, db);
        if !path.exists() {
            return Err(format!(
                "there is no token file at {}; name it with --token-file or --db, or start the server, which makes one",
                path.display()
            ));
        }
        Ok(Self::File(path))
    }

    pub(super) async fn read(&self) -> Result<File, String> {
        match self {
            Self::File(path) => tokens::read(path),
            Self::Database(book) => book.read().await,
        }
    }

    /// Makes a change, and waits until the running servers use it.
    pub(super) async fn update(
        &self,
        change: impl FnOnce(&mut File) -> Result<(), String>,
    ) -> Result<(File, Taken), String> {
        match self {
            Self::File(path) => {
                let (file, digest) = tokens::update(path, change)?;
                let taken = tokens::wait(path, &digest);
                Ok((file, taken))
            }
            Self::Database(book) => {
                let (file, version) = book.update(change).await?;
                // The change is made: its new secret has to be shown, whatever happens now.
                let taken = book.wait(version).await.unwrap_or(Taken::NotYet);
                Ok((file, taken))
            }
        }
    }

    /// Whether the running servers use a change.
    pub(super) fn note(&self, taken: &Taken) -> String {
        match (self, taken) {
            (Self::File(_), Taken::By(url)) => format!("The running server at {url} has taken it.\n"),
            (Self::File(_), Taken::NobodyRuns) => {
                "No running server uses this file; the change counts when one starts.\n".to_owned()
            }
            (Self::File(path), Taken::NotYet) => format!(
                "The file is changed, but the running server has NOT taken it, and still uses the tokens from before. Read its log, and check that its user can read {}.\n",
                path.display()
            ),
            (Self::Database(_), Taken::By(_)) => "All running servers have taken it.\n".to_owned(),
            (Self::Database(_), Taken::NobodyRuns) => {
                "No server runs on this database; the change counts when one starts.\n".to_owned()
            }
            (Self::Database(_), Taken::NotYet) => {
                "The database has the change, but a running server has NOT taken it, and still uses the tokens from before. Read the servers' logs.\n".to_owned()
            }
        }
    }

    /// Why a link would not work.
    pub(super) fn no_link(&self, taken: &Taken) -> String {
        match (self, taken) {
            (Self::File(path), Taken::NotYet) => format!(
                "the running server has not taken the link; read its log, and check that its user can read {}",
                path.display()
            ),
            (Self::Database(_), Taken::NotYet) => {
                "a running server has not taken the link; read the servers' logs".to_owned()
            }
            _ => "no running server uses these tokens, so a link would not work; start the server, or name the right one with --db or --token-file".to_owned(),
        }
    }
}
