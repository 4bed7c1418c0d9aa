//! Compression of what is sealed: a transfer of care and its copies are mostly markup, and shrink to a fifth.

use std::cell::RefCell;
use std::io::Cursor;

use zeroize::Zeroize as _;
use zstd::bulk::{Compressor, Decompressor};
use zstd::compress_bound;

/// Values below this many bytes stay as they are: they would gain less than a page.
const LEAST: usize = 512;
/// The fastest level: higher ones cost several times as much for a tenth of the size.
const LEVEL: i32 = 1;
/// More than any value that is ever sealed; what says that it is larger is damaged.
const MOST: usize = 1 << 28;

thread_local! {
    // Their tables are large, and the same for every value.
    static PACK: RefCell<Option<Compressor<'static>>> = RefCell::new(Compressor::new(LEVEL).ok());
    static UNPACK: RefCell<Option<Decompressor<'static>>> = RefCell::new(Decompressor::new().ok());
}

/// The value as one Zstandard frame (RFC 8878) that tells its size, behind these bytes and with so much room behind it; `None` where that
/// saves less than a sixteenth. It is written where it can be sealed; a frame that is not sealed is wiped (`Packed`).
pub(super) fn pack_behind(front: &[u8], plain: &[u8], room_behind: usize) -> Option<Vec<u8>> {
    if !(LEAST..=MOST).contains(&plain.len()) {
        return None;
    }
    let mut packed = Cursor::new(Vec::with_capacity(front.len() + compress_bound(plain.len()) + room_behind));
    packed.get_mut().extend_from_slice(front);
    packed.set_position(front.len() as u64);
    let length = PACK.with_borrow_mut(|compressor| compressor.as_mut()?.compress_to_buffer(plain, &mut packed).ok());
    let mut frame = packed.into_inner();
    if length.is_some_and(|length| length < plain.len() - plain.len() / 16) {
        // It may have to wait: what was set aside for the worst case need not wait with it.
        frame.shrink_to(frame.len() + room_behind);
        return Some(frame);
    }
    // With whatever an attempt that failed has left behind its end.
    frame.zeroize();
    None
}

/// What was packed.
pub(super) fn unpack(packed: &[u8]) -> Option<Vec<u8>> {
    let size = Decompressor::upper_bound(packed).filter(|size| *size <= MOST)?;
    UNPACK.with_borrow_mut(|decompressor| decompressor.as_mut()?.decompress(packed, size).ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_packed_comes_back(
            part in proptest::collection::vec(any::<u8>(), 1..300), times in 1_usize..400
        ) {
            let plain = part.repeat(times);
            if let Some(packed) = pack_behind(b"front", &plain, 16) {
                let packed = packed.strip_prefix(b"front").expect("behind the front");
                prop_assert!(packed.len() < plain.len());
                prop_assert_eq!(unpack(packed), Some(plain));
            }
        }

        #[test]
        fn nothing_else_is_unpacked_into_much(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            prop_assert!(unpack(&bytes).is_none_or(|plain| plain.len() <= MOST));
        }
    }

    #[test]
    fn markup_shrinks_and_noise_stays() {
        let markup: String = (0..600).map(|n| format!("<p class=\"line\">Line {n} of the plan</p>")).collect();
        let packed = pack_behind(&[], markup.as_bytes(), 16).expect("it shrinks");
        assert!(packed.len() * 4 < markup.len(), "{} of {}", packed.len(), markup.len());
        let mut noise = vec![0; 20_000];
        aws_lc_rs::rand::fill(&mut noise).expect("randomness");
        assert!(pack_behind(&[], &noise, 16).is_none());
        assert!(pack_behind(&[], b"short", 16).is_none());
    }

    #[test]
    fn a_frame_that_claims_too_much_is_refused_before_anything_is_set_aside() {
        // Magic number, single segment with an eight-byte size of 2^40, no block (RFC 8878 section 3.1.1).
        let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0xe0];
        frame.extend_from_slice(&(1_u64 << 40).to_le_bytes());
        assert_eq!(unpack(&frame), None);
    }
}
