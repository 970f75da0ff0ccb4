//! Logged-in browsers: one-time login links, and the cookies that a link or a token is
//! exchanged for. Requests are compared with what is here, in memory; servers that share a
//! database keep the same links and cookies there.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use subtle::ConstantTimeEq;

use super::Identity;
use super::store::{KeptCookie, KeptLink};
use crate::secret;
use crate::session::Digest;

/// How long a browser stays logged in.
pub const COOKIE_LIFE: Duration = Duration::from_secs(12 * 3_600);
/// How long a one-time link is valid.
pub const LINK_LIFE: Duration = Duration::from_secs(15 * 60);
/// Most logged-in browsers per token. One more logs out the oldest browser of the same
/// token; browsers of other tokens stay logged in.
pub const PER_TOKEN: usize = 128;

struct Cookie {
    identity: Identity,
    page: Digest,
    expires: Instant,
}

struct Link {
    digest: Digest,
    identity: Identity,
    expires: Instant,
}

/// The two secrets of a browser that has just logged in.
pub struct LoggedIn {
    /// The cookie's value. It is `HttpOnly`: scripts cannot read it.
    pub cookie: String,
    /// The secret that the page keeps and sends with each request. The cookie is not valid
    /// without it, because browsers send a cookie to every port of a host.
    pub page: String,
    /// The identity that the browser has now.
    pub identity: Identity,
}

/// The secrets of a browser that logs in, and their digests.
pub(super) struct Fresh {
    cookie: String,
    page: String,
    pub(super) digest: Digest,
    pub(super) page_digest: Digest,
}

impl Fresh {
    pub(super) fn new() -> Self {
        let ((cookie, digest), (page, page_digest)) = (secret::fresh(), secret::fresh());
        Self { cookie, page, digest, page_digest }
    }
}

/// All valid cookies and one-time links.
#[derive(Default)]
pub(super) struct Cookies {
    cookies: HashMap<Digest, Cookie>,
    links: Vec<Link>,
}

impl Cookies {
    /// Logs a browser in.
    pub(super) fn log_in(&mut self, identity: Identity, fresh: Fresh, now: Instant) -> LoggedIn {
        self.cookies.retain(|_, cookie| cookie.expires > now);
        let of_token = self.cookies.iter().filter(|(_, cookie)| cookie.identity.token == identity.token);
        if of_token.clone().count() >= PER_TOKEN
            && let Some(oldest) = of_token.min_by_key(|(_, cookie)| cookie.expires).map(|(digest, _)| *digest)
        {
            self.cookies.remove(&oldest);
        }
        let Fresh { cookie, page, digest, page_digest } = fresh;
        let kept = Cookie { identity: identity.clone(), page: page_digest, expires: now + COOKIE_LIFE };
        self.cookies.insert(digest, kept);
        LoggedIn { cookie, page, identity: Identity { cookie: Some(digest), ..identity } }
    }

    /// The identity of a cookie, if the page's secret fits it.
    pub(super) fn identify(&self, cookie: &Digest, page: &Digest, now: Instant) -> Option<Identity> {
        let kept = self.cookies.get(cookie).filter(|kept| kept.expires > now)?;
        bool::from(kept.page.ct_eq(page)).then(|| Identity { cookie: Some(*cookie), ..kept.identity.clone() })
    }

    pub(super) fn holds(&self, cookie: &Digest) -> bool {
        self.cookies.contains_key(cookie)
    }

    /// Deletes a cookie; returns whether it existed.
    pub(super) fn log_out(&mut self, cookie: &Digest) -> bool {
        self.cookies.remove(cookie).is_some()
    }

    /// Keeps only the cookies whose identity is still valid.
    pub(super) fn retain(&mut self, valid: impl Fn(&Identity) -> bool) {
        self.cookies.retain(|_, cookie| valid(&cookie.identity));
    }

    /// Takes the cookies that are kept elsewhere, for the tokens in `known`. Returns whether one
    /// of those from before is no longer valid.
    pub(super) fn take(&mut self, kept: &[KeptCookie], known: &[Identity], now: Instant) -> bool {
        let by_token: HashMap<&Digest, &Identity> = known.iter().map(|identity| (&identity.token, identity)).collect();
        let cookie = |kept: &KeptCookie| {
            let identity = (*by_token.get(&kept.token)?).clone();
            Some((kept.digest, Cookie { identity, page: kept.page, expires: now + kept.left }))
        };
        let before = std::mem::replace(&mut self.cookies, kept.iter().filter_map(cookie).collect());
        before.keys().any(|digest| !self.cookies.contains_key(digest))
    }

    /// Takes the one-time links that are kept elsewhere, for the tokens in `known`; those from
    /// before are no longer valid.
    pub(super) fn take_links(&mut self, kept: &[KeptLink], known: &[Identity], now: Instant) {
        self.links.clear();
        for KeptLink { digest, token, left } in kept {
            if let Some(identity) = known.iter().find(|identity| identity.token == *token) {
                self.link(*digest, identity.clone(), now + *left);
            }
        }
    }

    /// Adds a one-time link.
    pub(super) fn link(&mut self, digest: Digest, identity: Identity, expires: Instant) {
        self.links.push(Link { digest, identity, expires });
    }

    /// The identity that the one-time link with this secret logs in.
    pub(super) fn linked(&self, digest: &Digest, now: Instant) -> Option<&Identity> {
        let link = self.links.iter().find(|link| link.digest.ct_eq(digest).into());
        link.filter(|link| link.expires > now).map(|link| &link.identity)
    }

    /// Deletes the one-time link with this secret: it is used up.
    pub(super) fn use_up(&mut self, digest: &Digest) {
        self.links.retain(|link| link.digest != *digest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scope::Scope;
    use crate::tokens::Role;

    fn identity(name: &str) -> Identity {
        let (_, token) = secret::fresh();
        Identity { name: name.into(), role: Role::Admin, scope: Scope::all(), expires: None, token, cookie: None }
    }

    #[test]
    fn many_logins_with_one_token_log_out_no_browser_of_another() {
        let now = Instant::now();
        let mut cookies = Cookies::default();
        let ana = cookies.log_in(identity("ana"), Fresh::new(), now);
        let many = identity("many");
        let first = cookies.log_in(many.clone(), Fresh::new(), now);
        let last =
            (0..1_030).map(|n| cookies.log_in(many.clone(), Fresh::new(), now + Duration::from_millis(n))).last();
        let later = now + Duration::from_secs(2);
        let knows = |who: &LoggedIn, page: &str| {
            cookies.identify(&secret::digest(&who.cookie), &secret::digest(page), later).is_some()
        };
        assert!(knows(&ana, &ana.page) && last.is_some_and(|last| knows(&last, &last.page)));
        assert!(!knows(&first, &first.page), "the oldest browser of the same token is logged out");
        assert!(!knows(&ana, &first.page), "another page's secret does not fit");
        assert_eq!(cookies.cookies.len(), 1 + PER_TOKEN);
    }

    #[test]
    fn a_link_is_valid_for_fifteen_minutes_and_works_once() {
        let now = Instant::now();
        let (_, digest) = secret::fresh();
        let mut cookies = Cookies::default();
        cookies.link(digest, identity("admin"), now + LINK_LIFE);
        let almost = now + LINK_LIFE.saturating_sub(Duration::from_millis(1));
        assert!(cookies.linked(&secret::digest("another"), almost).is_none());
        assert!(cookies.linked(&digest, almost).is_some());
        cookies.use_up(&digest);
        assert!(cookies.linked(&digest, almost).is_none());
        cookies.link(digest, identity("admin"), now + LINK_LIFE);
        assert!(cookies.linked(&digest, now + LINK_LIFE).is_none());
    }
}
