//! From bytes to decisions: read, validate, convert, identify, render. Nothing is stored or sent here, so that
//! `accept` and `explain` walk the very same path.

use std::sync::Arc;

use bytes::Bytes;
use onward_core::client::{Client, NhsNumberPolicy};
use onward_core::directory::{Asker, Endpoint};
use onward_core::state::{HoldReason, RecipientKind};
use onward_core::store::{NewDelivery, Predecessor, StoreError};
use onward_core::{DeliveryId, NhsNumber, OdsCode, TransferId};
use onward_fhir::document::attachments;
use onward_fhir::message::{DocumentPart, decode_base64};
use onward_fhir::read::{self, Format, Limits, ReadErrorKind};
use onward_fhir::{Bundle, Document, Message, Release, Tree};
use onward_transform::convert::{self, Note};
use onward_transform::render::{self, Card, Original, Parties, RenderError, Rendered};
use onward_validate::{Findings, Policy as ValidationPolicy, TOO_LARGE};

use crate::Gateway;
use crate::beforehand::Pds;
use crate::decision::Decided;
use crate::explain::Disclosure;
use crate::facts::{Facts, facts};
use crate::identify::{HoldCause, Identification, Identified, Sources, discharge_destination, identify};
use crate::lifecycle::names_another_person;
use crate::needs;
use crate::objection::Objection;
use crate::refusal::Refusal;
use crate::routes::Decision;

/// Where a message goes, or why it waits.
#[derive(Debug)]
pub enum Routing {
    /// Copies, ready to be queued.
    Deliver {
        /// The parties.
        identified: Box<Identified>,
        /// The copies.
        copies: Vec<Copy>,
    },
    /// A person decides.
    Hold {
        /// The person, when known.
        patient: Option<NhsNumber>,
        /// The home, when known.
        care_home: Option<OdsCode>,
        /// Why.
        cause: HoldCause,
    },
}

/// One copy with its disclosure, element by element.
#[derive(Debug)]
pub struct Copy {
    /// Ready to be queued.
    pub delivery: NewDelivery,
    /// What it was made of, but for what the delivery has of it: body and page.
    pub rendered: Rendered,
}

/// A message that would be accepted.
#[derive(Debug)]
pub struct Prepared {
    /// What it says of itself.
    pub facts: Facts,
    /// Warnings and notes; no errors.
    pub findings: Findings,
    /// How STU3 became R4.
    pub notes: Vec<Note>,
    /// The route taken, and those passed over with the reason.
    pub route: String,
    /// The routes passed over.
    pub passed_over: Vec<(String, &'static str)>,
    /// How the parties were found, and copies that are not needed.
    pub evidence: Vec<String>,
    /// The transfer that it replaces, where that has come.
    pub predecessor: Option<Predecessor>,
    /// Where it goes.
    pub routing: Routing,
    /// What is attached, decoded, in order; empty where nothing looks for malware.
    pub to_scan: Attached,
}

/// The bytes of attachments. Their `Debug` tells only how many there are.
#[derive(Default)]
pub struct Attached(pub Vec<Bytes>);

impl std::fmt::Debug for Attached {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} attachments", self.0.len())
    }
}

impl Prepared {
    /// Its place among the versions of its document.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.predecessor.as_ref().map_or(1, |predecessor| predecessor.version + 1)
    }

    /// What it replaces and has not come.
    #[must_use]
    pub fn awaits(&self) -> Option<&str> {
        self.facts.replaces.as_deref().filter(|_| self.predecessor.is_none())
    }

    /// The person whom it is about.
    #[must_use]
    pub fn patient(&self) -> Option<&NhsNumber> {
        match &self.routing {
            Routing::Deliver { identified, .. } => Some(&identified.patient),
            Routing::Hold { patient, .. } => patient.as_ref(),
        }
    }
}

/// Why there is nothing prepared.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// The sender's or the message's fault.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Ours.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Format of a media type that the edge has let through.
#[must_use]
pub fn format_of(media_type: &str) -> Format {
    if media_type.contains("json") { Format::Json } else { Format::Xml }
}

/// The bytes of everything attached, in the message and in a document that is embedded in it. They decode: the message is
/// valid.
fn attached(message: &Tree<'_>, embedded: Option<&Tree<'_>>) -> Attached {
    let trees = [Some(message), embedded].into_iter().flatten();
    let found = trees.flat_map(|tree| attachments(tree.root()));
    let bytes = found.filter_map(|attachment| decode_base64(attachment.data?.value()?).ok());
    Attached(bytes.map(Bytes::from).collect())
}

/// Reads bytes into a tree over them.
///
/// # Errors
/// [`Refusal::Unreadable`], [`Refusal::TooLarge`] or [`Refusal::ForeignCharset`].
pub fn read_tree(bytes: &[u8], format: Format) -> Result<Tree<'_>, Refusal> {
    read::bytes(bytes, format, &Limits::default()).map_err(|error| match error.kind {
        ReadErrorKind::TooManyNodes | ReadErrorKind::TooLarge => Refusal::TooLarge(error.to_string()),
        ReadErrorKind::Charset => Refusal::ForeignCharset,
        kind => Refusal::Unreadable {
            well_formed: matches!(
                kind,
                ReadErrorKind::ForbiddenCharacter | ReadErrorKind::NumberTooSmall | ReadErrorKind::ForeignNamespace
            ),
            message: error.message,
            line: error.line,
            column: error.column,
        },
    })
}

impl Gateway {
    /// Walks a message up to its copies, with a person's decisions in place of the steps that could not be resolved, and with PDS asked in
    /// this way.
    ///
    /// # Errors
    /// See [`PrepareError`].
    pub(crate) async fn walk(
        &self,
        client: &Client,
        body: &Bytes,
        media_type: &str,
        transfer: TransferId,
        decided: &Decided,
        pds: Pds<'_>,
    ) -> Result<Prepared, PrepareError> {
        let asker = Asker::Client(client.id.clone());
        let pds = pds.by(&asker);
        let format = format_of(media_type);
        let tree = read_tree(body, format)?;
        let policy = self.validation_policy(client);
        let findings = match self.profiles.level {
            Some(level) => self.profiles.validator.judge_sent(&tree, &policy, level),
            None => onward_validate::validate_message(&tree, &policy),
        };
        if let Some(finding) = TOO_LARGE.iter().find_map(|rule| findings.by_rule(rule)) {
            // Nothing further looks at such a tree.
            return Err(Refusal::TooLarge(finding.diagnostics.clone()).into());
        }
        let Ok(message) = Message::read(tree.root()) else { return Err(Refusal::NotValid(findings).into()) };
        if message.sender_ods.is_some_and(|ods| ods != client.ods.as_str()) {
            return Err(Refusal::WrongSender.into());
        }
        if findings.has_errors() {
            return Err(Refusal::NotValid(findings).into());
        }
        if !message.known_event().is_some_and(|event| event.transfer_of_care) {
            let event = message.event.map_or("unknown", |(_, code)| code);
            return Err(Refusal::NotADischarge(event.to_owned()).into());
        }
        let embedded = match &message.document {
            DocumentPart::Embedded { .. } => Some(message.embedded_document().map_err(|error| {
                Refusal::Unreadable { well_formed: true, message: error.to_string(), line: 0, column: 0 }
            })?),
            _ => None,
        };
        let inner = match &embedded {
            Some(embedded) => Some(read_tree(&embedded.bytes, embedded_format(embedded.format))?),
            None => None,
        };
        let element = match (&inner, &message.document) {
            (Some(inner), _) => inner.root(),
            (None, DocumentPart::Nested(element)) => *element,
            _ => return Err(Refusal::NotValid(findings).into()),
        };
        let release = match &embedded {
            Some(embedded) => embedded.release.unwrap_or_else(|| onward_fhir::message::release_of(element)),
            None => message.release,
        };
        let Ok(original) = Document::read(element, release) else { return Err(Refusal::NotValid(findings).into()) };
        if original.composition.text("status") == Some("entered-in-error") {
            return Err(Refusal::InError.into());
        }
        let facts = facts(&message, &original, client, release);
        let predecessor = self.predecessor(client, &facts, transfer).await?;
        let replaces = predecessor.as_ref().map(|before| before.transfer);
        let decided = &self.heeding_recalls(decided, replaces).await?;
        let conversion = (release == Release::Stu3).then(|| convert::to_r4(element));
        let r4_owned;
        let r4: &Tree<'_> = match &conversion {
            Some(conversion) => &conversion.tree,
            None => {
                let mut builder = onward_fhir::Builder::over(tree.source());
                builder.copy_as("Bundle", element);
                r4_owned = builder.finish();
                &r4_owned
            }
        };
        let notes = conversion.as_ref().map(|conversion| conversion.notes.clone()).unwrap_or_default();
        let original_parts = Original {
            element,
            release,
            is_xml: match &embedded {
                Some(embedded) => embedded_format(embedded.format) == Format::Xml,
                None => format == Format::Xml,
            },
        };
        let walk = (predecessor, transfer, decided, pds);
        let to_scan = if self.scanner.is_some() { attached(&tree, inner.as_ref()) } else { Attached::default() };
        let routed = self.route(facts, findings, notes, r4, &message, &original_parts, client, walk).await?;
        Ok(Prepared { to_scan, ..routed })
    }

    /// The version before this one. Only the newest can be replaced, and only by a newer one.
    async fn predecessor(
        &self,
        client: &Client,
        facts: &Facts,
        transfer: TransferId,
    ) -> Result<Option<Predecessor>, PrepareError> {
        let Some(named) = &facts.replaces else { return Ok(None) };
        let Some(found) = self.store.predecessor(&client.ods, named, transfer).await? else { return Ok(None) };
        if let Some(by) = found.replaced_by.filter(|by| *by != transfer)
            && !self.is_message(by, &facts.message_id).await?
        {
            return Err(Refusal::NotReplaceable("it was replaced before: name its newest version").into());
        }
        if let (Some(before), Some(now)) = (found.dated, facts.dated)
            && now < before
        {
            return Err(Refusal::NotReplaceable("it bears a later date than what is to replace it").into());
        }
        Ok(Some(found))
    }

    /// Whether a transfer came of this message: what comes again gets its first answer.
    async fn is_message(&self, transfer: TransferId, message_id: &str) -> Result<bool, StoreError> {
        Ok(self.store.transfer(transfer).await?.is_some_and(|record| record.message_id == message_id))
    }

    /// The rules that apply to this client's messages.
    #[must_use]
    pub fn validation_policy(&self, client: &Client) -> ValidationPolicy {
        ValidationPolicy {
            nhs_number: match client.nhs_number_policy {
                NhsNumberPolicy::Refuse => onward_validate::NhsNumberPolicy::Refuse,
                NhsNumberPolicy::Hold => onward_validate::NhsNumberPolicy::Hold,
            },
            rules: Arc::clone(&self.rules),
            levels: self.rules.levels_for(client.ods.as_str()),
            ..ValidationPolicy::default()
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one walk, split from `prepare` for its length")]
    async fn route(
        &self,
        facts: Facts,
        mut findings: Findings,
        notes: Vec<Note>,
        r4: &Tree<'_>,
        message: &Message<'_, '_>,
        original: &Original<'_, '_>,
        client: &Client,
        (predecessor, transfer, decided, pds): (Option<Predecessor>, TransferId, &Decided, Pds<'_>),
    ) -> Result<Prepared, PrepareError> {
        let now = self.clock.now();
        let bundle = Bundle::new(r4.root()).ok_or_else(|| Refusal::NotValid(findings.clone()))?;
        let destination = discharge_destination(&bundle);
        let mut route = self.routes.decide(&facts.event, destination);
        if let Decision::Hold(reason) = route.decision
            && decided.sends_despite(reason)
        {
            route = self.routes.delivering(&facts.event).unwrap_or(route);
        }
        let passed_over = self
            .routes
            .passed_over(&facts.event, destination)
            .into_iter()
            .map(|(r, why)| (r.name.clone(), why))
            .collect();
        let destinations: Vec<OdsCode> = message.destination_ods.iter().filter_map(|code| code.parse().ok()).collect();
        let sources = Sources { store: self.store.as_ref(), pds, gp_routing: self.settings.gp_routing };
        let identification = identify(&bundle, &destinations, sources, now, decided).await?;
        let mut evidence = Vec::new();
        let replaced = predecessor.as_ref().map(|before| {
            format!("replaces version {}, transfer {}: whoever has it is told", before.version, before.transfer)
        });
        let routing = match (identification, &route.decision) {
            (Identification::Hold { patient, care_home, cause }, _) => Routing::Hold { patient, care_home, cause },
            (Identification::Known(mut identified), decision) => {
                evidence.clone_from(&identified.evidence);
                for need in needs::unmet(&bundle, &identified.care_home) {
                    findings.push(needs::finding(need, &identified.care_home));
                }
                let cause = match decision {
                    Decision::Hold(reason) => {
                        Some(HoldCause::new(*reason, format!("route \"{}\" holds this message", route.name)))
                    }
                    Decision::Deliver(kinds) => {
                        let replaces = facts.replaces.is_some().then_some(predecessor.as_ref());
                        hold_for_content(replaces, &identified.patient, &notes, decided).or_else(|| {
                            // Of those that may receive at all, so that it only ever narrows.
                            let may = intended(kinds, &identified);
                            match Objection::of(&bundle, now).lets(&may, decided, &mut evidence) {
                                Ok(only) => {
                                    identified.objected = only.is_some();
                                    identified.only = only.or(identified.only.take());
                                    None
                                }
                                Err(cause) => Some(cause),
                            }
                        })
                    }
                };
                match (cause, decision) {
                    (None, Decision::Deliver(kinds)) => {
                        let made =
                            self.copies(kinds, &identified, r4, original, client, &facts, transfer, &mut evidence);
                        match made {
                            // A transfer without a copy would be one that nobody ever gets.
                            Ok(copies) if copies.is_empty() => {
                                let detail = format!("route \"{}\" has no recipient for this person", route.name);
                                held(&identified, HoldCause::new(HoldReason::NotACareHomeDischarge, detail))
                            }
                            Ok(copies) => Routing::Deliver { identified, copies },
                            Err(cause) => held(&identified, cause),
                        }
                    }
                    (cause, _) => held(&identified, cause.expect("a holding route has its cause")),
                }
            }
        };
        evidence.extend(replaced);
        let route = route.name.clone();
        Ok(Prepared {
            facts,
            findings,
            notes,
            route,
            passed_over,
            evidence,
            predecessor,
            routing,
            to_scan: Attached::default(),
        })
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one walk, split from `route` for its length")]
    fn copies(
        &self,
        kinds: &[RecipientKind],
        identified: &Identified,
        r4: &Tree<'_>,
        original: &Original<'_, '_>,
        client: &Client,
        facts: &Facts,
        transfer: TransferId,
        evidence: &mut Vec<String>,
    ) -> Result<Vec<Copy>, HoldCause> {
        let sender_name = custodian_name(r4).unwrap_or_else(|| client.ods.to_string());
        let parties = Parties {
            transfer,
            sender_ods: &client.ods,
            sender_name: &sender_name,
            care_home: &identified.care_home,
            covering_practice: &identified.covering_practice,
            delivering_pharmacy: &identified.delivering_pharmacy,
            registered_practice: identified.registered_practice.as_ref(),
            nominated_pharmacy: identified.nominated_pharmacy.as_ref(),
            own_ods: &self.settings.own_ods,
            own_name: &self.settings.own_name,
            own_mailbox: self.settings.own_mailbox.as_ref(),
            event: &facts.event,
            now: self.clock.now(),
            expected: facts.expected,
            stay_ends: facts.stay_ends,
            objected: identified.objected,
        };
        let mut copies = Vec::new();
        for &kind in kinds {
            if identified.only.as_ref().is_some_and(|only| !only.contains(&kind)) {
                evidence.push(format!("no copy for {kind}: not agreed with the ward"));
                continue;
            }
            let Some((recipient, name, endpoint)) = recipient_of(kind, identified, evidence) else { continue };
            let id = DeliveryId::random();
            let policy = self.policies.get(&kind).ok_or_else(|| {
                HoldCause::new(HoldReason::ConversionLoss, format!("no disclosure policy for {kind}"))
            })?;
            let rendered = match kind {
                RecipientKind::CareHome => render::care_home(r4, policy, &parties, id),
                RecipientKind::CoveringPractice => render::covering_practice(r4, policy, &parties, id),
                RecipientKind::RegisteredPractice => render::registered_practice(original, policy, &parties, id),
                RecipientKind::PharmacyReferral => render::pharmacy_referral(r4, policy, &parties, id),
                RecipientKind::PharmacyNomination => render::pharmacy_nomination(r4, policy, &parties, id),
                RecipientKind::Sender => continue,
            };
            let mut rendered = match rendered {
                Ok(rendered) => rendered,
                Err(error @ RenderError::NoMedicines) => {
                    evidence.push(format!("no Discharge Medicines Service referral: {error}"));
                    continue;
                }
                Err(error) => {
                    let reason = match error {
                        RenderError::Gap { .. } => HoldReason::DisclosureGap,
                        _ => HoldReason::ConversionLoss,
                    };
                    return Err(HoldCause::new(reason, format!("the copy for {kind} cannot be made: {error}")));
                }
            };
            let delivery = NewDelivery {
                id,
                kind,
                recipient: recipient.clone(),
                recipient_name: name.to_owned(),
                endpoint: endpoint.clone(),
                directory: Some(identified.directory),
                media_type: rendered.media_type.clone(),
                // They may have megabytes, and are needed once.
                body: std::mem::take(&mut rendered.body),
                html: rendered.html.take(),
                card: rendered.card.as_ref().map(Card::to_json),
                correlation_id: rendered.correlation_id.clone(),
                workflow: rendered.workflow.clone(),
                basis: rendered.basis.clone(),
                disclosure: Disclosure::of(&rendered).to_json(),
                acknowledgement_awaited: true,
                notice: None,
            };
            copies.push(Copy { delivery, rendered });
        }
        Ok(copies)
    }
}

/// Who would receive a copy, whatever the person objects to.
fn intended(kinds: &[RecipientKind], identified: &Identified) -> Vec<(RecipientKind, OdsCode)> {
    let ods = |kind| recipient_of(kind, identified, &mut Vec::new()).map(|(ods, ..)| ods.clone());
    let allowed = |kind: &RecipientKind| identified.only.as_ref().is_none_or(|only| only.contains(kind));
    kinds.iter().copied().filter(allowed).filter_map(|kind| Some((kind, ods(kind)?))).collect()
}

/// Whom this copy is for; `None`, with the reason noted, when the copy is not needed.
fn recipient_of<'i>(
    kind: RecipientKind,
    identified: &'i Identified,
    evidence: &mut Vec<String>,
) -> Option<(&'i OdsCode, &'i str, &'i Endpoint)> {
    let home = &identified.care_home;
    let covering = &identified.covering_practice;
    let pharmacy = &identified.delivering_pharmacy;
    let registered = identified.registered_practice.as_ref();
    match kind {
        RecipientKind::CareHome => Some((&home.ods, &home.name, &home.endpoint)),
        RecipientKind::CoveringPractice if registered.is_some_and(|practice| practice.ods == covering.ods) => {
            evidence.push("no temporary registration: the covering practice is the registered practice".to_owned());
            None
        }
        RecipientKind::CoveringPractice => Some((&covering.ods, &covering.name, &covering.endpoint)),
        RecipientKind::RegisteredPractice => {
            if registered.is_none() {
                evidence.push("no copy for a registered practice: there is none".to_owned());
            }
            registered.map(|practice| (&practice.ods, practice.name.as_str(), &practice.endpoint))
        }
        RecipientKind::PharmacyReferral => Some((&pharmacy.ods, &pharmacy.name, &pharmacy.endpoint)),
        RecipientKind::PharmacyNomination if identified.nominated_pharmacy.as_ref() == Some(&pharmacy.ods) => {
            evidence.push("no nomination request: the delivering pharmacy is nominated already".to_owned());
            None
        }
        RecipientKind::PharmacyNomination => Some((&pharmacy.ods, &pharmacy.name, &pharmacy.endpoint)),
        RecipientKind::Sender => None,
    }
}

fn held(identified: &Identified, cause: HoldCause) -> Routing {
    Routing::Hold {
        patient: Some(identified.patient.clone()),
        care_home: Some(identified.care_home.ods.clone()),
        cause,
    }
}

/// Reasons of the content itself for which a person must decide.
fn hold_for_content(
    replaces: Option<Option<&Predecessor>>,
    patient: &NhsNumber,
    notes: &[Note],
    decided: &Decided,
) -> Option<HoldCause> {
    let stays = match replaces {
        None => None,
        Some(None) => Some(
            "the document replaces one that has not come: it goes on by itself when that comes; released, it goes as the \
             first; closed, the hospital hears that it could not be processed",
        ),
        Some(Some(before)) if names_another_person(before, Some(patient)) => Some(
            "the document replaces one about another person: ask the ward which is right; released, whoever has the \
             earlier one is told to stop using it; closed, both are null and void",
        ),
        Some(Some(_)) => None,
    };
    if let Some(detail) = stays.filter(|_| !decided.sends_despite(HoldReason::Replacement)) {
        return Some(HoldCause::new(HoldReason::Replacement, detail));
    }
    let lost: Vec<&str> =
        notes.iter().filter(|note| note.kind == convert::NoteKind::Lost).map(|note| note.path.as_str()).collect();
    (!lost.is_empty()).then(|| {
        let detail = format!("{} element(s) cannot be carried over to R4: {}", lost.len(), lost.join(", "));
        HoldCause::new(HoldReason::ConversionLoss, detail)
    })
}

pub(crate) fn embedded_format(format: onward_fhir::message::Format) -> Format {
    match format {
        onward_fhir::message::Format::Json => Format::Json,
        onward_fhir::message::Format::Xml => Format::Xml,
    }
}

fn custodian_name(r4: &Tree<'_>) -> Option<String> {
    let bundle = Bundle::new(r4.root())?;
    let custodian = bundle.first("Composition")?.get("custodian")?;
    let organization = bundle.resolve(custodian)?;
    organization.text("name").or_else(|| custodian.text("display")).map(str::to_owned)
}
