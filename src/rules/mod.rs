//! The rules file: what the server does by itself, whom it tells, and which jobs it expects.
//! It is optional; without it nothing of this happens.

mod check;
pub mod file;
mod live;
mod occasion;
mod shapes;

pub use file::{Every, Expect, Limit, Notify, NotifyKind, On, Rule, RulesFile, Secret, Then};
pub use live::{Rules, Standing};
pub use occasion::Occasion;
