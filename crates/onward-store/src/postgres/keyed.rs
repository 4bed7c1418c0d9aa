//! A connection with the store's keys, for one transaction: what it reads is opened, what it writes is sealed. Rows are read with the
//! keys that are at hand; what they lack is looked up together, and they are read again.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::Deref;
use std::sync::Arc;

use deadpool_postgres::{Client, Pool};
use jiff::Timestamp;
use onward_core::store::Listed;
use onward_core::{NhsNumber, TransferId};
use tokio_postgres::Row;
use uuid::Uuid;

use super::failure::Failure;
use super::session::{self, Session};
use crate::columns::{Columns, Corrupt};
use crate::rows;
use crate::sealing::{DataKey, DataKeyRow, Digest, KeyId, Keychain, Kind, PartsOf, Unread, Vault, Wanted};
use crate::stored::micros;

/// The connection with its open transaction, and the keys.
pub(super) struct Keyed {
    session: Session,
    keys: Keychain,
}

impl Deref for Keyed {
    type Target = Client;

    fn deref(&self) -> &Client {
        self.session.client()
    }
}

/// What a value is about, which decides under which key it lies.
#[derive(Debug, Clone, Copy)]
pub(super) enum Whose<'a> {
    Person(&'a NhsNumber),
    /// A transfer whose person is not known.
    Transfer(TransferId),
}

impl<'a> Whose<'a> {
    pub(super) fn of(patient: Option<&'a NhsNumber>, transfer: TransferId) -> Self {
        patient.map_or(Self::Transfer(transfer), Self::Person)
    }
}

/// A key that is not stored yet.
struct New {
    row: DataKeyRow,
    kind: Kind,
    patient: Option<String>,
    transfer: Option<String>,
    number: Option<Vec<u8>>,
}

impl Keyed {
    pub(super) async fn begin(pool: &Pool, begin: &str, vault: &Arc<Vault>) -> Result<Self, Failure> {
        Ok(Self::with(Session::begin(pool, begin).await?, Arc::clone(vault)))
    }

    pub(super) fn with(session: Session, vault: Arc<Vault>) -> Self {
        Self { session, keys: Keychain::new(vault) }
    }

    pub(super) fn keys(&self) -> &Keychain {
        &self.keys
    }

    /// The gateway's own key, at hand.
    pub(super) async fn gateway(&self) -> Result<KeyId, Failure> {
        let gateway = self.keys.vault().gateway();
        self.load(&[gateway]).await?;
        Ok(gateway)
    }

    pub(super) fn into_session(self) -> Session {
        self.session
    }

    /// Reads every row, each with its own outcome; none of them wants a key.
    pub(super) async fn each<T>(
        &self,
        rows: &[Row],
        read: impl Fn(&Row, &Keychain) -> Result<T, Unread>,
    ) -> Result<Vec<Result<T, Unread>>, Failure> {
        loop {
            let (mut outcomes, mut wanted) = (Vec::with_capacity(rows.len()), HashSet::new());
            for row in rows {
                match read(row, &self.keys) {
                    Err(Unread::Wanted(lacking)) => drop(wanted.insert(lacking)),
                    outcome => outcomes.push(outcome),
                }
            }
            if wanted.is_empty() {
                return Ok(outcomes);
            }
            drop(outcomes);
            self.fetch(&wanted).await?;
        }
    }

    /// Reads every row.
    pub(super) async fn opened<T>(
        &self,
        rows: &[Row],
        read: impl Fn(&Row, &Keychain) -> Result<T, Unread>,
    ) -> Result<Vec<T>, Failure> {
        self.each(rows, read).await?.into_iter().map(|outcome| Ok(outcome?)).collect()
    }

    /// A list of rows of this table, each with its identifier in this column. One that cannot be read is told as such and hides no other.
    pub(super) async fn listed<T>(
        &self,
        found: &[Row],
        (table, id): (&'static str, &'static str),
        read: impl Fn(&Columns<'_>, &Keychain) -> Result<T, Unread>,
    ) -> Result<Listed<T>, Failure> {
        let mut listed = Listed::default();
        let outcomes = self.each(found, |row, keys| read(&Columns::of(table, row), keys)).await?;
        for (row, outcome) in found.iter().zip(outcomes) {
            let columns = Columns::of(table, row);
            match outcome {
                Ok(row) => listed.rows.push(row),
                Err(Unread::Corrupt(place)) => listed.damaged.push(rows::damaged(&columns, id, place)),
                Err(Unread::Erased) => listed.damaged.push(rows::damaged(&columns, id, rows::ERASED.to_owned())),
                Err(unread) => return Err(unread.into()),
            }
        }
        Ok(listed)
    }

    /// Reads a row.
    pub(super) async fn opened_one<T>(
        &self,
        row: Option<&Row>,
        read: impl Fn(&Row, &Keychain) -> Result<T, Unread>,
    ) -> Result<Option<T>, Failure> {
        let Some(row) = row else { return Ok(None) };
        Ok(self.opened(std::slice::from_ref(row), read).await?.into_iter().next())
    }

    async fn fetch(&self, wanted: &HashSet<Wanted>) -> Result<(), Failure> {
        let (mut ids, mut people, mut parts) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
        for wanted in wanted {
            match wanted {
                Wanted::Key(id) => ids.push(*id),
                Wanted::Person(index) => drop(people.insert(index.clone(), Vec::new())),
                Wanted::Parts(of) => drop(parts.insert(*of, Vec::new())),
            }
        }
        self.look_up(&ids).await?;
        self.fetch_parts(parts).await?;
        if people.is_empty() {
            return Ok(());
        }
        let found = session::all(
            self,
            "SELECT patient, id, kek, wrapped, number FROM data_keys WHERE patient = ANY($1) ORDER BY created, id",
            &[&people.keys().collect::<Vec<_>>()],
        )
        .await?;
        for row in &found {
            let columns = Columns::of("data_keys", row);
            let of_person = people.entry(columns.get::<String>("patient")?).or_default();
            of_person.push((rows::data_key(&columns)?, columns.get::<Option<Vec<u8>>>("number")?));
        }
        for (index, rows) in people {
            let given = self.keys.give_person(&index, &rows);
            self.keys.unless_damaged(Wanted::Person(index), given)?;
        }
        Ok(())
    }

    async fn fetch_parts(&self, mut parts: BTreeMap<PartsOf, Vec<(Digest, Vec<u8>)>>) -> Result<(), Failure> {
        if parts.is_empty() {
            return Ok(());
        }
        let transfers: Vec<Uuid> = parts.keys().map(|of| of.transfer.0).collect();
        let months: BTreeSet<i64> = parts.keys().map(|of| of.month).collect();
        let sql =
            "SELECT transfer, month, digest, body FROM rendition_parts WHERE transfer = ANY($1) AND month = ANY($2)";
        for row in session::all(self, sql, &[&transfers, &months.into_iter().collect::<Vec<_>>()]).await? {
            let columns = Columns::of("rendition_parts", &row);
            let of = PartsOf { transfer: columns.parsed("transfer")?, month: columns.count("month")? };
            if let Some(found) = parts.get_mut(&of) {
                found.push(rows::part(&columns)?);
            }
        }
        parts.into_iter().for_each(|(of, found)| self.keys.give_parts(of, found));
        Ok(())
    }

    /// Has these keys at hand.
    pub(super) async fn load(&self, ids: &[KeyId]) -> Result<(), Failure> {
        self.look_up(ids).await?;
        Ok(ids.iter().try_for_each(|id| self.keys.is_whole(*id))?)
    }

    /// Looks these keys up together. One that is damaged, or not there, opens nothing, and keeps nobody from the others.
    async fn look_up(&self, ids: &[KeyId]) -> Result<(), Failure> {
        if ids.is_empty() {
            return Ok(());
        }
        let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
        let found = session::all(self, "SELECT id, kek, wrapped FROM data_keys WHERE id = ANY($1)", &[&ids]).await?;
        let mut missing: HashSet<Uuid> = ids.into_iter().collect();
        for row in &found {
            let row = rows::data_key(&Columns::of("data_keys", row))?;
            missing.remove(&row.id.0);
            self.keys.unless_damaged(Wanted::Key(row.id), self.keys.give(&row))?;
        }
        for id in missing {
            let not_there = Err(Corrupt::at("data_keys", "id").into());
            self.keys.unless_damaged(Wanted::Key(KeyId(id)), not_there)?;
        }
        Ok(())
    }

    /// The keys of what is about these, at hand, made where there are none; a person who was erased gets a new one. They are held until
    /// the commit, so that nobody destroys them in between; two who make a person's first key at once make two, which is no harm.
    pub(super) async fn keys_of(&self, whose: &[Whose<'_>], at: Timestamp) -> Result<Vec<KeyId>, Failure> {
        let name = |whose: &Whose<'_>| match whose {
            Whose::Person(number) => self.keys.vault().index(number),
            Whose::Transfer(id) => id.to_string(),
        };
        let names: Vec<String> = whose.iter().map(name).collect();
        let mut known: BTreeMap<String, KeyId> = BTreeMap::new();
        if !names.is_empty() {
            let found = session::all(
                self,
                "SELECT id, kek, wrapped, CASE kind WHEN 'person' THEN patient ELSE transfer END AS name FROM data_keys
                 WHERE wrapped IS NOT NULL AND (kind = 'person' AND patient = ANY($1) OR transfer = ANY($1))
                 ORDER BY created, id FOR SHARE",
                &[&names],
            )
            .await?;
            for row in &found {
                let columns = Columns::of("data_keys", row);
                let row = rows::data_key(&columns)?;
                self.keys.give(&row)?;
                known.entry(columns.get("name")?).or_insert(row.id);
            }
        }
        let mut new = Vec::new();
        let mut ids = Vec::with_capacity(names.len());
        for (whose, name) in whose.iter().zip(names) {
            if let Some(id) = known.get(&name) {
                ids.push(*id);
                continue;
            }
            let (made, key) = self.make(whose, &name)?;
            let id = made.row.id;
            self.keys.put(id, key);
            new.push(made);
            known.insert(name, id);
            ids.push(id);
        }
        self.keep(&new, at).await?;
        Ok(ids)
    }

    fn make(&self, whose: &Whose<'_>, name: &str) -> Result<(New, DataKey), Failure> {
        let (row, key) = self.keys.vault().new_key()?;
        let name = name.to_owned();
        let new = match whose {
            Whose::Person(patient) => {
                let number = Some(Vault::sealed_number(&key, row.id, patient)?);
                New { row, kind: Kind::Person, patient: Some(name), transfer: None, number }
            }
            Whose::Transfer(_) => New { row, kind: Kind::Transfer, patient: None, transfer: Some(name), number: None },
        };
        Ok((new, key))
    }

    async fn keep(&self, new: &[New], at: Timestamp) -> Result<(), Failure> {
        if new.is_empty() {
            return Ok(());
        }
        session::execute(
            self,
            "INSERT INTO data_keys (id, kind, patient, transfer, kek, wrapped, number, created)
             SELECT id, kind, patient, transfer, kek, wrapped, number, $8
             FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bytea[], $7::bytea[])
                 AS u(id, kind, patient, transfer, kek, wrapped, number)",
            &[
                &new.iter().map(|new| new.row.id.0).collect::<Vec<_>>(),
                &new.iter().map(|new| new.kind.as_str()).collect::<Vec<_>>(),
                &new.iter().map(|new| new.patient.as_deref()).collect::<Vec<_>>(),
                &new.iter().map(|new| new.transfer.as_deref()).collect::<Vec<_>>(),
                &new.iter().map(|new| new.row.kek.as_str()).collect::<Vec<_>>(),
                &new.iter().map(|new| new.row.wrapped.as_deref()).collect::<Vec<_>>(),
                &new.iter().map(|new| new.number.as_deref()).collect::<Vec<_>>(),
                &micros(at),
            ],
        )
        .await?;
        Ok(())
    }

    /// What was sealed before the person was known is the person's from now on.
    pub(super) async fn assign(&self, transfer: TransferId, patient: &NhsNumber, at: Timestamp) -> Result<(), Failure> {
        self.keys_of(&[Whose::Person(patient)], at).await?;
        let sql = "UPDATE data_keys SET patient = $1 WHERE transfer = $2";
        session::execute(self, sql, &[&self.keys.vault().index(patient), &transfer.to_string()]).await?;
        Ok(())
    }
}
