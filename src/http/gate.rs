//! One gate in front of every route, deny by default.
//!
//! A pure function of the request's head, the peer and the route's class decides; the
//! matrix test walks it over every route. `SECURITY.md` tells why each rule is there.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Method, StatusCode, Uri, Version};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::cookie;
use super::error::Problem;
use super::people::{People, Person};
use super::proxies::{Proxies, is_forwarded};
use crate::secret;
use crate::session::Digest;
use crate::tokens::{Identity, Role, Tokens};

/// What a route is for; every route has one, or it does not compile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// For apps, from their own origins: makes a session.
    Register,
    /// For apps: acts for one session, with that session's own token.
    Own,
    /// For apps: static and the same for all.
    Script,
    /// For the dashboard's own origin: looks.
    View,
    /// For the dashboard's own origin: does.
    Admin,
    /// For the dashboard's own origin: the page itself, which shows nothing yet.
    Page,
    /// For whoever asks, by whatever name: whether the server is well, in one word.
    Health,
}

impl Access {
    /// Whether apps on other origins may use it.
    #[must_use]
    pub fn is_ingest(self) -> bool {
        matches!(self, Self::Register | Self::Own | Self::Script)
    }
}

/// What the gate goes by.
pub struct Gate {
    /// The port that we listen on.
    pub port: u16,
    /// We can be reached from this machine only.
    pub loopback: bool,
    /// Ask for tokens here too.
    pub strict: bool,
    /// We speak TLS ourselves.
    pub tls: bool,
    /// Further names of ours, lower case; without a port they fit any.
    pub allow_hosts: Vec<String>,
    /// Further origins of apps, exactly as browsers send them.
    pub allow_origins: Vec<String>,
    /// Proxies whose word on the client's address and scheme is taken.
    pub proxies: Proxies,
    /// Whom such a proxy logs in.
    pub people: People,
    /// The valid secrets.
    pub tokens: Arc<Tokens>,
}

/// Who asks, once the gate has let them through.
#[derive(Clone, Debug)]
pub struct Caller {
    /// By which token or cookie, if by one.
    pub identity: Option<Identity>,
    /// Whom the proxy has logged in, where no token came; never on routes of apps.
    pub person: Option<Person>,
    /// A secret that is none of ours: perhaps a session's.
    pub session_token: Option<Digest>,
    /// The request came from this machine, straight to a server that only it can reach.
    pub local: bool,
    /// And not from a page: a plain client, which needs no token.
    pub plain_local: bool,
    /// The address that the request came from.
    pub from: IpAddr,
    /// The app's origin that may read the answer.
    pub cors: Option<HeaderValue>,
    /// The dashboard's role, as it is told in `hello`.
    pub role: Role,
    /// The connection is TLS, here or at the proxy.
    pub secure: bool,
    /// It shows signs of a browser, where a link or a picture can make anybody ask anything.
    pub browser: bool,
}

static X_SESSIONWATCH: HeaderName = HeaderName::from_static("x-sessionwatch");
static SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
static SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
static SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");
static X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The subprotocol that both sockets speak.
pub const SUBPROTOCOL: &str = "sessionwatch.v1";
const AUTH_SUBPROTOCOL: &str = "sessionwatch.auth.";

fn refuse<T>(status: StatusCode, detail: &str) -> Result<T, Problem> {
    Err(Problem::new(status, detail))
}

/// A header's value. One that is no text, or that stands there twice, is like nothing
/// that we look for.
fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    Some(if values.next().is_none() { first.to_str().unwrap_or("?") } else { "?" })
}

impl Gate {
    /// Decides on one request: [`Gate::admit`], then [`authorize`].
    ///
    /// # Errors
    /// 401, 403 or 421, with what to do about it.
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

    /// Where it comes from, and who says so; what they may do is not judged yet.
    ///
    /// # Errors
    /// 401, 403 or 421, with what to do about it.
    pub fn admit(
        &self,
        access: Access,
        method: &Method,
        uri: &Uri,
        version: Version,
        headers: &HeaderMap,
        peer: SocketAddr,
    ) -> Result<Caller, Problem> {
        // A load balancer knows us by an address of its own.
        let host = if access == Access::Health { "" } else { self.check_host(uri, headers)? };
        let peer = peer.ip().to_canonical();
        let proxied = self.proxies.trust(peer);
        let secure = self.tls || (proxied && text(headers, &X_FORWARDED_PROTO) == Some("https"));
        // A proxy that we were told of speaks for strangers, even where it adds no header.
        let straight = !proxied && !is_forwarded(headers, version) && !self.people.named_in(headers);
        let local = self.loopback && peer.is_loopback() && !self.strict && straight;
        let origin = text(headers, &header::ORIGIN);
        let site = text(headers, &SEC_FETCH_SITE);
        let (identity, session_token) = self.identify(access, headers, secure);
        let told = proxied && self.people.are_told() && !access.is_ingest();
        let (identity, person) = if told {
            // Who has logged out at the proxy is out, whatever cookie of ours is left.
            let by_token = identity.filter(|identity| identity.cookie.is_none());
            let person = if by_token.is_none() { self.people.who(headers)? } else { None };
            (by_token, person)
        } else {
            (identity, None)
        };
        // A proxy may send its own token along.
        let session_token = session_token.filter(|_| person.is_none());
        let cors = if access.is_ingest() {
            self.check_ingest(origin, site, host, secure)?
        } else if access == Access::Health {
            None
        } else {
            // After a login elsewhere the browser is led back to the page, which shows nothing yet.
            let led_back = told && access == Access::Page && *method == Method::GET && is_new_page(headers);
            let site = site.filter(|_| !led_back);
            check_control(origin, site, headers, method, host, secure)?;
            if person.is_some() && is_write(method) {
                expect_own_page(headers)?;
            }
            None
        };
        // What somebody typed into the address bar (`none`) is no page's doing.
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

    /// Exactly one Host, and it names us: a page that has its own name resolve to our
    /// address (DNS rebinding) still sends its own name.
    ///
    /// # Errors
    /// 421.
    pub fn check_host<'a>(&self, uri: &'a Uri, headers: &'a HeaderMap) -> Result<&'a str, Problem> {
        let mut hosts = headers.get_all(header::HOST).iter();
        let host = match (hosts.next().map(|host| host.to_str()), hosts.next()) {
            (Some(Ok(host)), None) => host,
            _ => return refuse(StatusCode::MISDIRECTED_REQUEST, "send exactly one Host header"),
        };
        let elsewhere = uri.authority().is_some_and(|authority| authority.as_str() != host);
        if elsewhere || !self.is_ours(host) {
            return refuse(
                StatusCode::MISDIRECTED_REQUEST,
                "this Host is not ours; use localhost or 127.0.0.1 with our port, or start the server with --allow-host",
            );
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
        (our_port && LOOPBACK_NAMES.iter().any(|ours| ours.eq_ignore_ascii_case(name)))
            || self.allow_hosts.iter().any(|ours| is(ours))
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
            Some(_) => refuse(
                StatusCode::FORBIDDEN,
                "pages of this origin may not report sessions here; start the server with --allow-origin and that exact origin",
            ),
            None if site == Some("cross-site") => refuse(
                StatusCode::FORBIDDEN,
                "a cross-site request has to send its Origin; load the script with the crossorigin attribute",
            ),
            None => Ok(None),
        }
    }

    /// Who a secret belongs to; or the digest of one that is none of ours, perhaps a
    /// session's. A cookie counts for CONTROL alone: what INGEST does, pages of other
    /// sites may ask for, and browsers send the cookie along from our other ports.
    fn identify(&self, access: Access, headers: &HeaderMap, secure: bool) -> (Option<Identity>, Option<Digest>) {
        if let Some(secret) = bearer(headers).map(str::to_owned).or_else(|| from_subprotocol(headers)) {
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

/// What they may do.
///
/// # Errors
/// 401 without a token that it takes, 403 with one of too small a role.
pub fn authorize(access: Access, mut caller: Caller) -> Result<Caller, Problem> {
    let role = caller.shown_role();
    let needed = match access {
        Access::Script | Access::Page | Access::Health => return Ok(caller),
        // The route itself compares the session's own token.
        Access::Own => return Ok(caller),
        Access::Register if role == Some(Role::View) => {
            return refuse(StatusCode::FORBIDDEN, "a view token may not register sessions; use the ingest token");
        }
        Access::Register => Role::Ingest,
        Access::View => Role::View,
        Access::Admin => Role::Admin,
    };
    // A wrong secret is told as such, even where none is needed.
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
        // Who resumes a session shows that session's token instead.
        None if access == Access::Register && caller.session_token.is_some() => Ok(caller),
        None => Err(unauthorized(needed)),
    }
}

impl Caller {
    /// Whether it may make a session that is not there yet: from afar that takes the
    /// ingest token; a session's own token does not do.
    #[must_use]
    pub fn may_register(&self) -> bool {
        self.local || self.identity.as_ref().is_some_and(|identity| identity.role != Role::View)
    }

    /// What the token that came allows, if one came.
    #[must_use]
    pub fn role_of_token(&self) -> Option<Role> {
        self.identity.as_ref().map(|identity| identity.role)
    }

    /// What the token or the proxy's login allows.
    fn shown_role(&self) -> Option<Role> {
        self.role_of_token().or(self.person.as_ref().and_then(|person| person.role))
    }

    /// Who it is, by the token or the proxy's login.
    #[must_use]
    pub fn name(&self) -> Option<&Arc<str>> {
        let token = self.identity.as_ref().map(|identity| &identity.name);
        token.or(self.person.as_ref().map(|person| &person.name))
    }

    /// Whether it is an administrator who has shown it.
    #[must_use]
    pub fn is_admin(&self) -> bool {
        self.shown_role() == Some(Role::Admin)
    }
}

/// Whether a browser may have sent this: by what only browsers send, or by its own word.
fn is_browser(headers: &HeaderMap) -> bool {
    let agent = headers.get(header::USER_AGENT).map(HeaderValue::as_bytes).unwrap_or_default();
    headers.contains_key(header::ORIGIN)
        || headers.keys().any(|name| name.as_str().starts_with("sec-fetch-"))
        || agent.windows(7).any(|word| word.eq_ignore_ascii_case(b"mozilla"))
}

fn unauthorized(needed: Role) -> Problem {
    Problem::new(
        StatusCode::UNAUTHORIZED,
        format!("send the {} token as Authorization: Bearer (`sessionwatch token list` shows it)", needed.as_str()),
    )
    .with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
}

fn check_control(
    origin: Option<&str>,
    site: Option<&str>,
    headers: &HeaderMap,
    method: &Method,
    host: &str,
    secure: bool,
) -> Result<(), Problem> {
    if origin.is_some_and(|origin| !is_own(origin, host, secure)) {
        return refuse(StatusCode::FORBIDDEN, "only the dashboard's own pages may do this from a browser");
    }
    let navigating = text(headers, &SEC_FETCH_MODE) == Some("navigate");
    match site {
        None | Some("same-origin") => {}
        Some("none") if navigating => {}
        Some(_) => {
            return refuse(
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

fn is_write(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD)
}

/// A header that no form can send, and no script of another origin without a preflight.
fn expect_own_page(headers: &HeaderMap) -> Result<(), Problem> {
    if text(headers, &X_SESSIONWATCH) == Some("1") {
        return Ok(());
    }
    refuse(StatusCode::FORBIDDEN, "a browser has to send X-Sessionwatch: 1 with this request")
}

/// Whether a browser opens this as a page of its own, not within another.
fn is_new_page(headers: &HeaderMap) -> bool {
    text(headers, &SEC_FETCH_MODE) == Some("navigate") && text(headers, &SEC_FETCH_DEST) == Some("document")
}

/// Splits `name:port`; an IPv6 address keeps its brackets.
pub(super) fn split_port(host: &str) -> (&str, Option<&str>) {
    match host.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') || name.ends_with(']') => (name, Some(port)),
        _ => (host, None),
    }
}

const LOOPBACK_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

fn is_loopback_origin(origin: &str) -> bool {
    let Some(host) = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://")) else {
        return false;
    };
    let (name, port) = split_port(host);
    LOOPBACK_NAMES.contains(&name) && port.is_none_or(|port| number(port).is_some())
}

/// A port as browsers write it: digits only, where `parse` would take a sign too.
fn number(port: &str) -> Option<u16> {
    port.parse().ok().filter(|_| port.bytes().all(|byte| byte.is_ascii_digit()))
}

fn is_own(origin: &str, host: &str, secure: bool) -> bool {
    let scheme = if secure { "https://" } else { "http://" };
    origin.strip_prefix(scheme) == Some(host)
}

/// The bearer token. Other schemes are a proxy's own business.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, secret) = text(headers, &header::AUTHORIZATION)?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| secret.trim()).filter(|secret| !secret.is_empty())
}

/// The subprotocols that a socket offers.
pub(super) fn offered(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',').map(str::trim))
}

fn from_subprotocol(headers: &HeaderMap) -> Option<String> {
    let encoded = offered(headers).find_map(|protocol| protocol.strip_prefix(AUTH_SUBPROTOCOL))?;
    let decoded = URL_SAFE_NO_PAD.decode(encoded.trim_end_matches('=')).ok()?;
    String::from_utf8(decoded).ok()
}
