//! `Lime`: a ridge regression of the answers to pictures with random holes, near the picture.

use fame_core::{
    LayerChoices, Random, Result,
    ask::Answer,
    contract::Explainer,
    registry::{Assembly, BuildContext, Parameters, Plugin},
    text::Spec,
};

use super::{
    super::{aimed::check_roles, finish::specs},
    answers::Fill,
    tiles::{Asked, OfTiles, Tiling, solve},
};
use crate::ask::{usual_layer, usual_loss};

fame_core::parameters! {
    /// LIME on images: each tile of a picture is kept or filled by the toss of a coin, and a linear model with
    /// an intercept is fitted to y over which tiles are kept. Sets near the whole picture count more: weight
    /// exp(−d² / width²) with d = 1 − √(share kept), the cosine distance to the whole, and a ridge of `ridge`
    /// keeps weights small. The finished map shows tiles that raise y, the raw one also those that lower it; every
    /// pixel has the value of its tile.
    ///
    /// The original takes superpixels for tiles; squares know nothing of the picture, and are the same for every
    /// picture and method. Weights are those of a model near half-filled pictures, whose unlikeness to photographs
    /// is part of what they say. They do not add up to anything.
    pub struct Lime {
        /// The target layer or layers. Default: the one in the model's manifest, else its `Output`.
        layer: LayerChoices = open,
        /// Whose value y is watched. Default: what the model's manifest asks for, else `Logit()`,
        /// the class the network sees.
        loss: Spec = open,
        /// The loss's `Value`, or the softmax `Probability` of its class.
        answer: Answer = Answer::Value,
        /// Side of the tiles in pixels; at the right and lower border less.
        side: usize = 16,
        /// Pictures with holes that are asked about; some times the number of tiles.
        samples: usize = 1000,
        /// Width of the weighing, above 0.
        width: f64 = 0.25,
        /// Penalty on the squares of the weights, 0 or above; 1 as in the original's ridge regression.
        ridge: f64 = 1.0,
        /// What stands where a tile is not: `Black` before normalisation, or the model's `Mean` colour.
        fill: Fill = Fill::Mean,
        /// Steps to the map. Default: the maximum becomes 1.
        map: Vec<Spec> = specs(&["MaxNormalize()"]),
        /// Which pictures of a sample to explain, by role. Default: all.
        roles: Option<Vec<String>> = None,
    }
}

impl Parameters for Lime {
    type Typed = typed::Lime;

    fn fill(typed: typed::Lime, with: &BuildContext<'_>, _: &mut Assembly) -> Option<Self> {
        Some(typed.or(usual_layer(with), usual_loss(with)))
    }
}

impl Plugin<dyn Explainer> for Lime {
    const NAME: &'static str = "Lime";
    const SUMMARY: &'static str =
        "A linear model of the answers to pictures with random tiles filled";
    const CLAIM: &'static str = "Shows the weights of a linear model of the asked value over random tiles kept or filled; not shares that add up, and not more than such a model can say.";
    const EXAMPLE: &'static str = "Lime(side: 16, samples: 1000)";
    const REFERENCE: &'static str =
        "Ribeiro, Singh & Guestrin, Why Should I Trust You?, KDD 2016, arXiv 1602.04938";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        assembly.check("side", self.side > 0, "must be at least 1 pixel");
        assembly.check("samples", (2..=1_000_000).contains(&self.samples), "must be 2 to 1000000");
        assembly.check("width", self.width.is_finite() && self.width > 0.0, "must be above 0");
        assembly.check("ridge", self.ridge.is_finite() && self.ridge >= 0.0, "must be 0 or above");
        check_roles(self.roles.as_deref(), assembly);
    }

    fn build(self, with: &BuildContext<'_>, assembly: &mut Assembly) -> Option<Box<dyn Explainer>> {
        let Lime { layer, loss, answer, side, samples, width, ridge, fill, map, roles } = self;
        let method = Local { samples, width, ridge };
        let asked = Asked { layer, loss, answer, map, roles };
        asked.explainer(method, Tiling::Side(side), fill.into(), with, assembly)
    }
}

fame_core::register!(Explainer: Lime);

/// A weighted ridge regression.
struct Local {
    samples: usize,
    width: f64,
    ridge: f64,
}

impl OfTiles for Local {
    const NAME: &'static str = Lime::NAME;

    type Masks = Vec<Vec<bool>>;

    fn masks(&self, seed: u64, tiles: usize) -> Vec<Vec<bool>> {
        let set = |n: usize| {
            let mut random = Random::stream(seed, n);
            (0..tiles).map(|_| random.below(2) == 1).collect()
        };
        (0..self.samples).map(set).collect()
    }

    fn values(&self, sets: &Self::Masks, answers: &[f64], _: f64, _: f64) -> Result<Vec<f64>> {
        let tiles = sets.first().map_or(0, Vec::len);
        let near = |set: &Vec<bool>| {
            let kept = set.iter().filter(|is_there| **is_there).count() as f64;
            let distance = 1.0 - (kept / tiles as f64).sqrt();
            (-(distance / self.width).powi(2)).exp()
        };
        let weights: Vec<f64> = sets.iter().map(near).collect();
        let total: f64 = weights.iter().sum();
        // The intercept is not penalised: both sides are centred by their weighted means.
        let mean = |of: &dyn Fn(usize) -> f64| {
            weights.iter().enumerate().map(|(n, w)| w * of(n)).sum::<f64>() / total
        };
        let level = mean(&|n| answers[n]);
        let levels: Vec<f64> =
            (0..tiles).map(|tile| mean(&|n| f64::from(u8::from(sets[n][tile])))).collect();
        let (mut a, mut b) = (vec![vec![0.0; tiles]; tiles], vec![0.0; tiles]);
        for ((set, answer), weight) in sets.iter().zip(answers).zip(&weights) {
            let apart: Vec<f64> = set
                .iter()
                .zip(&levels)
                .map(|(is_there, level)| f64::from(u8::from(*is_there)) - level)
                .collect();
            for (i, x) in apart.iter().enumerate() {
                b[i] += weight * x * (answer - level);
                a[i].iter_mut().zip(&apart).for_each(|(a, y)| *a += weight * x * y);
            }
        }
        a.iter_mut().enumerate().for_each(|(i, row)| row[i] += self.ridge);
        solve(a, b)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tiles::testing::shown, *};

    fn fitted(ridge: f64, game: fn(&[bool]) -> f64) -> Vec<f64> {
        let method = Local { samples: 300, width: 0.25, ridge };
        let sets = method.masks(4, 5);
        let answers: Vec<f64> = sets.iter().map(|set| game(set)).collect();
        method.values(&sets, &answers, 0.0, 0.0).unwrap()
    }

    #[test]
    fn a_linear_game_is_found_and_the_ridge_makes_it_smaller() {
        let game = |set: &[bool]| {
            4.0 + (0..5).map(|i| if set[i] { i as f64 - 2.0 } else { 0.0 }).sum::<f64>()
        };
        let exact = fitted(0.0, game);
        for (i, weight) in exact.iter().enumerate() {
            assert!((weight - (i as f64 - 2.0)).abs() < 1e-9, "{exact:?}");
        }
        let small = fitted(50.0, game);
        let size = |w: &[f64]| w.iter().map(|v| v * v).sum::<f64>();
        assert!(size(&small) < size(&exact) && small[4] > small[0], "{small:?}");
    }

    #[test]
    fn the_fit_is_scikit_learns() {
        // Ridge(alpha=1, fit_intercept=True).fit(sets, answers, sample_weight) of six sets with
        // these answers and the weights of width 0.25, scikit-learn 1.9.1.
        let sets = [[1, 1, 0], [1, 0, 0], [0, 1, 1], [1, 1, 1], [0, 0, 1], [1, 0, 1]];
        let sets: Vec<Vec<bool>> = sets.iter().map(|s| s.map(|v| v == 1).to_vec()).collect();
        let method = Local { samples: 6, width: 0.25, ridge: 1.0 };
        let found = method.values(&sets, &[2.0, 1.5, 0.5, 3.0, -1.0, 1.0], 0.0, 0.0).unwrap();
        for (a, b) in found.iter().zip(RIDGE) {
            assert!((a - b).abs() < 1e-9, "{found:?}");
        }
    }

    #[test]
    fn a_picture_is_explained_tile_by_tile() {
        let said = shown("Lime", "side: 4, samples: 100");
        let raw = &said.maps[0].raw;
        assert_eq!(raw.data()[0], raw.data()[3], "one tile, one value");
        assert!(raw.data().iter().any(|v| *v != raw.data()[0]));
    }

    const RIDGE: [f64; 3] = [0.631_571_454_619, 0.449_606_785_098, 0.010_770_730_932];
}
