//! `KernelShap`: Shapley values of square tiles, by a weighted linear model.

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
    /// Kernel SHAP: the tiles of a picture are the players of a game that pays y. Sets of tiles are drawn as
    /// Shapley's kernel weighs them (a size s with weight (M − 1) / (s·(M − s)), every set of a size alike),
    /// each with its complement, and a linear model is fitted to y under the condition that its weights add
    /// up to y(x) − y(nothing). With all sets it gives the Shapley values; with few it estimates them. The
    /// finished map shows tiles that raise y, the raw one also those that lower it; every pixel has the value
    /// of its tile.
    ///
    /// Tiles that are not there are filled, so what a value means depends on the filling, and pictures with
    /// holes are none that the network knows.
    pub struct KernelShap {
        /// The target layer or layers. Default: the one in the model's manifest, else its `Output`.
        layer: LayerChoices = open,
        /// Whose value y is watched. Default: what the model's manifest asks for, else `Logit()`,
        /// the class the network sees.
        loss: Spec = open,
        /// The loss's `Value`, or the softmax `Probability` of its class.
        answer: Answer = Answer::Value,
        /// Side of the tiles in pixels; at the right and lower border less.
        side: usize = 16,
        /// Sets of tiles that are asked about, an even number; some times the number of tiles.
        samples: usize = 1000,
        /// What stands where a tile is not: `Black` before normalisation, or the model's `Mean` colour.
        fill: Fill = Fill::Mean,
        /// Steps to the map. Default: the maximum becomes 1.
        map: Vec<Spec> = specs(&["MaxNormalize()"]),
        /// Which pictures of a sample to explain, by role. Default: all.
        roles: Option<Vec<String>> = None,
    }
}

impl Parameters for KernelShap {
    type Typed = typed::KernelShap;

    fn fill(typed: typed::KernelShap, with: &BuildContext<'_>, _: &mut Assembly) -> Option<Self> {
        Some(typed.or(usual_layer(with), usual_loss(with)))
    }
}

impl Plugin<dyn Explainer> for KernelShap {
    const NAME: &'static str = "KernelShap";
    const SUMMARY: &'static str =
        "Shapley values of square tiles, estimated by a weighted linear model";
    const CLAIM: &'static str = "Shows each tile's fair share in the asked value among all sets of tiles, estimated from some of them; not detail finer than a tile, and what it shows depends on what stands where tiles are not.";
    const EXAMPLE: &'static str = "KernelShap(side: 16, samples: 1000)";
    const REFERENCE: &'static str =
        "Lundberg & Lee, NeurIPS 2017, arXiv 1705.07874; pairs: Covert & Lee, AISTATS 2021";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        assembly.check("side", self.side > 0, "must be at least 1 pixel");
        let even = (2..=1_000_000).contains(&self.samples) && self.samples.is_multiple_of(2);
        assembly.check("samples", even, "must be an even number from 2 to 1000000");
        check_roles(self.roles.as_deref(), assembly);
    }

    fn build(self, with: &BuildContext<'_>, assembly: &mut Assembly) -> Option<Box<dyn Explainer>> {
        let KernelShap { layer, loss, answer, side, samples, fill, map, roles } = self;
        let asked = Asked { layer, loss, answer, map, roles };
        asked.explainer(Shapley { samples }, Tiling::Side(side), fill.into(), with, assembly)
    }
}

fame_core::register!(Explainer: KernelShap);

/// Sets drawn by Shapley's kernel.
struct Shapley {
    samples: usize,
}

impl OfTiles for Shapley {
    const NAME: &'static str = KernelShap::NAME;

    type Masks = Vec<Vec<bool>>;

    fn masks(&self, seed: u64, tiles: usize) -> Vec<Vec<bool>> {
        let weight = |s: usize| (tiles - 1) as f64 / (s * (tiles - s)) as f64;
        let total: f64 = (1..tiles).map(weight).sum();
        let mut sets = Vec::with_capacity(self.samples);
        for pair in 0..self.samples / 2 {
            let mut random = Random::stream(seed, pair);
            let mut left = random.uniform() * total;
            let mut size = 1;
            while size + 1 < tiles && left > weight(size) {
                left -= weight(size);
                size += 1;
            }
            let mut order: Vec<usize> = (0..tiles).collect();
            let mut set = vec![false; tiles];
            for k in 0..size.min(tiles) {
                order.swap(k, k + random.below(tiles - k));
                set[order[k]] = true;
            }
            sets.push(set.iter().map(|is_there| !is_there).collect());
            sets.push(set);
        }
        sets
    }

    fn values(
        &self,
        sets: &Self::Masks,
        answers: &[f64],
        whole: f64,
        none: f64,
    ) -> Result<Vec<f64>> {
        let tiles = sets.first().map_or(0, Vec::len);
        let (mut a, mut b) = (vec![vec![0.0; tiles]; tiles], vec![0.0; tiles]);
        for (set, answer) in sets.iter().zip(answers) {
            let there: Vec<usize> = (0..tiles).filter(|tile| set[*tile]).collect();
            for i in &there {
                b[*i] += answer - none;
                there.iter().for_each(|j| a[*i][*j] += 1.0);
            }
        }
        // With the sum of the weights held to y(x) − y(nothing), by a Lagrange multiplier.
        let free = solve(a.clone(), b)?;
        let ones = solve(a, vec![1.0; tiles])?;
        let missing = (whole - none) - free.iter().sum::<f64>();
        let share = missing / ones.iter().sum::<f64>();
        Ok(free.iter().zip(&ones).map(|(free, one)| free + share * one).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tiles::testing::shown, *};

    /// The answer of a game to a set.
    type Game = fn(&[bool]) -> f64;

    fn weights(game: Game, sets: &Vec<Vec<bool>>) -> Vec<f64> {
        let tiles = sets[0].len();
        let answers: Vec<f64> = sets.iter().map(|set| game(set)).collect();
        let (whole, none) = (game(&vec![true; tiles]), game(&vec![false; tiles]));
        Shapley { samples: sets.len() }.values(sets, &answers, whole, none).unwrap()
    }

    #[test]
    fn an_additive_game_gives_every_player_what_it_brings() {
        let game: Game =
            |set| 2.0 + (0..6).map(|i| if set[i] { i as f64 - 1.5 } else { 0.0 }).sum::<f64>();
        let sets = Shapley { samples: 40 }.masks(3, 6);
        for (i, weight) in weights(game, &sets).iter().enumerate() {
            assert!((weight - (i as f64 - 1.5)).abs() < 1e-9, "{i}: {weight}");
        }
    }

    #[test]
    fn many_sets_come_near_the_shapley_values_and_always_add_up() {
        // Players 0 and 1 pay 6 together, player 2 pays 1, player 3 nothing: 3, 3, 1, 0.
        let game: Game =
            |set| if set[0] && set[1] { 6.0 } else { 0.0 } + f64::from(u8::from(set[2]));
        let sets = Shapley { samples: 20_000 }.masks(1, 4);
        let found = weights(game, &sets);
        // Twenty thousand sets; the spread of seeds is below 0.03.
        for (weight, wanted) in found.iter().zip([3.0, 3.0, 1.0, 0.0]) {
            assert!((weight - wanted).abs() < 0.1, "{found:?}");
        }
        let few = weights(game, &Shapley { samples: 20 }.masks(2, 4));
        assert!((few.iter().sum::<f64>() - 7.0).abs() < 1e-9, "{few:?}");
    }

    #[test]
    fn sets_come_with_their_complements_and_none_is_empty() {
        let sets = Shapley { samples: 100 }.masks(5, 9);
        for pair in sets.chunks(2) {
            assert!(pair[0].iter().zip(&pair[1]).all(|(a, b)| a != b));
            assert!(pair[0].contains(&true) && pair[1].contains(&true));
        }
    }

    #[test]
    fn a_picture_is_explained_tile_by_tile() {
        let said = shown("KernelShap", "side: 4, samples: 200");
        let raw = &said.maps[0].raw;
        assert_eq!(raw.data()[0], raw.data()[3], "one tile, one value");
        let facts = &said.maps[0].facts;
        let of = |name: &str| facts[name].as_f64().unwrap();
        let sum: f64 = raw.data().iter().map(|v| f64::from(*v)).sum::<f64>() / 16.0;
        // Single precision of the raw map.
        let wanted = of("value_before") - of("value_without");
        assert!((sum - wanted).abs() < 1e-3 * wanted.abs().max(1.0), "{sum} {wanted}");
    }
}
