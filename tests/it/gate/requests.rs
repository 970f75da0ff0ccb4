//! What a cell of the matrix looks like as headers, and the secrets of a real server.

use super::rules::{Origin, Shown, Site};
use crate::support::Server;
use sessionwatch::tokens::{self, Role};

/// Every secret that a server knows.
pub struct Secrets {
    /// ingest, view, admin
    pub tokens: [String; 3],
    pub view_cookie: String,
    pub admin_cookie: String,
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

/// The cookie's value for a token, or the status of the refusal.
pub async fn log_in(server: &Server, token: &str) -> Result<String, u16> {
    let body = serde_json::json!({ "token": token });
    let url = format!("{}://127.0.0.1:{}/login", server.url.split(':').next().expect("a scheme"), server.port);
    let response = server.client.post(url).json(&body).send().await.expect("an answer");
    let status = response.status().as_u16();
    let cookie = response.headers().get("set-cookie").and_then(|set| set.to_str().ok());
    let value = cookie.and_then(|set| set.strip_prefix("sessionwatch=")?.split(';').next());
    value.map(str::to_owned).ok_or(status)
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

/// The headers that say all this.
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
    let cookie = |value: &str| ("cookie", format!("theme=dark; sessionwatch={value}"));
    let mut all = Vec::new();
    match shown {
        Shown::Nothing => {}
        Shown::IngestToken => all.push(bearer(&secrets.tokens[0])),
        Shown::ViewToken => all.push(bearer(&secrets.tokens[1])),
        Shown::AdminToken => all.push(bearer(&secrets.tokens[2])),
        Shown::OtherSecret => all.push(bearer("bm90IGEgdG9rZW4gYXQgYWxsLCBpcyBpdCBub3cgc29tZQ")),
        Shown::ViewCookie => all.push(cookie(&secrets.view_cookie)),
        Shown::AdminCookie => all.push(cookie(&secrets.admin_cookie)),
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

/// Memory that the server has in use, in KiB.
pub fn resident_kib(server: &Server) -> u64 {
    let id = server.child.id().expect("it runs");
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("it is there");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}
