//! The first 72 hours in the home: what a nurse goes through once somebody has arrived. Our own list, not yet reviewed by
//! nurses; NICE NG27 and the quick guides name most of it.

use std::collections::BTreeMap;

use onward_core::store::{CheckOutcome, Step, StepKind};

/// One item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Item {
    /// Its name in the store and in forms; it never changes its meaning.
    pub key: &'static str,
    /// What is to be done.
    pub title: &'static str,
}

/// The list, in its order.
pub const ITEMS: [Item; 11] = [
    Item { key: "identity", title: "Check who the person is against the summary" },
    Item { key: "medicines", title: "Check the medicines received against the list, and when each next dose is due" },
    Item { key: "briefing", title: "Brief the staff of each shift: the plan, what to watch, whom to ring" },
    Item { key: "allergies", title: "Write the allergies into the care plan" },
    Item { key: "controlled-drugs", title: "Check and enter controlled drugs" },
    Item { key: "risks", title: "Assess skin, falls and swallowing" },
    Item { key: "equipment", title: "Check that the equipment is there and works" },
    Item { key: "told", title: "Tell the GP practice and the pharmacy that the person is here" },
    Item { key: "resuscitation", title: "See the resuscitation form, or ask whether there is one" },
    Item { key: "social-care", title: "Ring social care early about what comes after the stay" },
    Item { key: "follow-up", title: "Book the follow-up that the hospital asks for" },
];

/// The item of this name.
#[must_use]
pub fn item(key: &str) -> Option<Item> {
    ITEMS.into_iter().find(|item| item.key == key)
}

/// The latest word on each item that has one.
#[must_use]
pub fn latest(steps: &[Step]) -> BTreeMap<&str, &Step> {
    let checked = steps.iter().filter(|step| step.kind == StepKind::Checked);
    checked.filter_map(|step| step.item.as_deref().map(|item| (item, step))).collect()
}

/// How many items are done or do not apply.
#[must_use]
pub fn settled(steps: &[Step]) -> u32 {
    let latest = latest(steps);
    let count = latest.values().filter(|step| step.outcome != Some(CheckOutcome::Problem)).count();
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Whether every item is done or does not apply.
#[must_use]
pub fn is_settled(steps: &[Step]) -> bool {
    let latest = latest(steps);
    let settled = |item: &Item| latest.get(item.key).is_some_and(|step| step.outcome != Some(CheckOutcome::Problem));
    ITEMS.iter().all(settled)
}
