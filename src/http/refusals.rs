//! How `/openapi.json` describes refusals.

use serde::Serialize;
use utoipa::{IntoResponses, ToSchema};

/// A refusal (RFC 9457).
#[derive(Serialize, ToSchema)]
pub(crate) struct ProblemDocument {
    /// `about:blank`: the status says which kind it is.
    r#type: String,
    /// The status in words.
    title: String,
    /// The status.
    status: u16,
    /// What is wrong, and what to do.
    detail: String,
}

/// The refusals that any request may get.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "only its shape is used")]
pub(crate) enum Refusals {
    /// The body is not JSON, or the request is not valid HTTP.
    #[response(status = 400, content_type = "application/problem+json")]
    BadRequest(#[to_schema] ProblemDocument),
    /// A token is needed.
    #[response(status = 401, content_type = "application/problem+json")]
    Unauthorized(#[to_schema] ProblemDocument),
    /// This token or this origin may not do this.
    #[response(status = 403, content_type = "application/problem+json")]
    Forbidden(#[to_schema] ProblemDocument),
    /// No session has this id.
    #[response(status = 404, content_type = "application/problem+json")]
    NotFound(#[to_schema] ProblemDocument),
    /// This path does not take this method.
    #[response(status = 405, content_type = "application/problem+json")]
    MethodNotAllowed(#[to_schema] ProblemDocument),
    /// The body took too long.
    #[response(status = 408, content_type = "application/problem+json")]
    RequestTimeout(#[to_schema] ProblemDocument),
    /// The id was killed.
    #[response(status = 410, content_type = "application/problem+json")]
    Gone(#[to_schema] ProblemDocument),
    /// The body is larger than 16 KiB.
    #[response(status = 413, content_type = "application/problem+json")]
    PayloadTooLarge(#[to_schema] ProblemDocument),
    /// The body is neither application/json nor text/plain.
    #[response(status = 415, content_type = "application/problem+json")]
    UnsupportedMediaType(#[to_schema] ProblemDocument),
    /// The Host is not a name of this server.
    #[response(status = 421, content_type = "application/problem+json")]
    MisdirectedRequest(#[to_schema] ProblemDocument),
    /// A value is not allowed.
    #[response(status = 422, content_type = "application/problem+json")]
    UnprocessableEntity(#[to_schema] ProblemDocument),
    /// A lock keeps the session out; `Retry-After` says when to try again.
    #[response(status = 423, content_type = "application/problem+json")]
    Locked(#[to_schema] ProblemDocument),
    /// Too many requests, or the store cannot commit now; `Retry-After` says when to try again.
    #[response(status = 503, content_type = "application/problem+json")]
    ServiceUnavailable(#[to_schema] ProblemDocument),
}
