//! Rows that are counted and reported: transfers and copies by time, people by what is kept about them, figures.

use std::collections::BTreeMap;

use onward_core::TransferId;
use onward_core::state::{RecipientKind, TransportKind};
use onward_core::store::reporting::{HeldPerson, ReportedCopy, ReportedTransfer};
use onward_core::store::{DeliveryFigure, Figures};

use crate::columns::{Columns, Corrupt};
use crate::sealing::{Keychain, Unread};

pub(crate) fn reported_transfer(columns: &Columns<'_>) -> Result<(TransferId, ReportedTransfer), Corrupt> {
    let transfer = ReportedTransfer {
        received: columns.moment("received")?,
        sender: columns.parsed("sender")?,
        care_home: columns.parsed_opt("care_home")?,
        event: columns.get("event")?,
        held: columns.parsed_opt("held")?,
        copies: Vec::new(),
    };
    Ok((columns.parsed("id")?, transfer))
}

/// An inbox is opened before or without an answer, a system answers without opening: the first of both is when it was read.
pub(crate) fn reported_copy(columns: &Columns<'_>) -> Result<(TransferId, ReportedCopy), Corrupt> {
    let (opened, answered) = (columns.moment_opt("opened")?, columns.moment_opt("answered")?);
    let copy = ReportedCopy {
        kind: columns.parsed("kind")?,
        delivered: columns.moment_opt("delivered")?,
        read: [opened, answered].into_iter().flatten().min(),
        arrived: columns.moment_opt("arrived")?,
        expected: columns.moment_opt("expected")?,
    };
    Ok((columns.parsed("transfer")?, copy))
}

/// Needs every key of the person.
pub(crate) fn held_person(columns: &Columns<'_>, keys: &Keychain) -> Result<HeldPerson, Unread> {
    let pseudonym: String = columns.get("patient")?;
    Ok(HeldPerson {
        number: keys.person(columns.table(), &pseudonym)?,
        readable: columns.count::<u64>("readable")? > 0,
        messages: columns.count("messages")?,
        copies: columns.count("copies")?,
        entries: columns.count("entries")?,
        questions: columns.count("questions")?,
        pseudonym,
    })
}

/// Copies with their transfers.
pub(crate) fn reported(
    transfers: Vec<(TransferId, ReportedTransfer)>,
    copies: Vec<(TransferId, ReportedCopy)>,
) -> Vec<ReportedTransfer> {
    let mut by_transfer: BTreeMap<_, Vec<ReportedCopy>> = BTreeMap::new();
    for (transfer, copy) in copies {
        by_transfer.entry(transfer.0).or_default().push(copy);
    }
    let with_copies = |(id, transfer): (TransferId, ReportedTransfer)| ReportedTransfer {
        copies: by_transfer.remove(&id.0).unwrap_or_default(),
        ..transfer
    };
    transfers.into_iter().map(with_copies).collect()
}

/// How the copies of a row travel: by its name, or by what an endpoint is stored as, of which two may travel alike.
fn transport(columns: &Columns<'_>) -> Result<Option<TransportKind>, Corrupt> {
    Ok(match columns.get::<Option<String>>("transport")?.as_deref() {
        None => None,
        Some("process-message") => Some(TransportKind::Https),
        Some("gp-routing") => Some(TransportKind::Mesh),
        Some(_) => Some(columns.parsed("transport")?),
    })
}

/// Adds a row of `what`, `state`, `transport`, `n` and `oldest` to the figures.
pub(crate) fn add_figure(figures: &mut Figures, columns: &Columns<'_>) -> Result<(), Corrupt> {
    let count = columns.count("n")?;
    match columns.get::<String>("what")?.as_str() {
        "accepted" => figures.accepted = count,
        "refused" => figures.refused = count,
        "held" => figures.held = count,
        "open" => figures.holds_open = count,
        "overdue" => figures.holds_overdue = count,
        "closed" => figures.closed = count,
        "unread" => {
            let Some(oldest) = columns.moment_opt("oldest")? else { return Ok(()) };
            let kind: RecipientKind = columns.parsed("state")?;
            match figures.unread.iter_mut().find(|(known, _)| *known == kind) {
                Some((_, known)) => *known = oldest.min(*known),
                None => figures.unread.push((kind, oldest)),
            }
        }
        // Nothing that failed, of one transport.
        _ if count == 0 => {}
        _ => {
            // A copy whose endpoint is damaged waits for a person, and the log names it.
            let Some(transport) = transport(columns)? else { return Ok(()) };
            let state = columns.parsed("state")?;
            let oldest = columns.moment("oldest")?;
            match figures.deliveries.iter_mut().find(|known| (known.state, known.transport) == (state, transport)) {
                Some(known) => {
                    known.count += count;
                    known.oldest = oldest.min(known.oldest);
                }
                None => figures.deliveries.push(DeliveryFigure { state, transport, count, oldest }),
            }
        }
    }
    Ok(())
}
