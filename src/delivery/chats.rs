//! The bodies that chat services take. What sessions say is not trusted: it mentions nobody,
//! formats nothing and makes no link with another text.

use serde_json::{Value, json};

use crate::alerts::{Alert, Subject};
use crate::fields::clean;
use crate::rules::NotifyKind;

/// Longest text of one field, in characters.
const FIELD_MAX: usize = 120;
/// Longest text that is sent, in characters; Discord takes 2,000.
const TEXT_MAX: usize = 1_800;

/// The alert as lines of plain text: what happened, and the first sessions.
pub(super) fn lines(alert: &Alert) -> Vec<String> {
    let mut lines = vec![clean(&alert.title, 300)];
    lines.extend(alert.subjects.iter().map(line));
    let listed = alert.subjects.len() as u64;
    if alert.count > listed {
        lines.push(format!("and {} more", alert.count - listed));
    }
    lines
}

fn line(subject: &Subject) -> String {
    let Subject { id, user, task, reason, by } = subject;
    let mut parts = vec![clean(id, FIELD_MAX)];
    let named = [("", user), ("", task), ("reason: ", reason), ("by ", by)];
    for (before, text) in named {
        let text = text.as_deref().map(|text| clean(text, FIELD_MAX)).unwrap_or_default();
        if !text.is_empty() {
            parts.push(format!("{before}{text}"));
        }
    }
    parts.join(" · ")
}

fn cut(text: &str) -> String {
    text.chars().take(TEXT_MAX).collect()
}

/// The body for a chat service; `None` for another kind of target.
pub(super) fn body(kind: NotifyKind, alert: &Alert) -> Option<Value> {
    let lines = lines(alert);
    let text = cut(&lines.join("\n"));
    match kind {
        NotifyKind::Slack => Some(json!({
            "text": slack(&lines[0]),
            "blocks": [{ "type": "section", "text": { "type": "plain_text", "text": text, "emoji": false } }],
            "unfurl_links": false,
            "unfurl_media": false,
        })),
        NotifyKind::Discord => Some(json!({
            "content": cut(&discord(&text)),
            "allowed_mentions": { "parse": [] },
            // No previews of links.
            "flags": 4,
        })),
        NotifyKind::Teams => Some(teams(&lines)),
        _ => None,
    }
}

/// Slack's three control characters; without them there is no mention and no link.
fn slack(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Discord's Markdown, taken literally.
fn discord(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() * 2);
    for c in text.chars() {
        if c.is_ascii_punctuation() && !",.;'\"%=+/?&".contains(c) {
            escaped.push('\\');
        }
        escaped.push(c);
        if c == '@' {
            // A mention is written with the name right behind it.
            escaped.push('\u{200b}');
        }
    }
    escaped
}

/// A card whose texts are runs: these have no Markdown.
fn teams(lines: &[String]) -> Value {
    let block = |(place, line): (usize, &String)| {
        let run = json!({ "type": "TextRun", "text": line, "weight": if place == 0 { "bolder" } else { "default" } });
        json!({ "type": "RichTextBlock", "inlines": [run] })
    };
    json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard",
                "version": "1.4",
                "body": lines.iter().enumerate().map(block).collect::<Vec<_>>(),
            },
        }],
    })
}

/// What ntfy takes at its root: no text is in a header.
pub(super) fn ntfy(alert: &Alert, topic: &str) -> Value {
    let lines = lines(alert);
    let tag = if alert.recovered { "white_check_mark" } else { "warning" };
    json!({ "topic": topic, "title": lines[0], "message": cut(&lines.join("\n")), "tags": [tag] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_mentioned_and_nothing_is_formatted() {
        assert_eq!(slack("<!channel> <http://x|y> a&b"), "&lt;!channel&gt; &lt;http://x|y&gt; a&amp;b");
        let shown = discord("@everyone **x** [a](http://b) `c`");
        assert!(!shown.contains("@everyone") && !shown.contains("**") && shown.contains(r"\[a\]\(http"), "{shown}");
    }
}
