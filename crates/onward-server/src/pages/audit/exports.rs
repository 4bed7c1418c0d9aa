//! Files that leave: asked for by one lead, granted by another of the same organisation, fetched for a day by somebody who has
//! just signed in.

use std::io::{Cursor, Write as _};
use std::sync::Arc;

use askama::Template;
use axum::body::{Body, Bytes};
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use futures_util::stream;
use jiff::civil::Date;
use onward_core::audit::FoundAudit;
use onward_core::store::{Approval, StoreError};
use onward_core::{ApprovalId, NhsNumber, Timestamp};
use onward_gateway::explore::Inquiry;
use onward_gateway::exporting::{AskedExport, Export, ExportForm, Exported};
use onward_gateway::held::{Held, Identified};
use onward_gateway::made::Made;
use onward_transform::render::dates;
use zip::write::{SimpleFileOptions, ZipWriter};

use super::super::components::{Choice, Field, FormError};
use super::super::trouble::unseen;
use super::super::{OnlyGet, Shell, attendant, not_yours, page, see_other, sent, shell, store_failed, trouble};
use super::preview::was_shown;
use super::{Form, NOTHING, Tab, TabLink};
use crate::app::App;
use crate::cli::audit::event::Told;
use crate::cli::sar::archive::Archive;
use crate::cli::signed_folder::MANIFEST;
use crate::listener::sha256_hex;
use crate::people::SignedIn;
use crate::spreadsheet::{csv, lines};

#[derive(Template)]
#[template(path = "audit/exports.html")]
struct ExportsPage {
    shell: Shell,
    tabs: Vec<TabLink>,
    done: &'static str,
    warning: String,
    errors: Vec<FormError>,
    form: Form,
    kind: Field,
    kinds: Vec<Choice>,
    born: Field,
    rows: Vec<Row>,
}

struct Row {
    id: String,
    what: &'static str,
    by: String,
    reason: String,
    expires: String,
    /// `ask`, `own`, `granted` or `refused`.
    state: &'static str,
    verdict: String,
}

/// `GET /audit/exports`.
pub(super) async fn get(
    State(app): State<Arc<App>>,
    who: SignedIn,
    _: OnlyGet,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let done = match query.as_deref() {
        Some("done=asked") => "Your request is kept. Another lead of your organisation decides.",
        Some("done=granted") => "It is granted. It can be fetched until it expires.",
        Some("done=refused") => "It is refused.",
        _ => "",
    };
    let form = Form::new(&who, b"", app.gateway.clock().now());
    show(&app, &who, &headers, form, (kind_field(""), born_field("")), done).await
}

fn born_field(value: &str) -> Field {
    let hint =
        "For subject access, from the person's own papers: it must be the one that is held. Leave it empty for entries";
    Field { value: value.to_owned(), hint: hint.to_owned(), ..Field::new("born", "Date of birth") }
}

fn kind_field(value: &str) -> Field {
    Field { value: if value.is_empty() { "csv" } else { value }.to_owned(), ..Field::new("form", "What is to leave") }
}

/// `POST /audit/exports`: asks for one.
pub(super) async fn ask(State(app): State<Arc<App>>, who: SignedIn, headers: HeaderMap, body: Bytes) -> Response {
    let mut form = Form::new(&who, &body, app.gateway.clock().now());
    let mut kind = kind_field(&sent(&body, "form"));
    let chosen = match kind.value.as_str() {
        "ndjson" => Some(ExportForm::Ndjson),
        "csv" => Some(ExportForm::Csv),
        "sar" => Some(ExportForm::Sar),
        _ => None,
    };
    if chosen.is_none() {
        "Choose what is to leave".clone_into(&mut kind.error);
    }
    let is_sar = chosen == Some(ExportForm::Sar);
    let mut born = born_field(&sent(&body, "born"));
    let day = born.value.trim().parse::<Date>().ok();
    if is_sar && day.is_none() {
        "Write the date of birth, such as 1944-03-08".clone_into(&mut born.error);
    }
    let asked = form.read(&who, &body, is_sar).filter(|_| born.error.is_empty());
    let (Some(form_of), Some(asked)) = (chosen, asked) else {
        return show(&app, &who, &headers, form, (kind, born), "").await;
    };
    let export = Export {
        form: form_of,
        // A person gets everything, whenever it was.
        from: (!is_sar).then_some(asked.from),
        until: (!is_sar).then_some(asked.until),
        about: None,
        identified: None,
    };
    let person = attendant(&who);
    let inquiry = asked.inquiry(&person, "audit/exports");
    let wrong = match app.gateway.ask_export(&inquiry, export, asked.patient.as_ref(), day).await {
        Ok(AskedExport::Kept) => return see_other("/audit/exports?done=asked"),
        Ok(AskedExport::Nothing) => (&mut form.patient, NOTHING),
        Ok(AskedExport::AnotherPerson) => (&mut born, ANOTHER_BIRTH),
        Err(error) => return store_failed(&error),
    };
    wrong.1.clone_into(&mut wrong.0.error);
    show(&app, &who, &headers, form, (kind, born), "").await
}

/// `POST /audit/exports/{id}`: the second person's word. It is granted by nobody who was not shown what would leave.
pub(super) async fn decide(
    State(app): State<Arc<App>>,
    who: SignedIn,
    Path(id): Path<String>,
    body: Bytes,
) -> Response {
    let Ok(id) = id.parse::<ApprovalId>() else { return trouble(StatusCode::NOT_FOUND) };
    let granted = match sent(&body, "verdict").as_str() {
        "grant" => true,
        "refuse" => false,
        _ => return trouble(StatusCode::BAD_REQUEST),
    };
    let asked = match app.gateway.store().approval(id).await {
        Ok(asked) => asked.filter(|asked| who.organisations.contains(&asked.organisation)),
        Err(error) => return store_failed(&error),
    };
    let Some(asked) = asked else { return trouble(StatusCode::CONFLICT) };
    let (me, request) = (who.user.to_string(), format!("/audit/exports/{id}"));
    let decidable = asked.verdict.is_none() && asked.asked_by != me && asked.expires > app.gateway.clock().now();
    if decidable && granted && !was_shown(&app, id, who.user, &sent(&body, "shown")) {
        return unseen(request);
    }
    let person = attendant(&who);
    for organisation in &who.organisations {
        let inquiry =
            Inquiry { who: &person, organisation, reason: "second person", asked: "audit/exports".to_owned() };
        match app.gateway.decide_export(&inquiry, id, granted).await {
            Ok(true) => {
                return see_other(match granted {
                    true => "/audit/exports?done=granted",
                    false => "/audit/exports?done=refused",
                });
            }
            Ok(false) => {}
            Err(error) => return store_failed(&error),
        }
    }
    // Somebody may have been faster since.
    match app.gateway.store().approval(id).await {
        Ok(now) => {
            let onward = Some((request, "Open the request"));
            not_yours(now.as_ref().unwrap_or(&asked), &me, app.gateway.clock().now(), onward)
        }
        Err(error) => store_failed(&error),
    }
}

/// `GET /audit/exports/{id}/file`: the file itself, for somebody who has signed in within the last five minutes.
pub(super) async fn file(State(app): State<Arc<App>>, who: SignedIn, _: OnlyGet, Path(id): Path<String>) -> Response {
    let Ok(id) = id.parse::<ApprovalId>() else { return trouble(StatusCode::NOT_FOUND) };
    let person = attendant(&who);
    for organisation in &who.organisations {
        let inquiry =
            Inquiry { who: &person, organisation, reason: "granted export", asked: format!("audit/exports/{id}") };
        match app.gateway.fetch_export(&inquiry, id).await {
            Ok(Some(exported)) => return written(Arc::clone(&app), exported).await,
            Ok(None) => {}
            Err(error) => return store_failed(&error),
        }
    }
    trouble(StatusCode::NOT_FOUND)
}

const ANOTHER_BIRTH: &str =
    "This is not the date of birth that is held about the person of this number. Nothing was asked for";

async fn show(
    app: &App,
    who: &SignedIn,
    headers: &HeaderMap,
    form: Form,
    (kind, born): (Field, Field),
    done: &'static str,
) -> Response {
    let now = app.gateway.clock().now();
    let looked = async {
        let mut open: Vec<Approval> = Vec::new();
        let mut warning = String::new();
        for organisation in &who.organisations {
            open.extend(app.gateway.exports(organisation).await?);
            if let Some((words, false, at)) = app.gateway.last_verification(organisation).await? {
                warning = format!(
                    "The log was found {words}, {}. Say so to whoever gets a file.",
                    dates::near_moment(at, now)
                );
            }
        }
        Ok::<_, StoreError>((shell(app, who).await?.0, open, warning))
    };
    let mut errors = form.errors();
    if !kind.error.is_empty() {
        errors.insert(0, FormError { field: kind.id.clone(), text: kind.error.clone() });
    }
    if !born.error.is_empty() {
        errors.push(FormError { field: born.id.clone(), text: born.error.clone() });
    }
    let status = if errors.is_empty() { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY };
    match looked.await {
        Ok((shell, open, warning)) => {
            let me = who.user.to_string();
            let kinds = vec![
                Choice::new("csv", "Audit entries as a table (CSV)"),
                Choice::new("ndjson", "Audit entries as FHIR (NDJSON)"),
                Choice::new("sar", "Everything about one person, for that person (subject access)"),
            ];
            let rows = open.iter().filter_map(|approval| Row::new(approval, &me, now)).collect();
            let tabs = Tab::Exports.links();
            page(headers, status, &ExportsPage { shell, tabs, done, warning, errors, form, kind, kinds, born, rows })
        }
        Err(error) => store_failed(&error),
    }
}

/// What an export holds, in words.
pub(super) fn in_words(export: &Export) -> &'static str {
    match (export.form, export.about.is_some()) {
        (ExportForm::Sar, _) => "Everything about one person",
        (ExportForm::Csv, true) => "Entries about one person (CSV)",
        (ExportForm::Csv, false) => "Entries (CSV)",
        (ExportForm::Ndjson, true) => "Entries about one person (NDJSON)",
        (ExportForm::Ndjson, false) => "Entries (NDJSON)",
    }
}

impl Row {
    fn new(approval: &Approval, me: &str, now: Timestamp) -> Option<Self> {
        let export = Export::of(approval)?;
        let what = in_words(&export);
        let (state, verdict) = match &approval.verdict {
            None if approval.asked_by == me => ("own", String::new()),
            None => ("ask", String::new()),
            Some(verdict) => (
                if verdict.granted { "granted" } else { "refused" },
                format!("{}, {}", verdict.name, dates::near_moment(verdict.at, now)),
            ),
        };
        Some(Self {
            id: approval.id.to_string(),
            what,
            by: approval.asked_name.clone(),
            reason: approval.reason.clone(),
            expires: dates::near_moment(approval.expires, now),
            state,
            verdict,
        })
    }
}

/// The file of an export. Tables leave page by page, so that they may be as long as the log is.
async fn written(app: Arc<App>, exported: Exported) -> Response {
    let form = exported.export.form;
    // First the entry, then the bytes.
    let (body, kind, name) = match form {
        ExportForm::Ndjson | ExportForm::Csv => {
            if let Err(error) = app.gateway.begin_export(&exported).await {
                return store_failed(&error);
            }
            match form {
                ExportForm::Csv => (pages(app, exported, TABLE), "text/csv; charset=utf-8", "audit.csv"),
                _ => (pages(app, exported, LINES), "application/x-ndjson", "audit.ndjson"),
            }
        }
        ExportForm::Sar => match archive(&app, &exported).await {
            Ok((bytes, manifest, made)) => {
                if let Err(error) = app.gateway.release_export(&exported, manifest, made.finish().1).await {
                    return store_failed(&error);
                }
                (Body::from(bytes), "application/zip", "subject-access.zip")
            }
            Err(error) => {
                tracing::error!(%error, "a subject access archive could not be written");
                return trouble(StatusCode::INTERNAL_SERVER_ERROR);
            }
        },
    };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    let disposition = HeaderValue::from_str(&format!("attachment; filename=\"{name}\""));
    headers.insert(header::CONTENT_DISPOSITION, disposition.expect("a plain name"));
    response
}

/// How far a file has been written.
enum Next {
    Head,
    Page(Option<(Timestamp, u64)>),
    Done,
}

/// How entries are written: what stands before them, and a page of them, with what they carry.
#[derive(Clone, Copy)]
struct Writing {
    head: fn(&mut Made) -> Vec<u8>,
    page: fn(&[FoundAudit], &mut Made) -> Vec<u8>,
}

const LINES: Writing = Writing { head: |_| Vec::new(), page: ndjson };
const TABLE: Writing = Writing {
    head: |made| {
        HEAD.iter().for_each(|column| made.named(format!("column {column}")));
        csv(HEAD, std::iter::empty())
    },
    page: |entries, _| table(entries),
};

/// A file that is read while it leaves; what its bytes were and carried is committed before its end. When the store fails the
/// connection breaks, so that nobody takes a part for the whole.
fn pages(app: Arc<App>, exported: Exported, writing: Writing) -> Body {
    let exported = Arc::new(exported);
    Body::from_stream(stream::try_unfold((Next::Head, Made::default()), move |(next, mut made)| {
        let (app, exported) = (Arc::clone(&app), Arc::clone(&exported));
        async move {
            let broke = |error: &StoreError| tracing::error!(%error, "an export broke off");
            let (bytes, next) = match next {
                Next::Head => ((writing.head)(&mut made), Next::Page(None)),
                Next::Page(after) => {
                    let (page, next) = app.gateway.exported_page(&exported, after).await.inspect_err(broke)?;
                    let next = next.map_or(Next::Done, |after| Next::Page(Some(after)));
                    ((writing.page)(&page, &mut made), next)
                }
                Next::Done => {
                    app.gateway.end_export(&exported, made).await.inspect_err(broke)?;
                    return Ok::<_, StoreError>(None);
                }
            };
            made.bytes(&bytes);
            Ok(Some((bytes, (next, made))))
        }
    }))
}

fn ndjson(entries: &[FoundAudit], made: &mut Made) -> Vec<u8> {
    let events = entries.iter().filter_map(|entry| entry.event.as_deref());
    events.inspect(|event| made.event(event)).flat_map(|event| [event, b"\n"].concat()).collect()
}

const HEAD: [&str; 12] = [
    "entry",
    "recorded",
    "what",
    "success",
    "actor",
    "role",
    "organisation",
    "who got it",
    "touched",
    "detail",
    "NHS number",
    "event",
];

fn table(entries: &[FoundAudit]) -> Vec<u8> {
    lines(entries.iter().map(row))
}

fn row(entry: &FoundAudit) -> [String; 12] {
    let told = entry.event.as_deref().and_then(Told::read);
    let text = |pick: fn(&Told) -> Option<String>| told.as_ref().and_then(pick).unwrap_or_default();
    [
        entry.index.to_string(),
        entry.recorded.to_string(),
        entry.word.to_string(),
        told.as_ref().is_some_and(|told| told.success).to_string(),
        text(|told| Some(told.actor.name.clone())),
        text(|told| told.actor.role.clone()),
        text(|told| told.actor.organisation.clone()),
        text(|told| Some(told.other.name.clone())),
        text(|told| told.subject.clone()),
        text(|told| Some(told.detail.clone())),
        entry.patient.as_ref().map(|number| number.expose().to_owned()).unwrap_or_default(),
        text(|told| Some(told.id.clone())),
    ]
}

/// What `sar export` writes of this. It reads, redacts and sets type, which takes a processor: nobody else waits for it.
pub(super) async fn archive_of(
    app: &App,
    patient: &NhsNumber,
    held: Held,
    identified: Identified,
) -> anyhow::Result<Archive> {
    let (patient, name, now) = (patient.clone(), app.own_name.clone(), app.gateway.clock().now());
    Ok(tokio::task::spawn_blocking(move || Archive::of(&patient, &name, now, &held, identified)).await??)
}

/// The folder that `sar export` writes, as one file; the digest of its manifest, and what it carries.
async fn archive(app: &App, exported: &Exported) -> anyhow::Result<(Vec<u8>, String, Made)> {
    use anyhow::Context as _;
    let patient = exported.patient.as_ref().context("subject access without a person")?;
    let key = app.log_key.get().context("this process has no key of the log")?;
    let held = app.gateway.exported_record(exported).await?;
    let identified = exported.export.identified.unwrap_or(Identified::NumberAlone);
    let archive = archive_of(app, patient, held, identified).await?;
    let manifest = key.sign_statement(&archive.manifest())?;
    let mut made = Made::default();
    archive.files.iter().for_each(|(path, bytes)| made.file(path, bytes));
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    let files = archive.files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice()));
    for (name, bytes) in files.chain([(MANIFEST, manifest.as_bytes())]) {
        zip.start_file(name, options)?;
        zip.write_all(bytes)?;
    }
    Ok((zip.finish()?.into_inner(), sha256_hex(manifest.as_bytes()), made))
}
