//! Cells of files that people open in a spreadsheet.

/// A cell that no spreadsheet takes for a formula (OWASP CSV injection).
pub(crate) fn inert(cell: &str) -> String {
    match cell.trim_start().starts_with(['=', '+', '-', '@', '\t', '\r', '|', '%']) {
        true => format!("'{cell}"),
        false => cell.to_owned(),
    }
}

/// Rows under a heading, every cell inert.
pub(crate) fn csv<const N: usize>(headings: [&str; N], rows: impl Iterator<Item = [String; N]>) -> Vec<u8> {
    lines(std::iter::once(headings.map(str::to_owned)).chain(rows))
}

/// Rows of one length as they stand in the middle of a table, every cell inert.
pub(crate) fn lines<R: IntoIterator<Item = String>>(rows: impl Iterator<Item = R>) -> Vec<u8> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for row in rows {
        writer.write_record(row.into_iter().map(|cell| inert(&cell))).expect("rows of one length go into memory");
    }
    writer.into_inner().expect("memory takes everything")
}

#[cfg(test)]
mod tests {
    use super::inert;

    #[test]
    fn no_cell_is_a_formula() {
        for formula in ["=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(1)", "\t=1", " =1", "\r=1", "|x", "%x"] {
            assert_eq!(inert(formula), format!("'{formula}"));
        }
        for plain in ["", "Ada Wells", "2026-11-26", "a=b", "R9Z"] {
            assert_eq!(inert(plain), plain);
        }
    }
}
