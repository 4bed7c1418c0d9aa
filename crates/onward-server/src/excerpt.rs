//! The line of the sender's text that a finding is about, with the place underlined.

/// Characters of the line that are shown at most; the place stands in them.
const WIDTH: usize = 96;
/// What is shown of the line before the place.
const BEFORE: usize = 40;

/// The line and its underline, without their line number: `None` where the text has no such place.
///
/// `line` and `column` count from 1, columns in characters, as findings have them.
#[must_use]
pub(crate) fn excerpt(source: &str, line: usize, column: usize) -> Option<(String, String)> {
    let text = source.split('\n').nth(line.checked_sub(1)?)?.trim_end_matches('\r');
    let at = column.checked_sub(1)?;
    let (from, rest) = text.char_indices().nth(at).map(|(offset, _)| text.split_at(offset))?;
    let start = at.saturating_sub(BEFORE);
    // A tab would be as wide as the terminal likes, and the underline would miss its place.
    let shown: String = from.chars().skip(start).chain(rest.chars()).map(|c| if c == '\t' { ' ' } else { c }).collect();
    let shown: String = shown.chars().take(WIDTH).collect();
    let before = at - start;
    let room = shown.chars().count().checked_sub(before).filter(|room| *room > 0)?;
    let length = token_length(rest).clamp(1, room);
    Some((shown, format!("{}{}", " ".repeat(before), "^".repeat(length))))
}

/// Characters of what stands at the beginning: a tag, a string with its quotes, or a bare word.
fn token_length(text: &str) -> usize {
    let mut characters = text.chars();
    let until = |close: char, text: &mut dyn Iterator<Item = char>| {
        let mut escaped = false;
        let mut length = 1;
        for c in text {
            length += 1;
            if c == close && !escaped {
                return length;
            }
            escaped = c == '\\' && close == '"' && !escaped;
        }
        length
    };
    match characters.next() {
        Some('<') => until('>', &mut characters),
        Some('"') => until('"', &mut characters),
        Some('{' | '[') => 1,
        Some(_) => text.chars().take_while(|c| !c.is_whitespace() && !",]}<".contains(*c)).count(),
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(source: &str, line: usize, column: usize) -> (String, String) {
        excerpt(source, line, column).expect("the place is there")
    }

    #[test]
    fn the_place_is_underlined() {
        assert_eq!(of("{\n  \"a\": 12, \"b\": true\n}", 2, 8), ("  \"a\": 12, \"b\": true".into(), "       ^^".into()));
        assert_eq!(of("{\"a\": \"x \\\" y\", 1}", 1, 7), ("{\"a\": \"x \\\" y\", 1}".into(), "      ^^^^^^^^".into()));
        assert_eq!(
            of("<a>\r\n <b value=\"1\"/></a>", 2, 2),
            (" <b value=\"1\"/></a>".into(), " ^^^^^^^^^^^^^^".into())
        );
        assert_eq!(of("{\"é\": {}}", 1, 7).1, "      ^", "columns are characters");
        assert_eq!(of("\t\t12", 1, 3), ("  12".into(), "  ^^".into()));
    }

    #[test]
    fn long_lines_are_cut_around_the_place() {
        let long = format!("{}\"here\"{}", "x".repeat(5_000), "y".repeat(5_000));
        let (line, mark) = of(&long, 1, 5_001);
        assert_eq!(line.chars().count(), WIDTH);
        assert_eq!(mark.trim_start(), "^^^^^^");
        assert!(line.chars().skip(mark.find('^').expect("marked")).collect::<String>().starts_with("\"here\""));
    }

    #[test]
    fn places_that_are_not_there_have_no_excerpt() {
        for (line, column) in [(0, 1), (1, 0), (2, 1), (1, 4), (usize::MAX, usize::MAX)] {
            assert_eq!(excerpt("abc", line, column), None, "{line}:{column}");
        }
        assert_eq!(excerpt("", 1, 1), None);
    }
}
