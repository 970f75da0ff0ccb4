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

/// What any request may be refused with.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "only its shape is used")]
pub(crate) enum Refusals {
    /// Not JSON, or not HTTP as it should be.
    #[response(status = 400, content_type = "application/problem+json")]
    BadRequest(#[to_schema] ProblemDocument),
    /// A token is needed.
    #[response(status = 401, content_type = "application/problem+json")]
    Unauthorized(#[to_schema] ProblemDocument),
    /// Not with this token, or not from this origin.
    #[response(status = 403, content_type = "application/problem+json")]
    Forbidden(#[to_schema] ProblemDocument),
    /// Nobody has this id.
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
    /// The Host is not ours.
    #[response(status = 421, content_type = "application/problem+json")]
    MisdirectedRequest(#[to_schema] ProblemDocument),
    /// A value is not what it has to be.
    #[response(status = 422, content_type = "application/problem+json")]
    UnprocessableEntity(#[to_schema] ProblemDocument),
    /// Too much at once, or the store cannot take it now; Retry-After says when.
    #[response(status = 503, content_type = "application/problem+json")]
    ServiceUnavailable(#[to_schema] ProblemDocument),
}
