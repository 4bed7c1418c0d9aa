//! A collection: most hold one item or none, and then nothing is allocated.

use smallvec::SmallVec;

use super::item::Item;

/// The items of a collection in order.
pub(super) type Items<'t> = SmallVec<[Item<'t>; 1]>;

/// One item.
pub(super) fn one(item: Item<'_>) -> Items<'_> {
    let mut items = Items::new();
    items.push(item);
    items
}

/// A boolean, or nothing.
pub(super) fn truth<'t>(value: Option<bool>) -> Items<'t> {
    value.map(Item::Boolean).into_iter().collect()
}
