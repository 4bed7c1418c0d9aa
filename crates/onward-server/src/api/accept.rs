//! Which form of an answer is asked for: `_format` first (R4 HTTP, section 3.1.0.1.11), else `Accept` with its weights
//! (RFC 9110, section 12.5.1).

use axum::http::{HeaderMap, header};

/// A form in which we answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// FHIR JSON.
    Json,
    /// FHIR XML.
    Xml,
    /// A page for people.
    Html,
    /// The same page to carry.
    Pdf,
}

impl Form {
    /// Its media types, the own one first.
    fn media_types(self) -> &'static [&'static str] {
        match self {
            Self::Json => &["application/fhir+json", "application/json", "text/json"],
            Self::Xml => &["application/fhir+xml", "application/xml", "text/xml"],
            Self::Html => &["text/html", "application/xhtml+xml"],
            Self::Pdf => &["application/pdf"],
        }
    }

    fn short(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Xml => "xml",
            Self::Html => "html",
            Self::Pdf => "pdf",
        }
    }
}

/// The forms of findings: all but the last are FHIR, which every answer has.
pub const FINDINGS: [Form; 3] = [Form::Json, Form::Xml, Form::Html];

/// What may follow a media type in `_format`: what every answer is.
const FORMAT_PARAMETERS: [&str; 2] = ["charset=utf-8", "fhirversion=4.0"];

/// What was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chosen {
    /// The form.
    pub form: Form,
    /// It was asked for by name, and not by a wildcard or by nothing at all.
    pub named: bool,
}

/// The best of the forms that are offered, the preferred one first; `None` when none is acceptable.
#[must_use]
pub fn choose(headers: &HeaderMap, query: Option<&str>, offered: &[Form]) -> Option<Chosen> {
    let mut formats = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes())
        .filter(|(name, _)| name == "_format")
        // A plus sign that is not encoded has become a blank.
        .map(|(_, value)| value.replace(' ', "+").to_ascii_lowercase());
    if let Some(format) = formats.next() {
        let mut parts = format.split(';').map(|part| part.trim_matches('+'));
        let format = parts.next().unwrap_or_default();
        // Searches are audited as they were asked: what means nothing here is not carried into the log.
        if formats.next().is_some() || parts.any(|parameter| !FORMAT_PARAMETERS.contains(&parameter)) {
            return None;
        }
        let fits = |form: &&Form| format == form.short() || form.media_types().contains(&format);
        return offered.iter().find(fits).map(|form| Chosen { form: *form, named: true });
    }
    let accept: Vec<&str> = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let ranges: Vec<Range> = accept.iter().flat_map(|value| value.split(',')).filter_map(Range::read).collect();
    if ranges.is_empty() {
        return offered.first().map(|form| Chosen { form: *form, named: false });
    }
    let mut best: Option<(Rank, Chosen)> = None;
    for form in offered {
        let Some((place, range)) = most_specific(&ranges, *form) else { continue };
        let rank = Rank { weight: range.weight, specific: range.specific(), first: std::cmp::Reverse(place) };
        if range.weight > 0 && best.is_none_or(|(so_far, _)| rank > so_far) {
            best = Some((rank, Chosen { form: *form, named: range.specific() == 2 }));
        }
    }
    best.map(|(_, chosen)| chosen)
}

/// What makes one form better than another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    weight: u16,
    specific: u8,
    first: std::cmp::Reverse<usize>,
}

/// The range that decides about a form: the one that names it most exactly, the first of equals.
fn most_specific(ranges: &[Range], form: Form) -> Option<(usize, &Range)> {
    let fitting = ranges.iter().enumerate().filter(|(_, range)| range.fits(form));
    fitting.max_by_key(|(place, range)| (range.specific(), range.weight, std::cmp::Reverse(*place)))
}

/// One media range of `Accept`.
#[derive(Debug, PartialEq, Eq)]
struct Range {
    kind: String,
    /// Thousandths.
    weight: u16,
}

impl Range {
    fn read(text: &str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let kind = parts.next().filter(|kind| !kind.is_empty())?.to_ascii_lowercase();
        let weight = parts
            .find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")))
            .map_or(Some(1.0), |weight| weight.trim().parse::<f32>().ok())
            .filter(|weight| (0.0..=1.0).contains(weight))?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a weight is between 0 and 1")]
        let weight = (weight * 1000.0).round() as u16;
        Some(Self { kind, weight })
    }

    fn specific(&self) -> u8 {
        match self.kind.as_str() {
            "*/*" => 0,
            kind if kind.ends_with("/*") => 1,
            _ => 2,
        }
    }

    fn fits(&self, form: Form) -> bool {
        match self.specific() {
            0 => true,
            1 => form.media_types()[0].starts_with(self.kind.trim_end_matches('*')),
            _ => form.media_types().contains(&self.kind.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(accept: &str, query: Option<&str>) -> Option<(Form, bool)> {
        let mut headers = HeaderMap::new();
        if !accept.is_empty() {
            headers.insert(header::ACCEPT, accept.parse().expect("a header"));
        }
        choose(&headers, query, &[Form::Json, Form::Xml, Form::Html]).map(|chosen| (chosen.form, chosen.named))
    }

    #[test]
    fn weights_then_exactness_then_order_decide() {
        let cases = [
            ("", Some((Form::Json, false))),
            ("*/*", Some((Form::Json, false))),
            ("application/*", Some((Form::Json, false))),
            ("text/*", Some((Form::Html, false))),
            ("application/fhir+xml", Some((Form::Xml, true))),
            ("application/fhir+xml;q=0.1, application/fhir+json;q=0.9", Some((Form::Json, true))),
            ("application/fhir+xml, application/fhir+json", Some((Form::Xml, true))),
            ("text/html, */*;q=0.8", Some((Form::Html, true))),
            ("image/png, */*;q=0.1", Some((Form::Json, false))),
            ("application/json;q=0, */*", Some((Form::Xml, false))),
            ("APPLICATION/FHIR+XML;fhirVersion=4.0", Some((Form::Xml, true))),
            ("image/png", None),
            ("application/fhir+json;q=0", None),
        ];
        for (accept, expected) in cases {
            assert_eq!(chosen(accept, None), expected, "{accept}");
        }
    }

    #[test]
    fn format_comes_before_accept() {
        for (query, expected) in [
            ("_format=xml", Some(Form::Xml)),
            ("a=b&_format=application/fhir%2Bxml", Some(Form::Xml)),
            ("_format=application/fhir+json", Some(Form::Json)),
            ("_format=html", Some(Form::Html)),
            ("_format=ttl", None),
            ("_format=application/fhir%2Bjson;+fhirVersion=4.0", Some(Form::Json)),
            ("_format=application/fhir+json;%20charset=UTF-8", Some(Form::Json)),
            ("_format=json;anything", None),
            ("_format=json&_format=xml", None),
            ("_format=json&_format=anything", None),
        ] {
            assert_eq!(chosen("application/fhir+json", Some(query)).map(|(form, _)| form), expected, "{query}");
        }
    }
}
