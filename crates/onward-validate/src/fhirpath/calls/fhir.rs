//! What FHIR adds (R4 fhirpath.html §2.9.1.3), the clock, and `type()`. What needs terminology or profiles asks the host.

use super::text_of;
use crate::fhirpath::collection::{Items, one, truth};
use crate::fhirpath::evaluate::{Evaluation, Frame, Outcome, single};
use crate::fhirpath::functions::Function;
use crate::fhirpath::item::{Item, Node};
use crate::fhirpath::syntax::Call;
use crate::fhirpath::{EvaluationError, types};
use crate::narrative;

impl<'t> Evaluation<'_, 't> {
    pub(super) fn fhir_function(&self, call: &'t Call, input: &[Item<'t>], frame: Frame<'_, 't>) -> Outcome<Items<'t>> {
        let name = call.function.name();
        Ok(match call.function {
            Function::Now | Function::Today | Function::TimeOfDay => {
                let now = self.context.now.ok_or_else(|| EvaluationError::not_evaluated("the time is not told"))?;
                let told = match call.function {
                    Function::Now => Some(now),
                    Function::Today => now.to_date(),
                    _ => now.to_time(),
                };
                told.map(Item::Temporal).into_iter().collect()
            }
            Function::Type => {
                let mut found = Items::new();
                for item in input {
                    let namespace = if item.node().is_some() { "FHIR" } else { "System" };
                    self.push(&mut found, Item::Type { namespace, name: item.type_name() })?;
                }
                found
            }
            Function::Extension => {
                let Some(url) = self.text_argument(call, 0, frame)? else { return Ok(Items::new()) };
                let mut found = Items::new();
                for node in input.iter().filter_map(Item::node) {
                    for child in node.element.all("extension") {
                        self.spend(1)?;
                        if child.text("url") == Some(&*url) {
                            self.push(&mut found, Item::Node(node.child(child, self.table)))?;
                        }
                    }
                }
                found
            }
            Function::HasValue => truth(Some(match input {
                [Item::Node(node)] => node.is_primitive() && node.element.value().is_some(),
                [_] => true,
                _ => false,
            })),
            Function::GetValue => match single(input, name)? {
                Some(Item::Node(node)) if !node.is_primitive() => Items::new(),
                Some(item) => item.value().map(|value| one(value.into_owned())).unwrap_or_default(),
                None => Items::new(),
            },
            Function::Resolve => self.resolve(input)?,
            Function::MemberOf => {
                let Some(item) = single(input, name)? else { return Ok(Items::new()) };
                let Some(value_set) = self.text_argument(call, 0, frame)? else { return Ok(Items::new()) };
                answered(self.context.host.member_of(&value_set, item), "the value set is not at hand")?
            }
            Function::ConformsTo => {
                let Some(item) = single(input, name)? else { return Ok(Items::new()) };
                let Some(profile) = self.text_argument(call, 0, frame)? else { return Ok(Items::new()) };
                let node = item.node().ok_or(EvaluationError::WrongType(name))?;
                let answer = self.context.host.conforms_to(&profile, node.element, node.type_name());
                answered(answer, "the profile is not at hand")?
            }
            Function::HtmlChecks => match single(input, name)? {
                Some(Item::Node(Node { element, type_def })) => {
                    let is_xhtml = type_def.is_none_or(|def| types::inherits(def, "xhtml"));
                    let div = element.value().filter(|_| is_xhtml).ok_or(EvaluationError::WrongType(name))?;
                    self.spend(div.len() / 8)?;
                    truth(Some(narrative::is_allowed(*element)))
                }
                Some(_) => return Err(EvaluationError::WrongType(name)),
                None => Items::new(),
            },
            Function::Subsumes | Function::SubsumedBy => {
                let other = self.argument(call, 0, frame)?;
                let (Some(item), Some(other)) = (single(input, name)?, single(&other, name)?) else {
                    return Ok(Items::new());
                };
                let answer = match call.function {
                    Function::Subsumes => self.context.host.subsumes(item, other),
                    _ => self.context.host.subsumes(other, item),
                };
                answered(answer, "the code system is not at hand")?
            }
            _ => return Err(EvaluationError::not_evaluated("a function that needs the profile")),
        })
    }

    /// Of each Reference, and of each text that is one, what it points to in this tree.
    fn resolve(&self, input: &[Item<'t>]) -> Outcome<Items<'t>> {
        let mut found = Items::new();
        for item in input {
            self.spend(64)?;
            let Item::Node(node) = item else { continue };
            let reference = match node.is_primitive() {
                true => text_of(std::slice::from_ref(item), "resolve")?,
                false => node.element.text("reference").map(Into::into),
            };
            let Some(reference) = reference else { continue };
            if let Some(id) = self.context.host.resolve(&reference, node.element) {
                self.push(&mut found, Item::Node(Node::resource(node.element.tree().element(id), self.table)))?;
            }
        }
        Ok(found)
    }
}

fn answered<'t>(answer: Option<bool>, otherwise: &'static str) -> Outcome<Items<'t>> {
    match answer {
        Some(answer) => Ok(truth(Some(answer))),
        None => Err(EvaluationError::not_evaluated(otherwise)),
    }
}
