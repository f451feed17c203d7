//! Mask sets of random square patches, kept as the patches' corners.

use fame_core::{Error, Result};

use super::super::random::Random;

/// `count` masks that hide `patches` squares each. A mask is its squares' corners, so a set of any
/// size takes no memory worth counting.
pub(crate) struct PatchMasks {
    corners: Vec<(usize, usize)>,
    patches: usize,
    side: usize,
    width: usize,
}

impl PatchMasks {
    /// Draws the set of `seed` for pictures of `height`×`width`: corners uniform, squares wholly
    /// inside.
    ///
    /// # Errors
    /// When the squares do not fit.
    pub(crate) fn draw(
        seed: u64,
        count: usize,
        patches: usize,
        side: usize,
        (height, width): (usize, usize),
    ) -> Result<Self> {
        if side == 0 || side > height.min(width) {
            let message = format!(
                "a patch of {side} × {side} pixels does not fit a picture of {width} × {height}."
            );
            return Err(Error::new("fame::explain::patch_too_large", message)
                .with_help("Give a smaller `patch`."));
        }
        let mut random = Random::new(seed);
        let mut corner = || {
            let row = random.below(height - side + 1);
            (row, random.below(width - side + 1))
        };
        let corners = (0..count * patches).map(|_| corner()).collect();
        Ok(Self { corners, patches, side, width })
    }

    /// Calls `hide` with the index (row · width + column) of every pixel that mask `index` hides,
    /// row by row; a pixel under several squares comes once for each.
    pub(crate) fn hidden(&self, index: usize, mut hide: impl FnMut(usize)) {
        for (row, column) in &self.corners[index * self.patches..(index + 1) * self.patches] {
            for y in *row..row + self.side {
                (y * self.width + column..y * self.width + column + self.side).for_each(&mut hide);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_lie_inside_and_follow_the_seed() {
        let draw = |seed| PatchMasks::draw(seed, 50, 3, 4, (9, 7)).unwrap();
        let (a, b, c) = (draw(1), draw(1), draw(2));
        assert_eq!(a.corners, b.corners);
        assert_ne!(a.corners, c.corners);
        assert!(a.corners.iter().all(|(r, c)| *r <= 5 && *c <= 3));
        // Every corner that may be drawn is drawn by 150 patches on 24 places, up to a chance of 24
        // · (23/24)^150 < 5 %, decided by the seed.
        assert!(
            (0..=5).all(|r| a.corners.iter().any(|c| c.0 == r))
                && (0..=3).all(|k| a.corners.iter().any(|c| c.1 == k))
        );
        assert!(PatchMasks::draw(1, 1, 1, 8, (9, 7)).is_err());
    }

    #[test]
    fn a_mask_hides_whole_squares() {
        let masks = PatchMasks::draw(3, 2, 1, 2, (3, 3)).unwrap();
        let mut hidden = Vec::new();
        masks.hidden(1, |i| hidden.push(i));
        let (r, c) = masks.corners[1];
        assert_eq!(hidden, [r * 3 + c, r * 3 + c + 1, r * 3 + 3 + c, r * 3 + 4 + c]);
    }
}
