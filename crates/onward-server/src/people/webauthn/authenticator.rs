//! Authenticator data (§6.1): whose, with which flags, and the credential when there is a new one.

use super::Refused;
use super::cbor::{map, read};

const USER_PRESENT: u8 = 0x01;
const USER_VERIFIED: u8 = 0x04;
const BACKUP_ELIGIBLE: u8 = 0x08;
const BACKED_UP: u8 = 0x10;
const CREDENTIAL: u8 = 0x40;
const EXTENSIONS: u8 = 0x80;
/// Kind of authenticator, before the credential.
const AAGUID_BYTES: usize = 16;

pub(super) struct AuthenticatorData {
    /// SHA-256 of the relying party's identifier.
    pub(super) relying_party: [u8; 32],
    pub(super) user_present: bool,
    pub(super) user_verified: bool,
    pub(super) counter: u32,
    pub(super) credential: Option<Credential>,
}

pub(super) struct Credential {
    pub(super) id: Vec<u8>,
    /// The bytes of the `COSE_Key`.
    pub(super) public_key: Vec<u8>,
}

impl AuthenticatorData {
    /// # Errors
    /// When it is not as specified, to the last byte.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, Refused> {
        let short = Refused::Malformed("authenticator data is too short");
        let (relying_party, rest) = bytes.split_first_chunk::<32>().ok_or(short)?;
        let (&[flags], rest) = rest.split_first_chunk::<1>().ok_or(short)?;
        let (counter, mut rest) = rest.split_first_chunk::<4>().ok_or(short)?;
        let has = |flag| flags & flag != 0;
        if has(BACKED_UP) && !has(BACKUP_ELIGIBLE) {
            return Err(Refused::Malformed("what cannot be backed up says that it is"));
        }
        let credential = if has(CREDENTIAL) {
            let behind = rest.get(AAGUID_BYTES..).ok_or(short)?;
            let (length, behind) = behind.split_first_chunk::<2>().ok_or(short)?;
            let (id, mut behind) = behind.split_at_checked(usize::from(u16::from_be_bytes(*length))).ok_or(short)?;
            let key = behind;
            read(&mut behind)?;
            rest = behind;
            Some(Credential { id: id.to_vec(), public_key: key[..key.len() - behind.len()].to_vec() })
        } else {
            None
        };
        if has(EXTENSIONS) {
            map(read(&mut rest)?)?;
        }
        if !rest.is_empty() {
            return Err(Refused::Malformed("something stands behind the authenticator data"));
        }
        Ok(Self {
            relying_party: *relying_party,
            user_present: has(USER_PRESENT),
            user_verified: has(USER_VERIFIED),
            counter: u32::from_be_bytes(*counter),
            credential,
        })
    }
}
