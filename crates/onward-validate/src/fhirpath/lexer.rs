//! Text into tokens (FHIRPath N1 grammar, Appendix B).

use super::SyntaxError;
use super::decimal::Decimal;
use super::temporal::Temporal;

/// One token.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    /// A plain word, keywords included.
    Word(Box<str>),
    /// `` `name` ``
    Delimited(Box<str>),
    /// `'text'`
    String(Box<str>),
    Integer(i64),
    Decimal(Decimal),
    Temporal(Temporal),
    /// `$this`, `$index`, `$total`
    Special(Box<str>),
    /// `%name`, `` %`name` ``, `%'name'`
    Variable(Box<str>),
    Symbol(&'static str),
}

/// Longest first where one begins another.
const SYMBOLS: &[&str] =
    &["!=", "!~", "<=", ">=", "(", ")", "[", "]", "{", "}", ".", ",", "+", "-", "*", "/", "&", "|", "=", "~", "<", ">"];

/// All tokens with the offset where each begins.
pub(super) fn tokens(source: &str) -> Result<Vec<(usize, Token)>, SyntaxError> {
    let mut lexer = Lexer { source, at: 0 };
    let mut found = Vec::new();
    loop {
        lexer.skip_blanks()?;
        let start = lexer.at;
        match lexer.token()? {
            Some(token) => found.push((start, token)),
            None => return Ok(found),
        }
    }
}

struct Lexer<'a> {
    source: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.source[self.at..]
    }

    fn fail<T>(&self, reason: &'static str) -> Result<T, SyntaxError> {
        Err(SyntaxError::at(self.at, reason))
    }

    fn skip_blanks(&mut self) -> Result<(), SyntaxError> {
        loop {
            self.at = self.source.len() - self.rest().trim_start().len();
            if self.rest().starts_with("//") {
                self.at += self.rest().find(['\n', '\r']).unwrap_or(self.rest().len());
            } else if let Some(comment) = self.rest().strip_prefix("/*") {
                match comment.find("*/") {
                    Some(end) => self.at += end + 4,
                    None => return self.fail("a comment is not closed"),
                }
            } else {
                return Ok(());
            }
        }
    }

    fn take_while(&mut self, fits: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let taken = &rest[..rest.find(|c| !fits(c)).unwrap_or(rest.len())];
        self.at += taken.len();
        taken
    }

    fn word(&mut self) -> &'a str {
        if self.rest().starts_with(|c: char| c.is_ascii_digit()) {
            return "";
        }
        self.take_while(|c| c.is_ascii_alphanumeric() || c == '_')
    }

    fn token(&mut self) -> Result<Option<Token>, SyntaxError> {
        let Some(first) = self.rest().chars().next() else { return Ok(None) };
        Ok(Some(match first {
            '\'' => Token::String(self.quoted('\'')?),
            '`' => Token::Delimited(self.quoted('`')?),
            '0'..='9' => self.number()?,
            '@' => self.temporal()?,
            '$' => {
                self.at += 1;
                Token::Special(self.word().into())
            }
            '%' => {
                self.at += 1;
                match self.rest().chars().next() {
                    Some(quote @ ('`' | '\'')) => Token::Variable(self.quoted(quote)?),
                    _ => match self.word() {
                        "" => return self.fail("a variable's name is missing"),
                        name => Token::Variable(name.into()),
                    },
                }
            }
            'a'..='z' | 'A'..='Z' | '_' => Token::Word(self.word().into()),
            _ => match SYMBOLS.iter().find(|symbol| self.rest().starts_with(**symbol)) {
                Some(symbol) => {
                    self.at += symbol.len();
                    Token::Symbol(symbol)
                }
                None => return self.fail("this character has no meaning here"),
            },
        }))
    }

    fn quoted(&mut self, quote: char) -> Result<Box<str>, SyntaxError> {
        let start = self.at;
        self.at += 1;
        let mut text = String::new();
        loop {
            let Some(character) = self.rest().chars().next() else {
                self.at = start;
                return self.fail("a quotation is not closed");
            };
            self.at += character.len_utf8();
            match character {
                '\\' => text.push(self.escape()?),
                other if other == quote => return Ok(text.into()),
                other => text.push(other),
            }
        }
    }

    fn escape(&mut self) -> Result<char, SyntaxError> {
        let Some(character) = self.rest().chars().next() else { return self.fail("an escape is not finished") };
        self.at += character.len_utf8();
        Ok(match character {
            '\\' | '/' | '"' | '`' | '\'' => character,
            'f' => '\u{c}',
            'r' => '\r',
            'n' => '\n',
            't' => '\t',
            'u' => {
                let high = self.code_unit()?;
                // A character beyond the basic plane is written as a pair.
                let code = if (0xd800..0xdc00).contains(&high) {
                    if !self.rest().starts_with("\\u") {
                        return self.fail("half of a surrogate pair");
                    }
                    self.at += 2;
                    let low = self.code_unit()?;
                    0x10000 + ((high - 0xd800) << 10) + (low.wrapping_sub(0xdc00) & 0x3ff)
                } else {
                    high
                };
                match char::from_u32(code) {
                    Some(character) => character,
                    None => return self.fail("not a character"),
                }
            }
            _ => return self.fail("this escape has no meaning"),
        })
    }

    fn code_unit(&mut self) -> Result<u32, SyntaxError> {
        let digits = self.rest().get(..4).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        match digits.and_then(|digits| u32::from_str_radix(digits, 16).ok()) {
            Some(code) => {
                self.at += 4;
                Ok(code)
            }
            None => self.fail("four hexadecimal digits are expected"),
        }
    }

    fn number(&mut self) -> Result<Token, SyntaxError> {
        let start = self.at;
        self.take_while(|c| c.is_ascii_digit());
        let mut after_point = self.rest().chars();
        let is_decimal = after_point.next() == Some('.') && after_point.next().is_some_and(|c| c.is_ascii_digit());
        if is_decimal {
            self.at += 1;
            self.take_while(|c| c.is_ascii_digit());
        }
        let text = &self.source[start..self.at];
        let token =
            if is_decimal { Decimal::parse(text).map(Token::Decimal) } else { text.parse().ok().map(Token::Integer) };
        token.ok_or_else(|| SyntaxError::at(start, "a number is too long"))
    }

    /// `@2015-02-04`, `@2015-02-04T14:34:28.123+10:00`, `@T14:34`.
    fn temporal(&mut self) -> Result<Token, SyntaxError> {
        let start = self.at;
        self.at += 1;
        let made = if self.rest().starts_with('T') {
            self.at += 1;
            let from = self.at;
            self.clock();
            Temporal::time(&self.source[from..self.at])
        } else {
            let from = self.at;
            self.take_while(|c| c.is_ascii_digit() || c == '-');
            if self.rest().starts_with('T') {
                self.at += 1;
                self.clock();
                self.offset();
                Temporal::date_time(&self.source[from..self.at])
            } else {
                Temporal::date(&self.source[from..self.at])
            }
        };
        made.map(Token::Temporal).ok_or_else(|| SyntaxError::at(start, "not a date, date-time or time"))
    }

    fn clock(&mut self) {
        self.take_while(|c| c.is_ascii_digit() || c == ':');
        let mut after = self.rest().chars();
        // `.precision()` may follow, so that a point alone is none of the time's.
        if after.next() == Some('.') && after.next().is_some_and(|c| c.is_ascii_digit()) {
            self.at += 1;
            self.take_while(|c| c.is_ascii_digit());
        }
    }

    fn offset(&mut self) {
        let rest = self.rest();
        if rest.starts_with('Z') {
            self.at += 1;
        } else if let Some(offset) = rest.get(..6).filter(|offset| {
            offset.starts_with(['+', '-'])
                && offset.as_bytes()[3] == b':'
                && offset.bytes().filter(u8::is_ascii_digit).count() == 4
        }) {
            self.at += offset.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lexed(source: &str) -> Vec<Token> {
        tokens(source).expect("tokens").into_iter().map(|(_, token)| token).collect()
    }

    #[test]
    fn tells_numbers_from_steps() {
        assert_eq!(lexed("1.5.abs()").len(), 5);
        assert_eq!(lexed("1.abs()")[0], Token::Integer(1));
        assert_eq!(lexed("@2014-01-05T10:30:00.000.precision()").len(), 5);
        assert_eq!(lexed("@2014-01-01T08:05+08:00.x").len(), 3);
        assert_eq!(lexed("1 // one\n/* two */ + 2").len(), 3);
    }

    #[test]
    fn escapes() {
        assert_eq!(lexed(r"'\\\/\f\r\n\t\u0041\'\uD83D\uDE00'"), [Token::String("\\/\u{c}\r\n\tA'\u{1f600}".into())]);
        assert_eq!(lexed("%`vs-x`"), [Token::Variable("vs-x".into())]);
        for source in
            ["'open", "'\\q'", "'\\u12'", "'\\uD83D'", "/* open", "#", "@2015-13", "%", "99999999999999999999"]
        {
            assert!(tokens(source).is_err(), "{source}");
        }
    }
}
