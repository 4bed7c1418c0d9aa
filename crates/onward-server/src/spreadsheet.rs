//! Cells of files that people open in a spreadsheet. Every CSV file of ours is written here.

/// With one of these a formula begins, in one program or another; the wide forms in those that read them as the narrow ones.
const FORMULA: [char; 10] = ['=', '+', '-', '@', '|', '%', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}'];

/// A cell that no spreadsheet takes for a formula (OWASP CSV injection), whatever that nobody sees stands before its first sign. Nor does
/// it begin with a tab or the end of a line, which some programs take away with whatever else they take for decoration.
pub(crate) fn inert(cell: &str) -> String {
    match cell.trim_start_matches(is_unseen).starts_with(FORMULA) || cell.starts_with(['\t', '\r', '\n']) {
        true => format!("'{cell}"),
        false => cell.to_owned(),
    }
}

fn is_unseen(c: char) -> bool {
    let zero_width =
        matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    c.is_whitespace() || c.is_control() || zero_width
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
    use super::{FORMULA, inert};

    #[test]
    fn no_cell_is_a_formula() {
        for formula in ["=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(1)", "|x", "%x"] {
            assert_eq!(inert(formula), format!("'{formula}"));
        }
        for sign in FORMULA {
            for before in
                ["", "\t", "\r", "\n", "\r\n", " ", "   ", "\u{a0}", "\u{3000}", "\u{feff}", "\u{200b} ", "\0"]
            {
                let cell = format!("{before}{sign}1");
                assert_eq!(inert(&cell), format!("'{cell}"), "{cell:?}");
            }
        }
        for broken in ["\tx", "\rx", "\nx", "\t", "\r\n"] {
            assert_eq!(inert(broken), format!("'{broken}"), "{broken:?}");
        }
        for plain in ["", " ", "Ada Wells", " Ada", "2026-11-26", "a=b", "R9Z", "\u{200b}x", "1\u{ff0b}1"] {
            assert_eq!(inert(plain), plain);
        }
    }
}
