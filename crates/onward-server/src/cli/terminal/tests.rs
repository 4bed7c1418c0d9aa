use super::*;

struct Failing(io::ErrorKind);

impl Write for Failing {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(self.0.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_reader_that_goes_is_no_fault_but_a_full_disk_is() {
    let mut gone = capture::of(Box::new(Failing(io::ErrorKind::BrokenPipe)), Box::new(io::sink()));
    gone.say("one");
    assert!(gone.reader_gone());
    assert!(gone.finish().is_ok());
    let mut full = capture::of(Box::new(Failing(io::ErrorKind::StorageFull)), Box::new(io::sink()));
    full.say("one");
    assert!(full.finish().is_err());
}

#[test]
fn results_and_notes_go_apart_and_without_colour() {
    let (mut terminal, out, err) = capture::terminal();
    let good = terminal.paint(Style::Green, "good");
    terminal.say(good);
    terminal.note("beside");
    terminal.error(&anyhow::anyhow!("inner").context("outer"));
    assert_eq!(out.text(), "good\n");
    assert_eq!(err.text(), "beside\nerror: outer: inner\n");
}

#[test]
fn foreign_text_cannot_steer_the_terminal() {
    let (mut terminal, out, _) = capture::terminal();
    terminal.table(["name"], &[["\u{1b}[2Jwiped\r".to_owned()]]);
    terminal.paragraph(0, "a\u{9b}31mb\u{202e}c");
    assert!(!out.text().contains(['\u{1b}', '\r', '\u{9b}', '\u{202e}']), "{:?}", out.text());
}

#[test]
fn columns_line_up_and_end_without_blanks() {
    let (mut terminal, out, _) = capture::terminal();
    let row = |a: &str, b: &str| [a.to_owned(), b.to_owned()];
    terminal.table(["id", "name"], &[row("1", "é"), row("1234", "long name")]);
    assert_eq!(out.text(), "id    name\n1     é\n1234  long name\n");
}

#[test]
fn further_lines_stand_under_the_first() {
    let (mut terminal, out, _) = capture::terminal();
    terminal.hanging("   12  ", &"word ".repeat(30));
    let text = out.text();
    assert!(text.starts_with("   12  word") && text.contains("\n       word"), "{text}");
    assert!(text.lines().all(|line| line.len() <= WIDTH));
}

#[test]
fn paragraphs_wrap_between_words_and_keep_long_ones_whole() {
    assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
    assert_eq!(wrapped("unbreakable x", 4), ["unbreakable", "x"]);
}
