//! sessionwatch: a push-based, real-time monitor of live user sessions.
//!
//! The modules in reading order; each may use those above it. `ARCHITECTURE.md` walks
//! one heartbeat and one kill through them.

#[cfg(not(unix))]
compile_error!("sessionwatch runs on Linux and macOS; on Windows, build it in WSL 2");

pub mod clock;
pub mod timing;
pub mod error;
pub mod marks;
pub mod session;
pub mod fields;
pub mod filter;
pub mod secret;
pub mod nodes;
pub mod scope;
pub mod lock;
pub mod credentials;
pub mod stamp;
pub mod change;
pub mod log;
pub mod deadlines;
pub mod registry;
pub mod stats;
pub mod tokens;
pub mod rules;
pub mod alerts;
pub mod decide;
pub mod rehearsal;
pub mod past;
pub mod backend;
pub mod wire;
pub mod metrics;
pub mod feed;
pub mod monitor;
pub mod delivery;
pub mod config;
pub mod logging;
pub mod per_address;
pub mod places;
pub mod heads;
pub mod edge;
pub mod http;
pub mod ws;
pub mod routes;
pub mod server;
pub mod import_command;
pub mod cli;
pub mod demo;
pub mod backup_command;
pub mod health_command;
pub mod shell_command;
pub mod config_command;
pub mod rules_command;
pub mod token_command;
