//! A row of PostgreSQL as [`Cells`], and parameters of searches.

use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, ToSql, Type};
use uuid::Uuid;

use crate::columns::Cells;
use crate::query::Value;

impl Cells for Row {
    fn text(&self, column: &str) -> Option<Option<String>> {
        let is_id = self.columns().iter().any(|found| found.name() == column && *found.type_() == Type::UUID);
        if is_id { Some(cell::<Option<Uuid>>(self, column)?.map(|id| id.to_string())) } else { cell(self, column) }
    }

    fn bytes(&self, column: &str) -> Option<Option<Vec<u8>>> {
        cell(self, column)
    }

    fn number(&self, column: &str) -> Option<Option<i64>> {
        cell(self, column)
    }

    fn flag(&self, column: &str) -> Option<bool> {
        cell(self, column)
    }
}

fn cell<'a, T: FromSql<'a>>(row: &'a Row, column: &str) -> Option<T> {
    row.try_get(column).ok()
}

impl Value {
    /// As a parameter of a statement.
    pub(super) fn parameter(&self) -> &(dyn ToSql + Sync) {
        match self {
            Self::Number(number) => number,
            Self::Text(text) => text,
            Self::Id(id) => id,
        }
    }
}

/// SQL with `?` for its parameters as PostgreSQL counts them. The searches hold no other question mark.
pub(super) fn numbered(sql: &str) -> String {
    let mut parts = sql.split('?');
    let mut numbered = parts.next().unwrap_or_default().to_owned();
    for (n, part) in (1..).zip(parts) {
        numbered.push_str(&format!("${n}{part}"));
    }
    numbered
}

#[cfg(test)]
mod tests {
    use super::numbered;

    #[test]
    fn parameters_are_counted_from_one() {
        assert_eq!(numbered("a = ? AND b IN (?, ?) LIMIT ?"), "a = $1 AND b IN ($2, $3) LIMIT $4");
        assert_eq!(numbered("TRUE"), "TRUE");
    }
}
