//! Blocks on sheets of A4: lines broken by the widths of the type, rows kept together where they fit, heads of tables
//! repeated, and the tree of tags beside it.

use std::collections::VecDeque;
use std::num::NonZeroU16;

use krilla::Document;
use krilla::color::rgb;
use krilla::destination::XyzDestination;
use krilla::geom::{PathBuilder, Point};
use krilla::outline::{Outline, OutlineNode};
use krilla::page::PageSettings;
use krilla::paint::{Fill, Stroke};
use krilla::surface::Surface;
use krilla::tagging::{
    Artifact, ArtifactType, ContentTag, Identifier, ListNumbering, Node, SpanTag, TableHeaderScope, Tag, TagGroup,
    TagKind, TagTree,
};

use super::Sheets;
use super::faces::Faces;
use super::markup::{Block, Cell, Inline, Row, Run, Table};

const WIDTH: f32 = 595.276;
const HEIGHT: f32 = 841.89;
const MARGIN: f32 = 50.0;
const TOP: f32 = 64.0;
const BOTTOM: f32 = HEIGHT - 56.0;
const SIZE: f32 = 10.0;
const SMALL: f32 = 8.5;
const LEADING: f32 = 1.35;
const GAP: f32 = 6.0;
const PAD: f32 = 4.0;

/// A piece of a line.
struct Piece {
    text: String,
    bold: bool,
    struck: bool,
    width: f32,
}

type Line = Vec<Piece>;

enum Mark {
    /// Text at its baseline, part of the tag of this number.
    Text { x: f32, y: f32, size: f32, piece: Piece, tag: usize },
    /// A line, which means nothing.
    Rule { from: (f32, f32), to: (f32, f32), width: f32 },
}

enum Child {
    Tag(usize),
    /// The mark of this sheet and number.
    Mark(usize, usize),
}

struct TagNode {
    kind: Kind,
    children: Vec<Child>,
}

enum Kind {
    Heading(u16, String),
    Paragraph,
    List,
    Item,
    Body,
    Table,
    Caption,
    Row,
    Head(TableHeaderScope),
    Data,
    Section,
}

/// Sheets with their marks, and the tree.
pub(super) struct Laid {
    sheets: Vec<Vec<Mark>>,
    tags: Vec<TagNode>,
    roots: Vec<usize>,
    /// Text, sheet and height of the headings of level 2.
    outline: Vec<(String, usize, f32)>,
    person: String,
    foot: String,
}

struct Layouter<'a> {
    faces: &'a Faces,
    laid: Laid,
    y: f32,
    /// The level of the last heading: none is skipped.
    level: u16,
}

pub(super) fn lay(blocks: &[Block], sheets: &Sheets, faces: &Faces) -> Laid {
    let laid = Laid {
        sheets: vec![Vec::new()],
        tags: Vec::new(),
        roots: Vec::new(),
        outline: Vec::new(),
        person: faces.of(true).shown(&sheets.person),
        foot: faces.of(false).shown(&sheets.foot),
    };
    let mut layouter = Layouter { faces, laid, y: TOP, level: 0 };
    layouter.blocks(blocks, None, MARGIN, WIDTH - MARGIN);
    if layouter.laid.outline.is_empty() {
        layouter.laid.outline.push((sheets.title.clone(), 0, TOP));
    }
    layouter.laid
}

impl Layouter<'_> {
    fn tag(&mut self, parent: Option<usize>, kind: Kind) -> usize {
        let number = self.laid.tags.len();
        self.laid.tags.push(TagNode { kind, children: Vec::new() });
        match parent {
            Some(parent) => self.laid.tags[parent].children.push(Child::Tag(number)),
            None => self.laid.roots.push(number),
        }
        number
    }

    fn sheet(&self) -> usize {
        self.laid.sheets.len() - 1
    }

    fn next_sheet(&mut self) {
        self.laid.sheets.push(Vec::new());
        self.y = TOP;
    }

    /// Room for so much, on this sheet or the next.
    fn room(&mut self, height: f32) {
        if self.y + height > BOTTOM && self.y > TOP {
            self.next_sheet();
        }
    }

    fn mark(&mut self, mark: Mark) {
        let sheet = self.sheet();
        if let Mark::Text { tag, .. } = &mark {
            let number = self.laid.sheets[sheet].len();
            let tag = *tag;
            self.laid.tags[tag].children.push(Child::Mark(sheet, number));
        }
        self.laid.sheets[sheet].push(mark);
    }

    fn blocks(&mut self, blocks: &[Block], parent: Option<usize>, left: f32, right: f32) {
        for block in blocks {
            match block {
                Block::Heading(level, text) => self.heading(*level, text, parent, left, right),
                Block::Paragraph(text) => {
                    let tag = self.tag(parent, Kind::Paragraph);
                    self.lines(text, tag, (left, right), SIZE);
                    self.y += GAP;
                }
                Block::List(items) => self.list(items, parent, left, right),
                Block::Table(table) => self.table(table, parent, left, right),
                Block::Framed(blocks) => self.framed(blocks, parent, left, right),
            }
        }
    }

    fn heading(&mut self, level: u16, text: &Inline, parent: Option<usize>, left: f32, right: f32) {
        self.level = level.min(self.level + 1);
        let size = match self.level {
            1 => 17.0,
            2 => 13.5,
            3 => 11.5,
            _ => 10.5,
        };
        // A heading stands with what it heads.
        self.y += if self.level <= 2 { GAP } else { 2.0 };
        self.room(size * 4.0);
        let text: Inline = text.iter().cloned().map(|run| Run { bold: true, ..run }).collect();
        let words = text.iter().map(|run| run.text.as_str()).collect::<String>();
        let words = self.faces.of(true).shown(&words);
        if self.level == 2 {
            self.laid.outline.push((words.clone(), self.sheet(), self.y));
        }
        let tag = self.tag(parent, Kind::Heading(self.level, words));
        self.lines(&text, tag, (left, right), size);
        self.y += GAP / 2.0;
    }

    fn list(&mut self, items: &[Inline], parent: Option<usize>, left: f32, right: f32) {
        let list = self.tag(parent, Kind::List);
        for item in items {
            let tag = self.tag(Some(list), Kind::Item);
            let body = self.tag(Some(tag), Kind::Body);
            let mut text = vec![Run { text: "• ".to_owned(), bold: false, struck: false }];
            text.extend(item.iter().cloned());
            self.lines(&text, body, (left + 8.0, right), SIZE);
            self.y += 1.5;
        }
        self.y += GAP;
    }

    fn framed(&mut self, blocks: &[Block], parent: Option<usize>, left: f32, right: f32) {
        self.room(SIZE * 8.0);
        let section = self.tag(parent, Kind::Section);
        let (sheet, top) = (self.sheet(), self.y);
        self.y += PAD * 2.0;
        self.blocks(blocks, Some(section), left + PAD * 2.0, right - PAD * 2.0);
        // A frame that runs over the end of a sheet has none.
        if self.sheet() == sheet {
            let bottom = self.y;
            let corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)];
            for side in corners.windows(2) {
                self.mark(Mark::Rule { from: side[0], to: side[1], width: 1.5 });
            }
        }
        self.y += GAP * 1.5;
    }

    /// Text between two margins, line by line.
    fn lines(&mut self, text: &Inline, tag: usize, (left, right): (f32, f32), size: f32) {
        for line in self.broken(text, right - left, size) {
            self.room(size * LEADING);
            self.line(line, left, tag, size);
            self.y += size * LEADING;
        }
    }

    fn line(&mut self, line: Line, left: f32, tag: usize, size: f32) {
        let mut x = left;
        let y = self.y + size;
        for piece in line {
            let width = piece.width;
            self.mark(Mark::Text { x, y, size, piece, tag });
            x += width;
        }
    }

    /// Breaks at spaces; a word that is longer than a line is broken anywhere.
    fn broken(&self, text: &Inline, room: f32, size: f32) -> Vec<Line> {
        let mut lines: Vec<Line> = vec![Vec::new()];
        let mut used = 0.0;
        for run in text {
            let face = self.faces.of(run.bold);
            let shown = face.shown(&run.text);
            for (number, paragraph) in shown.split('\n').enumerate() {
                if number > 0 {
                    lines.push(Vec::new());
                    used = 0.0;
                }
                for word in words(paragraph) {
                    for part in parts(word, room, |c| face.sign(c) * size) {
                        let width = face.width(part) * size;
                        let bare = face.width(part.trim_end()) * size;
                        if used + bare > room && used > 0.0 {
                            lines.push(Vec::new());
                            used = 0.0;
                        }
                        let line = lines.last_mut().expect("there is always a line");
                        match line.last_mut() {
                            Some(last) if (last.bold, last.struck) == (run.bold, run.struck) => {
                                last.text.push_str(part);
                                last.width += width;
                            }
                            _ => line.push(Piece { text: part.to_owned(), bold: run.bold, struck: run.struck, width }),
                        }
                        used += width;
                    }
                }
            }
        }
        lines
    }

    fn table(&mut self, table: &Table, parent: Option<usize>, left: f32, right: f32) {
        let columns = table
            .rows
            .iter()
            .map(|row| row.cells.iter().map(|cell| cell.span).sum::<usize>())
            .max()
            .unwrap_or(1)
            .max(1);
        let widths = self.columns(table, columns, right - left);
        let tag = self.tag(parent, Kind::Table);
        if !table.caption.is_empty() {
            let caption = self.tag(Some(tag), Kind::Caption);
            self.room(SIZE * 5.0);
            self.lines(&table.caption, caption, (left, right), SIZE);
            self.y += 2.0;
        }
        let head: Vec<&Row> = table.rows.iter().take_while(|row| row.head).collect();
        for (number, row) in table.rows.iter().enumerate() {
            self.row(row, tag, left, &widths, if number < head.len() { &[] } else { &head });
        }
        self.rule(left, right);
        self.y += GAP * 1.5;
    }

    fn rule(&mut self, left: f32, right: f32) {
        let y = self.y;
        self.mark(Mark::Rule { from: (left, y), to: (right, y), width: 0.5 });
    }

    /// Wide columns for much text, none narrower than its longest word: "STOPPED" is one word.
    fn columns(&self, table: &Table, columns: usize, room: f32) -> Vec<f32> {
        let mut weights = vec![1.0_f32; columns];
        let mut least = vec![0.0_f32; columns];
        for row in &table.rows {
            let mut column = 0;
            for cell in &row.cells {
                if cell.span == 1 && column < columns {
                    let length: usize = cell.text.iter().map(|run| run.text.chars().count()).sum();
                    weights[column] = weights[column].max((length as f32).sqrt());
                    least[column] = least[column].max(self.longest_word(&cell.text) + 2.0 * PAD + 0.5);
                }
                column += cell.span;
            }
        }
        // A word that would take the room of others is broken after all.
        let share = room / columns as f32;
        least.iter_mut().for_each(|least| *least = least.min(share));
        let left = room - least.iter().sum::<f32>();
        let sum: f32 = weights.iter().sum();
        weights.iter().zip(least).map(|(weight, least)| least + left * weight / sum).collect()
    }

    fn longest_word(&self, text: &Inline) -> f32 {
        let words = text.iter().flat_map(|run| run.text.split_whitespace().map(|word| (run.bold, word)));
        words.map(|(bold, word)| self.faces.of(bold).width(word) * SMALL).fold(0.0, f32::max)
    }

    fn row(&mut self, row: &Row, table: usize, left: f32, widths: &[f32], head: &[&Row]) {
        let tag = self.tag(Some(table), Kind::Row);
        let mut places = Vec::with_capacity(row.cells.len());
        let (mut x, mut column) = (left, 0);
        for cell in &row.cells {
            let span = cell.span.min(widths.len().saturating_sub(column)).max(1);
            let width: f32 = widths.iter().skip(column).take(span).sum();
            let kind = match (row.head, cell.header) {
                (true, _) => Kind::Head(TableHeaderScope::Column),
                (false, true) => Kind::Head(TableHeaderScope::Row),
                (false, false) => Kind::Data,
            };
            let lines: VecDeque<Line> = self.cell_lines(cell, width).into();
            places.push((x, self.tag(Some(tag), kind), lines));
            x += width;
            column += span;
        }
        let right = x.max(left + widths.iter().sum::<f32>());
        let step = SMALL * LEADING;
        let lines = places.iter().map(|(_, _, lines)| lines.len()).max().unwrap_or(0);
        let height = lines as f32 * step + 2.0 * PAD;
        if self.y + height.min(BOTTOM - TOP) > BOTTOM && self.y > TOP {
            self.next_sheet_of_table(head, left, widths);
        }
        self.rule(left, right);
        self.y += PAD;
        for _ in 0..lines {
            if self.y + step > BOTTOM {
                self.next_sheet_of_table(head, left, widths);
            }
            for (x, tag, lines) in &mut places {
                if let Some(line) = lines.pop_front() {
                    let (x, tag) = (*x + PAD, *tag);
                    self.line(line, x, tag, SMALL);
                }
            }
            self.y += step;
        }
        self.y += PAD;
    }

    fn cell_lines(&self, cell: &Cell, width: f32) -> Vec<Line> {
        self.broken(&cell.text, (width - 2.0 * PAD).max(SMALL * 2.0), SMALL)
    }

    /// The head of a table again, for the eye alone.
    fn next_sheet_of_table(&mut self, head: &[&Row], left: f32, widths: &[f32]) {
        self.next_sheet();
        for row in head {
            let mut x = left;
            let mut most = 0;
            let y = self.y;
            for (cell, width) in row.cells.iter().zip(widths) {
                let lines = self.cell_lines(cell, *width);
                most = most.max(lines.len());
                for (number, line) in lines.into_iter().enumerate() {
                    let mut at = x + PAD;
                    for piece in line {
                        let width = piece.width;
                        let y = y + PAD + number as f32 * SMALL * LEADING + SMALL;
                        self.mark_repeated(at, y, piece);
                        at += width;
                    }
                }
                x += width;
            }
            self.y += most as f32 * SMALL * LEADING + 2.0 * PAD;
        }
    }

    fn mark_repeated(&mut self, x: f32, y: f32, piece: Piece) {
        let sheet = self.sheet();
        self.laid.sheets[sheet].push(Mark::Text { x, y, size: SMALL, piece, tag: usize::MAX });
    }
}

/// Each word with the blank behind it.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive(' ')
}

/// The word, or pieces of it that fit into `room`.
fn parts(word: &str, room: f32, width: impl Fn(char) -> f32) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut from, mut used) = (0, 0.0);
    for (at, c) in word.char_indices() {
        let next = width(c);
        // A blank at the end of a line takes no room.
        if used + next > room && at > from && c != ' ' {
            parts.push(&word[from..at]);
            (from, used) = (at, 0.0);
        }
        used += next;
    }
    parts.push(&word[from..]);
    parts
}

/// Puts the marks onto pages and sets the tree.
pub(super) fn draw(laid: &Laid, faces: &Faces, document: &mut Document) {
    let mut identifiers: Vec<Vec<Option<Identifier>>> = Vec::with_capacity(laid.sheets.len());
    let count = laid.sheets.len();
    for (number, marks) in laid.sheets.iter().enumerate() {
        let settings = PageSettings::from_wh(WIDTH, HEIGHT).expect("A4 has a size");
        let mut page = document.start_page_with(settings);
        let mut surface = page.surface();
        artifact(&mut surface, ArtifactType::Header, |surface| {
            text(surface, faces, (MARGIN, 36.0), 9.0, true, &laid.person);
            rule(surface, (MARGIN, 44.0), (WIDTH - MARGIN, 44.0), 1.0);
        });
        let mut of_sheet = Vec::with_capacity(marks.len());
        for mark in marks {
            of_sheet.push(draw_mark(&mut surface, faces, mark));
        }
        artifact(&mut surface, ArtifactType::Footer, |surface| {
            let foot = format!("{} Page {} of {count}", laid.foot, number + 1);
            text(surface, faces, (MARGIN, HEIGHT - 30.0), 8.0, false, &foot);
        });
        surface.finish();
        page.finish();
        identifiers.push(of_sheet);
    }
    let mut tree = TagTree::new().with_lang(Some("en-GB".to_owned()));
    for root in &laid.roots {
        if let Some(group) = group(laid, *root, &identifiers) {
            tree.push(group);
        }
    }
    document.set_tag_tree(tree);
    let mut outline = Outline::new();
    for (words, sheet, y) in &laid.outline {
        outline.push_child(OutlineNode::new(words.clone(), XyzDestination::new(*sheet, Point::from_xy(MARGIN, *y))));
    }
    document.set_outline(outline);
}

fn draw_mark(surface: &mut Surface<'_>, faces: &Faces, mark: &Mark) -> Option<Identifier> {
    match mark {
        Mark::Rule { from, to, width } => {
            artifact(surface, ArtifactType::Layout, |surface| rule(surface, *from, *to, *width));
            None
        }
        Mark::Text { x, y, size, piece, tag } => {
            if *tag == usize::MAX {
                artifact(surface, ArtifactType::Layout, |surface| {
                    text(surface, faces, (*x, *y), *size, piece.bold, &piece.text);
                });
                return None;
            }
            let identifier = surface.start_tagged(ContentTag::Span(SpanTag::empty()));
            text(surface, faces, (*x, *y), *size, piece.bold, &piece.text);
            if piece.struck {
                let middle = y - size * 0.3;
                rule(surface, (*x, middle), (x + piece.width, middle), 0.7);
            }
            surface.end_tagged();
            Some(identifier)
        }
    }
}

fn artifact(surface: &mut Surface<'_>, kind: ArtifactType, drawn: impl FnOnce(&mut Surface<'_>)) {
    // Where an artifact is drawn is no part of the tree.
    let _ = surface.start_tagged(ContentTag::Artifact(Artifact::with_kind(kind)));
    drawn(surface);
    surface.end_tagged();
}

fn text(surface: &mut Surface<'_>, faces: &Faces, (x, y): (f32, f32), size: f32, bold: bool, text: &str) {
    let face = faces.of(bold);
    let glyphs = face.glyphs(text);
    if glyphs.is_empty() {
        return;
    }
    surface.set_stroke(None);
    surface.set_fill(Some(Fill { paint: rgb::Color::new(33, 43, 50).into(), ..Fill::default() }));
    surface.draw_glyphs(Point::from_xy(x, y), &glyphs, face.font.clone(), text, size, false);
}

fn rule(surface: &mut Surface<'_>, from: (f32, f32), to: (f32, f32), width: f32) {
    let mut path = PathBuilder::new();
    path.move_to(from.0, from.1);
    path.line_to(to.0, to.1);
    let Some(path) = path.finish() else { return };
    surface.set_fill(None);
    surface.set_stroke(Some(Stroke { paint: rgb::Color::new(33, 43, 50).into(), width, ..Stroke::default() }));
    surface.draw_path(&path);
}

fn group(laid: &Laid, number: usize, identifiers: &[Vec<Option<Identifier>>]) -> Option<TagGroup> {
    let node = &laid.tags[number];
    let mut group = TagGroup::new(kind(&node.kind));
    for child in &node.children {
        match child {
            Child::Tag(tag) => {
                if let Some(child) = self::group(laid, *tag, identifiers) {
                    group.push(child);
                }
            }
            Child::Mark(sheet, mark) => {
                if let Some(identifier) = identifiers[*sheet][*mark] {
                    group.push(Node::Leaf(identifier));
                }
            }
        }
    }
    Some(group)
}

fn kind(kind: &Kind) -> TagKind {
    match kind {
        Kind::Heading(level, title) => {
            Tag::Hn(NonZeroU16::new(*level).unwrap_or(NonZeroU16::MIN), Some(title.clone())).into()
        }
        Kind::Paragraph => Tag::P.into(),
        Kind::List => Tag::L(ListNumbering::Disc).into(),
        Kind::Item => Tag::LI.into(),
        Kind::Body => Tag::LBody.into(),
        Kind::Table => Tag::Table.into(),
        Kind::Caption => Tag::Caption.into(),
        Kind::Row => Tag::TR.into(),
        Kind::Head(scope) => Tag::TH(*scope).into(),
        Kind::Data => Tag::TD.into(),
        Kind::Section => Tag::Section.into(),
    }
}
