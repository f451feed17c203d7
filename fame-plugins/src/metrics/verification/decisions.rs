//! `Decisions`: what a map says of each kind of decision: true and false accepts, true and false
//! rejects.

use std::collections::BTreeMap;

use fame_core::{
    Better, Claim, Column, Error, Explanation, LayerChoices, NamedMap, Parameter, Result, Sample,
    Scores, Table,
    ask::Answer,
    contract::{ExplainContext, Measurement, Metric, MetricRow},
    data::safe_id,
    registry::{Assembly, BuildContext, Parameters, Plugin},
    text::Spec,
};

use super::{
    super::{
        asking::Asking,
        at_percent,
        fill::{Filling, replace},
        masks::{Masks, ranked, top},
        measured, plane,
    },
    threshold::{Score, Threshold},
};
use crate::{
    ask::{usual_layer, usual_loss},
    datasets::{GENUINE, PROBE},
};

fame_core::parameters! {
    /// A verifier's decisions by their kind, and whether the map that claims to explain each does.
    /// A pair is accepted when its similarity s is at least the threshold, and is then explained by
    /// e+, what speaks for the match; a rejected one by e−, what speaks against it. The top P percent
    /// of that map are removed from the probe: `moved` is how far s then moves towards the other
    /// decision (s falls for an accepted pair and rises for a rejected one), high is good; `flipped`
    /// is the share of the pairs that are then decided the other way.
    ///
    /// The table has a row for each explainer and kind: true accept, false accept, true reject, false
    /// reject. Maps that take no side, such as random ones, count for both. What is scored, and what
    /// `ByGroup` compares, has besides the two error rates of the clean decisions: `false_accept` over
    /// impostors and `false_reject` over genuine pairs, 0 or 1 each.
    ///
    /// Removed pixels are filled, and filling any pixels tends to lower s: compare `moved` of accepted
    /// pairs with that of random maps. It rises for rejected ones only if what kept the two apart is gone.
    pub struct Decisions {
        /// Percentages removed, each above 0 and at most 100.
        percents: Vec<f64> = vec![10.0, 20.0],
        /// How the threshold is found: as in `Verification`.
        threshold: Threshold = Threshold::default(),
        /// What stands where pixels were taken away.
        fill: Filling = Filling::Black,
        /// Whose maps are measured, by role.
        role: String = PROBE.to_owned(),
        /// What is asked: a loss whose value is the score. Default: what the model's manifest asks
        /// for, else `Logit()`, the class the network sees.
        loss: Spec = open,
        /// The layer the loss reads. Default: the one in the model's manifest, else its `Output`.
        layer: LayerChoices = open,
    }
}

impl Parameters for Decisions {
    type Typed = typed::Decisions;

    fn fill(typed: typed::Decisions, with: &BuildContext<'_>, _: &mut Assembly) -> Option<Self> {
        Some(typed.or(usual_loss(with), usual_layer(with)))
    }
}

impl Plugin<dyn Metric> for Decisions {
    const NAME: &'static str = "Decisions";
    const SUMMARY: &'static str = "True and false accepts by e+, true and false rejects by e−: does the map explain the decision";
    const EXAMPLE: &'static str = "Decisions(percents: [10, 20], threshold: EerMiddle)";
    const REFERENCE: &'static str = "e+ and e−: Zhang & Günther, FAME (2026); decisions: Lu, Xu & Ebrahimi, WACV 2024, arXiv 2305.08546";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        let good =
            !self.percents.is_empty() && self.percents.iter().all(|p| *p > 0.0 && *p <= 100.0);
        assembly.check("percents", good, "must hold numbers above 0 and at most 100, at least one");
        assembly.check("role", !self.role.is_empty(), "must name a role");
    }

    fn build(self, with: &BuildContext<'_>, assembly: &mut Assembly) -> Option<Box<dyn Metric>> {
        let asking = Asking::build(&self.layer, &self.loss, Answer::Value, with, assembly)?;
        let threshold = self
            .threshold
            .read(with.folder)
            .map_err(|e| assembly.report("threshold", e.to_string()))
            .ok()?;
        Some(Box::new(DecisionsMetric { parameters: self, threshold, asking }))
    }
}

fame_core::register!(Metric: Decisions);

struct DecisionsMetric {
    parameters: Decisions,
    /// As in the parameters, with files read.
    threshold: Threshold,
    asking: Asking,
}

/// Quantities: s without the top pixels of a map for the match, and of one against it.
const SIDES: [&str; 2] = ["without_for", "without_against"];

/// The kinds of decisions: accepted, genuine, and their name.
const KINDS: [(bool, bool, &str); 4] = [
    (true, true, "true accept"),
    (true, false, "false accept"),
    (false, false, "true reject"),
    (false, true, "false reject"),
];

impl Metric for DecisionsMetric {
    fn needs(&self) -> &'static str {
        "pairs of pictures, with maps of the role that it names"
    }

    fn measure(
        &self,
        with: &ExplainContext<'_>,
        sample: &Sample,
        explanation: &Explanation,
    ) -> Result<Vec<Measurement>> {
        let Decisions { percents, fill, role, .. } = &self.parameters;
        let mut all = Vec::new();
        let wanted = |map: &NamedMap| map.id.role == *role;
        self.asking.each_map(with, sample, explanation, wanted, |map, question| {
            let values = plane(map)?;
            let order = ranked(&values);
            let filling = fill.picture(&question.pixels, &with.model.manifest.input)?;
            let answers = question.ask_all(percents.len() + 1, |n, copy| {
                // The first copy is the picture itself.
                if n > 0 {
                    let is_top = top(&values, &order, percents[n - 1], Masks::Rank);
                    replace(copy, &filling, |pixel| is_top[pixel]);
                }
            })?;
            let sides: &[&str] = match map.id.claim {
                Claim::For => &SIDES[..1],
                Claim::Against => &SIDES[1..],
                Claim::Both | Claim::Neither => &SIDES,
            };
            for side in sides {
                for (percent, s) in std::iter::once(&0.0).chain(percents).zip(&answers) {
                    all.push(measured(map, side, at_percent(*percent), f64::from(*s)));
                }
            }
            Ok(())
        })?;
        Ok(all)
    }

    fn only_for_tables(&self) -> &'static [&'static str] {
        &["threshold"]
    }

    fn scores(&self, rows: &[MetricRow]) -> Result<Scores> {
        let Decided { pairs, explained, .. } = self.decided(rows)?;
        let mut scores = Scores::default();
        let column = |quantity: &str, parameter: Parameter, better: Option<Better>| Column {
            quantity: quantity.to_owned(),
            parameter,
            better,
        };
        for (explainer, of) in &explained {
            for (item, pair) in &pairs {
                scores.in_stratum(item, usize::from(pair.genuine));
                let (quantity, wrong) = if pair.genuine {
                    ("false_reject", !pair.accepted)
                } else {
                    ("false_accept", pair.accepted)
                };
                let error = column(quantity, Parameter::None, None);
                scores.add(explainer, &error, item, f64::from(u8::from(wrong)));
                for (percent, moved) in of.get(item).into_iter().flatten() {
                    let moved_column = column("moved", at_percent(percent.0), Some(Better::Higher));
                    scores.add(explainer, &moved_column, item, *moved);
                }
            }
        }
        Ok(scores)
    }

    fn summarise(&self, name: &str, rows: &[MetricRow]) -> Result<Vec<Table>> {
        let Decided { threshold, pairs, explained } = self.decided(rows)?;
        let percents = &self.parameters.percents;
        let mut rows = Vec::new();
        for (explainer, of) in &explained {
            for (accepted, genuine, kind) in KINDS {
                let is = |pair: &Pair| pair.accepted == accepted && pair.genuine == genuine;
                let of_kind: Vec<(&String, &Pair)> =
                    pairs.iter().filter(|(_, pair)| is(pair)).collect();
                let moves: Vec<(f64, &BTreeMap<Percent, f64>)> = of_kind
                    .iter()
                    .filter_map(|(item, pair)| Some((pair.margin(threshold), of.get(*item)?)))
                    .collect();
                let mut row = vec![
                    explainer.clone(),
                    kind.to_owned(),
                    of_kind.len().to_string(),
                    moves.len().to_string(),
                ];
                for percent in percents {
                    let at: Vec<(f64, f64)> = moves
                        .iter()
                        .filter_map(|(margin, moved)| {
                            Some((*margin, *moved.get(&Percent(*percent))?))
                        })
                        .collect();
                    if at.is_empty() {
                        row.extend([String::new(), String::new()]);
                        continue;
                    }
                    let mean = fame_core::interval(at.len(), |drawn| {
                        drawn.iter().map(|i| at[*i].1).sum::<f64>() / drawn.len() as f64
                    });
                    let flipped = at.iter().filter(|(margin, moved)| moved > margin).count();
                    row.push(mean.to_string());
                    row.push(format!("{:.1} %", 100.0 * flipped as f64 / at.len() as f64));
                }
                rows.push(row);
            }
        }
        let heads = ["explainer", "decision", "pairs", "explained"].map(str::to_owned);
        let of_percent = |p: &f64| [format!("moved P={p}"), format!("flipped P={p}")];
        let table = Table {
            name: safe_id(&name.to_lowercase()),
            title: format!(
                "{name}: how far the score moves towards the other decision without the top P percent of e+ (accepts) or e− (rejects); threshold {threshold:.4} by {:?}",
                self.parameters.threshold
            ),
            columns: heads.into_iter().chain(percents.iter().flat_map(of_percent)).collect(),
            rows,
            notes: vec![
                "`moved`: mean with 95 % bootstrap interval over the pairs that have such a map; `flipped`: the share of them decided the other way then."
                    .to_owned(),
            ],
            ..Table::default()
        };
        Ok(vec![table])
    }
}

/// A percentage as a key.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Percent(f64);

impl Eq for Percent {}

impl PartialOrd for Percent {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Percent {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// A pair as the verifier decides it.
struct Pair {
    score: f64,
    genuine: bool,
    accepted: bool,
}

impl Pair {
    /// How far the score must move to be decided the other way.
    fn margin(&self, threshold: f64) -> f64 {
        (self.score - threshold).abs()
    }
}

/// By pair, and by the percentage of pixels that are altered.
type Curves = BTreeMap<String, BTreeMap<Percent, f64>>;

/// The rows again, decided.
struct Decided {
    threshold: f64,
    pairs: BTreeMap<String, Pair>,
    /// For each explainer and pair by percentage how far the score moves towards the other decision.
    explained: Vec<(String, Curves)>,
}

impl DecisionsMetric {
    fn decided(&self, rows: &[MetricRow]) -> Result<Decided> {
        let mut pairs: BTreeMap<String, Pair> = BTreeMap::new();
        for row in rows.iter().filter(|row| row.parameter.value() == Some(0.0)) {
            let Some(genuine) = row.marks.get(&GENUINE) else { continue };
            let pair = Pair { score: row.value, genuine, accepted: false };
            pairs.entry(row.item.clone()).or_insert(pair);
        }
        if pairs.is_empty() {
            return Err(Error::new(
                "fame::metric::no_pairs",
                "no pair says whether it is genuine, so no decision can be right or wrong.",
            )
            .with_help("Use a dataset that knows (genuine: true, or a list with labels)."));
        }
        let scores: Vec<Score> = pairs.values().map(|p| (p.score, p.genuine)).collect();
        let threshold = self.threshold.of(&scores)?.threshold;
        pairs.values_mut().for_each(|pair| pair.accepted = pair.score >= threshold);
        let mut explained: Vec<(String, Curves)> = Vec::new();
        for row in rows {
            let at = explained.iter().position(|(known, _)| *known == row.explainer);
            let at = at.unwrap_or_else(|| {
                explained.push((row.explainer.clone(), BTreeMap::new()));
                explained.len() - 1
            });
            let (Some(pair), Some(percent)) = (pairs.get(&row.item), row.parameter.value()) else {
                continue;
            };
            let side = if pair.accepted { SIDES[0] } else { SIDES[1] };
            if row.quantity != side || percent == 0.0 {
                continue;
            }
            let towards = if pair.accepted { -1.0 } else { 1.0 };
            let moved = towards * (row.value - pair.score);
            explained[at].1.entry(row.item.clone()).or_default().insert(Percent(percent), moved);
        }
        Ok(Decided { threshold, pairs, explained })
    }
}

#[cfg(test)]
mod tests {
    use fame_core::{Marks, testkit};

    use super::*;

    /// Rows of pairs with these scores: each has maps for and against, whose removal moves it as
    /// given.
    fn rows(pairs: &[(f64, bool, f64, f64)]) -> Vec<MetricRow> {
        let mut rows = Vec::new();
        for (n, (score, genuine, without_for, without_against)) in pairs.iter().enumerate() {
            for (side, without) in SIDES.into_iter().zip([without_for, without_against]) {
                for (percent, value) in [(0.0, score), (10.0, without)] {
                    rows.push(MetricRow {
                        item: format!("{n}"),
                        explainer: "fame".into(),
                        map: "probe".into(),
                        quantity: side.into(),
                        parameter: at_percent(percent),
                        value: *value,
                        marks: Marks::default().with(&GENUINE, *genuine),
                    });
                }
            }
        }
        rows
    }

    fn metric(spec: &str) -> Box<dyn Metric> {
        testkit::build::<dyn Metric>(spec).unwrap().plugin
    }

    #[test]
    fn every_kind_is_explained_by_the_side_that_it_was_decided_for() {
        let pairs = [
            (0.9, true, 0.2, 0.95),  // true accept: falls by 0.7, and flips
            (0.6, false, 0.55, 0.9), // false accept: falls by 0.05
            (0.1, false, 0.0, 0.15), // true reject: rises by 0.05
            (0.3, true, 0.1, 0.7),   // false reject: rises by 0.4, and flips
        ];
        let metric = metric("Decisions(percents: [10], threshold: Fixed(0.5), layer: Output)");
        let table = metric.summarise("Decisions", &rows(&pairs)).unwrap().remove(0);
        let cells: Vec<[&str; 4]> = table
            .rows
            .iter()
            .map(|r| [r[1].as_str(), r[2].as_str(), r[4].split(' ').next().unwrap(), r[5].as_str()])
            .collect();
        assert_eq!(
            cells,
            [
                ["true accept", "1", "0.7000", "100.0 %"],
                ["false accept", "1", "0.0500", "0.0 %"],
                ["true reject", "1", "0.0500", "0.0 %"],
                ["false reject", "1", "0.4000", "100.0 %"],
            ]
        );
        let scores = metric.scores(&rows(&pairs)).unwrap();
        let names: Vec<String> = scores.columns().iter().map(Column::name).collect();
        assert_eq!(names, ["false_reject", "moved P=10", "false_accept"]);
    }

    #[test]
    fn a_pair_without_the_side_it_needs_is_counted_and_not_explained() {
        let mut all = rows(&[(0.9, true, 0.2, 0.9), (0.1, false, 0.1, 0.1)]);
        // No map against the match of the rejected pair.
        all.retain(|row| !(row.item == "1" && row.quantity == SIDES[1]));
        let metric = metric("Decisions(percents: [10], threshold: Fixed(0.5), layer: Output)");
        let table = metric.summarise("Decisions", &all).unwrap().remove(0);
        assert_eq!(table.rows[2][1..5], ["true reject", "1", "0", ""]);
        let error = metric.summarise("Decisions", &[MetricRow::default()]).unwrap_err();
        assert_eq!(error.code, "fame::metric::no_pairs");
    }
}
