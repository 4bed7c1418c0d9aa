//! What a rendition discloses and withholds, rule by rule, as people are told.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// Each rule with how many elements it is about, the most frequent first.
pub(crate) fn by_rule(rows: &[Value]) -> Vec<(String, usize)> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for row in rows {
        *counts.entry(text(row, "rule")).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().map(|(text, count)| (text.to_owned(), count)).collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    counts
}

/// Rules of one kind on one line: `elements.List: code` and `elements.List: mode` as `List: code, mode`. The counts
/// are of elements, not of rules.
pub(crate) fn together(rows: &[Value]) -> Vec<(String, usize)> {
    let mut groups: BTreeMap<&str, (usize, BTreeSet<&str>)> = BTreeMap::new();
    for row in rows {
        let rule = text(row, "rule");
        let (group, item) = match rule.split_once(": ") {
            Some((group, item)) => match group.strip_prefix("sections.") {
                Some(heading) => ("sections", heading),
                // The last part of an extension's URL is its name.
                None if group == "extensions" => (group, item.rsplit('/').next().unwrap_or(item)),
                None => (group.strip_prefix("elements.").unwrap_or(group), item),
            },
            None => (rule, ""),
        };
        let (count, items) = groups.entry(group).or_default();
        *count += 1;
        items.insert(item);
    }
    let mut lines: Vec<_> = groups
        .into_iter()
        .map(|(group, (count, items))| {
            let items: Vec<_> = items.into_iter().filter(|item| !item.is_empty()).collect();
            let line = if items.is_empty() { group.to_owned() } else { format!("{group}: {}", items.join(", ")) };
            (line, count)
        })
        .collect();
    lines.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    lines
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_default()
}
