//! The official suite, FHIR's invariants with good and bad examples, and hostile input.

mod hostile;
mod invariants;
mod presence;
mod sets;
mod suite;

use std::path::{Path, PathBuf};

use onward_fhir::read::{self, Limits};
use onward_fhir::{Release, Tree};

use super::{Alone, Context, EvaluationError, Expression, Host, Item, Session, Temporal};

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data");

fn folder(name: &str) -> Option<PathBuf> {
    let path = Path::new(DATA).join(name);
    if path.is_dir() {
        return Some(path);
    }
    assert!(std::env::var_os("ONWARD_REQUIRE_SHARED_DATA").is_none(), "shared data is required");
    eprintln!("SKIPPED: {name} of the shared data is absent");
    None
}

fn read(text: &str) -> Tree<'_> {
    let tree = match text.trim_start().starts_with('{') {
        true => read::json(text, &Limits::default()),
        false => read::xml(text, &Limits::default()),
    };
    tree.expect("readable FHIR")
}

fn compiled(source: &str) -> Expression {
    Expression::compile(source).unwrap_or_else(|error| panic!("{source}: {error}"))
}

fn context<'t>(tree: &'t Tree<'t>) -> Context<'t, 't> {
    let now = Temporal::date_time("2026-11-26T13:00:00.000Z").expect("a date-time");
    Context::new(tree.root(), "", Release::R4).with_now(now)
}

/// The results as text, for comparing.
fn texts(source: &str, tree: &Tree<'_>) -> Result<Vec<String>, EvaluationError> {
    let expression = compiled(source);
    let items = expression.evaluate(&context(tree))?;
    Ok(items.iter().map(|item| item.to_text().unwrap_or_default().into_owned()).collect())
}

fn holds(source: &str, resource: &str) -> bool {
    let tree = read(resource);
    compiled(source).holds(&context(&tree)).unwrap_or_else(|error| panic!("{source}: {error}"))
}
