//! The files of the dashboard and the browser client, which are in the binary.

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use rust_embed::{EmbeddedFile, RustEmbed};

use crate::edge::Shared;
use crate::edge::extract::Path;
use crate::edge::problem::{Answer, Problem};

#[derive(RustEmbed)]
#[folder = "$CARGO_MANIFEST_DIR/web/"]
#[exclude = "test/*"]
struct Web;

#[derive(RustEmbed)]
#[folder = "$CARGO_MANIFEST_DIR/client-js/"]
#[include = "client.js"]
#[include = "client.iife.js"]
struct Client;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
worker-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// A file of the page; from the folder in `SESSIONWATCH_WEB_DIR`, if that is set, while somebody
/// works on it.
fn web(path: &str) -> Option<Vec<u8>> {
    if let Ok(folder) = std::env::var("SESSIONWATCH_WEB_DIR") {
        let plain = path.split('/').all(|part| !part.is_empty() && !part.starts_with('.'));
        return plain.then(|| std::fs::read(std::path::Path::new(&folder).join("web").join(path)).ok())?;
    }
    Web::get(path).map(|file: EmbeddedFile| file.data.into_owned())
}

fn client(path: &str) -> Option<Vec<u8>> {
    if let Ok(folder) = std::env::var("SESSIONWATCH_WEB_DIR") {
        return std::fs::read(std::path::Path::new(&folder).join("client-js").join(path)).ok();
    }
    Client::get(path).map(|file: EmbeddedFile| file.data.into_owned())
}

fn kind(path: &str) -> &'static str {
    match path.rsplit('.').next().unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "json" => "application/json",
        _ => "application/octet-stream",
    }
}

fn page(path: &str, body: Vec<u8>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, kind(path)),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (header::HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    (headers, body).into_response()
}

fn absent() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "there is no such file")
}

/// `GET /`
pub(crate) async fn dashboard() -> Answer {
    web("index.html").map(|body| page("index.html", body)).ok_or_else(absent)
}

/// `GET /assets/{*path}`
pub(crate) async fn asset(Path(path): Path<String>) -> Answer {
    web(&path).map(|body| page(&path, body)).ok_or_else(absent)
}

fn script(name: &str, headers: &HeaderMap) -> Answer {
    let body = client(name).ok_or_else(absent)?;
    let tag = format!("\"{}\"", env!("CARGO_PKG_VERSION"));
    let known = headers.get(header::IF_NONE_MATCH).is_some_and(|sent| sent.as_bytes() == tag.as_bytes());
    let mut response = if known && std::env::var_os("SESSIONWATCH_WEB_DIR").is_none() {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(header::CONTENT_TYPE, kind(name))], body).into_response()
    };
    let set = response.headers_mut();
    // Browsers ask each time, so that they get the client of a new server at once.
    set.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    set.insert(header::ETAG, HeaderValue::from_str(&tag).unwrap_or(HeaderValue::from_static("\"0\"")));
    set.insert("cross-origin-resource-policy", HeaderValue::from_static("cross-origin"));
    Ok(response)
}

/// `GET /client.js`
pub(crate) async fn client_module(State(_): State<Shared>, headers: HeaderMap) -> Answer {
    script("client.js", &headers)
}

/// `GET /client.iife.js`
pub(crate) async fn client_script(State(_): State<Shared>, headers: HeaderMap) -> Answer {
    script("client.iife.js", &headers)
}
