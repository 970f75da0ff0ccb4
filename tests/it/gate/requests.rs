//! The headers of a cell of the matrix, and the secrets of a real server.

use super::rules::{Origin, Shown, Site};
use crate::support::Server;
use sessionwatch::tokens::{self, Role};

/// The secrets of a browser that is logged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Browser {
    pub cookie: String,
    pub page: String,
}

impl Browser {
    /// Its headers for the server on this port, over plain HTTP.
    pub fn headers(&self, port: u16) -> [(&'static str, String); 2] {
        [("cookie", format!("sessionwatch-{port}={}", self.cookie)), ("x-sessionwatch-page", self.page.clone())]
    }
}

/// All secrets of a server.
pub struct Secrets {
    /// ingest, view, admin
    pub tokens: [String; 3],
    pub view_cookie: Browser,
    pub admin_cookie: Browser,
}

impl Secrets {
    /// The tokens of a running server, and a cookie for each that may log in.
    pub async fn of(server: &Server) -> Self {
        let tokens = tokens_of(server);
        let (view_cookie, admin_cookie) =
            (log_in(server, &tokens[1]).await.expect("view"), log_in(server, &tokens[2]).await.expect("admin"));
        Self { tokens, view_cookie, admin_cookie }
    }
}

/// The three tokens out of the file beside the database.
pub fn tokens_of(server: &Server) -> [String; 3] {
    let mut path = server.db.as_os_str().to_owned();
    path.push(".tokens");
    let lines = tokens::read(path.as_ref()).expect("readable").tokens;
    Role::ALL.map(|role| lines.iter().find(|line| line.role == role).expect("there").token.clone())
}

/// Logs a browser in by a token or a link, or answers the status of the refusal.
pub async fn log_in(server: &Server, token: &str) -> Result<Browser, u16> {
    let body = serde_json::json!({ "token": token });
    let url = format!("{}://127.0.0.1:{}/login", server.url.split(':').next().expect("a scheme"), server.port);
    let response = server.client.post(url).json(&body).send().await.expect("an answer");
    let status = response.status().as_u16();
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    let cookie = header("set-cookie").and_then(|set| set.split(';').next()?.split_once('=')).map(|(_, value)| value);
    let browser = cookie.zip(header("x-sessionwatch-page"));
    browser.map(|(cookie, page)| Browser { cookie: cookie.to_owned(), page: page.to_owned() }).ok_or(status)
}

/// The Origin as a browser would send it.
pub fn origin_text(origin: Origin, host: &str, port: u16) -> String {
    match origin {
        Origin::Absent => String::new(),
        Origin::Own => format!("http://{host}"),
        Origin::OtherPort => format!("http://127.0.0.1:{}", port.wrapping_add(1).max(1_024)),
        Origin::Listed => "https://app.example".to_owned(),
        Origin::Null => "null".to_owned(),
        Origin::Foreign => "https://evil.com".to_owned(),
        Origin::LocalhostInFront => "http://localhost.evil.com".to_owned(),
        Origin::NumberInFront => "http://127.evil.com".to_owned(),
        Origin::OtherScheme => format!("https://127.0.0.1:{port}"),
    }
}

/// Adds the headers of a cell.
pub fn put(
    shown: Shown,
    origin: Origin,
    site: Site,
    header: bool,
    host: &str,
    port: u16,
    secrets: &Secrets,
) -> Vec<(&'static str, String)> {
    let bearer = |token: &str| ("authorization", format!("Bearer {token}"));
    // The port as in the host.
    let asked = host.rsplit_once(':').map_or(80, |(_, port)| port.parse().unwrap_or(80));
    let cookie = |browser: &Browser| ("cookie", format!("theme=dark; sessionwatch-{asked}={}", browser.cookie));
    let page = |browser: &Browser| ("x-sessionwatch-page", browser.page.clone());
    let mut all = Vec::new();
    match shown {
        Shown::Nothing => {}
        Shown::IngestToken => all.push(bearer(&secrets.tokens[0])),
        Shown::ViewToken => all.push(bearer(&secrets.tokens[1])),
        Shown::AdminToken => all.push(bearer(&secrets.tokens[2])),
        Shown::OtherSecret => all.push(bearer("bm90IGEgdG9rZW4gYXQgYWxsLCBpcyBpdCBub3cgc29tZQ")),
        Shown::ViewCookie => all.extend([cookie(&secrets.view_cookie), page(&secrets.view_cookie)]),
        Shown::AdminCookie => all.extend([cookie(&secrets.admin_cookie), page(&secrets.admin_cookie)]),
        Shown::CookieAlone => all.push(cookie(&secrets.admin_cookie)),
        Shown::OthersPage => all.extend([cookie(&secrets.admin_cookie), page(&secrets.view_cookie)]),
        Shown::PageAlone => all.push(page(&secrets.admin_cookie)),
    }
    if origin != Origin::Absent {
        all.push(("origin", origin_text(origin, host, port)));
    }
    let (site, mode) = match site {
        Site::Absent => (None, None),
        Site::SameOrigin => (Some("same-origin"), Some("cors")),
        Site::SameSite => (Some("same-site"), Some("no-cors")),
        Site::CrossSite => (Some("cross-site"), Some("no-cors")),
        Site::Typed => (Some("none"), Some("navigate")),
        Site::NoneWithoutNavigation => (Some("none"), Some("no-cors")),
    };
    all.extend(site.map(|site| ("sec-fetch-site", site.to_owned())));
    all.extend(mode.map(|mode| ("sec-fetch-mode", mode.to_owned())));
    if header {
        all.push(("x-sessionwatch", "1".to_owned()));
    }
    all
}

/// The resident memory of the server, in KiB.
pub fn resident_kib(server: &Server) -> u64 {
    let id = server.child.id().expect("it runs");
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("it is there");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}
