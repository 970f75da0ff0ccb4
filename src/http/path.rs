//! The parts of a path, refused in the same words as everything else.

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use super::error::Problem;

/// What stands in the places of the route's path, unescaped.
pub(super) struct Path<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        // All places are texts, so that nothing but their escapes can be wrong.
        axum::extract::Path::from_request_parts(parts, state).await.map(|axum::extract::Path(path)| Self(path)).map_err(
            |rejection| {
                Problem::new(
                    StatusCode::BAD_REQUEST,
                    format!("the path cannot be read: {}; escape it as UTF-8", rejection.body_text()),
                )
            },
        )
    }
}
