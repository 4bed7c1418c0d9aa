//! What is kept of a message's and a copy's content, for every engine. What takes time is done before the transaction, where nobody waits for
//! it: texts are taken apart and compressed. Within it, where the keys are, they are sealed.

use std::collections::BTreeSet;

use onward_core::store::{Acceptance, Held, NewDelivery};

use super::{of_disclosure, of_rendition};
use crate::sealing::{Digest, KeyId, Keychain, Packed, Parting, PartsOf, Place, Unread, Vault, has_parts};
use crate::stored::{json, month, stored_count};

/// A message to be accepted, ready to be sealed.
pub(crate) struct PackedAcceptance {
    /// Without its contents, which are here.
    pub(crate) acceptance: Acceptance,
    pub(crate) body: Packed,
    /// In the order of its deliveries.
    pub(crate) copies: Vec<PackedCopy>,
}

/// A copy's content, ready to be sealed.
pub(crate) struct PackedCopy {
    /// How many bytes travel.
    pub(crate) body_bytes: i64,
    /// The digests of the parts that body and page are put together with, as stored; `None` for none.
    pub(crate) parts: Option<String>,
    body: Packed,
    html: Option<Packed>,
    card: Option<Packed>,
    /// Those that no copy before it had in the same operation.
    new_parts: Vec<PackedPart>,
}

struct PackedPart {
    of: PartsOf,
    digest: Digest,
    content: Packed,
}

/// What is sealed of a copy.
pub(crate) struct SealedCopy {
    pub(crate) disclosure: String,
    pub(crate) body: Vec<u8>,
    pub(crate) html: Option<Vec<u8>>,
    pub(crate) card: Option<Vec<u8>>,
    pub(crate) new_parts: Vec<SealedPart>,
}

/// A part of the copies of a transfer and month.
pub(crate) struct SealedPart {
    pub(crate) of: PartsOf,
    pub(crate) digest: Digest,
    pub(crate) body: Vec<u8>,
}

/// Whether parts would be taken out of any of these.
pub(crate) fn have_parts(copies: &[NewDelivery]) -> bool {
    copies.iter().any(|copy| has_parts(&copy.body) || copy.html.as_ref().is_some_and(|html| has_parts(html)))
}

impl PackedAcceptance {
    /// With what its copies have in common taken out of them where it may be.
    pub(crate) fn of(mut acceptance: Acceptance, vault: &Vault, may_part: bool) -> Self {
        let of = PartsOf { transfer: acceptance.transfer.id, month: month(acceptance.transfer.received) };
        let copies = packed(of, &acceptance.deliveries, vault, may_part);
        let body = Packed::of(&std::mem::take(&mut acceptance.transfer.body));
        for copy in &mut acceptance.deliveries {
            (copy.body, copy.html, copy.card) = (Vec::new(), None, None);
        }
        acceptance.held = Held::default();
        Self { acceptance, body, copies }
    }

    /// Bytes of its contents.
    pub(crate) fn bytes(&self) -> usize {
        self.body.bytes() + self.copies.iter().map(PackedCopy::bytes).sum::<usize>()
    }
}

/// Copies of a transfer that are queued together.
pub(crate) fn packed(of: PartsOf, copies: &[NewDelivery], vault: &Vault, may_part: bool) -> Vec<PackedCopy> {
    let mut parting = may_part.then(|| Parting::new(vault, of));
    copies.iter().map(|copy| PackedCopy::of_one(copy, parting.as_mut())).collect()
}

impl PackedCopy {
    /// A copy as it is, whole.
    pub(crate) fn whole(copy: &NewDelivery) -> Self {
        Self::of_one(copy, None)
    }

    fn of_one<'d>(copy: &'d NewDelivery, parting: Option<&mut Parting<'d>>) -> Self {
        let mut taking = Taking { parting, digests: BTreeSet::new(), new_parts: Vec::new() };
        let body = taking.packed(&copy.body);
        let html = copy.html.as_ref().map(|html| taking.packed(html));
        Self {
            body_bytes: stored_count(copy.body.len() as u64),
            parts: (!taking.digests.is_empty())
                .then(|| json(&taking.digests.iter().map(hex::encode).collect::<Vec<_>>())),
            body,
            html,
            card: copy.card.as_ref().map(|card| Packed::of(card)),
            new_parts: taking.new_parts,
        }
    }

    fn bytes(&self) -> usize {
        let own = [Some(&self.body), self.html.as_ref(), self.card.as_ref()];
        let parts = self.new_parts.iter().map(|part| &part.content);
        own.into_iter().flatten().chain(parts).map(Packed::bytes).sum()
    }

    /// Seals it for the places of this copy.
    pub(crate) fn sealed(&self, keys: &Keychain, key: KeyId, copy: &NewDelivery) -> Result<SealedCopy, Unread> {
        let id = copy.id.to_string();
        let seal = |place: Place<'_>, packed: &Packed| keys.seal_packed(key, place, packed);
        let optional = |column, packed: &Option<Packed>| {
            packed.as_ref().map(|packed| seal(of_rendition(column, &id), packed)).transpose()
        };
        let sealed_part = |part: &PackedPart| {
            let body = keys.seal_part(key, part.of, &part.digest, &part.content)?;
            Ok::<_, Unread>(SealedPart { of: part.of, digest: part.digest, body })
        };
        Ok(SealedCopy {
            disclosure: keys.seal_text(key, of_disclosure(&id), &copy.disclosure)?,
            body: seal(of_rendition("body", &id), &self.body)?,
            html: optional("html", &self.html)?,
            card: optional("card", &self.card)?,
            new_parts: self.new_parts.iter().map(sealed_part).collect::<Result<_, _>>()?,
        })
    }
}

/// A copy that is being taken apart.
struct Taking<'p, 'd> {
    parting: Option<&'p mut Parting<'d>>,
    digests: BTreeSet<Digest>,
    new_parts: Vec<PackedPart>,
}

impl<'d> Taking<'_, 'd> {
    fn packed(&mut self, plain: &'d [u8]) -> Packed {
        let Some(parting) = self.parting.as_mut() else { return Packed::of(plain) };
        let Some(parted) = parting.part(plain) else { return Packed::of(plain) };
        for part in &parted.parts {
            self.digests.insert(part.digest);
            if part.is_new {
                let content = Packed::of(part.content);
                self.new_parts.push(PackedPart { of: parting.of, digest: part.digest, content });
            }
        }
        Packed::of_rest(&parted.rest)
    }
}
