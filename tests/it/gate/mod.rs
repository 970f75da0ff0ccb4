//! The gate in front of every route: what it decides, cell by cell, and what attackers
//! meet who go around it, over real sockets.

mod attacks;
mod limits;
mod matrix;
pub mod remote;
pub mod requests;
mod rules;
mod stalled;
mod token_file;
mod takeover;
pub mod wire;
