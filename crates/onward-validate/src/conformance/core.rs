//! The core pack: FHIR 4.0.1 inside the binary. `definitions/README.md` tells its provenance and its format.

use std::borrow::Cow;
use std::io::Read;
use std::sync::{LazyLock, OnceLock};

use foldhash::{HashMap, HashMapExt};

use super::source::{Kind, Origin, Source, Text};

static PACKED: &[u8] = include_bytes!("../../definitions/r4.pack.gz");

/// The pack with its index read; no block of it is decompressed yet.
pub(super) fn pack() -> &'static Pack {
    static PACK: LazyLock<Pack> = LazyLock::new(|| Pack::read(PACKED));
    &PACK
}

pub(super) struct Pack {
    blocks: Vec<Block>,
    sources: Vec<Source>,
    by_url: HashMap<(Kind, &'static str), usize>,
}

struct Block {
    packed: &'static [u8],
    text_bytes: usize,
    text: OnceLock<Box<str>>,
}

impl Pack {
    fn read(packed: &'static [u8]) -> Self {
        let mut rest = packed;
        let mut index = String::new();
        // Leaves `rest` at the member behind the index.
        flate2::bufread::GzDecoder::new(&mut rest)
            .read_to_string(&mut index)
            .expect("the committed index is gzip of UTF-8");
        let mut pack = Self { blocks: Vec::new(), sources: Vec::new(), by_url: HashMap::new() };
        // Leaked once per process, so that names can be handed out freely.
        for line in Box::leak(index.into_boxed_str()).lines() {
            let fields: Vec<&'static str> = line.split('\t').collect();
            let number = |at: usize| -> usize { fields[at].parse().expect("the committed index holds numbers") };
            if fields[0] == "block" {
                let (member, behind) = rest.split_at(number(1));
                pack.blocks.push(Block { packed: member, text_bytes: number(2), text: OnceLock::new() });
                rest = behind;
                continue;
            }
            let kind = Kind::of(fields[0]).expect("the committed index names only these kinds");
            pack.by_url.insert((kind, fields[1]), pack.sources.len());
            pack.sources.push(Source {
                kind,
                url: Cow::Borrowed(fields[1]),
                version: Cow::Borrowed(fields[2]),
                structure_kind: Cow::Borrowed(fields[3]),
                derivation: Cow::Borrowed(fields[4]),
                type_name: Cow::Borrowed(fields[5]),
                origin: Origin::Core,
                text: Text::Packed { block: number(6), range: number(7)..number(7) + number(8) },
                code_system: OnceLock::new(),
            });
        }
        pack
    }

    pub(super) fn block(&self, at: usize) -> &str {
        let block = &self.blocks[at];
        block.text.get_or_init(|| {
            let mut text = String::with_capacity(block.text_bytes);
            flate2::bufread::GzDecoder::new(block.packed)
                .read_to_string(&mut text)
                .expect("the committed block is gzip of UTF-8");
            text.into_boxed_str()
        })
    }

    pub(super) fn find(&self, kind: Kind, url: &str) -> Option<&Source> {
        self.by_url.get(&(kind, url)).map(|at| &self.sources[*at])
    }

    pub(super) fn sources(&self) -> &[Source] {
        &self.sources
    }
}
