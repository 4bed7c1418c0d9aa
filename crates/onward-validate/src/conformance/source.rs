//! One conformance resource, in the text in which it was published.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use onward_fhir::read::{self, Format, ReadError};
use onward_fhir::{Element, Tree};

use super::core;
use crate::terminology::CodeSystem;

/// The kinds of conformance resource that are used; every other is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// StructureDefinition: a type, a profile, an extension.
    StructureDefinition,
    /// ValueSet
    ValueSet,
    /// CodeSystem
    CodeSystem,
    /// Questionnaire
    Questionnaire,
}

impl Kind {
    /// The kind of this resource type.
    #[must_use]
    pub fn of(resource_type: &str) -> Option<Self> {
        match resource_type {
            "StructureDefinition" => Some(Self::StructureDefinition),
            "ValueSet" => Some(Self::ValueSet),
            "CodeSystem" => Some(Self::CodeSystem),
            "Questionnaire" => Some(Self::Questionnaire),
            _ => None,
        }
    }

    /// The resource type.
    #[must_use]
    pub fn resource_type(self) -> &'static str {
        match self {
            Self::StructureDefinition => "StructureDefinition",
            Self::ValueSet => "ValueSet",
            Self::CodeSystem => "CodeSystem",
            Self::Questionnaire => "Questionnaire",
        }
    }
}

/// A conformance resource: what it is, and its text, which is parsed only by who asks. Nothing of it is patient data.
#[derive(Debug)]
pub struct Source {
    pub(super) kind: Kind,
    pub(super) url: Cow<'static, str>,
    pub(super) version: Cow<'static, str>,
    pub(super) structure_kind: Cow<'static, str>,
    pub(super) derivation: Cow<'static, str>,
    pub(super) type_name: Cow<'static, str>,
    pub(super) origin: Origin,
    pub(super) text: Text,
    /// A code system stands for itself, so that what was made of it serves everyone who shares the source.
    pub(crate) code_system: OnceLock<Arc<CodeSystem>>,
}

/// Where a resource comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The core pack of FHIR 4.0.1.
    Core,
    /// A package, a folder or a file: which package, by its place in [`super::Conformance::packages`], and which file.
    Package {
        /// Place among the packages.
        package: usize,
        /// Name of the file within it.
        file: Arc<str>,
    },
    /// Given as bytes, by this name.
    Given(Arc<str>),
}

#[derive(Debug)]
pub(super) enum Text {
    /// In a block of the core pack.
    Packed { block: usize, range: Range<usize> },
    /// Part of a text that may hold several resources.
    Shared { text: Arc<str>, range: Range<usize>, format: Format },
}

impl Source {
    /// What kind of resource it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Its canonical URL, without version.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its business version, when it tells one.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        (!self.version.is_empty()).then_some(&*self.version)
    }

    /// `StructureDefinition.kind`: `primitive-type`, `complex-type`, `resource`, `logical`; empty for other resources.
    #[must_use]
    pub fn structure_kind(&self) -> &str {
        &self.structure_kind
    }

    /// `StructureDefinition.derivation`: `specialization`, `constraint`, or empty.
    #[must_use]
    pub fn derivation(&self) -> &str {
        &self.derivation
    }

    /// `StructureDefinition.type`: the type that is defined or constrained; empty for other resources.
    #[must_use]
    pub fn type_name(&self) -> &str {
        &self.type_name
    }

    /// True for a resource of the core when this is the version of FHIR that carries it.
    pub(super) fn is_of_fhir(&self, version: &str) -> bool {
        self.origin == Origin::Core && version == "4.0.1"
    }

    /// Where it comes from.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Its syntax.
    #[must_use]
    pub fn format(&self) -> Format {
        match &self.text {
            Text::Packed { .. } => Format::Json,
            Text::Shared { format, .. } => *format,
        }
    }

    /// Its text. The first text of a block of the core pack decompresses that block, once per process.
    #[must_use]
    pub fn text(&self) -> &str {
        match &self.text {
            Text::Packed { block, range } => &core::pack().block(*block)[range.clone()],
            Text::Shared { text, range, .. } => &text[range.clone()],
        }
    }

    /// Its text, read.
    ///
    /// # Errors
    /// None is expected: what cannot be read does not become a source. Still a value, not a panic.
    pub fn read(&self) -> Result<Tree<'_>, ReadError> {
        match self.format() {
            Format::Json => read::json(self.text(), &limits()),
            Format::Xml => read::xml(self.text(), &limits()),
        }
    }

    /// What `root` tells of itself; nothing when it is no conformance resource with a canonical URL.
    pub(super) fn describe(root: Element<'_, '_>, origin: Origin, text: Text) -> Option<Self> {
        let field = |name: &str| Cow::Owned(root.text(name).unwrap_or_default().to_owned());
        let kind = Kind::of(root.resource_type()?)?;
        let of_structure = |name: &str| match kind {
            Kind::StructureDefinition => field(name),
            _ => Cow::Borrowed(""),
        };
        Some(Self {
            kind,
            url: Some(field("url")).filter(|url| !url.is_empty())?,
            version: field("version"),
            structure_kind: of_structure("kind"),
            derivation: of_structure("derivation"),
            type_name: of_structure("type"),
            origin,
            text,
            code_system: OnceLock::new(),
        })
    }
}

/// A code system of a hundred thousand concepts is large for a message and usual for a package.
pub(super) fn limits() -> read::Limits {
    read::Limits { nodes: 4_000_000, ..read::Limits::default() }
}
