//! The matrix of route × method × secret × Origin × Sec-Fetch-Site × Host × local, forwarded,
//! strict and remote: every cell for the routes of the router, compared with `rules.rs`.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version, header};
use futures_util::FutureExt;
use sessionwatch::edge::gate::Gate;
use sessionwatch::edge::gate::proxies::Proxies;
use sessionwatch::routes::table;
use sessionwatch::tokens::{self, Role, Tokens};
use tempfile::TempDir;

use super::requests::{Browser, Secrets, origin_text, put};
use super::rules::{CLASSES, Cell, Class, Host, Mode, Origin, Shown, Site, class, echoed, verdict};
use crate::support::Server;

const PORT: u16 = 8_000;
const MODES: [Mode; 4] = [Mode::Local, Mode::Forwarded, Mode::Strict, Mode::Remote];
const SHOWN: [Shown; 10] = [
    Shown::Nothing,
    Shown::IngestToken,
    Shown::ViewToken,
    Shown::AdminToken,
    Shown::OtherSecret,
    Shown::ViewCookie,
    Shown::AdminCookie,
    Shown::CookieAlone,
    Shown::OthersPage,
    Shown::PageAlone,
];
const ORIGINS: [Origin; 9] = [
    Origin::Absent,
    Origin::Own,
    Origin::OtherPort,
    Origin::Listed,
    Origin::Null,
    Origin::Foreign,
    Origin::LocalhostInFront,
    Origin::NumberInFront,
    Origin::OtherScheme,
];
const SITES: [Site; 6] =
    [Site::Absent, Site::SameOrigin, Site::SameSite, Site::CrossSite, Site::Typed, Site::NoneWithoutNavigation];
const HOSTS: [Host; 8] = [
    Host::Address,
    Host::Localhost,
    Host::Allowed,
    Host::OtherPort,
    Host::Evil,
    Host::LocalhostInFront,
    Host::Two,
    Host::Missing,
];

/// A gate of its own for each mode, and secrets that it knows.
struct Bench {
    gate: Gate,
    secrets: Secrets,
    _folder: TempDir,
}

fn bench(mode: Mode) -> Bench {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tokens");
    let tokens = Tokens::open(&path).expect("made");
    let lines = tokens::read(&path).expect("readable").tokens;
    let token = |role: Role| lines.iter().find(|line| line.role == role).expect("there").token.clone();
    // A token file keeps no cookies, so nothing is waited for.
    let logged_in = |role: Role| tokens.exchange(&token(role)).now_or_never().expect("at once").expect("kept");
    let cookie = |role: Role| logged_in(role).expect("it may log in");
    let cookie = |role: Role| {
        let browser = cookie(role);
        Browser { cookie: browser.cookie, page: browser.page }
    };
    let secrets =
        Secrets { tokens: Role::ALL.map(token), view_cookie: cookie(Role::View), admin_cookie: cookie(Role::Admin) };
    let gate = Gate {
        port: PORT,
        loopback: mode != Mode::Remote,
        strict: mode == Mode::Strict,
        tls: false,
        allow_hosts: vec!["monitor.example".to_owned()],
        allow_origins: vec!["https://app.example".to_owned()],
        proxies: Proxies::default(),
        people: sessionwatch::edge::gate::people::People::default(),
        tokens: Arc::new(tokens),
    };
    Bench { gate, secrets, _folder: folder }
}

/// Every method and path of the router, `HEAD` where there is `GET`.
fn asked() -> Vec<(Method, &'static str)> {
    let all = table().into_iter().flat_map(|route| {
        let head = (route.method == Method::GET).then_some((Method::HEAD, route.path));
        [Some((route.method, route.path)), head]
    });
    all.flatten().collect()
}

#[test]
fn every_route_has_a_class_in_the_table_and_the_table_no_other() {
    for (method, path) in asked() {
        assert!(class(method.as_str(), path).is_some(), "{method} {path} stands in no class");
    }
    let there = asked();
    for (method, path) in CLASSES.iter().flat_map(|(_, routes)| routes.iter()) {
        assert!(there.iter().any(|(m, p)| m == method && p == path), "{method} {path} is not in the router");
    }
    let ingest = |class: Class| matches!(class, Class::Register | Class::Own | Class::Script);
    for route in table() {
        let ours = class(route.method.as_str(), route.path).expect("checked above");
        assert_eq!(route.access.is_ingest(), ingest(ours), "{} {}", route.method, route.path);
    }
}

#[test]
fn every_cell_is_decided_as_the_rules_say() {
    let routes = asked();
    let mut cells = 0_u32;
    let mut wrong = Vec::new();
    for mode in MODES {
        let bench = bench(mode);
        let peer: SocketAddr =
            if mode == Mode::Remote { "192.0.2.9:50000" } else { "127.0.0.1:50000" }.parse().unwrap();
        for shown in SHOWN {
            for origin in ORIGINS {
                for site in SITES {
                    for host in HOSTS {
                        for header in [false, true] {
                            let headers = headers(mode, shown, origin, site, host, header, &bench.secrets);
                            for (method, path) in &routes {
                                let cell =
                                    Cell { method: method.as_str(), path, mode, shown, origin, site, host, header };
                                cells += 1;
                                if let Some(why) = judge(&bench.gate, &cell, method, &headers, peer) {
                                    wrong.push(format!("{cell:?}: {why}"));
                                }
                            }
                        }
                    }
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {cells} cells are wrong, such as {:#?}",
        wrong.len(),
        &wrong[..wrong.len().min(5)]
    );
    assert!(cells > 1_000_000, "only {cells} cells");
}

/// Compares the gate's answer with the rules; returns the difference, if there is one.
fn judge(gate: &Gate, cell: &Cell<'_>, method: &Method, headers: &HeaderMap, peer: SocketAddr) -> Option<String> {
    let access = access_of(method, cell.path);
    let uri = Uri::from_static("/any");
    let admitted = gate.admit(access, method, &uri, Version::HTTP_11, headers, peer);
    let cors = admitted.as_ref().ok().and_then(|caller| caller.cors.clone());
    let answer = admitted.and_then(|caller| sessionwatch::edge::gate::authorize(access, caller));
    let status = answer.as_ref().map_or_else(|problem| problem.status().as_u16(), |_| 200);
    let expected = verdict(cell);
    if status != expected {
        return Some(format!("{status} instead of {expected}"));
    }
    let echo = echoed(cell).then(|| origin_text(cell.origin, host_text(cell.host), PORT));
    if cors.as_ref().map(HeaderValue::as_bytes) != echo.as_deref().map(str::as_bytes) {
        return Some(format!("the origin told is {cors:?} instead of {echo:?}"));
    }
    let caller = answer.ok()?;
    if caller.local != (cell.mode == Mode::Local) {
        return Some(format!("it counts as local: {}", caller.local));
    }
    let from_page =
        cell.origin != Origin::Absent || matches!(cell.site, Site::SameOrigin | Site::SameSite | Site::CrossSite);
    if caller.plain_local != (cell.mode == Mode::Local && !from_page) {
        return Some(format!("it counts as a plain local client: {}", caller.plain_local));
    }
    // No proxy is named, so the header does not count.
    (caller.from != peer.ip()).then(|| format!("it is said to come from {}", caller.from))
}

fn access_of(method: &Method, path: &str) -> sessionwatch::edge::gate::Access {
    thread_local! {
        static TABLE: Vec<sessionwatch::routes::Route> = table();
    }
    let method = if method == Method::HEAD { &Method::GET } else { method };
    TABLE
        .with(|table| table.iter().find(|route| route.path == path && route.method == *method).expect("a route").access)
}

fn host_text(host: Host) -> &'static str {
    match host {
        Host::Address | Host::Two => "127.0.0.1:8000",
        Host::Localhost => "localhost:8000",
        Host::Allowed => "monitor.example",
        Host::OtherPort => "127.0.0.1:8001",
        Host::Evil | Host::Missing => "evil.com",
        Host::LocalhostInFront => "localhost.evil.com:8000",
    }
}

fn headers(
    mode: Mode,
    shown: Shown,
    origin: Origin,
    site: Site,
    host: Host,
    header: bool,
    secrets: &Secrets,
) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if host != Host::Missing {
        headers.insert(header::HOST, HeaderValue::from_static(host_text(host)));
    }
    if host == Host::Two {
        headers.append(header::HOST, HeaderValue::from_static("evil.com"));
    }
    if mode == Mode::Forwarded {
        headers.insert("x-forwarded-for", HeaderValue::from_static("203.0.113.5"));
    }
    for (name, value) in put(shown, origin, site, header, host_text(host), PORT, secrets) {
        headers.insert(HeaderName::from_static(name), value.parse().expect("a value"));
    }
    headers
}

/// With and without `X-Sessionwatch`; it matters to writes only, as the matrix without HTTP shows.
fn headers_for(method: &Method) -> impl Iterator<Item = bool> {
    let writes = !matches!(*method, Method::GET | Method::HEAD);
    [false, true].into_iter().filter(move |header| writes || !header)
}

/// Whether the caller may learn that an id is unknown: a local program, or an administrator.
fn may_know_of_all(cell: &Cell<'_>) -> bool {
    let plain = cell.mode == Mode::Local && cell.origin == Origin::Absent && cell.site == Site::Absent;
    plain || cell.shown == Shown::AdminToken
}

/// The same over real HTTP, for the cells that a browser or an attacker would send.
async fn over_http(server: &Server, mode: Mode, host: &str) {
    let secrets = Secrets::of(server).await;
    let host = format!("{host}:{}", server.port);
    let origins =
        [Origin::Absent, Origin::Own, Origin::OtherPort, Origin::Null, Origin::Foreign, Origin::LocalhostInFront];
    // An id of its own for each request, since a ping makes its session.
    let mut ids = 0_u32;
    for (method, path) in asked() {
        let concrete = path.replace("{app_name}", "app").replace("{what}", "start").replace("{*path}", "main.js");
        for shown in SHOWN {
            for origin in origins {
                let site = match origin {
                    Origin::Absent => Site::Absent,
                    Origin::Own => Site::SameOrigin,
                    _ => Site::CrossSite,
                };
                for header in headers_for(&method) {
                    let cell =
                        Cell { method: method.as_str(), path, mode, shown, origin, site, host: Host::Address, header };
                    ids += 1;
                    let id = format!("nobody{ids}");
                    let mut request = server
                        .client
                        .request(
                            method.clone(),
                            format!("http://127.0.0.1:{}{}", server.port, concrete.replace("{id}", &id)),
                        )
                        .header("host", &host);
                    for (name, value) in put(shown, origin, site, header, &host, server.port, &secrets) {
                        request = request.header(name, value);
                    }
                    if mode == Mode::Forwarded {
                        request = request.header("x-forwarded-for", "203.0.113.5");
                    }
                    let response = request.send().await.expect("an answer");
                    let (status, headers) = (response.status().as_u16(), response.headers().clone());
                    let told = headers.get("access-control-allow-origin");
                    match verdict(&cell) {
                        // Without a body, a handshake or a session the route refuses the request;
                        // here only the gate is tested.
                        200 => {
                            // A secret that may be a session's token is checked by the route.
                            let judged = match class(cell.method, path) {
                                Some(Class::Register) => shown == Shown::OtherSecret,
                                // The id is unknown; only some callers may learn that.
                                Some(Class::Own) => !may_know_of_all(&cell),
                                _ => false,
                            };
                            // A handshake needs GET; the route refuses other methods.
                            let head = path.starts_with("/ws") && method == Method::HEAD;
                            let passed = (!matches!(status, 403 | 405 | 421) || (head && status == 405))
                                && (status != 401 || judged);
                            assert!(passed, "{cell:?}: {status}");
                        }
                        refused => assert_eq!(status, refused, "{cell:?}"),
                    }
                    assert_eq!(told.is_some(), echoed(&cell), "{cell:?}: {told:?}");
                    assert!(headers.get("access-control-allow-credentials").is_none());
                    let varies = headers.get("vary").is_some_and(|vary| vary == "origin");
                    let ingest = matches!(class(cell.method, path), Some(Class::Register | Class::Own | Class::Script));
                    assert_eq!(varies, ingest, "{cell:?}");
                    assert_eq!(headers["x-content-type-options"], "nosniff", "{cell:?}");
                }
            }
        }
    }
}

#[tokio::test]
async fn the_same_over_http_locally() {
    let server = Server::start(&[]).await;
    over_http(&server, Mode::Local, "127.0.0.1").await;
}

#[tokio::test]
async fn the_same_over_http_through_a_proxy_that_nobody_named() {
    let server = Server::start(&[]).await;
    over_http(&server, Mode::Forwarded, "localhost").await;
}

#[tokio::test]
async fn the_same_over_http_with_strict() {
    let server = Server::start(&["--strict"]).await;
    over_http(&server, Mode::Strict, "localhost").await;
}

#[tokio::test]
async fn the_same_over_http_from_the_network() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start_on(&folder.path().join("r.db"), "0.0.0.0:0", &["--insecure-http"]).await;
    over_http(&server, Mode::Remote, "127.0.0.1").await;
}
