//! Lists that one damaged row does not end.

use std::fmt;
use std::ops::{Deref, DerefMut};

use uuid::Uuid;

/// A list, and what belongs to it and cannot be read: that hides nothing else, and whoever reads the list is told that it is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed<T> {
    /// What could be read, in the order of the list.
    pub rows: Vec<T>,
    /// What could not.
    pub damaged: Vec<Damaged>,
}

/// A row that is not what was written. It reads "ID (table.column)".
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Damaged {
    /// Its identifier, where that can be read.
    pub id: Option<Uuid>,
    /// Where it is damaged, by table and column, never what stands there; or that it was erased.
    pub place: String,
}

impl<T> Default for Listed<T> {
    fn default() -> Self {
        Self { rows: Vec::new(), damaged: Vec::new() }
    }
}

impl<T> Deref for Listed<T> {
    type Target = Vec<T>;

    fn deref(&self) -> &Vec<T> {
        &self.rows
    }
}

impl<T> DerefMut for Listed<T> {
    fn deref_mut(&mut self) -> &mut Vec<T> {
        &mut self.rows
    }
}

impl<T> IntoIterator for Listed<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.rows.into_iter()
    }
}

impl fmt::Display for Damaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.id {
            Some(id) => write!(f, "{id} ({})", self.place),
            None => write!(f, "one without an identifier ({})", self.place),
        }
    }
}

impl Damaged {
    /// In words, such as "1 copy cannot be read: ID (table.column)"; `None` where there is nothing to tell.
    #[must_use]
    pub fn told(damaged: &[Self], (one, several): (&str, &str)) -> Option<String> {
        let each: Vec<String> = damaged.iter().map(ToString::to_string).collect();
        let what = if damaged.len() == 1 { one } else { several };
        (!damaged.is_empty()).then(|| format!("{} {what} cannot be read: {}", damaged.len(), each.join(", ")))
    }
}
