//! A ValueSet, compiled so that a question costs a look-up in a hash table for each of its few parts.

use std::sync::Arc;

use foldhash::{HashMap, HashMapExt, HashSet};
use onward_fhir::Element;

use super::code_system::CodeSystem;
use super::computed::{self, Rule};
use super::filter::Filter;
use super::{Content, Membership, Terminology};
use crate::conformance::Source;

/// A compiled value set.
#[derive(Debug)]
pub struct ValueSet {
    url: Box<str>,
    includes: Vec<Clause>,
    excludes: Vec<Clause>,
    /// The published expansion, where the definition does not tell.
    expansion: Option<HashMap<Box<str>, Codes>>,
    circular: bool,
}

type Codes = HashMap<Box<str>, Option<Arc<str>>>;

/// One `include` or `exclude`: all its parts must hold.
#[derive(Debug)]
struct Clause {
    system: Option<Box<str>>,
    members: Members,
    imports: Vec<Result<Arc<ValueSet>, Arc<str>>>,
}

/// Which codes of its system a clause holds.
#[derive(Debug)]
enum Members {
    /// No system: the imported value sets decide.
    Imported,
    /// These.
    Listed { codes: Codes, ignores_case: bool },
    /// All of a code system.
    Whole(Arc<CodeSystem>),
    /// Those at these places of a code system.
    Filtered(Arc<CodeSystem>, HashSet<usize>),
    /// Those that a syntax or a list of ours allows.
    Computed(Rule),
    /// Nobody here can tell.
    Unknown(Arc<str>),
}

impl ValueSet {
    pub(super) fn compile(source: &Source, terminology: Terminology<'_>, path: &mut Vec<String>) -> Self {
        let mut made = Self {
            url: source.url().into(),
            includes: Vec::new(),
            excludes: Vec::new(),
            expansion: None,
            circular: false,
        };
        let Ok(tree) = source.read() else {
            made.includes.push(Clause::unknown("the value set cannot be read"));
            return made;
        };
        let root = tree.root();
        let inactive_too = root.text_at("compose.inactive") != Some("false");
        if let Some(compose) = root.get("compose") {
            for (name, into) in [("include", true), ("exclude", false)] {
                for element in compose.all(name) {
                    let clause = made.clause(element, terminology, path, inactive_too);
                    if into { made.includes.push(clause) } else { made.excludes.push(clause) }
                }
            }
        }
        if made.includes.is_empty() || made.unknown().is_some() {
            made.expansion = root.get("expansion").and_then(expanded);
        }
        if made.includes.is_empty() && made.expansion.is_none() {
            made.includes.push(Clause::unknown(&format!("the value set {} has no content", made.url)));
        }
        made
    }

    fn clause(
        &mut self,
        element: Element<'_, '_>,
        terminology: Terminology<'_>,
        path: &mut Vec<String>,
        inactive_too: bool,
    ) -> Clause {
        let mut imports = Vec::new();
        for canonical in element.all("valueSet").filter_map(Element::value) {
            let url = canonical.split('|').next().unwrap_or_default();
            imports.push(if path.iter().any(|above| above == url) {
                self.circular = true;
                Err(format!("the value set {url} imports itself").into())
            } else if path.len() >= IMPORT_DEPTH_MAX {
                Err("value sets import each other too deep".into())
            } else {
                let found = terminology.compiled(canonical, path);
                self.circular |= found.as_ref().is_some_and(|set| set.circular);
                found.ok_or_else(|| format!("the value set {canonical} is not here").into())
            });
        }
        let Some(system) = element.text("system") else {
            return Clause { system: None, members: Members::Imported, imports };
        };
        let members = members(element, system, terminology, inactive_too);
        Clause { system: Some(system.into()), members, imports }
    }

    /// Its canonical URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Whether a code is a member. `system` is absent for an element of type `code`; `version` is `Coding.version`.
    #[must_use]
    pub fn member(&self, system: Option<&str>, code: &str, version: Option<&str>) -> Membership {
        let mut answer = Membership::No;
        for clause in &self.includes {
            answer = answer.or(|| clause.member(system, code, version));
            if answer.is_yes() {
                break;
            }
        }
        for clause in &self.excludes {
            answer = answer.but_not(|| clause.member(system, code, version));
        }
        match (&self.expansion, answer) {
            (Some(expansion), Membership::Unknown { .. } | Membership::No) => in_expansion(expansion, system, code),
            (_, answer) => answer,
        }
    }

    /// Why some code's membership cannot be told, when that is so.
    #[must_use]
    pub fn unknown(&self) -> Option<&str> {
        if self.expansion.is_some() {
            return None;
        }
        self.includes.iter().chain(&self.excludes).find_map(Clause::unknown_reason)
    }

    /// True when a part could not be compiled because it leads back to a value set above it.
    pub(super) fn met_a_circle(&self) -> bool {
        self.circular
    }
}

/// Value sets that import value sets.
const IMPORT_DEPTH_MAX: usize = 32;

fn members(element: Element<'_, '_>, system: &str, terminology: Terminology<'_>, inactive_too: bool) -> Members {
    let here = match element.text("version").filter(|version| *version != "*") {
        None => terminology.code_system(system),
        Some(version) => terminology.code_system(&format!("{system}|{version}")),
    };
    if element.get("concept").is_some() {
        let ignores_case = here.is_some_and(|found| found.case_sensitive() == Some(false));
        let key = |code: &str| if ignores_case { code.to_lowercase().into() } else { Box::from(code) };
        let codes = element
            .all("concept")
            .filter_map(|concept| Some((key(concept.text("code")?), concept.text("display").map(Into::into))))
            .collect();
        return Members::Listed { codes, ignores_case };
    }
    let filters: Vec<_> = element.all("filter").map(Filter::read).collect();
    if let Some(rule) = computed::rule(system) {
        return if filters.is_empty() {
            Members::Computed(rule)
        } else {
            Members::Unknown(format!("filters over {system} are not computed").into())
        };
    }
    let Some(found) = here else {
        let reason = match element.text("version") {
            Some(version) => format!("version {version} of the code system {system} is not here"),
            None => format!("the code system {system} is not here"),
        };
        return Members::Unknown(reason.into());
    };
    let mut passing: Option<HashSet<usize>> = None;
    for filter in &filters {
        match filter.passing(&found) {
            Err(reason) => return Members::Unknown(format!("{reason} ({system})").into()),
            Ok(more) => {
                passing = Some(match passing {
                    None => more,
                    Some(before) => before.intersection(&more).copied().collect(),
                });
            }
        }
    }
    if !inactive_too {
        let mut active = passing.unwrap_or_else(|| (0..found.concepts.len()).collect());
        active.retain(|at| !found.concepts[*at].is_inactive());
        passing = Some(active);
    }
    match passing {
        None => Members::Whole(found),
        Some(places) => Members::Filtered(found, places),
    }
}

/// The codes of an expansion that is whole and has no parameters that narrow it.
fn expanded(expansion: Element<'_, '_>) -> Option<HashMap<Box<str>, Codes>> {
    let mut found: HashMap<Box<str>, Codes> = HashMap::new();
    let mut count = 0;
    for element in expansion.descendants().filter(|element| element.name() == "contains") {
        count += 1;
        if let (Some(system), Some(code)) = (element.text("system"), element.text("code"))
            && element.text("abstract") != Some("true")
        {
            found.entry(system.into()).or_default().insert(code.into(), element.text("display").map(Into::into));
        }
    }
    let whole = expansion.text("total").is_none_or(|total| total.parse() == Ok(count));
    let narrowed = expansion.get("offset").is_some()
        || expansion.all("extension").any(|extension| {
            extension
                .text("url")
                .is_some_and(|url| url.ends_with("/valueset-toocostly") || url.ends_with("/valueset-unclosed"))
        });
    (count > 0 && whole && !narrowed).then_some(found)
}

fn in_expansion(expansion: &HashMap<Box<str>, Codes>, system: Option<&str>, code: &str) -> Membership {
    let found = match system {
        Some(system) => expansion.get(system).and_then(|codes| codes.get(code)),
        None => expansion.values().find_map(|codes| codes.get(code)),
    };
    found.map_or(Membership::No, |display| Membership::Yes { display: display.clone() })
}

impl Clause {
    fn unknown(reason: &str) -> Self {
        Self { system: None, members: Members::Unknown(reason.into()), imports: Vec::new() }
    }

    fn member(&self, system: Option<&str>, code: &str, version: Option<&str>) -> Membership {
        if let (Some(ours), Some(asked)) = (&self.system, system)
            && **ours != *asked
        {
            return Membership::No;
        }
        let imported = |set: &Result<Arc<ValueSet>, Arc<str>>| match set {
            Ok(set) => set.member(system, code, version),
            Err(reason) => Membership::unknown(Arc::clone(reason)),
        };
        let mut imports = self.imports.iter();
        let mut answer = match &self.members {
            Members::Imported => imports.next().map_or(Membership::No, imported),
            Members::Listed { codes, ignores_case } => {
                let found = if *ignores_case { codes.get(&*code.to_lowercase()) } else { codes.get(code) };
                found.map_or(Membership::No, |display| Membership::Yes { display: display.clone() })
            }
            Members::Whole(found) => found.lookup(code, version),
            Members::Filtered(found, places) => match found.place(code) {
                Some(at) if places.contains(&at) => Membership::Yes { display: found.concepts[at].display.clone() },
                Some(_) => Membership::No,
                None => found.without(code, version),
            },
            Members::Computed(rule) => rule.judge(code),
            Members::Unknown(reason) => Membership::unknown(Arc::clone(reason)),
        };
        for set in imports {
            answer = answer.and(|| imported(set));
        }
        answer
    }

    fn unknown_reason(&self) -> Option<&str> {
        let of_members = match &self.members {
            Members::Unknown(reason) => Some(&**reason),
            Members::Whole(found) | Members::Filtered(found, _) if found.content() == Content::Partial => {
                Some("of a code system only a part is here")
            }
            _ => None,
        };
        of_members.or_else(|| {
            self.imports.iter().find_map(|set| match set {
                Ok(set) => set.unknown(),
                Err(reason) => Some(reason),
            })
        })
    }
}
