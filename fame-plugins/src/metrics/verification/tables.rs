//! What the pairs come to: areas, curves, thresholds, folds, clean scores and error rates.

use fame_core::{Better, Column, Parameter, Plot, Scores, Table, stratified_intervals};

use super::{
    super::area,
    Verification,
    protocol::{Clean, Cuts, Pairs, Which},
    threshold::{Rates, Threshold, distinct, rates},
};

/// The tables of a run, with what they are made of.
pub(super) struct Tables<'a> {
    /// The metric's name in the recipe.
    pub(super) name: &'a str,
    /// What the tables' names begin with.
    pub(super) file: String,
    /// As in the recipe.
    pub(super) parameters: &'a Verification,
    /// The rule that finds the threshold, with files read.
    pub(super) rule: &'a Threshold,
    /// What was measured.
    pub(super) known: &'a Pairs,
    /// The points of both curves.
    pub(super) percents: &'a [f64],
    /// The threshold of all pairs, with its rates.
    pub(super) at: Rates,
    /// The threshold that each pair is decided at.
    pub(super) cuts: &'a Cuts,
}

impl Tables<'_> {
    /// All of them, the main one first.
    pub(super) fn all(&self) -> Vec<Table> {
        let mut tables = self.areas();
        tables.extend([self.curves(), self.thresholds()]);
        tables.extend(self.folds());
        tables.extend([self.listed(), self.roc()]);
        tables
    }

    /// Both areas of each explainer, pair by pair.
    pub(super) fn scores(&self) -> Scores {
        let Tables { known, cuts, percents, .. } = *self;
        let mut scores = Scores::default();
        for (explainer, pairs) in &known.series {
            for pair in pairs {
                scores.in_stratum(&pair.item, usize::from(pair.genuine));
                for (which, quantity, better) in [
                    (Which::Delete, "Delete", Better::Lower),
                    (Which::Insert, "Insert", Better::Higher),
                ] {
                    let (quantity, better) = (quantity.to_owned(), Some(better));
                    let column = Column { quantity, parameter: Parameter::None, better };
                    let points: Vec<_> =
                        percents.iter().copied().zip(pair.right(which, cuts)).collect();
                    scores.add(explainer, &column, &pair.item, 100.0 * area(&points));
                }
            }
        }
        scores
    }

    /// The main table, both areas for each explainer, and each against the floors.
    fn areas(&self) -> Vec<Table> {
        let Tables { name, known, at, .. } = *self;
        let scores = self.scores();
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
        let mut table = scores.means(&self.file, title, 2);
        table.notes = notes(known, at, &self.parameters.threshold);
        let floors = &self.parameters.against;
        let missing = floors.iter().filter(|f| !scores.explainers().contains(f));
        table.notes.extend(missing.map(|f| {
            format!("`against: {f:?}`: there is no such explainer, or it has several maps.")
        }));
        [table]
            .into_iter()
            .chain(floors.iter().filter_map(|floor| scores.against(&self.file, floor, 2)))
            .collect()
    }

    /// The accuracy at every P: the points of the paper's Fig. 4, and the picture of them.
    fn curves(&self) -> Table {
        let Tables { file, known, percents, cuts, .. } = self;
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
            ..Plot::default()
        });
        for (name, pairs) in &known.series {
            for ((word, which), plot) in both.iter().zip(&mut plots) {
                let right: Vec<Vec<f64>> = pairs.iter().map(|c| c.right(*which, cuts)).collect();
                // Genuine and impostor pairs are drawn anew within their kinds, as for the table.
                let kinds: Vec<usize> = pairs.iter().map(|c| usize::from(c.genuine)).collect();
                let found = stratified_intervals(&kinds, percents.len(), |drawn, accuracy| {
                    accuracy.fill(0.0);
                    for pair in drawn {
                        accuracy
                            .iter_mut()
                            .zip(&right[*pair])
                            .for_each(|(sum, right)| *sum += right);
                    }
                    for sum in accuracy {
                        *sum = 100.0 * *sum / drawn.len().max(1) as f64;
                    }
                });
                let points: Vec<f64> = found.iter().map(|i| i.mean).collect();
                let at = || percents.iter().copied().zip(&found);
                plot.series.push((name.clone(), at().map(|(p, i)| (p, i.mean)).collect()));
                plot.intervals.push(at().map(|(p, i)| [p, i.low, i.high]).collect());
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

    /// Thresholds and what they do to the clean scores: first the one in use, then those of the
    /// other rules. A false match rate that is finer than one of these impostors is left out.
    fn thresholds(&self) -> Table {
        let Tables { file, known, at, .. } = self;
        let used = &self.parameters.threshold;
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
        let fine = |rule: &Threshold| !matches!(rule, Threshold::Fmr(r) if r * impostors as f64 <= 1.0 - 1e-9);
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
            rows: [(used, *at)].into_iter().chain(found).map(row).collect(),
            ..Table::default()
        }
    }

    /// The clean scores, as the authors' scripts read them.
    fn listed(&self) -> Table {
        let Tables { file, known, .. } = self;
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

    /// False match and false non-match rate at every score that occurs, from the strictest: the
    /// points of ROC and DET.
    fn roc(&self) -> Table {
        let Tables { file, known, .. } = self;
        let scores = known.scores();
        let points: Vec<Rates> = distinct(&scores).into_iter().map(|t| rates(&scores, t)).collect();
        let plot =
            |name: &str, title: &str, y: &str, series: Vec<(String, Vec<(f64, f64)>)>, x: &str| {
                Plot {
                    name: format!("{file}_{name}"),
                    title: title.to_owned(),
                    x: x.to_owned(),
                    y: y.to_owned(),
                    series,
                    ..Plot::default()
                }
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
    fn folds(&self) -> Option<Table> {
        let Tables { file, known, rule, .. } = self;
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
