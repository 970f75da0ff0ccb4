//! The command line beside `serve`, as its users have it: the real binary against a real server.

mod demo;
mod hostile;
mod kill;
mod look;
mod run;
mod screen;
mod support;
mod terminal;
mod tokens;
mod watch;
