//! The fields by which people are recognised.

use crate::pages::components::Field;

const STRONG: &str = "At least 12 characters. Three or four words that do not belong together are good.";

/// A password and its repetition, as they are chosen.
pub(super) fn chosen(label: &str, again: &str) -> [Field; 2] {
    let password = Field { hint: STRONG.to_owned(), ..Field::new("password", label) };
    [password, Field::new("again", again)]
}

/// A password that is there.
pub(super) fn present(name: &str, label: &str) -> Field {
    Field::new(name, label)
}

/// A code from an app.
pub(super) fn code(label: &str) -> Field {
    Field::new("code", label)
}

/// The address that an account has; what was typed stays.
pub(super) fn email(value: &str) -> Field {
    Field { value: value.to_owned(), ..Field::new("email", "E-mail address") }
}
