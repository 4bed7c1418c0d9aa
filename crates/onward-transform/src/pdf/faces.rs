//! The two faces of the type (Liberation Sans), what they measure, and what they cannot show.

use std::collections::HashMap;
use std::sync::LazyLock;

use krilla::text::{Font, GlyphId, KrillaGlyph};
use skrifa::instance::{LocationRef, Size};
use skrifa::{FontRef, MetadataProvider as _};

static REGULAR: &[u8] = include_bytes!("../../fonts/LiberationSans-Regular.ttf");
static BOLD: &[u8] = include_bytes!("../../fonts/LiberationSans-Bold.ttf");

/// Stands for a sign that the type does not have.
const UNKNOWN: char = '?';

/// Read once: what a sign measures does not change.
static FACES: LazyLock<Option<Faces>> =
    LazyLock::new(|| Some(Faces { regular: Face::load(REGULAR)?, bold: Face::load(BOLD)? }));

pub(super) struct Faces {
    regular: Face,
    bold: Face,
}

pub(super) struct Face {
    pub(super) font: Font,
    /// Glyph and width, at one point of size, of every sign that the face has.
    signs: HashMap<char, (GlyphId, f32)>,
}

impl Faces {
    /// The faces that are part of the program; `None` when they are damaged.
    pub(super) fn load() -> Option<&'static Self> {
        FACES.as_ref()
    }

    pub(super) fn of(&self, bold: bool) -> &Face {
        if bold { &self.bold } else { &self.regular }
    }
}

impl Face {
    fn load(bytes: &'static [u8]) -> Option<Self> {
        let font = Font::new(bytes.into(), 0)?;
        let em = font.units_per_em();
        let reference = FontRef::new(bytes).ok()?;
        let metrics = reference.glyph_metrics(Size::unscaled(), LocationRef::default());
        let sign = |(code, id): (u32, skrifa::GlyphId)| {
            let width = metrics.advance_width(id).unwrap_or_default() / em;
            Some((char::from_u32(code)?, (GlyphId::new(id.to_u32()), width)))
        };
        let signs = reference.charmap().mappings().filter_map(sign).collect();
        Some(Self { font, signs })
    }

    /// The text with every sign replaced that the type lacks, and without those that turn the order of others round.
    pub(super) fn shown(&self, text: &str) -> String {
        let known = |c: char| if c == '\n' || self.signs.contains_key(&c) { c } else { UNKNOWN };
        text.chars().filter(|c| !is_invisible(*c)).map(known).collect()
    }

    /// Width of a sign at one point of size.
    pub(super) fn sign(&self, c: char) -> f32 {
        self.signs.get(&c).map_or(0.0, |(_, width)| *width)
    }

    /// Width at one point of size.
    pub(super) fn width(&self, text: &str) -> f32 {
        text.chars().map(|c| self.sign(c)).sum()
    }

    pub(super) fn glyphs(&self, text: &str) -> Vec<KrillaGlyph> {
        let glyph = |(at, c): (usize, char)| {
            let (id, width) = self.signs.get(&c)?;
            Some(KrillaGlyph::new(*id, *width, 0.0, 0.0, 0.0, at..at + c.len_utf8(), None))
        };
        text.char_indices().filter_map(glyph).collect()
    }
}

/// Controls, zero-width signs, and those that set or override the direction of text.
fn is_invisible(c: char) -> bool {
    c != '\n' && c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{ad}')
}
