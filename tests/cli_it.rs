//! The command line against a real server.

mod cli;
