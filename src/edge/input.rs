//! What clients say of their sessions, in a body or in a frame, and the checks of each field.

use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::gate::Caller;
use crate::change::{Registration, Report};
use crate::error::Result;
use crate::session::SessionId;
use crate::timing::Timing;
use crate::{fields, secret};

/// The fields of a registration.
#[derive(Default, Deserialize, ToSchema)]
pub struct RegisterBody {
    /// The app, 1 to 256 characters.
    #[schema(required = true, nullable = false, min_length = 1, max_length = 256)]
    pub app_name: Option<String>,
    /// The user.
    pub user_id: Option<String>,
    /// The client's own id.
    #[schema(pattern = "^[A-Za-z0-9._:-]{1,128}$")]
    pub session_id: Option<String>,
    /// The token of the session to resume.
    pub session_token: Option<String>,
    /// At most 32 tags.
    #[schema(value_type = Option<Object>)]
    pub meta: Option<Map<String, Value>>,
    /// Seconds between heartbeats.
    pub heartbeat_interval: Option<f64>,
    /// What the user or job does.
    pub status: Option<String>,
    /// The current task.
    pub current_task: Option<String>,
    /// The client's name and version.
    pub client: Option<String>,
    /// Whether the page is visible.
    pub visibility: Option<String>,
    /// Seconds without input of the user; 0 while the user is active.
    pub idle_seconds: Option<f64>,
}

impl RegisterBody {
    /// The registration with every text shortened or replaced so that it is accepted: for old
    /// clients, which cannot handle a refusal.
    #[must_use]
    pub fn cleaned(mut self) -> Self {
        for name in [&mut self.app_name, &mut self.user_id, &mut self.current_task].into_iter().flatten() {
            *name = fields::clean(name, fields::NAME_MAX);
        }
        self.status = cleaned_status(self.status, self.current_task.as_deref());
        self
    }

    /// Checks every field. Returns the registration and the secret whose digest is in it.
    ///
    /// # Errors
    /// Which field is wrong, and what it may be.
    pub fn check(&self, caller: &Caller, id: Option<SessionId>, timing: &Timing) -> Result<(Registration, String)> {
        let (token, fresh_token) = secret::fresh();
        let id = match (id, self.session_id.as_deref()) {
            (Some(id), _) => id,
            (None, Some(id)) => fields::session_id(id)?,
            (None, None) => SessionId::fresh(),
        };
        let app = self.app_name.as_deref().unwrap_or_default();
        let default_interval = timing.heartbeat_interval.as_secs_f64();
        let interval = self.heartbeat_interval.unwrap_or(default_interval);
        let registration = Registration {
            id,
            app: fields::app_name("app_name", app)?,
            user: fields::optional("user_id", self.user_id.as_deref(), fields::NAME_MAX)?,
            meta: self.meta.as_ref().map_or(Ok(None), fields::meta)?,
            heartbeat_interval: fields::heartbeat_interval(interval, timing.stale_after.as_secs_f64())?,
            status: self.status.as_deref().map(fields::status).transpose()?,
            task: fields::optional("current_task", self.current_task.as_deref(), fields::NAME_MAX)?,
            visibility: self.visibility.as_deref().map(fields::visibility).transpose()?,
            no_input_for: self.idle_seconds.map(fields::idle_seconds).transpose()?,
            client: fields::optional("client", self.client.as_deref(), fields::CLIENT_MAX)?,
            remote_addr: Some(caller.from.to_string().into()),
            proof: caller.proof(self.session_token.as_deref()),
            fresh_token,
            scope: caller.scope(),
            registered_by: caller.identity.as_ref().map(|identity| identity.name.clone()),
            socket: None,
        };
        Ok((registration, token))
    }
}

/// The fields of a heartbeat or a report.
#[derive(Default, Deserialize, ToSchema)]
pub struct ReportBody {
    /// What the user or job does.
    pub status: Option<String>,
    /// The current task; null clears it.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    pub current_task: Option<Option<String>>,
    /// Whether the page is visible.
    pub visibility: Option<String>,
    /// Seconds without input of the user; 0 while the user is active.
    pub idle_seconds: Option<f64>,
    /// The tags; they replace all earlier tags.
    #[schema(value_type = Option<Object>)]
    pub meta: Option<Map<String, Value>>,
    /// The session's token, if it is not in the header.
    pub session_token: Option<String>,
}

/// Reads a field so that absent is `None` and null is `Some(None)`.
pub(crate) fn present<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<Option<Option<String>>, D::Error> {
    Option::<String>::deserialize(deserializer).map(Some)
}

/// The status of an old client. A task with an empty status means `running`.
fn cleaned_status(said: Option<String>, task: Option<&str>) -> Option<String> {
    let at_work = task.is_some_and(|task| !task.is_empty());
    said.map(|said| if said.trim().is_empty() && at_work { "running".to_owned() } else { fields::clean_status(&said) })
}

impl ReportBody {
    /// As [`RegisterBody::cleaned`].
    #[must_use]
    pub fn cleaned(mut self) -> Self {
        if let Some(Some(task)) = &mut self.current_task {
            *task = fields::clean(task, fields::NAME_MAX);
        }
        let task = self.current_task.as_ref().and_then(Option::as_deref);
        self.status = cleaned_status(self.status.take(), task);
        self
    }

    /// Checks every field.
    ///
    /// # Errors
    /// Which field is wrong, and what it may be.
    pub fn check(&self) -> Result<Report> {
        let task = |task: &Option<String>| fields::optional("current_task", task.as_deref(), fields::NAME_MAX);
        Ok(Report {
            status: self.status.as_deref().map(fields::status).transpose()?,
            task: self.current_task.as_ref().map(task).transpose()?,
            visibility: self.visibility.as_deref().map(fields::visibility).transpose()?,
            no_input_for: self.idle_seconds.map(fields::idle_seconds).transpose()?,
            meta: self.meta.as_ref().map(fields::meta).transpose()?,
        })
    }

    /// As [`ReportBody::check`], for a report in which the task belongs to the status: a status
    /// without a task clears the task.
    ///
    /// # Errors
    /// As [`ReportBody::check`].
    pub fn check_whole(&self) -> Result<Report> {
        let mut report = self.check()?;
        if report.status.is_some() && report.task.is_none() {
            report.task = Some(None);
        }
        Ok(report)
    }
}
