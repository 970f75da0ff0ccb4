//! The integration tests, in one binary: real servers on free ports, real sockets, real
//! SQLite files, real signals.

#![allow(
    unreachable_pub,
    dead_code,
    clippy::unwrap_used,
    clippy::large_futures,
    clippy::print_stdout,
    reason = "a test is no library, and fails by panicking"
)]

mod postgres;
mod support;

mod alerts;
mod alerts_book;
mod alerts_mail;
mod alerts_server;
mod cli;
mod backup;
mod config_file;
mod grafana;
mod health;
mod contract;
mod contract_alerts;
mod contract_past;
mod documents;
mod import;
mod cluster;
mod cluster_nodes;
mod cluster_tls;
mod cluster_tokens;
mod layers;
mod gate;
mod lifetime;
mod locks;
mod metrics;
mod past;
mod past_http;
mod rest;
mod rules;
mod rules_file;
mod running;
mod sockets;
mod systemd;
mod texts;
mod torture;
