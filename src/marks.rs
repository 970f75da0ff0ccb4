//! What rules have noted on a session, so that no rule acts twice for one cause, also after a restart.

use std::sync::Arc;

use serde::Serialize;

use crate::clock::Timestamp;

/// What one rule has noted on a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The name of the rule.
    pub rule: Arc<str>,
    /// When it was noted.
    pub at: Timestamp,
    /// How far the rule has come.
    pub step: Step,
}

/// How far a rule has come with a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The session will be ended at this time, unless the rule no longer matches then.
    Due(Timestamp),
    /// The rule has told its targets; it does nothing else.
    Noted,
    /// The user stays, or an administrator spares the session.
    Spared,
}

/// What a rule is about to do with a session, as the API shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Due {
    /// The name of the rule.
    #[schema(value_type = String)]
    pub rule: Arc<str>,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// What: `kill`.
    pub action: &'static str,
}

/// What is due by these marks, the soonest first.
#[must_use]
pub fn due(marks: &[Mark]) -> Vec<Due> {
    let mut due: Vec<Due> = marks
        .iter()
        .filter_map(|mark| match mark.step {
            Step::Due(at) => Some(Due { rule: mark.rule.clone(), at, action: "kill" }),
            Step::Noted | Step::Spared => None,
        })
        .collect();
    due.sort_by_key(|due| due.at);
    due
}

/// Marks as a store keeps them: a JSON list of lists.
#[must_use]
pub fn to_json(marks: &[Mark]) -> String {
    let one = |mark: &Mark| match mark.step {
        Step::Due(at) => serde_json::json!([&*mark.rule, mark.at.0, "due", at.0]),
        Step::Noted => serde_json::json!([&*mark.rule, mark.at.0, "noted", null]),
        Step::Spared => serde_json::json!([&*mark.rule, mark.at.0, "spared", null]),
    };
    serde_json::Value::Array(marks.iter().map(one).collect()).to_string()
}

/// Reads what [`to_json`] has written. A step that this version does not know is passed over.
#[must_use]
pub fn from_json(json: &str) -> Arc<[Mark]> {
    let rows: Vec<(String, i64, String, Option<i64>)> = serde_json::from_str(json).unwrap_or_default();
    let one = |(rule, at, step, when): (String, i64, String, Option<i64>)| {
        let step = match (step.as_str(), when) {
            ("due", Some(when)) => Step::Due(Timestamp(when)),
            ("noted", _) => Step::Noted,
            ("spared", _) => Step::Spared,
            _ => return None,
        };
        Some(Mark { rule: rule.into(), at: Timestamp(at), step })
    };
    rows.into_iter().filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_read_as_they_were_written() {
        let mark = |step| Mark { rule: "idle \"desks\"".into(), at: Timestamp(5), step };
        let marks = [mark(Step::Due(Timestamp(9))), mark(Step::Noted), mark(Step::Spared)];
        assert_eq!(*from_json(&to_json(&marks)), marks);
        assert!(from_json("[[\"a\",1,\"later\",null]]").is_empty());
        assert_eq!(due(&marks).len(), 1);
    }
}
