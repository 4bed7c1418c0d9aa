//! What the templates' components are made of, and the comparison with the published examples.

use std::borrow::Cow;

/// A field of a form.
#[derive(Debug, Clone, Default)]
pub struct Field {
    /// `id`, to which errors link.
    pub id: String,
    /// Name in the form.
    pub name: String,
    /// What it asks.
    pub label: String,
    /// A line of help, or nothing.
    pub hint: String,
    /// What is wrong with it, or nothing.
    pub error: String,
    /// What stands in it.
    pub value: String,
}

impl Field {
    /// A field whose identifier is its name.
    #[must_use]
    pub fn new(name: &str, label: &str) -> Self {
        Self { id: name.to_owned(), name: name.to_owned(), label: label.to_owned(), ..Self::default() }
    }

    /// Whether a value is one of those in it, which spaces part.
    #[must_use]
    pub fn holds(&self, value: &str) -> bool {
        self.value.split(' ').any(|held| held == value)
    }

    /// What describes the field to assistive technology.
    #[must_use]
    pub fn described(&self) -> Option<String> {
        let parts: Vec<String> = [(&self.hint, "hint"), (&self.error, "error")]
            .into_iter()
            .filter(|(text, _)| !text.is_empty())
            .map(|(_, part)| format!("{}-{part}", self.id))
            .collect();
        (!parts.is_empty()).then(|| parts.join(" "))
    }
}

/// One of several answers.
#[derive(Debug, Clone)]
pub struct Choice {
    /// Its value in the form.
    pub value: Cow<'static, str>,
    /// Its words.
    pub text: Cow<'static, str>,
}

impl Choice {
    /// One with these.
    #[must_use]
    pub fn new(value: impl Into<Cow<'static, str>>, text: impl Into<Cow<'static, str>>) -> Self {
        Self { value: value.into(), text: text.into() }
    }
}

/// What is wrong with a form.
#[derive(Debug, Clone)]
pub struct FormError {
    /// The field's `id`.
    pub field: String,
    /// What to do.
    pub text: String,
}

/// A line of a list of facts.
#[derive(Debug, Clone)]
pub struct Fact {
    /// What.
    pub key: &'static str,
    /// Its lines.
    pub lines: Vec<String>,
}

#[cfg(test)]
mod tests;
