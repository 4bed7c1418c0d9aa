//! The route file: reads `config/routes.toml` into [`onward_gateway::routes::Routes`] and refuses what cannot be meant.
//!
//! A set of routes that leaves any message undecided is refused: there is no silent default.

use std::collections::BTreeSet;
use std::path::Path;

use onward_core::state::{HoldReason, RecipientKind};
use onward_gateway::routes::{Decision, Route, Routes};
use serde::Deserialize;

use super::ConfigError;
use super::layers::{line_of, nearest, with_suggestion};

/// `config/routes.toml`, used where the configuration names no file.
pub const BUILT_IN: &str = include_str!("../../../../config/routes.toml");

/// ITK3 events (`ITK-MessageEvent-2`) that carry a transfer-of-care document, and the R4 draft event.
const EVENTS: [&str; 5] = ["ITK003D", "ITK004D", "ITK005D", "ITK006D", "document"];
/// Discharge destinations (UKCore-DischargeDestinationEngland 1.0.1).
const DESTINATIONS: [&str; 21] = [
    "19", "29", "30", "37", "38", "48", "49", "50", "51", "52", "53", "54", "65", "66", "79", "84", "85", "87", "88",
    "98", "99",
];

/// The rules of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteFile {
    /// The rules, in order.
    pub routes: Routes,
    /// What is legal but probably not meant.
    pub warnings: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RoutesText {
    route: Vec<toml::Spanned<RouteText>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RouteText {
    name: String,
    #[serde(default)]
    events: Vec<String>,
    #[serde(default)]
    destinations: Vec<String>,
    deliver: Option<Vec<RecipientKind>>,
    hold: Option<HoldReason>,
}

impl RouteFile {
    /// The compiled-in rules, as they are written.
    pub const BUILT_IN: &str = BUILT_IN;

    /// The compiled-in rules.
    #[must_use]
    pub fn built_in() -> Self {
        Self::parse(BUILT_IN, "routes.toml").expect("a test parses the compiled-in routes")
    }

    /// Reads a route file.
    ///
    /// # Errors
    /// When it cannot be read or [`RouteFile::parse`] refuses it.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|error| ConfigError {
            problems: vec![format!("the routes {} cannot be read: {error}", path.display())],
        })?;
        let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        Self::parse(&text, &name)
    }

    /// Reads rules; `file` is their file's name for messages.
    ///
    /// # Errors
    /// Every rule that says nothing or two things, every rule that can never be reached, and a last rule with
    /// conditions.
    pub fn parse(text: &str, file: &str) -> Result<Self, ConfigError> {
        let parsed: RoutesText = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| line_of(text, span.start));
            ConfigError { problems: vec![format!("{file} line {line}: {}", with_suggestion(error.message()))] }
        })?;
        let mut problems = Vec::new();
        let mut warnings = Vec::new();
        let mut routes: Vec<Route> = Vec::new();
        let mut names = BTreeSet::new();
        for spanned in parsed.route {
            let place = format!("{file} line {}: route", line_of(text, spanned.span().start));
            let text = spanned.into_inner();
            let place = format!("{place} \"{}\"", text.name);
            if !names.insert(text.name.clone()) {
                problems.push(format!("{place}: there is another route of this name"));
            }
            lint_codes(&place, &text, &mut warnings);
            match decision(&text) {
                Ok(decision) => routes.push(Route {
                    name: text.name,
                    events: text.events.into_iter().collect(),
                    destinations: text.destinations.into_iter().collect(),
                    decision,
                }),
                Err(problem) => problems.push(format!("{place}: {problem}")),
            }
        }
        if problems.is_empty() {
            lint_order(file, &routes, &mut problems);
        }
        if problems.is_empty() {
            Ok(Self { routes: Routes::new(routes), warnings })
        } else {
            Err(ConfigError { problems })
        }
    }
}

fn decision(text: &RouteText) -> Result<Decision, String> {
    let decision = match (&text.deliver, text.hold) {
        (Some(kinds), None) => Decision::Deliver(kinds.clone()),
        (None, Some(reason)) => Decision::Hold(reason),
        (Some(_), Some(_)) => return Err("either deliver or hold, not both".to_owned()),
        (None, None) => return Err("neither deliver nor hold".to_owned()),
    };
    let kinds = match &decision {
        Decision::Deliver(kinds) => kinds.as_slice(),
        Decision::Hold(_) => &[],
    };
    if matches!(&decision, Decision::Deliver(kinds) if kinds.is_empty()) {
        return Err("deliver names nobody; use hold".to_owned());
    }
    if kinds.contains(&RecipientKind::Sender) {
        return Err("`sender` gets responses, not copies".to_owned());
    }
    if kinds.iter().collect::<BTreeSet<_>>().len() < kinds.len() {
        return Err("deliver names a recipient twice".to_owned());
    }
    Ok(decision)
}

/// Codes that no standard knows are most likely misspelt; they are legal, because code systems grow.
fn lint_codes(place: &str, text: &RouteText, warnings: &mut Vec<String>) {
    for event in text.events.iter().filter(|event| !EVENTS.contains(&event.as_str())) {
        let hint = nearest(event, EVENTS.into_iter()).map_or_else(String::new, |n| format!("; did you mean {n}?"));
        warnings.push(format!("{place}: `{event}` is no known event{hint}"));
    }
    for code in text.destinations.iter().filter(|code| !DESTINATIONS.contains(&code.as_str())) {
        warnings.push(format!("{place}: `{code}` is no known discharge destination"));
    }
}

/// Exact over the codes that the rules name, plus "any other" and "none given": a rule is unreachable when earlier
/// rules, alone or together, take everything that it would.
fn lint_order(file: &str, routes: &[Route], problems: &mut Vec<String>) {
    // No code is empty, so the empty text can stand for "any other".
    let named = |codes: fn(&Route) -> &BTreeSet<String>| -> BTreeSet<&str> {
        routes.iter().flat_map(|route| codes(route).iter().map(String::as_str)).chain([""]).collect()
    };
    let events = named(|route| &route.events);
    let destinations: Vec<Option<&str>> =
        named(|route| &route.destinations).into_iter().map(Some).chain([None]).collect();
    let mut reached = BTreeSet::new();
    for event in &events {
        for destination in &destinations {
            reached.extend(routes.iter().position(|route| route.applies(event, *destination)));
        }
    }
    for (index, route) in routes.iter().enumerate().filter(|(index, _)| !reached.contains(index)) {
        problems.push(format!(
            "{file}: route \"{}\" (number {}) can never be reached: the routes before it take all its messages",
            route.name,
            index + 1
        ));
    }
    if routes.last().is_none_or(|last| !last.events.is_empty() || !last.destinations.is_empty()) {
        problems.push(format!(
            "{file}: the last route must take every message that is left: end with a route without events and \
             destinations that holds"
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        RouteFile::parse(text, "routes.toml").expect_err("must be refused").problems
    }

    const REST: &str = "[[route]]\nname = \"rest\"\nhold = \"not-a-care-home-discharge\"\n";

    #[test]
    fn the_built_in_routes_deliver_only_discharges_to_care_homes() {
        let RouteFile { routes, warnings } = RouteFile::built_in();
        assert_eq!(warnings, Vec::<String>::new());
        for event in ["ITK003D", "ITK004D", "ITK005D", "document"] {
            for destination in ["54", "65", "85"] {
                let route = routes.decide(event, Some(destination));
                let Decision::Deliver(kinds) = &route.decision else { panic!("{event} {destination} is held") };
                assert_eq!(kinds.len(), 5, "{event} {destination}");
            }
            for destination in [Some("19"), Some("88"), Some("540"), Some(""), None] {
                let route = routes.decide(event, destination);
                assert_eq!(
                    route.decision,
                    Decision::Hold(HoldReason::NotACareHomeDischarge),
                    "{event} {destination:?}"
                );
            }
            assert_eq!(routes.decide(event, Some("79")).decision, Decision::Hold(HoldReason::Deceased));
        }
        assert_eq!(
            routes.decide("ITK006D", Some("54")).decision,
            Decision::Hold(HoldReason::NotACareHomeDischarge),
            "outpatient letters are no discharge"
        );
    }

    #[test]
    fn the_first_fitting_route_decides_and_the_others_say_why_not() {
        let routes = RouteFile::built_in().routes;
        assert_eq!(routes.decide("ITK005D", Some("54")).name, "emergency care discharge to a care home");
        let passed = routes.passed_over("ITK003D", Some("19"));
        assert_eq!(passed[0].1, "another discharge destination");
        assert_eq!(passed[1].1, "another event");
        assert_eq!(passed.len(), routes.all().len() - 1);
    }

    #[test]
    fn unreachable_routes_are_found_even_behind_several_others() {
        let by_one = format!("{REST}[[route]]\nname = \"late\"\nevents = [\"ITK003D\"]\ndeliver = [\"care-home\"]\n");
        assert!(problems(&by_one).iter().any(|p| p.contains("\"late\" (number 2) can never be reached")));
        let by_two = format!(
            "[[route]]\nname=\"a\"\ndestinations=[\"54\"]\ndeliver=[\"care-home\"]\n\
             [[route]]\nname=\"b\"\ndestinations=[\"65\"]\ndeliver=[\"care-home\"]\n\
             [[route]]\nname=\"c\"\nevents=[\"ITK003D\"]\ndestinations=[\"54\",\"65\"]\ndeliver=[\"care-home\"]\n{REST}"
        );
        assert_eq!(problems(&by_two).len(), 1);
        assert!(problems(&by_two)[0].contains("\"c\""));
        let partly = by_two.replace("\"54\",\"65\"", "\"54\",\"65\",\"85\"");
        assert!(RouteFile::parse(&partly, "routes.toml").is_ok(), "85 still reaches it");
    }

    #[test]
    fn routes_that_leave_a_message_undecided_are_refused() {
        let open =
            "[[route]]\nname = \"a\"\nevents = [\"ITK003D\"]\ndestinations = [\"54\"]\ndeliver = [\"care-home\"]\n";
        let problems = problems(open);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].contains("the last route must take every message"), "{problems:?}");
        assert!(!self::problems("route = []").is_empty(), "no routes at all");
    }

    #[test]
    fn contradictions_are_all_listed_with_their_lines() {
        let text = "[[route]]\nname = \"both\"\ndeliver = [\"care-home\"]\nhold = \"deceased\"\n\
                    [[route]]\nname = \"neither\"\n\
                    [[route]]\nname = \"nobody\"\ndeliver = []\n\
                    [[route]]\nname = \"twice\"\ndeliver = [\"care-home\", \"care-home\"]\n\
                    [[route]]\nname = \"answers\"\ndeliver = [\"sender\"]\n\
                    [[route]]\nname = \"same\"\nhold = \"deceased\"\n\
                    [[route]]\nname = \"same\"\nhold = \"deceased\"\n";
        let problems = problems(text);
        assert_eq!(problems.len(), 6, "{problems:#?}");
        assert!(problems[0].starts_with("routes.toml line 1: route \"both\": either"), "{}", problems[0]);
        assert!(problems[1].starts_with("routes.toml line 5: route \"neither\""), "{}", problems[1]);
    }

    #[test]
    fn misspelt_words_name_the_nearest() {
        let kind = problems(&format!("[[route]]\nname = \"a\"\ndeliver = [\"care-hom\"]\n{REST}"));
        assert!(kind[0].contains("line 3") && kind[0].contains("did you mean `care-home`?"), "{kind:?}");
        let key = problems(&format!("[[route]]\nname = \"a\"\nevent = [\"ITK003D\"]\n{REST}"));
        assert!(key[0].contains("did you mean `events`?"), "{key:?}");
        let routes = RouteFile::parse(
            &format!(
                "[[route]]\nname = \"a\"\nevents = [\"ITK03D\"]\ndestinations = [\"5 4\"]\nhold = \"deceased\"\n{REST}"
            ),
            "routes.toml",
        )
        .expect("legal");
        assert!(routes.warnings[0].contains("did you mean ITK003D?"), "{:?}", routes.warnings);
        assert!(routes.warnings[1].contains("no known discharge destination"), "{:?}", routes.warnings);
    }
}
