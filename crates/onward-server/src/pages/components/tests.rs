//! Our components against the published examples of nhsuk-frontend.

use std::collections::BTreeSet;

use askama::Template;
use serde::Deserialize;

use super::{Choice, Fact, Field, FormError};

#[derive(Deserialize)]
struct Example {
    component: String,
    name: String,
    html: String,
}

/// Text without the space that means nothing between and around elements.
fn normal(html: &str) -> String {
    let mut out = String::new();
    for word in html.split_whitespace() {
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(word);
    }
    for (from, to) in [("> ", ">"), (" <", "<"), ("&amp;", "&#38;"), ("&#x27;", "&#39;")] {
        out = out.replace(from, to);
    }
    out
}

macro_rules! example {
    ($source:literal $(, $name:ident: $kind:ty = $value:expr)*) => {{
        #[derive(Template)]
        #[template(source = $source, ext = "html")]
        struct Ours { $($name: $kind),* }
        Ours { $($name: $value),* }.render().expect("renders")
    }};
}

fn field(id: &str, label: &str, error: &str) -> Field {
    Field {
        id: id.to_owned(),
        name: "example".to_owned(),
        label: label.to_owned(),
        error: error.to_owned(),
        ..Field::default()
    }
}

fn ours(component: &str, name: &str) -> Option<String> {
    let contacted =
        || vec![Choice::new("email", "Email"), Choice::new("phone", "Phone"), Choice::new("text", "Text message")];
    let sorted = || {
        vec![
            Choice::new("published", "Recently published"),
            Choice::new("updated", "Recently updated"),
            Choice::new("views", "Most views"),
            Choice::new("comments", "Most comments"),
        ]
    };
    let located = || {
        [
            ("choose", "Choose location"),
            ("eastmidlands", "East Midlands"),
            ("eastofengland", "East of England"),
            ("london", "London"),
            ("northeast", "North East"),
            ("northwest", "North West"),
            ("southeast", "South East"),
            ("southwest", "South West"),
            ("westmidlands", "West Midlands"),
            ("yorkshire", "Yorkshire and the Humber"),
        ]
        .map(|(value, text)| Choice::new(value, text))
        .to_vec()
    };
    let contact = "How do you want to be contacted about this?";
    let errors = |errors: &[(&str, &str)]| -> Vec<FormError> {
        errors.iter().map(|(field, text)| FormError { field: (*field).to_owned(), text: (*text).to_owned() }).collect()
    };
    Some(match (component, name) {
        ("back-link", "default") => {
            example!(r##"{% import "components.html" as nhs %}{% call nhs::back_link("#", "Back") %}{% endcall %}"##)
        }
        ("button", "default") => {
            example!(
                r##"{% import "components.html" as nhs %}{% call nhs::button("Save and continue", "") %}{% endcall %}"##
            )
        }
        ("button", "secondary") => {
            example!(
                r##"{% import "components.html" as nhs %}{% call nhs::button("Find my location", "secondary") %}{% endcall %}"##
            )
        }
        ("button", "warning") => example!(
            r##"{% import "components.html" as nhs %}{% call nhs::button("Yes, delete this vaccine", "warning") %}{% endcall %}"##
        ),
        ("button", "secondary as a link") => example!(
            r##"{% import "components.html" as nhs %}{% call nhs::button_link("Find my location", "#", "secondary") %}{% endcall %}"##
        ),
        ("details", "default") => example!(
            r##"{% import "components.html" as nhs %}{% call nhs::details("How to find your NHS number") %}You can find your NHS number by logging in to the NHS App or on any document the NHS has sent you.{% endcall %}"##
        ),
        ("error-summary", "default") => example!(
            r##"{% import "components.html" as nhs %}{% call nhs::error_summary(errors) %}{% endcall %}"##,
            errors: Vec<FormError> = errors(&[("example-day", "Date of birth must be in the past")])
        ),
        ("error-summary", "with multiple errors") => example!(
            r##"{% import "components.html" as nhs %}{% call nhs::error_summary(errors) %}{% endcall %}"##,
            errors: Vec<FormError> = errors(&[
                ("example-first-name", "Enter your first name"),
                ("example-last-name", "Enter your last name"),
            ])
        ),
        ("header", "with service name, account inline (logged in)") => example!(
            r##"{% import "components.html" as nhs %}{% call nhs::header("Get a self-test kit for HIV", "#", "", "#") %}{% endcall %}"##
        ),
        ("input", "without heading") => example!(
            r##"{% import "components.html" as nhs %}{% call nhs::input(field, "text", "nhsuk-input--code nhsuk-input--width-10", " spellcheck=\"false\" inputmode=\"numeric\"") %}{% endcall %}"##,
            field: Field = field("without-heading", "What is your NHS number?", "")
        ),
        ("inset-text", "default") => example!(
            r##"{% import "components.html" as nhs %}{% call nhs::inset() %}<p>You can report any suspected side effect using the Yellow Card safety scheme</p>{% endcall %}"##
        ),
        ("notification-banner", "default") => example!(
            r##"{% import "components.html" as nhs %}{% call nhs::notification("Important", "The patient record was updated.", false) %}{% endcall %}"##
        ),
        ("notification-banner", "with success variant") => example!(
            r##"{% import "components.html" as nhs %}{% call nhs::notification("Success", "Email sent to example@email.com", true) %}{% endcall %}"##
        ),
        ("radios", "without heading") => example!(
            r##"{% import "components.html" as nhs %}{% call nhs::radios(field, choices) %}{% endcall %}"##,
            field: Field = field("without-heading", contact, ""), choices: Vec<Choice> = contacted()
        ),
        ("radios", "with error message, without heading") => example!(
            r##"{% import "components.html" as nhs %}{% call nhs::radios(field, choices) %}{% endcall %}"##,
            field: Field = field("with-error-message", contact, "Select how you want to be contacted"),
            choices: Vec<Choice> = contacted()
        ),
        ("select", "without heading") => example!(
            r##"{% import "components.html" as nhs %}{% call nhs::select(field, choices) %}{% endcall %}"##,
            field: Field = field("without-heading", "Sort by", ""), choices: Vec<Choice> = sorted()
        ),
        ("select", "with error message, without heading") => example!(
            r##"{% import "components.html" as nhs %}{% call nhs::select(field, choices) %}{% endcall %}"##,
            field: Field = field("with-error-message", "Choose location", "Select a location"),
            choices: Vec<Choice> = located()
        ),
        ("checkboxes", "without heading") => example!(
            r##"{% import "components.html" as nhs %}{% call nhs::checkboxes(field, choices) %}{% endcall %}"##,
            field: Field = field("without-heading", contact, ""),
            choices: Vec<Choice> = vec![
                Choice::new("email", "Email"),
                Choice::new("phone", "Phone"),
                Choice::new("text message", "Text message"),
            ]
        ),
        ("skip-link", "default") => {
            example!(r##"{% import "components.html" as nhs %}{% call nhs::skip_link() %}{% endcall %}"##)
        }
        ("summary-list", "with item strings") => example!(
            r##"{% import "components.html" as nhs %}{% call nhs::summary_list(rows) %}{% endcall %}"##,
            rows: Vec<Fact> = vec![
                Fact { key: "Name", lines: vec!["Karen Francis".to_owned()] },
                Fact { key: "Date of birth", lines: vec!["15 March 1984".to_owned()] },
            ]
        ),
        ("tag", "default") => {
            example!(r##"{% import "components.html" as nhs %}{% call nhs::tag("Active", "") %}{% endcall %}"##)
        }
        ("tag", "with text escaping") => {
            example!(r##"{% import "components.html" as nhs %}{% call nhs::tag("A&E", "red") %}{% endcall %}"##)
        }
        ("textarea", "without heading") => example!(
            r##"{% import "components.html" as nhs %}{% call nhs::textarea(field) %}{% endcall %}"##,
            field: Field = Field {
                hint: "Do not include personal information like your name, date of birth or NHS number".to_owned(),
                ..field("without-heading", "Can you provide more detail?", "")
            }
        ),
        ("textarea", "with error message, without heading") => example!(
            r##"{% import "components.html" as nhs %}{% call nhs::textarea(field) %}{% endcall %}"##,
            field: Field = field("with-error-message", "Can you provide more detail?", "You must provide an explanation")
        ),
        ("warning-callout", "with custom heading") => example!(
            r##"{% import "components.html" as nhs %}{% call nhs::warning("School, nursery or work") %}<p class="nhsuk-card__description">Stay away from school, nursery or work until all the spots have crusted over. This is usually 5 days after the spots first appeared.</p>{% endcall %}"##
        ),
        _ => return None,
    })
}

#[test]
fn our_components_are_the_published_ones() {
    let examples: Vec<Example> =
        serde_json::from_str(include_str!("../../../assets/nhsuk-frontend/examples.json")).expect("examples");
    let mut compared = BTreeSet::new();
    for example in &examples {
        let place = (example.component.as_str(), example.name.as_str());
        let ours = ours(place.0, place.1).unwrap_or_else(|| panic!("{place:?} is compared with nothing"));
        // The home page is ours, not the NHS's.
        let theirs = example.html.replace("aria-label=\"NHS ", "aria-label=\"");
        assert_eq!(normal(&ours), normal(&theirs), "{place:?}");
        compared.insert(place.0);
    }
    assert!(compared.len() >= 15, "{compared:?}");
}

/// What a page writes by hand is compared with nothing.
#[test]
fn pages_write_no_component_by_hand() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("templates");
    let (mut folders, mut seen) = (vec![root], 0);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.file_name().is_some_and(|name| name != "components.html") {
                let text = std::fs::read_to_string(&path).expect("text");
                for component in
                    ["button", "details", "tag", "inset-text", "error-summary", "notification-banner", "radios"]
                {
                    let class = format!("class=\"nhsuk-{component}");
                    assert!(!text.contains(&class), "{} writes {class} itself", path.display());
                }
                assert_eq!(fields_by_hand(&text), Vec::<&str>::new(), "{}", path.display());
                seen += 1;
            }
        }
    }
    assert!(seen > 20, "{seen} templates");
}

/// The variants that no published example has are the published ones with other words in them.
#[test]
fn variants_are_the_component_itself() {
    let plain =
        example!(r##"{% import "components.html" as nhs %}{% call nhs::button("Go", "secondary") %}{% endcall %}"##);
    let with =
        example!(r##"{% import "components.html" as nhs %}{% call nhs::button_with("secondary") %}Go{% endcall %}"##);
    assert_eq!(with, plain);
    let scripted = example!(
        r##"{% import "components.html" as nhs %}{% call nhs::button_scripted("Go", "secondary", "") %}{% endcall %}"##
    );
    assert_eq!(scripted.replace("type=\"button\"", "type=\"submit\""), plain);
    let link =
        example!(r##"{% import "components.html" as nhs %}{% call nhs::button_link("Go", "#", "") %}{% endcall %}"##);
    let with =
        example!(r##"{% import "components.html" as nhs %}{% call nhs::button_link_with("#", "") %}Go{% endcall %}"##);
    assert_eq!(with, link);
    let details = example!(r##"{% import "components.html" as nhs %}{% call nhs::details("Why") %}So{% endcall %}"##);
    let at = example!(
        r##"{% import "components.html" as nhs %}{% call nhs::details_at("", "Why", "", false) %}So{% endcall %}"##
    );
    assert_eq!(at, details);
    let summary = example!(
        r##"{% import "components.html" as nhs %}{% call nhs::error_summary(errors) %}{% endcall %}"##,
        errors: Vec<FormError> = vec![FormError { field: "day".to_owned(), text: "Say when".to_owned() }]
    );
    let of = example!(
        r##"{% import "components.html" as nhs %}{% call nhs::error_summary_of("day", "Say when") %}{% endcall %}"##
    );
    assert_eq!(of, summary);
}

/// Fields that people see and that no component wrote.
fn fields_by_hand(template: &str) -> Vec<&str> {
    let tags = template.match_indices('<').map(|(at, _)| &template[at..]);
    tags.filter(|tag| ["<input", "<select", "<textarea", "<label"].iter().any(|field| tag.starts_with(field)))
        .map(|tag| &tag[..tag.find('>').map_or(tag.len(), |end| end + 1)])
        .filter(|tag| !tag.contains("type=\"hidden\""))
        .collect()
}

#[test]
fn fields_that_are_written_by_hand_are_found() {
    let page = "<form><input type=\"hidden\" name=\"a\" value=\"1\"><input class=\"nhsuk-input\" name=\"b\"><textarea></textarea>\
        {% call nhs::input(c, \"text\", \"\", \"\") %}{% endcall %}</form>";
    assert_eq!(fields_by_hand(page), ["<input class=\"nhsuk-input\" name=\"b\">", "<textarea>"]);
}

/// What the sign-in asks for is the published input with a browser's own words about passwords and codes.
#[test]
fn a_password_is_the_published_input() {
    let plain = example!(
        r##"{% import "components.html" as nhs %}{% call nhs::input(field, "text", "", "") %}{% endcall %}"##,
        field: Field = field("password", "Password", "")
    );
    let secret = example!(
        r##"{% import "components.html" as nhs %}{% call nhs::input(field, "password", "", " autocomplete=\"current-password\" required") %}{% endcall %}"##,
        field: Field = field("password", "Password", "")
    );
    let told = "type=\"password\" autocomplete=\"current-password\" required";
    assert!(secret.contains(told), "{secret}");
    assert_eq!(secret.replace(told, "type=\"text\""), plain);
}

#[test]
fn one_box_is_an_item_of_the_published_group() {
    let several = example!(
        r##"{% import "components.html" as nhs %}{% call nhs::checkboxes(field, choices) %}{% endcall %}"##,
        field: Field = field("weekend", "When", ""),
        choices: Vec<Choice> = vec![Choice::new("1", "At weekends")]
    );
    let one = example!(
        r##"{% import "components.html" as nhs %}{% call nhs::checkbox_group("", "") %}{% call nhs::checkbox("weekend", "example", "At weekends", ticked) %}{% endcall %}{% endcall %}"##,
        ticked: bool = false
    );
    let (from, to) =
        ("<fieldset class=\"nhsuk-fieldset\"><legend class=\"nhsuk-fieldset__legend\">When</legend>", "</fieldset>");
    assert!(several.contains(from), "{several}");
    assert_eq!(one, several.replace(from, "").replace(to, ""));
}
