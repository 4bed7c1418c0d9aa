//! Tells people what happens, and knows what has not happened yet. It believes partners about what they got, the
//! gateway's store about states, and calls a delivery done only when both agree.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use onward_core::state::{DeliveryState, RecipientKind};
use onward_core::store::{DeliveryRecord, NewHold, Store, TransferRecord};
use onward_core::{DeliveryId, TransferId};

use super::messages::{DISCHARGE, Posting};
use super::neighbourhood::Neighbourhood;
use super::partners::Event;
use super::partners::hospital::Issue;
use super::people::HOSPITAL;
use super::rows::{Outcome, Row, grouped, table};
use super::world::World;

/// The five copies of the demo's discharge.
const EXPECTED: [RecipientKind; 5] = [
    RecipientKind::CareHome,
    RecipientKind::CoveringPractice,
    RecipientKind::RegisteredPractice,
    RecipientKind::PharmacyReferral,
    RecipientKind::PharmacyNomination,
];

/// The voice of the demo.
pub(super) struct Narrator {
    quiet: bool,
    world: Arc<World>,
    store: Arc<dyn Store>,
    /// Bytes that came to recipients.
    arrived: BTreeMap<DeliveryId, u64>,
    /// Responses in the hospital's mailbox: header and code.
    responses: BTreeSet<(String, u32)>,
    /// What a partner could not do, most recently.
    troubles: BTreeMap<&'static str, String>,
}

impl Narrator {
    /// Silent on standard output, but for the outcome, when `quiet`.
    pub(super) fn new(quiet: bool, world: Arc<World>, store: Arc<dyn Store>) -> Self {
        Self { quiet, world, store, arrived: BTreeMap::new(), responses: BTreeSet::new(), troubles: BTreeMap::new() }
    }

    fn say(&self, text: impl Display) {
        if !self.quiet {
            // Whoever closes our output early does not want to hear more.
            let _ = writeln!(std::io::stdout().lock(), "{text}");
        }
    }

    /// Tells it on standard error.
    pub(super) fn warn(text: impl Display) {
        let _ = writeln!(std::io::stderr().lock(), "{text}");
    }

    fn short<'p>(&self, path: &'p Path) -> std::path::Display<'p> {
        path.strip_prefix(self.world.folder()).unwrap_or(path).display()
    }

    /// Who is where.
    pub(super) fn introduce(&self, neighbourhood: &Neighbourhood) {
        let text = describe(neighbourhood, &self.world);
        if let Err(error) = self.world.describe(&text) {
            Self::warn(format!("warning: {error:#}"));
        }
        self.say(text);
    }

    /// A message leaves the hospital.
    pub(super) fn posting(&self, title: &str, posting: &Posting) {
        self.say(format!(
            "\n{title}\n   ITK3 eDischarge, {} bytes, message {}",
            grouped(len(&posting.text)),
            posting.message_id
        ));
    }

    async fn transfer(&self, id: TransferId) -> anyhow::Result<TransferRecord> {
        self.store.transfer(id).await?.with_context(|| format!("transfer {id} is not in the store"))
    }

    /// A message has become a transfer with copies.
    pub(super) async fn accepted(&self, id: TransferId) -> anyhow::Result<()> {
        let transfer = self.transfer(id).await?;
        if let Some(hold) = &transfer.hold {
            anyhow::bail!("the discharge is held ({}): {}", hold.reason, hold.detail);
        }
        self.say(format!("   accepted and durably stored: transfer {id}\n"));
        Ok(())
    }

    /// Somebody tells something.
    pub(super) async fn hear(&mut self, event: Event) -> anyhow::Result<()> {
        match event {
            Event::Arrived(arrival) => {
                let first = self.arrived.insert(arrival.delivery, arrival.bytes).is_none();
                if first {
                    let head = self.head(arrival.delivery).await?;
                    let kept: Vec<String> = arrival.kept.iter().map(|path| self.short(path).to_string()).collect();
                    self.say(format!("   arrived   {head}  {} bytes", grouped(arrival.bytes)));
                    self.say(format!("             {}", kept.join("\n             ")));
                }
            }
            Event::Acknowledged { delivery, how } => {
                let head = self.head(delivery).await?;
                self.say(format!("   answered  {head}  {how}"));
            }
            Event::Responded { header_id, code, display, kept } => {
                self.responses.insert((header_id, code));
                let line = "   answered  to the hospital's mailbox by mesh:";
                self.say(format!("{line} ITK3 {code} {display}\n             {}", self.short(&kept)));
            }
            Event::Trouble { who, what } => {
                Self::warn(format!("{who} tries again: {what}"));
                self.troubles.insert(who, what);
            }
        }
        Ok(())
    }

    async fn head(&self, id: DeliveryId) -> anyhow::Result<String> {
        let Some(copy) = self.store.delivery(id).await? else { return Ok(format!("unknown delivery {id}")) };
        let (kind, transport) = (copy.kind, copy.endpoint.kind());
        Ok(format!("{kind:<19}  {} {} by {transport}", copy.recipient, copy.recipient_name))
    }

    /// Whether this response lies in the hospital's mailbox.
    pub(super) fn has_response(&self, header_id: &str, code: u32) -> bool {
        self.responses.contains(&(header_id.to_owned(), code))
    }

    /// What has not happened yet: copies not made, not arrived or not acknowledged, responses not come.
    ///
    /// # Errors
    /// When a copy has failed or was refused: waiting would not mend it.
    pub(super) async fn missing(&self, id: TransferId, header_id: &str, codes: &[u32]) -> anyhow::Result<Vec<String>> {
        let transfer = self.transfer(id).await?;
        let mut missing = Vec::new();
        for kind in EXPECTED {
            let Some(copy) = transfer.deliveries.iter().find(|copy| copy.kind == kind) else {
                anyhow::bail!("there is no copy for {kind}");
            };
            if matches!(copy.state, DeliveryState::Failed | DeliveryState::Rejected) {
                let reason = copy.reason.as_deref().unwrap_or("no reason given");
                anyhow::bail!("the copy for {kind} is {}: {reason}", copy.state);
            }
            let reason = copy.reason.as_deref().map(|reason| format!(" ({reason})")).unwrap_or_default();
            if !self.arrived.contains_key(&copy.id) {
                missing.push(format!("{kind} has not arrived: {}{reason}", copy.state));
            } else if !copy.state.is_acknowledged() {
                missing.push(format!("{kind} is not acknowledged: {}{reason}", copy.state));
            }
        }
        let absent = codes.iter().filter(|code| !self.has_response(header_id, **code));
        missing.extend(absent.map(|code| format!("the response {code} in the hospital's mailbox")));
        if !missing.is_empty() {
            missing.extend(self.troubles.iter().map(|(who, what)| format!("{who} had trouble: {what}")));
        }
        Ok(missing)
    }

    /// All copies are acknowledged, and the hospital sees it.
    pub(super) fn completed(&self, id: TransferId) {
        self.say(format!("   completed: the hospital's Task {id} says so"));
    }

    /// One row per copy of the discharge.
    ///
    /// # Errors
    /// When a recipient got another number of bytes than the gateway sent.
    pub(super) async fn rows(&self, id: TransferId, message: &str) -> anyhow::Result<Vec<Row>> {
        let transfer = self.transfer(id).await?;
        let copy = |kind: RecipientKind| transfer.deliveries.iter().find(move |copy| copy.kind == kind);
        EXPECTED.into_iter().filter_map(copy).map(|copy| self.row(copy, message)).collect()
    }

    fn row(&self, copy: &DeliveryRecord, message: &str) -> anyhow::Result<Row> {
        let bytes = *self.arrived.get(&copy.id).context("a copy without arrival")?;
        anyhow::ensure!(
            bytes == copy.body_bytes,
            "the copy for {} has {} bytes, and {bytes} arrived",
            copy.kind,
            copy.body_bytes
        );
        Ok(Row {
            message: message.to_owned(),
            recipient: Some(copy.kind),
            ods: Some(copy.recipient.clone()),
            transport: Some(copy.endpoint.kind()),
            state: Outcome::Acknowledged,
            bytes,
            reason: None,
        })
    }

    /// A message waits for a person.
    ///
    /// # Errors
    /// When it does not.
    pub(super) async fn held(&self, id: TransferId) -> anyhow::Result<NewHold> {
        let transfer = self.transfer(id).await?;
        let copies = transfer.deliveries.iter().filter(|copy| copy.kind != RecipientKind::Sender).count();
        let hold = transfer.hold.context("the message of a restricted person was not held")?;
        anyhow::ensure!(copies == 0, "{copies} copies of a held message were made");
        self.say(format!("   held: {}, transfer {id}; nothing leaves", hold.reason));
        self.say(format!("         {} decides, until {}", hold.owner, hold.due.strftime("%Y-%m-%d %H:%M UTC")));
        self.say(format!("         {}", hold.detail));
        Ok(hold)
    }

    /// Why a message was not taken.
    pub(super) fn findings(&self, status: u16, issues: &[Issue]) {
        self.say(format!("   refused with HTTP {status}, {} findings:", issues.len()));
        for issue in issues {
            let place = issue.expression.as_deref().unwrap_or("the message");
            let code = issue.itk_code.as_deref().map(|code| format!(" (ITK3 {code})")).unwrap_or_default();
            self.say(format!("   - {}{code} at {place}\n     {}", issue.severity, issue.diagnostics));
        }
    }

    /// The outcome, as table or JSON.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub(super) fn outcome(&self, rows: &[Row]) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        if self.quiet {
            writeln!(out, "{}", serde_json::to_string_pretty(rows)?)?;
        } else {
            write!(out, "\n{}", table(rows))?;
        }
        Ok(out.flush()?)
    }

    /// How much the audit log holds.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) async fn audited(&self) -> anyhow::Result<()> {
        let mut entries = 0;
        loop {
            let page = self.store.audit_leaves(entries, 1_000).await?.len();
            entries += u64::try_from(page)?;
            if page < 1_000 {
                break;
            }
        }
        self.say(format!("\nEvery step is in the audit log: {} entries.", grouped(entries)));
        Ok(())
    }

    /// What a person can do now.
    ///
    /// # Errors
    /// When the message to try cannot be written.
    pub(super) fn invite(&self, neighbourhood: &Neighbourhood, link: &str) -> anyhow::Result<()> {
        let posting = Posting::fresh(DISCHARGE)?;
        let file = self.world.keep("messages/discharge.xml", posting.text.as_bytes())?;
        let key = self.world.path(&format!("clients/{}.key", HOSPITAL.id));
        self.say(format!(
            "\nThe neighbourhood stays up until Ctrl-C. Post another discharge, from another terminal:\n\n  \
             onward send --to {} --ca {} \\\n    --client {} --key {} \\\n    {}\n",
            neighbourhood.gateway_url.as_str().trim_end_matches('/'),
            self.world.path("tls/ca.crt").display(),
            HOSPITAL.id,
            key.display(),
            file.display()
        ));
        self.say(format!(
            "Somebody of the care home, in a browser: this link works once and sets up their account (the browser warns of the\n\
             demo's own certificate); after it, the arrivals are at {base}/inbox\n\n  {base}{link}\n",
            base = neighbourhood.gateway_url.as_str().trim_end_matches('/'),
        ));
        Ok(())
    }

    /// What stays.
    pub(super) fn farewell(&self) {
        let folder = self.world.folder().display();
        if self.world.is_temporary() {
            self.say("\nThe temporary world is removed. With --dir DIR it stays, pages, database, keys and all.");
            return;
        }
        self.say(format!(
            "\nThe world stays in {folder}; what arrived is in its folder arrived. Its gateway goes on with\n\n  \
             onward serve --config {folder}/gateway.toml\n\n\
             and its audit log is checked with\n\n  onward audit verify --config {folder}/gateway.toml"
        ));
    }
}

/// The rules that the errors name, each once with its count; where an error names none, what it says.
pub(super) fn summary(issues: &[Issue]) -> String {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for issue in issues.iter().filter(|issue| matches!(issue.severity.as_str(), "error" | "fatal")) {
        let text = issue.diagnostics.as_str();
        let rule = text.strip_suffix(']').and_then(|text| text.rsplit_once('[')).map_or(text, |(_, rule)| rule);
        match counts.iter_mut().find(|(known, _)| *known == rule) {
            Some((_, count)) => *count += 1,
            None => counts.push((rule, 1)),
        }
    }
    let said = |(rule, count): &(&str, usize)| match count {
        1 => (*rule).to_owned(),
        count => format!("{rule} ({count})"),
    };
    if counts.is_empty() {
        "no reason given".to_owned()
    } else {
        counts.iter().map(said).collect::<Vec<_>>().join(", ")
    }
}

fn len(text: &str) -> u64 {
    u64::try_from(text.len()).unwrap_or(u64::MAX)
}

/// Who is who and where.
fn describe(neighbourhood: &Neighbourhood, world: &World) -> String {
    let fate = if world.is_temporary() { " (temporary; --dir DIR keeps it)" } else { "" };
    format!(
        "A world of `onward demo`. Everybody in it is fictitious.\n\n\
         world        {}{fate}\n\
         gateway      {}  R9Z Northmoor Teaching Hospitals NHS Trust; operations http://{}\n\
         hospital     client {}, MESH mailbox R9ZOT001\n\
         care home    VMH01 Rowan House Care Home; collects from its inbox on the gateway\n\
         practices    Y99001 Beck Lane Surgery (covers the home), Y99002 Hillside Medical Practice (registered)\n\
         MESH         {}  a stand-in for the NHS service, mailboxes in memory\n\
         pharmacy     {}  FZZ01 Station Road Pharmacy\n\
         pages        what arrived is written to {}; sign-in links come with the gateway's own pages\n",
        world.folder().display(),
        neighbourhood.gateway_url.as_str().trim_end_matches('/'),
        neighbourhood.gateway.operations_address,
        HOSPITAL.id,
        neighbourhood.mesh_url.as_str().trim_end_matches('/'),
        neighbourhood.pharmacy_url,
        world.path("arrived").display(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issue(severity: &str, diagnostics: &str) -> Issue {
        let (severity, diagnostics) = (severity.to_owned(), diagnostics.to_owned());
        Issue { severity, diagnostics, expression: None, itk_code: None }
    }

    #[test]
    fn a_refusal_is_summed_up_by_its_rules() {
        let issues = [
            issue("error", "The section is missing. (line 1, column 6) [toc-mandatory-heading]"),
            issue("information", "Not evaluated. [not-evaluated]"),
            issue("error", "The section is missing. (line 1, column 6) [toc-mandatory-heading]"),
            issue("fatal", "this document came before in another message"),
        ];
        assert_eq!(summary(&issues), "toc-mandatory-heading (2), this document came before in another message");
        assert_eq!(summary(&issues[1..2]), "no reason given");
    }
}
