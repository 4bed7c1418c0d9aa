use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::*;
use onward_core::state::DeliveryState;

/// A code system or value set of `profiles/onward`.
fn definition(name: &str) -> Value {
    let path = format!("{}/../../profiles/onward/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).expect("one of our own definitions")).expect("JSON")
}

fn concepts(of: &Value) -> BTreeMap<String, Option<String>> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let list = of["concept"].as_array().expect("concepts");
    list.iter().map(|concept| (text(&concept["code"]).expect("a code"), text(&concept["display"]))).collect()
}

#[test]
fn our_package_publishes_the_codes_of_our_tasks() {
    let mut expected: BTreeMap<_, _> =
        RecipientKind::ALL.iter().map(|kind| (kind.as_str().to_owned(), Some(purpose(*kind).to_owned()))).collect();
    let value_set = definition("ValueSet-delivery-kind");
    let include = &value_set["compose"]["include"][0];
    assert_eq!((include["system"].as_str(), concepts(include)), (Some(TASK_CODES), expected.clone()));

    let system = definition("CodeSystem-task");
    expected.insert("transfer-of-care".to_owned(), Some("Transfer of care".to_owned()));
    assert_eq!((system["url"].as_str(), concepts(&system)), (Some(TASK_CODES), expected));
}

#[test]
fn our_package_publishes_every_status_of_a_copy() {
    let statuses: BTreeSet<_> = DeliveryState::ALL.iter().map(|state| state.task_status().to_owned()).collect();
    let value_set = definition("ValueSet-delivery-task-status");
    assert_eq!(concepts(&value_set["compose"]["include"][0]).into_keys().collect::<BTreeSet<_>>(), statuses);
}
