//! What an entry must make sense of beyond the shape of its fields, alone and together with the others.

use std::collections::BTreeMap;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use onward_core::directory::{Beds, CareHome, Contact, DirectoryEntry, Endpoint, Need, is_cqc_location};
use onward_core::{OdsCode, Timestamp};
use onward_gateway::directory::bed_problems;
use url::Url;

use super::Problem;
use super::record::{Reading, Record};

/// An entry that expires within so many days is worth a reminder.
const EXPIRES_SOON_DAYS: i32 = 30;

/// Checks one entry, as far as its fields are the file's own word.
pub(super) fn entry(
    record: &Record,
    reading: &Reading,
    entry: &DirectoryEntry,
    now: Timestamp,
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<Problem>,
) {
    let (mut wrong, mut doubtful) = (Vec::new(), Vec::new());
    every_field(record, entry, now, &mut wrong, &mut doubtful);
    if let DirectoryEntry::CareHome(home) = entry {
        beds(record, reading, home, &mut wrong, &mut doubtful);
    }
    let stood_in: Vec<String> = reading.stand_ins.iter().map(|path| record.problem(path, "").message).collect();
    let own = |problem: &Problem| !stood_in.iter().any(|name| problem.message.starts_with(name.as_str()));
    problems.extend(wrong.into_iter().filter(own));
    warnings.extend(doubtful.into_iter().filter(own));
}

fn every_field(
    record: &Record,
    entry: &DirectoryEntry,
    now: Timestamp,
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<Problem>,
) {
    let today = now.to_zoned(TimeZone::UTC).date();
    let endpoint = entry.endpoint();
    let postcode = match entry {
        DirectoryEntry::CareHome(home) => &home.postcode,
        DirectoryEntry::Practice(practice) => &practice.postcode,
        DirectoryEntry::Pharmacy(pharmacy) => &pharmacy.postcode,
    };
    if entry.name().trim().is_empty() {
        problems.push(record.problem("name", "is empty"));
    }
    let optional = !matches!(entry, DirectoryEntry::CareHome(_));
    if !(is_postcode(postcode) || optional && postcode.is_empty()) {
        problems.push(record.problem("postcode", "is no postcode: expected such as `NM7 4QD`"));
    }
    expiry(record, entry.expires(), today, problems, warnings);
    if let Endpoint::Https { url } | Endpoint::ProcessMessage { url } = endpoint
        && let Err(message) = https_url(url)
    {
        problems.push(record.problem("endpoint", message));
    }
    let for_practices = matches!(endpoint, Endpoint::ProcessMessage { .. } | Endpoint::GpRouting { .. });
    if for_practices && !matches!(entry, DirectoryEntry::Practice(_)) {
        let message = "process-message and gp-routing are for practices: name another way to homes and pharmacies";
        problems.push(record.problem("endpoint", message));
    }
    if let DirectoryEntry::CareHome(home) = entry {
        care_home(record, home, now, problems, warnings);
    }
}

fn expiry(record: &Record, expires: Date, today: Date, problems: &mut Vec<Problem>, warnings: &mut Vec<Problem>) {
    if expires < today {
        problems.push(record.problem("expires", format!("the entry expired on {expires}: have it confirmed")));
    } else if (expires - today).get_days() < EXPIRES_SOON_DAYS {
        warnings.push(record.problem("expires", format!("the entry expires soon, on {expires}")));
    }
}

fn https_url(text: &str) -> Result<(), &'static str> {
    let url = Url::parse(text).map_err(|_| "url is no absolute URL")?;
    if url.scheme() != "https" || url.host().is_none() {
        return Err("url must begin with https://");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("url must not carry credentials");
    }
    Ok(())
}

fn care_home(
    record: &Record,
    home: &CareHome,
    now: Timestamp,
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<Problem>,
) {
    if !(1..=12).contains(&home.uprn.len()) || !home.uprn.bytes().all(|byte| byte.is_ascii_digit()) {
        problems.push(record.problem("uprn", "a Unique Property Reference Number has 1 to 12 digits"));
    }
    if !home.cqc_location.is_empty() && !is_cqc_location(&home.cqc_location) {
        problems.push(record.problem("cqc_location", "a CQC location identifier is 1- and 6 to 12 digits"));
    }
    if home.address.is_empty() || home.address.iter().any(|line| line.trim().is_empty()) {
        problems.push(record.problem("address", "needs at least one line, and no empty ones"));
    }
    missing(record, home, problems, warnings);
    if home.covering_practice == home.delivering_pharmacy {
        problems.push(record.problem("delivering_pharmacy", "is the same organisation as covering_practice"));
    }
    match home.beds_updated {
        None if home.beds_available != Beds::default() => {
            warnings
                .push(record.problem("beds_updated", "is missing: nobody can tell how old the number of free beds is"));
        }
        Some(at) if at > now => problems.push(record.problem("beds_updated", "lies in the future")),
        _ => {}
    }
    if home.geriatric_on_call.telephone.trim().is_empty() {
        warnings.push(record.problem(
            "geriatric_on_call.telephone",
            "is missing: the summary for the home names nobody to ring when the person gets worse",
        ));
    }
}

/// What cannot be so of the numbers of beds, as far as all that it rests on is the file's own word: the same that the home's page does
/// not take. Of numbers that are not there at all a file says nothing, and not that there are none.
fn beds(record: &Record, reading: &Reading, home: &CareHome, problems: &mut Vec<Problem>, warnings: &mut Vec<Problem>) {
    // Where one half of `beds_total` or `beds_available` is there, the other is none.
    let gives = |path: &str| record.gives(path.split('.').next().unwrap_or(path));
    for found in bed_problems(&home.own_word()) {
        if found.rests_on.iter().all(|path| reading.is_own(path) && gives(path)) {
            let told = if found.doubtful { &mut *warnings } else { &mut *problems };
            told.push(record.problem(&found.path, found.why));
        }
    }
}

/// Fields that the NHS quick guide asks for. Without the first ones a home cannot be told from another, or nobody can be
/// rung about an arrival; without the others hospitals cannot tell whether the home suits a person.
fn missing(record: &Record, home: &CareHome, problems: &mut Vec<Problem>, warnings: &mut Vec<Problem>) {
    if home.locality.trim().is_empty() {
        problems.push(record.problem("locality", "is missing"));
    }
    let reachable = |contact: &Contact| !(contact.telephone.trim().is_empty() && contact.email.trim().is_empty());
    if !reachable(&home.coordinator) {
        problems.push(record.problem("coordinator", "is missing: a telephone or e-mail of the discharge coordinator"));
    }
    if !reachable(&home.contact) {
        warnings.push(record.problem("contact", "is missing: a telephone or e-mail of the home"));
    }
    let mut asked_for: Vec<String> = [
        "provider",
        "lead_manager",
        "acute_trusts",
        "assesses_at_weekends",
        "accepts_discharges_at_weekends",
        "beds_total",
        "beds_available",
        "beds_updated",
        "cqc_rating",
        "cqc_rated",
    ]
    .map(str::to_owned)
    .to_vec();
    asked_for.extend(Need::ALL.iter().map(|need| format!("capabilities.{}", need.as_str().replace('-', "_"))));
    for path in asked_for.iter().filter(|path| !record.gives(path)) {
        // Free beds without their time have a reminder of their own.
        if path != "beds_updated" || home.beds_available == Beds::default() {
            warnings.push(record.problem(path, "is missing: the NHS quick guide on care-home services asks for it"));
        }
    }
}

/// Outward code of 2 to 4 letters and digits that begins with a letter, inward code of a digit and two letters
/// (BS 7666). Whether it exists is for the postcode file.
fn is_postcode(text: &str) -> bool {
    let Some((outward, inward)) = text.split_once(' ') else { return false };
    let (outward, inward) = (outward.as_bytes(), inward.as_bytes());
    (2..=4).contains(&outward.len())
        && outward[0].is_ascii_uppercase()
        && outward.iter().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
        && outward.iter().any(u8::is_ascii_digit)
        && inward.len() == 3
        && inward[0].is_ascii_digit()
        && inward[1..].iter().all(u8::is_ascii_uppercase)
}

/// Checks entries against each other and against the store.
pub(super) fn together(
    entries: &[(Record, Reading, DirectoryEntry)],
    stored: &BTreeMap<OdsCode, &'static str>,
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<Problem>,
) {
    let mut owners: BTreeMap<&OdsCode, usize> = BTreeMap::new();
    for (index, (record, reading, entry)) in entries.iter().enumerate() {
        let others: &[OdsCode] = match entry {
            DirectoryEntry::CareHome(home) => &home.other_ods,
            _ => &[],
        };
        let codes = [("ods", entry.ods())].into_iter().chain(others.iter().map(|code| ("other_ods", code)));
        for (path, code) in codes.filter(|(path, _)| reading.is_own(path)) {
            if let Some(first) = owners.insert(code, index) {
                let line = entries[first].0.line;
                problems.push(record.problem(path, format!("{code} is there already, in the entry of line {line}")));
            }
        }
        if let Some(kind) = stored.get(entry.ods()).filter(|kind| **kind != entry.kind())
            && reading.is_own("ods")
        {
            warnings.push(record.problem("ods", format!("the directory has this code as {kind}: it will be replaced")));
        }
    }
    let in_file: BTreeMap<&OdsCode, &'static str> =
        entries.iter().map(|(_, _, entry)| (entry.ods(), entry.kind())).collect();
    for (record, reading, entry) in entries {
        let DirectoryEntry::CareHome(home) = entry else { continue };
        for (path, code, wanted) in [
            ("covering_practice", &home.covering_practice, "practice"),
            ("delivering_pharmacy", &home.delivering_pharmacy, "pharmacy"),
        ] {
            if !reading.is_own(path) {
                continue;
            }
            match in_file.get(code).or_else(|| stored.get(code)) {
                Some(kind) if *kind == wanted => {}
                Some(kind) => problems.push(record.problem(path, format!("{code} is a {kind}, not a {wanted}"))),
                None => warnings.push(record.problem(
                    path,
                    format!("{code} is neither in this file nor in the directory: transfers to this home will wait for a person"),
                )),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn postcodes_by_their_shape() {
        for good in ["NM7 4QD", "M1 1AA", "EC1A 1BB", "W1A 0AX", "ZZ99 3VZ"] {
            assert!(is_postcode(good), "{good}");
        }
        for bad in
            ["", "NM74QD", "nm7 4qd", "NM7  4QD", "7NM 4QD", "NM7 QD4", "NM7 4Q", "NMNMN 4QD", "NMX 4QD", "NM7 4QD "]
        {
            assert!(!is_postcode(bad), "{bad}");
        }
    }

    #[test]
    fn only_https_without_credentials() {
        for (url, fine) in [
            ("https://pharmacy.example/dms", true),
            ("https://pharmacy.example:8443/", true),
            ("http://pharmacy.example/", false),
            ("https://u:p@pharmacy.example/", false),
            ("pharmacy.example/dms", false),
            ("file:///etc/passwd", false),
            ("https://", false),
        ] {
            assert_eq!(https_url(url).is_ok(), fine, "{url}");
        }
    }
}
