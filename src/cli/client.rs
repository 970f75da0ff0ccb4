//! The API client: one method for each request to the server.

use std::{sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use reqwest::{Method, Url, header};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    Connector, MaybeTlsStream, WebSocketStream,
    tungstenite::{self, client::IntoClientRequest, protocol::WebSocketConfig},
};

use super::{
    error::{CliError, root_cause},
    server::{ServerArgs, Token, trusting},
    wire::EventPage,
};

/// How long connecting may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// How long a whole request may take.
const REQUEST_LIMIT: Duration = Duration::from_secs(15);
/// How long an idle connection is kept. It is less than the server or a proxy keeps it: a request that is sent while
/// the other side closes the connection would be lost.
const IDLE_LIMIT: Duration = Duration::from_secs(5);
/// The largest frame accepted: the server's snapshot frames are at most 256 KiB.
const FRAME_LIMIT: usize = 4 << 20;

/// A WebSocket to the server.
pub type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// The server's HTTP interface and sockets.
#[derive(Debug, Clone)]
pub struct Api {
    base: Url,
    token: Option<Token>,
    http: reqwest::Client,
    /// What sockets trust, where `--cacert` is given.
    tls: Option<Arc<rustls::ClientConfig>>,
}

impl Api {
    /// A client for the server that `args` name; does no I/O yet.
    ///
    /// # Errors
    /// When the address is not an `http` or `https` URL, or the token's file cannot be used.
    pub fn new(args: &ServerArgs) -> Result<Self, CliError> {
        let usage = |why: String| {
            CliError::Usage(format!("--server {:?} is no address: {why}. Give it as http://host:port.", args.server))
        };
        let mut base = Url::parse(&args.server).map_err(|error| usage(error.to_string()))?;
        if !matches!(base.scheme(), "http" | "https") {
            return Err(usage("it has to begin with http:// or https://".to_owned()));
        }
        base.set_query(None);
        base.set_fragment(None);
        let loopback = match base.host_str() {
            Some("localhost") => true,
            Some(host) => host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback()),
            None => return Err(usage("it names no host".to_owned())),
        };
        let mut builder = reqwest::Client::builder()
            .connect_timeout(CONNECT_LIMIT)
            .timeout(REQUEST_LIMIT)
            .pool_idle_timeout(IDLE_LIMIT)
            .tcp_nodelay(true);
        if loopback {
            // A proxy from the environment cannot reach this machine's loopback addresses.
            builder = builder.no_proxy();
        }
        let tls = args.cacert.as_deref().map(trusting).transpose()?;
        if let Some(tls) = &tls {
            builder = builder.use_preconfigured_tls(tls.clone());
        }
        let http = builder.build().map_err(|error| usage(root_cause(&error)))?;
        let token = args.token()?;
        Ok(Self { base, token, http, tls: tls.map(Arc::new) })
    }

    /// The server's address, for messages.
    #[must_use]
    pub fn server(&self) -> String {
        self.base.as_str().trim_end_matches('/').to_owned()
    }

    fn url(&self, path: &[&str]) -> Result<Url, CliError> {
        if let Some(dots) = path.iter().find(|part| matches!(**part, "." | ".." | "")) {
            return Err(CliError::Usage(format!(
                "{dots:?} cannot stand in a URL's path: no session or app can be reached by that name."
            )));
        }
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        Ok(url)
    }

    fn unreachable(&self, cause: impl Into<String>) -> CliError {
        CliError::Unreachable { server: self.server(), cause: cause.into() }
    }

    fn strange(&self, cause: impl Into<String>) -> CliError {
        CliError::Strange { server: self.server(), cause: cause.into() }
    }

    /// Sends one request and reads the answer as JSON; `bearer` replaces the command line's token.
    async fn send<T: DeserializeOwned>(
        &self,
        request: reqwest::RequestBuilder,
        bearer: Option<&str>,
    ) -> Result<T, CliError> {
        let text = self.send_for_text(request, bearer).await?;
        serde_json::from_str(&text).map_err(|error| self.strange(error.to_string()))
    }

    async fn send_for_text(&self, request: reqwest::RequestBuilder, bearer: Option<&str>) -> Result<String, CliError> {
        let bearer = bearer.or(self.token.as_ref().map(Token::reveal));
        let request = match bearer {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        let response = request.send().await.map_err(|error| self.unreachable(root_cause(&error)))?;
        let status = response.status();
        let text = response.text().await.map_err(|error| self.unreachable(root_cause(&error)))?;
        if status.is_success() { Ok(text) } else { Err(self.refusal(status.as_u16(), &text)) }
    }

    /// The error of an error status: the server's sentence, or one of ours where the answer is not problem+json.
    fn refusal(&self, status: u16, body: &str) -> CliError {
        let problem: Option<Value> = serde_json::from_str(body).ok();
        let detail = problem.as_ref().and_then(|problem| problem.get("detail")).and_then(Value::as_str);
        match (detail, status) {
            (Some(detail), _) => CliError::Refused { status, detail: detail.to_owned() },
            // The answers to pings are plain words, not JSON.
            (None, 410) => CliError::Refused { status, detail: "This session was ended.".to_owned() },
            (None, _) => self.strange(format!("HTTP status {status}")),
        }
    }

    fn request(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<reqwest::RequestBuilder, CliError> {
        let mut url = self.url(path)?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(self.http.request(method, url).header(header::ACCEPT, "application/json"))
    }

    /// `GET /sessions` as the server answers it, filtered by `query`.
    ///
    /// # Errors
    /// [`CliError::Refused`], [`CliError::Unreachable`] or [`CliError::Strange`], as for every request.
    pub async fn sessions(&self, query: &[(&str, &str)]) -> Result<Value, CliError> {
        self.send(self.request(Method::GET, &["sessions"], query)?, None).await
    }

    /// `GET /nodes`: the servers that share the store.
    ///
    /// # Errors
    /// As every request.
    pub async fn nodes(&self) -> Result<Value, CliError> {
        self.send(self.request(Method::GET, &["nodes"], &[])?, None).await
    }

    /// `GET /events`: one page of the event log.
    ///
    /// # Errors
    /// As every request.
    pub async fn events(&self, query: &[(&str, &str)]) -> Result<EventPage, CliError> {
        self.send(self.request(Method::GET, &["events"], query)?, None).await
    }

    /// `GET /sessions/{id}/timeline`: that session's events, oldest first.
    ///
    /// # Errors
    /// As every request.
    pub async fn timeline(&self, id: &str) -> Result<Vec<Value>, CliError> {
        let page: EventPage = self.send(self.request(Method::GET, &["sessions", id, "timeline"], &[])?, None).await?;
        Ok(page.events)
    }

    /// `POST /sessions/{id}/kill`.
    ///
    /// # Errors
    /// As every request; 404 for an unknown id, 410 for one that was killed before.
    pub async fn kill(&self, id: &str, body: &Value) -> Result<Value, CliError> {
        self.send(self.request(Method::POST, &["sessions", id, "kill"], &[])?.json(body), None).await
    }

    /// `POST /kill`: requests a kill for all sessions that a filter matches, or with `dry_run` only tells which these are.
    ///
    /// # Errors
    /// As every request.
    pub async fn kill_matching(&self, filter: &str, dry_run: bool, body: &Value) -> Result<Vec<String>, CliError> {
        let mut body = body.clone();
        if let Some(fields) = body.as_object_mut() {
            fields.insert("filter".to_owned(), filter.into());
            fields.insert("dry_run".to_owned(), dry_run.into());
        }
        let answer: Value = self.send(self.request(Method::POST, &["kill"], &[])?.json(&body), None).await?;
        let ids = answer.get("sessions").and_then(Value::as_array).cloned().unwrap_or_default();
        Ok(ids.iter().filter_map(Value::as_str).map(str::to_owned).collect())
    }

    /// `GET /locks`.
    ///
    /// # Errors
    /// As every request.
    pub async fn locks(&self) -> Result<Value, CliError> {
        self.send(self.request(Method::GET, &["locks"], &[])?, None).await
    }

    /// `POST /locks`; the lock that was made or changed.
    ///
    /// # Errors
    /// As every request.
    pub async fn lock(&self, body: &Value) -> Result<Value, CliError> {
        self.send(self.request(Method::POST, &["locks"], &[])?.json(body), None).await
    }

    /// `DELETE /locks/{lock_id}`.
    ///
    /// # Errors
    /// As every request; 404 for an unknown id.
    pub async fn unlock(&self, lock_id: &str) -> Result<Value, CliError> {
        self.send(self.request(Method::DELETE, &["locks", lock_id], &[])?, None).await
    }

    /// `POST /rules/rehearse`: what a rule, given as TOML, would have done since then (`7d`).
    ///
    /// # Errors
    /// As every request.
    pub async fn rehearse(&self, rule: &str, since: &str) -> Result<Value, CliError> {
        let body = serde_json::json!({ "rule": rule, "since": since });
        self.send(self.request(Method::POST, &["rules", "rehearse"], &[])?.json(&body), None).await
    }

    /// `POST /apps/{app_name}/message`.
    ///
    /// # Errors
    /// As every request.
    pub async fn message_app(&self, app: &str, body: &Value) -> Result<Value, CliError> {
        self.send(self.request(Method::POST, &["apps", app, "message"], &[])?.json(body), None).await
    }

    /// `PUT /sessions/{id}`: registers a session under this id. It may be repeated.
    ///
    /// # Errors
    /// As every request; 403 where the id belongs to another client, 410 where the session was killed.
    pub async fn put_session(&self, id: &str, body: &Value, session_token: Option<&str>) -> Result<Value, CliError> {
        // Where the server no longer knows the session, the command line's token registers it again. So that one stays
        // in the header, and the session's own goes into the body.
        let mut body = body.clone();
        if let (Some(token), Some(fields)) = (session_token, body.as_object_mut()) {
            fields.insert("session_token".to_owned(), token.into());
        }
        let request = self.request(Method::PUT, &["sessions", id], &[])?;
        self.send(request.json(&body), None).await
    }

    /// `POST /sessions/{id}/heartbeat`; the answer says whether a kill was requested.
    ///
    /// # Errors
    /// As every request.
    pub async fn heartbeat(&self, id: &str, body: &Value, session_token: &str) -> Result<Value, CliError> {
        let request = self.request(Method::POST, &["sessions", id, "heartbeat"], &[])?;
        self.send(request.json(body), Some(session_token)).await
    }

    /// `POST /sessions/{id}/end`: ends the session; where a kill was requested, its cause is `killed`.
    ///
    /// # Errors
    /// As every request.
    pub async fn end(&self, id: &str, session_token: &str) -> Result<Value, CliError> {
        let request = self.request(Method::POST, &["sessions", id, "end"], &[])?;
        self.send(request.json(&json!({})), Some(session_token)).await
    }

    /// `POST /ping/{app_name}/{id}` with an optional last part (`start`, `fail` or an exit status); `OK` or `KILL`.
    ///
    /// # Errors
    /// As every request. For a session that was killed before, the answer is `KILL`, and no error.
    pub async fn ping(
        &self,
        app: &str,
        id: &str,
        word: Option<&str>,
        query: &[(&str, &str)],
        session_token: Option<&str>,
    ) -> Result<String, CliError> {
        let mut path = vec!["ping", app, id];
        path.extend(word);
        let request = self.request(Method::POST, &path, query)?;
        match self.send_for_text(request, session_token).await {
            Ok(answer) => Ok(answer.trim().to_owned()),
            Err(CliError::Refused { status: 410, .. }) => Ok("KILL".to_owned()),
            Err(error) => Err(error),
        }
    }

    /// Opens one of the server's sockets: `/ws` or `/ws/client`.
    ///
    /// # Errors
    /// Refused where the server answered the handshake with an error, unreachable where it did not answer.
    pub async fn socket(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Socket, CliError> {
        let mut url = self.url(path)?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        // The URL parser allows this change between http and ws, so it cannot fail.
        let _ = url.set_scheme(if self.base.scheme() == "https" { "wss" } else { "ws" });
        let mut request = url
            .as_str()
            .into_client_request()
            .map_err(|error| CliError::Usage(format!("--server cannot be used: {error}.")))?;
        let mut protocols = "sessionwatch.v1".to_owned();
        if let Some(token) = &self.token {
            protocols.push_str(", sessionwatch.auth.");
            URL_SAFE_NO_PAD.encode_string(token.reveal(), &mut protocols);
        }
        let protocols =
            protocols.parse().map_err(|_| CliError::Usage("--token cannot stand in a header.".to_owned()))?;
        request.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, protocols);
        let config = WebSocketConfig::default()
            // The library allocates this much for every socket, and our frames are small.
            .read_buffer_size(8 << 10)
            .write_buffer_size(4 << 10)
            .max_write_buffer_size(1 << 20)
            .max_message_size(Some(FRAME_LIMIT))
            .max_frame_size(Some(FRAME_LIMIT));
        let tls = self.tls.clone().map(Connector::Rustls);
        let connecting = tokio_tungstenite::connect_async_tls_with_config(request, Some(config), true, tls);
        match tokio::time::timeout(CONNECT_LIMIT, Box::pin(connecting)).await {
            Err(_) => Err(self.unreachable("no answer in time")),
            Ok(Ok((socket, _))) => Ok(socket),
            Ok(Err(tungstenite::Error::Http(response))) => {
                let body = response.body().as_deref().map(String::from_utf8_lossy).unwrap_or_default();
                Err(self.refusal(response.status().as_u16(), &body))
            }
            Ok(Err(error @ (tungstenite::Error::Protocol(_) | tungstenite::Error::HttpFormat(_)))) => {
                Err(self.strange(error.to_string()))
            }
            Ok(Err(error)) => Err(self.unreachable(root_cause(&error))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn api(server: &str) -> Result<Api, CliError> {
        Api::new(&ServerArgs::open(server))
    }

    fn path(server: &str, parts: &[&str]) -> String {
        api(server).and_then(|api| api.url(parts)).map(Into::into).unwrap_or_default()
    }

    #[test]
    fn a_base_path_is_kept_and_names_are_encoded() {
        assert_eq!(path("http://h:1", &["sessions"]), "http://h:1/sessions");
        assert_eq!(path("http://h:1/monitor/", &["sessions", "a:b", "kill"]), "http://h:1/monitor/sessions/a:b/kill");
        assert_eq!(
            path("http://h:1/monitor", &["apps", "a/b?c %", "kill-all"]),
            "http://h:1/monitor/apps/a%2Fb%3Fc%20%25/kill-all"
        );
    }

    #[test]
    fn names_that_a_path_cannot_carry_are_refused_here() {
        let refused = api("http://h:1").and_then(|api| api.url(&["sessions", "..", "kill"]));
        assert!(matches!(refused, Err(CliError::Usage(_))), "{refused:?}");
    }

    #[test]
    fn what_is_no_address_is_said_so() {
        for wrong in ["127.0.0.1:8000", "ws://h:1", "nonsense", "http://"] {
            assert!(matches!(api(wrong), Err(CliError::Usage(_))), "{wrong}");
        }
    }

    #[test]
    fn a_problem_is_told_in_the_servers_words_with_controls_escaped() {
        let Ok(api) = api("http://h:1") else { panic!("a plain address") };
        let told = api.refusal(404, r#"{"title":"x","status":404,"detail":"No session \u001b[31m here."}"#).to_string();
        assert_eq!(told, "No session \\u{1b}[31m here.");
        assert!(api.refusal(502, "<html>").to_string().contains("HTTP status 502"));
    }
}
