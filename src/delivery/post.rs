//! One try: an alert is posted to its target, and the answer is read.

use std::error::Error as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, RequestBuilder, Response};
use standardwebhooks::Webhook;

use super::address::{PRIVATE, PublicOnly, is_public};
use super::{chats, mail};
use crate::alerts::{Alert, Answer};
use crate::clock::Timestamp;
use crate::fields::clean;
use crate::rules::{Notify, NotifyKind, Secret};

/// Longest time to connect, and of a whole try.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
const TRY_WITHIN: Duration = Duration::from_secs(15);
/// How much of an answer is read, in bytes, and shown, in characters.
const READ_MAX: usize = 4_096;
const SHOWN_MAX: usize = 100;

/// Posts alerts.
pub struct Poster {
    /// Connects to public addresses only.
    public: Client,
    any: Client,
}

impl Poster {
    /// A poster. It uses no proxy of the environment: through one, the check of the address would
    /// mean nothing.
    ///
    /// # Errors
    /// A sentence: TLS cannot be used on this machine.
    pub fn new() -> Result<Self, String> {
        let usual = || {
            Client::builder()
                .redirect(reqwest::redirect::Policy::none())
                .no_proxy()
                .connect_timeout(CONNECT_WITHIN)
                .timeout(TRY_WITHIN)
                .pool_max_idle_per_host(1)
                .pool_idle_timeout(Duration::from_secs(5))
                .user_agent(concat!("sessionwatch/", env!("CARGO_PKG_VERSION")))
        };
        let failed = |error: reqwest::Error| format!("alerts cannot be posted: {error}");
        let public = usual().dns_resolver(Arc::new(PublicOnly)).build().map_err(failed)?;
        Ok(Self { public, any: usual().build().map_err(failed)? })
    }

    /// Tries once. `secret` is the key of the signature, for a target that takes JSON.
    pub async fn post(&self, target: &Notify, secret: Option<&Secret>, alert: &Alert, now: Timestamp) -> Answer {
        let tried = async {
            match target.kind {
                NotifyKind::Email => mail::send(target, alert).await,
                _ => self.http(target, secret, alert, now).await,
            }
        };
        let within = tokio::time::timeout(TRY_WITHIN * 2, tried).await;
        let tried = within.unwrap_or_else(|_| Err("no answer in time".to_owned()));
        tried.unwrap_or_else(|text| Answer { taken: false, text })
    }

    async fn http(
        &self,
        target: &Notify,
        secret: Option<&Secret>,
        alert: &Alert,
        now: Timestamp,
    ) -> Result<Answer, String> {
        let mut url = url::Url::parse(target.url.reveal()).map_err(|_| "its URL cannot be read".to_owned())?;
        let client = if target.allow_private { &self.any } else { &self.public };
        // A number is no name: nobody looks it up.
        let number = url.host_str().and_then(|host| host.trim_matches(['[', ']']).parse::<IpAddr>().ok());
        if !target.allow_private && number.is_some_and(|address| !is_public(address)) {
            return Err(PRIVATE.to_owned());
        }
        let request = match target.kind {
            NotifyKind::Ntfy => {
                let topic = url.path_segments().and_then(|mut parts| parts.next_back()).unwrap_or_default().to_owned();
                if let Ok(mut parts) = url.path_segments_mut() {
                    parts.pop();
                }
                let request = client.post(url).json(&chats::ntfy(alert, &topic));
                match secret {
                    Some(token) => request.bearer_auth(token.reveal()),
                    None => request,
                }
            }
            NotifyKind::Json => signed(client.post(url), secret, alert, now)?,
            kind => client.post(url).json(&chats::body(kind, alert)),
        };
        let answer = request.send().await.map_err(|error| why(&error))?;
        Ok(read(answer, target).await)
    }
}

/// The body and the headers of Standard Webhooks.
fn signed(
    request: RequestBuilder,
    secret: Option<&Secret>,
    alert: &Alert,
    now: Timestamp,
) -> Result<RequestBuilder, String> {
    let key = secret.ok_or("it has no key for its signature")?;
    let body = serde_json::json!({
        "type": if alert.test { "test" } else { alert.occasion.as_str() },
        "timestamp": alert.at,
        "data": {
            "id": alert.id,
            "recovered": alert.recovered,
            "title": alert.title,
            "app_name": alert.app_name,
            "count": alert.count,
            "subjects": alert.subjects,
        },
    });
    let body = body.to_string();
    let seconds = now.0.div_euclid(1_000);
    let signature = Webhook::new(key.reveal()).and_then(|webhook| webhook.sign(&alert.id, seconds, body.as_bytes()));
    Ok(request
        .header("webhook-id", &alert.id)
        .header("webhook-timestamp", seconds)
        .header("webhook-signature", signature.map_err(|_| "its key is not one")?)
        .header("content-type", "application/json")
        .body(body))
}

/// Why there is no answer: without the URL, which may be a secret.
fn why(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    let mut cause = error.source();
    let mut text = "it cannot be asked".to_owned();
    while let Some(inner) = cause {
        text = inner.to_string();
        cause = inner.source();
    }
    clean(&text, 160)
}

/// Reads an answer up to a bound. A target that repeats its URL or its secret does not make
/// them visible.
async fn read(mut answer: Response, target: &Notify) -> Answer {
    let status = answer.status();
    let mut body = Vec::new();
    while body.len() < READ_MAX {
        match answer.chunk().await {
            Ok(Some(chunk)) => body.extend_from_slice(&chunk[..chunk.len().min(READ_MAX - body.len())]),
            _ => break,
        }
    }
    let said = clean(&String::from_utf8_lossy(&body), READ_MAX);
    let is_secret = |text: &str| secrets(target).iter().any(|secret| text.contains(secret.as_str()));
    let shown: String = if is_secret(&said) { String::new() } else { said.chars().take(SHOWN_MAX).collect() };
    Answer { taken: status.is_success(), text: format!("HTTP {} {shown}", status.as_u16()).trim_end().to_owned() }
}

/// What an answer may not show: each part of the path and of the query, and the secret.
fn secrets(target: &Notify) -> Vec<String> {
    let mut parts: Vec<String> = target.secret.iter().map(|secret| secret.reveal().to_owned()).collect();
    if let Ok(url) = url::Url::parse(target.url.reveal()) {
        parts.extend(url.path_segments().into_iter().flatten().map(str::to_owned));
        parts.extend(url.query_pairs().map(|(_, value)| value.into_owned()));
        parts.extend(url.query().map(str::to_owned));
    }
    // A short part, like `hook`, is a word that any answer may have.
    parts.retain(|part| part.len() > 5);
    parts
}
