//! The pack of a store that was stolen: everybody about whom it held something at a moment.

use onward_core::store::reporting::{HeldPerson, HeldThen};
use onward_core::{NhsNumber, Timestamp};
use serde_json::{Value, json};

use super::pack::{OPEN_FACTS, TITLE};
use super::{Command, leave_entries};
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::open::{Desk, minute, now, short};
use crate::cli::sar::page::{STYLE, escape, table};
use crate::cli::signed_folder;
use crate::cli::terminal::{Style, Terminal};
use crate::config::Config;
use crate::spreadsheet::csv;

/// What the counts rest on.
const AS_IT_IS_NOW: &str = "Told from the store as it is now. Content that went by months since is counted, because its rows are still there; \
     what was removed as rows is not. Names and addresses of staff who sign in lie in the store unsealed: `onward user list`.";

/// Everybody, by what can be said of them.
struct Counted {
    /// Who could be read then and can be named now.
    people: Vec<NhsNumber>,
    /// Who could be read then and was erased since.
    erased_since: usize,
    /// Who had been erased before: nobody can read them in it.
    erased_before: usize,
    /// Of whom nothing was held but that somebody had asked about the number: not counted among the people.
    asked_about: usize,
    /// Messages, copies and entries of the log about those who could be read.
    kinds: [(&'static str, u64); 3],
    nameless: u64,
}

impl Counted {
    fn of(held: &HeldThen) -> Self {
        let (asked_about, people): (Vec<&HeldPerson>, Vec<&HeldPerson>) =
            held.people.iter().partition(|each| each.was_only_asked_about());
        let readable = || people.iter().copied().filter(|each| each.readable);
        let sum = |count: fn(&HeldPerson) -> u64| readable().map(count).sum();
        let named: Vec<NhsNumber> = readable().filter_map(|each| each.number.clone()).collect();
        Self {
            erased_since: readable().count() - named.len(),
            erased_before: people.len() - readable().count(),
            asked_about: asked_about.iter().filter(|each| each.readable).count(),
            kinds: [
                ("messages", sum(|each| each.messages)),
                ("copies for recipients", sum(|each| each.copies)),
                ("audit entries", sum(|each| each.entries)),
            ],
            nameless: held.nameless,
            people: named,
        }
    }

    fn concerned(&self) -> usize {
        self.people.len() + self.erased_since
    }

    fn json(&self, command: &Command, at: Timestamp, made: Timestamp, config: &Config) -> Value {
        let kinds = self.kinds.iter().map(|(kind, count)| json!({ "kind": kind, "count": count }));
        json!({
            "held_at": at, "made": made, "reason": command.reason,
            "controller": { "ods": config.identity.ods, "name": config.identity.name },
            "people": self.concerned(), "erased_since": self.erased_since, "erased_before": self.erased_before,
            "only_asked_about": self.asked_about, "messages_about_nobody_known": self.nameless, "kinds": kinds.collect::<Vec<_>>(), "counted": AS_IT_IS_NOW,
            "to_be_filled_in": OPEN_FACTS.map(|(article, fact)| json!({ "article": article, "fact": fact })),
        })
    }

    fn page(&self, command: &Command, at: Timestamp, made: Timestamp, config: &Config) -> String {
        let mut html = String::from("<!DOCTYPE html>\n<html lang=\"en-GB\"><head><meta charset=\"utf-8\">");
        html.push_str(&format!(
            "<title>Breach pack</title><style>{STYLE}</style></head><body><h1>Breach pack: what was held</h1>"
        ));
        html.push_str(&format!(
            "<p>{} ({}). Everything that the store held on {}. Written on {}. What is thought to have happened: {}</p>",
            escape(&config.identity.name),
            escape(config.identity.ods.as_ref().map_or("", |ods| ods.as_str())),
            escape(&minute(at)),
            escape(&minute(made)),
            escape(&command.reason),
        ));
        html.push_str(&format!(
            "<h2>How many</h2><p>Records of <b>{}</b> people, whom <code>people.csv</code> lists. Of these {} were erased since: \
             they are in the copy that was taken, and nobody can name them any more. Another {} had been erased before, and cannot \
             be read in it. Beside them {} messages whose person nobody has found out, and {} numbers that somebody had asked about and \
             of whom nothing else was held. {AS_IT_IS_NOW}</p>",
            self.concerned(),
            self.erased_since,
            self.erased_before,
            self.nameless,
            self.asked_about,
        ));
        html.push_str("<h2>Kinds of data</h2><p>Special category data concerning health throughout (UK GDPR Article 9): whatever discharge \
                       documents hold. Sealed: it can be read only with the key-encryption key of that time.</p>");
        let rows = self.kinds.iter().map(|(kind, count)| [escape(kind), count.to_string()]);
        html.push_str(&table(["kind", "count"], rows));
        html.push_str("<h2>To be filled in</h2>");
        let rows = OPEN_FACTS.iter().map(|(article, fact)| [escape(article), escape(fact), "&nbsp;".to_owned()]);
        html.push_str(&table(["where", "fact", "answer"], rows));
        html.push_str("</body></html>\n");
        html
    }
}

/// Writes it.
///
/// # Errors
/// When configuration, key, store or folder cannot be used, or nothing was held.
pub(super) async fn write(command: &Command, at: Timestamp, terminal: &mut Terminal) -> Outcome {
    let (config, store) = command.config.existing_store().await?;
    let (desk, key) = (Desk::new(&config)?, signed_folder::signing_key(&config)?);
    if command.out.exists() {
        return Err(Failure::usage(format!("{} is there already", command.out.display())));
    }
    let held = store.held_at(at).await?;
    let (counted, made) = (Counted::of(&held), now());
    if counted.concerned() == 0 && counted.nameless == 0 {
        return Err(Failure::no("the store held nothing about anybody at this moment"));
    }
    let summary = counted.json(command, at, made, &config);
    let mut files = vec![
        ("people.csv".to_owned(), people_csv(&held)),
        ("summary.json".to_owned(), serde_json::to_vec_pretty(&summary).expect("texts and numbers are JSON")),
        ("index.html".to_owned(), counted.page(command, at, made, &config).into_bytes()),
    ];
    files.sort();
    let manifest = key.sign_statement(&signed_folder::manifest(TITLE, &files)).map_err(Failure::fault)?;
    leave_entries(store.as_ref(), &desk, &command.reason, (&manifest, &files), &counted.people).await?;
    signed_folder::write(&command.out, &[], &files, &manifest)?;
    if command.json {
        terminal.json(&json!({
            "folder": command.out, "people": counted.concerned(), "erased_since": counted.erased_since,
            "erased_before": counted.erased_before, "only_asked_about": counted.asked_about,
            "messages_about_nobody_known": counted.nameless,
        }));
    } else {
        let word = terminal.paint(Style::Green, "written");
        let (folder, people) = (command.out.display(), counted.concerned());
        terminal.say(format_args!(
            "{word}: {folder}: {people} people were held, {} of them erased since",
            counted.erased_since
        ));
        terminal.say(format_args!(
            "{} had been erased before, {} messages are about nobody known",
            counted.erased_before, counted.nameless
        ));
        terminal.say("index.html lists the facts of Article 33 that only people know: fill them in within 72 hours");
    }
    Ok(Exit::Done)
}

/// Those who could be read, and about whom something was held.
fn people_csv(held: &HeldThen) -> Vec<u8> {
    let rows = held.people.iter().filter(|each| each.readable && !each.was_only_asked_about()).map(|each| {
        let erased = || format!("erased {}", short(&each.pseudonym));
        let named = each.number.as_ref().map_or_else(erased, |number| number.expose().to_owned());
        [named, each.messages.to_string(), each.copies.to_string(), each.entries.to_string()]
    });
    csv(["nhs_number", "messages", "copies", "audit_entries"], rows)
}
