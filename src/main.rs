//! The `sessionwatch` command: arguments, logging, open the store, serve.

use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};
use sessionwatch::backend::Backend;
use sessionwatch::backend::sqlite::Sqlite;
use sessionwatch::config::{Config, LogFormat};
use sessionwatch::server::Server;
use sessionwatch::token_command::{self, TokenCommand};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// A push-based, real-time monitor of live user sessions
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    config: Config,
}

#[derive(Subcommand)]
enum Command {
    /// Serve (what happens without a command)
    Serve(Config),
    /// List, rotate or revoke the tokens that remote access takes
    Token(TokenCommand),
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.command {
        None => serve(&arguments.config).await,
        Some(Command::Serve(config)) => serve(&config).await,
        Some(Command::Token(command)) => match token_command::run(&command) {
            Ok(text) => {
                show(&text);
                ExitCode::SUCCESS
            }
            Err(why) => fail(&why),
        },
    }
}

fn log(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
}

async fn serve(config: &Config) -> ExitCode {
    log(config.log_format);
    match start(config).await {
        Ok(server) => {
            announce(&server);
            server.run(asked_to_end()).await;
            ExitCode::SUCCESS
        }
        Err(why) => fail(&why),
    }
}

async fn start(config: &Config) -> Result<Server, String> {
    // What is wrong with the arguments is said before anything is made on the disk.
    config.timing()?;
    config.base()?;
    config.allowed_origins()?;
    config.check_exposure()?;
    let store = Sqlite::open(&config.db).await.map_err(|error| error.to_string())?;
    Server::bind(config, Arc::new(store) as Arc<dyn Backend>).await
}

#[expect(clippy::print_stdout, reason = "the first line is for whoever started the server")]
fn announce(server: &Server) {
    // In one write, so that who waits for the first line has the second one too.
    let link = server.link().map_or_else(String::new, |link| format!("\nlog in, once, with {link}"));
    println!("sessionwatch is listening on {}{link}", server.url());
}

#[expect(clippy::print_stdout, reason = "what was asked for")]
fn show(text: &str) {
    print!("{text}");
}

#[expect(clippy::print_stderr, reason = "a refusal to start is told to who started it, not to the log")]
fn fail(why: &str) -> ExitCode {
    eprintln!("sessionwatch: {why}");
    ExitCode::FAILURE
}

async fn asked_to_end() {
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("shutting down");
}
