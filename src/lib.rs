//! sessionwatch: a push-based, real-time monitor of live user sessions.
//!
//! The modules in reading order; each may use those above it. `ARCHITECTURE.md` walks
//! one heartbeat and one kill through them.

pub mod backend;
pub mod change;
pub mod clock;
pub mod config;
pub mod deadlines;
pub mod decide;
pub mod error;
pub mod feed;
pub mod fields;
pub mod http;
pub mod log;
pub mod metrics;
pub mod monitor;
pub mod places;
pub mod registry;
pub mod secret;
pub mod server;
pub mod session;
pub mod stats;
pub mod timing;
pub mod token_command;
pub mod tokens;
pub mod wire;
pub mod ws;
