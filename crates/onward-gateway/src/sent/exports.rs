//! Exports that are read while they leave have two entries. Which belong together is told by the identifier that both name, never by
//! their number: one may begin before a period and end in it.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use onward_core::Timestamp;
use onward_core::audit::{AuditQuery, AuditWord, FoundAudit, Lists};
use onward_core::store::{Store, StoreError};
use uuid::Uuid;

use super::Sent;
use crate::explore::told;
use crate::made::{Half, OF_A_PERSON};
use crate::sightings::all;

/// Beginnings and ends by identifier, each with the place of its entry.
#[derive(Default)]
pub(super) struct Exports {
    begun: BTreeMap<Uuid, u64>,
    ended: BTreeMap<Uuid, u64>,
    /// Those of them whose end is about a person: when that person is erased, the beginning cannot be read any more.
    about: BTreeSet<Uuid>,
    unpaired: u64,
    faults: Vec<String>,
}

impl Exports {
    /// Whether an entry is a half of an export. `has_list`: it names what the bytes carried.
    pub(super) fn take(&mut self, entry: &FoundAudit, said: &str, has_list: bool) -> bool {
        let (halves, id, word) = match Half::read(said) {
            Some(Half::Beginning(id)) if entry.word != AuditWord::Export => (&mut self.begun, id, "beginning"),
            Some(Half::End(id)) if entry.word == AuditWord::Export => (&mut self.ended, id, "end"),
            _ => {
                // Before these had identifiers. What was made as a whole has one entry, with a list.
                let is_earlier = !has_list && OF_A_PERSON.iter().any(|begins| said.starts_with(begins));
                self.unpaired += u64::from(is_earlier);
                return is_earlier;
            }
        };
        if word == "end" && entry.patient.is_some() {
            self.about.insert(id);
        }
        match halves.entry(id) {
            Entry::Vacant(new) => {
                new.insert(entry.index);
            }
            Entry::Occupied(mut known) => {
                // The newest entries come first.
                let second = entry.index.max(known.insert(entry.index.min(*known.get())));
                self.faults.push(format!("entry {second}: a second {word} of export {id}"));
            }
        }
        true
    }

    /// Pairs the halves that were taken, those about nobody in particular that begin in this time included, and says what came of it.
    pub(super) async fn pair(
        mut self,
        store: &dyn Store,
        (from, until): (Option<Timestamp>, Option<Timestamp>),
        sent: &mut Sent,
    ) -> Result<(), StoreError> {
        self.take_lists(store, (from, until)).await?;
        let is_open = |exports: &Self| {
            exports.begun.keys().any(|id| !exports.ended.contains_key(id))
                || exports.ended.keys().any(|id| !exports.begun.contains_key(id))
        };
        let elsewhere = match (from, until) {
            (None, None) => Self::default(),
            _ if is_open(&self) => Self::everywhere(store).await?,
            _ => Self::default(),
        };
        for (id, place) in self.begun.iter().filter(|(id, _)| !self.ended.contains_key(*id)) {
            match elsewhere.ended.contains_key(id) {
                true => sent.ended_elsewhere += 1,
                false => sent.unended.push(*place),
            }
        }
        sent.unended.sort_unstable();
        let is_known = |id: &Uuid| self.begun.contains_key(id) || elsewhere.begun.contains_key(id);
        for (id, place) in self.ended.iter().filter(|(id, _)| !is_known(id)) {
            match self.about.contains(id) {
                true => sent.begun_unread.push(*place),
                false => sent.faults.push(format!("entry {place}: the end of export {id}, which never began")),
            }
        }
        sent.begun_unread.sort_unstable();
        sent.faults.append(&mut self.faults);
        sent.unpaired += self.unpaired;
        Ok(())
    }

    /// Beginnings of exports that name nobody.
    async fn take_lists(
        &mut self,
        store: &dyn Store,
        (from, until): (Option<Timestamp>, Option<Timestamp>),
    ) -> Result<(), StoreError> {
        let lists = AuditQuery { from, until, lists: Some(Lists::Exports), ..AuditQuery::default() };
        for entry in all(store, lists).await? {
            let Some(said) = told(&entry) else { continue };
            if !self.take(&entry, &said, false) {
                self.unpaired += 1;
            }
        }
        Ok(())
    }

    /// The halves of the whole log.
    async fn everywhere(store: &dyn Store) -> Result<Self, StoreError> {
        let mut exports = Self::default();
        exports.take_lists(store, (None, None)).await?;
        let words = vec![AuditWord::SubjectAccess, AuditWord::Export];
        for entry in all(store, AuditQuery { words, ..AuditQuery::default() }).await? {
            if let Some(said) = told(&entry) {
                exports.take(&entry, &said, true);
            }
        }
        Ok(exports)
    }
}
