//! The rules: what they are and did, whether one may act again, and users who stay.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::body::{Json, Maybe};
use super::refusals::Refusals;
use super::sessions::TokenBody;
use crate::change::{Authority, Proof};
use crate::clock::Timestamp;
use crate::edge::Shared;
use crate::edge::extract::Path;
use crate::edge::gate::Caller;
use crate::edge::owner::own;
use crate::edge::problem::Answer;
use crate::error::{Error, Result};
use crate::monitor::RuleCounts;
use crate::rehearsal::Rehearsal;
use crate::rules::{Rule, Then};

/// One rule, and what it has done.
#[derive(Serialize, ToSchema)]
pub(crate) struct RuleJson<'a> {
    name: &'a str,
    /// The filter of the sessions for which it holds.
    when: &'a str,
    warn: Option<&'a str>,
    /// The time from the warning to the end, in seconds.
    grace: u64,
    /// `kill` or `notify`.
    #[schema(value_type = String)]
    then: Then,
    reason: Option<&'a str>,
    #[schema(value_type = Vec<String>)]
    notify: &'a [Arc<str>],
    /// At most so many sessions in so long a time.
    limit: String,
    #[serde(flatten)]
    done: Option<RuleCounts>,
}

/// The rules in force.
#[derive(Serialize, ToSchema)]
pub(crate) struct RulesBody<'a> {
    rules: Vec<RuleJson<'a>>,
    /// When the file in force was read; null where the server has none.
    #[schema(value_type = Option<String>, format = DateTime)]
    read_at: Option<Timestamp>,
    /// Why the file, as it is now, is refused; an older one is in force then.
    refused: Option<&'a str>,
    /// Whether this server judges the rules; of several, one does, and only it has the numbers.
    keeper: bool,
}

/// Refuses a caller who is limited to some apps: rules are about all of them.
fn for_all_apps(caller: &Caller) -> Result<()> {
    if caller.scope().is_all() {
        return Ok(());
    }
    Err(Error::Forbidden("rules are about all apps, and this token is limited to some; use one that is not".to_owned()))
}

/// `GET /rules`
#[utoipa::path(get, path = "/rules", tag = "administrators", responses((status = 200, description = "the rules in force, and what they have done", body = RulesBody), Refusals))]
pub(crate) async fn list(State(app): State<Shared>, caller: Caller) -> Answer {
    for_all_apps(&caller)?;
    let (file, standing) = (app.monitor.rules().now(), app.monitor.rules().standing());
    let done = app.monitor.rules_done();
    let done_by = |rule: &Rule| done.iter().find(|(known, _)| **known == *rule).map(|(_, done)| done.clone());
    let body = RulesBody {
        rules: file.rules.iter().map(|rule| rule_json(rule, done_by(rule))).collect(),
        read_at: standing.path.is_some().then_some(standing.read_at),
        refused: standing.refused.as_deref(),
        keeper: app.monitor.is_keeper(),
    };
    Ok(axum::Json(body).into_response())
}

fn rule_json(rule: &Rule, done: Option<RuleCounts>) -> RuleJson<'_> {
    RuleJson {
        name: &rule.name,
        when: rule.when.text(),
        warn: rule.warn.as_deref(),
        grace: rule.grace.as_secs(),
        then: rule.then,
        reason: rule.reason.as_deref(),
        notify: &rule.notify,
        limit: format!("{} per {}", rule.limit.count, humantime::format_duration(whole(rule.limit.per))),
        done,
    }
}

/// Whole seconds, so that the text is short.
fn whole(time: Duration) -> Duration {
    Duration::from_secs(time.as_secs().max(1))
}

/// A rule that may act again.
#[derive(Serialize, ToSchema)]
pub(crate) struct Released {
    status: &'static str,
}

/// `POST /rules/{name}/release`
#[utoipa::path(post, path = "/rules/{name}/release", tag = "administrators", params(("name" = String, Path, description = "The rule")), responses((status = 200, description = "it may act again, with its whole limit", body = Released), Refusals))]
pub(crate) async fn release(State(app): State<Shared>, Path(name): Path<String>, caller: Caller) -> Answer {
    for_all_apps(&caller)?;
    app.monitor.release_rule(&name).await?;
    tracing::info!(rule = name, by = caller.actor().by.as_deref(), "a rule may act again");
    Ok(axum::Json(Released { status: "released" }).into_response())
}

/// A rule to rehearse.
#[derive(Deserialize, ToSchema)]
pub(crate) struct RehearseBody {
    /// The TOML text of one `[[rule]]`.
    rule: String,
    /// How far back, such as `7d`; a day by default.
    since: Option<String>,
}

/// What a rule would have done.
#[derive(Serialize, ToSchema)]
pub(crate) struct Rehearsed {
    name: String,
    /// From when on; later than was asked for where the log is too long.
    #[schema(value_type = String, format = DateTime)]
    since: Timestamp,
    #[serde(flatten)]
    would: Rehearsal,
}

/// `POST /rules/rehearse`
#[utoipa::path(post, path = "/rules/rehearse", tag = "administrators", request_body = RehearseBody, responses((status = 200, description = "what the rule would have done; it does nothing", body = Rehearsed), Refusals))]
pub(crate) async fn rehearse(State(app): State<Shared>, caller: Caller, Json(body): Json<RehearseBody>) -> Answer {
    for_all_apps(&caller)?;
    let rule = Rule::parse(&body.rule).map_err(Error::Invalid)?;
    let wrong = |_| Error::Invalid("since must be a time like 12h or 7d, up to 90d".to_owned());
    let since = humantime::parse_duration(body.since.as_deref().unwrap_or("24h")).map_err(wrong)?;
    let since = since.min(Duration::from_secs(90 * 86_400));
    let name = rule.name.to_string();
    let (would, since) = app.monitor.rehearse(rule, app.monitor.now().minus(since)).await?;
    Ok(axum::Json(Rehearsed { name, since, would }).into_response())
}

/// What was called off.
#[derive(Serialize, ToSchema)]
pub(crate) struct Stays {
    status: &'static str,
    /// The rules that were about to end the session.
    #[schema(value_type = Vec<String>)]
    called_off: Vec<Arc<str>>,
}

/// `POST /sessions/{id}/stay`
#[utoipa::path(post, path = "/sessions/{id}/stay", tag = "apps", params(("id" = String, Path, description = "The session")), request_body = Option<TokenBody>, responses((status = 200, description = "what rules were about to do is called off", body = Stays), Refusals))]
pub(crate) async fn stay(
    State(app): State<Shared>,
    Path(id): Path<String>,
    caller: Caller,
    Maybe(body): Maybe<TokenBody>,
) -> Answer {
    let token = body.session_token.as_deref();
    let (session, authority) = own(&app, &caller, &id, token).await?;
    let actor = match caller.proof(token) {
        Proof::Token(_) => caller.address(),
        _ => caller.actor(),
    };
    let called_off = app.monitor.stay(session.id.clone(), actor, authority).await?;
    Ok(axum::Json(Stays { status: "stays", called_off }).into_response())
}

/// `POST /sessions/{id}/spare`: as `stay`, on a route of administrators, where the page's login counts.
#[utoipa::path(post, path = "/sessions/{id}/spare", tag = "administrators", params(("id" = String, Path, description = "The session")), responses((status = 200, description = "what rules were about to do is called off", body = Stays), Refusals))]
pub(crate) async fn spare(State(app): State<Shared>, Path(id): Path<String>, caller: Caller) -> Answer {
    let session = caller.session(&app, &id)?;
    let authority = Authority::Proof(Proof::Trusted);
    let called_off = app.monitor.stay(session.id.clone(), caller.actor(), authority).await?;
    Ok(axum::Json(Stays { status: "stays", called_off }).into_response())
}
