//! Map steps: from what moved to a finished map, one file each.

use fame_core::{
    AttributionMap, Result,
    contract::{MapSource, MapStep},
    registry::Built,
};

mod abs;
mod channels;
mod field;
mod gaussian_blur;
mod gray;
mod max_normalize;
mod min_max_normalize;
mod positive;
mod project;
mod sum;
mod towards;

pub use abs::Abs;
pub use channels::{Channels, Reduce};
pub use field::Field;
pub use gaussian_blur::GaussianBlur;
pub(crate) use gaussian_blur::{blur, blur_sigma};
pub use gray::{Gray, Order, Weights};
pub use max_normalize::MaxNormalize;
pub use min_max_normalize::MinMaxNormalize;
pub(crate) use min_max_normalize::stretch;
pub use positive::Positive;
pub use project::Project;
pub use sum::Sum;
pub use towards::Towards;

/// `map` after `steps`, in order.
pub(crate) fn through(
    steps: &[Built<dyn MapStep>],
    map: AttributionMap,
    source: &MapSource<'_>,
) -> Result<AttributionMap> {
    steps.iter().try_fold(map, |map, step| {
        let applied = step.plugin.apply_to(map, source);
        applied.map_err(|e| e.at(format!("map step {}", step.name)))
    })
}
