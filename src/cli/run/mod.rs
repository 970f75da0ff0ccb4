//! `sessionwatch run`: runs any command as a session.
//!
//! Two parts: [`child`] runs the command, with its signals and its terminal; [`link`] reports it to the server and
//! receives kill requests. Where the server cannot be reached, only the link is affected, never the command.

use std::{
    ffi::OsString,
    io::{self, ErrorKind},
    path::Path,
    process::ExitCode,
    time::Duration,
};

use clap::Args;
use serde_json::{Map, Value};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::{
    client::Api,
    error::CliError,
    output::complain,
    server::{Role, ServerArgs},
    text::escape,
};

mod child;
mod link;
mod script;

/// How long reporting the end may take after the command has ended.
const REPORT_LIMIT: Duration = Duration::from_secs(2);

/// Arguments of `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// The app's name on the dashboard
    #[arg(long)]
    app: String,
    /// What is being done; the command's name unless given
    #[arg(long)]
    task: Option<String>,
    /// Whose session it is
    #[arg(long, env = "USER", hide_env_values = true)]
    user: Option<String>,
    /// A tag of the session, such as env=prod; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = tag)]
    meta: Vec<(String, String)>,
    /// How long the command may take to end after SIGTERM before it gets SIGKILL
    #[arg(long, default_value = "10s", value_name = "TIME", value_parser = humantime::parse_duration)]
    kill_grace: Duration,
    /// Pass our token on to the command, in SESSIONWATCH_TOKEN and SESSIONWATCH_TOKEN_FILE; by default it gets neither
    #[arg(long)]
    pass_token: bool,
    /// Print problems with the server to standard error
    #[arg(long, short)]
    verbose: bool,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

fn tag(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("a tag is written KEY=VALUE".to_owned()),
    }
}

impl RunArgs {
    /// The session as it registers.
    fn registration(&self, pid: u32) -> link::Registration {
        let program = self
            .command
            .first()
            .map(Path::new)
            .and_then(Path::file_name)
            .map(|name| name.to_string_lossy().into_owned());
        let mut meta = Map::new();
        meta.insert("pid".to_owned(), Value::from(pid));
        if let Some(host) = host() {
            meta.insert("host".to_owned(), Value::from(host));
        }
        meta.extend(self.meta.iter().map(|(key, value)| (key.clone(), Value::from(value.clone()))));
        link::Registration {
            app: self.app.clone(),
            // Arguments may hold secrets, so the task is only the program's name.
            task: self.task.clone().or(program).unwrap_or_default(),
            user: self.user.clone().filter(|user| !user.is_empty()),
            meta,
            verbose: self.verbose,
        }
    }
}

fn host() -> Option<String> {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    Some(host).filter(|host| !host.is_empty())
}

pub(super) async fn run(args: RunArgs) -> Result<ExitCode, CliError> {
    let server = ServerArgs { role: Role::Ingest, ..args.server.clone() };
    let api = Api::new(&server)?;
    let child = match child::Child::spawn(&args.command, args.pass_token) {
        Ok(child) => child,
        Err(error) => return Ok(cannot_start(&args.command, &error)),
    };
    let (kills, asked) = mpsc::channel(1);
    let (gone, over) = oneshot::channel();
    let mut link = tokio::spawn(link::keep(api, args.registration(child.id()), kills, over));
    let ending = child.wait(asked, args.kill_grace).await?;
    // The command has ended. Its end is still reported, for a short time only.
    let _ = gone.send(ending.code);
    if timeout(REPORT_LIMIT, &mut link).await.is_err() {
        link.abort();
    }
    // A pending name resolution keeps a thread, and the runtime would wait for it at the end of `main`. So we exit here.
    ending.exit();
}

/// Says why the command cannot be started; the exit status as of `env` and `nohup`: 127 where the command does not
/// exist, 126 where it cannot be run.
fn cannot_start(command: &[OsString], error: &io::Error) -> ExitCode {
    let name = command.first().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    complain(&format!("Cannot run {}: {error}.", escape(&name)));
    ExitCode::from(if error.kind() == ErrorKind::NotFound { 127 } else { 126 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        run: RunArgs,
    }

    fn parse(args: &[&str]) -> Result<RunArgs, clap::Error> {
        Cli::try_parse_from(std::iter::once("run").chain(args.iter().copied())).map(|cli| cli.run)
    }

    #[test]
    fn the_command_keeps_its_own_options() {
        let Ok(args) =
            parse(&["--app", "backup", "--meta", "env=prod", "--meta", "url=a=b", "--", "tar", "--app", "-x"])
        else {
            panic!("a plain command line")
        };
        assert_eq!(args.command, ["tar", "--app", "-x"]);
        assert_eq!(args.meta, [("env".to_owned(), "prod".to_owned()), ("url".to_owned(), "a=b".to_owned())]);
        assert_eq!(args.kill_grace, Duration::from_secs(10));
        let registration = args.registration(7);
        assert_eq!(registration.task, "tar");
        assert_eq!(registration.meta["pid"], 7);
        assert_eq!(registration.meta["env"], "prod");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        assert!(parse(&["--app", "backup"]).is_err(), "no command");
        assert!(parse(&["--", "true"]).is_err(), "no app");
        assert!(parse(&["--app", "b", "--meta", "env", "--", "true"]).is_err(), "no value");
        assert!(parse(&["--app", "b", "--kill-grace", "soon", "--", "true"]).is_err(), "no time");
    }
}
