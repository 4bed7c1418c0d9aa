//! Task: the transfer's, and one per recipient.

use fhir_sdk::r4b::codes::{TaskIntent, TaskStatus};
use fhir_sdk::r4b::resources::{Task, TaskInput, TaskInputValue, TaskOutput, TaskOutputValue, TaskRestriction};
use fhir_sdk::r4b::types::CodeableConcept;

use super::{AuthorError, parts};

/// A concept: one coding, a text, or both.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Concept {
    /// System, code, display.
    pub coding: Option<(String, String, Option<String>)>,
    /// Text for people.
    pub text: Option<String>,
}

impl Concept {
    /// A coded concept.
    #[must_use]
    pub fn coded(system: &str, code: &str, display: &str) -> Self {
        Self { coding: Some((system.to_owned(), code.to_owned(), Some(display.to_owned()))), text: None }
    }

    /// A concept in words only.
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self { coding: None, text: Some(text.to_owned()) }
    }

    fn author(&self) -> CodeableConcept {
        let coding =
            self.coding.as_ref().map(|(system, code, display)| parts::coding(system, code, display.as_deref()));
        parts::concept(coding.into_iter().collect(), self.text.as_deref())
    }
}

/// An organisation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Organisation {
    /// ODS code.
    pub ods: String,
    /// Name for people.
    pub name: Option<String>,
}

/// The value of an input or output.
#[derive(Clone, PartialEq, Eq)]
pub enum ParameterValue {
    /// `valueReference` by reference text (`Bundle/…`).
    Reference(String),
    /// `valueString`.
    Text(String),
    /// `valueCodeableConcept`.
    Concept(Concept),
    /// `valueDateTime`.
    Time(String),
}

/// An input or output of a Task.
#[derive(Clone, PartialEq, Eq)]
pub struct Parameter {
    /// What it is.
    pub name: Concept,
    /// Its value.
    pub value: ParameterValue,
}

/// What a Task says. Times are FHIR dates or date-times.
#[derive(Clone, Default)]
pub struct TaskContent {
    /// `id`.
    pub id: String,
    /// `meta.versionId`.
    pub version: Option<String>,
    /// `meta.lastUpdated` and `lastModified`, an instant.
    pub last_updated: Option<String>,
    /// Business identifiers: system and value.
    pub identifiers: Vec<(String, String)>,
    /// `status`, a FHIR code.
    pub status: String,
    /// `statusReason`.
    pub status_reason: Option<Concept>,
    /// `businessStatus`.
    pub business_status: Option<Concept>,
    /// `intent`, a FHIR code; empty means `order`.
    pub intent: String,
    /// `code`.
    pub code: Option<Concept>,
    /// `description`; never patient data.
    pub description: Option<String>,
    /// `focus`, reference text.
    pub focus: Option<String>,
    /// `for`, by NHS number.
    pub nhs_number: Option<String>,
    /// `requester`.
    pub requester: Option<Organisation>,
    /// `owner`.
    pub owner: Option<Organisation>,
    /// `partOf`, reference texts.
    pub part_of: Vec<String>,
    /// `authoredOn`.
    pub authored_on: Option<String>,
    /// `restriction.period`: start and end.
    pub restriction_period: Option<(Option<String>, Option<String>)>,
    /// `input`.
    pub input: Vec<Parameter>,
    /// `output`.
    pub output: Vec<Parameter>,
}

/// A Task, JSON.
///
/// # Errors
/// When status or intent is no FHIR code, or a time is none.
pub fn task(content: &TaskContent) -> Result<String, AuthorError> {
    let status: TaskStatus = content.status.parse().map_err(|_| AuthorError::Code("Task.status"))?;
    let intent = intent(&content.intent)?;
    let mut task = Task::builder().status(status).intent(intent).build().expect("every mandatory element is set");
    let updated = content.last_updated.as_deref();
    let last_updated = parts::optional(updated, |text| parts::instant(text, "Task.meta.lastUpdated"))?;
    task.id = Some(content.id.clone());
    task.meta = (last_updated.is_some() || content.version.is_some())
        .then(|| parts::meta(content.version.as_deref(), last_updated, None));
    task.last_modified = parts::optional(updated, |text| parts::date_time(text, "Task.lastModified"))?;
    task.identifier =
        content.identifiers.iter().map(|(system, value)| Some(parts::identifier(system, value))).collect();
    task.status_reason = content.status_reason.as_ref().map(Concept::author);
    task.business_status = content.business_status.as_ref().map(Concept::author);
    task.code = content.code.as_ref().map(Concept::author);
    task.description = content.description.clone();
    task.focus = content.focus.as_deref().map(parts::reference);
    task.r#for = content.nhs_number.as_deref().map(parts::patient);
    let organisation = |who: &Organisation| parts::organisation(&who.ods, who.name.as_deref());
    task.requester = content.requester.as_ref().map(organisation);
    task.owner = content.owner.as_ref().map(organisation);
    task.part_of = content.part_of.iter().map(|to| Some(parts::reference(to))).collect();
    task.authored_on =
        parts::optional(content.authored_on.as_deref(), |text| parts::date_time(text, "Task.authoredOn"))?;
    task.restriction = content.restriction_period.as_ref().map(restriction).transpose()?;
    for parameter in &content.input {
        task.input.push(Some(input(parameter)?));
    }
    for parameter in &content.output {
        task.output.push(Some(output(parameter)?));
    }
    Ok(serde_json::to_string(&task).expect("the model serialises"))
}

/// FHIR R4 task-intent takes its codes from request-intent, but for `directive`; the model checks none of them.
const INTENTS: [&str; 9] = [
    "unknown",
    "proposal",
    "plan",
    "order",
    "original-order",
    "reflex-order",
    "filler-order",
    "instance-order",
    "option",
];

fn intent(code: &str) -> Result<TaskIntent, AuthorError> {
    let code = if code.is_empty() { "order" } else { code };
    let known = INTENTS.contains(&code).then_some(code).ok_or(AuthorError::Code("Task.intent"))?;
    known.parse().map_err(|_| AuthorError::Code("Task.intent"))
}

fn restriction((start, end): &(Option<String>, Option<String>)) -> Result<TaskRestriction, AuthorError> {
    let time = |text: Option<&str>| parts::optional(text, |text| parts::date_time(text, "Task.restriction.period"));
    let mut restriction = TaskRestriction::builder().build().expect("a restriction has no mandatory element");
    restriction.period = Some(parts::period(time(start.as_deref())?, time(end.as_deref())?));
    Ok(restriction)
}

fn input(parameter: &Parameter) -> Result<TaskInput, AuthorError> {
    let value = match &parameter.value {
        ParameterValue::Reference(to) => TaskInputValue::Reference(parts::reference(to)),
        ParameterValue::Text(text) => TaskInputValue::String(text.clone()),
        ParameterValue::Concept(concept) => TaskInputValue::CodeableConcept(concept.author()),
        ParameterValue::Time(text) => TaskInputValue::DateTime(parts::date_time(text, "Task.input.valueDateTime")?),
    };
    let named = parameter.name.author();
    Ok(TaskInput::builder().r#type(named).value(value).build().expect("every mandatory element is set"))
}

fn output(parameter: &Parameter) -> Result<TaskOutput, AuthorError> {
    let value = match &parameter.value {
        ParameterValue::Reference(to) => TaskOutputValue::Reference(parts::reference(to)),
        ParameterValue::Text(text) => TaskOutputValue::String(text.clone()),
        ParameterValue::Concept(concept) => TaskOutputValue::CodeableConcept(concept.author()),
        ParameterValue::Time(text) => TaskOutputValue::DateTime(parts::date_time(text, "Task.output.valueDateTime")?),
    };
    let named = parameter.name.author();
    Ok(TaskOutput::builder().r#type(named).value(value).build().expect("every mandatory element is set"))
}
