//! The gate in front of every route: what it decides, cell by cell, and what attackers
//! meet who go around it, over real sockets.

mod attacks;
mod flood;
mod limits;
mod matrix;
mod nginx;
mod people;
mod remote;
mod requests;
mod rules;
mod stalled;
mod strangers;
mod takeover;
pub mod wire;
