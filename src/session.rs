//! A session: its id, status, kill, pulse (last heartbeat) and derived state.

use std::borrow::Borrow;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Serialize, Serializer};
use subtle::ConstantTimeEq;

use crate::clock::{Mono, Now, Timestamp, millis};
use crate::marks::Mark;

/// Ids that are made within this time share their first six characters.
const SLOT_MILLIS: u64 = 32;

/// A random number per process, so that the ids of two servers begin differently.
static SLOT_KEY: LazyLock<u64> = LazyLock::new(|| uuid::Uuid::new_v4().as_u64_pair().0);

/// Mixes the bits: each bit of the result depends on all bits of `number` (the finalizer of
/// SplitMix64).
fn scramble(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// The id of a session: 1 to 128 of `A-Z a-z 0-9 . _ : -`, but not `.`, `..` or `stale`.
/// Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(Arc<str>);

impl SessionId {
    /// Makes an id: a UUID of version 8 (RFC 9562). An id is not a secret.
    ///
    /// Dashboards show the first eight characters, so these should differ between sessions.
    /// The first six are a time slot of 32 ms, with its bits mixed; the rest is random. Ids
    /// of the same slot are neighbours in the store's indexes, so a commit of many
    /// registrations writes a few pages instead of one for each.
    #[must_use]
    pub fn fresh() -> Self {
        let millis = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
        let slot = scramble((millis / SLOT_MILLIS) ^ *SLOT_KEY).to_be_bytes();
        let mut bytes = uuid::Uuid::new_v4().into_bytes();
        bytes[..3].copy_from_slice(&slot[..3]);
        let mut buffer = uuid::Uuid::encode_buffer();
        Self(Arc::from(&*uuid::Uuid::new_v8(bytes).hyphenated().encode_lower(&mut buffer)))
    }

    /// The empty id of log entries that belong to no session.
    #[must_use]
    pub fn none() -> Self {
        Self("".into())
    }

    /// Reads an id; `None` where the text is not valid.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
        // HTTP clients remove `.` and `..` from paths, and `/sessions/stale` is a route.
        let taken = matches!(text, "." | ".." | "stale");
        ((1..=128).contains(&text.len()) && text.bytes().all(allowed) && !taken).then(|| Self(text.into()))
    }

    /// The text of the id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Lets a map with ids as keys be searched by `&str`, without an allocation.
impl Borrow<str> for SessionId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for SessionId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// The status that the client reported. The two usual words take no memory.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Status {
    /// No task.
    #[default]
    Idle,
    /// A task is running.
    Running,
    /// A word of the app's own.
    Other(Arc<str>),
}

impl Status {
    /// The word on the wire.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Idle => "idle",
            Self::Running => "running",
            Self::Other(word) => word,
        }
    }
}

/// Whether a user can see the page, as the client reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visibility {
    /// On the screen.
    Visible,
    /// In a background tab.
    Hidden,
    /// Stopped by the browser to save energy.
    Frozen,
    /// In the back-forward cache.
    Suspended,
}

impl Visibility {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Visible => "visible",
            Self::Hidden => "hidden",
            Self::Frozen => "frozen",
            Self::Suspended => "suspended",
        }
    }

    /// Reads the word on the wire; `None` for an unknown one.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Visible, Self::Hidden, Self::Frozen, Self::Suspended]
            .into_iter()
            .find(|visibility| visibility.as_str() == word)
    }
}

/// A kill request: an administrator's request to end a session, and how far it has got.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Kill {
    /// The id of this kill in frames, responses and the log.
    #[schema(value_type = String)]
    pub kill_id: Arc<str>,
    /// When it was committed.
    #[schema(value_type = String, format = DateTime)]
    pub requested_at: Timestamp,
    /// Who requested it: a token's name, the name that the caller gave, or `local`.
    #[schema(value_type = String)]
    pub requested_by: Arc<str>,
    /// The administrator's reason.
    #[schema(value_type = Option<String>)]
    pub reason: Option<Arc<str>>,
    /// When the kill was delivered to the client.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub delivered_at: Option<Timestamp>,
    /// When the client acknowledged that its clean-up is done.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub acknowledged_at: Option<Timestamp>,
    /// After this time a kill that is not done is shown as unconfirmed.
    #[schema(value_type = String, format = DateTime)]
    pub confirm_by: Timestamp,
}

/// The pulse of a session: when its last sign of life came. A heartbeat moves it with atomic
/// stores: no lock, and no new version of the session. All versions share one pulse.
#[derive(Debug)]
pub struct Pulse {
    wall: AtomicI64,
    mono: AtomicU64,
    moved: AtomicBool,
    /// The rate limit's state: when the reports so far would have come at an even rate; see
    /// [`Pulse::may_report`].
    reports_until: AtomicU64,
}

impl Pulse {
    /// A pulse whose last sign of life came at `wall` and `mono`.
    #[must_use]
    pub fn new(wall: Timestamp, mono: Mono) -> Self {
        Self {
            wall: AtomicI64::new(wall.0),
            mono: AtomicU64::new(mono.0),
            moved: AtomicBool::new(false),
            reports_until: AtomicU64::new(0),
        }
    }

    /// Whether a status report is within the rate (one in `every`, and `burst` at once); if so,
    /// it is counted. This is the generic cell rate algorithm: its state is one number.
    #[must_use]
    pub fn may_report(&self, now: Mono, every: Duration, burst: u32) -> bool {
        let every = millis(every);
        let ahead_max = every.saturating_mul(u64::from(burst.saturating_sub(1)));
        let next = |until: u64| {
            let from = until.max(now.0);
            (from - now.0 <= ahead_max).then(|| from.saturating_add(every))
        };
        self.reports_until.try_update(Ordering::AcqRel, Ordering::Acquire, next).is_ok()
    }

    /// Records a sign of life. Returns true for the first one since [`Pulse::take_moved`], so
    /// that the caller adds the session to its list of moved pulses only once.
    pub fn beat(&self, now: Now) -> bool {
        self.wall.store(now.wall.0, Ordering::Relaxed);
        self.mono.store(now.mono.0, Ordering::Relaxed);
        !self.moved.load(Ordering::Relaxed) && !self.moved.swap(true, Ordering::AcqRel)
    }

    /// Takes a heartbeat that another server has received; that server sends it on.
    pub fn move_to(&self, now: Now) {
        self.wall.store(now.wall.0, Ordering::Relaxed);
        self.mono.store(now.mono.0, Ordering::Relaxed);
    }

    /// Clears the mark that it moved; the next heartbeat returns true again.
    pub fn take_moved(&self) {
        self.moved.store(false, Ordering::Release);
    }

    /// The last sign of life, by the wall clock.
    #[must_use]
    pub fn wall(&self) -> Timestamp {
        Timestamp(self.wall.load(Ordering::Relaxed))
    }

    /// The last sign of life, by the monotonic clock.
    #[must_use]
    pub fn mono(&self) -> Mono {
        Mono(self.mono.load(Ordering::Relaxed))
    }
}

/// SHA-256 of a secret; the secret itself is not kept.
pub type Digest = [u8; 32];

/// One version of a session. It is immutable: the next event replaces it as a whole. Only
/// the pulse moves between events.
#[derive(Clone, Debug)]
pub struct Session {
    /// The id.
    pub id: SessionId,
    /// The name of its app.
    pub app: Arc<str>,
    /// Its user.
    pub user: Option<Arc<str>>,
    /// When it registered.
    pub started_at: Timestamp,
    /// The last sign of life.
    pub pulse: Arc<Pulse>,
    /// The status that the client reported last.
    pub status: Status,
    /// When `status` or `task` changed last.
    pub status_since: Timestamp,
    /// The current task.
    pub task: Option<Arc<str>>,
    /// When `task` began.
    pub task_started_at: Option<Timestamp>,
    /// Whether a user can see it.
    pub visibility: Option<Visibility>,
    /// What is known of the user's input.
    pub input: Input,
    /// Seconds that the client promised between heartbeats.
    pub heartbeat_interval: f64,
    /// The client's name and version.
    pub client: Option<Arc<str>>,
    /// The client's address.
    pub remote_addr: Option<Arc<str>>,
    /// The client's tags, as the JSON object that is sent on.
    pub meta: Option<Arc<str>>,
    /// The kill request, if there is one.
    pub kill: Option<Arc<Kill>>,
    /// Digest of the session's token; `None` for a session that was imported without one.
    pub token: Option<Digest>,
    /// The name of the token that it registered with.
    pub registered_by: Option<Arc<str>>,
    /// Whether it is stale, as of the last `stale` or `recovered` event.
    pub stale: bool,
    /// What rules have noted on it; `None` where nothing is.
    pub marks: Option<Arc<[Mark]>>,
    /// Its open client socket; the newest one where it opened several.
    pub socket: Option<SocketId>,
}

/// What the client knows of the user's input: pointer, keys, scrolling, touch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Input {
    /// The client has told nothing.
    #[default]
    Unknown,
    /// The user is active.
    Active,
    /// There was no input since then.
    NoneSince(Timestamp),
}

impl Input {
    /// Two times of the last input that are closer are the same: clients count in whole seconds.
    const SAME_WITHIN: i64 = 5_000;

    /// What is known after a client has told at `now` that it has seen no input for this long.
    #[must_use]
    pub fn after(self, silent: Duration, now: Timestamp) -> Self {
        if silent.is_zero() {
            return Self::Active;
        }
        let since = now.minus(silent);
        match self {
            Self::NoneSince(known) if since.since(known).abs() < Self::SAME_WITHIN => self,
            _ => Self::NoneSince(since),
        }
    }

    /// As one number, for a store; `None` while nothing is known.
    #[must_use]
    pub fn to_number(self) -> Option<i64> {
        match self {
            Self::Unknown => None,
            Self::Active => Some(0),
            Self::NoneSince(at) => Some(at.0),
        }
    }

    /// Out of [`Input::to_number`].
    #[must_use]
    pub fn of_number(number: Option<i64>) -> Self {
        match number {
            None => Self::Unknown,
            Some(0) => Self::Active,
            Some(at) => Self::NoneSince(Timestamp(at)),
        }
    }
}

/// The number of a server among those that share a store. One that starts anew has another.
pub type Node = u32;

/// The id of an open client socket: the server that holds it, and a number of its own.
/// Both in one word, since every session has one: 24 bits and 40 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketId(u64);

impl SocketId {
    const NUMBER_BITS: u32 = 40;

    /// The socket with this number on this server.
    #[must_use]
    pub fn new(node: Node, number: u64) -> Self {
        Self(u64::from(node) << Self::NUMBER_BITS | number & ((1 << Self::NUMBER_BITS) - 1))
    }

    /// As one number, for a store.
    #[must_use]
    pub fn to_number(self) -> u64 {
        self.0
    }

    /// Out of [`SocketId::to_number`].
    #[must_use]
    pub fn of_number(number: u64) -> Self {
        Self(number)
    }

    /// The server that holds it.
    #[must_use]
    pub fn node(self) -> Node {
        (self.0 >> Self::NUMBER_BITS) as Node
    }
}

/// The state of a live session in counts, in the time band and in the default order. A
/// session has the first state that fits, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It has a kill request.
    Ending,
    /// It is stale.
    Stale,
    /// Its status is not idle.
    Running,
    /// It is idle, and no user can see it.
    Hidden,
    /// It is idle.
    Idle,
}

impl State {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ending => "ending",
            Self::Stale => "stale",
            Self::Running => "running",
            Self::Hidden => "hidden",
            Self::Idle => "idle",
        }
    }
}

impl Session {
    /// Whether this is the digest of its token; compared in constant time.
    #[must_use]
    pub fn owned_by(&self, digest: &Digest) -> bool {
        self.token.is_some_and(|token| token.ct_eq(digest).into())
    }

    /// The session of an event that is about none.
    #[must_use]
    pub fn none(now: Now) -> Self {
        Self {
            id: SessionId::none(),
            app: "".into(),
            user: None,
            started_at: now.wall,
            pulse: Arc::new(Pulse::new(now.wall, now.mono)),
            status: Status::default(),
            status_since: now.wall,
            task: None,
            task_started_at: None,
            visibility: None,
            input: Input::Unknown,
            heartbeat_interval: 0.0,
            client: None,
            remote_addr: None,
            meta: None,
            kill: None,
            token: None,
            stale: false,
            marks: None,
            socket: None,
            registered_by: None,
        }
    }

    /// What rules have noted on it.
    #[must_use]
    pub fn marks(&self) -> &[Mark] {
        self.marks.as_deref().unwrap_or_default()
    }

    /// What this rule has noted on it.
    #[must_use]
    pub fn mark(&self, rule: &str) -> Option<&Mark> {
        self.marks().iter().find(|mark| *mark.rule == *rule)
    }

    /// Whether a live client socket is open.
    #[must_use]
    pub fn connected(&self) -> bool {
        self.socket.is_some()
    }

    /// The status that dashboards show: `stale`, or the reported one.
    #[must_use]
    pub fn shown_status(&self) -> &str {
        if self.stale { "stale" } else { self.status.as_str() }
    }

    /// Its state.
    #[must_use]
    pub fn state(&self) -> State {
        let unseen = self.visibility.is_some_and(|visibility| visibility != Visibility::Visible);
        match () {
            () if self.kill.is_some() => State::Ending,
            () if self.stale => State::Stale,
            () if self.status != Status::Idle => State::Running,
            () if unseen => State::Hidden,
            () => State::Idle,
        }
    }

    /// Since when it is idle: neither a task nor, where the client tells of it, input of the user. `None`
    /// while it is not idle.
    #[must_use]
    pub fn idle_since(&self) -> Option<Timestamp> {
        match self.input {
            _ if self.status != Status::Idle => None,
            Input::Unknown => Some(self.status_since),
            Input::Active => None,
            Input::NoneSince(at) => Some(at.max(self.status_since)),
        }
    }

    /// Whole seconds since it registered.
    #[must_use]
    pub fn duration_seconds(&self, now: Timestamp) -> i64 {
        (now.since(self.started_at) / 1_000).max(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_only_what_the_contract_allows() {
        for good in ["a", "A-z0.9_:", "...", "Stale", &"x".repeat(128)] {
            assert!(SessionId::parse(good).is_some(), "{good}");
        }
        for bad in ["", "a b", "ä", "a/b", "a\n", "a%20", ".", "..", "stale", &"x".repeat(129)] {
            assert!(SessionId::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn ids_differ_early_and_those_made_together_lie_together() {
        let ids: Vec<SessionId> = (0..2_000).map(|_| SessionId::fresh()).collect();
        let slots: std::collections::BTreeSet<&str> = ids.iter().map(|id| &id.as_str()[..6]).collect();
        // 2,000 ids take a few milliseconds; a machine that stops in between adds a slot.
        assert!(slots.len() < 100, "{} slots", slots.len());
        let one_slot = ids.iter().filter(|id| id.as_str()[..6] == ids[0].as_str()[..6]).count();
        let shown: std::collections::BTreeSet<&str> = ids.iter().map(|id| &id.as_str()[..8]).collect();
        assert!(shown.len() > 100.min(one_slot / 2), "{} different beginnings", shown.len());
        let parsed = uuid::Uuid::parse_str(ids[0].as_str()).expect("a UUID");
        assert_eq!(parsed.get_version_num(), 8);
        assert_ne!(scramble(1) >> 40, scramble(2) >> 40, "the next slot begins otherwise");
    }

    #[test]
    fn input_counts_from_its_last_sign_and_does_not_waver() {
        let now = Timestamp(1_000_000);
        let silent = |seconds| Duration::from_secs(seconds);
        let idle = Input::Unknown.after(silent(60), now);
        assert_eq!(idle, Input::NoneSince(Timestamp(940_000)));
        assert_eq!(idle.after(silent(122), Timestamp(1_060_000)), idle, "the same, told again");
        assert_eq!(idle.after(silent(60), Timestamp(1_060_000)), Input::NoneSince(now), "there was input in between");
        assert_eq!(idle.after(Duration::ZERO, now), Input::Active);
        for input in [Input::Unknown, Input::Active, idle] {
            assert_eq!(Input::of_number(input.to_number()), input);
        }
    }

    #[test]
    fn only_the_first_beat_since_the_last_collection_is_news() {
        let pulse = Pulse::new(Timestamp(0), Mono(0));
        let now = Now { wall: Timestamp(5), mono: Mono(5) };
        assert!(pulse.beat(now));
        assert!(!pulse.beat(now));
        pulse.take_moved();
        assert!(pulse.beat(now));
    }
}
