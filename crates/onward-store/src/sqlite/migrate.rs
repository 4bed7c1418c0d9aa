//! The step from plain rows to sealed ones, within the transaction of the schema's step: whole or not at all.

use std::sync::Arc;

use jiff::Timestamp;
use onward_core::{NhsNumber, TransferId};
use rusqlite::{Connection, params};

use super::failure::Failure;
use super::keyed::Keyed;
use super::{deliveries, keys, operations, transfers};
use crate::columns::Columns;
use crate::query::words;
use crate::rows;
use crate::rows::operations::of_approval;
use crate::rows::people::of_totp;
use crate::sealing::{KeyEncryption, Vault};
use crate::stored::stored_count;

/// Seals what the schemas before kept plain; false when there is nothing.
pub(super) fn seal_everything(
    c: &Connection,
    encryption: &Arc<dyn KeyEncryption>,
    now: Timestamp,
) -> Result<bool, Failure> {
    let vault = Arc::new(keys::vault(c, Arc::clone(encryption))?);
    let step = Step { c, vault: &vault, now };
    let mut found = false;
    for id in texts(c, "transfers", "id")? {
        found = true;
        step.transfer(&id)?;
    }
    for id in texts(c, "deliveries", "id")? {
        step.delivery(&id)?;
    }
    for id in texts(c, "holds", "id")? {
        step.hold(&id)?;
    }
    for user in texts(c, "passwords", "user")? {
        step.code_secret(&user)?;
    }
    step.recipient_steps()?;
    let entries: i64 = c.query_row("SELECT count(*) FROM audit_log", [], |row| row.get(0))?;
    for position in 0..u64::try_from(entries).unwrap_or(0) {
        found = true;
        step.entry(position)?;
    }
    Ok(found)
}

/// Seals the reasons that the schemas before kept plain; false when there are none.
pub(super) fn seal_words(c: &Connection, encryption: &Arc<dyn KeyEncryption>, now: Timestamp) -> Result<bool, Failure> {
    let vault = Arc::new(keys::vault(c, Arc::clone(encryption))?);
    let step = Step { c, vault: &vault, now };
    let mut found = false;
    let all: [(&str, Seal<'_>); 5] = [
        (words::COPIES, |step, id| step.copy_words(id)),
        (words::TRANSFERS, |step, id| step.transfer_words(id)),
        (words::APPROVALS, |step, id| step.approval_words(id)),
        ("SELECT id FROM erasures", |step, id| step.order_words("erasures", id)),
        ("SELECT id FROM legal_holds", |step, id| step.order_words("legal_holds", id)),
    ];
    for (sql, seal) in all {
        let ids: Vec<String> = c.prepare(sql)?.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
        for id in ids {
            found = true;
            seal(&step, &id)?;
        }
    }
    Ok(found)
}

/// What seals a row, by its identifier.
type Seal<'c> = fn(&Step<'c>, &str) -> Result<(), Failure>;

struct Step<'c> {
    c: &'c Connection,
    vault: &'c Arc<Vault>,
    now: Timestamp,
}

impl<'c> Step<'c> {
    /// Keys are remembered for one row only: a store may know more people than memory should.
    fn keyed(&self) -> Keyed<'c> {
        Keyed::new(self.c, Arc::clone(self.vault))
    }

    fn transfer(&self, id: &str) -> Result<(), Failure> {
        let k = self.keyed();
        let at = |column| rows::of_transfer(column, id);
        let (patient, reply, not_sent, response, sha256) = k
            .prepare_cached("SELECT patient, reply, not_sent, response, body_sha256 FROM transfers WHERE id = ?")?
            .query_row([id], |row| {
                let patient: Option<String> = row.get(0)?;
                let (reply, not_sent): (String, Option<String>) = (row.get(1)?, row.get(2)?);
                Ok((patient, reply, not_sent, row.get::<_, Vec<u8>>(3)?, row.get::<_, Vec<u8>>(4)?))
            })?;
        let person = patient.as_deref().map(|number| number_of("transfers", number)).transpose()?;
        let transfer: TransferId = id.parse().map_err(|_| Failure::corrupt("transfers", "id"))?;
        let key = k.key_of_transfer(person.as_ref(), transfer, self.now)?;
        let sha256 = <[u8; 32]>::try_from(sha256).map_err(|_| Failure::corrupt("transfers", "body_sha256"))?;
        let not_sent = not_sent.map(|reason| k.seal_text(key, at("not_sent"), &reason)).transpose()?;
        let body: Option<Vec<u8>> = k
            .prepare_cached("SELECT body FROM message_bodies WHERE transfer = ?")?
            .query_map([id], |row| row.get(0))?
            .next()
            .transpose()?;
        if let Some(body) = body {
            let body = k.seal(key, rows::of_message(id), &body)?;
            k.prepare_cached("UPDATE message_bodies SET body = ? WHERE transfer = ?")?.execute(params![body, id])?;
        }
        k.prepare_cached(
            "UPDATE transfers SET patient = ?, reply = ?, not_sent = ?, response = ?, body_sha256 = ? WHERE id = ?",
        )?
        .execute(params![
            self.index("transfers", patient)?,
            k.seal_text(key, at("reply"), &reply)?,
            not_sent,
            k.seal(key, at("response"), &response)?,
            self.vault.keyed(&sha256),
            id
        ])?;
        Ok(())
    }

    fn delivery(&self, id: &str) -> Result<(), Failure> {
        let k = self.keyed();
        let (transfer, patient, lane, disclosure) = k
            .prepare_cached("SELECT transfer, patient, lane, disclosure FROM deliveries WHERE id = ?")?
            .query_row([id], |row| {
                let (transfer, patient) = (row.get::<_, String>(0)?, row.get::<_, Option<String>>(1)?);
                Ok((transfer, patient, row.get::<_, String>(2)?, row.get::<_, String>(3)?))
            })?;
        let key = match &patient {
            Some(number) => k.key_of_person(&number_of("deliveries", number)?, self.now)?,
            None => transfers::key(&k, &transfer)?,
        };
        let patient = self.index("deliveries", patient)?;
        let bodies = k
            .prepare_cached("SELECT body, html, card FROM rendition_bodies WHERE delivery = ?")?
            .query_map([id], |row| {
                let (html, card): (Option<Vec<u8>>, Option<Vec<u8>>) = (row.get(1)?, row.get(2)?);
                Ok((row.get::<_, Vec<u8>>(0)?, html, card))
            })?
            .next()
            .transpose()?;
        if let Some((body, html, card)) = bodies {
            let sealed = |column, bytes: &[u8]| k.seal(key, rows::of_rendition(column, id), bytes);
            let html = html.map(|html| sealed("html", &html)).transpose()?;
            let card = card.map(|card| sealed("card", &card)).transpose()?;
            k.prepare_cached("UPDATE rendition_bodies SET body = ?, html = ?, card = ? WHERE delivery = ?")?
                .execute(params![sealed("body", &body)?, html, card, id])?;
        }
        let disclosure = k.seal_text(key, rows::of_disclosure(id), &disclosure)?;
        k.prepare_cached("UPDATE deliveries SET patient = ?, lane = ?, disclosure = ? WHERE id = ?")?
            .execute(params![patient, self.lane(lane), disclosure, id])?;
        Ok(())
    }

    fn copy_words(&self, id: &str) -> Result<(), Failure> {
        let k = self.keyed();
        let key = deliveries::key(&k, id)?;
        for (column, read, write) in words::OF_COPY {
            let plain: Vec<(String, i64)> = k
                .prepare_cached(read)?
                .query_map([id], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect::<Result<_, _>>()?;
            for (plain, version) in plain {
                let sealed = k.seal_text(key, rows::of_copy(column, id), &plain)?;
                k.prepare_cached(write)?.execute(params![sealed, id, version])?;
            }
        }
        Ok(())
    }

    fn transfer_words(&self, id: &str) -> Result<(), Failure> {
        let k = self.keyed();
        let plain: String =
            k.prepare_cached("SELECT ended_reason FROM transfers WHERE id = ?")?.query_row([id], |row| row.get(0))?;
        let sealed = k.seal_text(transfers::key(&k, id)?, rows::of_transfer("ended_words", id), &plain)?;
        k.prepare_cached("UPDATE transfers SET ended_words = ?, ended_reason = NULL WHERE id = ?")?
            .execute(params![sealed, id])?;
        Ok(())
    }

    fn approval_words(&self, id: &str) -> Result<(), Failure> {
        let k = self.keyed();
        let (subject, plain): (String, String) = k
            .prepare_cached("SELECT subject, reason FROM approvals WHERE id = ?")?
            .query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let sealed = match k.seal_text(operations::key(&k, &subject)?, of_approval(id), &plain) {
            Err(Failure::Erased) => None,
            sealed => Some(sealed?),
        };
        k.prepare_cached("UPDATE approvals SET words = ?, reason = '' WHERE id = ?")?.execute(params![sealed, id])?;
        Ok(())
    }

    fn order_words(&self, table: &'static str, id: &str) -> Result<(), Failure> {
        let k = self.keyed();
        let plain: String =
            k.prepare_cached(&format!("SELECT reason FROM {table} WHERE id = ?"))?.query_row([id], |row| row.get(0))?;
        let sealed = k.seal_text(self.vault.gateway(), rows::of_order(table, id), &plain)?;
        k.prepare_cached(&format!("UPDATE {table} SET reason = ? WHERE id = ?"))?.execute(params![sealed, id])?;
        Ok(())
    }

    fn code_secret(&self, user: &str) -> Result<(), Failure> {
        let k = self.keyed();
        let secret: Vec<u8> = k
            .prepare_cached("SELECT totp_secret FROM passwords WHERE user = ?")?
            .query_row([user], |row| row.get(0))?;
        let secret = k.seal(self.vault.gateway(), of_totp(user), &secret)?;
        k.prepare_cached("UPDATE passwords SET totp_secret = ? WHERE user = ?")?.execute(params![secret, user])?;
        Ok(())
    }

    /// Steps are only ever added, but for this once: the schema's step has taken their guard away.
    fn recipient_steps(&self) -> Result<(), Failure> {
        let found = self
            .c
            .prepare("SELECT step, delivery, at, user, text FROM recipient_steps WHERE text IS NOT NULL")?
            .query_map([], |row| {
                let text: String = row.get("text")?;
                let (delivery, user): (String, String) = (row.get("delivery")?, row.get("user")?);
                Ok((row.get::<_, i64>("step")?, delivery, row.get::<_, i64>("at")?, user, text))
            })?
            .collect::<Result<Vec<_>, _>>()?;
        for (step, delivery, at, user, text) in found {
            let k = self.keyed();
            let row = rows::step_row(&delivery, at, &user);
            let text = k.seal_text(deliveries::key(&k, &delivery)?, rows::of_step(&row), &text)?;
            k.prepare_cached("UPDATE recipient_steps SET text = ? WHERE step = ?")?.execute(params![text, step])?;
        }
        self.c.execute_batch(
            "CREATE TRIGGER recipient_steps_stay BEFORE UPDATE ON recipient_steps BEGIN
                 SELECT RAISE(ABORT, 'steps are only ever added');
             END;",
        )?;
        Ok(())
    }

    fn hold(&self, id: &str) -> Result<(), Failure> {
        let k = self.keyed();
        let (transfer, detail, decided) =
            k.prepare_cached("SELECT transfer, detail, decided FROM holds WHERE id = ?")?.query_row([id], |row| {
                Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?))
            })?;
        let key = transfers::key(&k, &transfer)?;
        let at = |column| rows::of_hold(column, id);
        k.prepare_cached("UPDATE holds SET detail = ?, decided = ? WHERE id = ?")?.execute(params![
            k.seal_text(key, at("detail"), &detail)?,
            k.seal_text(key, at("decided"), &decided)?,
            id
        ])?;
        Ok(())
    }

    fn entry(&self, position: u64) -> Result<(), Failure> {
        let k = self.keyed();
        let position = stored_count(position);
        let (id, patient, event) = k
            .prepare_cached("SELECT id, patient, event FROM audit_log WHERE position = ?")?
            .query_row([position], |row| {
                Ok((row.get::<_, String>(0)?, row.get::<_, Option<String>>(1)?, row.get::<_, Vec<u8>>(2)?))
            })?;
        let key = match &patient {
            Some(number) => k.key_of_person(&number_of("audit_log", number)?, self.now)?,
            None => self.vault.gateway(),
        };
        let event = k.seal(key, rows::of_event(&id), &event)?;
        k.prepare_cached("UPDATE audit_log SET patient = ?, event = ? WHERE position = ?")?.execute(params![
            self.index("audit_log", patient)?,
            event,
            position
        ])?;
        Ok(())
    }

    /// A lane is a person's or a transfer's; a notice goes behind another copy, and may be in a person's lane without naming them.
    fn lane(&self, lane: String) -> String {
        match lane.parse::<NhsNumber>() {
            Ok(number) => self.vault.index(&number),
            Err(_) => lane,
        }
    }

    fn index(&self, table: &'static str, patient: Option<String>) -> Result<Option<String>, Failure> {
        patient.map(|number| Ok(self.vault.index(&number_of(table, &number)?))).transpose()
    }
}

fn number_of(table: &'static str, text: &str) -> Result<NhsNumber, Failure> {
    text.parse().map_err(|_| Failure::corrupt(table, "patient"))
}

fn texts(c: &Connection, table: &'static str, column: &'static str) -> Result<Vec<String>, Failure> {
    c.prepare(&format!("SELECT {column} FROM {table}"))?
        .query_and_then([], |row| Ok(Columns::of(table, row).get(column)?))?
        .collect()
}
