//! Metrics: numbers about maps, one file each. What they share is beside them: which pixels count
//! as the top of a map (`masks`), what stands in their place (`fill`, `impute`), asking the network
//! (`asking`) and the boxes a dataset knows (`boxes`).

mod again;
mod asking;
mod boxes;
mod by_group;
mod complexity;
mod correlation;
mod deletion_insertion;
mod effective_complexity;
mod faithfulness_correlation;
mod fill;
mod impute;
mod infidelity;
mod inpainting_game;
mod iou;
mod map_similarity;
mod map_stability;
mod masks;
mod monotonicity;
mod monotonicity_correlation;
mod pixel_flipping;
mod pointing_game;
mod reading;
mod region_perturbation;
mod regions;
mod relative_stability;
mod relevance_mass;
mod removal;
mod road;
mod sa_co;
mod selectivity;
mod sensitivity;
mod sensitivity_n;
mod sparseness;
mod verification;

pub use boxes::Boxes;
pub use by_group::ByGroup;
pub use complexity::Complexity;
pub use deletion_insertion::DeletionInsertion;
pub use effective_complexity::EffectiveComplexity;
pub use faithfulness_correlation::FaithfulnessCorrelation;
pub use fill::Filling;
pub use infidelity::{Change, Infidelity};
pub use inpainting_game::InpaintingGame;
pub use iou::Iou;
pub use map_similarity::MapSimilarity;
pub use map_stability::{Alteration, MapStability};
pub use masks::Masks;
pub use monotonicity::Monotonicity;
pub use monotonicity_correlation::MonotonicityCorrelation;
pub use pixel_flipping::PixelFlipping;
pub use pointing_game::PointingGame;
pub use reading::Reading;
pub use region_perturbation::{RegionPerturbation, Unreadable};
pub use regions::Regions;
pub use relative_stability::RelativeStability;
pub use relevance_mass::RelevanceMass;
pub use road::{Imputer, Order, Road};
pub use sa_co::SaCo;
pub use selectivity::Selectivity;
pub use sensitivity::Sensitivity;
pub use sensitivity_n::SensitivityN;
pub use sparseness::Sparseness;
pub use verification::{Decisions, Threshold, Verification};

use fame_core::{NamedMap, Parameter, Result, contract::Measurement};

/// A measurement of `map`.
fn measured(map: &NamedMap, name: &str, parameter: Parameter, value: f64) -> Measurement {
    Measurement { map: map.name(), name: name.to_owned(), parameter, value }
}

/// With the top `percent` of a map's pixels taken away, or there.
fn at_percent(percent: f64) -> Parameter {
    Parameter::at("P", "percent of the pixels", percent)
}

/// The map's values, one for each pixel: of a map with channels the sum of their absolute values.
fn plane(map: &NamedMap) -> Result<Vec<f32>> {
    Ok(map.plane(|channels| channels.map(f32::abs).sum())?.2.into_owned())
}

/// Area under the curve through `points` (x, y) by the trapezoid rule, divided by the width of x:
/// the mean height, in y's unit.
fn area(points: &[(f64, f64)]) -> f64 {
    let width = points.last().map_or(0.0, |l| l.0) - points.first().map_or(0.0, |f| f.0);
    let sum: f64 = points.windows(2).map(|w| (w[1].0 - w[0].0) * (w[0].1 + w[1].1) / 2.0).sum();
    if width > 0.0 { sum / width } else { f64::NAN }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_area_is_numpys_trapezoid() {
        // numpy.trapezoid([1, .8, .5, .5], [0, 10, 30, 100]) / 100 = (9 + 13 + 35) / 100.
        assert!((area(&[(0.0, 1.0), (10.0, 0.8), (30.0, 0.5), (100.0, 0.5)]) - 0.57).abs() < 1e-12);
        assert!(area(&[]).is_nan());
    }
}
