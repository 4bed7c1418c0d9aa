//! STU3 to R4: every resource of an ITK3 message or document as the R4 that UK Core reads.
//!
//! It refuses to drop anything in silence: an STU3 element is carried as it was, mapped by a rule, kept as
//! HL7's cross-version extension, or listed as lost. It never decides a clinical question: a medicine that
//! was stopped stays stopped whatever `taken` says. The sender's bytes stay the legal record; what comes
//! out of here is a working copy.

mod clinical;
mod extensions;
mod header;
mod people;
mod rules;
mod terminology;
#[cfg(test)]
mod tests;
mod walk;

use std::borrow::Cow;
use std::collections::HashMap;

use onward_fhir::{Element, Tree};

pub use walk::CROSS_VERSION_PREFIX;

/// Where STU3's `MedicationStatement.taken` (`y`, `n`, `unk`, `na`) stands in the R4 resource, as `valueCode`.
/// It never touches the status; whoever shows a medicine to a person should show a `n` beside it.
pub const TAKEN_EXTENSION: &str = "http://hl7.org/fhir/3.0/StructureDefinition/extension-MedicationStatement.taken";

/// A resource in R4 and what the conversion did that a reader may want to know.
#[derive(Debug)]
pub struct Conversion<'s> {
    /// The R4 resource. Children stand in no particular order: the writers sort them.
    pub tree: Tree<'s>,
    /// What changed form, was kept beside R4's own elements, or was lost; alike ones are one note.
    pub notes: Vec<Note>,
}

/// One systematic change, with the first place where it was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// FHIRPath in the source of the first occurrence.
    pub path: String,
    /// What became of it.
    pub kind: NoteKind,
    /// What was done and why; never patient data.
    pub explanation: String,
    /// How often it was done in this resource, at least once.
    pub count: usize,
}

/// What became of an STU3 element.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NoteKind {
    /// The meaning is kept in R4's own elements, the form changed.
    Mapped,
    /// Carried as an extension or as it was, although R4 has no such element.
    Kept,
    /// Not in the R4 resource at all.
    Lost,
}

impl Conversion<'_> {
    /// The notes of what the R4 resource no longer says.
    pub fn losses(&self) -> impl Iterator<Item = &Note> {
        self.notes.iter().filter(|note| note.kind == NoteKind::Lost)
    }
}

/// Converts any STU3 resource. A Bundle, message or document, is converted entry by entry and so are Bundles
/// within it; `fullUrl` and references stay as they are.
#[must_use]
pub fn to_r4<'s>(resource: Element<'_, 's>) -> Conversion<'s> {
    let (tree, notebook) = walk::convert(resource);
    Conversion { tree, notes: notebook.notes }
}

/// Collects notes, folding alike ones.
#[derive(Debug, Default)]
struct Notebook {
    notes: Vec<Note>,
    known: HashMap<(NoteKind, Cow<'static, str>), usize>,
    /// Every note unfolded, for the test that nothing is dropped in silence.
    #[cfg(test)]
    every: Vec<(NoteKind, onward_fhir::NodeId)>,
}

impl Notebook {
    fn add(&mut self, kind: NoteKind, element: Element<'_, '_>, explanation: impl Into<Cow<'static, str>>) {
        #[cfg(test)]
        self.every.push((kind, element.id()));
        let explanation = explanation.into();
        match self.known.get(&(kind, explanation.clone())) {
            Some(at) => self.notes[*at].count += 1,
            None => {
                self.known.insert((kind, explanation.clone()), self.notes.len());
                let path = element.path();
                self.notes.push(Note { path, kind, explanation: explanation.into_owned(), count: 1 });
            }
        }
    }

    fn mapped(&mut self, element: Element<'_, '_>, explanation: impl Into<Cow<'static, str>>) {
        self.add(NoteKind::Mapped, element, explanation);
    }

    fn kept(&mut self, element: Element<'_, '_>, explanation: impl Into<Cow<'static, str>>) {
        self.add(NoteKind::Kept, element, explanation);
    }

    fn lost(&mut self, element: Element<'_, '_>, explanation: impl Into<Cow<'static, str>>) {
        self.add(NoteKind::Lost, element, explanation);
    }
}
