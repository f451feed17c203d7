//! How much of the page each item's pictures may take.

use std::cell::Cell;

/// The share of every item, and what is left for all.
pub(super) struct Budget {
    /// The longest side of a picture in pixels, where the share allows it.
    pub(super) side: u32,
    /// Characters of embedded pictures that one item may have.
    share: usize,
    /// Characters that are left.
    left: Cell<usize>,
}

/// The smallest longest side that is tried, in pixels: below, a map is a smudge.
const SMALLEST: u32 = 32;

impl Budget {
    /// The same share of `megabytes` for each of `items`.
    pub(super) fn new(megabytes: u32, items: usize, side: u32) -> Self {
        let all = megabytes as usize * 1_000_000;
        Self::sharing(side, all / items.max(1), all)
    }

    /// Shares of `share` characters, `all` together.
    pub(super) fn sharing(side: u32, share: usize, all: usize) -> Self {
        Self { side, share, left: Cell::new(all) }
    }

    /// Whether an item may have `characters` of pictures with this longest side; if so, they are
    /// spent. The smallest pictures may pass the share while anything is left: better some items
    /// with pictures than none.
    pub(super) fn spends(&self, characters: usize, side: u32) -> bool {
        let left = self.left.get();
        let most = if side / 2 < SMALLEST { left } else { left.min(self.share) };
        let may = characters <= most;
        self.left.set(if may { left - characters } else { left });
        may
    }

    /// The sides to try, largest first.
    pub(super) fn sides(&self) -> impl Iterator<Item = u32> {
        let halved = |side: &u32| (side / 2 >= SMALLEST).then_some(side / 2);
        std::iter::successors(Some(self.side), halved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_are_halved_and_shares_are_equal() {
        let budget = Budget::new(32, 2000, 256);
        assert_eq!(budget.share, 16_000);
        assert_eq!(budget.sides().collect::<Vec<_>>(), [256, 128, 64, 32]);
        assert!(budget.spends(16_000, 256) && !budget.spends(16_001, 256));
        assert!(budget.spends(16_001, 32) && !budget.spends(32_000_000, 32));
        assert_eq!(Budget::new(1, 0, 40).sides().collect::<Vec<_>>(), [40]);
    }
}
