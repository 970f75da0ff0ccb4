//! `sessionwatch config`: says whether a server would take a config file and the environment, and prints an example.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, FromArgMatches as _, Subcommand};

use crate::config::{self, Config, ConfigFile, example, told};
use crate::edge::gate::people::People;
use crate::rules::RulesFile;
use crate::server::tls::Tls;

/// The arguments of `sessionwatch config`.
#[derive(Debug, Args)]
pub struct ConfigCommand {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Check a config file together with the environment, and list what they set; starts nothing
    Check {
        /// The file; without one, only the environment is checked
        #[arg(env = "SESSIONWATCH_CONFIG")]
        file: Option<PathBuf>,
    },
    /// Print a config file with every setting and its default
    Example,
}

/// Runs the command; returns the text for standard output.
///
/// # Errors
/// Why a server would not start with these settings.
pub fn run(command: &ConfigCommand) -> Result<String, String> {
    match &command.what {
        What::Check { file } => check(file.as_deref()),
        What::Example => Ok(example()),
    }
}

fn check(path: Option<&Path>) -> Result<String, String> {
    let file = path.map(ConfigFile::read).transpose()?;
    let command = config::command();
    let command = file.iter().fold(command, |command, file| file.defaults(command));
    let matches = command.try_get_matches_from(["sessionwatch"]).map_err(|error| error.to_string())?;
    let config = Config::from_arg_matches(&matches).map_err(|error| error.to_string())?;
    config.check()?;
    People::new(&config)?;
    config.tls().map(|(cert, key)| Tls::open(&cert, &key)).transpose()?;
    config.rules.as_deref().map(RulesFile::read).transpose()?;
    let settings = told(&matches, file.as_ref());
    let what = path.map_or_else(|| "the environment".to_owned(), |path| path.display().to_string());
    let mut text = match settings.len() {
        0 => format!("{what} is valid; all settings have their defaults\n"),
        1 => format!("{what} is valid; 1 setting is not the default:\n"),
        count => format!("{what} is valid; {count} settings are not the defaults:\n"),
    };
    for setting in settings {
        let _ = writeln!(text, "  {} = {}  ({})", setting.name, setting.value, setting.from);
    }
    Ok(text)
}
