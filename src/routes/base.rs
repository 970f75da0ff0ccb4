//! The base path of a server behind a proxy, like `/monitor`. It is removed before routing, so the
//! routes do not know it.

use axum::extract::Request;
use axum::http::uri::PathAndQuery;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};

/// Removes the base path from a request.
///
/// # Errors
/// A redirect from the base path to the same with a slash, which the page's relative links need.
pub(super) fn enter(base: &str, mut request: Request) -> Result<Request, Box<Response>> {
    let path = request.uri().path();
    if base.is_empty() {
        return Ok(request);
    }
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    if path == base {
        let location = [(header::LOCATION, format!("{base}/{query}"))];
        return Err(Box::new((StatusCode::PERMANENT_REDIRECT, location).into_response()));
    }
    if let Some(rest) = path.strip_prefix(base).filter(|rest| rest.starts_with('/')) {
        let inner = format!("{rest}{query}").parse::<PathAndQuery>().ok();
        let mut parts = request.uri().clone().into_parts();
        parts.path_and_query = inner.or(parts.path_and_query);
        if let Ok(uri) = Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
    }
    Ok(request)
}

/// Adds the base path to the `Location` of an answer.
pub(super) fn leave(base: &str, mut response: Response) -> Response {
    if !base.is_empty()
        && let Some(location) = response.headers_mut().get_mut(header::LOCATION)
        && let Ok(outer) = [base.as_bytes(), location.as_bytes()].concat().try_into()
    {
        *location = outer;
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    fn inner(base: &str, uri: &str) -> Result<String, String> {
        let request = Request::builder().uri(uri).body(Body::empty()).expect("a request");
        match enter(base, request) {
            Ok(request) => Ok(request.uri().to_string()),
            Err(redirect) => Err(redirect.headers()[header::LOCATION].to_str().expect("text").to_owned()),
        }
    }

    #[test]
    fn the_base_is_put_before_a_location() {
        let outer = |base| {
            let response = leave(base, [(header::LOCATION, "/sessions/a")].into_response());
            response.headers()[header::LOCATION].to_str().expect("text").to_owned()
        };
        assert_eq!(outer("/watch"), "/watch/sessions/a");
        assert_eq!(outer(""), "/sessions/a");
        assert!(leave("/watch", ().into_response()).headers().is_empty());
    }

    #[test]
    fn the_base_is_taken_off_and_nothing_else() {
        assert_eq!(inner("/watch", "/watch/ws?epoch=e&seq=1").as_deref(), Ok("/ws?epoch=e&seq=1"));
        assert_eq!(inner("/watch", "/watch/").as_deref(), Ok("/"));
        assert_eq!(inner("/watch", "/watch?wall=1"), Err("/watch/?wall=1".to_owned()));
        assert_eq!(inner("/watch", "/watchman").as_deref(), Ok("/watchman"));
        assert_eq!(inner("", "/sessions").as_deref(), Ok("/sessions"));
        assert_eq!(inner("/watch", "http://h:1/watch/x").as_deref(), Ok("http://h:1/x"));
    }
}
