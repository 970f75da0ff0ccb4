//! Refusals as `application/problem+json` (RFC 9457): a title, the status, and a detail that
//! says what to do. This is the only map from the domain's errors to status codes.

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::error::Error;

/// A refusal: its status, its detail and what only some refusals have.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    detail: String,
    more: Box<More>,
}

/// What only some refusals have; boxed, so that a `Result` with a refusal stays small.
#[derive(Debug, Default)]
struct More {
    fields: serde_json::Map<String, serde_json::Value>,
    header: Option<(HeaderName, HeaderValue)>,
}

/// The result of a handler.
pub type Answer<T = Response> = Result<T, Problem>;

impl Problem {
    /// A refusal with this status.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), more: Box::default() }
    }

    /// An error with this status and detail, for any `Result`.
    ///
    /// # Errors
    /// Always.
    pub fn refuse<T>(status: StatusCode, detail: &str) -> Result<T, Self> {
        Err(Self::new(status, detail))
    }

    /// Adds a header to the answer; a second call replaces the first header.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.more.header = Some((name, value));
        self
    }

    /// The status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The sentence that says what to do.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }
}

/// The status of a domain error.
#[must_use]
pub fn status_of(error: &Error) -> StatusCode {
    match error {
        Error::NotFound(_) | Error::NoLock(_) => StatusCode::NOT_FOUND,
        Error::Gone { .. } => StatusCode::GONE,
        Error::Locked { .. } => StatusCode::LOCKED,
        Error::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
        Error::Unauthorized(_) => StatusCode::UNAUTHORIZED,
        Error::Forbidden(_) => StatusCode::FORBIDDEN,
        Error::Busy(_) | Error::Storage(_) | Error::Unknown => StatusCode::SERVICE_UNAVAILABLE,
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let mut problem = Self::new(status_of(&error), error.to_string());
        match error {
            Error::Gone { reason, kill_id, by, until, .. } => {
                problem.more.fields.insert("reason".into(), reason.into());
                problem.more.fields.insert("kill_id".into(), kill_id.into());
                problem.more.fields.insert("by".into(), by.into());
                problem.more.fields.insert("until".into(), until.to_string().into());
            }
            Error::Locked { reason, until, retry_after } => {
                problem.more.fields.insert("reason".into(), reason.into());
                problem.more.fields.insert("until".into(), until.map(|until| until.to_string()).into());
                problem.more.header = Some((header::RETRY_AFTER, HeaderValue::from(retry_after)));
            }
            Error::Busy(_) | Error::Storage(_) | Error::Unknown => {
                problem.more.header = Some((header::RETRY_AFTER, HeaderValue::from_static("1")));
            }
            Error::Unauthorized(_) => {
                problem.more.header = Some((header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")));
            }
            _ => {}
        }
        problem
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut body = serde_json::json!({
            "type": "about:blank",
            "title": self.status.canonical_reason().unwrap_or("Error"),
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        if let Some(object) = body.as_object_mut() {
            object.extend(self.more.fields);
        }
        let content_type = [(header::CONTENT_TYPE, "application/problem+json")];
        let mut response = (self.status, content_type, body.to_string()).into_response();
        if let Some((name, value)) = self.more.header {
            response.headers_mut().insert(name, value);
        }
        response
    }
}
