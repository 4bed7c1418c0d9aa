//! Cells of files that people open in a spreadsheet.

/// A cell that no spreadsheet takes for a formula (OWASP CSV injection).
pub(crate) fn inert(cell: &str) -> String {
    match cell.trim_start().starts_with(['=', '+', '-', '@', '\t', '\r', '|', '%']) {
        true => format!("'{cell}"),
        false => cell.to_owned(),
    }
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
