//! A connection with the store's keys, for one business transaction: what it reads is opened, what it writes is sealed.

use std::ops::Deref;
use std::sync::Arc;

use jiff::Timestamp;
use onward_core::store::Listed;
use onward_core::{NhsNumber, TransferId};
use rusqlite::{Connection, Params, Row, params};

use super::failure::Failure;
use crate::columns::Columns;
use crate::rows;
use crate::sealing::{DataKeyRow, KeyId, Keychain, Kind, Place, Unread, Vault, Wanted};
use crate::stored::micros;

/// The connection and the keys.
pub(super) struct Keyed<'c> {
    connection: &'c Connection,
    keys: Keychain,
}

impl Deref for Keyed<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection
    }
}

impl<'c> Keyed<'c> {
    pub(super) fn new(connection: &'c Connection, vault: Arc<Vault>) -> Self {
        Self { connection, keys: Keychain::new(vault) }
    }

    pub(super) fn keys(&self) -> &Keychain {
        &self.keys
    }

    /// Does what needs keys, looking up whatever the keychain lacks: each is looked up once.
    pub(super) fn opened<T>(&self, work: impl Fn(&Keychain) -> Result<T, Unread>) -> Result<T, Failure> {
        loop {
            match work(&self.keys) {
                Err(Unread::Wanted(wanted)) => self.fetch(&wanted)?,
                outcome => return Ok(outcome?),
            }
        }
    }

    /// A list of rows of this table, each with its identifier in this column. One that cannot be read is told as such and hides no other.
    pub(super) fn listed<T>(
        &self,
        sql: &str,
        params: impl Params,
        (table, id): (&'static str, &'static str),
        read: impl Fn(&Columns<'_>, &Keychain) -> Result<T, Unread>,
    ) -> Result<Listed<T>, Failure> {
        let mut statement = self.prepare_cached(sql)?;
        let mut found = statement.query(params)?;
        let mut listed = Listed::default();
        while let Some(row) = found.next()? {
            let columns = Columns::of(table, row);
            match self.opened(|keys| read(&columns, keys)) {
                Ok(row) => listed.rows.push(row),
                Err(Failure::Corrupt(place)) => listed.damaged.push(rows::damaged(&columns, id, place)),
                Err(Failure::Erased) => listed.damaged.push(rows::damaged(&columns, id, rows::ERASED.to_owned())),
                Err(failure) => return Err(failure),
            }
        }
        Ok(listed)
    }

    fn fetch(&self, wanted: &Wanted) -> Result<(), Failure> {
        match wanted {
            Wanted::Key(id) => {
                let found = self
                    .prepare_cached("SELECT id, kek, wrapped FROM data_keys WHERE id = ?")?
                    .query_and_then([id.to_string()], row)?
                    .next()
                    .ok_or_else(|| Failure::corrupt("data_keys", "id"))??;
                Ok(self.keys.give(&found)?)
            }
            Wanted::Person(index) => {
                let found = self
                    .prepare_cached(
                        "SELECT id, kek, wrapped, number FROM data_keys WHERE patient = ? ORDER BY created, id",
                    )?
                    .query_and_then([index], |found| {
                        Ok((row(found)?, Columns::of("data_keys", found).get::<Option<Vec<u8>>>("number")?))
                    })?
                    .collect::<Result<Vec<_>, Failure>>()?;
                Ok(self.keys.give_person(index, &found)?)
            }
            Wanted::Parts(of) => {
                let found = self
                    .prepare_cached("SELECT digest, body FROM rendition_parts WHERE transfer = ? AND month = ?")?
                    .query_and_then(params![of.transfer.to_string(), of.month], |row| {
                        Ok(rows::part(&Columns::of("rendition_parts", row))?)
                    })?
                    .collect::<Result<Vec<_>, Failure>>()?;
                self.keys.give_parts(*of, found);
                Ok(())
            }
        }
    }

    /// The key of a person, made where there is none; a person who was erased gets a new one.
    pub(super) fn key_of_person(&self, patient: &NhsNumber, at: Timestamp) -> Result<KeyId, Failure> {
        let index = self.keys.vault().index(patient);
        let found = self
            .prepare_cached(
                "SELECT id, kek, wrapped FROM data_keys
                 WHERE patient = ? AND kind = 'person' AND wrapped IS NOT NULL ORDER BY created, id LIMIT 1",
            )?
            .query_and_then([&index], row)?
            .next()
            .transpose()?;
        if let Some(found) = found {
            self.keys.give(&found)?;
            return Ok(found.id);
        }
        let (row, key) = self.keys.vault().new_key()?;
        let number = Vault::sealed_number(&key, row.id, patient)?;
        self.keep(&row, Kind::Person, (Some(&index), None), Some(&number), at)?;
        self.keys.put(row.id, key);
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
            .prepare_cached("SELECT id, kek, wrapped FROM data_keys WHERE transfer = ? AND wrapped IS NOT NULL")?
            .query_and_then([&transfer], row)?
            .next()
            .transpose()?;
        if let Some(found) = found {
            self.keys.give(&found)?;
            return Ok(found.id);
        }
        let (row, key) = self.keys.vault().new_key()?;
        self.keep(&row, Kind::Transfer, (None, Some(&transfer)), None, at)?;
        self.keys.put(row.id, key);
        Ok(row.id)
    }

    /// What was sealed before the person was known is the person's from now on.
    pub(super) fn assign(&self, transfer: TransferId, patient: &NhsNumber, at: Timestamp) -> Result<(), Failure> {
        self.key_of_person(patient, at)?;
        self.prepare_cached("UPDATE data_keys SET patient = ? WHERE transfer = ?")?
            .execute(params![self.keys.vault().index(patient), transfer.to_string()])?;
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

    /// The value, sealed for its place.
    pub(super) fn seal(&self, key: KeyId, place: Place<'_>, plain: &[u8]) -> Result<Vec<u8>, Failure> {
        self.opened(|keys| keys.seal(key, place, plain))
    }

    /// The same for a column of text.
    pub(super) fn seal_text(&self, key: KeyId, place: Place<'_>, plain: &str) -> Result<String, Failure> {
        self.opened(|keys| keys.seal_text(key, place, plain))
    }
}

/// A row of `data_keys`.
pub(super) fn row(row: &Row<'_>) -> Result<DataKeyRow, Failure> {
    Ok(rows::data_key(&Columns::of("data_keys", row))?)
}
