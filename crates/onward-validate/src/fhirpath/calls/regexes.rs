//! Functions that match patterns (FHIRPath §5.6.9–10), in linear time. A pattern that would need backtracking is not evaluated.

use std::borrow::Cow;

use regex::Regex;

use super::text_of;
use crate::fhirpath::collection::{Items, one, truth};
use crate::fhirpath::evaluate::{Evaluation, Frame, Outcome};
use crate::fhirpath::functions::Function;
use crate::fhirpath::item::Item;
use crate::fhirpath::syntax::Call;
use crate::fhirpath::{EvaluationError, parser};

/// What compiling a pattern counts as.
const COMPILING_STEPS: usize = 10_000;
/// Bytes of a text that match within one step.
const BYTES_PER_STEP: usize = 16;

impl<'t> Evaluation<'_, 't> {
    pub(super) fn pattern_function(
        &self,
        call: &'t Call,
        input: &[Item<'t>],
        frame: Frame<'_, 't>,
    ) -> Outcome<Items<'t>> {
        let Some(text) = text_of(input, call.function.name())? else { return Ok(Items::new()) };
        let Some(pattern) = self.text_argument(call, 0, frame)? else { return Ok(Items::new()) };
        let compiled;
        let regex = match &call.pattern {
            Some(ready) => ready.as_ref(),
            None => {
                self.spend(COMPILING_STEPS)?;
                compiled = parser::pattern(&pattern, call.function == Function::MatchesFull);
                compiled.as_ref()
            }
        };
        let regex =
            regex.ok_or_else(|| EvaluationError::not_evaluated("a pattern that cannot be matched in linear time"))?;
        self.spend(text.len() / BYTES_PER_STEP)?;
        if call.function != Function::ReplaceMatches {
            return Ok(truth(Some(regex.is_match(&text))));
        }
        let Some(by) = self.text_argument(call, 1, frame)? else { return Ok(Items::new()) };
        if pattern.is_empty() {
            return Ok(one(Item::String(text)));
        }
        Ok(one(self.replaced(&text, regex, &braced(&by))?))
    }

    fn replaced(&self, text: &Cow<'t, str>, regex: &Regex, by: &str) -> Outcome<Item<'t>> {
        let (mut made, mut copied) = (String::new(), 0);
        let references = by.matches('$').count();
        for captures in regex.captures_iter(text) {
            let whole = captures.get_match();
            // What stands in for it can name all of it again and again.
            let most = by.len().saturating_add(references.saturating_mul(whole.len()));
            if made.len().saturating_add(most) > self.context.limits.text_bytes {
                return Err(EvaluationError::TooMuch("the length of text that is allowed"));
            }
            self.spend(most / BYTES_PER_STEP + 1)?;
            made.push_str(&text[copied..whole.start()]);
            captures.expand(by, &mut made);
            copied = whole.end();
        }
        made.push_str(&text[copied..]);
        self.made(made)
    }
}

/// `$1` as `${1}`: what follows the number is text, not part of a group's name. Any other `$` is itself, but for `${name}`.
fn braced(by: &str) -> Cow<'_, str> {
    if !by.contains('$') {
        return Cow::Borrowed(by);
    }
    let mut made = String::with_capacity(by.len());
    let mut rest = by;
    while let Some(at) = rest.find('$') {
        made.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let digits = after.bytes().take_while(u8::is_ascii_digit).count();
        match digits {
            0 if after.starts_with('{') => made.push('$'),
            0 => made.push_str("$$"),
            _ => made.extend(["${", &after[..digits], "}"]),
        }
        rest = &after[digits..];
    }
    made.push_str(rest);
    Cow::Owned(made)
}
