//! Altered copies of a sample, explained again by the explainer whose maps are measured.

use fame_core::{
    Explanation, NamedMap, Random, Result, Sample,
    contract::{ExplainContext, Explainer, Silent},
    seed_of,
};

/// `count` copies of `sample`, every pixel of all its pictures moved by at most `radius`: uniform
/// noise, cut to 0..=1. Noise follows from the run's seed, the item's id, the role and the copy's
/// number.
pub(super) fn noisy(
    with: &ExplainContext<'_>,
    sample: &Sample,
    count: usize,
    radius: f32,
) -> Vec<Sample> {
    let copy = |n: usize| {
        let mut copy = sample.clone();
        for (role, picture) in &mut copy.pictures {
            let seed = seed_of(with.seed, &format!("{}/{role}/again", sample.id));
            let mut random = Random::stream(seed, n);
            for pixel in picture.pixels.data_mut() {
                let noise = radius * (2.0 * random.uniform() as f32 - 1.0);
                *pixel = (*pixel + noise).clamp(0.0, 1.0);
            }
        }
        copy
    };
    (0..count).map(copy).collect()
}

/// What `explainer` says of `copies`, as many at once as keep the backend busy. Copies have their
/// sample's id, so that an explainer that draws random numbers draws the same for all of them:
/// what differs is owed to the picture.
///
/// # Errors
/// The first copy that cannot be explained.
pub(super) fn explained(
    with: &ExplainContext<'_>,
    explainer: &dyn Explainer,
    copies: &[Sample],
) -> Result<Vec<Explanation>> {
    let quiet = ExplainContext { progress: &Silent, ..*with };
    let mut all = Vec::with_capacity(copies.len());
    for some in copies.chunks(with.model.network.preferred_rows().max(1)) {
        for said in explainer.explain(&quiet, some) {
            all.push(said.map_err(|e| e.at(format!("altered copy {}", all.len() + 1)))?);
        }
    }
    Ok(all)
}

/// For each copy its map of the same thing as `map`, if it has one: a copy that the network takes
/// for another class has none.
pub(super) fn counterparts<'a>(
    map: &'a NamedMap,
    said: &'a [Explanation],
) -> impl Iterator<Item = Option<&'a NamedMap>> {
    said.iter().map(|one| one.maps.iter().find(|other| other.id == map.id))
}

#[cfg(test)]
pub(super) mod testing {
    use fame_core::{
        Explanation, MapId, Model, NamedMap, Result, Sample, Tensor,
        contract::{ExplainContext, Explainer, Measurement, Metric, Silent},
        testkit,
    };

    /// An explainer whose map is a function of the picture's first channel.
    pub(crate) struct Of(pub(crate) fn(&[f32]) -> Vec<f32>);

    impl Explainer for Of {
        fn check(&self, _: &Model) -> Result<()> {
            Ok(())
        }

        fn explain(&self, _: &ExplainContext<'_>, samples: &[Sample]) -> Vec<Result<Explanation>> {
            let one = |sample: &Sample| {
                let pixels = &sample.picture("image").unwrap().pixels;
                let size = [pixels.shape()[1], pixels.shape()[2]];
                let map = Tensor::new(size, (self.0)(pixels.row(0))).unwrap();
                let raw = map.clone().reshaped([1, size[0], size[1]]).unwrap();
                let map = NamedMap::new(MapId::new("image").alone(true), raw, map);
                Ok(Explanation { maps: vec![map], ..Explanation::default() })
            };
            samples.iter().map(one).collect()
        }
    }

    /// What `metric` measures of what the explainer says of a picture of the test kit.
    pub(crate) fn measured_again(
        metric: &dyn Metric,
        of: fn(&[f32]) -> Vec<f32>,
    ) -> Vec<Measurement> {
        let (model, explainer) = (testkit::model().unwrap(), Of(of));
        let sample = testkit::sample("a", &["image"], testkit::SIZE).unwrap();
        let with = ExplainContext { model: &model, seed: 1, progress: &Silent };
        let said = explainer.explain(&with, std::slice::from_ref(&sample)).remove(0).unwrap();
        metric.measure_again(&with, &sample, &said, &explainer).unwrap()
    }
}
