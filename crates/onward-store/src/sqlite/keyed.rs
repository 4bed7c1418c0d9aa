//! A connection with the store's keys, for one business transaction: what it reads is opened, what it writes is sealed.
//! Data keys are unwrapped once for each transaction and remembered no longer: a key that another process destroyed serves
//! nobody from then on.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Deref;
use std::rc::Rc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use onward_core::{NhsNumber, TransferId};
use rusqlite::{Connection, Row, params};
use uuid::Uuid;

use super::columns::{Columns, micros};
use super::failure::Failure;
use crate::sealing::{DataKey, DataKeyRow, KeyFault, KeyId, Kind, Place, Vault, key_of};

/// The connection and the keys.
pub(super) struct Keyed<'c> {
    connection: &'c Connection,
    vault: &'c Vault,
    unwrapped: RefCell<HashMap<KeyId, Option<Rc<DataKey>>>>,
}

impl Deref for Keyed<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection
    }
}

impl<'c> Keyed<'c> {
    pub(super) fn new(connection: &'c Connection, vault: &'c Vault) -> Self {
        Self { connection, vault, unwrapped: RefCell::default() }
    }

    pub(super) fn vault(&self) -> &Vault {
        self.vault
    }

    /// By what a person is found.
    pub(super) fn index(&self, patient: Option<&NhsNumber>) -> Option<String> {
        patient.map(|number| self.vault.index(number))
    }

    /// The key of a person, made where there is none; a person that was erased gets a new one.
    pub(super) fn key_of_person(&self, patient: &NhsNumber, at: Timestamp) -> Result<KeyId, Failure> {
        let index = self.vault.index(patient);
        let found = self
            .prepare_cached(
                "SELECT id FROM data_keys WHERE patient = ? AND kind = 'person' AND wrapped IS NOT NULL
                 ORDER BY created, id LIMIT 1",
            )?
            .query_and_then([&index], key_id)?
            .next()
            .transpose()?;
        if let Some(id) = found {
            return Ok(id);
        }
        let (row, key) = self.vault.new_key()?;
        let number = Vault::sealed_number(&key, row.id, patient)?;
        self.keep(&row, Kind::Person, (Some(&index), None), Some(&number), at)?;
        self.unwrapped.borrow_mut().insert(row.id, Some(Rc::new(key)));
        Ok(row.id)
    }

    /// The key of what belongs to a transfer: its person's, else its own.
    pub(super) fn key_of_transfer(
        &self,
        patient: Option<&NhsNumber>,
        transfer: TransferId,
        at: Timestamp,
    ) -> Result<KeyId, Failure> {
        if let Some(patient) = patient {
            return self.key_of_person(patient, at);
        }
        let transfer = transfer.to_string();
        let found = self
            .prepare_cached("SELECT id FROM data_keys WHERE transfer = ? AND wrapped IS NOT NULL")?
            .query_and_then([&transfer], key_id)?
            .next()
            .transpose()?;
        if let Some(id) = found {
            return Ok(id);
        }
        let (row, key) = self.vault.new_key()?;
        self.keep(&row, Kind::Transfer, (None, Some(&transfer)), None, at)?;
        self.unwrapped.borrow_mut().insert(row.id, Some(Rc::new(key)));
        Ok(row.id)
    }

    /// What was sealed before the person was known is the person's from now on.
    pub(super) fn assign(&self, transfer: TransferId, patient: &NhsNumber, at: Timestamp) -> Result<(), Failure> {
        self.key_of_person(patient, at)?;
        self.prepare_cached("UPDATE data_keys SET patient = ? WHERE transfer = ?")?
            .execute(params![self.vault.index(patient), transfer.to_string()])?;
        Ok(())
    }

    fn keep(
        &self,
        row: &DataKeyRow,
        kind: Kind,
        (patient, transfer): (Option<&str>, Option<&str>),
        number: Option<&[u8]>,
        at: Timestamp,
    ) -> Result<(), Failure> {
        self.prepare_cached(
            "INSERT INTO data_keys (id, kind, patient, transfer, kek, wrapped, number, created)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![
            row.id.to_string(),
            kind.as_str(),
            patient,
            transfer,
            row.kek,
            row.wrapped,
            number,
            micros(at)
        ])?;
        Ok(())
    }

    /// The unwrapped key; `None` when it was destroyed.
    pub(super) fn key(&self, id: KeyId) -> Result<Option<Rc<DataKey>>, Failure> {
        if let Some(known) = self.unwrapped.borrow().get(&id) {
            return Ok(known.clone());
        }
        let row = self
            .prepare_cached("SELECT id, kek, wrapped FROM data_keys WHERE id = ?")?
            .query_and_then([id.to_string()], row)?
            .next()
            .transpose()?
            .ok_or_else(|| Failure::corrupt("data_keys", "id"))?;
        let key = match self.vault.unwrap(&row) {
            Ok(key) => key.map(Rc::new),
            // The store opened with this key: what does not unwrap is damaged.
            Err(KeyFault::Wrong(_)) => return Err(Failure::corrupt("data_keys", "wrapped")),
            Err(fault) => return Err(fault.into()),
        };
        self.unwrapped.borrow_mut().insert(id, key.clone());
        Ok(key)
    }

    /// The value, sealed for its place.
    pub(super) fn seal(&self, key: KeyId, place: Place<'_>, plain: &[u8]) -> Result<Vec<u8>, Failure> {
        let key = self.key(key)?.ok_or(Failure::Erased)?;
        Ok(key.seal(place, plain)?)
    }

    /// The same for a column of text.
    pub(super) fn seal_text(&self, key: KeyId, place: Place<'_>, plain: &str) -> Result<String, Failure> {
        Ok(STANDARD.encode(self.seal(key, place, plain.as_bytes())?))
    }

    /// What was sealed for this place; [`Failure::Erased`] when its key was destroyed.
    pub(super) fn open(&self, place: Place<'_>, sealed: &[u8]) -> Result<Vec<u8>, Failure> {
        let corrupt = || Failure::corrupt(place.table, place.column);
        let key = self.key(key_of(sealed).ok_or_else(corrupt)?)?.ok_or(Failure::Erased)?;
        key.open(place, sealed).map_err(|_| corrupt())
    }

    /// The same for a column of text.
    pub(super) fn open_text(&self, place: Place<'_>, sealed: &str) -> Result<String, Failure> {
        let corrupt = || Failure::corrupt(place.table, place.column);
        let plain = self.open(place, &STANDARD.decode(sealed).map_err(|_| corrupt())?)?;
        String::from_utf8(plain).map_err(|_| corrupt())
    }

    /// The person whom this index stands for: `Ok(None)` when the person was erased.
    pub(super) fn person(&self, table: &'static str, index: &str) -> Result<Option<NhsNumber>, Failure> {
        let corrupt = || Failure::corrupt(table, "patient");
        let keys = self
            .prepare_cached("SELECT id, kek, wrapped, number FROM data_keys WHERE patient = ? ORDER BY created, id")?
            .query_and_then([index], |found| {
                Ok((row(found)?, Columns::of("data_keys", found).get::<Option<Vec<u8>>>("number")?))
            })?
            .collect::<Result<Vec<_>, Failure>>()?;
        if keys.is_empty() {
            return Err(corrupt());
        }
        for (row, number) in keys {
            if let (Some(number), Some(key)) = (number, self.key(row.id)?) {
                return self.vault.number(&key, row.id, &number, index).map(Some).ok_or_else(corrupt);
            }
        }
        Ok(None)
    }

    /// The person of a row, and whether the row is erased: then it names nobody, though the same person may have come again.
    pub(super) fn patient(&self, table: &'static str, row: &Row<'_>) -> Result<(Option<NhsNumber>, bool), Failure> {
        let columns = Columns::of(table, row);
        let erased = columns.moment_opt("erased")?.is_some();
        match columns.get::<Option<String>>("patient")?.filter(|_| !erased) {
            Some(index) => Ok((self.person(table, &index)?, erased)),
            None => Ok((None, erased)),
        }
    }
}

fn key_id(row: &Row<'_>) -> Result<KeyId, Failure> {
    Columns::of("data_keys", row).parsed::<Uuid>("id").map(KeyId)
}

/// A row of `data_keys`.
pub(super) fn row(row: &Row<'_>) -> Result<DataKeyRow, Failure> {
    let columns = Columns::of("data_keys", row);
    Ok(DataKeyRow { id: key_id(row)?, kek: columns.get("kek")?, wrapped: columns.get("wrapped")? })
}

impl From<KeyFault> for Failure {
    fn from(fault: KeyFault) -> Self {
        Self::Key(fault)
    }
}
