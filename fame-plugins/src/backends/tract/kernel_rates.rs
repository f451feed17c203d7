//! How long the ways of computing a convolution take: by a rule that is the same everywhere, or
//! measured on this machine.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::rate_file::RateFile;
use fame_kernels::{Algorithm, Direction, FEW_CHANNELS, Geometry, Layer, Measured};

/// How long each way of computing a layer is measured: a few runs of all but the largest layers.
const EACH: Duration = Duration::from_millis(3);

/// How long the ways of computing a layer take, whose weights are given; at least one.
pub(super) type Rating = fn(&Layer, &[f32]) -> Arc<[Measured]>;

/// What is known in this process. A layer is measured once, so that two plans with the same layers
/// take the same kernels and give the same bytes.
static KNOWN: Mutex<BTreeMap<Layer, Arc<[Measured]>>> = Mutex::new(BTreeMap::new());

/// What is known of `layer`, from this process or one before; else it is measured now. This is the
/// [`Rating`] of the engine. Only one layer is measured at a time.
pub(super) fn rates(layer: &Layer, weights: &[f32]) -> Arc<[Measured]> {
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = known.get(layer) {
        return known.clone();
    }
    let file = RateFile::of_this_machine();
    let key = layer.key();
    let rates: Arc<[Measured]> = match file.get(&key).filter(|rates| !rates.is_empty()) {
        Some(remembered) => remembered.into(),
        None => file.add(key, layer.measure_all(weights, EACH)).into(),
    };
    known.insert(*layer, rates.clone());
    rates
}

/// The sides of an output from which on F(4×4, 3×3) is taken: below it most tiles hang over the
/// edge.
const TILED: usize = 12;
/// Tiles of 2×2 that are worked on at once: as many as stay in the second cache with their products.
const OF_TWO: usize = 96;
/// Multiplications and additions that a core does while it reads a byte of weights. In a network of
/// more layers than a cache holds, each layer's come from memory anew, 8 to 15 bytes in a
/// nanosecond on Emerald Rapids, which does up to 190 operations meanwhile: where a map is small,
/// F(4×4)'s weights, four times as many, take longer to read than they save.
const OPERATIONS_OF_A_BYTE: f64 = 16.0;
/// The time of an algorithm that does not suit a shape, where a plain product takes 1.
const UNFIT: f64 = 2.0;

/// How long the ways of computing `layer` take in proportion to one another, from its shape alone:
/// the same on every machine, and so are the kernels that follow from it and the bytes that they
/// give. The factors are rounded from measurements (`cargo bench -p fame-kernels`). This is a
/// [`Rating`].
pub(super) fn by_rule(layer: &Layer, _: &[f32]) -> Arc<[Measured]> {
    let Geometry { inputs, outputs, groups, kernel, .. } = layer.geometry;
    let weights = outputs * inputs / groups * size_of::<f32>();
    let has_tiles = layer.geometry.output().iter().all(|&side| side >= TILED);
    let has_few = inputs / groups < FEW_CHANNELS && groups == 1;
    let of_four = tiles_of_four(inputs, outputs);
    let rate = |algorithm| {
        let (factor, taps) = match algorithm {
            Algorithm::Winograd4(strip) if strip == of_four => {
                (if has_tiles { 0.35 } else { UNFIT }, 36)
            }
            Algorithm::Winograd2(OF_TWO) => (0.55, 16),
            // Other numbers of tiles: left to measurements.
            Algorithm::Winograd4(_) | Algorithm::Winograd2(_) => return None,
            Algorithm::Columns => (0.5, kernel[0] * kernel[1]),
            Algorithm::Direct | Algorithm::Bf16 | Algorithm::Depthwise => {
                (1.0, kernel[0] * kernel[1])
            }
        };
        // The picture itself: transforming its few channels costs more than the product saves.
        let loses = is_winograd(algorithm) && has_few && layer.direction == Direction::Forward;
        let factor = if loses { UNFIT } else { factor };
        let bytes = taps * weights;
        let seconds = factor * layer.geometry.flops() + OPERATIONS_OF_A_BYTE * bytes as f64;
        Some(Measured { algorithm, seconds, bytes })
    };
    Algorithm::candidates(&layer.geometry, layer.direction).into_iter().filter_map(rate).collect()
}

/// The [`Rating`] of the precision `Bf16`: products of rounded factors, but for layers of few inputs,
/// channel by channel or a picture's three. These have [`by_rule`] in `f32`: they take little of a
/// step, most of each tile would be empty, and what is nearest to the picture stays exact.
pub(super) fn in_bf16(layer: &Layer, weights: &[f32]) -> Arc<[Measured]> {
    let Geometry { inputs, groups, .. } = layer.geometry;
    let algorithm = Algorithm::Bf16;
    if inputs / groups < FEW_CHANNELS || !algorithm.fits(&layer.geometry, layer.direction) {
        return by_rule(layer, weights);
    }
    // The only way, so whatever it takes.
    let bytes = weights.len() * size_of::<u16>();
    [Measured { algorithm, seconds: 1.0, bytes }].into()
}

/// How many tiles of 4×4 are worked on at once. Few stay in the second cache with their products,
/// but the weights are read again for each strip of them: the more channels, the more they weigh
/// beside a tile, and with 256 a whole map of 56×56 pixels takes an eighth less time at once. A map
/// of 28×28 has 49 tiles.
fn tiles_of_four(inputs: usize, outputs: usize) -> usize {
    // Of so many tiles, the values are as many as the weights.
    match inputs * outputs / (inputs + outputs) {
        0..40 => 24,
        40..100 => 64,
        100.. => 200,
    }
}

/// The [`Rating`] of plans that share out relevance: [`by_rule`] without Winograd's algorithms.
///
/// What these round off is in proportion to the largest value of a tile. Relevance is shared out in
/// quotients, and where all contributions of a sign are zero a quotient is a million times the
/// relevance: it belongs to inputs that are zero, and a tile would spread a part of it over the
/// inputs beside them, up to a quarter of the largest relevance of a map.
pub(super) fn without_tiles(layer: &Layer, weights: &[f32]) -> Arc<[Measured]> {
    by_rule(layer, weights).iter().filter(|way| !is_winograd(way.algorithm)).copied().collect()
}

fn is_winograd(algorithm: Algorithm) -> bool {
    matches!(algorithm, Algorithm::Winograd2(_) | Algorithm::Winograd4(_))
}

#[cfg(test)]
mod tests {
    use fame_kernels::Level;

    use super::*;

    /// What the rule takes for a convolution of `[inputs, outputs, side, taps, stride, groups]`.
    fn taken(
        [inputs, outputs, side, taps, stride, groups]: [usize; 6],
        direction: Direction,
    ) -> Algorithm {
        let geometry = Geometry::square([inputs, outputs], side, taps, stride, groups);
        let layer = Layer { geometry, direction, rows: 1, level: Level::best() };
        let ways = by_rule(&layer, &[]);
        ways.iter().min_by(|a, b| a.seconds.total_cmp(&b.seconds)).unwrap().algorithm
    }

    #[test]
    fn a_layer_gets_what_suits_its_shape() {
        for (shape, forward, backward) in [
            // Inside of networks: large maps, small ones, one tap, strides, channel by channel.
            ([64, 64, 56, 3, 1, 1], Algorithm::Winograd4(24), Algorithm::Winograd4(24)),
            ([128, 128, 28, 3, 1, 1], Algorithm::Winograd4(64), Algorithm::Winograd4(64)),
            ([512, 512, 28, 3, 1, 1], Algorithm::Winograd4(200), Algorithm::Winograd4(200)),
            ([256, 256, 14, 3, 1, 1], Algorithm::Winograd2(96), Algorithm::Winograd2(96)),
            ([512, 512, 7, 3, 1, 1], Algorithm::Direct, Algorithm::Direct),
            ([256, 64, 56, 1, 1, 1], Algorithm::Direct, Algorithm::Direct),
            ([128, 128, 56, 3, 2, 1], Algorithm::Direct, Algorithm::Direct),
            ([64, 64, 112, 3, 1, 64], Algorithm::Depthwise, Algorithm::Depthwise),
            // Their first layers.
            ([3, 64, 224, 7, 2, 1], Algorithm::Direct, Algorithm::Columns),
            ([3, 64, 112, 3, 1, 1], Algorithm::Direct, Algorithm::Winograd4(24)),
        ] {
            assert_eq!(taken(shape, Direction::Forward), forward, "{shape:?} forward");
            assert_eq!(taken(shape, Direction::Backward), backward, "{shape:?} backward");
        }
    }

    #[test]
    fn rounded_factors_are_for_layers_of_many_inputs() {
        for ([inputs, groups], is_bf16) in [([64, 1], true), ([3, 1], false), ([64, 64], false)] {
            let geometry = Geometry::square([inputs, 64], 56, 3, 1, groups);
            for direction in [Direction::Forward, Direction::Backward] {
                let layer = Layer { geometry, direction, rows: 1, level: Level::best() };
                let ways = in_bf16(&layer, &[0.0; 4]);
                assert_eq!(ways.iter().all(|way| way.algorithm == Algorithm::Bf16), is_bf16);
                assert!(is_bf16 || *ways == *by_rule(&layer, &[]), "{inputs}/{groups}");
            }
        }
    }

    #[test]
    fn without_tiles_there_is_still_a_way() {
        for direction in [Direction::Forward, Direction::Backward] {
            for groups in [1, 64] {
                let geometry = Geometry::square([64, 64], 56, 3, 1, groups);
                let layer = Layer { geometry, direction, rows: 1, level: Level::best() };
                let ways = without_tiles(&layer, &[]);
                assert!(!ways.is_empty() && ways.iter().all(|way| !is_winograd(way.algorithm)));
            }
        }
    }
}
