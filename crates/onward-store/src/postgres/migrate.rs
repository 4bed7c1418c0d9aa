//! The step from plain rows to sealed ones, within the transaction of the schema's step: whole or not at all.

use jiff::Timestamp;
use onward_core::{DeliveryId, NhsNumber, TransferId};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::columns::numbered;
use super::failure::Failure;
use super::keyed::{Keyed, Whose};
use super::{deliveries, operations, session, transfers};
use crate::columns::{Cell, Columns};
use crate::query::words;
use crate::rows;
use crate::rows::operations::of_approval;
use crate::rows::people::of_totp;
use crate::sealing::{KeyId, Place, Unread};
use crate::stored::micros;

/// The tables that held something plain.
pub(super) const WRITTEN_ANEW: &str =
    "VACUUM FULL transfers, message_bodies, holds, deliveries, rendition_bodies, recipient_steps, passwords, audit_log";
/// The tables that held people's words plain.
pub(super) const WORDS_WRITTEN_ANEW: &str =
    "VACUUM FULL transfers, deliveries, delivery_history, approvals, erasures, legal_holds";

/// Seals what the schemas before kept plain; false when there is nothing.
pub(super) async fn seal_everything(c: &Keyed, now: Timestamp) -> Result<bool, Failure> {
    let mut found = false;
    for id in ids(c, "SELECT id FROM transfers").await? {
        found = true;
        transfer(c, id, now).await?;
    }
    for id in ids(c, "SELECT id FROM deliveries").await? {
        delivery(c, id, now).await?;
    }
    for id in ids(c, "SELECT id FROM holds").await? {
        hold(c, id).await?;
    }
    for id in ids(c, "SELECT account AS id FROM passwords").await? {
        code_secret(c, id).await?;
    }
    steps(c).await?;
    for row in session::all(c, "SELECT position FROM audit_log ORDER BY position", &[]).await? {
        found = true;
        let position = Columns::of("audit_log", &row).count("position")?;
        entry(c, position, now).await?;
    }
    Ok(found)
}

/// Seals the reasons that the schemas before kept plain, or that the previous program wrote since; false when there are none.
pub(super) async fn seal_words(c: &Keyed) -> Result<bool, Failure> {
    let mut found = false;
    for id in ids(c, words::COPIES).await? {
        found = true;
        copy_words(c, DeliveryId(id)).await?;
    }
    for id in ids(c, words::TRANSFERS).await? {
        found = true;
        transfer_words(c, TransferId(id)).await?;
    }
    for id in ids(c, words::APPROVALS).await? {
        found = true;
        approval_words(c, id).await?;
    }
    Ok(found)
}

/// Seals the reasons of erasures and legal holds, in place: only the program of this schema or a later one writes them from now on.
pub(super) async fn seal_orders(c: &Keyed) -> Result<bool, Failure> {
    let gateway = c.gateway().await?;
    let mut found = false;
    for table in ["erasures", "legal_holds"] {
        for id in ids(c, &format!("SELECT id FROM {table} ORDER BY id")).await? {
            found = true;
            let plain = row(c, &format!("SELECT reason FROM {table} WHERE id = $1"), &id).await?;
            let sealed = sealed_text(c, gateway, rows::of_order(table, &id.to_string()), &plain)?;
            let sql = format!("UPDATE {table} SET reason = $1 WHERE id = $2");
            session::execute(c, &sql, &[&sealed, &id]).await?;
        }
    }
    Ok(found)
}

async fn copy_words(c: &Keyed, id: DeliveryId) -> Result<(), Failure> {
    let key = deliveries::key(c, id).await?;
    let name = id.to_string();
    for (column, read, write) in words::OF_COPY {
        for found in session::all(c, &numbered(read), &[&id.0]).await? {
            let (plain, version): (String, i64) =
                (get(&found, "plain")?, Columns::of("copy", &found).count("version")?);
            let sealed = c.keys().seal_text(key, rows::of_copy(column, &name), &plain)?;
            session::execute(c, &numbered(write), &[&sealed, &id.0, &version]).await?;
        }
    }
    Ok(())
}

async fn transfer_words(c: &Keyed, id: TransferId) -> Result<(), Failure> {
    let plain: String = get(&row(c, "SELECT ended_reason FROM transfers WHERE id = $1", &id.0).await?, "ended_reason")?;
    let key = transfers::key(c, id).await?;
    let sealed = c.keys().seal_text(key, rows::of_transfer("ended_words", &id.to_string()), &plain)?;
    let sql = "UPDATE transfers SET ended_words = $1, ended_reason = NULL WHERE id = $2";
    session::execute(c, sql, &[&sealed, &id.0]).await?;
    Ok(())
}

async fn approval_words(c: &Keyed, id: Uuid) -> Result<(), Failure> {
    let found = row(c, "SELECT subject, reason FROM approvals WHERE id = $1", &id).await?;
    let key = operations::key(c, &get::<String>(&found, "subject")?).await?;
    let sealed = match c.keys().seal_text(key, of_approval(&id.to_string()), &get::<String>(&found, "reason")?) {
        Err(Unread::Erased) => None,
        sealed => Some(sealed?),
    };
    session::execute(c, "UPDATE approvals SET words = $1, reason = '' WHERE id = $2", &[&sealed, &id]).await?;
    Ok(())
}

async fn ids(c: &Keyed, sql: &str) -> Result<Vec<Uuid>, Failure> {
    let found = session::all(c, sql, &[]).await?;
    found.iter().map(|row| Ok(Columns::of("ids", row).parsed("id")?)).collect()
}

async fn row(c: &Keyed, sql: &str, of: &(dyn ToSql + Sync)) -> Result<Row, Failure> {
    session::first(c, sql, &[of]).await?.ok_or_else(|| Failure::corrupt("schema", "row"))
}

fn get<T: Cell>(row: &Row, column: &'static str) -> Result<T, Failure> {
    Ok(Columns::of("schema", row).get(column)?)
}

fn id_of(row: &Row, column: &'static str) -> Result<Uuid, Failure> {
    Ok(Columns::of("schema", row).parsed(column)?)
}

/// The person of a row with `patient`, still by number.
fn number(row: &Row) -> Result<Option<NhsNumber>, Failure> {
    Ok(Columns::of("schema", row).parsed_opt("patient")?)
}

async fn key_of(c: &Keyed, whose: Whose<'_>, now: Timestamp) -> Result<KeyId, Failure> {
    Ok(c.keys_of(&[whose], now).await?[0])
}

fn sealed(c: &Keyed, key: KeyId, place: Place<'_>, row: &Row) -> Result<Option<Vec<u8>>, Failure> {
    let plain: Option<Vec<u8>> = get(row, place.column)?;
    Ok(plain.map(|plain| c.keys().seal(key, place, &plain)).transpose()?)
}

fn sealed_text(c: &Keyed, key: KeyId, place: Place<'_>, row: &Row) -> Result<Option<String>, Failure> {
    let plain: Option<String> = get(row, place.column)?;
    Ok(plain.map(|plain| c.keys().seal_text(key, place, &plain)).transpose()?)
}

async fn transfer(c: &Keyed, id: Uuid, now: Timestamp) -> Result<(), Failure> {
    let sql = "SELECT patient, reply, not_sent, response, body_sha256 FROM transfers WHERE id = $1";
    let found = row(c, sql, &id).await?;
    let name = id.to_string();
    let patient = number(&found)?;
    let key = key_of(c, Whose::of(patient.as_ref(), TransferId(id)), now).await?;
    let sha256: [u8; 32] = get(&found, "body_sha256")?;
    session::execute(
        c,
        "UPDATE transfers SET patient = $1, reply = $2, not_sent = $3, response = $4, body_sha256 = $5 WHERE id = $6",
        &[
            &c.keys().index(patient.as_ref()),
            &sealed_text(c, key, rows::of_transfer("reply", &name), &found)?,
            &sealed_text(c, key, rows::of_transfer("not_sent", &name), &found)?,
            &sealed(c, key, rows::of_transfer("response", &name), &found)?,
            &c.keys().vault().keyed(&sha256).as_slice(),
            &id,
        ],
    )
    .await?;
    for body in session::all(c, "SELECT body FROM message_bodies WHERE transfer = $1", &[&id]).await? {
        let body = sealed(c, key, rows::of_message(&name), &body)?;
        session::execute(c, "UPDATE message_bodies SET body = $1 WHERE transfer = $2", &[&body, &id]).await?;
    }
    Ok(())
}

async fn delivery(c: &Keyed, id: Uuid, now: Timestamp) -> Result<(), Failure> {
    let sql = "SELECT transfer, patient, lane, disclosure FROM deliveries WHERE id = $1";
    let found = row(c, sql, &id).await?;
    let name = id.to_string();
    let patient = number(&found)?;
    let key = match &patient {
        Some(number) => key_of(c, Whose::Person(number), now).await?,
        None => transfers::key(c, TransferId(id_of(&found, "transfer")?)).await?,
    };
    // A lane is a person's or a transfer's; a notice goes behind another copy, and may be in a person's lane without naming them.
    let lane: String = get(&found, "lane")?;
    let lane = lane.parse::<NhsNumber>().map_or(lane, |number| c.keys().vault().index(&number));
    let disclosure = sealed_text(c, key, rows::of_disclosure(&name), &found)?;
    session::execute(
        c,
        "UPDATE deliveries SET patient = $1, lane = $2, disclosure = $3 WHERE id = $4",
        &[&c.keys().index(patient.as_ref()), &lane, &disclosure, &id],
    )
    .await?;
    for body in session::all(c, "SELECT body, html, card FROM rendition_bodies WHERE delivery = $1", &[&id]).await? {
        let seal = |column| sealed(c, key, rows::of_rendition(column, &name), &body);
        session::execute(
            c,
            "UPDATE rendition_bodies SET body = $1, html = $2, card = $3 WHERE delivery = $4",
            &[&seal("body")?, &seal("html")?, &seal("card")?, &id],
        )
        .await?;
    }
    Ok(())
}

async fn hold(c: &Keyed, id: Uuid) -> Result<(), Failure> {
    let found = row(c, "SELECT transfer, detail, decided FROM holds WHERE id = $1", &id).await?;
    let name = id.to_string();
    let key = transfers::key(c, TransferId(id_of(&found, "transfer")?)).await?;
    session::execute(
        c,
        "UPDATE holds SET detail = $1, decided = $2 WHERE id = $3",
        &[
            &sealed_text(c, key, rows::of_hold("detail", &name), &found)?,
            &sealed_text(c, key, rows::of_hold("decided", &name), &found)?,
            &id,
        ],
    )
    .await?;
    Ok(())
}

async fn code_secret(c: &Keyed, account: Uuid) -> Result<(), Failure> {
    let found = row(c, "SELECT totp_secret FROM passwords WHERE account = $1", &account).await?;
    let gateway = c.gateway().await?;
    let secret = sealed(c, gateway, of_totp(&account.to_string()), &found)?;
    session::execute(c, "UPDATE passwords SET totp_secret = $1 WHERE account = $2", &[&secret, &account]).await?;
    Ok(())
}

async fn steps(c: &Keyed) -> Result<(), Failure> {
    let sql = "SELECT delivery, step, at, account, text FROM recipient_steps WHERE text IS NOT NULL";
    for found in session::all(c, sql, &[]).await? {
        let (delivery, step, name) = step_of(&found)?;
        let key = deliveries::key(c, DeliveryId(delivery)).await?;
        let text = sealed_text(c, key, rows::of_step(&name), &found)?;
        let sql = "UPDATE recipient_steps SET text = $1 WHERE delivery = $2 AND step = $3";
        session::execute(c, sql, &[&text, &delivery, &step]).await?;
    }
    Ok(())
}

/// The copy, the number and the name of a step.
fn step_of(found: &Row) -> Result<(Uuid, i64, String), Failure> {
    let columns = Columns::of("recipient_steps", found);
    let delivery: Uuid = columns.parsed("delivery")?;
    let at = micros(columns.moment("at")?);
    let name = rows::step_row(&delivery.to_string(), at, &columns.get::<String>("account")?);
    Ok((delivery, columns.count("step")?, name))
}

async fn entry(c: &Keyed, position: i64, now: Timestamp) -> Result<(), Failure> {
    let found = row(c, "SELECT id, patient, event FROM audit_log WHERE position = $1", &position).await?;
    let patient = number(&found)?;
    let key = match &patient {
        Some(number) => key_of(c, Whose::Person(number), now).await?,
        None => c.gateway().await?,
    };
    let event = sealed(c, key, rows::of_event(&get::<String>(&found, "id")?), &found)?;
    session::execute(
        c,
        "UPDATE audit_log SET patient = $1, event = $2 WHERE position = $3",
        &[&c.keys().index(patient.as_ref()), &event, &position],
    )
    .await?;
    Ok(())
}
