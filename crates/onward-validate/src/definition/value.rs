//! Values that a definition demands: fixed and pattern (R4 §2.28.0.6), and the bounds minValue and maxValue.

use onward_fhir::Element;

/// An element's content, owned: what `fixed[x]` or `pattern[x]` hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Value {
    /// Of a primitive.
    pub(crate) text: Option<Box<str>>,
    pub(crate) children: Vec<(Box<str>, Value)>,
    /// The type that the element's name tells: `CodeableConcept` of `patternCodeableConcept`.
    pub(crate) type_name: Box<str>,
}

impl Value {
    /// Of an element named by its type behind a stem: `fixedUri`.
    pub(crate) fn read(element: Element<'_, '_>, stem: &str) -> Self {
        let suffix = element.name().strip_prefix(stem).unwrap_or_default();
        let mut value = Self::content(element);
        value.type_name = suffix.into();
        value
    }

    fn content(element: Element<'_, '_>) -> Self {
        Self {
            text: element.value().map(Into::into),
            children: element.children().map(|child| (child.name().into(), Self::content(child))).collect(),
            type_name: "".into(),
        }
    }

    /// True when the element is exactly this: every child, in order, and no other.
    pub(crate) fn equals(&self, element: Element<'_, '_>) -> bool {
        if !same_text(self.text.as_deref(), element.value()) {
            return false;
        }
        let mut matched = 0;
        for child in element.children() {
            let position = nth_of_name(child);
            let wanted = self.children.iter().filter(|(name, _)| **name == *child.name()).nth(position);
            if !wanted.is_some_and(|(_, wanted)| wanted.equals(child)) {
                return false;
            }
            matched += 1;
        }
        matched == self.children.len()
    }

    /// True when the element holds at least this: its list items in any order.
    pub(crate) fn is_within(&self, element: Element<'_, '_>) -> bool {
        if self.text.is_some() && !same_text(self.text.as_deref(), element.value()) {
            return false;
        }
        self.children.iter().all(|(name, wanted)| element.all(name).any(|child| wanted.is_within(child)))
    }

    /// The code systems and codes that it names, to tell a person what was expected.
    pub(crate) fn shown(&self) -> String {
        if let Some(text) = &self.text {
            return format!("\"{}\"", text.chars().take(120).collect::<String>());
        }
        let parts: Vec<String> =
            self.children.iter().map(|(name, value)| format!("{name} {}", value.shown())).collect();
        parts.join(", ")
    }
}

fn nth_of_name(child: Element<'_, '_>) -> usize {
    child
        .parent()
        .and_then(|parent| parent.all(child.name()).position(|sibling| sibling.id() == child.id()))
        .unwrap_or_default()
}

fn same_text(wanted: Option<&str>, found: Option<&str>) -> bool {
    match (wanted, found) {
        (Some(wanted), Some(found)) => wanted == found,
        (None, None) => true,
        _ => false,
    }
}
