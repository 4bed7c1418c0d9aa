//! Where hashes lie when the tree is kept as tiles of 256 (C2SP tlog-tiles, "Merkle Tree").

/// The number of hashes in a full tile.
pub const TILE_WIDTH: u16 = 256;

/// One tile: `width` consecutive hashes, each the root of 256^level leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tile {
    /// The level; at level 0 the hashes are leaf hashes.
    pub level: u8,
    /// The position among the tiles of its level, from 0.
    pub index: u64,
    /// The number of hashes, from 1 to [`TILE_WIDTH`].
    pub width: u16,
}

impl Tile {
    /// The tile's resource path, such as `tile/0/x001/x234/067.p/12`.
    pub fn path(&self) -> String {
        let mut index = format!("{:03}", self.index % 1_000);
        let mut rest = self.index / 1_000;
        while rest > 0 {
            index = format!("x{:03}/{index}", rest % 1_000);
            rest /= 1_000;
        }
        let partial = if self.width < TILE_WIDTH { format!(".p/{}", self.width) } else { String::new() };
        format!("tile/{}/{index}{partial}", self.level)
    }
}

/// The tiles that a tree of `new` leaves has and a tree of `old` leaves has not, level by level: those to write when the
/// log grows. Empty when it does not grow.
pub fn tiles_to_write(old: u64, new: u64) -> Vec<Tile> {
    let mut tiles = Vec::new();
    let width = u64::from(TILE_WIDTH);
    let (mut old_hashes, mut new_hashes) = (old, new);
    for level in 0_u8..8 {
        if new_hashes <= old_hashes {
            break;
        }
        for index in old_hashes / width..new_hashes.div_ceil(width) {
            let held = (new_hashes - index * width).min(width);
            tiles.push(Tile { level, index, width: u16::try_from(held).expect("a tile holds at most 256 hashes") });
        }
        old_hashes /= width;
        new_hashes /= width;
    }
    tiles
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_are_those_of_the_specification() {
        let path = |level, index, width| Tile { level, index, width }.path();
        assert_eq!(path(0, 1_234_067, 256), "tile/0/x001/x234/067");
        assert_eq!(path(0, 0, 256), "tile/0/000");
        assert_eq!(path(1, 999, 17), "tile/1/999.p/17");
        assert_eq!(path(2, 1_000, 1), "tile/2/x001/000.p/1");
    }

    #[test]
    fn a_tree_of_seventy_thousand_is_tiled_as_in_the_specification() {
        let tiles = tiles_to_write(0, 70_000);
        let at = |level| tiles.iter().filter(move |tile| tile.level == level).map(|tile| tile.width);
        assert_eq!(at(0).filter(|width| *width == 256).count(), 273);
        assert_eq!(at(0).next_back(), Some(112));
        assert_eq!(at(1).collect::<Vec<_>>(), [256, 17]);
        assert_eq!(at(2).collect::<Vec<_>>(), [1]);
        assert_eq!(tiles.len(), 274 + 2 + 1);
    }

    #[test]
    fn a_tree_of_256_has_one_full_tile_and_one_of_width_one() {
        let level = |level, index, width| Tile { level, index, width };
        assert_eq!(tiles_to_write(0, 256), [level(0, 0, 256), level(1, 0, 1)]);
        assert_eq!(tiles_to_write(255, 256), [level(0, 0, 256), level(1, 0, 1)]);
        assert_eq!(tiles_to_write(256, 257), [level(0, 1, 1)]);
        assert!(tiles_to_write(256, 256).is_empty());
        assert!(tiles_to_write(5, 3).is_empty());
    }

    proptest! {
        #[test]
        fn growing_in_two_steps_writes_what_one_step_writes(first in 0_u64..70_000, more in 0_u64..70_000) {
            let mut stepwise = std::collections::BTreeMap::new();
            for tile in tiles_to_write(0, first).into_iter().chain(tiles_to_write(first, first + more)) {
                stepwise.insert((tile.level, tile.index), tile.width);
            }
            let at_once: std::collections::BTreeMap<_, _> =
                tiles_to_write(0, first + more).into_iter().map(|tile| ((tile.level, tile.index), tile.width)).collect();
            prop_assert_eq!(stepwise, at_once);
        }
    }
}
