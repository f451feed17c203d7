//! `Verification`: does a face verifier still decide rightly when the map's top pixels go, or when
//! only they are there?

mod decisions;
mod protocol;
mod tables;
mod threshold;

use fame_core::{
    Claim, Error, Explanation, LayerChoices, MapId, NamedMap, Picture, Result, Sample, Scores,
    Subject, Table, Tensor,
    ask::Answer,
    contract::{ExplainContext, Measurement, Metric, MetricRow},
    registry::{Assembly, BuildContext, Parameters, Plugin},
    text::Spec,
};

use self::protocol::Pairs;
pub use self::{decisions::Decisions, threshold::Threshold};
use super::{
    asking::Asking,
    at_percent,
    fill::{Filling, replace},
    masks::{Masks, ranked, top},
    measured, plane,
};
use crate::{
    ask::{usual_layer, usual_loss},
    datasets::PROBE,
};

fame_core::parameters! {
    /// Delete and Insert for pairs (Lu et al. 2024, the paper's Table 2). For each pair the
    /// similarity is taken with the top P percent of the probe's map removed (`delete`), and with
    /// only these there (`insert`), P = 0, 10, …, 100; the gallery stays whole. Over all pairs this
    /// gives the verifier's accuracy at every P, and the areas under the two curves, times 100: a
    /// map that found what the verifier uses has a low Delete and a high Insert. `delete` at P = 0
    /// is the clean score.
    ///
    /// The decision threshold comes from the clean scores of the same pairs, or from another set.
    /// Maps of what speaks against the match (e−) are left out: they claim something else. A method
    /// that has no other map of a picture counts with an empty one, which takes nothing away and
    /// brings nothing. Intervals are 95 % bootstrap over pairs, genuine and impostor pairs each
    /// among themselves: a protocol fixes how many there are of either.
    ///
    /// Beside the areas the tables hold the curves (the paper's Fig. 4), thresholds and error rates
    /// by every rule, the clean scores (`Sim-Score,targets`, as the authors' scripts read them),
    /// the points of the ROC, and with folds the accuracy by cross-validation.
    pub struct Verification {
        /// How the threshold is found: `EerMiddle`, `Eer` (the paper's), `Fmr(0.001)`,
        /// `Fixed(0.3)`, `From("another/run")`.
        threshold: Threshold = Threshold::default(),
        /// Whether each pair is decided at the threshold of the other folds' pairs. Needs a dataset
        /// with folds.
        cross_validate: bool = false,
        /// Steps from 0 to 100 percent.
        steps: usize = 10,
        /// What stands where pixels were taken away, in both curves.
        fill: Filling = Filling::Black,
        /// `Rank` or `Percentile` (the authors').
        masks: Masks = Masks::default(),
        /// Whose maps are measured, by role.
        roles: Vec<String> = vec![PROBE.to_owned()],
        /// Explainers that every other one is tested against, pair by pair, such as random maps.
        against: Vec<String> = Vec::new(),
        /// What is asked: a loss whose value is the score. Default: what the model's manifest asks
        /// for, else `Logit()`, the class the network sees.
        loss: Spec = open,
        /// The layer the loss reads. Default: the one in the model's manifest, else its `Output`.
        layer: LayerChoices = open,
    }
}

impl Parameters for Verification {
    type Typed = typed::Verification;

    fn fill(typed: typed::Verification, with: &BuildContext<'_>, _: &mut Assembly) -> Option<Self> {
        Some(typed.or(usual_loss(with), usual_layer(with)))
    }
}

impl Plugin<dyn Metric> for Verification {
    const NAME: &'static str = "Verification";
    const SUMMARY: &'static str =
        "Accuracy of a face verifier while the top pixels go, or come: Delete and Insert";
    const EXAMPLE: &'static str =
        r#"Verification(threshold: Eer, masks: Percentile, against: ["random"])"#;
    const REFERENCE: &'static str =
        "Lu, Xu & Ebrahimi, WACV 2024, arXiv 2305.08546; Zhang & Günther, FAME (2026), Table 2";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        assembly.check("steps", (1..=1000).contains(&self.steps), "must be between 1 and 1000");
        assembly.check("roles", !self.roles.is_empty(), "must name at least one role");
        if let Threshold::Fmr(rate) = &self.threshold {
            assembly.check("threshold", (0.0..=1.0).contains(rate), "must be a rate from 0 to 1");
        }
    }

    fn build(self, with: &BuildContext<'_>, assembly: &mut Assembly) -> Option<Box<dyn Metric>> {
        let asking = Asking::build(&self.layer, &self.loss, Answer::Value, with, assembly)?;
        let threshold = self
            .threshold
            .read(with.folder)
            .map_err(|e| assembly.report("threshold", e.to_string()))
            .ok()?;
        Some(Box::new(VerificationMetric { parameters: self, threshold, asking }))
    }
}

fame_core::register!(Metric: Verification);

struct VerificationMetric {
    parameters: Verification,
    /// As in the parameters, with files read.
    threshold: Threshold,
    asking: Asking,
}

impl VerificationMetric {
    fn percents(&self) -> Vec<f64> {
        (0..=self.parameters.steps)
            .map(|k| 100.0 * k as f64 / self.parameters.steps as f64)
            .collect()
    }
}

impl VerificationMetric {
    /// What `make` makes of the rows at their threshold.
    fn tables<T>(
        &self,
        name: &str,
        rows: &[MetricRow],
        make: impl FnOnce(&tables::Tables<'_>) -> T,
    ) -> Result<T> {
        let percents = self.percents();
        let Some(known) = Pairs::of(rows, &percents) else {
            return Err(Error::new(
                "fame::metric::no_pairs",
                "no pair says whether it is genuine, so nothing can be right or wrong.",
            )
            .with_help("Use a dataset that knows (genuine: true, or a list with labels)."));
        };
        let at = self.threshold.of(&known.scores())?;
        let cuts = if self.parameters.cross_validate {
            known.cross_validated(&self.threshold)?
        } else {
            known.all_at(at.threshold)
        };
        Ok(make(&tables::Tables {
            name,
            file: fame_core::data::safe_id(&name.to_lowercase()),
            parameters: &self.parameters,
            rule: &self.threshold,
            known: &known,
            percents: &percents,
            at,
            cuts: &cuts,
        }))
    }
}

#[allow(clippy::redundant_closure_for_method_calls, reason = "a method is not general enough")]
impl Metric for VerificationMetric {
    fn needs(&self) -> &'static str {
        "pairs of pictures, with maps of the roles that it names"
    }

    fn measure(
        &self,
        with: &ExplainContext<'_>,
        sample: &Sample,
        explanation: &Explanation,
    ) -> Result<Vec<Measurement>> {
        let Verification { fill, masks, roles, .. } = &self.parameters;
        let percents = self.percents();
        let count = percents.len();
        let mut all = Vec::new();
        let wanted =
            |map: &NamedMap| roles.contains(&map.id.role) && map.id.claim != Claim::Against;
        // A method that is silent about a picture has an empty map: nothing is taken away and
        // nothing brought, as with the authors. It must be counted: silence about impostors is
        // right.
        let silent = roles
            .iter()
            .filter(|role| !explanation.maps.iter().any(|m| wanted(m) && m.id.role == **role));
        let silent =
            silent.filter_map(|role| Some(empty(role, sample.picture(role)?))).collect::<Vec<_>>();
        let maps = explanation.maps.iter().cloned().chain(silent).collect();
        let explanation = Explanation { maps, ..Explanation::default() };
        self.asking.each_map(with, sample, &explanation, wanted, |map, question| {
            let values = plane(map)?;
            let order = ranked(&values);
            let says_nothing = values.iter().all(|v| *v == 0.0);
            let filling = fill.picture(&question.pixels, &with.model.manifest.input)?;
            let scores = question.ask_all(2 * count, |i, copy| {
                let is_top = top(&values, &order, percents[i % count], *masks);
                replace(copy, &filling, |p| (is_top[p] && !says_nothing) == (i < count));
            })?;
            for (i, score) in scores.iter().enumerate() {
                let name = if i < count { "delete" } else { "insert" };
                all.push(measured(map, name, at_percent(percents[i % count]), f64::from(*score)));
            }
            Ok(())
        })?;
        Ok(all)
    }

    fn named_explainers(&self) -> Vec<String> {
        self.parameters.against.clone()
    }

    fn only_for_tables(&self) -> &'static [&'static str] {
        &["threshold", "cross_validate", "against"]
    }

    fn scores(&self, rows: &[MetricRow]) -> Result<Scores> {
        self.tables("", rows, |tables| tables.scores())
    }

    fn summarise(&self, name: &str, rows: &[MetricRow]) -> Result<Vec<Table>> {
        self.tables(name, rows, |tables| tables.all())
    }
}

/// The map of a method that says nothing about the picture in `role`.
fn empty(role: &str, picture: &Picture) -> NamedMap {
    let values = Tensor::zeros([picture.height(), picture.width()]);
    NamedMap::new(MapId::new(role).about(Subject::Match), values.clone(), values)
}

#[cfg(test)]
mod tests;
