//! The outcome of a run: one row per delivery and one for each message that is not delivered, as a table for people or
//! as JSON (interface.md, `onward demo`).

use onward_core::OdsCode;
use onward_core::state::{RecipientKind, TransportKind};
use serde::Serialize;

/// One line of the outcome. The keys are a contract.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Row {
    /// The message's own identifier.
    pub(super) message: String,
    /// To whom; nobody for a message that is held or refused.
    pub(super) recipient: Option<RecipientKind>,
    /// The recipient's ODS code.
    pub(super) ods: Option<OdsCode>,
    /// How it travelled.
    pub(super) transport: Option<TransportKind>,
    /// What became of it.
    pub(super) state: Outcome,
    /// Bytes that arrived.
    pub(super) bytes: u64,
    /// Why it was held or refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
}

/// What became of a delivery or message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Outcome {
    /// The recipient has it and will act on it.
    Acknowledged,
    /// A person decides.
    Held,
    /// It was not taken.
    Refused,
}

impl Outcome {
    fn as_str(self) -> &'static str {
        match self {
            Self::Acknowledged => "acknowledged",
            Self::Held => "held",
            Self::Refused => "refused",
        }
    }
}

/// The rows for people, columns aligned.
#[must_use]
pub(super) fn table(rows: &[Row]) -> String {
    let head = ["message", "recipient", "ods", "transport", "state", "bytes"].map(str::to_owned);
    let text = |value: Option<&str>| value.unwrap_or("-").to_owned();
    let cells = rows.iter().map(|row| {
        [
            row.message.clone(),
            text(row.recipient.map(RecipientKind::as_str)),
            text(row.ods.as_ref().map(OdsCode::as_str)),
            text(row.transport.map(TransportKind::as_str)),
            row.state.as_str().to_owned(),
            grouped(row.bytes),
        ]
    });
    let lines: Vec<[String; 6]> = std::iter::once(head).chain(cells).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..6).map(width).collect();
    let reasons = std::iter::once(None).chain(rows.iter().map(|row| row.reason.as_deref()));
    let mut out = String::new();
    for (line, reason) in lines.iter().zip(reasons) {
        for (column, (cell, width)) in line.iter().zip(&widths).enumerate() {
            // Numbers stand to the right.
            let padded = if column == 5 { format!("{cell:>width$}") } else { format!("{cell:<width$}  ") };
            out.push_str(&padded);
        }
        if let Some(reason) = reason {
            out.push_str("  ");
            out.push_str(reason);
        }
        out.push('\n');
    }
    out
}

/// `70,677`.
#[must_use]
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Row> {
        vec![
            Row {
                message: "m-1".to_owned(),
                recipient: Some(RecipientKind::PharmacyNomination),
                ods: Some("FZZ01".parse().expect("a code")),
                transport: Some(TransportKind::Https),
                state: Outcome::Acknowledged,
                bytes: 1234,
                reason: None,
            },
            Row {
                message: "message-2".to_owned(),
                recipient: None,
                ods: None,
                transport: None,
                state: Outcome::Held,
                bytes: 0,
                reason: Some("restricted-patient".to_owned()),
            },
        ]
    }

    #[test]
    fn the_keys_are_the_contract() {
        let json = serde_json::to_value(rows()).expect("JSON");
        assert_eq!(
            json,
            serde_json::json!([
                { "message": "m-1", "recipient": "pharmacy-nomination", "ods": "FZZ01", "transport": "https",
                  "state": "acknowledged", "bytes": 1234 },
                { "message": "message-2", "recipient": null, "ods": null, "transport": null,
                  "state": "held", "bytes": 0, "reason": "restricted-patient" },
            ])
        );
    }

    #[test]
    fn columns_are_aligned() {
        assert_eq!(
            table(&rows()),
            "message    recipient            ods    transport  state         bytes\n\
             m-1        pharmacy-nomination  FZZ01  https      acknowledged  1,234\n\
             message-2  -                    -      -          held              0  restricted-patient\n"
        );
    }

    #[test]
    fn thousands_are_grouped() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (70_677, "70,677"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }
}
