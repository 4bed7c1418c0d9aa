//! Writes a tree as FHIR JSON or XML, typed by the element table of a release.
//!
//! Nothing is dropped in silence: what the format cannot carry is written as well as it can be and listed
//! as a [`Loss`]. Elements that the table does not know are written like any other.

mod json;
mod xml;

use crate::elements::{ElementDef, Table, TypeDef, table};
use crate::tree::{Element, Release};

/// A text and what it could not carry. Its `Debug` leaves the text out.
#[derive(Clone, PartialEq, Eq)]
pub struct Written {
    /// The document.
    pub text: String,
    /// What is missing from it or stands in it differently; empty when nothing was lost.
    pub losses: Vec<Loss>,
}

impl std::fmt::Debug for Written {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Written").field("losses", &self.losses).finish_non_exhaustive()
    }
}

/// One thing that the format could not carry. Holds names of elements, never their content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// FHIRPath location of the element.
    pub path: String,
    /// What was lost.
    pub reason: String,
}

/// Writes compact FHIR JSON.
#[must_use]
pub fn json(element: Element<'_, '_>, release: Release) -> Written {
    json::write(element, release, false)
}

/// Writes FHIR JSON for people, indented by two spaces.
#[must_use]
pub fn json_pretty(element: Element<'_, '_>, release: Release) -> Written {
    json::write(element, release, true)
}

/// Writes compact FHIR XML with its declaration; elements stand in the order that FHIR gives them.
#[must_use]
pub fn xml(element: Element<'_, '_>, release: Release) -> Written {
    xml::write(element, release)
}

/// Where the children of an element stand in another order than FHIR gives them (R4 §2.6.1): FHIRPath locations of those
/// that stand behind one that should follow them. XML is written in FHIR's order, so their places are not kept; the
/// order of different elements means nothing in FHIR. At most 1,000 are told.
#[must_use]
pub fn out_of_order(element: Element<'_, '_>, release: Release) -> Vec<String> {
    xml::out_of_order(element, release)
}

/// Losses beyond this number are counted, not described: each description walks the tree.
const LOSSES_MAX: usize = 1_000;

/// What both writers know: the types of the release and the losses so far.
struct Ledger {
    table: &'static Table,
    losses: Vec<Loss>,
    undescribed: usize,
}

impl Ledger {
    fn new(release: Release) -> Self {
        Self { table: table(release), losses: Vec::new(), undescribed: 0 }
    }

    fn lose(&mut self, element: Element<'_, '_>, reason: &str) {
        if self.losses.len() < LOSSES_MAX {
            self.losses.push(Loss { path: element.path(), reason: reason.to_owned() });
        } else {
            self.undescribed += 1;
        }
    }

    fn written(mut self, text: String, element: Element<'_, '_>) -> Written {
        if self.undescribed > 0 {
            let reason = format!("{} more losses below", self.undescribed);
            self.losses.push(Loss { path: element.path(), reason });
        }
        Written { text, losses: self.losses }
    }

    /// The type of the outermost element.
    fn root_type(&self, element: Element<'_, '_>) -> Option<&'static TypeDef> {
        self.table.type_def(element.resource_type()?)
    }

    /// What the table says of a child; elements that every type has are known in unknown types, too.
    fn child(
        &self,
        holder: Element<'_, '_>,
        holder_type: Option<&'static TypeDef>,
        name: &str,
    ) -> Option<&'static ElementDef> {
        holder_type.and_then(|known| known.child(name)).or_else(|| self.child_of_every(holder, name))
    }

    /// What the table says of a child that every element of its kind may have.
    fn child_of_every(&self, holder: Element<'_, '_>, name: &str) -> Option<&'static ElementDef> {
        let every = if holder.resource_type().is_some() { "DomainResource" } else { "BackboneElement" };
        self.table.child(every, name)
    }

    /// The type of a child: what it says itself, when it is a resource.
    fn type_of(&self, child: Element<'_, '_>, def: Option<&'static ElementDef>) -> Option<&'static TypeDef> {
        match child.resource_type() {
            Some(resource_type) => self.table.type_def(resource_type),
            None => self.table.type_of(def?),
        }
    }
}

#[cfg(test)]
mod shared_data_tests;
#[cfg(test)]
mod tests;
