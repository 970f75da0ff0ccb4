//! `sessionwatch watch`: the live sessions as they change, on a full screen or line by line.

use std::process::ExitCode;

use clap::Args;

use super::{client::Api, error::CliError, feed, filter::FilterArgs, output::Output, server::ServerArgs};

mod bottom;
mod draw;
mod lines;
mod pending;
mod prompt;
pub mod screen;
mod terminal;

/// Arguments of `watch`.
#[derive(Debug, Args)]
pub struct WatchArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    filter: FilterArgs,
    /// Who asks for the kills, for the event log
    #[arg(long, env = "USER", hide_env_values = true)]
    by: Option<String>,
    /// One line of JSON for each change, first for each session that is there
    #[arg(long)]
    json: bool,
}

pub(super) async fn watch(args: WatchArgs) -> Result<ExitCode, CliError> {
    let output = Output::standard();
    let filter = args.filter.sessions()?;
    let api = Api::new(&args.server)?;
    let frames = feed::follow(api.clone());
    if args.json || !output.is_terminal() {
        lines::follow(frames, &filter, args.json, output).await?;
    } else {
        let screen = screen::Screen::new(filter, output.has_colour());
        terminal::run(api, frames, screen, args.by.as_deref()).await?;
    }
    Ok(ExitCode::SUCCESS)
}
