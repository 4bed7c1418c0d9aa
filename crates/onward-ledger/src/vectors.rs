//! Published test vectors: the eight leaves, their roots and proofs of the certificate-transparency reference tests.

use crate::hash::{Hash, leaf_hash};

const ROOTS: [&str; 9] = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];
const NODE_0_2: &str = "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125";
const NODE_2_4: &str = "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e";
const NODE_4_6: &str = "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a";
const NODE_6_8: &str = "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0";
const NODE_0_4: &str = "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7";
const NODE_4_8: &str = "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4";
const LEAF_0: &str = "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d";
const LEAF_1: &str = "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7";
const LEAF_4: &str = "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b";

pub(crate) fn leaf_hashes() -> Vec<Hash> {
    let leaves: [&[u8]; 8] = [
        b"",
        b"\x00",
        b"\x10",
        b"\x20\x21",
        b"\x30\x31",
        b"\x40\x41\x42\x43",
        b"\x50\x51\x52\x53\x54\x55\x56\x57",
        b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
    ];
    leaves.into_iter().map(leaf_hash).collect()
}

/// The roots by tree size, from 0 to 8.
pub(crate) fn roots() -> Vec<Hash> {
    ROOTS.iter().map(|root| decode(root)).collect()
}

/// Index, size, proof.
pub(crate) fn inclusion_proofs() -> Vec<(u64, u64, Vec<Hash>)> {
    vec![
        (0, 1, vec![]),
        (0, 8, decode_all(&[LEAF_1, NODE_2_4, NODE_4_8])),
        (5, 8, decode_all(&[LEAF_4, NODE_6_8, NODE_0_4])),
        (2, 3, decode_all(&[NODE_0_2])),
        (1, 5, decode_all(&[LEAF_0, NODE_2_4, LEAF_4])),
    ]
}

/// Older size, newer size, proof.
pub(crate) fn consistency_proofs() -> Vec<(u64, u64, Vec<Hash>)> {
    vec![
        (1, 1, vec![]),
        (1, 8, decode_all(&[LEAF_1, NODE_2_4, NODE_4_8])),
        (6, 8, decode_all(&[NODE_4_6, NODE_6_8, NODE_0_4])),
        (2, 5, decode_all(&[NODE_2_4, LEAF_4])),
    ]
}

fn decode_all(hashes: &[&str]) -> Vec<Hash> {
    hashes.iter().map(|hash| decode(hash)).collect()
}

fn decode(hash: &str) -> Hash {
    hex::decode(hash).expect("the vectors are hexadecimal").try_into().expect("a hash has 32 bytes")
}
