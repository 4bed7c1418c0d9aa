//! Where results and diagnostics go: results to standard output, all else to standard error.
//!
//! Colour and progress are for terminals only. A reader that stops reading (`| head`) ends the output, never the
//! command: its exit code stays true. Control characters of foreign text do not reach a terminal.

use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write};
use std::time::{Duration, Instant};

use serde::Serialize;

/// Work that lasts longer shows how far it is.
const PROGRESS_AFTER: Duration = Duration::from_secs(2);
/// Width of wrapped text, in characters.
const WIDTH: usize = 100;

/// How a text stands out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// Headings.
    Bold,
    /// Of less weight.
    Dim,
    /// Good.
    Green,
    /// Doubtful.
    Yellow,
    /// Bad.
    Red,
}

impl Style {
    fn code(self) -> &'static str {
        match self {
            Self::Bold => "1",
            Self::Dim => "2",
            Self::Green => "32",
            Self::Yellow => "33",
            Self::Red => "31",
        }
    }
}

/// Both outputs of a command.
pub(super) struct Terminal {
    out: Stream,
    err: Stream,
    started: Instant,
    progress_shown: bool,
}

struct Stream {
    to: Box<dyn Write + Send>,
    terminal: bool,
    colour: bool,
    failed: Option<io::Error>,
}

impl Stream {
    fn new(to: Box<dyn Write + Send>, terminal: bool) -> Self {
        let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { to, terminal, colour, failed: None }
    }

    fn write(&mut self, bytes: &[u8]) {
        if self.failed.is_none() {
            self.failed = self.to.write_all(bytes).err();
        }
    }

    fn flush(&mut self) {
        if self.failed.is_none() {
            self.failed = self.to.flush().err();
        }
    }
}

impl Terminal {
    /// The process's own outputs.
    #[must_use]
    pub(super) fn of_process() -> Self {
        let (out, err) = (io::stdout(), io::stderr());
        let (out_is_terminal, err_is_terminal) = (out.is_terminal(), err.is_terminal());
        Self {
            out: Stream::new(Box::new(io::BufWriter::new(out)), out_is_terminal),
            err: Stream::new(Box::new(err), err_is_terminal),
            started: Instant::now(),
            progress_shown: false,
        }
    }

    /// One line of the result.
    pub(super) fn say(&mut self, line: impl Display) {
        self.write(format!("{line}\n").as_bytes());
    }

    /// Bytes of the result, as they are.
    pub(super) fn write(&mut self, bytes: &[u8]) {
        self.out.write(bytes);
    }

    /// One line of JSON.
    pub(super) fn json(&mut self, value: &impl Serialize) {
        let line = serde_json::to_string(value).expect("our own structures have string keys");
        self.say(line);
    }

    /// One line beside the result.
    pub(super) fn note(&mut self, line: impl Display) {
        self.clear_progress();
        self.out.flush();
        self.err.write(format!("{line}\n").as_bytes());
    }

    /// Why a command stopped, with all its causes.
    pub(super) fn error(&mut self, error: &anyhow::Error) {
        let word = if self.err.colour { "\u{1b}[31merror:\u{1b}[0m" } else { "error:" };
        self.note(format!("{word} {}", plain(&format!("{error:#}"))));
    }

    /// How far work is; shown on a terminal once it has lasted two seconds.
    pub(super) fn progress(&mut self, text: impl Display) {
        if self.err.terminal && self.started.elapsed() > PROGRESS_AFTER {
            self.err.write(format!("\r\u{1b}[2K{text}").as_bytes());
            self.progress_shown = true;
        }
    }

    fn clear_progress(&mut self) {
        if std::mem::take(&mut self.progress_shown) {
            self.err.write(b"\r\x1b[2K");
        }
    }

    /// Nobody reads the result any more.
    #[must_use]
    pub(super) fn reader_gone(&self) -> bool {
        self.out.failed.is_some()
    }

    /// The text in this style, where the result goes to a terminal. Control characters are replaced.
    #[must_use]
    pub(super) fn paint(&self, style: Style, text: impl Display) -> String {
        let text = plain(&text.to_string());
        if self.out.colour { format!("\u{1b}[{}m{text}\u{1b}[0m", style.code()) } else { text }
    }

    /// A wrapped paragraph of the result, each line indented.
    pub(super) fn paragraph(&mut self, indent: usize, text: &str) {
        for line in wrapped(&plain(text), WIDTH.saturating_sub(indent).max(20)) {
            self.say(format_args!("{:indent$}{line}", ""));
        }
    }

    /// A wrapped paragraph of the result behind a lead, such as a number; its further lines stand under the first.
    pub(super) fn hanging(&mut self, lead: &str, text: &str) {
        let indent = lead.chars().count();
        for (at, line) in wrapped(&plain(text), WIDTH.saturating_sub(indent).max(20)).iter().enumerate() {
            let lead = if at == 0 { lead } else { "" };
            self.say(format_args!("{lead:indent$}{line}"));
        }
    }

    /// Rows under headings, in columns as wide as needed.
    pub(super) fn table<const N: usize>(&mut self, headings: [&str; N], rows: &[[String; N]]) {
        let rows: Vec<[String; N]> = rows.iter().map(|row| row.each_ref().map(|cell| plain(cell))).collect();
        let width = |column: usize| {
            let cells = rows.iter().map(|row| row[column].chars().count());
            cells.chain([headings[column].chars().count()]).max().unwrap_or(0)
        };
        let widths: [usize; N] = std::array::from_fn(width);
        let line = |cells: &[String; N]| {
            let padded = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
            padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        let heading = line(&headings.map(str::to_owned));
        let heading = self.paint(Style::Bold, heading);
        self.say(heading);
        for row in &rows {
            self.say(line(row));
        }
    }

    /// What there is: a line of JSON for each, or a table; the words of `nothing` in place of an empty one.
    pub(super) fn list<T, J: Serialize, const N: usize>(
        &mut self,
        all: &[T],
        json: Option<fn(&T) -> J>,
        nothing: &str,
        headings: [&str; N],
        row: impl Fn(&T) -> [String; N],
    ) {
        match json {
            Some(shown) => all.iter().for_each(|each| self.json(&shown(each))),
            None if all.is_empty() => self.say(nothing),
            None => self.table(headings, &all.iter().map(row).collect::<Vec<_>>()),
        }
    }

    /// Ends the output.
    ///
    /// # Errors
    /// When the result could not be written whole for another reason than that nobody reads it.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        self.clear_progress();
        self.out.flush();
        match self.out.failed.take() {
            Some(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
            _ => Ok(()),
        }
    }
}

/// The text without control characters: foreign text must not steer a terminal.
#[must_use]
pub(super) fn plain(text: &str) -> String {
    let steers =
        |c: char| (c.is_control() && c != '\n') || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().map(|c| if steers(c) { '\u{fffd}' } else { c }).collect()
}

fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        for word in paragraph.split_whitespace() {
            if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        lines.push(line);
    }
    lines
}

#[cfg(test)]
pub(crate) mod capture {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};
    use std::time::Instant;

    use super::{Stream, Terminal};

    /// What was written.
    #[derive(Clone, Default)]
    pub(crate) struct Captured(Arc<Mutex<Vec<u8>>>);

    impl Captured {
        pub(crate) fn text(&self) -> String {
            String::from_utf8(self.0.lock().expect("no panic while held").clone()).expect("UTF-8")
        }
    }

    impl Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic while held").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A terminal that is none, and what went to its two outputs.
    pub(crate) fn terminal() -> (Terminal, Captured, Captured) {
        let (out, err) = (Captured::default(), Captured::default());
        let terminal = of(Box::new(out.clone()), Box::new(err.clone()));
        (terminal, out, err)
    }

    pub(super) fn of(out: Box<dyn Write + Send>, err: Box<dyn Write + Send>) -> Terminal {
        Terminal {
            out: Stream::new(out, false),
            err: Stream::new(err, false),
            started: Instant::now(),
            progress_shown: false,
        }
    }
}

#[cfg(test)]
mod tests;
