//! `Project`: how far every pixel moved towards a plainer picture.

use fame_core::{
    AttributionMap, Error, Result, Tensor,
    contract::{MapSource, MapStep},
    registry::{Assembly, BuildContext, Plugin},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Towards;

/// Σ_c d_c · (b_c − x_c) at every pixel: the displacement d of a walk, projected on the way from
/// the picture x to a plainer one b. Positive where the pixel moved towards b, negative where it
/// moved away; any number, in squared pixels of 0..=1 where the walk steps in pixels. Moves that
/// only scatter, as adversarial ones do, cancel. The first step of a chain, for it needs the
/// picture's channels.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Project {
    /// The plainer picture b: `Blur(sigma: 10)`, `Mean` or `Black`.
    pub towards: Towards,
}

impl Plugin<dyn MapStep> for Project {
    const NAME: &'static str = "Project";
    const SUMMARY: &'static str = "How far every pixel moved towards a plainer picture";
    const EXAMPLE: &'static str = "Project(towards: Blur(sigma: 10))";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        assembly.check("towards", self.towards.good(), "needs a sigma above 0 and below 10000");
    }

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn MapStep>> {
        Some(Box::new(self))
    }
}

fame_core::register!(Map: Project);

impl MapStep for Project {
    fn apply(&self, _: AttributionMap) -> Result<AttributionMap> {
        Err(MapSource::missing("Project"))
    }

    fn apply_to(&self, map: AttributionMap, source: &MapSource<'_>) -> Result<AttributionMap> {
        let way = self.towards.way(source.pixels, source.convention)?;
        if map.values.shape() != way.shape() {
            return Err(Error::new(
                "fame::map::channels",
                format!(
                    "Project needs what moved in the picture's shape {:?}, not {:?}.",
                    way.shape(),
                    map.values.shape()
                ),
            )
            .with_help("Make Project(…) the first step, before Gray(…) or Channels(…)."));
        }
        let &[channels, height, width] = way.shape() else {
            return Err(Error::bug(format!("a picture has the shape {:?}.", way.shape())));
        };
        let mut sum = vec![0.0f32; height * width];
        for c in 0..channels {
            for ((s, moved), way) in sum.iter_mut().zip(map.values.row(c)).zip(way.row(c)) {
                *s += moved * way;
            }
        }
        Ok(AttributionMap {
            values: Tensor::new([1, height, width], sum)?,
            channels: vec!["Y".into()],
        })
    }
}

#[cfg(test)]
mod tests {
    use fame_core::data::{ChannelOrder, InputConvention};

    use super::*;

    #[test]
    fn only_motion_along_the_way_counts() {
        let convention = InputConvention {
            channels: 3,
            height: 1,
            width: 2,
            order: ChannelOrder::Rgb,
            mean: vec![0.5, 0.5, 0.5],
            std: vec![1.0, 1.0, 1.0],
        };
        let tensor = |values: [f32; 6]| Tensor::new([3, 1, 2], values.to_vec()).unwrap();
        // The ways to the mean: -0.5, 0.25 | 0, -0.25 | 0.5, 0.
        let pixels = tensor([1.0, 0.25, 0.5, 0.75, 0.0, 0.5]);
        let source = MapSource { pixels: &pixels, convention: &convention, recorded: &[] };
        let project = Project { towards: Towards::Mean };
        let map = |values| AttributionMap {
            values: tensor(values),
            channels: ["R", "G", "B"].map(String::from).to_vec(),
        };
        let moved = project.apply_to(map([-1.0, 1.0, 4.0, 1.0, 1.0, 8.0]), &source).unwrap();
        assert_eq!((moved.values.shape(), moved.values.data()), (&[1, 1, 2][..], &[1.0, 0.0][..]));
        let gray = AttributionMap { values: Tensor::zeros([1, 1, 2]), channels: vec!["Y".into()] };
        assert_eq!(project.apply_to(gray, &source).unwrap_err().code, "fame::map::channels");
    }
}
