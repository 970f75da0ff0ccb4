//! What a decided change returns.

use std::sync::Arc;

use super::judge::Judgement;
use crate::session::{Kill, Session, SessionId};

/// The result of a change, for the caller who asked for it.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The session is registered.
    Registered {
        /// The session now.
        session: Arc<Session>,
        /// It existed before.
        resumed: bool,
        /// Its token is now `fresh_token` of the registration.
        fresh_token: bool,
    },
    /// Done; there is nothing to return.
    Done,
    /// The session's kill request, made now or before.
    Kill(Arc<Kill>),
    /// The sessions that got a kill request which they did not have before.
    Asked(Vec<SessionId>),
    /// How many sessions were removed.
    Count(usize),
    /// What a rule did.
    Judged(Judgement),
    /// The rules whose action was called off.
    Stayed(Vec<Arc<str>>),
    /// The sessions that the message is sent to.
    Recipients(Vec<SessionId>),
}
