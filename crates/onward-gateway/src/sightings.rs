//! People whom an entry showed without naming them: an entry about a list names the copies that stood on it, one about an export says
//! which entries left. Both stand in the entry's raw query, which the log hashes, and beside it in the store, where they are found.

use std::collections::{BTreeMap, BTreeSet};

use onward_core::audit::{AuditQuery, AuditWord, ENTRIES, FoundAudit, Lists, VERIFICATION, export_subject};
use onward_core::state::RecipientKind;
use onward_core::store::{DeliveryRecord, FoundTask, Store, StoreError, TaskQuery};
use onward_core::{NhsNumber, OdsCode, Timestamp};
use serde_json::Value;
use uuid::Uuid;

/// Entries read at once.
const PAGE: u32 = 1_000;
/// The parameter that names an export.
const EXPORT: &str = "export";

/// What an entry that names nobody showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Showed {
    /// Nobody.
    Nothing,
    /// Copies, or transfers, on a list.
    OnList {
        /// By identifier.
        subjects: Vec<Uuid>,
        /// The list does not say who they are about, as those of operators do not: homes' lists of arrivals do.
        nameless: bool,
    },
    /// Entries of the log.
    Entries(Carried),
}

/// How a person was seen in an entry that does not name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sighting {
    /// On a list.
    List,
    /// In an export of entries.
    Export,
}

/// Which entries an export carried. The log only grows, so this says it exactly and for ever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Carried {
    /// Those of this organisation; `None`: everybody's.
    pub organisation: Option<OdsCode>,
    /// Recorded at or after this.
    pub from: Option<Timestamp>,
    /// Recorded before this.
    pub until: Option<Timestamp>,
    /// Those that stand before this place of the log.
    pub before: u64,
}

impl Carried {
    /// As parameters of the raw query that the export's entry keeps.
    #[must_use]
    pub fn told(&self) -> String {
        let moment = |name, at: Option<Timestamp>| at.map(|at| format!("&{name}={at}")).unwrap_or_default();
        let whose = self.organisation.as_ref().map_or(ENTRIES, OdsCode::as_str);
        let (from, until) = (moment("from", self.from), moment("until", self.until));
        format!("exported={whose}&before={}{from}{until}", self.before)
    }

    /// The same of the export with this identifier, which is read while it leaves.
    #[must_use]
    pub fn told_of(&self, export: Uuid) -> String {
        format!("{}&{EXPORT}={export}", self.told())
    }

    /// Of a raw query; `None` when it is about no export.
    fn read(query: &str) -> Option<Self> {
        let parameters: BTreeMap<&str, &str> = parameters(query).collect();
        let whose = *parameters.get("exported")?;
        let moment = |name| parameters.get(name).map(|at: &&str| at.parse().ok());
        Some(Self {
            organisation: if whose == ENTRIES { None } else { Some(whose.parse().ok()?) },
            from: moment("from").unwrap_or_default(),
            until: moment("until").unwrap_or_default(),
            before: parameters.get("before")?.parse().ok()?,
        })
    }

    /// One page of these entries, the newest first, and after which place the next one begins; about this person alone where one is
    /// named.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn page(
        &self,
        store: &dyn Store,
        patient: Option<&NhsNumber>,
        after: Option<(Timestamp, u64)>,
    ) -> Result<(Vec<FoundAudit>, Option<(Timestamp, u64)>), StoreError> {
        let query = AuditQuery {
            organisation: self.organisation.clone(),
            from: self.from,
            until: self.until,
            patient: patient.cloned(),
            after,
            limit: PAGE,
            ..AuditQuery::default()
        };
        let mut page = store.search_audit(query).await?;
        let next = page.last().filter(|_| page.len() == PAGE as usize).map(|last| (last.recorded, last.index));
        page.retain(|entry| entry.index < self.before);
        Ok((page, next))
    }

    fn holds(&self, entry: &FoundAudit) -> bool {
        entry.index < self.before
            && self.from.is_none_or(|from| entry.recorded >= from)
            && self.until.is_none_or(|until| entry.recorded < until)
    }
}

/// What an entry showed beside what it names.
#[must_use]
pub fn shown_by(entry: &FoundAudit) -> Showed {
    if entry.word != AuditWord::Query || entry.patient.is_some() || entry.pseudonym.is_some() {
        return Showed::Nothing;
    }
    match entry.event.as_deref().and_then(|event| query_of(&serde_json::from_slice(event).ok()?)) {
        Some(query) => shown(&query),
        None => Showed::Nothing,
    }
}

/// The raw query of an entry about a verification of the log.
pub const VERIFYING: &str = "audit/integrity?verified=";

/// What the store keeps beside an entry with this raw query, to find it by.
pub(crate) fn kept(query: &str) -> Vec<String> {
    if query == VERIFYING {
        return vec![VERIFICATION.to_owned()];
    }
    match shown(query) {
        Showed::Nothing => Vec::new(),
        Showed::OnList { subjects, .. } => subjects.iter().map(Uuid::to_string).collect(),
        Showed::Entries(_) => {
            let export = parameter(query, EXPORT).and_then(|id| id.parse().ok());
            std::iter::once(ENTRIES.to_owned()).chain(export.map(export_subject)).collect()
        }
    }
}

/// The raw query that an event keeps.
pub(crate) fn query_of(event: &Value) -> Option<String> {
    use base64::Engine as _;
    let coded = event["entity"].as_array()?.iter().find_map(|entity| entity["query"].as_str())?;
    let bytes = base64::engine::general_purpose::STANDARD.decode(coded).ok()?;
    String::from_utf8(bytes).ok()
}

fn shown(query: &str) -> Showed {
    // What a client of the API asked, or somebody who searched the directory, is kept as it came: whatever it says, it says nothing
    // of lists. A query of ours begins with a path in lower case.
    let own = query.starts_with(|first: char| first.is_ascii_lowercase()) && !query.starts_with("directory");
    if !own {
        return Showed::Nothing;
    }
    if let Some(carried) = Carried::read(query) {
        return Showed::Entries(carried);
    }
    match parameters(query).last() {
        Some(("shown" | "about", ids)) => Showed::OnList {
            subjects: ids.split(',').filter_map(|id| id.parse().ok()).collect(),
            nameless: !query.starts_with("inbox"),
        },
        _ => Showed::Nothing,
    }
}

/// The parameter of this name in a raw query.
pub(crate) fn parameter<'q>(query: &'q str, name: &str) -> Option<&'q str> {
    parameters(query).find(|(own, _)| *own == name).map(|(_, value)| value)
}

fn parameters(query: &str) -> impl Iterator<Item = (&str, &str)> {
    let (_, parameters) = query.split_once('?').unwrap_or_default();
    parameters.split('&').filter_map(|part| part.split_once('='))
}

/// Every list on which the person stood and every export that carried an entry about them, of those that fit; the newest first.
///
/// # Errors
/// When the store cannot be read.
pub async fn sightings(
    store: &dyn Store,
    patient: &NhsNumber,
    within: &AuditQuery,
) -> Result<Vec<(FoundAudit, Sighting)>, StoreError> {
    let of = |lists| AuditQuery { lists: Some(lists), ..within.clone() };
    let mut found: Vec<_> =
        all(store, of(Lists::Of(patient.clone()))).await?.into_iter().map(|entry| (entry, Sighting::List)).collect();
    let unkept = all(store, of(Lists::Unkept)).await?;
    if !unkept.is_empty() {
        let about = about(store, patient).await?;
        let shows = |entry: &FoundAudit| match shown_by(entry) {
            Showed::OnList { subjects, .. } => subjects.iter().any(|subject| about.contains(subject)),
            Showed::Nothing | Showed::Entries(_) => false,
        };
        found.extend(unkept.into_iter().filter(shows).map(|entry| (entry, Sighting::List)));
    }
    found.extend(exports_that_carried(store, patient, of(Lists::Exports)).await?);
    found.sort_by_key(|(entry, _)| std::cmp::Reverse((entry.recorded, entry.index)));
    Ok(found)
}

/// The lists on which the people of its recipient saw whom this copy is about, and where its recipient's systems were told of that person
/// since the copy was made: a Task, which names them, is found and read without opening the copy.
///
/// # Errors
/// When the store cannot be read.
pub async fn lists_that_named(store: &dyn Store, copy: &DeliveryRecord) -> Result<Vec<FoundAudit>, StoreError> {
    let of = |lists| AuditQuery { lists: Some(lists), ..AuditQuery::default() };
    let mut found = Vec::new();
    // Only homes have lists of arrivals, whichever way they receive.
    if copy.kind == RecipientKind::CareHome {
        found = all(store, of(Lists::With(copy.id))).await?;
        found.extend(all(store, of(Lists::Unkept)).await?);
        found.retain(|entry| match shown_by(entry) {
            Showed::OnList { subjects, nameless } => !nameless && subjects.contains(&copy.id.0),
            Showed::Nothing | Showed::Entries(_) => false,
        });
    }
    if let Some(patient) = &copy.patient {
        let recipient = copy.recipient.as_str();
        let told = AuditQuery {
            patient: Some(patient.clone()),
            agent: Some(recipient.to_owned()),
            from: Some(copy.created),
            words: vec![AuditWord::Query, AuditWord::ReadTask],
            ..AuditQuery::default()
        };
        let told = all(store, told).await?;
        found.extend(told.into_iter().filter(|entry| entry.organisation.as_deref() == Some(recipient)));
    }
    Ok(found)
}

/// What an export carried is not listed anywhere: an entry about the person was among it or not.
async fn exports_that_carried(
    store: &dyn Store,
    patient: &NhsNumber,
    exports: AuditQuery,
) -> Result<Vec<(FoundAudit, Sighting)>, StoreError> {
    let mut about: BTreeMap<Option<String>, Vec<FoundAudit>> = BTreeMap::new();
    let mut found = Vec::new();
    for entry in all(store, exports).await? {
        let Showed::Entries(carried) = shown_by(&entry) else { continue };
        let whose = carried.organisation.as_ref().map(ToString::to_string);
        if !about.contains_key(&whose) {
            let query = AuditQuery {
                organisation: carried.organisation.clone(),
                patient: Some(patient.clone()),
                ..AuditQuery::default()
            };
            about.insert(whose.clone(), all(store, query).await?);
        }
        if about[&whose].iter().any(|own| carried.holds(own)) {
            found.push((entry, Sighting::Export));
        }
    }
    Ok(found)
}

/// Everything that a query finds, the newest first.
///
/// # Errors
/// When the store cannot be read.
pub async fn all(store: &dyn Store, query: AuditQuery) -> Result<Vec<FoundAudit>, StoreError> {
    let (mut found, mut after) = (Vec::new(), query.after);
    loop {
        let page = store.search_audit(AuditQuery { after, limit: PAGE, ..query.clone() }).await?;
        after = page.last().map(|last| (last.recorded, last.index));
        let last = page.len() < PAGE as usize;
        found.extend(page);
        if last {
            return Ok(found);
        }
    }
}

/// The person's copies and transfers, by identifier.
async fn about(store: &dyn Store, patient: &NhsNumber) -> Result<BTreeSet<Uuid>, StoreError> {
    let (mut about, mut after) = (BTreeSet::new(), None);
    loop {
        let patient = Some(patient.clone());
        let query = TaskQuery { transfers: true, copies: true, patient, after, limit: PAGE, ..TaskQuery::default() };
        let page = store.tasks(query).await?;
        after = page.last().map(FoundTask::place);
        about.extend(page.iter().map(|task| task.place().1));
        if page.len() < PAGE as usize {
            return Ok(about);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COPY: &str = "5d0f5c0e-8a43-4b1f-9a3c-0e0c1b7a2f10";

    #[test]
    fn an_export_says_which_entries_left_and_is_read_back() {
        let at = |second: i64| Timestamp::from_second(1_795_000_000 + second).ok();
        for carried in [
            Carried { organisation: None, from: None, until: None, before: 0 },
            Carried { organisation: "R9Z".parse().ok(), from: at(0), until: at(9), before: 17 },
        ] {
            let id: Uuid = COPY.parse().expect("a UUID");
            let query = format!("audit/exports/1?{}", carried.told_of(id));
            assert_eq!(kept(&query), ["*".to_owned(), format!("export/{id}")]);
            assert_eq!(shown(&query), Showed::Entries(carried.clone()));
            assert_eq!(shown(&format!("audit/exports/1?{}", carried.told())), Showed::Entries(carried));
        }
    }

    /// What somebody types into a search must not pass for a list or an export.
    #[test]
    fn nobody_outside_can_say_what_was_shown() {
        let list = |nameless| Showed::OnList { subjects: vec![COPY.parse().expect("a UUID")], nameless };
        assert_eq!(shown(&format!("inbox?show=open&shown={COPY},x")), list(false));
        assert_eq!(shown(&format!("operations?&shown={COPY}")), list(true));
        assert_eq!(shown(&format!("hold list?about={COPY}")), list(true));
        assert_eq!(kept(&format!("inbox?show=open&shown={COPY}")), [COPY]);
        assert_eq!(kept("audit/exports/1?exported=*&before=9"), ["*"]);
        assert_eq!(kept(VERIFYING), [VERIFICATION]);
        assert!(kept("audit/search?text=x&verified=").is_empty() && kept("AuditEvent?verified=").is_empty());
        for query in [
            format!("Task?shown={COPY}"),
            format!("AuditEvent?exported=*&before=9&export={COPY}"),
            format!("directory?text=x&shown={COPY}"),
            format!("operations?shown={COPY}&queue=dead"),
            "audit/exports/1".to_owned(),
            "audit/exports/1?exported=no code&before=9".to_owned(),
            String::new(),
        ] {
            assert_eq!(shown(&query), Showed::Nothing, "{query}");
        }
    }
}
