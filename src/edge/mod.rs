//! What HTTP and the sockets share: the server's state, the gate, refusals, the checks of
//! what clients send, limits for each address. It knows neither routes nor sockets.

pub mod extract;
pub mod gate;
pub mod input;
pub mod json;
pub mod limits;
pub mod owner;
pub mod problem;

use std::net::SocketAddr;
use std::sync::Arc;

use crate::monitor::Monitor;
use crate::per_address::PerAddress;
use gate::Gate;
use limits::{Lists, Tests};

/// The state of the server that every handler works with.
pub struct App {
    /// The monitor.
    pub monitor: Arc<Monitor>,
    /// Decides who may ask for what.
    pub gate: Gate,
    /// Open WebSockets by address.
    pub sockets: PerAddress,
    /// Open event streams by address.
    pub streams: PerAddress,
    /// Lists of sessions that are being sent.
    pub lists: Lists,
    /// When the targets of alerts were tested.
    pub tests: Tests,
}

/// The state as handlers get it.
pub type Shared = Arc<App>;

/// The address of the other end of the connection; the server puts it into each request.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// The path under which a browser finds the server, put into each request; empty at the root.
#[derive(Clone, Debug)]
pub struct Base(pub Arc<str>);
