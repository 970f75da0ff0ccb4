//! The gate in front of every route: all its decisions as a matrix, and attacks over real
//! sockets.

mod attacks;
mod behind;
mod enforce;
mod flood;
mod limits;
mod lists;
mod matrix;
pub mod nginx;
mod people;
pub mod remote;
mod certificate;
pub mod requests;
mod rules;
mod scope;
mod stalled;
mod strangers;
mod takeover;
mod token_file;
pub mod wire;
