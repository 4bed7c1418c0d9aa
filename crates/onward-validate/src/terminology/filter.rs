//! `ValueSet.compose.include.filter` (R4 §4.9.8), over a code system that is here.

use foldhash::{HashSet, HashSetExt};
use onward_fhir::Element;

use super::code_system::CodeSystem;

/// Memory of a compiled pattern.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// One filter.
#[derive(Debug, Clone)]
pub(super) struct Filter {
    property: String,
    operation: String,
    value: String,
}

impl Filter {
    pub(super) fn read(element: Element<'_, '_>) -> Self {
        let text = |name: &str| element.text(name).unwrap_or_default().to_owned();
        Self { property: text("property"), operation: text("op"), value: text("value") }
    }

    /// Places of the concepts that pass, or why that cannot be told.
    pub(super) fn passing(&self, system: &CodeSystem) -> Result<HashSet<usize>, String> {
        let places = 0..system.concepts.len();
        match &*self.operation {
            "is-a" | "descendent-of" | "is-not-a" | "generalizes" => self.by_hierarchy(system),
            "=" => self.by_property(system, |value| value == self.value),
            "in" | "not-in" => {
                let listed: HashSet<&str> = self.value.split(',').map(str::trim).collect();
                let passing = self.by_property(system, |value| listed.contains(value))?;
                Ok(if self.operation == "in" { passing } else { places.filter(|at| !passing.contains(at)).collect() })
            }
            "exists" => {
                let passing = self.by_property(system, |_| true)?;
                match &*self.value {
                    "true" => Ok(passing),
                    "false" => Ok(places.filter(|at| !passing.contains(at)).collect()),
                    _ => Err(self.cannot("its value is neither true nor false")),
                }
            }
            "regex" => {
                // The whole value must match (R4 filter-operator `regex`). Bounded in size, and matched in linear time.
                let pattern = format!("^(?:{})$", self.value);
                let built = regex::RegexBuilder::new(&pattern).size_limit(PATTERN_BYTES_MAX).build();
                let pattern = built.map_err(|_| self.cannot("it is no pattern that is evaluated here"))?;
                self.by_property(system, |value| pattern.is_match(value))
            }
            _ => Err(self.cannot("its operation is not known")),
        }
    }

    fn by_hierarchy(&self, system: &CodeSystem) -> Result<HashSet<usize>, String> {
        if !matches!(&*self.property, "concept" | "code") {
            return Err(self.cannot("hierarchy is of concepts"));
        }
        let top = system.place(&self.value).ok_or_else(|| self.cannot("the code system has no such concept"))?;
        if self.operation == "generalizes" {
            let mut above = HashSet::from_iter([top]);
            let mut waiting = vec![top];
            while let Some(at) = waiting.pop() {
                waiting.extend(system.concepts[at].parents.iter().copied().filter(|parent| above.insert(*parent)));
            }
            return Ok(above);
        }
        let mut children = vec![Vec::new(); system.concepts.len()];
        for (at, concept) in system.concepts.iter().enumerate() {
            for parent in &concept.parents {
                children[*parent].push(at);
            }
        }
        let mut below = HashSet::from_iter([top]);
        let mut waiting = vec![top];
        while let Some(at) = waiting.pop() {
            waiting.extend(children[at].iter().copied().filter(|child| below.insert(*child)));
        }
        match &*self.operation {
            "descendent-of" => {
                below.remove(&top);
            }
            "is-not-a" => below = (0..system.concepts.len()).filter(|at| !below.contains(at)).collect(),
            _ => {}
        }
        Ok(below)
    }

    fn by_property(&self, system: &CodeSystem, fits: impl Fn(&str) -> bool) -> Result<HashSet<usize>, String> {
        let mut known = false;
        let mut passing = HashSet::new();
        for (at, concept) in system.concepts.iter().enumerate() {
            let values: Vec<&str> = match &*self.property {
                "concept" | "code" => vec![&concept.code],
                "display" => concept.display.as_deref().into_iter().collect(),
                "parent" => concept.parents.iter().map(|parent| &*system.concepts[*parent].code).collect(),
                name => {
                    concept.properties.iter().filter(|(code, _)| &**code == name).map(|(_, value)| &**value).collect()
                }
            };
            known |= !values.is_empty();
            if values.into_iter().any(&fits) {
                passing.insert(at);
            }
        }
        // A property that no concept has may be one that the code system computes, or that was not published.
        if known { Ok(passing) } else { Err(self.cannot("no concept has the property")) }
    }

    fn cannot(&self, why: &str) -> String {
        format!("the filter {} {} {} is not computable: {why}", self.property, self.operation, self.value)
    }
}
