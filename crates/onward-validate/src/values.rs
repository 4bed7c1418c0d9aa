//! Rules of single values that hold wherever they stand: identifiers without invisible characters, no modifier that
//! we do not understand.

use onward_fhir::Element;

use crate::findings::Report;
use crate::{ITK_PAYLOAD, IssueCode, Scope};

/// Modifier extensions that Onward understands: none. Each would change what an element means.
const MODIFIERS_KNOWN: [&str; 0] = [];

pub(crate) fn validate(root: Element<'_, '_>, scope: Scope, report: &mut Report) {
    for element in root.descendants() {
        match element.name() {
            "modifierExtension" => modifier(element, scope, report),
            "implicitRules" => report.warning(
                "implicit-rules",
                IssueCode::NotSupported,
                element,
                "implicitRules changes how a resource is to be understood; Onward knows no such rules. Leave it out.",
            ),
            name if is_identifying(element, name) => invisible(element, report),
            _ => {}
        }
    }
}

fn modifier(element: Element<'_, '_>, scope: Scope, report: &mut Report) {
    if element.text("url").is_some_and(|url| MODIFIERS_KNOWN.contains(&url)) {
        return;
    }
    report.add(
        scope.unsafe_to_carry(),
        "modifier-extension",
        IssueCode::Extension,
        element,
        ITK_PAYLOAD,
        "A modifierExtension changes the meaning of its element, and this one is not known here: to carry it on as if it \
         were not there would be unsafe. Express it by elements of the profile."
            .to_owned(),
    );
}

/// What systems compare: ids, identifiers, codes, references.
fn is_identifying(element: Element<'_, '_>, name: &str) -> bool {
    match name {
        "id" | "system" | "code" | "reference" | "fullUrl" | "endpoint" | "url" => true,
        "value" => element.parent().is_some_and(|parent| {
            matches!(parent.name(), "identifier" | "targetIdentifier" | "masterIdentifier" | "groupIdentifier")
                || parent.name() == "valueIdentifier"
        }),
        _ => false,
    }
}

/// Zero-width and direction marks, white space that looks like none.
fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{00AD}' | '\u{034F}' | '\u{061C}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}'
            | '\u{180B}'..='\u{180F}' | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}'
            | '\u{3164}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{FFA0}' | '\u{E0000}'..='\u{E0FFF}')
}

fn invisible(element: Element<'_, '_>, report: &mut Report) {
    if element.value().is_some_and(|value| value.chars().any(is_invisible)) {
        report.error(
            "identifier-invisible",
            IssueCode::Value,
            element,
            ITK_PAYLOAD,
            "The value holds invisible characters (zero-width, direction or control). It looks like another identifier than \
             it is: send the visible characters only.",
        );
    }
}
