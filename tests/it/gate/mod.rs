//! The gate in front of every route: what it decides, cell by cell, and what attackers
//! meet who go around it, over real sockets.

mod attacks;
mod enforce;
mod flood;
mod limits;
mod lists;
mod matrix;
mod nginx;
mod people;
pub mod remote;
pub mod requests;
mod rules;
mod stalled;
mod strangers;
mod takeover;
mod token_file;
pub mod wire;
