//! The text of a checkpoint: which log, how many entries, which root (C2SP tlog-checkpoint, "Note text").

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::hash::Hash;
use crate::note::is_key_name;
use crate::tree::Tree;

/// What a log says about itself at one moment. [`crate::SigningKey::sign`] makes it binding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's name: a URL without its scheme, and the name of the key that signs.
    pub origin: String,
    /// The number of entries.
    pub size: u64,
    /// The root of the tree of that many entries.
    pub root: Hash,
}

/// A text that is no checkpoint of the form that this log writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// The first line is not usable as the name of a log and of its key.
    #[error("the origin is empty or holds spaces, control characters or a plus sign")]
    Origin,
    /// The second line is not a decimal number without leading zeros.
    #[error("the tree size is not a decimal number without leading zeros")]
    Size,
    /// The third line is not the base64 of 32 bytes.
    #[error("the root hash is not the base64 of 32 bytes")]
    Root,
    /// There are not exactly three lines that each end in a newline. Extension lines are allowed by tlog-checkpoint, but
    /// discouraged there, never written here, and not covered by every kind of cosignature.
    #[error("a checkpoint has exactly three lines")]
    Lines,
}

impl Checkpoint {
    /// The checkpoint of a tree as it stands.
    ///
    /// # Errors
    /// When the origin cannot name a log.
    pub fn of_tree(origin: &str, tree: &Tree) -> Result<Self, CheckpointError> {
        if is_key_name(origin) {
            Ok(Self { origin: origin.to_owned(), size: tree.size(), root: tree.root() })
        } else {
            Err(CheckpointError::Origin)
        }
    }

    /// The three lines that are signed.
    pub fn to_text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, STANDARD.encode(self.root))
    }

    /// Reads the three lines back. The text proves nothing by itself: [`crate::VerifyingKey::open`] checks who signed it.
    ///
    /// # Errors
    /// When the text differs in any byte from what [`Checkpoint::to_text`] would write for the same values.
    pub fn from_text(text: &str) -> Result<Self, CheckpointError> {
        let body = text.strip_suffix('\n').ok_or(CheckpointError::Lines)?;
        let [origin, size, root] =
            body.split('\n').collect::<Vec<_>>().try_into().map_err(|_| CheckpointError::Lines)?;
        if !is_key_name(origin) {
            return Err(CheckpointError::Origin);
        }
        let number: u64 = size.parse().map_err(|_| CheckpointError::Size)?;
        // `parse` takes a leading plus sign and leading zeros.
        if number.to_string() != size {
            return Err(CheckpointError::Size);
        }
        let root = STANDARD.decode(root).map_err(|_| CheckpointError::Root)?;
        let root = root.try_into().map_err(|_| CheckpointError::Root)?;
        Ok(Self { origin: origin.to_owned(), size: number, root })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The text of the example in tlog-checkpoint.
    const PUBLISHED: &str = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";

    #[test]
    fn the_published_example_is_read_and_written_back() {
        let checkpoint = Checkpoint::from_text(PUBLISHED).unwrap();
        assert_eq!(checkpoint.origin, "example.com/behind-the-sofa");
        assert_eq!(checkpoint.size, 20_852_163);
        assert_eq!(hex::encode(checkpoint.root), "0ac5186a91863e8e1d90c808014aa89bf5da8e3ee1d9f07630f0378f68f1ab62");
        assert_eq!(checkpoint.to_text(), PUBLISHED);
    }

    #[test]
    fn anything_but_the_canonical_form_is_refused() {
        let root = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=";
        let cases = [
            (String::new(), CheckpointError::Lines),
            (format!("log\n1\n{root}"), CheckpointError::Lines),
            (format!("log\n1\n{root}\nextension\n"), CheckpointError::Lines),
            (format!("log\n1\n{root}\n\n"), CheckpointError::Lines),
            (format!("\n1\n{root}\n"), CheckpointError::Origin),
            (format!("two words\n1\n{root}\n"), CheckpointError::Origin),
            (format!("lo+g\n1\n{root}\n"), CheckpointError::Origin),
            (format!("lo\u{2003}g\n1\n{root}\n"), CheckpointError::Origin),
            (format!("log\r\n1\n{root}\n"), CheckpointError::Origin),
            (format!("log\n01\n{root}\n"), CheckpointError::Size),
            (format!("log\n+1\n{root}\n"), CheckpointError::Size),
            (format!("log\n-1\n{root}\n"), CheckpointError::Size),
            (format!("log\n\n{root}\n"), CheckpointError::Size),
            (format!("log\n18446744073709551616\n{root}\n"), CheckpointError::Size),
            ("log\n1\nAAAA\n".to_owned(), CheckpointError::Root),
            (format!("log\n1\n{}\n", root.trim_end_matches('=')), CheckpointError::Root),
            (format!("log\n1\n{}J=\n", &root[..42]), CheckpointError::Root),
            (format!("log\n1\n {root}\n"), CheckpointError::Root),
        ];
        for (text, error) in cases {
            assert_eq!(Checkpoint::from_text(&text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn a_tree_without_a_usable_name_has_no_checkpoint() {
        for origin in ["", "a b", "a+b", "a\nb"] {
            assert_eq!(Checkpoint::of_tree(origin, &Tree::new()), Err(CheckpointError::Origin));
        }
    }

    proptest! {
        #[test]
        fn every_checkpoint_survives_its_text(origin in "[a-z./]{1,40}", size: u64, root: [u8; 32]) {
            let checkpoint = Checkpoint { origin, size, root };
            prop_assert_eq!(Checkpoint::from_text(&checkpoint.to_text()).unwrap(), checkpoint);
        }

        #[test]
        fn what_is_read_is_exactly_what_would_be_written(text in "[a-z+ 0-9=\n/]{0,60}") {
            if let Ok(checkpoint) = Checkpoint::from_text(&text) {
                prop_assert_eq!(checkpoint.to_text(), text);
            }
        }
    }
}
