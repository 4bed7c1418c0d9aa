//! Where rules come from: the core definitions of FHIR R4, which the binary holds, and the packages that an operator adds.
//!
//! A [`Conformance`] is immutable and shared. It knows each resource by its canonical URL and keeps its text; who needs
//! one parses it. Nothing is fetched: what is not in the pack or in a named file is not there, and is said to be missing.

mod archive;
mod core;
mod package;
mod source;

use std::path::PathBuf;
use std::sync::Arc;

use foldhash::{HashMap, HashSet, HashSetExt};

pub use package::{Notice, PackageError, PackageInfo, PackageLimits, Packages};
pub use source::{Kind, Origin, Source};

use crate::terminology::{self, Terminology};

/// All conformance resources that messages are judged against.
#[derive(Debug, Default)]
pub struct Conformance {
    /// In the order in which they were added: a later one counts before an earlier one of the same canonical URL.
    added: Vec<Arc<Source>>,
    by_url: HashMap<Kind, HashMap<Box<str>, Vec<usize>>>,
    packages: Vec<PackageInfo>,
    notices: Vec<Notice>,
    value_sets: terminology::Cache,
}

impl Conformance {
    /// FHIR 4.0.1 alone: its types, resources, profiles, extensions, value sets and code systems.
    ///
    /// The snapshots hold what a validator needs and no prose. `ele-1` and `ext-1`, which FHIR repeats at every element, stand only at
    /// the roots of the types (`Element`, `Extension`, every data type): who judges an element also judges it as its type.
    #[must_use]
    pub fn core() -> Self {
        Self::default()
    }

    /// The core and these packages, each a file, a folder of conformance resources, or a FHIR package (`.tgz`).
    ///
    /// # Errors
    /// [`PackageError`] when one of them cannot be used. What is odd and does no harm is among the [`Self::notices`].
    pub fn with_packages(paths: &[PathBuf]) -> Result<Self, PackageError> {
        Self::load(&Packages { paths: paths.to_vec(), ..Packages::default() })
    }

    /// The core and packages, with a folder in which their dependencies are looked for.
    ///
    /// # Errors
    /// As [`Self::with_packages`].
    pub fn load(packages: &Packages) -> Result<Self, PackageError> {
        let mut made = Self::core();
        package::load(packages, &mut made)?;
        Ok(made)
    }

    /// These and further resources, given as names and bytes (JSON or XML, single or in a Bundle). They count before what was there.
    ///
    /// # Errors
    /// [`PackageError::Unreadable`] when one is not a FHIR resource.
    pub fn with_resources<'a>(
        &self,
        files: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    ) -> Result<Self, PackageError> {
        let mut made = Self {
            added: self.added.clone(),
            by_url: self.by_url.clone(),
            packages: self.packages.clone(),
            notices: self.notices.clone(),
            value_sets: terminology::Cache::default(),
        };
        for (name, bytes) in files {
            let name: Arc<str> = name.into();
            package::add_file(&mut made, &name, bytes, Origin::Given(Arc::clone(&name)))
                .map_err(|reason| PackageError::Unreadable { file: name.to_string(), reason })?;
        }
        Ok(made)
    }

    /// The StructureDefinition of a canonical URL, with or without `|version`.
    #[must_use]
    pub fn definition(&self, canonical: &str) -> Option<&Source> {
        self.find(Kind::StructureDefinition, canonical)
    }

    /// The StructureDefinition of a type of FHIR: `Patient`, `HumanName`, `string`.
    #[must_use]
    pub fn type_definition(&self, type_name: &str) -> Option<&Source> {
        self.definition(&format!("http://hl7.org/fhir/StructureDefinition/{type_name}"))
    }

    /// A resource by its canonical URL. A version is matched whole, or as the first parts of ours (`4.0` names `4.0.1`); without
    /// one the last added counts. A version that is not here is not found: [`Self::find_any_version`] tells whether another is.
    #[must_use]
    pub fn find(&self, kind: Kind, canonical: &str) -> Option<&Source> {
        match canonical.split_once('|') {
            None => self.candidates(kind, canonical).next(),
            Some((url, wanted)) => {
                let named = |exact: bool| {
                    self.candidates(kind, url).find(move |source| {
                        let has = source.version().unwrap_or_default();
                        // FHIR's own bindings name value sets of HL7 v3 by the version of FHIR that carries them.
                        has == wanted || (!exact && (begins(has, wanted) || source.is_of_fhir(wanted)))
                    })
                };
                named(true).or_else(|| named(false))
            }
        }
    }

    /// A resource by its canonical URL, whatever version the URL names.
    #[must_use]
    pub fn find_any_version(&self, kind: Kind, canonical: &str) -> Option<&Source> {
        self.candidates(kind, canonical.split('|').next().unwrap_or_default()).next()
    }

    /// Every resource of a kind that [`Self::find`] gives for some canonical URL without version, in the order of adding, the core last.
    pub fn all(&self, kind: Kind) -> impl Iterator<Item = &Source> {
        let mut seen = HashSet::new();
        self.added
            .iter()
            .rev()
            .map(Arc::as_ref)
            .chain(core::pack().sources())
            .filter(move |source| source.kind() == kind && seen.insert(source.url()))
    }

    /// What the membership of codes is asked of.
    #[must_use]
    pub fn terminology(&self) -> Terminology<'_> {
        Terminology::new(self)
    }

    /// The packages in use, dependencies before those that need them.
    #[must_use]
    pub fn packages(&self) -> &[PackageInfo] {
        &self.packages
    }

    /// What an operator should know about the packages: files that were left out, dependencies that are missing.
    #[must_use]
    pub fn notices(&self) -> &[Notice] {
        &self.notices
    }

    pub(crate) fn value_sets(&self) -> &terminology::Cache {
        &self.value_sets
    }

    fn candidates(&self, kind: Kind, url: &str) -> impl Iterator<Item = &Source> {
        let added = self.by_url.get(&kind).and_then(|urls| urls.get(url));
        added
            .into_iter()
            .flat_map(|places| places.iter().rev())
            .map(|at| &*self.added[*at])
            .chain(core::pack().find(kind, url))
    }

    fn add(&mut self, source: Source) {
        let places = self.by_url.entry(source.kind()).or_default().entry(source.url().into()).or_default();
        places.push(self.added.len());
        self.added.push(Arc::new(source));
    }
}

/// True when `wanted` is the first whole parts of a version.
fn begins(version: &str, wanted: &str) -> bool {
    !wanted.is_empty() && version.strip_prefix(wanted).is_some_and(|rest| rest.starts_with('.'))
}

#[cfg(test)]
mod tests;
