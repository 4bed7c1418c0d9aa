//! Files as commands take them: `-` is standard input, the content tells the format.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::ValueEnum;
use jiff::Timestamp;
use jiff::civil::Date;
use onward_core::NhsNumber;
use onward_core::store::who_is_named;
use onward_fhir::read::{self, Format, Limits, ReadError};
use onward_fhir::{Release, Tree};

use super::exit::Failure;
use crate::reasons::{REASON_MAX, names_a_number};

/// Larger inputs are not read: the readers' own limit, so that `-` cannot fill the memory.
const BYTES_MAX: u64 = 64 << 20;

/// A release by its number, as the command line names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum FhirVersion {
    /// STU3.
    #[value(name = "3.0", alias = "3.0.1", alias = "3.0.2", alias = "STU3")]
    Stu3,
    /// R4.
    #[value(name = "4.0", alias = "4.0.1", alias = "R4")]
    R4,
}

impl FhirVersion {
    /// As the crates name it.
    #[must_use]
    pub(super) fn release(self) -> Release {
        match self {
            Self::Stu3 => Release::Stu3,
            Self::R4 => Release::R4,
        }
    }
}

/// The number of a release, for people.
#[must_use]
pub(super) fn version_of(release: Release) -> &'static str {
    match release {
        Release::Stu3 => "STU3 (3.0)",
        Release::R4 => "R4 (4.0)",
    }
}

/// One file that was read.
pub(super) struct Input {
    /// As the caller named it.
    pub name: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// JSON or XML.
    pub format: Format,
}

impl Input {
    /// Reads a file, or standard input for `-`.
    ///
    /// # Errors
    /// A fault when it cannot be read.
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let name = path.display().to_string();
        let bytes = bytes(path)?;
        let by_name = || match path.extension().and_then(|extension| extension.to_str()) {
            Some(extension) if extension.eq_ignore_ascii_case("json") => Format::Json,
            _ => Format::Xml,
        };
        let format = read::sniff(&bytes).unwrap_or_else(by_name);
        Ok(Self { name, bytes, format })
    }

    /// Its tree.
    ///
    /// # Errors
    /// When it is no FHIR.
    pub(super) fn tree(&self) -> Result<Tree<'_>, ReadError> {
        read::bytes(&self.bytes, self.format, &Limits::default())
    }

    /// The media type that a request with it carries.
    #[must_use]
    pub(super) fn media_type(&self) -> &'static str {
        match self.format {
            Format::Json => "application/fhir+json",
            Format::Xml => "application/fhir+xml",
        }
    }
}

/// The bytes of a file, or of standard input for `-`.
///
/// # Errors
/// A fault when it cannot be read or is too large.
pub(super) fn bytes(path: &Path) -> Result<Vec<u8>, Failure> {
    let shown = if path == Path::new("-") { PathBuf::from("standard input") } else { path.to_owned() };
    let mut bytes = Vec::new();
    let read = if path == Path::new("-") {
        std::io::stdin().lock().take(BYTES_MAX + 1).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(BYTES_MAX + 1).read_to_end(&mut bytes))
    };
    read.with_context(|| format!("reading {}", shown.display()))?;
    if bytes.len() as u64 > BYTES_MAX {
        return Err(Failure::fault(anyhow::anyhow!("{} has more than {BYTES_MAX} bytes", shown.display())));
    }
    Ok(bytes)
}

/// A person's number as it was typed. Its `Debug` leaves it out.
#[derive(Clone)]
pub(super) struct Typed(String);

impl Typed {
    pub(super) fn text(&self) -> &str {
        &self.0
    }
}

impl From<String> for Typed {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl std::fmt::Debug for Typed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Typed(redacted)")
    }
}

/// The NHS number of an argument, or of the first line of standard input for `-`. The message does not repeat it.
///
/// # Errors
/// When it is none, or its check digit does not fit.
pub(super) fn nhs_number(argument: &str) -> Result<NhsNumber, Failure> {
    let mut line = String::new();
    if argument == "-" {
        std::io::stdin().read_line(&mut line)?;
    } else {
        argument.clone_into(&mut line);
    }
    let digits: String = line.chars().filter(|c| !c.is_whitespace()).collect();
    digits.parse().map_err(|_| Failure::usage("--nhs-number takes ten digits whose check digit fits"))
}

/// Why somebody does something, for `value_parser`. It is kept, so that it must not name whom it is about; of names no program can
/// tell.
pub(super) fn reason(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err("say why".to_owned());
    }
    if text.chars().count() > REASON_MAX {
        return Err(format!("at most {REASON_MAX} characters"));
    }
    if names_a_number(text) {
        return Err("leave the NHS number out: the reason is kept".to_owned());
    }
    Ok(text.to_owned())
}

/// A day, such as a date of birth. What was written is not repeated: it may be about somebody.
///
/// # Errors
/// When it is none.
pub(super) fn day(text: &str) -> Result<Date, Failure> {
    text.trim().parse().map_err(|_| Failure::usage("expected a day, such as 1944-03-08"))
}

/// Who acts, for `value_parser`. A sign-in tells whose account it is, nobody's word does: what reads like one would count as another
/// person where two are asked for.
pub(super) fn whom(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err("say who".to_owned());
    }
    if who_is_named(text).1.is_some() {
        return Err("write the name alone, without an account".to_owned());
    }
    Ok(text.to_owned())
}

/// A moment: RFC 3339, or a day, which begins at midnight in London.
///
/// # Errors
/// When the text is neither.
pub(super) fn moment(text: &str) -> Result<Timestamp, String> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at);
    }
    let day: jiff::civil::Date = text
        .parse()
        .map_err(|_| "expected a moment such as 2026-11-18T09:30:00Z, or a day such as 2026-11-18".to_owned())?;
    let london = jiff::tz::TimeZone::get("Europe/London").map_err(|error| error.to_string())?;
    day.to_zoned(london).map(|at| at.timestamp()).map_err(|error| error.to_string())
}

/// The text of a file.
///
/// # Errors
/// A fault when it cannot be read or is no UTF-8.
pub(super) fn text(path: &Path) -> Result<String, Failure> {
    let text = String::from_utf8(bytes(path)?).with_context(|| format!("reading {}", path.display()))?;
    Ok(text)
}
