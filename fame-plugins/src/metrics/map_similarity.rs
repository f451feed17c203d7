//! `MapSimilarity`: how alike two explanations of one picture are.

use fame_core::{
    Error, Explanation, MapId, NamedMap, Parameter, Result, Sample, Subject, Tensor,
    contract::{ExplainContext, Measurement, Metric},
    registry::{Assembly, BuildContext, Plugin},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    correlation::{doubles, pearson, spearman},
    measured, plane,
};
use crate::maps::blur;

/// Compares the maps of every other explainer with those of the explainer `to`, picture by picture.
/// For the finished maps `spearman` (rank correlation, ties averaged), `pearson` and `ssim`; for
/// what lies behind them, where its size is the same, `raw_spearman` with signs and
/// `raw_spearman_abs` without. All are 1 for equal maps and at most 1.
///
/// A map is compared with the one of the same picture that is about the same and claims the same;
/// what it says beyond that one stands as the parameter, such as its finish, or the stage of
/// `Randomized`. Uses: the sanity checks
/// (is the map of a network that forgot everything another one? is that of another class?), how far
/// a shorter walk is from the full one, which methods agree.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MapSimilarity {
    /// The explainer that the others are compared with, by the recipe's name.
    pub to: String,
    /// Only these others. Default: all.
    #[serde(default)]
    pub of: Option<Vec<String>>,
}

impl Plugin<dyn Metric> for MapSimilarity {
    const NAME: &'static str = "MapSimilarity";
    const SUMMARY: &'static str =
        "Rank correlation, correlation and SSIM of maps with those of one explainer";
    const EXAMPLE: &'static str = r#"MapSimilarity(to: "fame")"#;
    const REFERENCE: &'static str = "Adebayo et al., Sanity Checks for Saliency Maps, NeurIPS 2018, arXiv 1810.03292; SSIM: Wang et al., IEEE TIP 2004";

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn Metric>> {
        Some(Box::new(self))
    }
}

fame_core::register!(Metric: MapSimilarity);

impl Metric for MapSimilarity {
    fn needs(&self) -> &'static str {
        "maps of two explainers that are about the same and claim the same"
    }

    fn measure(
        &self,
        _: &ExplainContext<'_>,
        _: &Sample,
        _: &Explanation,
    ) -> Result<Vec<Measurement>> {
        Ok(Vec::new())
    }

    fn compare(
        &self,
        _: &ExplainContext<'_>,
        _: &Sample,
        explanations: &[(String, Explanation)],
    ) -> Result<Vec<(String, Vec<Measurement>)>> {
        let Some((_, reference)) = explanations.iter().find(|(name, _)| *name == self.to) else {
            let known: Vec<&str> = explanations.iter().map(|(name, _)| name.as_str()).collect();
            return Err(Error::new(
                "fame::metric::no_such_explainer",
                format!("there is no explainer `{}` to compare with.", self.to),
            )
            .with_help(format!("The recipe has {}.", known.join(", "))));
        };
        let wanted =
            |name: &String| *name != self.to && self.of.as_ref().is_none_or(|of| of.contains(name));
        let others = explanations.iter().filter(|(name, _)| wanted(name));
        others.map(|(name, other)| Ok((name.clone(), self.compared(reference, other)?))).collect()
    }

    fn named_explainers(&self) -> Vec<String> {
        let of = self.of.iter().flatten();
        std::iter::once(&self.to).chain(of).cloned().collect()
    }
}

impl MapSimilarity {
    fn compared(&self, reference: &Explanation, other: &Explanation) -> Result<Vec<Measurement>> {
        let mut all = Vec::new();
        for map in &other.maps {
            let Some((known, rest)) = counterpart(reference, map) else { continue };
            let mut add = |name: &str, value: f64| {
                // Undefined when one of the two never varies: then there is nothing to say.
                if value.is_finite() {
                    all.push(measured(map, name, rest.clone(), value));
                }
            };
            let (a, b) = (plane(known)?, plane(map)?);
            if a.len() != b.len() {
                let message = format!(
                    "map `{}` has {} pixels and `{}` of `{}` has {}.",
                    map.name(),
                    b.len(),
                    known.name(),
                    self.to,
                    a.len()
                );
                return Err(Error::new("fame::metric::map_size", message));
            }
            add("spearman", spearman(&a, &b));
            add("pearson", pearson(&doubles(&a), &doubles(&b)));
            add("ssim", ssim(&a, &b, known.finished.shape())?);
            if known.raw.shape() == map.raw.shape() {
                let abs = |t: &Tensor| t.data().iter().map(|v| v.abs()).collect::<Vec<_>>();
                add("raw_spearman", spearman(known.raw.data(), map.raw.data()));
                add("raw_spearman_abs", spearman(&abs(&known.raw), &abs(&map.raw)));
            }
        }
        Ok(all)
    }
}

/// The map of `reference` that `map` is to be compared with, and what tells `map` from it.
///
/// It scores the same picture and is no more particular: its subject and claim, its finish and its
/// stage are `map`'s own, or not said. Of several the most particular one is taken.
fn counterpart<'a>(
    reference: &'a Explanation,
    map: &NamedMap,
) -> Option<(&'a NamedMap, Parameter)> {
    let same_picture = || reference.maps.iter().filter(|known| known.id.role == map.id.role);
    let fits = |known: &&NamedMap| beyond(&known.id, &map.id).is_some();
    let particular = |known: &&NamedMap| {
        let MapId { subject, finish, stage, .. } = &known.id;
        [*subject != Subject::Whole, finish.is_some(), stage.is_some()]
    };
    if let Some(known) = same_picture().filter(fits).max_by_key(particular) {
        return Some((known, beyond(&known.id, &map.id)?));
    }
    // Another method may be about another class, say: the only map of a picture has no rival.
    let mut all = same_picture();
    all.next().filter(|_| all.next().is_none()).map(|known| (known, Parameter::None))
}

/// What `id` says beyond `known`: its subject and claim, its finish, its stage. `None` when it says
/// something else.
fn beyond(known: &MapId, id: &MapId) -> Option<Parameter> {
    let same_side = (&known.subject, known.claim) == (&id.subject, id.claim);
    let more = |known: &Option<String>, own: &Option<String>| match (known, own) {
        (known, own) if known == own => Some(None),
        (None, own) => Some(own.clone()),
        _ => None,
    };
    let subject = match known.subject {
        _ if same_side => None,
        Subject::Whole => Some(id.says()),
        _ => return None,
    };
    let told = [subject, more(&known.finish, &id.finish)?, more(&known.stage, &id.stage)?];
    Some(Parameter::case(told.into_iter().flatten().collect::<Vec<_>>().join("_")))
}

/// Mean structural similarity with Wang et al.'s Gaussian window (11 taps, σ = 1.5) and constants
/// (0.01², 0.03² for a range of 1); the window shrinks for maps smaller than it.
fn ssim(a: &[f32], b: &[f32], shape: &[usize]) -> Result<f64> {
    let [.., h, w] = *shape else {
        return Err(Error::bug(format!("a map of shape {shape:?} has no pixels.")));
    };
    let kernel = 11.min(2 * (h.min(w).div_ceil(2)) - 1);
    let smooth = |of: &dyn Fn(f32, f32) -> f32| -> Result<Vec<f64>> {
        let values = a.iter().zip(b).map(|(x, y)| of(*x, *y)).collect();
        Ok(doubles(blur(&Tensor::new([1, h, w], values)?, kernel, 1.5)?.data()))
    };
    let (ma, mb) = (smooth(&|x, _| x)?, smooth(&|_, y| y)?);
    let (aa, bb, ab) = (smooth(&|x, _| x * x)?, smooth(&|_, y| y * y)?, smooth(&|x, y| x * y)?);
    let (c1, c2) = (0.01f64.powi(2), 0.03f64.powi(2));
    let one = |i: usize| {
        let (va, vb, cov) = (aa[i] - ma[i] * ma[i], bb[i] - mb[i] * mb[i], ab[i] - ma[i] * mb[i]);
        ((2.0 * ma[i] * mb[i] + c1) * (2.0 * cov + c2))
            / ((ma[i] * ma[i] + mb[i] * mb[i] + c1) * (va + vb + c2))
    };
    Ok((0..a.len()).map(one).sum::<f64>() / a.len() as f64)
}

#[cfg(test)]
mod tests {
    use fame_core::{Claim, Random};

    use super::*;

    fn map(id: MapId, values: Vec<f32>) -> NamedMap {
        let values = Tensor::new([16, 16], values).unwrap();
        NamedMap::new(id, values.clone(), values)
    }

    fn noise(seed: u64) -> Vec<f32> {
        let mut random = Random::new(seed);
        (0..256).map(|_| random.uniform() as f32).collect()
    }

    #[test]
    fn equal_maps_are_alike_and_noise_is_not() {
        let reference = Explanation {
            maps: vec![map(MapId::new("a"), noise(1)), map(MapId::new("b"), noise(2))],
            ..Explanation::default()
        };
        let stage = |n: &str| MapId { stage: Some(n.into()), ..MapId::new("a") };
        let maps = vec![
            map(stage("last_1"), noise(1)),
            map(stage("last_2"), noise(3)),
            map(MapId::new("b").about(Subject::Class(3)), noise(2)),
            map(MapId::new("y"), noise(2)),
        ];
        let found = MapSimilarity { to: "fame".into(), of: None }
            .compared(&reference, &Explanation { maps, ..Explanation::default() })
            .unwrap();
        let of = |name: &str, map: &str| {
            found
                .iter()
                .find(|m| m.name == name && m.map == map)
                .map(|m| (m.parameter.to_string(), m.value))
        };
        for name in ["spearman", "pearson", "ssim", "raw_spearman", "raw_spearman_abs"] {
            let (stage, value) = of(name, "a_last_1").unwrap();
            // SSIM's parts are rounded to single precision.
            assert!(stage == "last_1" && (value - 1.0).abs() < 1e-4, "{name} {value}");
            // Chance over 256 pixels: three standard errors are 0.19.
            assert!(of(name, "a_last_2").unwrap().1.abs() < 0.25, "{name}");
        }
        assert_eq!(of("spearman", "b_class_3").unwrap().0, "class_3");
        assert!(of("spearman", "y").is_none(), "no map of another picture will do");
    }

    /// With several finishes a map's name begins with no other map's, or with the wrong one's.
    #[test]
    fn a_map_is_compared_with_the_one_that_claims_the_same() {
        let id = |claim, finish: Option<&str>| {
            let id = MapId::new("probe").about(Subject::Match).claiming(claim);
            id.finished(finish.map(Into::into))
        };
        let of = |ids: &[MapId]| {
            let maps = ids.iter().map(|id| map(id.clone(), noise(1))).collect();
            Explanation { maps, ..Explanation::default() }
        };
        let whole = MapId::new("probe").claiming(Claim::Neither);
        let (plus, minus) = (id(Claim::For, None), id(Claim::Against, None));
        let (plus_k5, minus_k5) = (id(Claim::For, Some("k5")), id(Claim::Against, Some("k5")));
        let minus_k9 = id(Claim::Against, Some("k9"));
        let last = MapId { stage: Some("last_1".into()), ..minus_k5.clone() };
        let both = of(&[plus.clone(), minus.clone()]);
        let finished = of(&[plus_k5.clone(), minus_k5.clone(), minus_k9.clone()]);
        for (reference, other, known, told) in [
            (&both, &minus_k5, &minus, "k5"),
            (&both, &last, &minus, "k5_last_1"),
            (&finished, &minus_k9, &minus_k9, ""),
            (&finished, &last, &minus_k5, "last_1"),
            (&of(std::slice::from_ref(&whole)), &minus_k5, &whole, "dissimilar_k5"),
            (
                &of(&[MapId::new("probe").about(Subject::Class(1))]),
                &plus,
                &MapId::new("probe").about(Subject::Class(1)),
                "",
            ),
        ] {
            let map = map(other.clone(), noise(2));
            let (found, parameter) = counterpart(reference, &map).unwrap();
            assert_eq!((&found.id, parameter.to_string().as_str()), (known, told));
        }
        // Neither of the two finishes is this map's.
        assert!(counterpart(&finished, &map(minus, noise(2))).is_none());
    }

    #[test]
    fn numbers_are_those_of_the_textbooks() {
        // Two even maps: only the means speak, (2·0.5·0.25 + 0.0001) / (0.25 + 0.0625 + 0.0001).
        let even = ssim(&[0.5; 256], &[0.25; 256], &[16, 16]).unwrap();
        assert!((even - 0.2501 / 0.3126).abs() < 1e-4, "{even}");
    }
}
