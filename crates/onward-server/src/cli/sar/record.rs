//! What is kept about a person beside messages and copies: states, what people wrote and decided, who was told. As data, and as rows
//! for people; by the rules of [`onward_transform::redact`].

use onward_core::Timestamp;
use onward_core::state::RecipientKind;
use onward_core::store::alerts::Alert;
use onward_core::store::{Approval, CopyChange, DeliveryRecord, Step, SubjectHold, SubjectTransfer};
use onward_transform::redact::{Others, Redaction, Rule, text_without_third_parties};
use serde_json::{Value, json};

/// The record, and what was withheld from it.
pub(super) struct Record {
    /// `record.json`.
    pub(super) json: Value,
    /// What people wrote and decided, the oldest first.
    pub(super) rows: Vec<Row>,
    /// The places.
    pub(super) redactions: Vec<Redaction>,
}

/// Something that somebody wrote or decided.
pub(super) struct Row {
    pub(super) at: Timestamp,
    /// A professional by name, whoever runs the gateway by role.
    pub(super) who: String,
    pub(super) what: String,
    pub(super) text: String,
}

impl Record {
    /// Makes it.
    pub(super) fn of(transfers: &[SubjectTransfer], others: &Others) -> Self {
        let mut writer = Writer { others, rows: Vec::new(), redactions: Vec::new() };
        let transfers: Vec<Value> =
            transfers.iter().enumerate().map(|(at, each)| writer.transfer(&format!("transfers[{at}]"), each)).collect();
        writer.rows.sort_by_key(|row| row.at);
        Self { json: json!({ "transfers": transfers }), rows: writer.rows, redactions: writer.redactions }
    }
}

struct Writer<'o> {
    others: &'o Others,
    rows: Vec<Row>,
    redactions: Vec<Redaction>,
}

impl Writer<'_> {
    fn text(&mut self, path: &str, text: &str) -> String {
        let (text, rule) = text_without_third_parties(text, self.others, true);
        if let Some(rule) = rule {
            self.withheld(path, rule);
        }
        text
    }

    fn optional(&mut self, path: &str, text: Option<&str>) -> Option<String> {
        text.map(|text| self.text(path, text))
    }

    fn withheld(&mut self, path: &str, rule: Rule) {
        self.redactions.push(Redaction { path: path.to_owned(), rule });
    }

    fn row(&mut self, at: Timestamp, who: &str, what: String, text: Option<String>) {
        self.rows.push(Row { at, who: who.to_owned(), what, text: text.unwrap_or_default() });
    }

    fn transfer(&mut self, path: &str, each: &SubjectTransfer) -> Value {
        let transfer = &each.transfer;
        let not_sent = self.optional(&format!("{path}.not_sent"), transfer.not_sent.as_deref());
        let ended = transfer.ended.as_ref().map(|(why, reason)| {
            let reason = self.text(&format!("{path}.ended.reason"), reason);
            self.row(transfer.changed, "", format!("message ended: {why}"), Some(reason.clone()));
            json!({ "why": why.as_str(), "reason": reason })
        });
        let holds = each
            .holds
            .iter()
            .enumerate()
            .map(|(at, hold)| self.hold(&format!("{path}.holds[{at}]"), hold))
            .collect::<Vec<_>>();
        let copies = transfer.deliveries.iter().filter(|copy| copy.kind != RecipientKind::Sender).enumerate();
        let copies =
            copies.map(|(at, copy)| self.copy(&format!("{path}.copies[{at}]"), copy, each)).collect::<Vec<_>>();
        let approvals = each.approvals.iter().enumerate();
        let approvals =
            approvals.map(|(at, own)| self.approval(&format!("{path}.approvals[{at}]"), own)).collect::<Vec<_>>();
        let alerts = each
            .alerts
            .iter()
            .enumerate()
            .map(|(at, alert)| self.alert(&format!("{path}.alerts[{at}]"), alert))
            .collect::<Vec<_>>();
        json!({
            "id": transfer.id, "sender": transfer.sender, "event": transfer.event, "received": transfer.received,
            "expected": transfer.expected, "care_home": transfer.care_home, "version": transfer.version,
            "replaces": transfer.replaces, "replaced_by": transfer.replaced_by, "changed": transfer.changed,
            "not_sent": not_sent, "ended": ended, "holds": holds, "copies": copies, "approvals": approvals, "alerts": alerts,
        })
    }

    fn hold(&mut self, path: &str, held: &SubjectHold) -> Value {
        let detail = self.text(&format!("{path}.detail"), &held.hold.detail);
        let what = format!("held: {}, {} decides", held.hold.reason, held.hold.owner);
        self.row(held.opened, "", what, Some(detail.clone()));
        // Codes and kinds of recipients, and nobody's name.
        let decided: Value = serde_json::from_str(&held.decided).unwrap_or_default();
        json!({
            "id": held.hold.id, "reason": held.hold.reason.as_str(), "detail": detail, "owner": held.hold.owner,
            "due": held.hold.due, "opened": held.opened, "closed": held.closed, "decided": decided,
        })
    }

    fn copy(&mut self, path: &str, copy: &DeliveryRecord, each: &SubjectTransfer) -> Value {
        let reason = self.optional(&format!("{path}.reason"), copy.reason.as_deref());
        let replay = self.optional(&format!("{path}.replay"), copy.replay.as_deref());
        if let Some(why) = &replay {
            self.row(copy.changed, "", format!("sent again to {}", copy.recipient_name), Some(why.clone()));
        }
        let changes = each.changes.iter().filter(|change| change.delivery == copy.id).enumerate();
        let changes =
            changes.map(|(at, change)| self.change(&format!("{path}.changes[{at}]"), copy, change)).collect::<Vec<_>>();
        let steps = each.steps.iter().filter(|step| step.delivery == copy.id).enumerate();
        let steps = steps.map(|(at, step)| self.step(&format!("{path}.steps[{at}]"), copy, step)).collect::<Vec<_>>();
        let ended = copy.ended.map(|ended| json!({ "why": ended.why.as_str(), "by": ended.by }));
        let notice = copy.notice.map(|notice| json!({ "why": notice.why.as_str(), "of": notice.of }));
        json!({
            "id": copy.id, "as": copy.kind.as_str(), "recipient": copy.recipient, "recipient_name": copy.recipient_name,
            "state": copy.state.as_str(), "created": copy.created, "changed": copy.changed, "opened": copy.opened,
            "basis": copy.basis, "code": copy.code, "reason": reason, "ended": ended, "notice": notice, "replay": replay,
            "changes": changes, "steps": steps,
        })
    }

    fn change(&mut self, path: &str, copy: &DeliveryRecord, change: &CopyChange) -> Value {
        let reason = self.optional(&format!("{path}.reason"), change.reason.as_deref());
        if reason.is_some() {
            self.row(change.at, &copy.recipient_name, format!("copy became {}", change.state), reason.clone());
        }
        json!({
            "version": change.version, "state": change.state.as_str(), "at": change.at, "code": change.code, "reason": reason,
        })
    }

    fn step(&mut self, path: &str, copy: &DeliveryRecord, step: &Step) -> Value {
        self.withheld(&format!("{path}.account"), Rule::Account);
        let text = self.optional(&format!("{path}.text"), step.text.as_deref());
        let outcome = step.outcome.map(|outcome| outcome.as_str());
        let parts = [Some(step.kind.as_str()), step.item.as_deref(), outcome];
        let what = parts.into_iter().flatten().collect::<Vec<_>>().join(" ");
        self.row(step.at, &format!("{}, {}", step.name, copy.recipient_name), what, text.clone());
        json!({
            "kind": step.kind.as_str(), "at": step.at, "name": step.name, "item": step.item, "outcome": outcome, "text": text,
        })
    }

    fn approval(&mut self, path: &str, approval: &Approval) -> Value {
        self.withheld(&format!("{path}.asked_by"), Rule::Staff);
        let reason = self.text(&format!("{path}.reason"), &approval.reason);
        let verdict = approval.verdict.as_ref().map(|verdict| {
            self.withheld(&format!("{path}.decided_by"), Rule::Staff);
            json!({ "at": verdict.at, "granted": verdict.granted })
        });
        let word = match approval.verdict.as_ref().map(|verdict| verdict.granted) {
            None => "asked for",
            Some(true) => "asked for and granted",
            Some(false) => "asked for and refused",
        };
        self.row(
            approval.asked,
            "two people who run the gateway",
            format!("{} {word}", approval.kind),
            Some(reason.clone()),
        );
        // Codes and identifiers.
        let subject: Value = serde_json::from_str(&approval.subject).unwrap_or_default();
        json!({
            "kind": approval.kind.as_str(), "what": subject, "organisation": approval.organisation, "asked": approval.asked,
            "reason": reason, "verdict": verdict,
        })
    }

    fn alert(&mut self, path: &str, alert: &Alert) -> Value {
        let told = alert.told.iter().enumerate().map(|(at, told)| {
            self.withheld(&format!("{path}.told[{at}].address"), Rule::Account);
            json!({ "who": told.contacted.as_str(), "how": told.channel.as_str(), "state": told.state.as_str() })
        });
        let told = told.collect::<Vec<_>>();
        let concern = &alert.concern;
        let what = format!("alert: {}, {} told", concern.kind, told.len());
        self.row(alert.raised, "the gateway", what, None);
        json!({
            "kind": concern.kind.as_str(), "step": concern.step, "copy": concern.delivery, "since": concern.since,
            "raised": alert.raised, "told": told,
        })
    }
}
