//! The `sessionwatch` command: arguments, logging, open the store, serve.

use std::os::unix::fs::DirBuilderExt;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Parser, Subcommand};
use sessionwatch::backend::Backend;
use sessionwatch::backend::sqlite::Sqlite;
use sessionwatch::cli;
use sessionwatch::config::{Config, LogFormat};
use sessionwatch::demo::{self, DemoArgs};
use sessionwatch::server::Server;
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
    Serve(Box<Config>),
    /// Serve on a throwaway database, with simulated apps whose sessions come, work, end and obey kills
    Demo(Box<Demo>),
    #[command(flatten)]
    Cli(cli::Command),
}

#[derive(Args)]
struct Demo {
    #[command(flatten)]
    demo: DemoArgs,
    #[command(flatten)]
    config: Config,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.command {
        None => serve(&arguments.config).await,
        Some(Command::Serve(config)) => serve(&config).await,
        Some(Command::Demo(arguments)) => demo(*arguments).await,
        Some(Command::Cli(command)) => cli::execute(command).await,
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

async fn demo(Demo { demo, mut config }: Demo) -> ExitCode {
    log(config.log_format);
    let throwaway = std::env::temp_dir().join(format!("sessionwatch-demo-{}", uuid::Uuid::new_v4()));
    config.db = throwaway.join("sessions.db");
    let started = match std::fs::DirBuilder::new().mode(0o700).create(&throwaway) {
        Ok(()) => start(&config).await,
        Err(error) => Err(format!("cannot make {}: {error}", throwaway.display())),
    };
    let code = match started {
        Ok(server) => {
            announce(&server);
            let company = demo::populate(server.url(), demo.sessions, asked_to_end());
            tokio::join!(server.run(asked_to_end()), company);
            ExitCode::SUCCESS
        }
        Err(why) => fail(&why),
    };
    // It is thrown away; where that fails, the system's own cleaning of its temporary directory does it.
    let _ = std::fs::remove_dir_all(&throwaway);
    code
}

async fn start(config: &Config) -> Result<Server, String> {
    // What is wrong with the arguments is said before anything is made on the disk.
    config.timing()?;
    config.check_exposure()?;
    let store = Sqlite::open(&config.db).await.map_err(|error| error.to_string())?;
    Server::bind(config, Arc::new(store) as Arc<dyn Backend>).await
}

#[expect(clippy::print_stdout, reason = "the first line is for whoever started the server")]
fn announce(server: &Server) {
    println!("sessionwatch is listening on {}", server.url());
    if let Some(link) = server.link() {
        println!("log in, once, with {link}");
    }
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
