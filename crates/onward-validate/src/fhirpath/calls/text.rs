//! Functions of text (FHIRPath §5.6). Positions count characters.

use std::borrow::Cow;

use super::text_of;
use crate::fhirpath::EvaluationError;
use crate::fhirpath::collection::{Items, one, truth};
use crate::fhirpath::evaluate::{Evaluation, Frame, Outcome};
use crate::fhirpath::functions::Function;
use crate::fhirpath::item::Item;
use crate::fhirpath::syntax::Call;

impl<'t> Evaluation<'_, 't> {
    pub(super) fn text_function(&self, call: &'t Call, input: &[Item<'t>], frame: Frame<'_, 't>) -> Outcome<Items<'t>> {
        if call.function == Function::Join {
            return self.join(call, input, frame);
        }
        let Some(text) = text_of(input, call.function.name())? else { return Ok(Items::new()) };
        self.spend(text.len() / 32)?;
        match call.function {
            Function::Upper => return Ok(one(self.made(text.to_uppercase())?)),
            Function::Lower => return Ok(one(self.made(text.to_lowercase())?)),
            Function::Length => return Ok(one(count(text.chars().count()))),
            Function::Trim => return Ok(one(part(&text, |text| text.trim()))),
            Function::ToChars => {
                let mut characters = Items::new();
                for (at, character) in text.char_indices() {
                    let range = at..at + character.len_utf8();
                    self.push(&mut characters, part(&text, |text| &text[range]))?;
                }
                return Ok(characters);
            }
            Function::Substring => return self.substring(call, &text, frame),
            _ => {}
        }
        let Some(argument) = self.text_argument(call, 0, frame)? else { return Ok(Items::new()) };
        Ok(match call.function {
            Function::IndexOf => position(&text, text.find(&*argument)),
            Function::LastIndexOf => position(&text, text.rfind(&*argument)),
            Function::StartsWith => truth(Some(text.starts_with(&*argument))),
            Function::EndsWith => truth(Some(text.ends_with(&*argument))),
            Function::Contains => truth(Some(text.contains(&*argument))),
            Function::Replace => match self.text_argument(call, 1, frame)? {
                Some(by) => one(self.replace(&text, &argument, &by)?),
                None => Items::new(),
            },
            Function::Split => {
                let mut parts = Items::new();
                if argument.is_empty() {
                    parts.push(Item::String(text));
                } else {
                    let mut from = 0;
                    for (at, separator) in text.match_indices(&*argument) {
                        self.push(&mut parts, part(&text, |text| &text[from..at]))?;
                        from = at + separator.len();
                    }
                    self.push(&mut parts, part(&text, |text| &text[from..]))?;
                }
                parts
            }
            _ => {
                self.spend(text.len() / 4)?;
                match recoded(call.function, &text, &argument)? {
                    Some(made) => one(self.made(made)?),
                    None => Items::new(),
                }
            }
        })
    }

    fn substring(&self, call: &'t Call, text: &Cow<'t, str>, frame: Frame<'_, 't>) -> Outcome<Items<'t>> {
        let start = self.integer_argument(call, 0, frame)?.and_then(|start| usize::try_from(start).ok());
        let length = self.integer_argument(call, 1, frame)?;
        let Some(start) = start else { return Ok(Items::new()) };
        let Some((from, _)) = text.char_indices().nth(start) else { return Ok(Items::new()) };
        let to = match length {
            None => text.len(),
            Some(length) => {
                let length = usize::try_from(length).unwrap_or(0);
                text[from..].char_indices().nth(length).map_or(text.len(), |(to, _)| from + to)
            }
        };
        Ok(one(part(text, |text| &text[from..to])))
    }

    fn replace(&self, text: &str, what: &str, by: &str) -> Outcome<Item<'t>> {
        // Counted before it is made: an empty text is found before each character.
        let found = text.matches(what).count();
        self.fits(by.len().saturating_mul(found).saturating_add(text.len()))?;
        self.made(text.replace(what, by))
    }

    fn join(&self, call: &'t Call, input: &[Item<'t>], frame: Frame<'_, 't>) -> Outcome<Items<'t>> {
        if input.is_empty() {
            return Ok(Items::new());
        }
        let separator = self.text_argument(call, 0, frame)?.unwrap_or_default();
        let mut made = String::new();
        for (at, item) in input.iter().enumerate() {
            let text = text_of(std::slice::from_ref(item), "join")?.unwrap_or_default();
            self.spend((text.len() + separator.len()) / 32 + 1)?;
            if made.len() + text.len() + separator.len() > self.context.limits.text_bytes {
                return Err(EvaluationError::TooMuch("the length of text that is allowed"));
            }
            if at > 0 {
                made.push_str(&separator);
            }
            made.push_str(&text);
        }
        Ok(one(self.made(made)?))
    }
}

/// A part of a text, borrowed where the text is.
fn part<'t>(text: &Cow<'t, str>, of: impl FnOnce(&str) -> &str) -> Item<'t> {
    match text {
        Cow::Borrowed(text) => {
            let found = of(text);
            // The same bytes, with the life of the whole.
            let from = found.as_ptr() as usize - text.as_ptr() as usize;
            Item::String(Cow::Borrowed(&text[from..from + found.len()]))
        }
        Cow::Owned(text) => Item::String(Cow::Owned(of(text).to_owned())),
    }
}

fn count<'t>(number: usize) -> Item<'t> {
    Item::Integer(i64::try_from(number).unwrap_or(i64::MAX))
}

fn position<'t>(text: &str, found: Option<usize>) -> Items<'t> {
    one(found.map_or(Item::Integer(-1), |at| count(text[..at].chars().count())))
}

/// `encode`, `decode`, `escape` and `unescape`; `None` for what is not so encoded.
fn recoded(function: Function, text: &str, how: &str) -> Outcome<Option<String>> {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};
    let text_of_bytes = |bytes: Vec<u8>| String::from_utf8(bytes).ok();
    Ok(match (function, how) {
        (Function::Encode, "base64") => Some(STANDARD.encode(text)),
        (Function::Encode, "urlbase64") => Some(URL_SAFE.encode(text)),
        (Function::Encode, "hex") => Some(text.bytes().map(|byte| format!("{byte:02x}")).collect()),
        (Function::Decode, "base64") => STANDARD.decode(text).ok().and_then(text_of_bytes),
        (Function::Decode, "urlbase64") => URL_SAFE.decode(text).ok().and_then(text_of_bytes),
        (Function::Decode, "hex") => from_hex(text).and_then(text_of_bytes),
        (Function::Escape, "html") => {
            let made = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
            Some(made.replace('"', "&quot;").replace('\'', "&#39;"))
        }
        (Function::Unescape, "html") => {
            let made = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&#39;", "'");
            Some(made.replace("&amp;", "&"))
        }
        (Function::Escape, "json") => Some(text.chars().flat_map(json_escape).collect()),
        (Function::Unescape, "json") => json_unescape(text),
        _ => return Err(EvaluationError::not_evaluated("an encoding that is not known")),
    })
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text
        .chars()
        .map(|character| character.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect::<Option<_>>()?;
    digits.len().is_multiple_of(2).then(|| digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

fn json_escape(character: char) -> Vec<char> {
    match character {
        '"' | '\\' => vec!['\\', character],
        '\n' => vec!['\\', 'n'],
        '\r' => vec!['\\', 'r'],
        '\t' => vec!['\\', 't'],
        other if (other as u32) < 0x20 => format!("\\u{:04x}", other as u32).chars().collect(),
        other => vec![other],
    }
}

fn json_unescape(text: &str) -> Option<String> {
    let mut made = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(character) = rest.next() {
        if character != '\\' {
            made.push(character);
            continue;
        }
        made.push(match rest.next()? {
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'u' => {
                let digits: String = rest.by_ref().take(4).collect();
                char::from_u32(u32::from_str_radix(&digits, 16).ok()?)?
            }
            plain @ ('"' | '\\' | '/') => plain,
            _ => return None,
        });
    }
    Some(made)
}
