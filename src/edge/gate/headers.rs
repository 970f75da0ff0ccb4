//! Reads the head of a request: tokens, the subprotocols of a socket, signs of a browser.

use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

pub(super) static X_SESSIONWATCH: HeaderName = HeaderName::from_static("x-sessionwatch");
pub(super) static SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
pub(super) static SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
static SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");
pub(super) static X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The subprotocol that both sockets speak.
pub const SUBPROTOCOL: &str = "sessionwatch.v1";
/// The subprotocol that carries a token, where a page can send no header.
const AUTH_SUBPROTOCOL: &str = "sessionwatch.auth.";

/// The value of a header. A value that is not text, or a header that comes twice, gives `?`,
/// which no rule accepts.
pub(super) fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    Some(if values.next().is_none() { first.to_str().unwrap_or("?") } else { "?" })
}

/// The token or secret of a request: as a bearer token or, on a socket, as a subprotocol.
pub(super) fn secret(headers: &HeaderMap) -> Option<String> {
    bearer(headers).map(str::to_owned).or_else(|| from_subprotocol(headers))
}

/// The bearer token. Other schemes belong to a proxy.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, secret) = text(headers, &header::AUTHORIZATION)?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| secret.trim()).filter(|secret| !secret.is_empty())
}

/// The subprotocols that a socket offers, in its order.
pub fn offered(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',').map(str::trim))
}

fn from_subprotocol(headers: &HeaderMap) -> Option<String> {
    let encoded = offered(headers).find_map(|protocol| protocol.strip_prefix(AUTH_SUBPROTOCOL))?;
    let decoded = URL_SAFE_NO_PAD.decode(encoded.trim_end_matches('=')).ok()?;
    String::from_utf8(decoded).ok()
}

/// Whether a browser may have sent this request: it has a header that only browsers send, or
/// says so in `User-Agent`.
pub(super) fn is_browser(headers: &HeaderMap) -> bool {
    let agent = headers.get(header::USER_AGENT).map(HeaderValue::as_bytes).unwrap_or_default();
    headers.contains_key(header::ORIGIN)
        || headers.keys().any(|name| name.as_str().starts_with("sec-fetch-"))
        || agent.windows(7).any(|word| word.eq_ignore_ascii_case(b"mozilla"))
}

/// Whether a browser opens this as a page of its own, not inside another page.
pub(super) fn is_new_page(headers: &HeaderMap) -> bool {
    text(headers, &SEC_FETCH_MODE) == Some("navigate") && text(headers, &SEC_FETCH_DEST) == Some("document")
}
