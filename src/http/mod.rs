//! The handlers of HTTP, one file a resource. Which route leads to a handler, and who may use
//! it, is in `routes`.

pub(crate) mod alerts;
pub mod body;
mod csv;
pub(crate) mod ended;
pub(crate) mod events;
mod filter;
pub(crate) mod health;
pub(crate) mod kills;
pub(crate) mod list;
mod listing;
pub(crate) mod locks;
pub(crate) mod login;
pub(crate) mod messages;
pub(crate) mod nodes;
pub(crate) mod pages;
pub(crate) mod ping;
mod refusals;
pub(crate) mod rules;
pub(crate) mod sessions;
pub(crate) mod sse;
