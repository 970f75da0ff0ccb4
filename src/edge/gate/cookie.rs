//! The dashboard's cookie: its name, its scope, and the page's secret that it needs.
//!
//! Browsers send a cookie to every port of a host, so other programs on this machine receive it.
//! Therefore the cookie alone is not enough: a second secret has to come with it, which only the
//! page keeps, in the storage of its origin, and sends in a header or, on the socket, as a
//! subprotocol. The name contains the port, so that two servers on one host do not overwrite each
//! other's cookie.

use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::headers::offered;
use super::origin::split_port;
use crate::secret;
use crate::session::Digest;
use crate::tokens::COOKIE_LIFE;

/// The header of the page's secret, in the answer to a login and in requests.
pub(crate) const PAGE: HeaderName = HeaderName::from_static("x-sessionwatch-page");
/// The same as a subprotocol of the socket, where a page cannot send headers.
const PAGE_SUBPROTOCOL: &str = "sessionwatch.page.";
const NAME: &str = "sessionwatch-";
/// Prefixes that a browser accepts only over TLS; the first one only with the path `/`.
const PREFIXES: [&str; 2] = ["__Host-", "__Secure-"];

/// The port in the `Host` header.
fn port(headers: &HeaderMap, secure: bool) -> &str {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    split_port(host).1.unwrap_or(if secure { "443" } else { "80" })
}

/// The value of `Set-Cookie`; an empty `value` deletes the cookie.
pub(crate) fn set(headers: &HeaderMap, secure: bool, base: &str, value: &str) -> Option<HeaderValue> {
    let prefix = match (secure, base) {
        (false, _) => "",
        // `__Host-` requires the path `/`.
        (true, "") => PREFIXES[0],
        (true, _) => PREFIXES[1],
    };
    let path = if base.is_empty() { "/" } else { base };
    let (port, life) = (port(headers, secure), if value.is_empty() { 0 } else { COOKIE_LIFE.as_secs() });
    let secure = if secure { "; Secure" } else { "" };
    let text = format!("{prefix}{NAME}{port}={value}; Path={path}; HttpOnly; SameSite=Strict; Max-Age={life}{secure}");
    HeaderValue::from_str(&text).ok()
}

/// The digests of this server's cookies in a request. There may be several, with different paths.
pub(crate) fn sent<'a>(headers: &'a HeaderMap, secure: bool) -> impl Iterator<Item = Digest> + 'a {
    let port = port(headers, secure);
    let pairs = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    pairs.flat_map(|value| value.split(';')).filter_map(move |pair| {
        let (name, value) = pair.trim().split_once('=')?;
        let plain = PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name);
        (plain.strip_prefix(NAME)? == port).then(|| secret::digest(value))
    })
}

/// The digest of the page's secret, if the request has one.
pub(crate) fn page(headers: &HeaderMap) -> Option<Digest> {
    let said = headers.get(PAGE).and_then(|value| value.to_str().ok());
    let said = said.or_else(|| offered(headers).find_map(|protocol| protocol.strip_prefix(PAGE_SUBPROTOCOL)));
    said.filter(|said| !said.is_empty()).map(secret::digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(host: &'static str, cookie: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static(host));
        headers.insert(header::COOKIE, cookie.parse().expect("a value"));
        headers
    }

    #[test]
    fn the_name_has_the_port_and_what_tls_allows() {
        let set = |host, secure, base, value| {
            set(&of(host, "a=b"), secure, base, value).expect("text").to_str().expect("text").to_owned()
        };
        assert_eq!(
            set("localhost:8000", false, "", "v"),
            "sessionwatch-8000=v; Path=/; HttpOnly; SameSite=Strict; Max-Age=43200"
        );
        let tls = set("m.example", true, "", "v");
        assert!(tls.starts_with("__Host-sessionwatch-443=v; Path=/; ") && tls.ends_with("; Secure"), "{tls}");
        let under = set("[::1]:9", true, "/watch", "");
        assert!(under.starts_with("__Secure-sessionwatch-9=; Path=/watch; ") && under.contains("Max-Age=0"), "{under}");
    }

    #[test]
    fn only_our_own_cookies_are_looked_at() {
        let cookies = "theme=dark; sessionwatch-8000=one; sessionwatch-8001=two; __Host-sessionwatch-8000=three; xsessionwatch-8000=four";
        let found: Vec<Digest> = sent(&of("localhost:8000", cookies), false).collect();
        assert_eq!(found, [secret::digest("one"), secret::digest("three")]);
    }
}
