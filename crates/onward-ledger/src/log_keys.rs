//! The keys of one log: those that sign its checkpoints now, and those that did.
//!
//! A log changes its key without losing its past. First the new key signs beside the old one, so that whoever trusts the
//! old one sees it vouch for what the new one says; then the old one is retired: its secret is destroyed, and it verifies
//! checkpoints up to the size that the log had then and nothing larger, whoever may have kept a copy.

use std::fmt::{self, Write as _};

use zeroize::Zeroizing;

use crate::checkpoint::Checkpoint;
use crate::note::{KeyError, NoteError, SECRET_PREFIX, SigningKey, VerifyingKey, parts_of_note, parts_of_signature};

/// Between a retired key and the number of entries up to which it vouches.
const UNTIL: &str = " until ";
/// Keys of one log, retired ones included: more is a mistake, and each costs a verification.
const KEYS_MAX: usize = 32;

/// The secret keys of a log, newest first, and the public halves of those that are retired. `Debug` shows only what is
/// public.
#[derive(Debug)]
pub struct SigningKeys {
    /// Never empty.
    keys: Vec<SigningKey>,
    public: VerifyingKeys,
}

/// What verifies a log's signatures, past and present: keys of one name, which is the log's origin. `Display` writes, and
/// [`VerifyingKeys::from_text`] reads, one line for each, newest first: `name+keyid+base64`, and behind a retired one
/// ` until ` and a number of entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyingKeys {
    /// Never empty.
    keys: Vec<Vouching>,
}

/// One key and how far it vouches.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Vouching {
    key: VerifyingKey,
    until: Option<u64>,
}

impl SigningKeys {
    /// Makes the first key of the log of this name.
    ///
    /// # Errors
    /// As [`SigningKey::generate`].
    pub fn generate(name: &str) -> Result<Self, KeyError> {
        let key = SigningKey::generate(name)?;
        let public = VerifyingKeys::from(key.verifying_key().clone());
        Ok(Self { keys: vec![key], public })
    }

    /// Reads the text that [`SigningKeys::to_secret_text`] wrote. One newline at its end is allowed.
    ///
    /// # Errors
    /// When a line is no key, the lines have different names, a key comes twice, or none is secret.
    pub fn from_secret_text(text: &str) -> Result<Self, KeyError> {
        let (mut keys, mut public) = (Vec::new(), Vec::new());
        for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
            if line.starts_with(SECRET_PREFIX) {
                let key = SigningKey::from_secret_text(line)?;
                public.push(Vouching { key: key.verifying_key().clone(), until: None });
                keys.push(key);
            } else {
                public.push(Vouching::from_text(line)?);
            }
        }
        if keys.is_empty() { Err(KeyError::Form) } else { Ok(Self { keys, public: VerifyingKeys::of(public)? }) }
    }

    /// The keys as text, one a line: secret ones as [`SigningKey::to_secret_text`], retired ones as `Display` of
    /// [`VerifyingKeys`].
    ///
    /// # Errors
    /// When the cryptographic library does not hand out a seed.
    pub fn to_secret_text(&self) -> Result<Zeroizing<String>, KeyError> {
        // Sized before a secret is in it: a string that grows leaves copies behind.
        let mut text = Zeroizing::new(String::with_capacity(512 * (self.public.keys.len() + 1)));
        for vouching in &self.public.keys {
            match self.keys.iter().find(|key| *key.verifying_key() == vouching.key) {
                Some(key) => text.push_str(&key.to_secret_text()?),
                None => write!(text, "{vouching}").map_err(|_| KeyError::Library)?,
            }
            text.push('\n');
        }
        Ok(text)
    }

    /// The public halves.
    pub fn verifying_keys(&self) -> &VerifyingKeys {
        &self.public
    }

    /// How many keys sign.
    pub fn in_force(&self) -> usize {
        self.keys.len()
    }

    /// Makes a further key, which from now on signs beside the others.
    ///
    /// # Errors
    /// As [`SigningKey::generate`], and when the log has as many keys as one may have.
    pub fn add(&mut self) -> Result<&VerifyingKey, KeyError> {
        let key = SigningKey::generate(self.public.name())?;
        let mut public = self.public.keys.clone();
        public.insert(0, Vouching { key: key.verifying_key().clone(), until: None });
        self.public = VerifyingKeys::of(public)?;
        self.keys.insert(0, key);
        Ok(self.keys[0].verifying_key())
    }

    /// Retires every key but the newest: they vouch for checkpoints of at most `until` entries. Returns how many.
    pub fn retire(&mut self, until: u64) -> usize {
        let retired = self.keys.split_off(1);
        for vouching in &mut self.public.keys[1..] {
            vouching.until.get_or_insert(until);
        }
        retired.len()
    }

    /// Signs a checkpoint with every key and returns the note. See [`SigningKey::sign`].
    ///
    /// # Errors
    /// As [`SigningKey::sign`].
    pub fn sign(&self, checkpoint: &Checkpoint) -> Result<String, NoteError> {
        self.by_all(|key| key.sign(checkpoint), &checkpoint.to_text())
    }

    /// Signs a statement with every key. See [`SigningKey::sign_statement`].
    ///
    /// # Errors
    /// As [`SigningKey::sign_statement`].
    pub fn sign_statement(&self, text: &str) -> Result<String, NoteError> {
        self.by_all(|key| key.sign_statement(text), text)
    }

    fn by_all(&self, sign: impl Fn(&SigningKey) -> Result<String, NoteError>, text: &str) -> Result<String, NoteError> {
        let mut notes = self.keys.iter().map(sign);
        let mut note = notes.next().ok_or(NoteError::NotSigned)??;
        for other in notes {
            note.push_str(&other?[text.len() + 1..]);
        }
        Ok(note)
    }
}

impl VerifyingKeys {
    /// Reads the form that `Display` writes. One newline at its end is allowed.
    ///
    /// # Errors
    /// When a line is no key, the lines have different names, or a key comes twice.
    pub fn from_text(text: &str) -> Result<Self, KeyError> {
        let lines = text.strip_suffix('\n').unwrap_or(text).split('\n');
        Self::of(lines.map(Vouching::from_text).collect::<Result<_, _>>()?)
    }

    /// The keys' name, which is the origin of the log that they sign.
    pub fn name(&self) -> &str {
        self.keys[0].key.name()
    }

    /// The key that was made last.
    pub fn newest(&self) -> &VerifyingKey {
        &self.keys[0].key
    }

    /// Whether every signature under this log's name is by one of these keys. One that is not is by a key that was made
    /// elsewhere meanwhile; or the note is none.
    pub fn know_all_signers(&self, note: &str) -> bool {
        let known = |line: &str| {
            parts_of_signature(line)
                .is_some_and(|(name, id, _)| name != self.name() || self.keys.iter().any(|own| own.key.id() == id))
        };
        parts_of_note(note).is_ok_and(|(_, signatures)| signatures.split('\n').all(known))
    }

    /// Checks a note's signatures by these keys and returns the checkpoint that one of them may vouch for. Signatures of
    /// other keys, such as witnesses, are passed over.
    ///
    /// # Errors
    /// When the note is malformed, is signed by none of the keys that may vouch for this size, a signature of any of them was
    /// altered, or it speaks for another log.
    pub fn open(&self, note: &str) -> Result<Checkpoint, NoteError> {
        let mut vouched = Err(NoteError::NotSigned);
        for Vouching { key, until } in &self.keys {
            match key.open(note) {
                Ok(checkpoint) if until.is_some_and(|until| checkpoint.size > until) => {
                    vouched = vouched.or(Err(NoteError::Retired));
                }
                Ok(checkpoint) => vouched = Ok(checkpoint),
                Err(NoteError::NotSigned) => {}
                Err(error) => return Err(error),
            }
        }
        vouched
    }

    /// Checks the signatures of a note that is no checkpoint and returns the text that it stands under. A retired key still
    /// vouches for what it signed: who knows that its secret was stolen takes it out.
    ///
    /// # Errors
    /// When the note is malformed, is signed by none of these keys, or was altered.
    pub fn verified_text<'note>(&self, note: &'note str) -> Result<&'note str, NoteError> {
        let mut verified = Err(NoteError::NotSigned);
        for Vouching { key, .. } in &self.keys {
            match key.verified_text(note) {
                Err(NoteError::NotSigned) => {}
                Err(error) => return Err(error),
                text => verified = text,
            }
        }
        verified
    }

    fn of(keys: Vec<Vouching>) -> Result<Self, KeyError> {
        let alone = |place: usize, own: &Vouching| keys[..place].iter().all(|other| other.key != own.key);
        let first = keys.first().ok_or(KeyError::Form)?.key.name();
        if keys.iter().any(|own| own.key.name() != first) {
            return Err(KeyError::Names);
        }
        let whole = keys.len() <= KEYS_MAX && keys.iter().enumerate().all(|(place, own)| alone(place, own));
        if whole { Ok(Self { keys }) } else { Err(KeyError::Form) }
    }
}

impl From<VerifyingKey> for VerifyingKeys {
    fn from(key: VerifyingKey) -> Self {
        Self { keys: vec![Vouching { key, until: None }] }
    }
}

impl fmt::Display for VerifyingKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, vouching) in self.keys.iter().enumerate() {
            write!(formatter, "{}{vouching}", if place == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

impl Vouching {
    fn from_text(line: &str) -> Result<Self, KeyError> {
        let Some((key, digits)) = line.split_once(UNTIL) else {
            return Ok(Self { key: VerifyingKey::from_text(line)?, until: None });
        };
        let until: u64 = digits.parse().map_err(|_| KeyError::Form)?;
        // `parse` takes a leading plus sign and leading zeros.
        if until.to_string() != digits {
            return Err(KeyError::Form);
        }
        Ok(Self { key: VerifyingKey::from_text(key)?, until: Some(until) })
    }
}

impl fmt::Display for Vouching {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.key)?;
        self.until.map_or(Ok(()), |until| write!(formatter, "{UNTIL}{until}"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Tree;

    const ORIGIN: &str = "onward.example/audit";

    fn checkpoint(entries: u8) -> Checkpoint {
        let mut tree = Tree::new();
        for entry in 0..entries {
            tree.push(crate::leaf_hash(&[entry]));
        }
        Checkpoint::of_tree(ORIGIN, &tree).unwrap()
    }

    #[test]
    fn a_key_is_changed_and_every_verifier_goes_along() {
        let mut keys = SigningKeys::generate(ORIGIN).unwrap();
        let first = keys.verifying_keys().clone();
        let before = keys.sign(&checkpoint(2)).unwrap();

        let second = VerifyingKeys::from(keys.add().unwrap().clone());
        assert_eq!((keys.verifying_keys().newest(), keys.in_force()), (second.newest(), 2));
        let both = keys.sign(&checkpoint(3)).unwrap();
        for verifier in [&first, &second, keys.verifying_keys()] {
            assert_eq!(verifier.open(&both), Ok(checkpoint(3)));
        }

        for (verifier, knows) in [(&first, false), (&second, false), (keys.verifying_keys(), true)] {
            assert_eq!(verifier.know_all_signers(&both), knows);
        }
        assert!(first.know_all_signers(&before) && !first.know_all_signers("no note"));

        assert_eq!(keys.retire(3), 1);
        let after = keys.sign(&checkpoint(4)).unwrap();
        assert_eq!(first.open(&after), Err(NoteError::NotSigned));
        assert_eq!(second.open(&before), Err(NoteError::NotSigned));
        for (note, entries) in [(&before, 2), (&both, 3), (&after, 4)] {
            assert_eq!(keys.verifying_keys().open(note), Ok(checkpoint(entries)));
        }
    }

    #[test]
    fn a_retired_key_vouches_for_nothing_larger() {
        let mut keys = SigningKeys::generate(ORIGIN).unwrap();
        let stolen = SigningKeys::from_secret_text(&keys.to_secret_text().unwrap()).unwrap();
        keys.add().unwrap();
        keys.retire(3);
        for (entries, expected) in [(3, Ok(checkpoint(3))), (4, Err(NoteError::Retired))] {
            assert_eq!(keys.verifying_keys().open(&stolen.sign(&checkpoint(entries)).unwrap()), expected);
        }
        // Retired once: a later change does not let it vouch for more.
        keys.add().unwrap();
        assert_eq!(keys.retire(9), 1);
        assert_eq!(keys.verifying_keys().open(&stolen.sign(&checkpoint(4)).unwrap()), Err(NoteError::Retired));
        assert!(!keys.to_secret_text().unwrap().contains(stolen.to_secret_text().unwrap().trim_end()));
    }

    #[test]
    fn a_bad_signature_of_any_key_fells_the_note() {
        let mut keys = SigningKeys::generate(ORIGIN).unwrap();
        keys.add().unwrap();
        let (note, other) = (keys.sign(&checkpoint(2)).unwrap(), keys.sign(&checkpoint(3)).unwrap());
        let (lines, others): (Vec<_>, Vec<_>) = (note.lines().collect(), other.lines().collect());
        for place in lines.len() - 2..lines.len() {
            let mut mixed = lines.clone();
            mixed[place] = others[place];
            let mixed = mixed.join("\n") + "\n";
            assert_eq!(keys.verifying_keys().open(&mixed), Err(NoteError::BadSignature));
            assert_eq!(keys.verifying_keys().verified_text(&mixed), Err(NoteError::BadSignature));
        }
    }

    #[test]
    fn statements_are_signed_by_every_key_and_outlive_it() {
        let mut keys = SigningKeys::generate(ORIGIN).unwrap();
        let old = keys.sign_statement("files v1\n").unwrap();
        keys.add().unwrap();
        let both = keys.sign_statement("files v2\n").unwrap();
        assert_eq!(both.lines().count(), 4);
        keys.retire(0);
        assert_eq!(keys.verifying_keys().verified_text(&old), Ok("files v1\n"));
        assert_eq!(keys.verifying_keys().verified_text(&both), Ok("files v2\n"));
        assert_eq!(keys.sign_statement(&checkpoint(1).to_text()), Err(NoteError::Form));
    }

    #[test]
    fn the_texts_survive_storage() {
        let mut keys = SigningKeys::generate(ORIGIN).unwrap();
        for until in [None, Some(7), Some(9)] {
            let text = keys.to_secret_text().unwrap();
            let read = SigningKeys::from_secret_text(&text).unwrap();
            assert_eq!(*read.to_secret_text().unwrap(), *text);
            assert_eq!(read.verifying_keys(), keys.verifying_keys());
            let public = keys.verifying_keys().to_string();
            assert_eq!(VerifyingKeys::from_text(&public).as_ref(), Ok(keys.verifying_keys()));
            assert_eq!(VerifyingKeys::from_text(&format!("{public}\n")).as_ref(), Ok(keys.verifying_keys()));
            keys.add().unwrap();
            if let Some(until) = until {
                keys.retire(until);
            }
        }
    }

    #[test]
    fn files_that_are_not_the_keys_of_one_log_are_refused() {
        let own = SigningKeys::generate(ORIGIN).unwrap();
        let other = SigningKeys::generate("other.example/audit").unwrap();
        let (public, foreign) = (own.verifying_keys().to_string(), other.verifying_keys().to_string());
        assert_eq!(VerifyingKeys::from_text(&format!("{public}\n{foreign}")), Err(KeyError::Names));
        for text in [
            String::new(),
            format!("{public}\n{public}"),
            format!("{public}\n\n"),
            format!("{public} until"),
            format!("{public} until 03"),
            format!("{public} until +3"),
            format!("{public} until -1"),
            format!("{public} until 3 until 4"),
        ] {
            assert!(VerifyingKeys::from_text(&text).is_err(), "{text:?}");
        }
        assert_eq!(SigningKeys::from_secret_text(&public).map(|_| ()), Err(KeyError::Form));
        let secret = own.to_secret_text().unwrap();
        assert!(SigningKeys::from_secret_text(&format!("{}{foreign}", *secret)).is_err());
        assert!(SigningKeys::from_secret_text(&format!("{}{public}", *secret)).is_err());
    }

    #[test]
    fn a_log_has_not_endlessly_many_keys() {
        let mut keys = SigningKeys::generate(ORIGIN).unwrap();
        for _ in 1..KEYS_MAX {
            keys.add().unwrap();
        }
        assert_eq!(keys.add().map(|_| ()), Err(KeyError::Form));
        assert_eq!(keys.in_force(), KEYS_MAX);
    }

    proptest! {
        #[test]
        fn hostile_text_never_panics(text in "(\\PC|\n|\\+| until |[0-9]){0,200}") {
            let _ = VerifyingKeys::from_text(&text);
            let _ = SigningKeys::from_secret_text(&format!("{SECRET_PREFIX}{text}"));
        }
    }
}
