//! Parts: what the copies of a transfer carry alike, once. A letter in a PDF is the same base64 in every recipient's FHIR document and in the
//! page of it: every long run of base64 is taken out of a text, sealed as a part of the transfer and month, and put back when the text is
//! read. Nothing here knows FHIR, or whether another copy has the same.

use std::ops::Range;

use onward_core::TransferId;
use uuid::Uuid;

use super::vault::Vault;

/// Shorter runs stay where they are: they cost less than a row.
const LEAST: usize = 16 * 1024;
/// So many bytes are looked at together.
const CHUNK: usize = 64;
/// So many parts of an operation are known again. A message may hold hundreds that differ at their end alone, and each is compared with
/// all that are known; what is not known again is kept once all the same.
const KNOWN: usize = 32;

/// The parts of which transfer and month of its copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PartsOf {
    pub(crate) transfer: TransferId,
    pub(crate) month: i64,
}

/// By what a part is found: [`Vault::part`].
pub(crate) type Digest = [u8; 32];

/// A text that was taken apart.
pub(crate) struct Parted<'d> {
    /// What is sealed in its place; [`Read::whole`] reads it.
    pub(crate) rest: Vec<u8>,
    /// What was taken out, in order.
    pub(crate) parts: Vec<Part<'d>>,
}

/// What was taken out of a text.
#[derive(Clone, Copy)]
pub(crate) struct Part<'d> {
    pub(crate) digest: Digest,
    pub(crate) content: &'d [u8],
    /// Whether it is the first time within the operation.
    pub(crate) is_new: bool,
}

/// Whether anything would be taken out.
pub(crate) fn has_parts(plain: &[u8]) -> bool {
    next_run(plain, 0).is_some()
}

/// Takes texts of copies that are queued together apart. What it has seen in one of them it knows again in the next, and computes no digest
/// anew.
pub(crate) struct Parting<'d> {
    vault: &'d Vault,
    pub(crate) of: PartsOf,
    seen: Vec<Part<'d>>,
}

impl<'d> Parting<'d> {
    pub(crate) fn new(vault: &'d Vault, of: PartsOf) -> Self {
        Self { vault, of, seen: Vec::new() }
    }

    /// `None` where there is nothing to take out.
    pub(crate) fn part(&mut self, plain: &'d [u8]) -> Option<Parted<'d>> {
        let (mut parts, mut gaps, mut text, mut end) = (Vec::new(), Vec::new(), Vec::new(), 0);
        while let Some(run) = next_run(plain, end) {
            text.extend_from_slice(&plain[end..run.start]);
            end = run.end;
            let part = self.known(&plain[run.clone()]);
            gaps.extend_from_slice(&(run.start as u64).to_be_bytes());
            gaps.extend_from_slice(&part.digest);
            parts.push(part);
        }
        if parts.is_empty() {
            return None;
        }
        text.extend_from_slice(&plain[end..]);
        let PartsOf { transfer, month } = self.of;
        let count = u32::try_from(parts.len()).unwrap_or(u32::MAX).to_be_bytes();
        // As `Read::of` reads it.
        let rest = [transfer.0.as_bytes(), month.to_be_bytes().as_slice(), &count, &gaps, &text].concat();
        Some(Parted { rest, parts })
    }

    fn known(&mut self, content: &'d [u8]) -> Part<'d> {
        if let Some(part) = self.seen.iter().find(|part| part.content == content) {
            return Part { is_new: false, ..*part };
        }
        let part = Part { digest: self.vault.part(self.of.transfer, content), content, is_new: true };
        if self.seen.len() < KNOWN {
            self.seen.push(part);
        }
        part
    }
}

/// The first run of base64 from here on that is long enough. A run of that length has a byte at a multiple of it: no other is looked at.
fn next_run(plain: &[u8], from: usize) -> Option<Range<usize>> {
    let mut probe = from.next_multiple_of(LEAST);
    while let Some(byte) = plain.get(probe) {
        if !is_base64(*byte) {
            probe += LEAST;
            continue;
        }
        let (before, after) = (last_of_base64(&plain[from..probe]), first_of_base64(&plain[probe..]));
        if before + after >= LEAST {
            return Some(probe - before..probe + after);
        }
        probe = (probe + after).next_multiple_of(LEAST);
    }
    None
}

/// How many bytes the run has that these begin with.
fn first_of_base64(bytes: &[u8]) -> usize {
    let (chunks, _) = bytes.as_chunks::<CHUNK>();
    let whole = chunks.iter().take_while(|chunk| are_base64(chunk)).count() * CHUNK;
    whole + bytes[whole..].iter().take_while(|byte| is_base64(**byte)).count()
}

/// How many bytes the run has that these end with.
fn last_of_base64(bytes: &[u8]) -> usize {
    let (_, chunks) = bytes.as_rchunks::<CHUNK>();
    let whole = chunks.iter().rev().take_while(|chunk| are_base64(chunk)).count() * CHUNK;
    whole + bytes[..bytes.len() - whole].iter().rev().take_while(|byte| is_base64(**byte)).count()
}

/// No early end, so that it is done for many bytes at once.
fn are_base64(chunk: &[u8; CHUNK]) -> bool {
    chunk.iter().fold(true, |all, byte| all & is_base64(*byte))
}

/// RFC 4648 section 4, with what breaks its lines.
fn is_base64(byte: u8) -> bool {
    let lower = byte | 0x20;
    let is_letter = lower.is_ascii_lowercase();
    // '/' comes before '0'.
    let is_figure = (b'/'..=b'9').contains(&byte);
    is_letter | is_figure | (byte == b'+') | (byte == b'=') | (byte == b'\r') | (byte == b'\n')
}

/// What is read of a text without its parts.
pub(crate) struct Read<'r> {
    /// Whose parts belong into it.
    pub(crate) of: PartsOf,
    gaps: &'r [[u8; 40]],
    text: &'r [u8],
}

impl<'r> Read<'r> {
    /// `None` where it is not what was written.
    pub(crate) fn of(written: &'r [u8]) -> Option<Self> {
        let (transfer, rest) = written.split_first_chunk::<16>()?;
        let (month, rest) = rest.split_first_chunk::<8>()?;
        let (count, rest) = rest.split_first_chunk::<4>()?;
        let count = usize::try_from(u32::from_be_bytes(*count)).ok()?;
        let (gaps, text) = rest.split_at_checked(count.checked_mul(40)?)?;
        let of = PartsOf { transfer: TransferId(Uuid::from_bytes(*transfer)), month: i64::from_be_bytes(*month) };
        Some(Self { of, gaps: gaps.as_chunks().0, text })
    }

    /// The whole, with each part where it was; `Ok(None)` where they do not fit one another.
    pub(crate) fn whole<E>(&self, part: impl Fn(&Digest) -> Result<Vec<u8>, E>) -> Result<Option<Vec<u8>>, E> {
        let (mut whole, mut text) = (Vec::new(), self.text);
        for gap in self.gaps {
            let (at, digest) = gap.split_first_chunk::<8>().expect("longer");
            let at = usize::try_from(u64::from_be_bytes(*at)).ok().and_then(|at| at.checked_sub(whole.len()));
            let Some((before, behind)) = at.and_then(|at| text.split_at_checked(at)) else { return Ok(None) };
            let part = part(digest.try_into().expect("of this length"))?;
            whole.reserve_exact(self.text.len() + part.len());
            whole.extend_from_slice(before);
            whole.extend_from_slice(&part);
            text = behind;
        }
        whole.extend_from_slice(text);
        Ok(Some(whole))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::convert::Infallible;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::super::ring::KeyRing;
    use super::*;

    const OF: PartsOf = PartsOf { transfer: TransferId(Uuid::from_u128(7)), month: 680 };

    fn vault() -> Vault {
        let ring = KeyRing::from_text(&KeyRing::with_new_key(None, "first").expect("a ring")).expect("a ring");
        let [index, gateway] = Vault::beginning(&ring).expect("keys");
        Vault::open(Arc::new(ring), &index, &gateway).expect("a vault")
    }

    fn base64(length: usize, from: usize) -> String {
        (from..from + length).map(|n| char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdef+/0123456789"[n % 44])).collect()
    }

    fn put_together(rest: &[u8], parts: &BTreeMap<Digest, Vec<u8>>) -> Option<Vec<u8>> {
        let read = Read::of(rest)?;
        assert_eq!(read.of, OF);
        read.whole(|digest| Ok::<_, Infallible>(parts[digest].clone())).unwrap_or_else(|never| match never {})
    }

    proptest! {
        #[test]
        fn what_is_taken_apart_is_put_together_again(
            pieces in proptest::collection::vec((any::<bool>(), 0_usize..50_000, 0_usize..44), 0..8)
        ) {
            let text: String = pieces
                .iter()
                .map(|(is_run, length, from)| if *is_run { base64(*length, *from) } else { "\"<, ".repeat(length / 50) })
                .collect();
            let vault = vault();
            let mut parting = Parting::new(&vault, OF);
            prop_assert_eq!(has_parts(text.as_bytes()), parting.part(text.as_bytes()).is_some());
            let Some(parted) = parting.part(text.as_bytes()) else { return Ok(()) };
            let parts = parted.parts.iter().map(|part| (part.digest, part.content.to_vec())).collect();
            let whole = put_together(&parted.rest, &parts);
            prop_assert_eq!(whole.as_deref(), Some(text.as_bytes()));
        }

        #[test]
        fn every_long_run_is_found(before in 0_usize..40_000, length in LEAST..60_000) {
            let text = format!("{}\"{}\"", ", ".repeat(before), base64(length, 0));
            let start = 2 * before + 1;
            prop_assert_eq!(next_run(text.as_bytes(), 0), Some(start..start + length));
        }

        #[test]
        fn nothing_else_is_read(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Some(read) = Read::of(&bytes) {
                let _ = read.whole(|_| Ok::<_, Infallible>(Vec::new()));
            }
        }
    }

    #[test]
    fn every_byte_of_the_alphabet_and_no_other() {
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=\r\n";
        for byte in 0..=u8::MAX {
            assert_eq!(is_base64(byte), alphabet.contains(&byte), "{byte}");
        }
    }

    #[test]
    fn a_part_is_the_same_in_every_copy_of_its_transfer_and_another_one_elsewhere() {
        let letter = base64(40_000, 0);
        let (document, page) = (format!("{{\"data\":\"{letter}\"}}"), format!("<a href=\"data:;base64,{letter}\">"));
        let vault = vault();
        let mut parting = Parting::new(&vault, OF);
        let [one, two] = [&document, &page].map(|text| parting.part(text.as_bytes()).expect("parted"));
        let [first, again] = [one.parts[0], two.parts[0]];
        assert_eq!((one.parts.len(), two.parts.len(), first.digest), (1, 1, again.digest));
        assert!(first.content == letter.as_bytes() && first.is_new && !again.is_new);
        assert!(one.rest.len() < 200 && two.rest.len() < 200);
        let elsewhere = PartsOf { transfer: TransferId(Uuid::from_u128(8)), ..OF };
        let other = Parting::new(&vault, elsewhere).part(document.as_bytes()).expect("parted");
        assert_ne!(first.digest, other.parts[0].digest);
        assert!(Parting::new(&vault, OF).part(base64(LEAST - 1, 0).as_bytes()).is_none());
    }
}
