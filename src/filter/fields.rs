//! The qualifiers: of live sessions, and of events of the log.

/// What a qualifier or a free word looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Field {
    /// The app.
    App,
    /// The user.
    User,
    /// The current task.
    Task,
    /// The session's id.
    Id,
    /// The state in which it is shown: `idle`, `running`, `hidden`, `stale`, `ending`.
    State,
    /// The status that the client reported.
    Reported,
    /// The client's name and version.
    Client,
    /// The client's address.
    Addr,
    /// Whether the page is visible.
    Visibility,
    /// Whether a socket is open: `yes` or `no`.
    Connected,
    /// The name of the server that holds the socket.
    Node,
    /// The reason of a kill.
    Reason,
    /// The kind of an event.
    Kind,
    /// Who asked for an event.
    By,
    /// Why a session was removed.
    Cause,
    /// The text of a message.
    Text,
}

/// A moment that a qualifier compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Moment {
    /// Since when it is idle.
    Idle,
    /// Its last heartbeat.
    Beat,
    /// When it registered.
    Start,
    /// When its task began.
    TaskStart,
    /// When the event was.
    At,
}

/// How a qualifier compares.
#[derive(Clone, Copy, Debug)]
pub(super) enum Compare {
    /// The whole text, with `*`.
    Word(Field),
    /// A part of the text.
    Part(Field),
    /// The state, and the client's own word for being at work.
    Status,
    /// A tag, whose name follows a dot.
    Meta,
    /// The age of a moment with a duration.
    Since(Moment),
    /// A moment with a moment.
    Time(Moment),
}

/// The qualifiers of live sessions, as `SESSION_FIELDS` in `web/fields.js`.
pub(super) const SESSION: [(&str, Compare); 17] = [
    ("app", Compare::Word(Field::App)),
    ("status", Compare::Status),
    ("user", Compare::Word(Field::User)),
    ("task", Compare::Part(Field::Task)),
    ("id", Compare::Word(Field::Id)),
    ("meta", Compare::Meta),
    ("idle", Compare::Since(Moment::Idle)),
    ("silent", Compare::Since(Moment::Beat)),
    ("age", Compare::Since(Moment::Start)),
    ("busy", Compare::Since(Moment::TaskStart)),
    ("started", Compare::Time(Moment::Start)),
    ("client", Compare::Word(Field::Client)),
    ("addr", Compare::Word(Field::Addr)),
    ("visibility", Compare::Word(Field::Visibility)),
    ("connected", Compare::Word(Field::Connected)),
    ("node", Compare::Word(Field::Node)),
    ("reason", Compare::Part(Field::Reason)),
];

/// Where free words are looked for in a session; its tags too.
pub(super) const SESSION_WORDS: [Field; 8] =
    [Field::App, Field::User, Field::Task, Field::Id, Field::State, Field::Reported, Field::Client, Field::Addr];

/// The qualifiers of events, as `EVENT_FIELDS` in `web/fields.js`.
pub(super) const EVENT: [(&str, Compare); 10] = [
    ("kind", Compare::Word(Field::Kind)),
    ("app", Compare::Word(Field::App)),
    ("user", Compare::Word(Field::User)),
    ("id", Compare::Word(Field::Id)),
    ("by", Compare::Word(Field::By)),
    ("cause", Compare::Word(Field::Cause)),
    ("reason", Compare::Part(Field::Reason)),
    ("at", Compare::Time(Moment::At)),
    ("started", Compare::Time(Moment::At)),
    ("task", Compare::Part(Field::Task)),
];

/// Where free words are looked for in an event.
pub(super) const EVENT_WORDS: [Field; 9] =
    [Field::Kind, Field::App, Field::User, Field::Id, Field::By, Field::Reason, Field::Cause, Field::Text, Field::Task];
