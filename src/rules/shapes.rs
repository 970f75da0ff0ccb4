//! The shapes of the TOML file, before what it names is checked. Values that a check may
//! refuse keep their place in the text.

use std::fmt;
use std::time::Duration;

use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, de::value::MapAccessDeserializer};
use toml::Spanned;

use super::file::{NotifyKind, Then};

/// A length of time as a text, like `5m`.
#[derive(Clone, Copy)]
pub(super) struct Time(pub(super) Duration);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        humantime::parse_duration(&text)
            .map(Self)
            .map_err(|error| de::Error::custom(format!("{error}; write a time like 30s, 5m, 2h or 1d")))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileShape {
    #[serde(default)]
    pub(super) rule: Vec<RuleShape>,
    #[serde(default)]
    pub(super) notify: Vec<NotifyShape>,
    #[serde(default)]
    pub(super) expect: Vec<ExpectShape>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RuleShape {
    pub(super) name: Spanned<String>,
    pub(super) when: Spanned<String>,
    pub(super) warn: Option<Spanned<String>>,
    pub(super) grace: Option<Spanned<Time>>,
    pub(super) then: Then,
    pub(super) reason: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) notify: Vec<Spanned<String>>,
    pub(super) limit: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NotifyShape {
    pub(super) name: Spanned<String>,
    pub(super) kind: NotifyKind,
    pub(super) url: Option<Spanned<String>>,
    pub(super) secret_file: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) allow_private: bool,
    pub(super) from: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) to: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) on: Vec<Spanned<OnShape>>,
}

/// An occasion: its word alone, or a table with more.
pub(super) struct OnShape(pub(super) OnTable);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OnTable {
    pub(super) occasion: String,
    pub(super) filter: Option<String>,
    pub(super) delay: Option<Time>,
    pub(super) group: Option<Time>,
    pub(super) recovered: Option<bool>,
}

impl<'de> Deserialize<'de> for OnShape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = OnTable;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an occasion like \"stale\", or a table like { occasion = \"stale\", delay = \"2m\" }")
            }

            fn visit_str<E: de::Error>(self, word: &str) -> Result<OnTable, E> {
                Ok(OnTable { occasion: word.to_owned(), filter: None, delay: None, group: None, recovered: None })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<OnTable, A::Error> {
                OnTable::deserialize(MapAccessDeserializer::new(map))
            }
        }
        deserializer.deserialize_any(Either).map(OnShape)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExpectShape {
    pub(super) name: Option<Spanned<String>>,
    pub(super) app: Spanned<String>,
    pub(super) every: Option<Spanned<Time>>,
    pub(super) cron: Option<Spanned<String>>,
    pub(super) zone: Option<Spanned<String>>,
    pub(super) grace: Option<Spanned<Time>>,
}
