//! The delivery of alerts: the keeper takes what was raised into its book, and posts alerts to
//! their targets until they are taken.

mod address;
mod chats;
mod facts;
mod mail;
mod post;
mod task;

pub use address::is_public;
pub use post::Poster;
pub use task::deliver;
