//! Mails over SMTP.

use std::time::Duration;

use lettre::message::{Mailbox, header::ContentType};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};

use super::address::{addresses, is_public};
use super::chats::lines;
use crate::alerts::{Alert, Answer};
use crate::rules::Notify;

/// Longest time of one step of the conversation.
const STEP_WITHIN: Duration = Duration::from_secs(10);

/// Sends an alert as a mail. The library encodes the headers, so that no text can add one.
pub(super) async fn send(target: &Notify, alert: &Alert) -> Result<Answer, String> {
    let url = url::Url::parse(target.url.reveal()).map_err(|_| "its URL cannot be read".to_owned())?;
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let is_wrapped = url.scheme() == "smtps";
    let port = url.port().unwrap_or(if is_wrapped { 465 } else { 587 });
    let address = addresses(&host, port, target.allow_private).await?.first().copied().ok_or("it has no address")?;
    let tls = || TlsParameters::new(host.clone()).map_err(|error| format!("no TLS: {error}"));
    let tls = match (is_wrapped, &target.secret) {
        (true, _) => Tls::Wrapper(tls()?),
        // A relay in the own network often has no certificate; a password never goes without TLS.
        (false, None) if !is_public(address.ip()) => Tls::None,
        (false, _) => Tls::Required(tls()?),
    };
    // By its address: a second look-up of the name could lead elsewhere.
    let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(address.ip().to_string())
        .port(port)
        .tls(tls)
        .timeout(Some(STEP_WITHIN))
        .hello_name(ClientId::Domain("sessionwatch".to_owned()));
    if let Some(password) = &target.secret {
        let user = percent_encoding::percent_decode_str(url.username()).decode_utf8_lossy().into_owned();
        transport = transport.credentials(Credentials::new(user, password.reveal().to_owned()));
    }
    let sent = transport.build().send(message(target, alert)?).await;
    match sent {
        Ok(answer) => Ok(Answer { taken: answer.is_positive(), text: format!("SMTP {}", answer.code()) }),
        Err(error) => match error.status() {
            Some(code) => Ok(Answer { taken: false, text: format!("SMTP {code}") }),
            None if error.is_timeout() => Err("no answer in time".to_owned()),
            None if is_untrusted(&error) => {
                Err("TLS failed: the mail server's certificate is not one that this machine trusts".to_owned())
            }
            None if error.is_tls() => Err("TLS failed".to_owned()),
            None => Err("the mail server cannot be reached, or does not speak SMTP with STARTTLS".to_owned()),
        },
    }
}

/// Whether a certificate was refused. The library tells that as a failed connection.
fn is_untrusted(error: &lettre::transport::smtp::Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        if inner.to_string().contains("certificate") {
            return true;
        }
        cause = inner.source();
    }
    false
}

fn message(target: &Notify, alert: &Alert) -> Result<Message, String> {
    let mailbox = |text: &str| text.parse::<Mailbox>().map_err(|error| format!("{text:?} is no address: {error}"));
    let lines = lines(alert);
    let mut message = Message::builder()
        .from(mailbox(target.from.as_deref().unwrap_or_default())?)
        .subject(format!("[sessionwatch] {}", lines[0]))
        .message_id(Some(format!("<{}@sessionwatch>", alert.id)))
        .date_now()
        .header(ContentType::TEXT_PLAIN);
    for to in &target.to {
        message = message.to(mailbox(to)?);
    }
    let text = format!("{}\r\n\r\nalert {}, {}\r\n", lines.join("\r\n"), alert.id, alert.at);
    message.body(text).map_err(|error| format!("no mail can be made: {error}"))
}
