//! `Verification`: does a face verifier still decide rightly when the map's top pixels go, or when
//! only they are there?

use std::collections::{BTreeMap, BTreeSet};

use fame_core::{
    Better, Error, Explanation, LayerChoices, NamedMap, Picture, Plot, Result, Sample, Scores,
    Table, Tensor,
    contract::{ExplainContext, Measurement, Metric, MetricRow},
    data::Facts,
    registry::{BuildContext, Parameters, Parts, Plugin},
    text::Spec,
};

pub use super::eer::Threshold;
use super::{
    area,
    asking::Asking,
    eer::{Rates, Score, distinct, rates},
    fill::{Filling, replace},
    masks::{Masks, ranked, top},
    measured, plane,
};
use crate::{
    ask::{usual_layer, usual_loss},
    datasets::{FOLD, GENUINE, PROBE},
    explainers::black_box::Answer,
};

fame_core::parameters! {
    /// Delete and Insert for pairs (Lu et al. 2024, the paper's Table 2). For each pair the similarity
    /// is taken with the top P percent of the probe's map removed (`delete`), and with only these there
    /// (`insert`), P = 0, 10, …, 100; the gallery stays whole. Over all pairs this gives the verifier's
    /// accuracy at every P, and the areas under the two curves, times 100: a map that found what the
    /// verifier uses has a low Delete and a high Insert. `delete` at P = 0 is the clean score.
    ///
    /// The decision threshold comes from the clean scores of the same pairs, or from another set. Maps
    /// whose name ends in `dissimilar` are left out: they claim something else. A method that has no
    /// other map of a picture counts with an empty one, which takes nothing away and brings nothing.
    /// Intervals are 95 % bootstrap over pairs, genuine and impostor pairs each among themselves: a
    /// protocol fixes how many there are of either.
    ///
    /// Beside the areas the tables hold the curves (the paper's Fig. 4), thresholds and error rates by
    /// every rule, the clean scores (`Sim-Score,targets`, as the authors' scripts read them), the
    /// points of the ROC, and with folds the accuracy by cross-validation.
    pub struct Verification {
        /// How the threshold is found: `EerMiddle`, `Eer` (the paper's), `Fmr(0.001)`, `Fixed(0.3)`,
        /// `From("another/run")`.
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

    fn fill(typed: typed::Verification, with: &BuildContext<'_>, _: &mut Parts) -> Option<Self> {
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

    fn resolve(&mut self, _: &BuildContext<'_>, parts: &mut Parts) {
        parts.check("steps", (1..=1000).contains(&self.steps), "must be between 1 and 1000");
        parts.check("roles", !self.roles.is_empty(), "must name at least one role");
        if let Threshold::Fmr(rate) = &self.threshold {
            parts.check("threshold", (0.0..=1.0).contains(rate), "must be a rate from 0 to 1");
        }
    }

    fn build(self, with: &BuildContext<'_>, parts: &mut Parts) -> Option<Box<dyn Metric>> {
        let asking = Asking::build(&self.layer, &self.loss, Answer::Value, with, parts)?;
        let threshold = self
            .threshold
            .read(with.folder)
            .map_err(|e| parts.report("threshold", e.to_string()))
            .ok()?;
        Some(Box::new(Running { parameters: self, threshold, asking }))
    }
}

fame_core::register!(Metric: Verification);

struct Running {
    parameters: Verification,
    /// As in the parameters, with files read.
    threshold: Threshold,
    asking: Asking,
}

impl Running {
    fn percents(&self) -> Vec<f64> {
        (0..=self.parameters.steps)
            .map(|k| 100.0 * k as f64 / self.parameters.steps as f64)
            .collect()
    }
}

impl Metric for Running {
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
        let wanted = |map: &fame_core::NamedMap| {
            roles.contains(&map.role) && !map.name.ends_with("dissimilar")
        };
        // A method that is silent about a picture has an empty map: nothing is taken away and
        // nothing brought, as with the authors. It must be counted: silence about impostors is
        // right.
        let silent = roles
            .iter()
            .filter(|role| !explanation.maps.iter().any(|m| wanted(m) && m.role == **role));
        let silent =
            silent.filter_map(|role| Some(empty(role, sample.picture(role)?))).collect::<Vec<_>>();
        let maps = explanation.maps.iter().cloned().chain(silent).collect();
        let explanation = Explanation { maps, ..Explanation::default() };
        self.asking.each_map(with, sample, &explanation, wanted, |map, question| {
            let values = plane(map)?;
            let order = ranked(&values);
            let says_nothing = values.iter().all(|v| *v == 0.0);
            let filling = fill.picture(&question.pixels, &with.model.manifest.input)?;
            let scores = question.ask_silently(2 * count, |i, copy| {
                let is_top = top(&values, &order, percents[i % count], *masks);
                replace(copy, &filling, |p| (is_top[p] && !says_nothing) == (i < count));
            })?;
            for (i, score) in scores.iter().enumerate() {
                let name = if i < count { "delete" } else { "insert" };
                all.push(measured(
                    map,
                    name,
                    format!("P={}", percents[i % count]),
                    f64::from(*score),
                ));
            }
            Ok(())
        })?;
        Ok(all)
    }

    fn only_for_tables(&self) -> &'static [&'static str] {
        &["threshold", "cross_validate", "against"]
    }

    fn summarise(&self, name: &str, rows: &[MetricRow]) -> Result<Vec<Table>> {
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
        let file = fame_core::data::safe_id(&name.to_lowercase());
        let mut tables = self.areas(&file, name, &known, at, &cuts);
        tables.push(curves(&file, &known, &percents, &cuts));
        tables.push(thresholds(&file, &known, &self.parameters.threshold, at));
        tables.extend(folds(&file, &known, &self.threshold));
        tables.extend([listed(&file, &known), roc(&file, &known)]);
        Ok(tables)
    }
}

/// The map of a method that says nothing about the picture in `role`.
fn empty(role: &str, picture: &Picture) -> NamedMap {
    let values = Tensor::zeros([picture.height(), picture.width()]);
    NamedMap {
        name: format!("{role}_similar"),
        role: role.to_owned(),
        raw: values.clone(),
        finished: values,
        frame: None,
        facts: Facts::new(),
    }
}

/// The rows again, by explainer and pair.
struct Pairs {
    /// Every pair once.
    clean: Vec<Clean>,
    /// For each explainer (and map, where it has several) the curves of its pairs: genuine, delete,
    /// insert.
    series: Vec<(String, Vec<Curves>)>,
}

/// A pair as it is.
struct Clean {
    item: String,
    score: Score,
    fold: Option<String>,
}

/// The threshold that each pair is decided at, by item.
type Cuts = BTreeMap<String, f64>;

/// One pair's similarities along both curves.
#[derive(Clone, Default)]
struct Curves {
    item: String,
    genuine: bool,
    delete: Vec<f64>,
    insert: Vec<f64>,
}

impl Curves {
    /// 1 where the decision is right, along a curve.
    fn right(&self, of: Which, cuts: &Cuts) -> Vec<f64> {
        let scores = if of == Which::Delete { &self.delete } else { &self.insert };
        let t = cuts.get(&self.item).copied().unwrap_or(f64::NAN);
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
        let (mut order, mut found): (Vec<String>, BTreeMap<String, Vec<Curves>>) =
            (Vec::new(), BTreeMap::new());
        let (mut clean, mut seen) = (Vec::new(), BTreeSet::new());
        let several = |explainer: &str| {
            let first = rows.iter().find(|r| r.explainer == explainer).map(|r| (&r.item, &r.map));
            rows.iter().any(|r| {
                r.explainer == explainer
                    && first.is_some_and(|(item, map)| r.item == *item && r.map != *map)
            })
        };
        let mut names: BTreeMap<&str, bool> = BTreeMap::new();
        for row in rows {
            let Some(genuine) = row.marks.get(&GENUINE) else { continue };
            let split = *names.entry(&row.explainer).or_insert_with(|| several(&row.explainer));
            let series = if split {
                format!("{} {}", row.explainer, row.map)
            } else {
                row.explainer.clone()
            };
            if !found.contains_key(&series) {
                order.push(series.clone());
            }
            let of = found.entry(series).or_default();
            if of.last().is_none_or(|c| c.item != row.item) {
                of.push(Curves { item: row.item.clone(), genuine, ..Curves::default() });
            }
            if let Some(curves) = of.last_mut() {
                if row.quantity == "delete" { &mut curves.delete } else { &mut curves.insert }
                    .push(row.value);
            }
            if row.quantity == "delete" && row.parameter == "P=0" && seen.insert(&row.item) {
                clean.push(Clean {
                    item: row.item.clone(),
                    score: (row.value, genuine),
                    fold: row.marks.get(&FOLD),
                });
            }
        }
        // A pair whose curves are not whole is not counted.
        let whole =
            |c: &Curves| c.delete.len() == percents.len() && c.insert.len() == percents.len();
        let series: Vec<(String, Vec<Curves>)> = order
            .into_iter()
            .map(|name| {
                let curves = found.remove(&name).unwrap_or_default();
                (name, curves.into_iter().filter(whole).collect())
            })
            .collect();
        (!clean.is_empty()).then_some(Self { clean, series })
    }

    fn scores(&self) -> Vec<Score> {
        self.clean.iter().map(|c| c.score).collect()
    }

    fn all_at(&self, threshold: f64) -> Cuts {
        self.clean.iter().map(|c| (c.item.clone(), threshold)).collect()
    }

    /// The names of the folds; fewer than two are none.
    fn folds(&self) -> BTreeSet<&str> {
        let names: BTreeSet<&str> = self.clean.iter().filter_map(|c| c.fold.as_deref()).collect();
        if names.len() < 2 { BTreeSet::new() } else { names }
    }

    /// The scores inside a fold, or outside of it.
    fn part(&self, fold: &str, inside: bool) -> Vec<Score> {
        self.clean
            .iter()
            .filter(|c| (c.fold.as_deref() == Some(fold)) == inside)
            .map(|c| c.score)
            .collect()
    }

    /// For each pair the threshold of the other folds' pairs.
    fn cross_validated(&self, rule: &Threshold) -> Result<Cuts> {
        let mut of_fold: BTreeMap<&str, f64> = BTreeMap::new();
        for fold in self.folds() {
            of_fold.insert(
                fold,
                rule.of(&self.part(fold, false))
                    .map_err(|e| e.at(format!("without fold {fold}")))?
                    .threshold,
            );
        }
        if of_fold.is_empty() {
            return Err(Error::new(
                "fame::metric::no_folds",
                "the pairs have no folds, so there is nothing to cross-validate.",
            )
            .with_help("Use a dataset with folds, or cross_validate: false."));
        }
        let cut = |c: &Clean| {
            let fold = c.fold.as_deref().and_then(|f| of_fold.get(f));
            fold.map(|t| (c.item.clone(), *t)).ok_or_else(|| {
                Error::new("fame::metric::no_folds", format!("pair `{}` has no fold.", c.item))
            })
        };
        self.clean.iter().map(cut).collect()
    }
}

impl Running {
    /// The main table, both areas for each explainer, and each against the floors.
    fn areas(&self, file: &str, name: &str, known: &Pairs, at: Rates, cuts: &Cuts) -> Vec<Table> {
        let percents = self.percents();
        let mut scores = Scores::default();
        for (explainer, pairs) in &known.series {
            for pair in pairs {
                scores.in_stratum(&pair.item, usize::from(pair.genuine));
                for (which, column, better) in [
                    (Which::Delete, "Delete", Better::Lower),
                    (Which::Insert, "Insert", Better::Higher),
                ] {
                    let points: Vec<_> =
                        percents.iter().copied().zip(pair.right(which, cuts)).collect();
                    scores.add(explainer, column, Some(better), &pair.item, 100.0 * area(&points));
                }
            }
        }
        let eer = Threshold::Eer
            .of(&known.scores())
            .map_or_else(|_| "unknown".to_owned(), |r| format!("{:.2} %", 50.0 * (r.fmr + r.fnmr)));
        let decided = if self.parameters.cross_validate {
            "each pair at the threshold of the other folds".to_owned()
        } else {
            format!("threshold {:.4}", at.threshold)
        };
        let title = format!(
            "{name}: area under accuracy, × 100; Delete low, Insert high (clean accuracy {:.2} %, EER {eer}, {decided} by {:?}, {} pairs)",
            100.0 * at.accuracy,
            self.parameters.threshold,
            known.clean.len()
        );
        let mut table = scores.means(file, title, 2);
        table.notes = notes(known, at, &self.parameters.threshold);
        let floors = &self.parameters.against;
        let missing = floors.iter().filter(|f| !scores.explainers().contains(f));
        table.notes.extend(missing.map(|f| {
            format!("`against: {f:?}`: there is no such explainer, or it has several maps.")
        }));
        [table]
            .into_iter()
            .chain(floors.iter().filter_map(|floor| scores.against(file, floor, 2)))
            .collect()
    }
}

/// What a reader of the areas must know.
fn notes(known: &Pairs, at: Rates, rule: &Threshold) -> Vec<String> {
    let mut notes = Vec::new();
    if at.fmr == 0.0 && at.fnmr == 0.0 && *rule == Threshold::Eer {
        notes.push(
            "Warning: the threshold separates these pairs without error, so it is the weakest genuine score itself and the least change rejects that pair: Delete says little. \
             Use threshold: EerMiddle or Fmr(…)."
                .to_owned(),
        );
    }
    if at.threshold >= 0.999 {
        notes.push(
            "Warning: the threshold is 0.999 or more: are gallery and probe the same pictures?"
                .to_owned(),
        );
    }
    let same = known.clean.iter().filter(|c| c.score.0 >= 0.99999).count();
    if same > 0 {
        notes.push(format!(
            "Warning: {same} pair(s) have similarity 1: gallery and probe are the same picture."
        ));
    }
    let genuine = known.clean.iter().filter(|c| c.score.1).count();
    notes.push("Intervals: bootstrap within the genuine and within the impostor pairs.".to_owned());
    notes.push(format!(
        "Rejecting every pair scores {:.2} along the whole curve.",
        100.0 * (1.0 - genuine as f64 / known.clean.len() as f64)
    ));
    notes
}

/// The accuracy at every P: the points of the paper's Fig. 4, and the picture of them.
fn curves(file: &str, known: &Pairs, percents: &[f64], cuts: &Cuts) -> Table {
    let mut rows = Vec::new();
    let both = [("delete", Which::Delete), ("insert", Which::Insert)];
    let mut plots = both.map(|(word, _)| Plot {
        name: format!("{file}_{word}"),
        title: format!(
            "Accuracy while the top P percent are {word}{}",
            if word == "delete" { "d" } else { "ed" }
        ),
        x: "P, percent of the pixels".to_owned(),
        y: "accuracy, percent".to_owned(),
        series: Vec::new(),
    });
    for (name, pairs) in &known.series {
        for ((word, which), plot) in both.iter().zip(&mut plots) {
            let right: Vec<Vec<f64>> = pairs.iter().map(|c| c.right(*which, cuts)).collect();
            let accuracy = |k: usize| {
                100.0 * right.iter().map(|r| r[k]).sum::<f64>() / right.len().max(1) as f64
            };
            let points: Vec<f64> = (0..percents.len()).map(accuracy).collect();
            plot.series.push((
                name.clone(),
                percents.iter().copied().zip(points.iter().copied()).collect(),
            ));
            rows.push(
                [name.clone(), (*word).to_owned()]
                    .into_iter()
                    .chain(points.iter().map(|p| format!("{p:.2}")))
                    .collect(),
            );
        }
    }
    Table {
        name: format!("{file}_curves"),
        title: "Accuracy in percent at P percent deleted or inserted".to_owned(),
        columns: ["explainer".to_owned(), "curve".to_owned()]
            .into_iter()
            .chain(percents.iter().map(|p| format!("P={p}")))
            .collect(),
        rows,
        plots: plots.into(),
        ..Table::default()
    }
}

/// Thresholds and what they do to the clean scores: first the one in use, then those of the other
/// rules. A false match rate that is finer than one of these impostors is left out.
fn thresholds(file: &str, known: &Pairs, used: &Threshold, at: Rates) -> Table {
    let scores = known.scores();
    let impostors = scores.iter().filter(|s| !s.1).count();
    let eer = Threshold::Eer
        .of(&scores)
        .map_or_else(|_| String::new(), |r| format!("{:.6}", f64::midpoint(r.fmr, r.fnmr)));
    let others = [
        Threshold::Eer,
        Threshold::EerMiddle,
        Threshold::Fmr(0.1),
        Threshold::Fmr(0.01),
        Threshold::Fmr(0.001),
        Threshold::Fmr(0.0001),
    ];
    let fine =
        |rule: &Threshold| !matches!(rule, Threshold::Fmr(r) if r * impostors as f64 <= 1.0 - 1e-9);
    let found = others
        .iter()
        .filter(|r| *r != used && fine(r))
        .filter_map(|r| Some((r, r.of(&scores).ok()?)));
    let row = |(rule, r): (&Threshold, Rates)| {
        let numbers = [r.fmr, r.fnmr].map(|v| format!("{v:.6}"));
        let [fmr, fnmr] = numbers;
        vec![
            format!("{rule:?}"),
            r.threshold.to_string(),
            fmr,
            fnmr,
            format!("{:.6}", r.accuracy),
            eer.clone(),
            scores.len().to_string(),
        ]
    };
    Table {
        name: format!("{file}_thresholds"),
        title: "Thresholds and error rates on the clean scores; the first is in use".to_owned(),
        columns: ["rule", "thr", "fmr", "fnmr", "accuracy", "eer", "pairs"]
            .map(str::to_owned)
            .to_vec(),
        rows: [(used, at)].into_iter().chain(found).map(row).collect(),
        ..Table::default()
    }
}

/// The clean scores, as the authors' scripts read them.
fn listed(file: &str, known: &Pairs) -> Table {
    let row = |c: &Clean| {
        vec![
            c.item.clone(),
            c.score.0.to_string(),
            u8::from(c.score.1).to_string(),
            c.fold.clone().unwrap_or_default(),
        ]
    };
    Table {
        name: format!("{file}_scores"),
        title: "Clean scores".to_owned(),
        columns: ["item", "Sim-Score", "targets", "fold"].map(str::to_owned).to_vec(),
        rows: known.clean.iter().map(row).collect(),
        is_list: true,
        ..Table::default()
    }
}

/// False match and false non-match rate at every score that occurs, from the strictest: the points
/// of ROC and DET.
fn roc(file: &str, known: &Pairs) -> Table {
    let scores = known.scores();
    let points: Vec<Rates> = distinct(&scores).into_iter().map(|t| rates(&scores, t)).collect();
    let plot =
        |name: &str, title: &str, y: &str, series: Vec<(String, Vec<(f64, f64)>)>, x: &str| Plot {
            name: format!("{file}_{name}"),
            title: title.to_owned(),
            x: x.to_owned(),
            y: y.to_owned(),
            series,
        };
    let along = |of: fn(&Rates) -> (f64, f64)| points.iter().map(of).collect::<Vec<_>>();
    let curve = [(0.0, 0.0)].into_iter().chain(along(|r| (r.fmr, 1.0 - r.fnmr))).collect();
    Table {
        name: format!("{file}_roc"),
        title: "Error rates at every score".to_owned(),
        columns: ["thr", "fmr", "fnmr"].map(str::to_owned).to_vec(),
        rows: points
            .iter()
            .map(|r| [r.threshold, r.fmr, r.fnmr].map(|v| v.to_string()).to_vec())
            .collect(),
        plots: vec![
            plot(
                "roc",
                "Receiver operating characteristic",
                "true match rate",
                vec![("verifier".to_owned(), curve)],
                "false match rate",
            ),
            plot(
                "errors",
                "Error rates of the verifier",
                "rate",
                vec![
                    ("false match".to_owned(), along(|r| (r.threshold, r.fmr))),
                    ("false non-match".to_owned(), along(|r| (r.threshold, r.fnmr))),
                ],
                "threshold",
            ),
        ],
        is_list: true,
        ..Table::default()
    }
}

/// Clean accuracy by cross-validation: each fold at the threshold of the others. `None` without
/// folds.
fn folds(file: &str, known: &Pairs, rule: &Threshold) -> Option<Table> {
    let names = known.folds();
    let mut accuracies = Vec::new();
    let mut rows = Vec::new();
    for fold in names {
        let Ok(at) = rule.of(&known.part(fold, false)) else { continue };
        let here = rates(&known.part(fold, true), at.threshold);
        accuracies.push(100.0 * here.accuracy);
        rows.push(vec![
            fold.to_owned(),
            format!("{:.4}", at.threshold),
            format!("{:.2}", 100.0 * here.accuracy),
        ]);
    }
    if rows.is_empty() {
        return None;
    }
    let n = accuracies.len() as f64;
    let mean = accuracies.iter().sum::<f64>() / n;
    let deviation = (accuracies.iter().map(|a| (a - mean).powi(2)).sum::<f64>() / n).sqrt();
    Some(Table {
        name: format!("{file}_folds"),
        title: format!("Clean accuracy by cross-validation: {mean:.2} ± {deviation:.2} %"),
        columns: ["fold", "threshold of the others", "accuracy in percent"]
            .map(str::to_owned)
            .to_vec(),
        rows,
        ..Table::default()
    })
}

#[cfg(test)]
mod tests {
    use fame_core::Marks;

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
                    let (explainer, map, quantity) =
                        (explainer.to_owned(), "probe".to_owned(), name.to_owned());
                    let fold = format!("{}", n % 2);
                    rows.push(MetricRow {
                        item,
                        explainer,
                        map,
                        quantity,
                        parameter,
                        value,
                        marks: Marks::default().with(&GENUINE, genuine).with(&FOLD, fold),
                    });
                }
            }
        }
        rows
    }

    fn summary(parameters: &str) -> Vec<Table> {
        let all = [rows("good", true), rows("random", false)].concat();
        let registry = fame_core::registry::Registry::builtin().unwrap();
        let with = BuildContext::new(&registry, std::path::Path::new("."));
        let spec =
            Spec::from_text(&format!("Verification({parameters}, against: [\"random\"])")).unwrap();
        registry
            .build::<dyn Metric>(&spec, &with)
            .unwrap()
            .plugin
            .summarise("Verification", &all)
            .unwrap()
    }

    fn named<'a>(tables: &'a [Table], name: &str) -> &'a Table {
        tables.iter().find(|t| t.name == name).unwrap()
    }

    #[test]
    fn a_map_that_finds_the_evidence_beats_one_that_does_not() {
        let tables = summary("threshold: EerMiddle");
        let areas = named(&tables, "verification");
        assert!(
            areas.title.contains("clean accuracy 100.00 %, EER 0.00 %, threshold 0.4500"),
            "{}",
            areas.title
        );
        // Genuine pairs are right at P = 0 only, impostors always: 0.05 × 1 + 0.95 × 0.5 and its
        // mirror image.
        assert!(
            areas.rows[0][2].starts_with("52.50 [") && areas.rows[0][3].starts_with("97.50 ["),
            "{:?}",
            areas.rows
        );
        assert!(
            areas.rows[1][2] > areas.rows[0][2] && areas.rows[1][3] < areas.rows[0][3],
            "{:?}",
            areas.rows
        );
        let against = named(&tables, "verification_against_random");
        assert!(
            against.rows.len() == 1
                && against.rows[0][1].starts_with('-')
                && against.rows[0][2].starts_with('+'),
            "{against:?}"
        );
        let curves = named(&tables, "verification_curves");
        assert_eq!(curves.rows[0][..4], ["good", "delete", "100.00", "50.00"]);
        assert_eq!(curves.plots[1].series[0].1[1], (10.0, 100.0), "everything is there at once");
        assert!(named(&tables, "verification_folds").title.contains("100.00 ± 0.00 %"));
        let thresholds = named(&tables, "verification_thresholds");
        assert_eq!(thresholds.rows[0][..2], ["EerMiddle", "0.45"]);
        // Two impostors say nothing of one false match in ten.
        assert_eq!(thresholds.rows.len(), 2, "{:?}", thresholds.rows);
        let scores = named(&tables, "verification_scores");
        assert!(
            scores.is_list && scores.csv().starts_with("item,Sim-Score,targets,fold\n0,0.8,1,0\n"),
            "{}",
            scores.csv()
        );
        assert_eq!(named(&tables, "verification_roc").rows, [["0.8", "0", "0"], ["0.1", "1", "0"]]);
    }

    #[test]
    fn folds_can_lend_each_other_their_thresholds() {
        let tables = summary("cross_validate: true");
        assert!(
            named(&tables, "verification")
                .title
                .contains("each pair at the threshold of the other folds")
        );
        assert!(named(&tables, "verification").rows[0][2].starts_with("52.50 ["));
        let apart: Vec<MetricRow> = rows("good", true)
            .into_iter()
            .map(|r| MetricRow {
                marks: Marks::default().with(&GENUINE, r.marks.get(&GENUINE)),
                ..r
            })
            .collect();
        let known =
            Pairs::of(&apart, &(0..=10).map(|k| 10.0 * f64::from(k)).collect::<Vec<_>>()).unwrap();
        assert_eq!(
            known.cross_validated(&Threshold::Eer).unwrap_err().code,
            "fame::metric::no_folds"
        );
    }

    #[test]
    fn the_strict_threshold_on_a_separable_set_is_warned_of() {
        let tables = summary("threshold: Eer");
        assert!(tables[0].notes[0].contains("separates these pairs"), "{:?}", tables[0].notes);
        assert!(Pairs::of(&[MetricRow::default()], &[0.0]).is_none());
    }
}
