//! The file of an export: first the entry, then the bytes, and the last of them after the entry of the end. Tables are read while they
//! leave; an archive is drawn as a whole, and `pages::audit::archives` bounds how many.

use std::io::{Cursor, Write as _};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use futures_util::stream;
use onward_core::audit::FoundAudit;
use onward_core::store::StoreError;
use onward_core::{ApprovalId, NhsNumber, Timestamp};
use onward_gateway::explore::Inquiry;
use onward_gateway::exporting::{ExportForm, Exported};
use onward_gateway::held::{Held, Identified};
use onward_gateway::made::Made;
use zip::write::{SimpleFileOptions, ZipWriter};

use crate::app::App;
use crate::cli::audit::event::Told;
use crate::cli::sar::archive::Archive;
use crate::cli::signed_folder::MANIFEST;
use crate::listener::sha256_hex;
use crate::pages::audit::archives::leaving;
use crate::pages::trouble::too_many_files;
use crate::pages::{OnlyGet, attendant, store_failed, trouble};
use crate::people::SignedIn;
use crate::spreadsheet::{csv, lines};

/// `GET /audit/exports/{id}/file`: the file itself, for somebody who has signed in within the last five minutes.
pub(in crate::pages::audit) async fn get(
    State(app): State<Arc<App>>,
    who: SignedIn,
    _: OnlyGet,
    Path(id): Path<String>,
) -> Response {
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
        ExportForm::Sar => return whole(app, exported).await,
    };
    named(body, kind, name)
}

fn named(body: Body, kind: &'static str, name: &str) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    let disposition = HeaderValue::from_str(&format!("attachment; filename=\"{name}\""));
    headers.insert(header::CONTENT_DISPOSITION, disposition.expect("a plain name"));
    response
}

/// An archive. It has its place before it is drawn, and is drawn to its end where whoever asked goes away: the next one must not be drawn
/// beside it.
async fn whole(app: Arc<App>, exported: Exported) -> Response {
    let Some(place) = app.archives.place().await else { return too_many_files() };
    let Some(alone) = app.archives.alone().await else { return too_many_files() };
    let drawing = tokio::spawn({
        let app = Arc::clone(&app);
        async move {
            let drawn = archive(&app, &exported).await;
            drop(alone);
            drawn.map(|drawn| (exported, drawn))
        }
    });
    let (exported, (bytes, manifest, made)) = match drawing.await.map_err(anyhow::Error::from).flatten() {
        Ok(drawn) => drawn,
        Err(error) => {
            tracing::error!(%error, "a subject access archive could not be written");
            return trouble(StatusCode::INTERNAL_SERVER_ERROR);
        }
    };
    if let Err(error) = app.gateway.release_export(&exported, manifest, made.finish().1).await {
        return store_failed(&error);
    }
    let length = HeaderValue::from(bytes.len());
    let mut response = named(leaving(bytes, place), "application/zip", "subject-access.zip");
    // So that nobody takes a part for the whole.
    response.headers_mut().insert(header::CONTENT_LENGTH, length);
    response
}

/// A file on its way out.
struct Leaving {
    made: Made,
    /// What was read last. It stays here until more has been read, or the end is committed.
    held: Vec<u8>,
    next: Next,
}

/// What is read next.
enum Next {
    Page(Option<(Timestamp, u64)>),
    Nothing,
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

/// A file that is read while it leaves. Its last part leaves when the end is committed, with what its bytes were and carried: whoever ends
/// the connection before has not all of it. When the store fails the connection breaks, so that nobody takes a part for the whole.
fn pages(app: Arc<App>, exported: Exported, writing: Writing) -> Body {
    let exported = Arc::new(exported);
    let mut made = Made::default();
    let held = (writing.head)(&mut made);
    made.bytes(&held);
    let first = Leaving { made, held, next: Next::Page(None) };
    Body::from_stream(stream::try_unfold(Some(first), move |leaving| {
        let (app, exported) = (Arc::clone(&app), Arc::clone(&exported));
        async move {
            let broke = |error: &StoreError| tracing::error!(%error, "an export broke off");
            let Some(mut leaving) = leaving else { return Ok::<_, StoreError>(None) };
            while let Next::Page(after) = leaving.next {
                let (page, next) = app.gateway.exported_page(&exported, after).await.inspect_err(broke)?;
                leaving.next = next.map_or(Next::Nothing, |after| Next::Page(Some(after)));
                let bytes = (writing.page)(&page, &mut leaving.made);
                if bytes.is_empty() {
                    continue;
                }
                leaving.made.bytes(&bytes);
                let before = std::mem::replace(&mut leaving.held, bytes);
                if !before.is_empty() {
                    return Ok(Some((before, Some(leaving))));
                }
            }
            let Leaving { made, held, .. } = leaving;
            app.gateway.end_export(&exported, made).await.inspect_err(broke)?;
            Ok((!held.is_empty()).then_some((held, None)))
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
pub(in crate::pages::audit) async fn archive_of(
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

#[cfg(test)]
mod tests;
