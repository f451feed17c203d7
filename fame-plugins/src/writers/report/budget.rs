//! How much of the page each item's pictures may take.

/// The share of every item.
pub(super) struct Budget {
    /// The longest side of a picture in pixels, where the share allows it.
    pub(super) side: u32,
    /// Characters of embedded pictures that one item may have.
    pub(super) share: usize,
}

/// The smallest longest side that is tried, in pixels: below, a map is a smudge.
const SMALLEST: u32 = 32;

impl Budget {
    /// The same share of `megabytes` for each of `items`.
    pub(super) fn new(megabytes: u32, items: usize, side: u32) -> Self {
        Self { side, share: megabytes as usize * 1_000_000 / items.max(1) }
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
        assert_eq!(Budget::new(1, 0, 40).sides().collect::<Vec<_>>(), [40]);
    }
}
