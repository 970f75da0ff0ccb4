//! Extractors for handlers: the caller, the parts of the path, the query. Each refuses with
//! a [`Problem`], in the words of the API.

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use super::gate::Caller;
use super::problem::Problem;
use super::{Base, Peer};
use crate::error::Error;

/// A value that the server put into the request before the handler runs.
///
/// # Errors
/// 500: the handler was called without the gate or the front before it.
fn extension<T: Clone + Send + Sync + 'static>(parts: &Parts, what: &str) -> Result<T, Problem> {
    parts.extensions.get::<T>().cloned().ok_or_else(|| {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, format!("the server did not note the request's {what}"))
    })
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        extension(parts, "caller")
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Base {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        extension(parts, "base path")
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Peer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        extension(parts, "address")
    }
}

/// The variable parts of the route's path, unescaped.
pub struct Path<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        // All parts are texts, so only their escapes can be wrong.
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

/// The fields of a query, and how a wrong one is refused.
pub trait QueryFields: DeserializeOwned {
    /// The detail of the refusal; `why` is what the parser says.
    #[must_use]
    fn refusal(why: &str) -> String {
        format!("the query has the wrong shape: {why}")
    }
}

/// The query of the request's address.
pub struct Query<T>(pub T);

impl<S: Send + Sync, T: QueryFields> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let query = axum::extract::Query::from_request_parts(parts, state).await;
        query
            .map(|axum::extract::Query(query)| Self(query))
            .map_err(|rejection| Error::Invalid(T::refusal(&rejection.body_text())).into())
    }
}
