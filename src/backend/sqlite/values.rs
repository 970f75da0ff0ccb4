//! How values are stored in columns.

use crate::clock::Timestamp;
use crate::session::Kill;

/// A kill request as its column has it: a JSON list.
pub(super) fn kill_to_json(kill: &Kill) -> String {
    serde_json::json!([
        &*kill.kill_id,
        kill.requested_at.0,
        &*kill.requested_by,
        kill.reason.as_deref(),
        kill.delivered_at.map(|at| at.0),
        kill.acknowledged_at.map(|at| at.0),
        kill.confirm_by.0,
    ])
    .to_string()
}

/// Reads what [`kill_to_json`] has written; `None` for anything else.
pub(super) fn kill_from_json(json: &str) -> Option<Kill> {
    type Stored = (String, i64, String, Option<String>, Option<i64>, Option<i64>, i64);
    let (kill_id, requested_at, requested_by, reason, delivered_at, acknowledged_at, confirm_by): Stored =
        serde_json::from_str(json).ok()?;
    Some(Kill {
        kill_id: kill_id.into(),
        requested_at: Timestamp(requested_at),
        requested_by: requested_by.into(),
        reason: reason.map(Into::into),
        delivered_at: delivered_at.map(Timestamp),
        acknowledged_at: acknowledged_at.map(Timestamp),
        confirm_by: Timestamp(confirm_by),
    })
}
