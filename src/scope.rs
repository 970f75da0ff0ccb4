//! The scope of a caller: it may see and end all sessions, or those of some apps only.

use std::sync::Arc;

/// The apps that a token is limited to. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Scope(Option<Arc<[Arc<str>]>>);

impl Scope {
    /// All apps.
    #[must_use]
    pub fn all() -> Self {
        Self(None)
    }

    /// Only these apps. An empty list means no session at all.
    #[must_use]
    pub fn only<T: Into<Arc<str>>>(apps: impl IntoIterator<Item = T>) -> Self {
        let mut apps: Vec<Arc<str>> = apps.into_iter().map(Into::into).collect();
        apps.sort_unstable();
        apps.dedup();
        Self(Some(apps.into()))
    }

    /// Whether it covers all apps.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.0.is_none()
    }

    /// Whether it covers this app. Names are compared exactly.
    #[must_use]
    pub fn allows(&self, app: &str) -> bool {
        self.0.as_ref().is_none_or(|apps| apps.iter().any(|allowed| **allowed == *app))
    }

    /// The apps that it covers, sorted; `None` for all.
    #[must_use]
    pub fn apps(&self) -> Option<&[Arc<str>]> {
        self.0.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_compared_whole() {
        let scope = Scope::only(["risk", "ops"]);
        assert!(scope.allows("risk") && scope.allows("ops"));
        for other in ["Risk", "risk ", "ris", "risky", ""] {
            assert!(!scope.allows(other), "{other:?}");
        }
        assert!(Scope::all().allows("anything"));
        assert!(!Scope::only(Vec::<String>::new()).allows("anything"));
        assert_eq!(Scope::only(["ops", "risk", "ops"]), scope);
    }
}
