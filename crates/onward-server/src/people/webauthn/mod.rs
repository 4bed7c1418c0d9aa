//! Verifies what a browser's authenticator says (W3C Web Authentication, Level 3): a new passkey, and a sign-in with one.
//!
//! The libraries for it bring release candidates of cryptography or the `rsa` crate with its unmended timing leak; what we
//! need of it is small and stands on aws-lc-rs. An attestation is not asked for, and one that comes is not believed: nothing
//! here depends on who made the authenticator.

mod authenticator;
mod cbor;
mod cose;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use onward_connect::strength::RSA_BITS_MIN;
use serde::Deserialize;

use super::sha256;
use authenticator::AuthenticatorData;
use cbor::{Item, map, member, read};
use cose::{ALGORITHMS, PublicKey, RS256};

/// Longest identifier of a credential (§7.1, step 25).
const CREDENTIAL_ID_BYTES_MAX: usize = 1023;

/// Why an authenticator's answer is not taken. Nothing in it comes from the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    /// It cannot be read.
    #[error("the authenticator's answer cannot be read: {0}")]
    Malformed(&'static str),
    /// It answers something else.
    #[error("it is not the answer to this challenge")]
    Challenge,
    /// It was made for another site.
    #[error("it was made for another origin")]
    Origin,
    /// It was made for another relying party.
    #[error("it was made for another relying party")]
    RelyingParty,
    /// The key is of a kind that was not asked for, or is none.
    #[error("the key is not one of those that were asked for")]
    Key,
    /// The signature does not fit.
    #[error("the signature does not fit")]
    Signature,
    /// Nobody touched the authenticator.
    #[error("nobody was there")]
    NotPresent,
    /// The authenticator did not verify who touched it.
    #[error("the authenticator did not verify the person")]
    NotVerified,
}

/// Who we are to authenticators.
#[derive(Debug, Clone)]
pub(super) struct RelyingParty {
    /// Our host name.
    pub id: String,
    /// Scheme, host and port of our pages.
    pub origin: String,
    /// The smallest RSA key of a passkey, bits.
    pub rsa_bits_min: u32,
}

/// A new passkey.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Registered {
    /// Credential identifier.
    pub id: Vec<u8>,
    /// `COSE_Key`.
    pub public_key: Vec<u8>,
    /// Signature counter.
    pub counter: u32,
}

/// What an authenticator says to a sign-in.
pub(super) struct Assertion<'a> {
    pub client_data: &'a [u8],
    pub authenticator_data: &'a [u8],
    pub signature: &'a [u8],
}

/// `CollectedClientData`; members that we do not know are ignored (§5.8.1.2).
#[derive(Deserialize)]
struct ClientData {
    #[serde(rename = "type")]
    kind: String,
    challenge: String,
    origin: String,
    #[serde(rename = "crossOrigin", default)]
    cross_origin: bool,
    #[serde(rename = "topOrigin")]
    top_origin: Option<String>,
}

impl RelyingParty {
    /// The algorithms that are asked for. Authenticators make RSA keys of 2,048 bits: they are asked for another kind where those are not taken.
    pub(super) fn algorithms(&self) -> impl Iterator<Item = i64> {
        let rsa = self.rsa_bits_min <= RSA_BITS_MIN;
        ALGORITHMS.into_iter().filter(move |algorithm| rsa || *algorithm != RS256)
    }

    /// A new passkey (§7.1) in answer to this challenge, as it was sent.
    ///
    /// # Errors
    /// Why it is none.
    pub(super) fn register(
        &self,
        challenge: &str,
        client_data: &[u8],
        attestation_object: &[u8],
    ) -> Result<Registered, Refused> {
        self.check_client_data(client_data, "webauthn.create", challenge)?;
        let mut rest = attestation_object;
        let object = map(read(&mut rest)?)?;
        if !rest.is_empty() {
            return Err(Refused::Malformed("something stands behind the attestation object"));
        }
        let data = member(&object, &Item::Text(b"authData")).and_then(Item::bytes);
        let data = data.ok_or(Refused::Malformed("the attestation object has no authData"))?;
        let data = AuthenticatorData::read(data)?;
        self.check(&data)?;
        let credential = data.credential.as_ref().ok_or(Refused::Malformed("there is no credential"))?;
        if !(16..=CREDENTIAL_ID_BYTES_MAX).contains(&credential.id.len()) {
            return Err(Refused::Malformed("the credential's identifier has not 16 to 1023 bytes"));
        }
        PublicKey::read(&credential.public_key, self.rsa_bits_min)?;
        verified(&data)?;
        Ok(Registered { id: credential.id.clone(), public_key: credential.public_key.clone(), counter: data.counter })
    }

    /// The signature counter of a sign-in (§7.2) with this key, in answer to this challenge. That it has grown is for the
    /// store to decide, in one step with its change.
    ///
    /// # Errors
    /// Why it is none.
    pub(super) fn verify(&self, challenge: &str, public_key: &[u8], answer: &Assertion<'_>) -> Result<u32, Refused> {
        self.check_client_data(answer.client_data, "webauthn.get", challenge)?;
        let data = AuthenticatorData::read(answer.authenticator_data)?;
        self.check(&data)?;
        let signed = [answer.authenticator_data, &sha256(answer.client_data)].concat();
        PublicKey::read(public_key, self.rsa_bits_min)?.verify(&signed, answer.signature)?;
        verified(&data)?;
        Ok(data.counter)
    }

    fn check_client_data(&self, client_data: &[u8], kind: &str, challenge: &str) -> Result<(), Refused> {
        let data: ClientData = serde_json::from_slice(client_data)
            .map_err(|_| Refused::Malformed("clientDataJSON is not as specified"))?;
        if data.kind != kind {
            return Err(Refused::Malformed("clientDataJSON is of another type"));
        }
        if data.challenge != challenge {
            return Err(Refused::Challenge);
        }
        // None of our pages stands in another's frame.
        if data.origin != self.origin || data.cross_origin || data.top_origin.is_some() {
            return Err(Refused::Origin);
        }
        Ok(())
    }

    fn check(&self, data: &AuthenticatorData) -> Result<(), Refused> {
        match () {
            () if data.relying_party != sha256(self.id.as_bytes()) => Err(Refused::RelyingParty),
            () if !data.user_present => Err(Refused::NotPresent),
            () => Ok(()),
        }
    }
}

/// Last, so that a test can tell that everything else about an answer is right.
fn verified(data: &AuthenticatorData) -> Result<(), Refused> {
    if data.user_verified { Ok(()) } else { Err(Refused::NotVerified) }
}

/// Bytes as the browser's JSON has them.
///
/// # Errors
/// When it is not base64url without padding.
pub(super) fn bytes(text: &str) -> Result<Vec<u8>, Refused> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| Refused::Malformed("not base64url"))
}

#[cfg(test)]
mod tests;
