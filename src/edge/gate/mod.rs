//! The gate in front of every route; what no rule allows is refused.
//!
//! A pure function decides by the head of the request, the peer's address and the class of the
//! route ([`Access`]). The matrix test calls it for every route. `SECURITY.md` says why each
//! rule is there.

mod caller;
pub mod cookie;
mod headers;
mod origin;
pub mod people;
pub mod proxies;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::http::header::{self, HeaderMap, HeaderValue};
use axum::http::{Method, StatusCode, Uri, Version};

use super::problem::Problem;
use crate::secret;
use crate::session::Digest;
use crate::tokens::{Identity, Role, Tokens};
pub use caller::Caller;
use headers::{SEC_FETCH_SITE, X_FORWARDED_PROTO, is_browser, is_new_page, text};
pub use headers::{SUBPROTOCOL, offered};
use origin::{
    check_control, expect_own_page, is_loopback_name, is_loopback_origin, is_own, is_write, number, split_port,
};
use people::People;
use proxies::{Proxies, is_forwarded};

/// The class of a route: who may use it. Every line of the route table has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// For apps, from allowed origins: makes or resumes a session.
    Register,
    /// For apps, from allowed origins: acts for one session, with that session's token.
    Own,
    /// For apps, from any origin: a static file, the same for all. Loaded by a page that may not report sessions, it
    /// says so on that page's console.
    Script,
    /// For apps, from allowed origins: asks whether a request of another class may come.
    Preflight,
    /// For the dashboard's own origin: reads.
    View,
    /// For the dashboard's own origin: changes.
    Admin,
    /// For the dashboard's own origin: the page itself, which contains no data.
    Page,
    /// For everybody, under any Host: the health of the server, in one word.
    Health,
}

impl Access {
    /// Whether apps on other origins may use it.
    #[must_use]
    pub fn is_ingest(self) -> bool {
        matches!(self, Self::Register | Self::Own | Self::Script | Self::Preflight)
    }
}

/// The settings and secrets that the gate decides by.
pub struct Gate {
    /// The port that the server listens on.
    pub port: u16,
    /// The server listens on a loopback address: only this machine can reach it.
    pub loopback: bool,
    /// Ask local programs for tokens too.
    pub strict: bool,
    /// The server speaks TLS itself.
    pub tls: bool,
    /// Further names of the server, lower case; one without a port fits any port.
    pub allow_hosts: Vec<String>,
    /// Further origins of apps, exactly as browsers send them.
    pub allow_origins: Vec<String>,
    /// The trusted proxies: they say what the client's address and scheme are.
    pub proxies: Proxies,
    /// The people whom such a proxy logs in.
    pub people: People,
    /// The valid tokens.
    pub tokens: Arc<Tokens>,
}

impl Gate {
    /// Decides on one request: [`Gate::admit`], then [`authorize`].
    ///
    /// # Errors
    /// 401, 403 or 421; the detail says what to do.
    pub fn check(
        &self,
        access: Access,
        method: &Method,
        uri: &Uri,
        version: Version,
        headers: &HeaderMap,
        peer: SocketAddr,
    ) -> Result<Caller, Problem> {
        authorize(access, self.admit(access, method, uri, version, headers, peer)?)
    }

    /// Finds out who asks and from where, and refuses foreign hosts and origins. What the
    /// caller may do is decided by [`authorize`].
    ///
    /// # Errors
    /// 401, 403 or 421; the detail says what to do.
    pub fn admit(
        &self,
        access: Access,
        method: &Method,
        uri: &Uri,
        version: Version,
        headers: &HeaderMap,
        peer: SocketAddr,
    ) -> Result<Caller, Problem> {
        // A load balancer asks by an address of its own.
        let host = if access == Access::Health { "" } else { self.check_host(uri, headers)? };
        let peer = peer.ip().to_canonical();
        let proxied = self.proxies.trust(peer);
        let secure = self.tls || (proxied && text(headers, &X_FORWARDED_PROTO) == Some("https"));
        // A trusted proxy forwards requests of strangers, even if it adds no header.
        let straight = !proxied && !is_forwarded(headers, version) && !self.people.named_in(headers);
        let local = self.loopback && peer.is_loopback() && !self.strict && straight;
        let origin = text(headers, &header::ORIGIN);
        let site = text(headers, &SEC_FETCH_SITE);
        let (identity, session_token) = self.identify(access, headers, secure);
        let told = proxied && self.people.are_told() && !access.is_ingest();
        let (identity, person) = if told {
            // Whoever has logged out at the proxy is logged out, even if a cookie of this server is left.
            let by_token = identity.filter(|identity| identity.cookie.is_none());
            let person = if by_token.is_none() { self.people.who(headers)? } else { None };
            (by_token, person)
        } else {
            (identity, None)
        };
        // A bearer token beside the proxy's login belongs to the proxy.
        let session_token = session_token.filter(|_| person.is_none());
        let cors = if access == Access::Script {
            origin
        } else if access.is_ingest() {
            self.check_ingest(origin, site, host, secure)?
        } else if access == Access::Health {
            None
        } else {
            // After a login at another site the browser is redirected to the page, which contains no data.
            let led_back = told && access == Access::Page && *method == Method::GET && is_new_page(headers);
            let site = site.filter(|_| !led_back);
            check_control(origin, site, headers, method, host, secure)?;
            if person.is_some() && is_write(method) {
                expect_own_page(headers)?;
            }
            None
        };
        // `none`: somebody typed the address; no page caused the request.
        let from_page = origin.is_some() || site.is_some_and(|site| site != "none");
        Ok(Caller {
            identity,
            person,
            session_token,
            local,
            plain_local: local && !from_page,
            from: self.proxies.client(headers, peer),
            cors: cors.and_then(|origin| HeaderValue::from_str(origin).ok()),
            role: Role::Admin,
            secure,
            browser: is_browser(headers),
        })
    }

    /// Requires exactly one Host that is a name of this server. A page whose own name resolves
    /// to this server's address (DNS rebinding) still sends its own name.
    ///
    /// # Errors
    /// 421.
    pub fn check_host<'a>(&self, uri: &'a Uri, headers: &'a HeaderMap) -> Result<&'a str, Problem> {
        let mut hosts = headers.get_all(header::HOST).iter();
        let host = match (hosts.next().map(|host| host.to_str()), hosts.next()) {
            (Some(Ok(host)), None) => host,
            _ => return Problem::refuse(StatusCode::MISDIRECTED_REQUEST, "send exactly one Host header"),
        };
        let elsewhere = uri.authority().is_some_and(|authority| authority.as_str() != host);
        if elsewhere || !self.is_ours(host) {
            return Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, not_ours(host)));
        }
        Ok(host)
    }

    fn is_ours(&self, host: &str) -> bool {
        let (name, port) = split_port(host);
        let our_port = match port {
            Some(port) => number(port) == Some(self.port),
            None => self.port == if self.tls { 443 } else { 80 },
        };
        let is = |ours: &str| ours.eq_ignore_ascii_case(host) || ours.eq_ignore_ascii_case(name);
        (our_port && is_loopback_name(name)) || self.allow_hosts.iter().any(|ours| is(ours))
    }

    fn check_ingest<'a>(
        &self,
        origin: Option<&'a str>,
        site: Option<&str>,
        host: &str,
        secure: bool,
    ) -> Result<Option<&'a str>, Problem> {
        match origin {
            Some(origin)
                if is_own(origin, host, secure)
                    || is_loopback_origin(origin)
                    || self.allow_origins.iter().any(|allowed| allowed == origin) =>
            {
                Ok(Some(origin))
            }
            Some(_) => Problem::refuse(
                StatusCode::FORBIDDEN,
                "pages of this origin may not report sessions here; start the server with --allow-origin and that exact origin",
            ),
            None if site == Some("cross-site") => Problem::refuse(
                StatusCode::FORBIDDEN,
                "a cross-site request has to send its Origin; load the script with the crossorigin attribute",
            ),
            None => Ok(None),
        }
    }

    /// The identity that a token or cookie belongs to, or the digest of an unknown secret, which
    /// may be a session's token. Cookies do not count on routes of apps: pages of other origins
    /// may call those, and browsers send the cookie to every port of the host.
    fn identify(&self, access: Access, headers: &HeaderMap, secure: bool) -> (Option<Identity>, Option<Digest>) {
        if let Some(secret) = headers::secret(headers) {
            let digest = secret::digest(&secret);
            let identity = self.tokens.identify(&digest);
            let stranger = identity.is_none().then_some(digest);
            return (identity, stranger);
        }
        let page = cookie::page(headers).filter(|_| !access.is_ingest());
        let known = |page| cookie::sent(headers, secure).find_map(|cookie| self.tokens.identify_cookie(&cookie, &page));
        (page.and_then(known), None)
    }
}

/// Decides whether the caller may use a route of this class; sets the caller's role.
///
/// # Errors
/// 401 without a valid token, 403 with a role that is not enough.
pub fn authorize(access: Access, mut caller: Caller) -> Result<Caller, Problem> {
    let role = caller.shown_role();
    let needed = match access {
        Access::Script | Access::Preflight | Access::Page | Access::Health => return Ok(caller),
        // The handler compares the session's token.
        Access::Own => return Ok(caller),
        Access::Register if role == Some(Role::View) => {
            return Problem::refuse(
                StatusCode::FORBIDDEN,
                "a view token may not register sessions; use the ingest token",
            );
        }
        Access::Register => Role::Ingest,
        Access::View => Role::View,
        Access::Admin => Role::Admin,
    };
    // A wrong token is refused even where none is needed.
    let wrong = !access.is_ingest() && caller.session_token.is_some();
    match role {
        Some(role) if role >= needed => {
            caller.role = role;
            Ok(caller)
        }
        Some(role) => Err(Problem::new(
            StatusCode::FORBIDDEN,
            format!("the role {} may not do this; it takes {}", role.as_str(), needed.as_str()),
        )),
        None if let Some(person) = &caller.person => {
            Err(Problem::new(StatusCode::FORBIDDEN, format!("{} is neither in --admins nor in --viewers", person.name)))
        }
        None if caller.local && !wrong => Ok(caller),
        // To resume a session, its own token is enough.
        None if access == Access::Register && caller.session_token.is_some() => Ok(caller),
        None => Err(unauthorized(needed)),
    }
}

/// Which Host was refused, and the flag that allows it.
fn not_ours(host: &str) -> String {
    let shown: String = host.chars().filter(char::is_ascii_graphic).take(255).collect();
    let (name, _) = split_port(&shown);
    format!(
        "the Host {shown:?} is not a name of this server; use localhost or 127.0.0.1 with its port, or start it with --allow-host {name}"
    )
}

fn unauthorized(needed: Role) -> Problem {
    Problem::new(
        StatusCode::UNAUTHORIZED,
        format!("send the {} token as Authorization: Bearer (`sessionwatch token list` shows it)", needed.as_str()),
    )
    .with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
}
