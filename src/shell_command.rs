//! `sessionwatch completions` and `sessionwatch man`: files for shells and for `man`, made from the commands themselves.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, Command};
use clap_complete::Shell;

/// The arguments of `sessionwatch completions`.
#[derive(Clone, Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// The arguments of `sessionwatch man`.
#[derive(Clone, Debug, Args)]
pub struct ManArgs {
    /// The folder to write the pages to
    folder: PathBuf,
}

/// The completions of a shell, for standard output.
#[must_use]
pub fn completions(args: &CompletionsArgs, mut command: Command) -> String {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut command, "sessionwatch", &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// Writes a manual page for each command.
///
/// # Errors
/// The folder cannot be written.
pub fn man(args: &ManArgs, command: Command) -> Result<String, String> {
    fs::create_dir_all(&args.folder).map_err(|error| format!("{}: {error}", args.folder.display()))?;
    let mut count = 0;
    pages(&args.folder, command.disable_help_subcommand(true), "sessionwatch", &mut count)?;
    Ok(format!("{}: {count} pages\n", args.folder.display()))
}

fn pages(folder: &Path, mut command: Command, name: &str, count: &mut usize) -> Result<(), String> {
    command.build();
    let inner: Vec<Command> = command.get_subcommands().filter(|inner| !inner.is_hide_set()).cloned().collect();
    let page = clap_mangen::Man::new(command.name(name.to_owned()).bin_name(name.replace('-', " ")));
    let path = folder.join(format!("{name}.1"));
    let mut text = Vec::new();
    page.render(&mut text)
        .and_then(|()| fs::write(&path, text))
        .map_err(|error| format!("{}: {error}", path.display()))?;
    *count += 1;
    for command in inner {
        let name = format!("{name}-{}", command.get_name());
        pages(folder, command, &name, count)?;
    }
    Ok(())
}
