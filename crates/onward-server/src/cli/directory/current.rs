//! `onward directory current`: what the Organisation Data Service says of the organisations in the directory.

use clap::Args;
use jiff::civil::Date;
use onward_core::OdsCode;
use onward_core::directory::{DirectoryEntry, Organisation};
use onward_core::transport::SendError;
use onward_gateway::organisations::patiently;
use onward_gateway::rounds::PACE;
use serde_json::json;

use super::super::exit::{Exit, Failure, Outcome};
use super::super::open::{self, ConfigArgs};
use super::super::terminal::{Terminal, plain};
use crate::app;

/// Whom to ask about.
#[derive(Debug, Args)]
pub struct Current {
    #[command(flatten)]
    config: ConfigArgs,
    /// One line of JSON for each
    #[arg(long)]
    json: bool,
    /// Only these; all entries where none is named
    #[arg(value_name = "ODS")]
    ods: Vec<OdsCode>,
}

/// What is to be done about an entry; nothing where it is right.
fn verdict(entry: &DirectoryEntry, found: Option<&Organisation>, today: Date) -> Option<String> {
    let Some(found) = found else { return Some("not known to ODS: mend the code".to_owned()) };
    let after: Vec<&str> = found.successors.iter().map(OdsCode::as_str).collect();
    let after = if after.is_empty() { String::new() } else { format!("; after it: {}", after.join(", ")) };
    if !found.stands(today) {
        let since = found.ends().map_or_else(String::new, |end| format!(" since {end}"));
        return Some(format!("closed{since}{after}"));
    }
    // Roles tell what it is; the shape of a code never does.
    let roles: &[&str] = match entry {
        DirectoryEntry::CareHome(_) => &["RO101", "RO104", "RO269", "RO270"],
        DirectoryEntry::Practice(_) => &["RO76", "RO177"],
        DirectoryEntry::Pharmacy(_) => &["RO181", "RO182"],
    };
    if !found.roles.iter().any(|role| roles.contains(&role.as_str())) {
        return Some(format!("is no {} to ODS: {}", entry.kind(), found.roles.join(", ")));
    }
    found.ends().map(|end| format!("closes on {end}{after}"))
}

/// Runs it.
///
/// # Errors
/// When the store cannot be read, or ODS does not answer, also when it was asked again as it wishes; of those that it was asked about
/// before, all is told.
pub(super) async fn run(current: &Current, terminal: &mut Terminal) -> Outcome {
    let (config, store) = current.config.existing_store().await?;
    let entries = store.directory().await?;
    let wanted = |entry: &&DirectoryEntry| current.ods.is_empty() || current.ods.contains(entry.ods());
    let entries: Vec<&DirectoryEntry> = entries.iter().filter(wanted).collect();
    if let Some(strange) = current.ods.iter().find(|ods| !entries.iter().any(|entry| entry.ods() == *ods)) {
        return Err(Failure::no(format!("the directory has no entry {strange}")));
    }
    let ods = app::ods(&config).map_err(Failure::configuration)?;
    let today = open::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let mut rows = Vec::new();
    let mut fault: Option<SendError> = None;
    for (place, entry) in entries.iter().enumerate() {
        if place > 0 {
            tokio::time::sleep(PACE).await;
        }
        let found = match patiently(&ods, entry.ods()).await {
            Ok(found) => found,
            Err(error) => {
                fault = Some(error);
                break;
            }
        };
        let verdict = verdict(entry, found.as_ref(), today);
        if current.json {
            let told = found.as_ref();
            terminal.json(&json!({
                "ods": entry.ods(), "kind": entry.kind(), "current": verdict.is_none(), "attention": verdict,
                "name": told.map(|found| &found.name), "ends": told.and_then(Organisation::ends),
                "roles": told.map(|found| &found.roles), "successors": told.map(|found| &found.successors),
            }));
        }
        rows.push((entry.ods().to_string(), plain(entry.name()), verdict));
    }
    let good = rows.iter().all(|(.., verdict)| verdict.is_none());
    if !current.json {
        let row = |(ods, name, verdict): &(String, String, Option<String>)| {
            [ods.clone(), name.clone(), verdict.clone().unwrap_or_else(|| "current".to_owned())]
        };
        terminal.table(["ODS", "name", "to ODS"], &rows.iter().map(row).collect::<Vec<_>>());
    }
    if let Some(error) = fault {
        let left = entries.len() - rows.len();
        return Err(Failure::fault(anyhow::Error::new(error).context(format!("{left} were not asked about"))));
    }
    Ok(Exit::answer(good))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory_import::{self, Format};

    fn entries() -> Vec<DirectoryEntry> {
        let text = include_str!("../../../../../config/examples/directory.toml");
        directory_import::read(text, Format::Toml, &std::collections::BTreeMap::new(), open::now())
            .expect("the example is right")
            .entries
    }

    fn of(entry: &DirectoryEntry, role: &str) -> Organisation {
        Organisation {
            ods: entry.ods().clone(),
            name: "NAME".to_owned(),
            active: true,
            legal_end: None,
            operational_end: None,
            roles: vec![role.to_owned()],
            successors: Vec::new(),
        }
    }

    #[test]
    fn what_ods_says_of_an_entry_is_told_with_what_to_do() {
        let today = "2026-11-27".parse().expect("a date");
        for entry in &entries() {
            let (own, other) = match entry {
                DirectoryEntry::CareHome(_) => ("RO269", "RO76"),
                DirectoryEntry::Practice(_) => ("RO76", "RO182"),
                DirectoryEntry::Pharmacy(_) => ("RO182", "RO269"),
            };
            let right = of(entry, own);
            assert_eq!(verdict(entry, Some(&right), today), None, "{}", entry.ods());
            let told = |found: Option<&Organisation>| verdict(entry, found, today).expect("something is to be done");
            assert!(told(None).contains("not known"));
            assert!(told(Some(&of(entry, other))).contains(&format!("is no {}", entry.kind())));
            let closed = Organisation {
                legal_end: Some("2026-06-30".parse().expect("a date")),
                successors: vec!["Y99003".parse().expect("a code")],
                ..right.clone()
            };
            assert_eq!(told(Some(&closed)), "closed since 2026-06-30; after it: Y99003");
            let closing = Organisation { legal_end: Some("2026-12-31".parse().expect("a date")), ..right.clone() };
            assert_eq!(told(Some(&closing)), "closes on 2026-12-31");
            assert_eq!(told(Some(&Organisation { active: false, ..right })), "closed");
        }
    }
}
