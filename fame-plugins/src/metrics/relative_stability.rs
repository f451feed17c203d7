//! `RelativeStability`: how much more a map changes than the picture, the output or a layer.

use fame_core::{
    Better, Explanation, LayerChoices, NamedMap, Parameter, Result, Sample, Scores, Subject, Table,
    Tensor,
    contract::{ExplainContext, Explainer, Measurement, Metric, MetricRow, Taps, means, scores},
    registry::{Assembly, BuildContext, Parameters, Plugin},
};

use super::{
    again::{counterparts, explained, noisy},
    measured,
    reading::Reading,
};
use crate::ask::usual_layer;

/// Stands for a zero that is divided by, as published code has it.
const LEAST: f64 = 1e-6;

fame_core::parameters! {
    /// Agarwal et al.'s relative stability. Over copies x' of the picture x (uniform noise of at
    /// most `radius`, cut to 0..=1) with ‖·‖ the Euclidean norm and quotients taken value by value,
    /// e the map, h the output and l an inner layer, the largest of
    /// `ris` = ‖(e − e')/e‖ / ‖(x − x')/x‖ (x the network's input),
    /// `ros` = ‖(e − e')/e‖ / ‖h − h'‖ and, where `representation` names a layer,
    /// `rrs` = ‖(e − e')/e‖ / ‖(l − l')/l‖. 0 and up, low is good. A zero that is divided by counts
    /// as 10⁻⁶. Copies that the network takes for another class are left out, as published.
    ///
    /// Every pixel counts by its own relative change: those where the map is nearly zero decide the
    /// number, and it may be very large. Compare methods whose maps end in the same steps, by ranks.
    /// A map that ignores the picture has 0. Explains `samples` times again.
    pub struct RelativeStability {
        /// Altered copies.
        samples: usize = 10,
        /// The most that a value moves, in pixels of 0..=1; above 0.
        radius: f32 = 0.02,
        /// The layer l. Default: none, and no `rrs`.
        representation: Option<LayerChoices> = None,
        /// `Finished`, or `Raw`: before the map steps.
        reading: Reading = Reading::default(),
        /// The output h. Default: the layer in the model's manifest, else its `Output`.
        layer: LayerChoices = open,
    }
}

impl Parameters for RelativeStability {
    type Typed = typed::RelativeStability;

    fn fill(
        typed: typed::RelativeStability,
        with: &BuildContext<'_>,
        _: &mut Assembly,
    ) -> Option<Self> {
        Some(typed.or(usual_layer(with)))
    }
}

impl Plugin<dyn Metric> for RelativeStability {
    const NAME: &'static str = "RelativeStability";
    const SUMMARY: &'static str =
        "How much more a map changes than the picture (RIS), output (ROS) or a layer (RRS)";
    const EXAMPLE: &'static str = "RelativeStability(samples: 10, radius: 0.02)";
    const REFERENCE: &'static str = "Agarwal et al., Rethinking Stability for Attribution-based Explanations, 2022, arXiv 2203.06877";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        assembly.check("samples", (1..=10_000).contains(&self.samples), "must be 1 to 10000");
        let good = self.radius.is_finite() && self.radius > 0.0;
        assembly.check("radius", good, "must be above 0");
    }

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn Metric>> {
        Some(Box::new(self))
    }
}

fame_core::register!(Metric: RelativeStability);

/// The network's input for one picture, and what it gives for it.
struct Seen {
    input: Vec<f32>,
    output: Vec<f32>,
    representation: Vec<f32>,
}

impl RelativeStability {
    /// What the network makes of the picture in `role` of each of `samples`.
    fn look(
        &self,
        with: &ExplainContext<'_>,
        role: &str,
        samples: &[&Sample],
    ) -> Result<Vec<Seen>> {
        let model = with.model;
        let names = |choices: &LayerChoices| {
            let name = |choice| model.layer(choice).map(|layer| layer.name.clone());
            choices.0.iter().map(name).collect::<Result<Vec<String>>>()
        };
        let outputs = names(&self.layer)?;
        let inner = self.representation.as_ref().map_or_else(|| Ok(Vec::new()), names)?;
        let taps = Taps::of(outputs.iter().chain(&inner).cloned());
        let mut seen = Vec::with_capacity(samples.len());
        for some in samples.chunks(model.network.preferred_rows().max(1)) {
            let mut inputs = Vec::new();
            for sample in some {
                let picture = sample.picture(role).ok_or_else(|| {
                    fame_core::Error::bug(format!("sample `{}` has no `{role}`.", sample.id))
                })?;
                inputs.push(model.manifest.input.to_input(&picture.pixels)?);
            }
            let pass = model.network.forward(&Tensor::stack(&inputs)?, &taps)?;
            let read = |of: &[String]| -> Result<Vec<Vec<f32>>> {
                let tensors = of.iter().map(|l| pass.output(l)).collect::<Result<Vec<_>>>()?;
                let row = |n| tensors.iter().flat_map(|t| t.row(n).iter().copied()).collect();
                Ok((0..some.len()).map(row).collect())
            };
            let (outputs, inner) = (read(&outputs)?, read(&inner)?);
            seen.extend(inputs.into_iter().zip(outputs).zip(inner).map(
                |((input, output), representation)| Seen {
                    input: input.into_data(),
                    output,
                    representation,
                },
            ));
        }
        Ok(seen)
    }
}

impl Metric for RelativeStability {
    fn measure(
        &self,
        _: &ExplainContext<'_>,
        _: &Sample,
        _: &Explanation,
    ) -> Result<Vec<Measurement>> {
        // Nothing can be said without the explainer.
        Ok(Vec::new())
    }

    fn measure_again(
        &self,
        with: &ExplainContext<'_>,
        sample: &Sample,
        explanation: &Explanation,
        explainer: &dyn Explainer,
    ) -> Result<Vec<Measurement>> {
        let copies = noisy(with, sample, self.samples, self.radius);
        let said = explained(with, explainer, &copies)?;
        let all_samples: Vec<&Sample> = std::iter::once(sample).chain(&copies).collect();
        let mut all = Vec::new();
        for map in &explanation.maps {
            let seen = self.look(with, &map.id.role, &all_samples)?;
            let Some((clean, altered)) = seen.split_first() else { continue };
            let values = self.reading.of(map)?;
            let (mut largest, mut found) = ([0.0f64; 3], false);
            for (other, now) in counterparts(map, &said).zip(altered) {
                let Some(other) = other.filter(|_| same_class(map, clean, now)) else { continue };
                found = true;
                let moved = relative(&values, &self.reading.of(other)?);
                let by = [
                    relative(&clean.input, &now.input),
                    plain(&clean.output, &now.output),
                    relative(&clean.representation, &now.representation),
                ];
                for (most, by) in largest.iter_mut().zip(by) {
                    *most = most.max(moved / if by == 0.0 { LEAST } else { by });
                }
            }
            if !found {
                continue;
            }
            let names = ["ris", "ros", "rrs"].into_iter().zip(largest);
            let wanted = if self.representation.is_some() { 3 } else { 2 };
            all.extend(names.take(wanted).map(|(n, v)| measured(map, n, Parameter::None, v)));
        }
        Ok(all)
    }

    fn scores(&self, rows: &[MetricRow]) -> Result<Scores> {
        Ok(scores(rows, |_| Some(Better::Lower)))
    }

    fn summarise(&self, name: &str, rows: &[MetricRow]) -> Result<Vec<Table>> {
        Ok(means(name, rows, |_| Some(Better::Lower), &[]))
    }
}

/// Whether a map about a class is still about the class that the network sees first; maps of
/// anything else are.
fn same_class(map: &NamedMap, clean: &Seen, now: &Seen) -> bool {
    let first = |values: &[f32]| {
        let of = values.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
        of.map(|(index, _)| index)
    };
    !matches!(map.id.subject, Subject::Class(_)) || first(&clean.output) == first(&now.output)
}

/// ‖(a − b)/a‖.
fn relative(a: &[f32], b: &[f32]) -> f64 {
    let quotient = |(a, b): (&f32, &f32)| {
        let (a, b) = (f64::from(*a), f64::from(*b));
        (a - b) / if a == 0.0 { LEAST } else { a }
    };
    a.iter().zip(b).map(|pair| quotient(pair).powi(2)).sum::<f64>().sqrt()
}

/// ‖a − b‖.
fn plain(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use fame_core::testkit;

    use super::{super::again::testing::measured_again, *};

    fn of(map: fn(&[f32]) -> Vec<f32>) -> Vec<(String, f64)> {
        let metric = testkit::build::<dyn Metric>("RelativeStability(layer: Output, samples: 4)");
        let rows = measured_again(metric.unwrap().plugin.as_ref(), map);
        rows.into_iter().map(|m| (m.name, m.value)).collect()
    }

    #[test]
    fn changes_count_relative_to_what_was_there() {
        assert!((relative(&[2.0, -4.0], &[1.0, -1.0]) - 0.8125f64.sqrt()).abs() < 1e-12);
        // 10⁻⁶ stands for the zero.
        assert!((relative(&[0.0], &[1.0]) - 1e6).abs() < 1e-3);
        assert_eq!(plain(&[3.0, 0.0], &[0.0, 4.0]), 5.0);
    }

    #[test]
    fn a_map_that_ignores_the_picture_is_stable_and_one_that_follows_it_is_not() {
        let still = of(|pixels| (0..pixels.len()).map(|i| 1.0 + i as f32).collect());
        assert_eq!(still, [("ris".to_owned(), 0.0), ("ros".to_owned(), 0.0)]);
        let follows = of(|pixels| pixels.iter().map(|v| 0.1 + v).collect());
        assert!(follows.iter().all(|(_, v)| *v > 0.0 && v.is_finite()), "{follows:?}");
        // Relative changes do not see how high a map is.
        let higher = of(|pixels| pixels.iter().map(|v| 8.0 * (0.1 + v)).collect());
        for ((_, a), (_, b)) in follows.iter().zip(&higher) {
            assert!((a - b).abs() < 1e-4 * a, "{a} {b}");
        }
    }
}
