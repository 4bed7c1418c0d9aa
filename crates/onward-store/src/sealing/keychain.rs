//! The data keys of one business transaction, the same for every engine: what it reads is opened with them, what it writes is
//! sealed. A keychain knows no database: it says which key it lacks, and the engine looks that up, in whatever way it waits for
//! its answers, and tries again. Keys are remembered no longer than the transaction lasts, so that a key that another process
//! destroyed serves nobody from then on.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use onward_core::NhsNumber;

use super::cipher::{DataKey, KeyId, Packed, is_parted, key_of};
use super::parting::{self, Digest, PartsOf};
use super::vault::{DataKeyRow, Vault};
use super::{KeyFault, Place};
use crate::columns::Corrupt;

/// What a keychain must be given before something can be opened or sealed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Wanted {
    /// The row of this data key.
    Key(KeyId),
    /// All rows of the person of this index.
    Person(String),
    /// All parts of the copies of a transfer and month.
    Parts(PartsOf),
}

/// Why a sealed row could not be read or made.
#[derive(Debug)]
pub(crate) enum Unread {
    /// What is stored is not what was written; names `table.column`.
    Corrupt(String),
    /// What was asked for was sealed under a key that is destroyed.
    Erased,
    /// It can be read once the keychain has this.
    Wanted(Wanted),
    /// A key-encryption key is missing, or nothing can be sealed.
    Key(KeyFault),
}

impl From<Corrupt> for Unread {
    fn from(Corrupt(place): Corrupt) -> Self {
        Self::Corrupt(place)
    }
}

impl From<KeyFault> for Unread {
    fn from(fault: KeyFault) -> Self {
        match fault {
            // The store opened with this key: what does not unwrap is damaged.
            KeyFault::Wrong(_) => Self::Corrupt("data_keys.wrapped".to_owned()),
            KeyFault::Misnamed => Self::Corrupt("data_keys.kek".to_owned()),
            other => Self::Key(other),
        }
    }
}

/// Whom an index stands for.
enum Person {
    Known(NhsNumber),
    Erased,
    /// The store has no key by this index.
    Nobody,
}

#[derive(Default)]
struct Held {
    /// `None` for a key that is destroyed.
    keys: HashMap<KeyId, Option<Arc<DataKey>>>,
    people: HashMap<String, Person>,
    /// What was looked up and is not what was written, with where.
    damaged: HashMap<Wanted, String>,
    /// Sealed.
    parts: HashMap<PartsOf, HashMap<Digest, Arc<[u8]>>>,
    /// Looked up once more already.
    missed: HashSet<(PartsOf, Digest)>,
}

impl Held {
    /// Why this is not at hand.
    fn lacking(&self, wanted: Wanted) -> Unread {
        match self.damaged.get(&wanted) {
            Some(place) => Unread::Corrupt(place.clone()),
            None => Unread::Wanted(wanted),
        }
    }
}

/// The keys that a transaction has at hand.
pub(crate) struct Keychain {
    vault: Arc<Vault>,
    held: Mutex<Held>,
}

impl Keychain {
    pub(crate) fn new(vault: Arc<Vault>) -> Self {
        Self { vault, held: Mutex::default() }
    }

    pub(crate) fn vault(&self) -> &Vault {
        &self.vault
    }

    /// By what a person is found.
    pub(crate) fn index(&self, patient: Option<&NhsNumber>) -> Option<String> {
        patient.map(|number| self.vault.index(number))
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a key that was just made.
    pub(crate) fn put(&self, id: KeyId, key: DataKey) {
        self.held().keys.insert(id, Some(Arc::new(key)));
    }

    /// Takes a key as it is stored.
    pub(crate) fn give(&self, row: &DataKeyRow) -> Result<(), Unread> {
        if self.held().keys.contains_key(&row.id) {
            return Ok(());
        }
        let key = self.vault.unwrap(row)?.map(Arc::new);
        self.held().keys.insert(row.id, key);
        Ok(())
    }

    /// Takes all keys of a person with the number that is sealed beside each, the eldest first.
    pub(crate) fn give_person(&self, index: &str, rows: &[(DataKeyRow, Option<Vec<u8>>)]) -> Result<(), Unread> {
        let mut person = if rows.is_empty() { Person::Nobody } else { Person::Erased };
        for (row, number) in rows {
            self.give(row)?;
            let key = self.held().keys.get(&row.id).cloned().flatten();
            if let (Person::Erased, Some(number), Some(key)) = (&person, number, key) {
                let number = self.vault.number(&key, row.id, number, index);
                person = Person::Known(number.ok_or_else(|| Corrupt::at("data_keys", "number"))?);
            }
        }
        self.held().people.insert(index.to_owned(), person);
        Ok(())
    }

    /// Remembers what was looked up and is damaged: whatever needs it cannot be read, and the rest can.
    pub(crate) fn unless_damaged(&self, wanted: Wanted, given: Result<(), Unread>) -> Result<(), Unread> {
        let Err(Unread::Corrupt(place)) = given else { return given };
        self.held().damaged.insert(wanted, place);
        Ok(())
    }

    /// That this key, which was looked up, is what was written.
    pub(crate) fn is_whole(&self, id: KeyId) -> Result<(), Unread> {
        match self.held().damaged.get(&Wanted::Key(id)) {
            Some(place) => Err(Unread::Corrupt(place.clone())),
            None => Ok(()),
        }
    }

    /// The key; [`Unread::Erased`] when it was destroyed.
    pub(crate) fn key(&self, id: KeyId) -> Result<Arc<DataKey>, Unread> {
        let held = self.held();
        match held.keys.get(&id) {
            Some(key) => key.clone().ok_or(Unread::Erased),
            None => Err(held.lacking(Wanted::Key(id))),
        }
    }

    /// The person whom the `patient` of a row of `table` stands for; `None` when the person was erased.
    pub(crate) fn person(&self, table: &'static str, index: &str) -> Result<Option<NhsNumber>, Unread> {
        let held = self.held();
        match held.people.get(index) {
            Some(Person::Known(number)) => Ok(Some(number.clone())),
            Some(Person::Erased) => Ok(None),
            Some(Person::Nobody) => Err(Corrupt::at(table, "patient").into()),
            None => Err(held.lacking(Wanted::Person(index.to_owned()))),
        }
    }

    /// The value, sealed for its place.
    pub(crate) fn seal(&self, key: KeyId, place: Place<'_>, plain: &[u8]) -> Result<Vec<u8>, Unread> {
        Ok(self.key(key)?.seal(place, plain)?)
    }

    /// The same for a column of text.
    pub(crate) fn seal_text(&self, key: KeyId, place: Place<'_>, plain: &str) -> Result<String, Unread> {
        Ok(STANDARD.encode(self.seal(key, place, plain.as_bytes())?))
    }

    /// Takes the parts of a transfer and month as they are stored: all that there are.
    pub(crate) fn give_parts(&self, of: PartsOf, rows: impl IntoIterator<Item = (Digest, Vec<u8>)>) {
        let parts = rows.into_iter().map(|(digest, sealed)| (digest, sealed.into())).collect();
        self.held().parts.insert(of, parts);
    }

    /// What was sealed for this place, put together where parts of it are kept elsewhere; [`Unread::Erased`] when its key was destroyed.
    pub(crate) fn open(&self, place: Place<'_>, sealed: &[u8]) -> Result<Vec<u8>, Unread> {
        let corrupt = || Corrupt::at(place.table, place.column);
        let opened = self.opened(place, sealed)?;
        if !is_parted(sealed) {
            return Ok(opened);
        }
        let read = parting::Read::of(&opened).ok_or_else(corrupt)?;
        Ok(read.whole(|digest| self.part(read.of, digest))?.ok_or_else(corrupt)?)
    }

    fn opened(&self, place: Place<'_>, sealed: &[u8]) -> Result<Vec<u8>, Unread> {
        let corrupt = || Corrupt::at(place.table, place.column);
        let key = self.key(key_of(sealed).ok_or_else(corrupt)?)?;
        Ok(key.open(place, sealed).map_err(|_| corrupt())?)
    }

    fn part(&self, of: PartsOf, digest: &Digest) -> Result<Vec<u8>, Unread> {
        let sealed = {
            let mut held = self.held();
            match held.parts.get(&of).map(|parts| parts.get(digest).cloned()) {
                Some(Some(sealed)) => sealed,
                None => return Err(Unread::Wanted(Wanted::Parts(of))),
                // Another copy may have come with it since they were looked up: a transaction of PostgreSQL sees what others commit.
                Some(None) if held.missed.insert((of, *digest)) => return Err(Unread::Wanted(Wanted::Parts(of))),
                Some(None) => return Err(Corrupt::at("rendition_parts", "digest").into()),
            }
        };
        self.opened(of_part(&part_name(of, digest)), &sealed)
    }

    /// A part, sealed.
    pub(crate) fn seal_part(&self, key: KeyId, of: PartsOf, digest: &Digest, part: &Packed) -> Result<Vec<u8>, Unread> {
        self.seal_packed(key, of_part(&part_name(of, digest)), part)
    }

    /// What was made ready before, sealed for its place.
    pub(crate) fn seal_packed(&self, key: KeyId, place: Place<'_>, packed: &Packed) -> Result<Vec<u8>, Unread> {
        Ok(self.key(key)?.seal_packed(place, packed)?)
    }

    /// The same for a column of text.
    pub(crate) fn open_text(&self, place: Place<'_>, sealed: &str) -> Result<String, Unread> {
        let corrupt = || Corrupt::at(place.table, place.column);
        let plain = self.open(place, &STANDARD.decode(sealed).map_err(|_| corrupt())?)?;
        Ok(String::from_utf8(plain).map_err(|_| corrupt())?)
    }
}

fn part_name(of: PartsOf, digest: &Digest) -> String {
    format!("{}/{}/{}", of.transfer, of.month, hex::encode(digest))
}

/// Where a part is sealed.
fn of_part(name: &str) -> Place<'_> {
    Place::new("rendition_parts", "body", name)
}
