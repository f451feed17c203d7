//! `Sum`: several finishes of the same walk, added.

use fame_core::{
    AttributionMap, Error, Result,
    contract::{MapSource, MapStep},
    data::Value,
    registry::{Assembly, BuildContext, Built, Plugin},
    text::Spec,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{stretch, through};

/// Σ wᵢ · minmax(mᵢ) / Σ wᵢ over chains of map steps that all begin with the map so far: one walk,
/// seen in several ways. Values in 0..=1. A chain whose result is the same everywhere is an error,
/// as in every normalisation.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sum {
    /// The chains of map steps, at least one: `[[Gray(), GaussianBlur()], [Project()]]`. An empty
    /// chain is the map as it is.
    pub of: Vec<Vec<Spec>>,
    /// The weights of the chains, each above 0. Default: all the same.
    #[serde(default)]
    pub weights: Vec<f32>,
}

impl Plugin<dyn MapStep> for Sum {
    const NAME: &'static str = "Sum";
    const SUMMARY: &'static str = "Several finishes of the same walk, min-max each, added";
    const EXAMPLE: &'static str =
        "Sum(of: [[Gray(), GaussianBlur(sigma: 12)], [Project(), GaussianBlur(sigma: 7.7)]])";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        let n = self.of.len();
        assembly.check("of", n > 0, "must hold at least one list of map steps");
        if self.weights.is_empty() {
            self.weights = vec![1.0; n];
        }
        let positive = self.weights.iter().all(|w| w.is_finite() && *w > 0.0);
        let good = self.weights.len() == n && positive;
        assembly.check("weights", good, "must hold one number above 0 for each of `of`");
    }

    fn build(self, with: &BuildContext<'_>, assembly: &mut Assembly) -> Option<Box<dyn MapStep>> {
        let chains: Vec<_> =
            self.of.iter().map(|steps| assembly.build_all("of", steps, with)).collect();
        let record = |chain: &Vec<_>| Value::List(chain.iter().map(Built::record).collect());
        assembly.record("of", Value::List(chains.iter().map(record).collect()));
        Some(Box::new(Running { chains, weights: self.weights }))
    }
}

fame_core::register!(Map: Sum);

struct Running {
    chains: Vec<Vec<Built<dyn MapStep>>>,
    weights: Vec<f32>,
}

impl Running {
    /// The sum of what `finish` makes of every chain.
    fn sum(
        &self,
        finish: impl Fn(&[Built<dyn MapStep>]) -> Result<AttributionMap>,
    ) -> Result<AttributionMap> {
        let mut sum: Option<AttributionMap> = None;
        let total: f32 = self.weights.iter().sum();
        for (n, (chain, weight)) in self.chains.iter().zip(&self.weights).enumerate() {
            let place = || format!("list {}", n + 1);
            let mut map = finish(chain).map_err(|e| e.at(place()))?;
            stretch(&mut map.values, 0.0).map_err(|e| e.at(place()))?;
            map.values.data_mut().iter_mut().for_each(|v| *v *= weight / total);
            let Some(sum) = &mut sum else {
                sum = Some(map);
                continue;
            };
            if sum.values.shape() != map.values.shape() {
                return Err(differ(&sum.channels, &map.channels).at(place()));
            }
            sum.values.data_mut().iter_mut().zip(map.values.data()).for_each(|(s, v)| *s += v);
        }
        sum.ok_or_else(|| Error::bug("a sum of nothing."))
    }
}

fn differ(sum: &[String], map: &[String]) -> Error {
    let message = format!("its map has the channels {map:?}, the ones before have {sum:?}.");
    Error::new("fame::map::channels", message)
        .with_help("End every list in one channel: Gray(), Channels(…) or Project(…).")
}

impl MapStep for Running {
    fn apply(&self, map: AttributionMap) -> Result<AttributionMap> {
        self.sum(|chain| {
            chain.iter().try_fold(map.clone(), |map, step| {
                step.plugin.apply(map).map_err(|e| e.at(format!("map step {}", step.name)))
            })
        })
    }

    fn apply_to(&self, map: AttributionMap, source: &MapSource<'_>) -> Result<AttributionMap> {
        self.sum(|chain| through(chain, map.clone(), source))
    }
}

#[cfg(test)]
mod tests {
    use fame_core::{Tensor, testkit::build};

    use super::*;

    fn map() -> AttributionMap {
        let values = Tensor::new([3, 1, 2], vec![1.0, 3.0, -2.0, 0.0, 0.5, 0.5]).unwrap();
        AttributionMap { values, channels: ["R", "G", "B"].map(String::from).to_vec() }
    }

    fn run(spec: &str) -> Result<Vec<f32>> {
        let step = build::<dyn MapStep>(spec).unwrap();
        step.plugin.apply(map()).map(|map| map.values.into_data())
    }

    #[test]
    fn the_sum_of_one_chain_is_its_min_max() {
        // [1, 3, -2, 0, 0.5, 0.5]: from -2 to 3.
        let sum = run("Sum(of: [[]])").unwrap();
        assert_eq!(sum, run("MinMaxNormalize(epsilon: 0)").unwrap());
        assert_eq!((sum[1], sum[2]), (1.0, 0.0));
    }

    #[test]
    fn chains_are_weighed_and_stay_within_one() {
        let sum = run("Sum(of: [[], [Abs()]], weights: [3, 1])").unwrap();
        // Min-max of the values: (v + 2) / 5; of their sizes: |v| / 3.
        let wanted = [0.75 * 0.6 + 0.25 / 3.0, 1.0, 0.25 * 2.0 / 3.0, 0.75 * 0.4];
        for (is, wanted) in sum.iter().zip(wanted) {
            assert!((is - wanted).abs() < 1e-6, "{is} {wanted}");
        }
    }

    #[test]
    fn chains_that_do_not_fit_and_flat_ones_are_refused() {
        let error = run("Sum(of: [[Channels()], []])").unwrap_err();
        assert!(error.message.starts_with("list 2: its map has the channels"), "{error}");
        let flat = run("Sum(of: [[Channels()], [Abs(), Channels(reduce: Sum)]])").unwrap_err();
        assert_eq!(flat.code, "fame::map::empty");
        assert!(build::<dyn MapStep>("Sum(of: [])").is_err());
        assert!(build::<dyn MapStep>("Sum(of: [[]], weights: [1, 1])").is_err());
    }
}
