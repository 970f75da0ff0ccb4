//! sessionwatch: a push-based, real-time monitor of live user sessions.

pub mod cli;
pub mod demo;
