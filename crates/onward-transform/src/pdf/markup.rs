//! Our own pages as blocks: the few elements that the templates and the narrative filter write, and nothing else.

use super::spans;

/// A stretch of text of one look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) text: String,
    pub(super) bold: bool,
    pub(super) struck: bool,
}

/// Text with line breaks (`\n`).
pub(super) type Inline = Vec<Run>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Block {
    /// Level from 1.
    Heading(u16, Inline),
    Paragraph(Inline),
    List(Vec<Inline>),
    Table(Table),
    /// What stands in a frame: the banner, a stop.
    Framed(Vec<Block>),
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) caption: Inline,
    pub(super) rows: Vec<Row>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) head: bool,
    /// Counts the sections of the table: nothing spans from one into the next.
    pub(super) section: usize,
    pub(super) cells: Vec<Cell>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) header: bool,
    pub(super) span: usize,
    /// Rows that it stands in; 0 for all that are left of its section.
    pub(super) rows: usize,
    pub(super) text: Inline,
}

/// An element that is open.
struct Open {
    name: String,
    framed: bool,
}

/// Reads what the templates wrote. What is unknown gives its text.
pub(super) fn blocks(html: &str) -> Vec<Block> {
    let mut reader = Reader {
        open: Vec::new(),
        blocks: vec![Vec::new()],
        text: Vec::new(),
        tables: Vec::new(),
        sections: 0,
        repeats: spans::REPEATS_MAX,
        list: Vec::new(),
    };
    let mut rest = html;
    while let Some(at) = rest.find('<') {
        reader.text(&rest[..at]);
        let Some(end) = rest[at..].find('>') else { break };
        reader.tag(&rest[at + 1..at + end]);
        rest = &rest[at + end + 1..];
    }
    reader.text(rest);
    reader.flush();
    while reader.blocks.len() > 1 {
        reader.end_frame();
    }
    reader.blocks.pop().unwrap_or_default()
}

/// The texts of a block, those of a frame one by one.
pub(super) fn words_of(block: &Block) -> Vec<String> {
    let words = |text: &Inline| text.iter().map(|run| run.text.as_str()).collect::<String>();
    match block {
        Block::Heading(_, text) | Block::Paragraph(text) => vec![words(text)],
        Block::List(items) => items.iter().map(words).collect(),
        Block::Table(table) => {
            let cells = table.rows.iter().flat_map(|row| &row.cells).map(|cell| words(&cell.text));
            Some(words(&table.caption)).filter(|caption| !caption.is_empty()).into_iter().chain(cells).collect()
        }
        Block::Framed(blocks) => blocks.iter().flat_map(words_of).collect(),
    }
}

struct Reader {
    open: Vec<Open>,
    /// The innermost frame's blocks last.
    blocks: Vec<Vec<Block>>,
    text: Inline,
    /// The innermost table last; only the outermost becomes one, those in its cells give their text.
    tables: Vec<Table>,
    sections: usize,
    /// Cells that may still be repeated.
    repeats: usize,
    list: Vec<Vec<Inline>>,
}

impl Reader {
    fn is_open(&self, names: &[&str]) -> bool {
        self.open.iter().any(|open| names.contains(&open.name.as_str()))
    }

    fn text(&mut self, raw: &str) {
        // What a link leads to is not in a PDF: its words would promise it.
        if raw.is_empty() || self.is_open(&["a"]) {
            return;
        }
        let text = entities(raw);
        let text = if self.is_open(&["pre"]) { text } else { collapsed(&text) };
        let bold = self.is_open(&["strong", "b", "th", "dt", "caption"]);
        self.push(&text, bold, self.is_open(&["del"]));
    }

    fn push(&mut self, text: &str, bold: bool, struck: bool) {
        match self.text.last_mut() {
            Some(run) if (run.bold, run.struck) == (bold, struck) => run.text.push_str(text),
            _ => self.text.push(Run { text: text.to_owned(), bold, struck }),
        }
    }

    fn line(&mut self) {
        if self.text.iter().any(|run| !run.text.trim().is_empty()) {
            self.push("\n", false, false);
        }
    }

    fn tag(&mut self, tag: &str) {
        if let Some(name) = tag.strip_prefix('/') {
            self.end(name.trim());
            return;
        }
        let (name, attributes) = tag.split_once(|c: char| c.is_whitespace()).unwrap_or((tag, ""));
        match name.trim_end_matches('/') {
            "br" => self.push("\n", false, false),
            "hr" | "img" => {}
            name => self.start(name, attributes),
        }
    }

    fn in_cell(&self) -> bool {
        !self.tables.is_empty()
    }

    fn start(&mut self, name: &str, attributes: &str) {
        let framed = !self.in_cell()
            && (name == "section" || attributes.contains("class=\"stop\"") || attributes.contains("class=\"note\""));
        match name {
            "table" => {
                if self.tables.is_empty() {
                    self.flush();
                }
                self.tables.push(Table::default());
            }
            "thead" | "tbody" | "tfoot" => self.sections += 1,
            "tr" if self.tables.len() == 1 => {
                let (head, section) = (self.is_open(&["thead"]), self.sections);
                if let Some(table) = self.tables.last_mut() {
                    table.rows.push(Row { head, section, cells: Vec::new() });
                }
            }
            "td" | "th" if self.tables.len() == 1 => {
                let span = |name| {
                    let value = attributes.split(name).nth(1).and_then(|rest| rest.split('"').next()?.parse().ok());
                    value.unwrap_or(1_usize)
                };
                let cell = Cell {
                    header: name == "th",
                    span: span("colspan=\"").clamp(1, 20),
                    rows: span("rowspan=\""),
                    text: Vec::new(),
                };
                if let Some(row) = self.tables.last_mut().and_then(|table| table.rows.last_mut()) {
                    row.cells.push(cell);
                }
                self.text.clear();
            }
            "caption" if self.tables.len() == 1 => self.text.clear(),
            "a" => self.push("a file of its own, not in this PDF", false, false),
            "ul" | "ol" if !self.in_cell() => {
                self.flush();
                self.list.push(Vec::new());
            }
            "li" if self.in_cell() => {
                self.line();
                self.push("• ", false, false);
            }
            "p" | "div" | "dt" | "dd" | "tr" | "blockquote" | "pre" | "h1" | "h2" | "h3" | "h4" | "h5" | "h6"
                if self.in_cell() || !self.list.is_empty() =>
            {
                self.line();
            }
            "p" | "div" | "section" | "dl" | "dt" | "dd" | "blockquote" | "pre" | "h1" | "h2" | "h3" | "h4" | "h5"
            | "h6" => {
                self.flush();
            }
            _ => {}
        }
        if framed {
            self.blocks.push(Vec::new());
        }
        self.open.push(Open { name: name.to_owned(), framed });
    }

    fn end(&mut self, name: &str) {
        let Some(at) = self.open.iter().rposition(|open| open.name == name) else { return };
        match name {
            "table" => {
                let table = self.tables.pop();
                if let Some(mut table) = table.filter(|table| self.tables.is_empty() && !table.rows.is_empty()) {
                    self.text.clear();
                    spans::fill(&mut table.rows, &mut self.repeats);
                    self.add(Block::Table(table));
                }
            }
            "td" | "th" if self.tables.len() == 1 => {
                let text = trimmed(std::mem::take(&mut self.text));
                if let Some(cell) = self.tables.last_mut().and_then(|table| table.rows.last_mut()?.cells.last_mut()) {
                    cell.text = text;
                }
            }
            "td" | "th" if self.in_cell() => self.push(" ", false, false),
            "caption" if self.tables.len() == 1 => {
                let text = trimmed(std::mem::take(&mut self.text));
                if let Some(table) = self.tables.last_mut() {
                    table.caption = text;
                }
            }
            "li" if !self.in_cell() => {
                let text = trimmed(std::mem::take(&mut self.text));
                if let Some(list) = self.list.last_mut().filter(|_| !text.is_empty()) {
                    list.push(text);
                }
            }
            "ul" | "ol" if !self.in_cell() => {
                let items = self.list.pop().unwrap_or_default();
                if !items.is_empty() {
                    self.add(Block::List(items));
                }
            }
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" if !self.in_cell() && self.list.is_empty() => {
                let level = name[1..].parse().unwrap_or(4);
                let text = trimmed(std::mem::take(&mut self.text));
                if !text.is_empty() {
                    self.add(Block::Heading(level, text));
                }
            }
            "p" | "div" | "section" | "dt" | "dd" | "blockquote" | "pre" if !self.in_cell() && self.list.is_empty() => {
                self.flush();
            }
            _ => {}
        }
        for open in self.open.split_off(at) {
            if open.framed {
                self.flush();
                self.end_frame();
            }
        }
    }

    /// Text that stands alone is a paragraph.
    fn flush(&mut self) {
        if self.in_cell() {
            return;
        }
        let text = trimmed(std::mem::take(&mut self.text));
        if !text.is_empty() {
            match self.list.last_mut() {
                Some(list) => list.push(text),
                None => self.add(Block::Paragraph(text)),
            }
        }
    }

    fn end_frame(&mut self) {
        let framed = self.blocks.pop().unwrap_or_default();
        if !framed.is_empty() {
            self.add(Block::Framed(framed));
        }
    }

    fn add(&mut self, block: Block) {
        match self.blocks.last_mut() {
            Some(blocks) => blocks.push(block),
            None => self.blocks.push(vec![block]),
        }
    }
}

fn collapsed(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut space = false;
    for c in text.chars() {
        match c {
            ' ' | '\t' | '\r' | '\n' => space = true,
            c => {
                if space {
                    out.push(' ');
                }
                space = false;
                out.push(c);
            }
        }
    }
    if space {
        out.push(' ');
    }
    out
}

fn trimmed(mut text: Inline) -> Inline {
    while let Some(first) = text.first_mut() {
        first.text = first.text.trim_start().to_owned();
        if !first.text.is_empty() {
            break;
        }
        text.remove(0);
    }
    while let Some(last) = text.last_mut() {
        last.text = last.text.trim_end().to_owned();
        if !last.text.is_empty() {
            break;
        }
        text.pop();
    }
    text
}

fn entities(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        let from = &rest[at..];
        let known = from.find(';').filter(|end| *end <= 10).and_then(|end| Some((end, entity(&from[1..end])?)));
        match known {
            Some((end, c)) => {
                out.push(c);
                rest = &from[end + 1..];
            }
            None => {
                out.push('&');
                rest = &from[1..];
            }
        }
    }
    out.push_str(rest);
    out
}

fn entity(name: &str) -> Option<char> {
    match name {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        name => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => number.parse().ok()?,
            };
            char::from_u32(code)
        }
    }
}
