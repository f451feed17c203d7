//! The first principal component of a layer, for EigenCAM and EigenGradCAM.

use fame_core::data::facts;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{LayerMap, planes::Planes};

/// Which of the two signs a principal component gets. The decomposition leaves it open, and the
/// ReLU behind it then shows one half or the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Sign {
    /// The end that is farther from zero is up (SegEigenCAM's rule): what stands out is shown.
    #[default]
    Largest,
    /// Up is where the layer as a whole is: the component correlates with the sum over channels.
    Activation,
    /// The opposite of `Largest`: the other half.
    Smallest,
}

/// At most this many rounds of the power iteration.
const MOST_ROUNDS: usize = 3000;
/// Rounds end when no cell moves by more than this share of the component's length.
const SETTLED: f64 = 1e-9;

/// Each cell's channels, centred over the cells, projected on the direction in which they vary
/// most: the first left singular vector of the centred `[cells, channels]` matrix times its
/// singular value, found by power iteration in f64.
pub(super) fn first_component(planes: &Planes, sign: Sign) -> LayerMap {
    let area = planes.area();
    // Channels are rows here, each centred over its cells.
    let centred: Vec<f64> = planes
        .iter()
        .flat_map(|plane| {
            let mean = plane.iter().map(|v| f64::from(*v)).sum::<f64>() / area as f64;
            plane.iter().map(move |v| f64::from(*v) - mean)
        })
        .collect();
    // The start: the cells of the channel that varies most. It is not orthogonal to the answer but
    // by an accident of measure zero.
    let energy = |row: &[f64]| row.iter().map(|v| v * v).sum::<f64>();
    let start = centred.chunks_exact(area).max_by(|a, b| energy(a).total_cmp(&energy(b)));
    let mut u = start.map(<[f64]>::to_vec).unwrap_or_default();
    let (mut rounds, mut settled) = (0, false);
    let mut strength = normalise(&mut u);
    while strength > 0.0 && !settled && rounds < MOST_ROUNDS {
        let mut next = vec![0.0; area];
        for row in centred.chunks_exact(area) {
            let along: f64 = row.iter().zip(&u).map(|(x, u)| x * u).sum();
            next.iter_mut().zip(row).for_each(|(n, x)| *n += along * x);
        }
        strength = normalise(&mut next);
        settled = u.iter().zip(&next).all(|(a, b)| (a - b).abs() <= SETTLED);
        u = next;
        rounds += 1;
    }
    let ends = u.iter().fold((0.0f64, 0.0f64), |(low, high), v| (low.min(*v), high.max(*v)));
    let flip = match sign {
        Sign::Largest => -ends.0 > ends.1,
        Sign::Smallest => -ends.0 <= ends.1,
        Sign::Activation => {
            let with_sum: f64 = planes
                .iter()
                .map(|plane| plane.iter().zip(&u).map(|(a, u)| f64::from(*a) * u).sum::<f64>())
                .sum();
            with_sum < 0.0
        }
    };
    // The iteration's last length is the square of the singular value.
    let scale = strength.sqrt() * if flip { -1.0 } else { 1.0 };
    let warning = (!settled && strength > 0.0).then(|| {
        "the two strongest components are nearly equal: the map may be a mixture of both."
            .to_owned()
    });
    LayerMap {
        values: u.iter().map(|v| (v * scale) as f32).collect(),
        facts: facts([("rounds", rounds.into())]),
        warning,
    }
}

/// Gives a vector length 1; its length before.
fn normalise(v: &mut [f64]) -> f64 {
    let length = v.iter().map(|v| v * v).sum::<f64>().sqrt();
    if length > 0.0 {
        for v in v.iter_mut() {
            *v /= length;
        }
    }
    length
}

#[cfg(test)]
mod tests {
    use super::{super::testing::planes, *};

    #[test]
    fn the_component_of_a_matrix_of_rank_one_is_the_matrix() {
        // Cells (−1, −1, 5, −3) after centring, in two channels with factors 3 and 4: singular
        // direction (3, 4) / 5.
        let layer = planes(&[&[3., 3., 21., -3.], &[4., 4., 28., -4.]]);
        let map = first_component(&layer, Sign::Largest).values;
        assert!(
            map.iter().zip([-5.0, -5.0, 25.0, -15.0]).all(|(m, e)| (m - e).abs() < 1e-4),
            "{map:?}"
        );
        let other = first_component(&layer, Sign::Smallest).values;
        assert!(map.iter().zip(other).all(|(a, b)| *a == -b));
        assert_eq!(first_component(&layer, Sign::Activation).values, map);
    }

    #[test]
    fn a_layer_without_variation_has_an_empty_map() {
        assert_eq!(first_component(&planes(&[&[2.0, 2.0]]), Sign::Largest).values, [0.0, 0.0]);
    }
}
