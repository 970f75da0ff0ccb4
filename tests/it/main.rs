//! The one integration binary: real servers on free ports, real sockets, real SQLite
//! files, real signals.

#![allow(unreachable_pub, dead_code, clippy::unwrap_used, reason = "a test is no library, and fails by panicking")]

mod support;

mod cli;
mod contract;
mod documents;
mod gate;
mod lifetime;
mod rest;
mod sockets;
