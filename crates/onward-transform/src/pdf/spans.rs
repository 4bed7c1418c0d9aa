//! Cells that stand in several rows: each row gets them again, so that what follows stays under its own heading.

use super::markup::{Cell, Row, Run};

/// Cells of a document that are repeated at most: beyond that a few bytes a row would become a file of any size.
pub(super) const REPEATS_MAX: usize = 20_000;
/// Characters that are repeated; longer text is only referred to.
const TEXT_MAX: usize = 200;

/// A cell above that still stands in rows below.
struct Carried {
    rows: usize,
    column: usize,
    cell: Cell,
}

/// Writes cells of several rows into each of them. Once `repeats` are used up, a row that one reaches into becomes a single cell
/// across the table.
pub(super) fn fill(rows: &mut [Row], repeats: &mut usize) {
    let mut carried: Vec<Carried> = Vec::new();
    let mut section = None;
    for row in rows {
        if section != Some(row.section) {
            (section, carried) = (Some(row.section), Vec::new());
        }
        if *repeats < carried.len() {
            joined(row);
            continue;
        }
        *repeats -= carried.len();
        let mut above = std::mem::take(&mut carried).into_iter().peekable();
        let mut own = std::mem::take(&mut row.cells).into_iter();
        let (mut column, mut below) = (0, Vec::new());
        loop {
            if let Some(mut next) = above.next_if(|next| next.column <= column) {
                // What the row has of its own was too wide: the carried cell stands where there is room.
                next.column = column;
                column += next.cell.span;
                row.cells.push(next.cell.clone());
                keep(&mut below, next);
            } else if let Some(cell) = own.next() {
                let room = above.peek().map_or(usize::MAX, |next| next.column - column);
                let cell = Cell { span: cell.span.min(room), ..cell };
                let rows = if cell.rows == 0 { usize::MAX } else { cell.rows };
                let start = column;
                column += cell.span;
                row.cells.push(cell.clone());
                keep(&mut below, Carried { rows, column: start, cell: Cell { text: short(&cell), ..cell } });
            } else if let Some(next) = above.peek() {
                row.cells.push(Cell { span: 1, rows: 1, ..Cell::default() });
                column += 1;
                debug_assert!(column <= next.column, "a gap ends where a carried cell begins");
            } else {
                break;
            }
        }
        carried = below;
    }
}

fn keep(below: &mut Vec<Carried>, carried: Carried) {
    let rows = carried.rows - 1;
    if rows > 0 {
        below.push(Carried { rows, ..carried });
    }
}

/// What is repeated of a cell.
fn short(cell: &Cell) -> Vec<Run> {
    match cell.text.iter().map(|run| run.text.len()).sum::<usize>() {
        0..=TEXT_MAX => cell.text.clone(),
        _ => vec![Run { text: "(as above)".to_owned(), bold: false, struck: false }],
    }
}

/// One cell with the words of all.
fn joined(row: &mut Row) {
    let mut text: Vec<Run> = Vec::new();
    for cell in row.cells.drain(..) {
        if !text.is_empty() {
            text.push(Run { text: " | ".to_owned(), bold: false, struck: false });
        }
        text.extend(cell.text);
    }
    row.cells.push(Cell { span: 20, rows: 1, header: false, text });
}
