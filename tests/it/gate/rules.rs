//! The rules of `SECURITY.md`, written a second time and independently: this table shares
//! nothing with the code of the gate, not even the classes of the routes.

/// How the server was started, and how the request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A loopback listen, straight.
    Local,
    /// A loopback listen, with `X-Forwarded-For`.
    Forwarded,
    /// A loopback listen with `--strict`.
    Strict,
    /// A listen that the network can reach.
    Remote,
}

/// The secret that the caller sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    Nothing,
    IngestToken,
    ViewToken,
    AdminToken,
    /// A secret that is not a token of the file: a session's own, or an invented one.
    OtherSecret,
    ViewCookie,
    AdminCookie,
    /// The cookie without the secret of its page, as another port of this host gets it.
    CookieAlone,
    /// The cookie with another browser's page secret.
    OthersPage,
    /// The page's secret without the cookie.
    PageAlone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Absent,
    /// Our own scheme, host and port.
    Own,
    /// Our own host, on another port.
    OtherPort,
    /// One of `--allow-origin`.
    Listed,
    Null,
    Foreign,
    /// `http://localhost.evil.com`
    LocalhostInFront,
    /// `http://127.evil.com`
    NumberInFront,
    /// Our own host and port under another scheme: to INGEST a loopback origin like any.
    OtherScheme,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::enum_variant_names, reason = "the values' own names")]
pub enum Site {
    Absent,
    SameOrigin,
    SameSite,
    CrossSite,
    /// `none`, as the address bar sends it.
    Typed,
    /// `none`, on a request that is not a navigation.
    NoneWithoutNavigation,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    Address,
    Localhost,
    Allowed,
    OtherPort,
    Evil,
    LocalhostInFront,
    Two,
    Missing,
}

impl Host {
    pub fn is_ours(self) -> bool {
        matches!(self, Self::Address | Self::Localhost | Self::Allowed)
    }
}

/// One cell of the matrix.
#[derive(Clone, Copy, Debug)]
pub struct Cell<'a> {
    pub method: &'a str,
    pub path: &'a str,
    pub mode: Mode,
    pub shown: Shown,
    pub origin: Origin,
    pub site: Site,
    pub host: Host,
    /// `X-Sessionwatch: 1` is there.
    pub header: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// INGEST: makes sessions.
    Register,
    /// INGEST: the client's own session; its route checks the session's token.
    Own,
    /// INGEST: the same for everybody, from any origin.
    Script,
    /// CONTROL: shows nothing that is not public.
    Page,
    /// Anybody, by any name: one word.
    Health,
    /// CONTROL: reads.
    View,
    /// CONTROL: changes.
    Admin,
}

/// All routes, listed by hand: the matrix fails when one is missing here.
pub const CLASSES: [(Class, &[(&str, &str)]); 7] = [
    (
        Class::Register,
        &[
            ("POST", "/sessions"),
            ("PUT", "/sessions/{id}"),
            ("GET", "/ping/{app_name}/{id}"),
            ("POST", "/ping/{app_name}/{id}"),
            ("GET", "/ping/{app_name}/{id}/{what}"),
            ("POST", "/ping/{app_name}/{id}/{what}"),
            ("GET", "/ws/client"),
        ],
    ),
    (
        Class::Own,
        &[
            ("DELETE", "/sessions/{id}"),
            ("POST", "/sessions/{id}/end"),
            ("POST", "/sessions/{id}/stay"),
            ("POST", "/sessions/{id}/heartbeat"),
            ("PUT", "/sessions/{id}/status"),
            ("GET", "/sessions/{id}/events"),
            ("GET", "/sessions/{id}/alive"),
        ],
    ),
    (Class::Script, &[("GET", "/client.js"), ("GET", "/client.iife.js")]),
    (
        Class::View,
        &[
            ("GET", "/sessions"),
            ("GET", "/sessions/{id}"),
            ("GET", "/sessions/{id}/timeline"),
            ("GET", "/events"),
            ("GET", "/ended"),
            ("GET", "/stats"),
            ("GET", "/nodes"),
            ("GET", "/rules"),
            ("GET", "/locks"),
            ("POST", "/rules/rehearse"),
            ("GET", "/alerts"),
            ("GET", "/ws"),
            ("GET", "/metrics"),
        ],
    ),
    (
        Class::Admin,
        &[
            ("POST", "/sessions/{id}/kill"),
            ("POST", "/apps/{app_name}/kill-all"),
            ("POST", "/kill"),
            ("POST", "/sessions/{id}/spare"),
            ("POST", "/rules/{name}/release"),
            ("POST", "/alerts/{target}/test"),
            ("POST", "/sessions/{id}/message"),
            ("POST", "/apps/{app_name}/message"),
            ("POST", "/locks"),
            ("DELETE", "/locks/{lock_id}"),
            ("DELETE", "/sessions/stale"),
        ],
    ),
    (
        Class::Page,
        &[("GET", "/"), ("GET", "/assets/{*path}"), ("POST", "/login"), ("POST", "/logout"), ("GET", "/openapi.json")],
    ),
    (Class::Health, &[("GET", "/healthz"), ("GET", "/readyz")]),
];

/// The class of a route; `HEAD` counts as `GET`.
pub fn class(method: &str, path: &str) -> Option<Class> {
    let method = if method == "HEAD" { "GET" } else { method };
    CLASSES.iter().find(|(_, routes)| routes.contains(&(method, path))).map(|(class, _)| *class)
}

/// The answer that the gate must give; 200 means that the request passes.
pub fn verdict(cell: &Cell<'_>) -> u16 {
    let class = class(cell.method, cell.path).expect("every route stands in the table");
    if class == Class::Health {
        return 200;
    }
    if !cell.host.is_ours() {
        return 421;
    }
    let ingest = matches!(class, Class::Register | Class::Own | Class::Script);
    let from_there = match class {
        Class::Script => true,
        _ if ingest => ingest_may_come(cell),
        _ => control_may_come(cell),
    };
    if !from_there {
        return 403;
    }
    // INGEST knows no cookies.
    let shown = match cell.shown {
        Shown::ViewCookie | Shown::AdminCookie if ingest => Shown::Nothing,
        Shown::ViewCookie => Shown::ViewToken,
        Shown::AdminCookie => Shown::AdminToken,
        Shown::CookieAlone | Shown::OthersPage | Shown::PageAlone => Shown::Nothing,
        other => other,
    };
    match (class, shown) {
        (Class::Script | Class::Page | Class::Own | Class::Health, _) => 200,
        (Class::Register, Shown::ViewToken) => 403,
        (Class::Register, Shown::Nothing) if cell.mode == Mode::Local => 200,
        (Class::Register, Shown::Nothing) => 401,
        // With a session's own token the client may resume that session; the route checks it.
        (Class::Register, _) => 200,
        (Class::View, Shown::ViewToken | Shown::AdminToken) | (Class::Admin, Shown::AdminToken) => 200,
        (Class::View | Class::Admin, Shown::IngestToken) | (Class::Admin, Shown::ViewToken) => 403,
        (Class::View | Class::Admin, Shown::Nothing) if cell.mode == Mode::Local => 200,
        (Class::View | Class::Admin, _) => 401,
    }
}

fn ingest_may_come(cell: &Cell<'_>) -> bool {
    match cell.origin {
        Origin::Absent => cell.site != Site::CrossSite,
        Origin::Own | Origin::OtherPort | Origin::Listed | Origin::OtherScheme => true,
        Origin::Null | Origin::Foreign | Origin::LocalhostInFront | Origin::NumberInFront => false,
    }
}

fn control_may_come(cell: &Cell<'_>) -> bool {
    let from_our_page = matches!(cell.origin, Origin::Absent | Origin::Own)
        && matches!(cell.site, Site::Absent | Site::SameOrigin | Site::Typed);
    let write = !matches!(cell.method, "GET" | "HEAD");
    let browser = cell.origin != Origin::Absent
        || cell.site != Site::Absent
        || matches!(cell.shown, Shown::ViewCookie | Shown::AdminCookie | Shown::CookieAlone | Shown::OthersPage);
    from_our_page && (cell.header || !write || !browser)
}

/// Whether the CORS header allows the origin to read the answer.
pub fn echoed(cell: &Cell<'_>) -> bool {
    let allowed = match class(cell.method, cell.path) {
        Some(Class::Script) => true,
        Some(Class::Register | Class::Own) => ingest_may_come(cell),
        _ => false,
    };
    allowed && cell.host.is_ours() && cell.origin != Origin::Absent
}
