//! `GET /inbox`: who is due to arrive at the home, what to look at first, and how far each has come.

use std::collections::HashMap;
use std::sync::Arc;

use askama::Template;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use jiff::SignedDuration;
use onward_core::state::{DeliveryState, EndReason};
use onward_core::store::{Arrival, DeliveryRecord};
use onward_core::{OdsCode, Timestamp};
use onward_gateway::answer::refuses_the_person;
use onward_gateway::arrivals::{Listed, Listing, News, NewsCount};
use onward_gateway::{checklist, leaving};
use onward_transform::render::{Card, dates};

use super::components::{Choice, Field};
use super::record::heir;
use super::{OnlyGet, Shell, attendant, page, sent, shell, store_failed, trouble};
use crate::app::App;
use crate::people::SignedIn;

/// Copies on one list at most.
pub const ROWS_MAX: usize = 500;
/// How far the longer list goes back.
pub const RECENT: SignedDuration = SignedDuration::from_hours(28 * 24);

/// Which arrivals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Show {
    /// Those that still need somebody.
    Open,
    /// All of the last 28 days.
    Recent,
}

impl Show {
    /// As the query says.
    #[must_use]
    pub fn of(query: Option<&str>) -> Self {
        let recent = query.is_some_and(|query| query.split('&').any(|pair| pair == "show=recent"));
        if recent { Self::Recent } else { Self::Open }
    }
}

/// How it stands with a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// A notice that nobody has confirmed.
    NotConfirmed,
    /// A notice that somebody has confirmed.
    Confirmed,
    /// Nobody has said that the summary is there.
    NotAcknowledged,
    /// Somebody has.
    Acknowledged,
    /// The person is there.
    Arrived,
    /// The home has taken over.
    Completed,
    /// The person has left or died.
    Left,
    /// The home could not take the person.
    Declined,
    /// The home's own system could not process the message: nobody refused the person.
    Unprocessed,
    /// A later version took its place.
    Replaced,
    /// The hospital took it back, or it was never for the home.
    Cancelled,
    /// It did not reach the home.
    Failed,
}

impl Standing {
    const ALL: [Self; 12] = [
        Self::NotConfirmed,
        Self::NotAcknowledged,
        Self::Acknowledged,
        Self::Arrived,
        Self::Completed,
        Self::Left,
        Self::Declined,
        Self::Unprocessed,
        Self::Replaced,
        Self::Cancelled,
        Self::Failed,
        Self::Confirmed,
    ];

    /// Of a copy; `left` is what the home told when the person left.
    fn of(copy: &DeliveryRecord, left: Option<&str>) -> Self {
        use DeliveryState as S;
        // What came after the person had left wants to be read all the same.
        match (copy.ended.map(|ended| ended.why), left.filter(|_| !waits(copy))) {
            (Some(EndReason::Superseded), _) => return Self::Replaced,
            (Some(_), _) => return Self::Cancelled,
            (None, Some(_)) => return Self::Left,
            (None, None) => {}
        }
        if copy.notice.is_some() {
            return if waits(copy) { Self::NotConfirmed } else { Self::Confirmed };
        }
        match copy.state {
            S::Queued | S::AwaitingCollection | S::Sent | S::Received => Self::NotAcknowledged,
            S::Accepted => Self::Acknowledged,
            S::InProgress => Self::Arrived,
            S::Completed => Self::Completed,
            S::Rejected if refuses_the_person(copy.code.as_deref()) => Self::Declined,
            S::Rejected => Self::Unprocessed,
            S::Failed => Self::Failed,
            S::Withdrawn => Self::Cancelled,
        }
    }

    /// The word in the address.
    fn key(self) -> &'static str {
        match self {
            Self::NotConfirmed => "not-confirmed",
            Self::Confirmed => "confirmed",
            Self::NotAcknowledged => "not-acknowledged",
            Self::Acknowledged => "acknowledged",
            Self::Arrived => "arrived",
            Self::Completed => "completed",
            Self::Left => "left",
            Self::Declined => "declined",
            Self::Unprocessed => "unprocessed",
            Self::Replaced => "replaced",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        }
    }

    /// In words, and the colour of its tag.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::NotConfirmed => ("Not confirmed", "red"),
            Self::Confirmed => ("Confirmed", "grey"),
            Self::NotAcknowledged => ("Not acknowledged", "yellow"),
            Self::Acknowledged => ("Acknowledged", "blue"),
            Self::Arrived => ("Arrived", "green"),
            Self::Completed => ("Completed", "grey"),
            Self::Left => ("Left", "grey"),
            Self::Declined => ("Declined", "red"),
            Self::Unprocessed => ("Not processed by your system", "red"),
            Self::Replaced => ("Replaced", "red"),
            Self::Cancelled => ("Cancelled", "red"),
            Self::Failed => ("Delivery failed", "red"),
        }
    }
}

/// In which order the rows stand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Order {
    /// What waits first, then whoever comes soonest.
    #[default]
    Expected,
    /// By name.
    Name,
    /// What was sent last first.
    Newest,
}

impl Order {
    const ALL: [Self; 3] = [Self::Expected, Self::Name, Self::Newest];

    /// The word in the address.
    fn key(self) -> &'static str {
        match self {
            Self::Expected => "expected",
            Self::Name => "name",
            Self::Newest => "newest",
        }
    }

    /// In words, as a choice.
    fn words(self) -> &'static str {
        match self {
            Self::Expected => "What waits, then soonest",
            Self::Name => "By name",
            Self::Newest => "Sent last first",
        }
    }
}

/// What somebody asked the list for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// Which arrivals.
    pub show: Show,
    /// Only those that stand so.
    pub only: Option<Standing>,
    /// In which order.
    pub order: Order,
}

impl Asked {
    /// As the query says; `None` when that makes no sense.
    #[must_use]
    pub fn read(query: Option<&str>) -> Option<Self> {
        let text = |name: &str| sent(query.unwrap_or_default().as_bytes(), name);
        let only = match text("status").as_str() {
            "" => None,
            key => Some(Standing::ALL.into_iter().find(|standing| standing.key() == key)?),
        };
        let order = match text("sort").as_str() {
            "" => Order::default(),
            key => Order::ALL.into_iter().find(|order| order.key() == key)?,
        };
        Some(Self { show: Show::of(query), only, order })
    }

    /// Its address.
    fn address(self) -> String {
        let show = (self.show == Show::Recent).then_some("show=recent".to_owned());
        let only = self.only.map(|standing| format!("status={}", standing.key()));
        let order = (self.order != Order::default()).then(|| format!("sort={}", self.order.key()));
        let parts: Vec<String> = show.into_iter().chain(only).chain(order).collect();
        if parts.is_empty() { "/inbox".to_owned() } else { format!("/inbox?{}", parts.join("&")) }
    }

    /// As the log keeps it.
    fn logged(self) -> String {
        let show = if self.show == Show::Open { "open" } else { "all" };
        let only = self.only.map(|standing| format!("&status={}", standing.key())).unwrap_or_default();
        format!("inbox?show={show}{only}")
    }
}

/// `GET /inbox`.
pub(super) async fn get(
    State(app): State<Arc<App>>,
    who: SignedIn,
    _: OnlyGet,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let Some(asked) = Asked::read(query.as_deref()) else { return trouble(StatusCode::BAD_REQUEST) };
    let now = app.gateway.clock().now();
    // An open one stays on the list however old it is.
    let since = match asked.show {
        Show::Open => Timestamp::MIN,
        Show::Recent => now.checked_sub(RECENT).unwrap_or(Timestamp::MIN),
    };
    let listed = async {
        let (shell, homes) = shell(&app, &who).await?;
        let (open_only, whole) = (asked.show == Show::Open, asked.only.is_none());
        let listing = Listing { open_only, since, whole, limit: ROWS_MAX, asked: asked.logged() };
        let wanted = |arrival: &Arrival| {
            asked.only.is_none_or(|only| only == Standing::of(&arrival.copy, arrival.left.as_deref()))
        };
        let listed = app.gateway.arrivals(&attendant(&who), listing, wanted).await?;
        Ok(InboxPage::new(shell, &homes, asked, listed, now))
    };
    match listed.await {
        Ok(template) => page(&headers, StatusCode::OK, &template),
        Err(error) => store_failed(&error),
    }
}

/// `GET /inbox/news?seen=…`: how much came or changed since the page was made, for the script of a page that stands on a screen. The page
/// says how many entries the audit log had then ([`Listed::log`]). It names nobody and lists nothing; empty when there is nothing.
pub(super) async fn news(
    State(app): State<Arc<App>>,
    who: SignedIn,
    _: OnlyGet,
    RawQuery(query): RawQuery,
) -> Response {
    let Ok(seen) = sent(query.unwrap_or_default().as_bytes(), "seen").parse() else {
        return trouble(StatusCode::BAD_REQUEST);
    };
    match app.gateway.count_news(&attendant(&who), seen).await {
        Ok(count) => {
            let kind = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
            (kind, in_words(count).unwrap_or_default()).into_response()
        }
        Err(error) => store_failed(&error),
    }
}

/// How much is new, as the beginning of a sentence; nothing where nothing is.
fn in_words(count: NewsCount) -> Option<String> {
    let of = |count: usize, one: &str, many: &str| match count {
        0 => None,
        1 => Some(format!("1 {one}")),
        count => Some(format!("{count} {many}")),
    };
    let parts =
        [of(count.new, "new arrival or notice", "new arrivals or notices"), of(count.changed, "change", "changes")];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(" and "))
}

/// What is new since somebody last looked, in a sentence; empty for whoever looks for the first time.
fn since_last_look(listed: &Listed, now: Timestamp) -> String {
    let Some(looked) = listed.looked else { return String::new() };
    let of = |wanted: News| listed.news.values().filter(|news| **news == wanted).count();
    let count = NewsCount { new: of(News::New), changed: of(News::Changed) };
    let when = dates::near_moment(looked, now);
    match in_words(count) {
        Some(told) => format!("Since you last looked, {when}: {told}, marked on the list."),
        None => format!("Nothing on this list came or changed since you last looked, {when}."),
    }
}

/// The page.
#[derive(Template)]
#[template(path = "inbox.html")]
pub struct InboxPage {
    shell: Shell,
    filter: String,
    order: &'static str,
    recent: bool,
    status: Field,
    statuses: Vec<Choice>,
    sort: Field,
    sorts: Vec<Choice>,
    correct_at: String,
    /// What `/inbox/news` is asked with.
    log: u64,
    /// What is new since the last look.
    news: String,
    this: String,
    other: &'static str,
    other_words: &'static str,
    nobody: &'static str,
    rows: Vec<Row>,
    cut: bool,
}

struct Row {
    href: String,
    sorted_by: String,
    expected: String,
    overdue: bool,
    name: String,
    born: String,
    number: String,
    home: String,
    died: String,
    similar: bool,
    from: String,
    check_first: Vec<String>,
    status: String,
    colour: &'static str,
    unopened: bool,
    replaces: bool,
    /// Where the summary is that took its place; empty where none did.
    heir: String,
    /// A notice that nobody has confirmed.
    stop: bool,
    /// What was told with an earlier version, while this one waits.
    told: String,
    notice: bool,
    /// What happened to it since the last look.
    news: Option<News>,
}

impl InboxPage {
    /// The list at `now`, for somebody of these homes (code and name).
    #[must_use]
    pub fn new(shell: Shell, homes: &[(OdsCode, String)], asked: Asked, listed: Listed, now: Timestamp) -> Self {
        let news = since_last_look(&listed, now);
        let Listed { mut arrivals, news: marked, log, .. } = listed;
        arrivals.sort_by_key(|arrival| {
            let stop = arrival.copy.notice.is_some() && waits(&arrival.copy);
            (!stop, !is_overdue(arrival, now), arrival.expected.unwrap_or(Timestamp::MAX), arrival.copy.created)
        });
        if asked.order == Order::Newest {
            arrivals.sort_by_key(|arrival| std::cmp::Reverse(arrival.copy.created));
        }
        let row =
            |arrival: &Arrival| Row { news: marked.get(&arrival.copy.id).copied(), ..Row::new(arrival, homes, now) };
        let mut rows: Vec<Row> = arrivals.iter().map(row).collect();
        flag_similar_names(&mut rows);
        if asked.order == Order::Name {
            rows.sort_by(|one, other| one.sorted_by.cmp(&other.sorted_by));
        }
        let names = homes.iter().map(|(_, name)| name.as_str()).collect::<Vec<_>>().join(" and ");
        let (mut filter, other, other_words, mut nobody) = match asked.show {
            Show::Open => (
                format!(
                    "Everybody on the way to {names}, or there for less than 72 hours: not yet completed, declined, replaced or cancelled, and not gone; for 72 hours also what your system could not process. With them stand notices that nobody has confirmed."
                ),
                "/inbox?show=recent",
                "Show everything of the last 28 days",
                "Nobody is due to arrive.",
            ),
            Show::Recent => (
                format!("Everything sent to {names} in the last 28 days, whatever became of it."),
                "/inbox",
                "Show only those that still need somebody",
                "Nothing was sent in the last 28 days.",
            ),
        };
        if let Some(only) = asked.only {
            filter = format!("{filter} Of these only: {}.", only.words().0);
            nobody = "Nothing on this list has that status.";
        }
        let order = match asked.order {
            Order::Expected => "Notices to confirm stand first, then overdue ones, then whoever is expected soonest.",
            Order::Name => "Sorted by name.",
            Order::Newest => "What was sent last stands first.",
        };
        let statuses = Standing::ALL.into_iter().map(|standing| Choice::new(standing.key(), standing.words().0));
        Self {
            shell,
            filter,
            order,
            recent: asked.show == Show::Recent,
            status: Field {
                value: asked.only.map(|only| only.key().to_owned()).unwrap_or_default(),
                ..Field::new("status", "Status")
            },
            statuses: std::iter::once(Choice::new("", "All")).chain(statuses).collect(),
            sort: Field { value: asked.order.key().to_owned(), ..Field::new("sort", "Order") },
            sorts: Order::ALL.into_iter().map(|order| Choice::new(order.key(), order.words())).collect(),
            correct_at: dates::time_of_day(now),
            log,
            news,
            this: asked.address(),
            other,
            other_words,
            nobody,
            cut: rows.len() >= ROWS_MAX,
            rows,
        }
    }
}

/// Nobody has said anything about it yet.
fn waits(copy: &DeliveryRecord) -> bool {
    !copy.state.is_acknowledged() && !copy.state.is_settled()
}

/// Expected before now, and nobody has said that the summary is there.
fn is_overdue(arrival: &Arrival, now: Timestamp) -> bool {
    let awaited = arrival.copy.notice.is_none() && waits(&arrival.copy);
    awaited && arrival.expected.is_some_and(|expected| expected < now)
}

impl Row {
    fn new(arrival: &Arrival, homes: &[(OdsCode, String)], now: Timestamp) -> Self {
        let copy = &arrival.copy;
        let (status, colour) = status(copy, arrival.settled, arrival.left.as_deref());
        let home = homes.iter().find(|(ods, _)| *ods == copy.recipient).filter(|_| homes.len() > 1);
        let row = Self {
            href: format!("/transfers/{}", copy.id),
            expected: arrival
                .expected
                .map_or_else(|| "Time not given".to_owned(), |at| capital(&dates::near_moment(at, now))),
            overdue: is_overdue(arrival, now),
            name: "Content no longer held".to_owned(),
            sorted_by: String::new(),
            born: String::new(),
            number: String::new(),
            home: home.map(|(_, name)| name.clone()).unwrap_or_default(),
            died: String::new(),
            similar: false,
            from: copy.sender.to_string(),
            check_first: Vec::new(),
            stop: copy.notice.is_some() && waits(copy),
            status,
            colour,
            unopened: copy.opened.is_none(),
            replaces: false,
            told: match &arrival.left {
                _ if !waits(copy) => String::new(),
                Some(left) => leaving::in_short(left),
                None if arrival.arrived => "The person has arrived".to_owned(),
                None => String::new(),
            },
            heir: heir(copy),
            notice: false,
            news: None,
        };
        let card = arrival.card.as_deref().and_then(Card::from_json);
        if let Some(notice) = copy.notice {
            return row.of_notice(notice.why, card, copy.created, now);
        }
        let Some(card) = card else { return row };
        Self {
            from: from(&card),
            sorted_by: card.name.clone(),
            name: card.name,
            born: format!("Born {}", card.born),
            number: card.nhs_number,
            died: card.died,
            // What it says is not to be acted on.
            check_first: if copy.ended.is_some() { vec!["Do not act on it".to_owned()] } else { card.check_first },
            replaces: card.replaces,
            expected: match arrival.expected.filter(|_| card.arrival_unknown) {
                Some(left) => format!("Time not given. Left hospital {}", dates::near_moment(left, now)),
                None => row.expected,
            },
            ..row
        }
    }

    /// A notice is about somebody's summary and nobody's arrival: nothing of the summary stands in it but of whom it was.
    fn of_notice(self, why: EndReason, card: Option<Card>, came: Timestamp, now: Timestamp) -> Self {
        let what = match why {
            EndReason::LeftHome => "Notice: the person has left",
            _ => "Notice: stop using an earlier summary",
        };
        let name = card.as_ref().map(|card| format!("{what} of {}", card.name));
        Self {
            expected: format!("Notice of {}", dates::near_moment(came, now)),
            check_first: vec!["Nothing: nobody arrives by it".to_owned()],
            from: card.as_ref().map_or(self.from, from),
            sorted_by: card.as_ref().map(|card| card.name.clone()).unwrap_or_default(),
            name: name.unwrap_or_else(|| what.to_owned()),
            born: card.as_ref().map(|card| format!("Born {}", card.born)).unwrap_or_default(),
            number: card.map(|card| card.nhs_number).unwrap_or_default(),
            notice: true,
            ..self
        }
    }
}

/// How it stands with a copy, in words, and the colour of its tag; `left` is what the home told when the person left.
#[must_use]
pub fn status(copy: &DeliveryRecord, settled: u32, left: Option<&str>) -> (String, &'static str) {
    let standing = Standing::of(copy, left);
    let (words, colour) = standing.words();
    let words = match standing {
        Standing::Arrived => format!("{words} ({settled} of {})", checklist::ITEMS.len()),
        Standing::Left => left.map_or_else(|| words.to_owned(), leaving::in_short),
        _ => words.to_owned(),
    };
    (words, colour)
}

/// The ward and hospital of a card.
fn from(card: &Card) -> String {
    if card.ward.is_empty() { card.hospital.clone() } else { format!("{}, {}", card.ward, card.hospital) }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

/// Two people whose names sound alike and whose first names begin alike are taken for one another.
fn flag_similar_names(rows: &mut [Row]) {
    let mut people: HashMap<String, Vec<usize>> = HashMap::new();
    for (at, row) in rows.iter().enumerate().filter(|(_, row)| !row.born.is_empty() && !row.notice) {
        people.entry(sound(&row.name)).or_default().push(at);
    }
    for alike in people.into_values() {
        // The same person twice (a replacement) is no other person.
        let numbers: std::collections::BTreeSet<&str> = alike.iter().map(|at| rows[*at].number.as_str()).collect();
        // Of two without a number nobody knows whether they are one.
        if numbers.len() > 1 || numbers.contains("") && alike.len() > 1 {
            for at in alike {
                rows[at].similar = true;
            }
        }
    }
}

/// Soundex of the family name (`SURNAME, Given`), and the first letter of the given name.
fn sound(name: &str) -> String {
    let (family, given) = name.split_once(", ").unwrap_or((name, ""));
    let code = |c: char| match c.to_ascii_uppercase() {
        'B' | 'F' | 'P' | 'V' => Some('1'),
        'C' | 'G' | 'J' | 'K' | 'Q' | 'S' | 'X' | 'Z' => Some('2'),
        'D' | 'T' => Some('3'),
        'L' => Some('4'),
        'M' | 'N' => Some('5'),
        'R' => Some('6'),
        _ => None,
    };
    let mut letters = family.chars().filter(|c| c.is_alphabetic());
    let first = letters.next();
    let mut out: String = first.into_iter().flat_map(char::to_uppercase).collect();
    let mut last = first.and_then(code);
    for letter in letters {
        let digit = code(letter);
        if let Some(digit) = digit.filter(|digit| Some(*digit) != last) {
            out.push(digit);
        }
        // H and W do not part two letters of one sound.
        if !matches!(letter.to_ascii_uppercase(), 'H' | 'W') {
            last = digit;
        }
    }
    let sound: String = out.chars().take(4).collect();
    format!("{sound} {}", given.chars().next().map(|c| c.to_uppercase().collect::<String>()).unwrap_or_default())
}

#[cfg(test)]
mod tests;
