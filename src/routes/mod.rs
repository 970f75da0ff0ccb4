//! The routes: the whole table, the gate in front of each line, and what every request passes.
//! It is above `http` and `ws` and is the only room that knows both.

mod base;
mod front;
mod guard;
mod openapi;
mod router;
mod table;

pub use front::Front;
pub use table::{Route, table};
