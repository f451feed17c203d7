//! `Verification`: does a face verifier still decide rightly when the map's top pixels go, or when only they are there?

use std::collections::BTreeMap;

use fame_core::{
    Error, Explanation, Interval, LayerChoices, PROBE, Random, Result, Sample, Table,
    contract::{ExplainContext, Measurement, Metric, MetricRow},
    interval,
    recipe::Spec,
    registry::{BuildContext, Parts, Plugin},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use super::eer::Threshold;
use super::{
    area,
    asking::Asking,
    eer::{Rates, Score, rates},
    fill::{Filling, replace},
    masks::{Masks, ranked, top},
    measured, plane,
};
use crate::explainers::black_box::Answer;

/// Delete and Insert for pairs (Lu et al. 2024, the paper's Table 2). For each pair the similarity is taken with the top P percent of the probe's map removed (`delete`), and
/// with only these there (`insert`), P = 0, 10, …, 100; the gallery stays whole. Over all pairs this gives the verifier's accuracy at every P, and the areas under the two curves, times
/// 100: a map that found what the verifier uses has a low Delete and a high Insert. `delete` at P = 0 is the clean score.
///
/// The decision threshold comes from the clean scores of the same pairs, or is given. Maps whose name ends in `dissimilar` are left out: they claim something else. Intervals are 95 %
/// bootstrap over pairs.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Verification {
    /// How the threshold is found: `EerMiddle`, `Eer` (the paper's), `Fmr(0.001)`, `Fixed(0.3)`.
    pub threshold: Threshold,
    /// Steps from 0 to 100 percent.
    pub steps: usize,
    /// What stands where pixels were taken away, in both curves.
    pub fill: Filling,
    /// `Rank` or `Percentile` (the authors').
    pub masks: Masks,
    /// Whose maps are measured, by role.
    pub roles: Vec<String>,
    /// The explainer that every other one is tested against, such as a random map: two-sided sign-flip permutation test over pairs.
    pub against: Option<String>,
    /// What is asked: a loss whose value is the score. Default: `Similarity()`.
    pub target: Option<Spec>,
    /// The layer the target reads. Default: the model's `embedding`.
    pub target_layer: Option<LayerChoices>,
}

impl Default for Verification {
    fn default() -> Self {
        Self {
            threshold: Threshold::default(),
            steps: 10,
            fill: Filling::Black,
            masks: Masks::default(),
            roles: vec![PROBE.to_owned()],
            against: None,
            target: None,
            target_layer: None,
        }
    }
}

impl Plugin<dyn Metric> for Verification {
    const NAME: &'static str = "Verification";
    const SUMMARY: &'static str = "Accuracy of a face verifier while the top pixels go, or come: Delete and Insert";
    const EXAMPLE: &'static str = r#"Verification(threshold: Eer, masks: Percentile, against: "random")"#;
    const REFERENCE: &'static str = "Lu, Xu & Ebrahimi, WACV 2024, arXiv 2305.08546; Zhang & Günther, FAME (2026), Table 2";

    fn resolve(&mut self, with: &BuildContext<'_>, parts: &mut Parts) {
        parts.check("steps", (1..=1000).contains(&self.steps), "must be between 1 and 1000");
        parts.check("roles", !self.roles.is_empty(), "must name at least one role");
        if let Threshold::Fmr(rate) = self.threshold {
            parts.check("threshold", (0.0..=1.0).contains(&rate), "must be a rate from 0 to 1");
        }
        Asking::resolve(&mut self.target_layer, &mut self.target, with);
    }

    fn build(self, with: &BuildContext<'_>, parts: &mut Parts) -> Option<Box<dyn Metric>> {
        let asking = Asking::build(self.target_layer.clone(), self.target.as_ref(), Answer::Value, with, parts)?;
        Some(Box::new(Running { parameters: self, asking }))
    }
}

fame_core::register!(Metric: Verification);

struct Running {
    parameters: Verification,
    asking: Asking,
}

impl Running {
    fn percents(&self) -> Vec<f64> {
        (0..=self.parameters.steps).map(|k| 100.0 * k as f64 / self.parameters.steps as f64).collect()
    }
}

impl Metric for Running {
    fn measure(&self, with: &ExplainContext<'_>, sample: &Sample, explanation: &Explanation) -> Result<Vec<Measurement>> {
        let Verification { fill, masks, roles, .. } = &self.parameters;
        let percents = self.percents();
        let count = percents.len();
        let mut all = Vec::new();
        let wanted = |map: &fame_core::NamedMap| roles.contains(&map.role) && !map.name.ends_with("dissimilar");
        self.asking.each_map(with, sample, explanation, wanted, |map, question| {
            let values = plane(map)?;
            let order = ranked(&values);
            let filling = fill.picture(&question.pixels, &with.model.manifest.input)?;
            let scores = question.ask_silently(2 * count, |i, copy| {
                let is_top = top(&values, &order, percents[i % count], *masks);
                replace(copy, &filling, |p| is_top[p] == (i < count));
            })?;
            for (i, score) in scores.iter().enumerate() {
                let name = if i < count { "delete" } else { "insert" };
                all.push(measured(map, name, format!("P={}", percents[i % count]), f64::from(*score)));
            }
            Ok(())
        })?;
        Ok(all)
    }

    fn summarise(&self, name: &str, rows: &[MetricRow]) -> Result<Vec<Table>> {
        let Some(known) = Pairs::of(rows, &self.percents()) else {
            return Err(Error::new("fame::metric::no_pairs", "no pair says whether it is genuine, so nothing can be right or wrong.")
                .with_help("Use a dataset that knows (genuine: true, or a list with labels)."));
        };
        let at = self.parameters.threshold.of(&known.clean)?;
        let file = fame_core::contract::safe_id(&name.to_lowercase());
        let mut tables = vec![self.areas(&file, name, &known, at), curves(&file, &known, &self.percents(), at)];
        tables.extend(folds(&file, &known, self.parameters.threshold));
        Ok(tables)
    }
}

/// The rows again, by explainer and pair.
struct Pairs {
    /// Clean score of every pair.
    clean: Vec<Score>,
    /// Fold of every pair, where there are folds.
    folds: Vec<Option<String>>,
    /// For each explainer (and map, where it has several) the curves of its pairs: genuine, delete, insert.
    series: Vec<(String, Vec<Curves>)>,
}

/// One pair's similarities along both curves.
#[derive(Clone, Default)]
struct Curves {
    item: String,
    genuine: bool,
    delete: Vec<f64>,
    insert: Vec<f64>,
}

impl Curves {
    /// 1 where the decision at threshold t is right, along a curve.
    fn right(&self, of: Which, t: f64) -> Vec<f64> {
        let scores = if of == Which::Delete { &self.delete } else { &self.insert };
        scores.iter().map(|s| f64::from(u8::from((*s >= t) == self.genuine))).collect()
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Which {
    Delete,
    Insert,
}

impl Pairs {
    fn of(rows: &[MetricRow], percents: &[f64]) -> Option<Self> {
        let (mut order, mut found): (Vec<String>, BTreeMap<String, Vec<Curves>>) = (Vec::new(), BTreeMap::new());
        let (mut clean, mut folds, mut seen) = (Vec::new(), Vec::new(), std::collections::BTreeSet::new());
        let several = |explainer: &str| {
            let first = rows.iter().find(|r| r.explainer == explainer).map(|r| (&r.item, &r.map));
            rows.iter().any(|r| r.explainer == explainer && first.is_some_and(|(item, map)| r.item == *item && r.map != *map))
        };
        let mut names: BTreeMap<&str, bool> = BTreeMap::new();
        for row in rows {
            let Some(genuine) = row.genuine else { continue };
            let split = *names.entry(&row.explainer).or_insert_with(|| several(&row.explainer));
            let series = if split { format!("{} {}", row.explainer, row.map) } else { row.explainer.clone() };
            if !found.contains_key(&series) {
                order.push(series.clone());
            }
            let of = found.entry(series).or_default();
            if of.last().is_none_or(|c| c.item != row.item) {
                of.push(Curves { item: row.item.clone(), genuine, ..Curves::default() });
            }
            if let Some(curves) = of.last_mut() {
                if row.quantity == "delete" { &mut curves.delete } else { &mut curves.insert }.push(row.value);
            }
            if row.quantity == "delete" && row.parameter == "P=0" && seen.insert(&row.item) {
                clean.push((row.value, genuine));
                folds.push(row.fold.clone());
            }
        }
        // A pair whose curves are not whole is not counted.
        let whole = |c: &Curves| c.delete.len() == percents.len() && c.insert.len() == percents.len();
        let series: Vec<(String, Vec<Curves>)> = order
            .into_iter()
            .map(|name| {
                let curves = found.remove(&name).unwrap_or_default();
                (name, curves.into_iter().filter(whole).collect())
            })
            .collect();
        (!clean.is_empty()).then_some(Self { clean, folds, series })
    }
}

impl Running {
    /// The main table: both areas for each explainer.
    fn areas(&self, file: &str, name: &str, known: &Pairs, at: Rates) -> Table {
        let percents = self.percents();
        let per_pair = |curves: &[Curves], of: Which| -> Vec<f64> {
            let one = |c: &Curves| area(&percents.iter().copied().zip(c.right(of, at.threshold)).collect::<Vec<_>>());
            curves.iter().map(|c| 100.0 * one(c)).collect()
        };
        let mean = |values: &[f64]| interval(values.len(), |drawn| drawn.iter().map(|i| values[*i]).sum::<f64>() / drawn.len() as f64);
        let floor = self.parameters.against.as_deref().and_then(|a| known.series.iter().find(|(n, _)| n == a));
        let mut columns: Vec<String> = ["explainer", "pairs", "Delete (low)", "Insert (high)"].map(str::to_owned).to_vec();
        if let Some((name, _)) = floor {
            columns.extend([format!("Delete p vs {name}"), format!("Insert p vs {name}")]);
        }
        let shown = |i: Interval| format!("{:.2} [{:.2}, {:.2}]", i.mean, i.low, i.high);
        let rows = known.series.iter().map(|(name, curves)| {
            let mut cells = vec![name.clone(), curves.len().to_string()];
            let of = [Which::Delete, Which::Insert];
            cells.extend(of.map(|w| shown(mean(&per_pair(curves, w)))));
            if let Some((floor_name, floor)) = floor {
                let test = |w| paired(curves, floor, &per_pair(curves, w), &per_pair(floor, w));
                cells.extend(of.map(|w| if name == floor_name { "–".to_owned() } else { format!("{:.4}", test(w)) }));
            }
            cells
        });
        Table {
            name: file.to_owned(),
            title: format!(
                "{name}: area under accuracy, × 100 (clean accuracy {:.2} %, EER {:.2} %, threshold {:.4} by {:?}, {} pairs)",
                100.0 * at.accuracy,
                50.0 * (at.fmr + at.fnmr),
                at.threshold,
                self.parameters.threshold,
                known.clean.len()
            ),
            columns,
            rows: rows.collect(),
            notes: notes(known, at, self.parameters.threshold),
        }
    }
}

/// What a reader of the areas must know.
fn notes(known: &Pairs, at: Rates, rule: Threshold) -> Vec<String> {
    let mut notes = Vec::new();
    if at.fmr == 0.0 && at.fnmr == 0.0 && rule == Threshold::Eer {
        notes.push(
            "Warning: the threshold separates these pairs without error, so it is the weakest genuine score itself and the least change rejects that pair: Delete says little. \
             Use threshold: EerMiddle or Fmr(…)."
                .to_owned(),
        );
    }
    if at.threshold >= 0.999 {
        notes.push("Warning: the threshold is 0.999 or more: are gallery and probe the same pictures?".to_owned());
    }
    let same = known.clean.iter().filter(|s| s.0 >= 0.99999).count();
    if same > 0 {
        notes.push(format!("Warning: {same} pair(s) have similarity 1: gallery and probe are the same picture."));
    }
    let genuine = known.clean.iter().filter(|s| s.1).count();
    notes.push(format!(
        "Rejecting every pair scores {:.2} along the whole curve.",
        100.0 * (1.0 - genuine as f64 / known.clean.len() as f64)
    ));
    notes
}

/// Two-sided p of a sign-flip permutation test over the pairs that both have: how often chance alone is as far from zero as the mean difference is.
fn paired(a: &[Curves], b: &[Curves], of_a: &[f64], of_b: &[f64]) -> f64 {
    const FLIPS: usize = 10_000;
    let other: BTreeMap<&str, f64> = b.iter().map(|c| c.item.as_str()).zip(of_b.iter().copied()).collect();
    let differences: Vec<f64> = a.iter().zip(of_a).filter_map(|(c, v)| Some(v - other.get(c.item.as_str())?)).collect();
    let found = differences.iter().sum::<f64>().abs() - 1e-9;
    let mut random = Random::new(1);
    let flipped = |random: &mut Random| differences.iter().map(|d| if random.below(2) == 0 { *d } else { -d }).sum::<f64>().abs();
    let as_far = (0..FLIPS).filter(|_| flipped(&mut random) >= found).count();
    // The observed arrangement is one of those possible.
    (as_far + 1) as f64 / (FLIPS + 1) as f64
}

/// The accuracy at every P: the points of the paper's Fig. 4.
fn curves(file: &str, known: &Pairs, percents: &[f64], at: Rates) -> Table {
    let mut rows = Vec::new();
    for (name, pairs) in &known.series {
        for (word, which) in [("delete", Which::Delete), ("insert", Which::Insert)] {
            let right: Vec<Vec<f64>> = pairs.iter().map(|c| c.right(which, at.threshold)).collect();
            let accuracy = |k: usize| right.iter().map(|r| r[k]).sum::<f64>() / right.len().max(1) as f64;
            let points = (0..percents.len()).map(|k| format!("{:.2}", 100.0 * accuracy(k)));
            rows.push([name.clone(), word.to_owned()].into_iter().chain(points).collect());
        }
    }
    Table {
        name: format!("{file}_curves"),
        title: "Accuracy in percent at P percent deleted or inserted".to_owned(),
        columns: ["explainer".to_owned(), "curve".to_owned()].into_iter().chain(percents.iter().map(|p| format!("P={p}"))).collect(),
        rows,
        notes: Vec::new(),
    }
}

/// Clean accuracy by cross-validation: each fold at the threshold of the others. `None` without folds.
fn folds(file: &str, known: &Pairs, rule: Threshold) -> Option<Table> {
    let names: std::collections::BTreeSet<&str> = known.folds.iter().flatten().map(String::as_str).collect();
    if names.len() < 2 {
        return None;
    }
    let part = |inside: bool, fold: &str| -> Vec<Score> {
        let of = known.clean.iter().zip(&known.folds);
        of.filter(|(_, f)| (f.as_deref() == Some(fold)) == inside).map(|(s, _)| *s).collect()
    };
    let mut accuracies = Vec::new();
    let mut rows = Vec::new();
    for fold in names {
        let Ok(at) = rule.of(&part(false, fold)) else { continue };
        let here = rates(&part(true, fold), at.threshold);
        accuracies.push(100.0 * here.accuracy);
        rows.push(vec![fold.to_owned(), format!("{:.4}", at.threshold), format!("{:.2}", 100.0 * here.accuracy)]);
    }
    let n = accuracies.len() as f64;
    let mean = accuracies.iter().sum::<f64>() / n;
    let deviation = (accuracies.iter().map(|a| (a - mean).powi(2)).sum::<f64>() / n).sqrt();
    Some(Table {
        name: format!("{file}_folds"),
        title: format!("Clean accuracy by cross-validation: {mean:.2} ± {deviation:.2} %"),
        columns: ["fold", "threshold of the others", "accuracy in percent"].map(str::to_owned).to_vec(),
        rows,
        notes: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of one explainer on four pairs: `perfect` deletes at once and inserts at once.
    fn rows(explainer: &str, perfect: bool) -> Vec<MetricRow> {
        let mut rows = Vec::new();
        for (n, genuine) in [true, true, false, false].into_iter().enumerate() {
            let clean = if genuine { 0.8 } else { 0.1 };
            for k in 0..=10 {
                for name in ["delete", "insert"] {
                    let whole = (name == "delete") == (k < if perfect { 1 } else { 9 });
                    let value = if whole { clean } else { 0.0 };
                    let (item, parameter) = (format!("{n}"), format!("P={}", 10 * k));
                    let (explainer, map, quantity) = (explainer.to_owned(), "probe".to_owned(), name.to_owned());
                    let fold = Some(format!("{}", n % 2));
                    rows.push(MetricRow { item, explainer, map, quantity, parameter, value, genuine: Some(genuine), fold });
                }
            }
        }
        rows
    }

    fn summary(threshold: Threshold) -> Vec<Table> {
        let asked = fame_core::recipe::Spec::from_text("Similarity()").unwrap();
        let parameters = Verification { threshold, against: Some("random".into()), target: Some(asked), ..Verification::default() };
        let percents: Vec<f64> = (0..=10).map(|k| 10.0 * f64::from(k)).collect();
        let all = [rows("good", true), rows("random", false)].concat();
        let known = Pairs::of(&all, &percents).unwrap();
        let at = threshold.of(&known.clean).unwrap();
        let registry = fame_core::registry::Registry::builtin().unwrap();
        let with = BuildContext {
            registry: &registry,
            preset: fame_core::Preset::Paper,
            task: fame_core::model::Task::FaceRecognition,
            folder: std::path::Path::new("."),
        };
        let spec = fame_core::recipe::Spec::from_text(&format!("Verification(threshold: {threshold:?}, against: \"random\")")).unwrap();
        let built = registry.build::<dyn Metric>(&spec, &with).unwrap();
        let tables = built.plugin.summarise("Verification", &all).unwrap();
        assert_eq!(tables[1], curves("verification", &known, &percents, at), "{parameters:?}");
        tables
    }

    #[test]
    fn a_map_that_finds_the_evidence_beats_one_that_does_not() {
        let tables = summary(Threshold::EerMiddle);
        assert!(tables[0].title.contains("clean accuracy 100.00 %, EER 0.00 %, threshold 0.4500"), "{}", tables[0].title);
        // Genuine pairs are right at P = 0 only, impostors always: 0.05 × 1 + 0.95 × 0.5 and its mirror image.
        assert!(tables[0].rows[0][2].starts_with("52.50 [") && tables[0].rows[0][3].starts_with("97.50 ["), "{:?}", tables[0].rows);
        assert!(tables[0].rows[1][2] > tables[0].rows[0][2] && tables[0].rows[1][3] < tables[0].rows[0][3], "{:?}", tables[0].rows);
        assert_eq!(tables[1].rows[0][..4], ["good", "delete", "100.00", "50.00"]);
        assert!(tables[2].title.contains("100.00 ± 0.00 %"));
    }

    #[test]
    fn the_strict_threshold_on_a_separable_set_is_warned_of() {
        let tables = summary(Threshold::Eer);
        assert!(tables[0].notes[0].contains("separates these pairs"), "{:?}", tables[0].notes);
        assert!(Pairs::of(&[MetricRow::default()], &[0.0]).is_none());
    }
}
