//! Extractors for bodies: at most 16 KiB, within 10 s, JSON by content type, never compressed.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use crate::edge::json::{Unread, object};
use crate::edge::problem::Problem;

/// Largest body, in bytes.
pub const BODY_MAX: usize = 16 * 1_024;
/// How deep objects and lists may be nested; the API needs two levels.
const DEPTH_MAX: usize = 32;
/// How long a body may take to arrive.
const BODY_WITHIN: Duration = Duration::from_secs(10);

/// A JSON body; an empty one is refused.
pub struct Json<T>(pub T);

/// A JSON body; an empty one gives the default.
pub struct Maybe<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let bytes = read(&parts.headers, body).await?;
        if bytes.is_empty() {
            return Err(Problem::new(StatusCode::BAD_REQUEST, "the body is empty; send a JSON object"));
        }
        expect_json(&parts.headers)?;
        parse(&bytes).map(Self)
    }
}

impl<S: Send + Sync, T: DeserializeOwned + Default> FromRequest<S> for Maybe<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        if http_body::Body::is_end_stream(&body) {
            return Ok(Self(T::default()));
        }
        let bytes = read(&parts.headers, body).await?;
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self(T::default()));
        }
        expect_json(&parts.headers)?;
        parse(&bytes).map(Self)
    }
}

fn expect_json(headers: &HeaderMap) -> Result<(), Problem> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if kind.eq_ignore_ascii_case("application/json") || kind.eq_ignore_ascii_case("text/plain") {
        Ok(())
    } else {
        Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "send the body as JSON with Content-Type: application/json (or text/plain)",
        ))
    }
}

async fn read(headers: &HeaderMap, body: Body) -> Result<Bytes, Problem> {
    let encoding = headers.get(header::CONTENT_ENCODING);
    if encoding.is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "send the body without Content-Encoding; compressed bodies are not read",
        ));
    }
    let collected = tokio::time::timeout(BODY_WITHIN, Limited::new(body, BODY_MAX).collect());
    match collected.await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the body is larger than {BODY_MAX} bytes; send less"),
        )),
        Ok(Err(error)) => Err(Problem::new(StatusCode::BAD_REQUEST, format!("the body could not be read: {error}"))),
        Err(_) => Err(Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            format!("the body did not arrive within {} s; send it at once", BODY_WITHIN.as_secs()),
        )
        .with_header(header::CONNECTION, header::HeaderValue::from_static("close"))),
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    if depth(bytes) > DEPTH_MAX {
        return Err(Problem::new(
            StatusCode::BAD_REQUEST,
            format!("the body lies more than {DEPTH_MAX} levels deep; send it flat"),
        ));
    }
    object(bytes).map_err(|unread| match unread {
        Unread::Shape(why) => {
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, format!("the body has the wrong shape: {why}"))
        }
        Unread::Syntax(why) => Problem::new(StatusCode::BAD_REQUEST, format!("the body is not JSON: {why}")),
    })
}

/// The deepest nesting of brackets outside strings; the JSON may be incomplete.
fn depth(bytes: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut in_string, mut escaped) = (false, false);
    for byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::depth;

    #[test]
    fn depth_counts_brackets_outside_strings() {
        let cases: [(&str, usize); 7] = [
            ("", 0),
            ("{}", 1),
            (r#"{"a":[1,[2]],"b":[3]}"#, 3),
            (r#"{"a":"[[[["}"#, 1),
            (r#"{"a":"\"[[","b":[]}"#, 2),
            (r#"{"a":"\\","b":[]}"#, 2),
            ("]]]][", 1),
        ];
        for (json, expected) in cases {
            assert_eq!(depth(json.as_bytes()), expected, "{json}");
        }
    }
}
