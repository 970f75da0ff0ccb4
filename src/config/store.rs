//! Where the server keeps what it stores, for the commands that work on it beside the server.

use std::path::PathBuf;

use clap::Args;

/// The arguments that name the database and the token file. A config file may name both.
#[derive(Clone, Debug, Args)]
pub struct StoreArgs {
    /// The config file of the server, which may name the database and the token file
    #[arg(long, env = "SESSIONWATCH_CONFIG", value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// The server's database; the token file is beside it, and the tokens of postgres://… are in it
    #[arg(
        long,
        env = "SESSIONWATCH_DB",
        hide_env_values = true,
        default_value = "sessionwatch.db",
        value_name = "FILE|URL",
        global = true
    )]
    pub db: PathBuf,
    /// The token file, where the server was given one
    #[arg(long, env = "SESSIONWATCH_TOKEN_FILE", value_name = "FILE", global = true)]
    pub token_file: Option<PathBuf>,
}
