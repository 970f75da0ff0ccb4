//! `sessionwatch rules check FILE`: says whether a server would take the file.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::file::RulesFile;

/// The arguments of `sessionwatch rules`.
#[derive(Clone, Debug, Args)]
pub struct RulesCommand {
    #[command(subcommand)]
    what: What,
}

#[derive(Clone, Debug, Subcommand)]
enum What {
    /// Check a rules file, and say what is in it
    Check {
        /// The file
        file: PathBuf,
    },
}

/// Runs the command; returns the text for standard output.
///
/// # Errors
/// Why a server would refuse the file.
pub fn run(command: &RulesCommand) -> Result<String, String> {
    let What::Check { file: path } = &command.what;
    let file = RulesFile::read(path)?;
    let list = |count: usize, one: &str, many: &str| format!("{count} {}", if count == 1 { one } else { many });
    Ok(format!(
        "{}: {}, {}, {}\n",
        path.display(),
        list(file.rules.len(), "rule", "rules"),
        list(file.notify.len(), "target", "targets"),
        list(file.expect.len(), "expected app", "expected apps"),
    ))
}
