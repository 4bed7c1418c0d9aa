//! A structured dosage in words. Numbers stand as written: nothing is multiplied, rounded or converted, and what has no
//! words here is said to be in the electronic document.

use onward_fhir::{Element, views};

/// Number and unit exactly as written: a recomputed decimal is a changed dose. Only the unit takes its plural.
pub(super) fn quantity(quantity: Element<'_, '_>) -> String {
    let value = quantity.text("value");
    let unit = quantity.text("unit").or(quantity.text("code")).map(|unit| match value {
        Some(value) if value != "1" => plural(unit),
        _ => unit.to_owned(),
    });
    let parts = [quantity.text("comparator").map(str::to_owned), value.map(str::to_owned), unit];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// The plural of what is counted; units of measure have none (5 mg).
fn plural(unit: &str) -> String {
    const COUNTED: [&str; 20] = [
        "tablet",
        "capsule",
        "puff",
        "drop",
        "spray",
        "sachet",
        "unit",
        "dose",
        "ampoule",
        "vial",
        "spoonful",
        "lozenge",
        "application",
        "caplet",
        "enema",
        "inhalation",
        "pastille",
        "suppository",
        "pessary",
        "patch",
    ];
    match unit {
        "suppository" | "pessary" => format!("{}ies", &unit[..unit.len() - 1]),
        "patch" => "patches".to_owned(),
        unit if COUNTED.contains(&unit) => format!("{unit}s"),
        unit => unit.to_owned(),
    }
}

/// Dose and timing of a dosage without text.
pub(super) fn in_words(dosage: Element<'_, '_>) -> Option<String> {
    let dose = dosage.all("doseAndRate").find_map(|each| {
        let range = each.get("doseRange").and_then(|range| Some((range.get("low")?, range.get("high")?)));
        each.get("doseQuantity")
            .map(quantity)
            .or(range.map(|(low, high)| format!("{} to {}", quantity(low), quantity(high))))
    });
    let timing = dosage.get("timing");
    let coded = timing.and_then(|timing| timing.get("code")).and_then(views::concept_text).map(str::to_owned);
    let repeat = || timing.and_then(|timing| timing.get("repeat")).and_then(repeat_in_words);
    let parts: Vec<String> = [dose, coded.or_else(repeat)].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(" "))
}

/// What of `Timing.repeat` is said here or with the duration; `boundsX` is the duration.
const SAID: [&str; 12] = [
    "frequency",
    "frequencyMax",
    "period",
    "periodMax",
    "periodUnit",
    "dayOfWeek",
    "timeOfDay",
    "when",
    "boundsDuration",
    "boundsPeriod",
    "boundsRange",
    "id",
];

fn repeat_in_words(repeat: Element<'_, '_>) -> Option<String> {
    let mut parts: Vec<String> = often(repeat).into_iter().collect();
    let listed = |name: &str, words: fn(&str) -> String| {
        let all: Vec<String> = repeat.all(name).filter_map(Element::value).map(words).collect();
        (!all.is_empty()).then(|| all.join(" and "))
    };
    parts.extend(listed("when", |code| event(code).to_owned()));
    parts.extend(
        listed("timeOfDay", |time| time.strip_suffix(":00").unwrap_or(time).to_owned()).map(|at| format!("at {at}")),
    );
    parts.extend(listed("dayOfWeek", |code| day(code).to_owned()).map(|on| format!("on {on}")));
    if repeat.children().any(|child| !SAID.contains(&child.name())) {
        parts.push("(more about the timing is in the electronic document: ask the hospital)".to_owned());
    }
    (!parts.is_empty()).then(|| parts.join(" "))
}

/// Frequency and period: "twice a day", "once every 4 to 6 hours".
fn often(repeat: Element<'_, '_>) -> Option<String> {
    let range = |name: &str, max: &str| {
        let least = repeat.text(name)?;
        Some(repeat.text(max).map_or_else(|| least.to_owned(), |most| format!("{least} to {most}")))
    };
    let times = range("frequency", "frequencyMax").map(|times| match times.as_str() {
        "1" => "once".to_owned(),
        "2" => "twice".to_owned(),
        _ => format!("{times} times"),
    });
    let period = range("period", "periodMax").zip(repeat.text("periodUnit")).map(|(period, code)| {
        let (one, many) = match code {
            "s" => ("a second", "seconds"),
            "min" => ("a minute", "minutes"),
            "h" => ("an hour", "hours"),
            "d" => ("a day", "days"),
            "wk" => ("a week", "weeks"),
            "mo" => ("a month", "months"),
            "a" => ("a year", "years"),
            other => return format!("every {period} {other}"),
        };
        if period == "1" { one.to_owned() } else { format!("every {period} {many}") }
    });
    match (times, period) {
        (Some(times), Some(period)) => Some(format!("{times} {period}")),
        // R4 has no default for either, so that the one that is not there is not made up.
        (None, Some(period)) if period.starts_with("every") => Some(period),
        (None, Some(period)) => Some(format!("repeated over {period}")),
        (times, None) => times,
    }
}

fn day(code: &str) -> &str {
    match code {
        "mon" => "Monday",
        "tue" => "Tuesday",
        "wed" => "Wednesday",
        "thu" => "Thursday",
        "fri" => "Friday",
        "sat" => "Saturday",
        "sun" => "Sunday",
        other => other,
    }
}

/// EventTiming (R4 valueset-event-timing).
fn event(code: &str) -> &str {
    match code {
        "MORN" => "in the morning",
        "MORN.early" => "early in the morning",
        "MORN.late" => "late in the morning",
        "NOON" => "at noon",
        "AFT" => "in the afternoon",
        "AFT.early" => "early in the afternoon",
        "AFT.late" => "late in the afternoon",
        "EVE" => "in the evening",
        "EVE.early" => "early in the evening",
        "EVE.late" => "late in the evening",
        "NIGHT" => "at night",
        "PHS" => "after sleep",
        "HS" => "before sleep",
        "WAKE" => "after waking",
        "C" => "with meals",
        "CM" => "with breakfast",
        "CD" => "with lunch",
        "CV" => "with dinner",
        "AC" => "before meals",
        "ACM" => "before breakfast",
        "ACD" => "before lunch",
        "ACV" => "before dinner",
        "PC" => "after meals",
        "PCM" => "after breakfast",
        "PCD" => "after lunch",
        "PCV" => "after dinner",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use onward_fhir::read::{self, Limits};

    use super::*;

    fn words(dosage: &str) -> Option<String> {
        let text = format!("{{\"resourceType\":\"MedicationStatement\",\"dosage\":[{dosage}]}}");
        let tree = read::json(&text, &Limits::default()).expect("JSON");
        in_words(tree.root().get("dosage").expect("a dosage"))
    }

    #[test]
    fn a_dose_reads_as_people_say_it() {
        let cases = [
            (r#"{"frequency":1,"period":1,"periodUnit":"d"}"#, "2 tablets once a day"),
            (r#"{"frequency":2,"period":1,"periodUnit":"d"}"#, "2 tablets twice a day"),
            (r#"{"frequency":3,"period":1.0,"periodUnit":"d"}"#, "2 tablets 3 times every 1.0 days"),
            (r#"{"frequency":1,"frequencyMax":2,"period":1,"periodUnit":"wk"}"#, "2 tablets 1 to 2 times a week"),
            (r#"{"frequency":1,"period":4,"periodMax":6,"periodUnit":"h"}"#, "2 tablets once every 4 to 6 hours"),
            (r#"{"period":6,"periodUnit":"h"}"#, "2 tablets every 6 hours"),
            (r#"{"when":["MORN","HS"]}"#, "2 tablets in the morning and before sleep"),
            (r#"{"timeOfDay":["08:00:00","20:30:00"]}"#, "2 tablets at 08:00 and 20:30"),
            (r#"{"frequency":1,"period":1,"periodUnit":"wk","dayOfWeek":["mon"]}"#, "2 tablets once a week on Monday"),
            (
                r#"{"count":5,"frequency":1,"period":1,"periodUnit":"d"}"#,
                "2 tablets once a day (more about the timing is in the electronic document: ask the hospital)",
            ),
        ];
        for (repeat, expected) in cases {
            let dosage = format!(
                r#"{{"timing":{{"repeat":{repeat}}},"doseAndRate":[{{"doseQuantity":{{"value":2,"unit":"tablet"}}}}]}}"#
            );
            assert_eq!(words(&dosage).as_deref(), Some(expected), "{repeat}");
        }
        assert_eq!(words(r#"{"route":{"text":"oral"}}"#), None);
    }

    #[test]
    fn numbers_stand_as_written() {
        for (quantity, expected) in [
            (r#"{"value":0.010,"unit":"mg"}"#, "0.010 mg"),
            (r#"{"value":1,"unit":"tablet"}"#, "1 tablet"),
            (r#"{"value":0.5,"unit":"tablet"}"#, "0.5 tablets"),
            (r#"{"value":2,"unit":"suppository"}"#, "2 suppositories"),
            (r#"{"value":5,"unit":"ml"}"#, "5 ml"),
        ] {
            let dosage = format!(r#"{{"doseAndRate":[{{"doseQuantity":{quantity}}}]}}"#);
            assert_eq!(words(&dosage).as_deref(), Some(expected));
        }
    }
}
