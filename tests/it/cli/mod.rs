//! The command line beside `serve`, as its users have it: the real binary against a real server.

mod demo;
mod kill;
mod look;
mod run;
mod support;
mod terminal;
mod tokens;
