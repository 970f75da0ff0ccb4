//! Hosts and origins: whether a page that asks is the dashboard's own.

use axum::http::header::{self, HeaderMap};
use axum::http::{Method, StatusCode};

use super::headers::{SEC_FETCH_MODE, X_SESSIONWATCH, text};
use crate::edge::problem::Problem;

/// The names of this machine.
const LOOPBACK_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// Whether a host's name, without its port, is one of this machine's.
pub(super) fn is_loopback_name(name: &str) -> bool {
    LOOPBACK_NAMES.iter().any(|ours| ours.eq_ignore_ascii_case(name))
}

/// Refuses a request that another site's page may have caused. A request that writes has to
/// carry `X-Sessionwatch: 1` when it comes from a browser.
pub(super) fn check_control(
    origin: Option<&str>,
    site: Option<&str>,
    headers: &HeaderMap,
    method: &Method,
    host: &str,
    secure: bool,
) -> Result<(), Problem> {
    if origin.is_some_and(|origin| !is_own(origin, host, secure)) {
        return Problem::refuse(StatusCode::FORBIDDEN, "only the dashboard's own pages may do this from a browser");
    }
    let navigating = text(headers, &SEC_FETCH_MODE) == Some("navigate");
    match site {
        None | Some("same-origin") => {}
        Some("none") if navigating => {}
        Some(_) => {
            return Problem::refuse(
                StatusCode::FORBIDDEN,
                "another site led here; open the dashboard by its address, from the address bar or a bookmark",
            );
        }
    }
    let from_browser = origin.is_some() || site.is_some() || headers.contains_key(header::COOKIE);
    if is_write(method) && from_browser {
        expect_own_page(headers)?;
    }
    Ok(())
}

pub(super) fn is_write(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD)
}

/// Requires `X-Sessionwatch: 1`: no form can send it, and no script of another origin without
/// a preflight.
pub(super) fn expect_own_page(headers: &HeaderMap) -> Result<(), Problem> {
    if text(headers, &X_SESSIONWATCH) == Some("1") {
        return Ok(());
    }
    Problem::refuse(StatusCode::FORBIDDEN, "a browser has to send X-Sessionwatch: 1 with this request")
}

/// Splits `name:port`; an IPv6 address keeps its brackets.
pub(super) fn split_port(host: &str) -> (&str, Option<&str>) {
    match host.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') || name.ends_with(']') => (name, Some(port)),
        _ => (host, None),
    }
}

/// Whether a page's origin is on this machine, at any port.
pub(super) fn is_loopback_origin(origin: &str) -> bool {
    let Some(host) = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://")) else {
        return false;
    };
    let (name, port) = split_port(host);
    LOOPBACK_NAMES.contains(&name) && port.is_none_or(|port| number(port).is_some())
}

/// A port as browsers write it: digits only; `parse` alone would take a sign too.
pub(super) fn number(port: &str) -> Option<u16> {
    port.parse().ok().filter(|_| port.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Whether an origin is the dashboard's own: this host, with the scheme of the connection.
pub(super) fn is_own(origin: &str, host: &str, secure: bool) -> bool {
    let scheme = if secure { "https://" } else { "http://" };
    origin.strip_prefix(scheme) == Some(host)
}
