//! Alerts: what is worth telling a target of the rules file, and how it is told. Pure: no I/O
//! and no clock.
//!
//! What happens is *raised*: a row that is committed together with the events it is about,
//! by whichever server commits. The keeper *takes* these rows into its book, where they wait
//! for their delay and are gathered into alerts, and delivers those.

/// The id of the subject that is the disk of the store.
pub const DISK: &str = "disk";

/// The beginning of the id of a subject that is a server of the cluster; its number follows.
pub const NODE: &str = "node ";

mod alert;
mod arise;
mod book;
mod expected;
mod mark;
mod raised;
mod text;

pub use alert::{Alert, Answer, State, TRY_FOR, backoff};
pub use arise::{arise, by_rule, of_app, of_server, of_session};
pub use book::{Book, Kept, Look, Settled};
pub use raised::{Raised, RaisedAlert, Subject};
