//! Scores of explainers over items: means, and whether one explainer beats another.

use std::collections::BTreeMap;

use super::{Interval, Numbers, Parameter, Place, Plot, Table, stratified_interval};
use crate::Random;

/// The direction in which a quantity is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// The higher, the better.
    Higher,
    /// The lower, the better.
    Lower,
}

impl Better {
    /// As tables say it.
    pub fn words(self) -> &'static str {
        match self {
            Better::Higher => "high is good",
            Better::Lower => "low is good",
        }
    }
}

/// A column of scores: a quantity at one point of an axis, or as such.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// Name of the quantity.
    pub quantity: String,
    /// What it depends on.
    pub parameter: Parameter,
    /// Which way it is good, if it is.
    pub better: Option<Better>,
}

impl Column {
    /// What stands above the column: `drop P=10`.
    pub fn name(&self) -> String {
        match &self.parameter {
            Parameter::None => self.quantity.clone(),
            parameter => format!("{} {parameter}", self.quantity),
        }
    }

    /// Whether `other` is the same column; which way it is good is the first one's to say.
    fn is(&self, other: &Column) -> bool {
        self.quantity == other.quantity && self.parameter == other.parameter
    }
}

/// Numbers by explainer and column, each with its item. Several numbers of one item (its maps) are
/// averaged first, so that every item weighs the same.
#[derive(Clone, Debug, Default)]
pub struct Scores {
    /// Explainers in the order they came.
    explainers: Vec<String>,
    /// Columns in the order they came.
    columns: Vec<Column>,
    /// Sum and count for each item, by explainer and column.
    values: BTreeMap<(usize, usize), BTreeMap<String, (f64, f64)>>,
    /// The kind of each item that was said to have one.
    strata: BTreeMap<String, usize>,
}

/// Sign flips behind a p value: it is then good to about ± 0.004 at 0.05.
const FLIPS: usize = 10_000;

/// The columns that hold the points of one curve.
struct Curve<'a> {
    quantity: &'a String,
    axis: &'a String,
    unit: &'a String,
    /// Number of the column, and where on the axis.
    points: Vec<(usize, f64)>,
}

/// Two-sided p of a paired sign-flip permutation test (Fisher 1935): how often chance alone, giving
/// each of `differences` either sign, takes their sum as far from zero as it is. Seeded. Never
/// below 1/10001, for the arrangement seen is one of those possible; 1 of nothing.
pub fn sign_flip_p(differences: &[f64]) -> f64 {
    // Sums of the same numbers in another order differ by rounding.
    let found = differences.iter().sum::<f64>().abs() * (1.0 - 1e-12) - 1e-12;
    let mut random = Random::new(1);
    let flipped = |random: &mut Random| {
        differences.iter().map(|d| if random.below(2) == 0 { *d } else { -d }).sum::<f64>().abs()
    };
    let as_far = (0..FLIPS).filter(|_| flipped(&mut random) >= found).count();
    (as_far + 1) as f64 / (FLIPS + 1) as f64
}

/// Holm's (1979) adjustment of several p values: with it, the chance of one false alarm among all
/// of them stays below the level.
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|a, b| p[*a].total_cmp(&p[*b]));
    let (mut adjusted, mut least) = (vec![1.0; p.len()], 0.0f64);
    for (rank, i) in order.into_iter().enumerate() {
        least = least.max((p[i] * (p.len() - rank) as f64).min(1.0));
        adjusted[i] = least;
    }
    adjusted
}

impl Scores {
    /// Adds a number. Which way a column is good counts when the column is new.
    pub fn add(&mut self, explainer: &str, column: &Column, item: &str, value: f64) {
        let e = self.explainers.iter().position(|e| e == explainer).unwrap_or_else(|| {
            self.explainers.push(explainer.to_owned());
            self.explainers.len() - 1
        });
        let c = self.columns.iter().position(|c| c.is(column)).unwrap_or_else(|| {
            self.columns.push(column.clone());
            self.columns.len() - 1
        });
        let items = self.values.entry((e, c)).or_default();
        if let Some((sum, count)) = items.get_mut(item) {
            (*sum, *count) = (*sum + value, *count + 1.0);
        } else {
            items.insert(item.to_owned(), (value, 1.0));
        }
    }

    /// Says of which kind an item is. Intervals then resample within kinds: see
    /// [`stratified_interval`]. Items of which nothing is said are of kind 0.
    pub fn in_stratum(&mut self, item: &str, stratum: usize) {
        self.strata.insert(item.to_owned(), stratum);
    }

    /// The explainers, in the order they came.
    pub fn explainers(&self) -> &[String] {
        &self.explainers
    }

    /// The columns, in the order they came.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Each item's number, in the items' order; by the places of explainer and column.
    pub(super) fn of(&self, explainer: usize, column: usize) -> Option<BTreeMap<&str, f64>> {
        let items = self.values.get(&(explainer, column))?;
        Some(items.iter().map(|(item, (sum, count))| (item.as_str(), sum / count)).collect())
    }

    /// The mean of a column for an explainer, with its interval.
    pub(super) fn mean(&self, explainer: usize, column: usize) -> Option<Interval> {
        let of = self.of(explainer, column)?;
        let strata: Vec<usize> =
            of.keys().map(|item| self.strata.get(*item).copied().unwrap_or(0)).collect();
        let values: Vec<f64> = of.into_values().collect();
        Some(stratified_interval(&strata, |drawn| {
            drawn.iter().map(|i| values[*i]).sum::<f64>() / drawn.len() as f64
        }))
    }

    /// The mean of every column for every explainer with its 95 % bootstrap interval over items,
    /// `decimals` digits after the point, and a curve over each quantity that was measured at three
    /// or more points of an axis.
    pub fn means(&self, name: &str, title: String, decimals: usize) -> Table {
        let count = |e: usize| {
            (0..self.columns.len())
                .filter_map(|c| Some(self.values.get(&(e, c))?.len()))
                .max()
                .unwrap_or(0)
        };
        let means: Vec<Vec<Option<Interval>>> = (0..self.explainers.len())
            .map(|e| (0..self.columns.len()).map(|c| self.mean(e, c)).collect())
            .collect();
        let row = |(e, explainer): (usize, &String)| {
            let cells = means[e].iter().map(|m| m.map_or_else(String::new, |i| i.shown(decimals)));
            [explainer.clone(), count(e).to_string()].into_iter().chain(cells).collect()
        };
        Table {
            name: name.to_owned(),
            title,
            columns: ["explainer", "items"]
                .map(str::to_owned)
                .into_iter()
                .chain(self.columns.iter().map(Column::name))
                .collect(),
            rows: self.explainers.iter().enumerate().map(row).collect(),
            plots: self.plots(name, &means),
            numbers: Some(self.numbers(&means, count)),
            places: self.places(&means),
            notes: if self.explainers.is_empty() {
                vec!["Nothing was measured: no item has what this asks for, such as boxes or a label.".to_owned()]
            } else {
                Vec::new()
            },
            ..Table::default()
        }
    }

    /// The means for other programs: mean, low and high in columns of their own, with all digits
    /// that a reader of six can use.
    fn numbers(&self, means: &[Vec<Option<Interval>>], count: impl Fn(usize) -> usize) -> Numbers {
        let number = |v: f64| if v.is_nan() { String::new() } else { format!("{v:.6}") };
        let cells = |mean: &Option<Interval>| match mean {
            Some(i) => [i.mean, i.low, i.high].map(number),
            None => Default::default(),
        };
        let row = |(e, explainer): (usize, &String)| {
            let numbers = means[e].iter().flat_map(cells);
            [explainer.clone(), count(e).to_string()].into_iter().chain(numbers).collect()
        };
        let names = self.columns.iter().map(Column::name);
        let names = names.flat_map(|n| [n.clone(), format!("{n} low"), format!("{n} high")]);
        let first = ["explainer", "items"].map(str::to_owned).into_iter();
        Numbers {
            columns: first.chain(names).collect(),
            rows: self.explainers.iter().enumerate().map(row).collect(),
        }
    }

    /// Which explainers are best and second in each column that is good one way, behind the two
    /// columns that a table of means begins with.
    fn places(&self, means: &[Vec<Option<Interval>>]) -> Vec<Vec<Place>> {
        let of_column = |(c, column): (usize, &Column)| {
            let values: Vec<Option<f64>> = means.iter().map(|of| Some(of[c]?.mean)).collect();
            match column.better {
                Some(better) => places(&values, better),
                None => vec![Place::Other; values.len()],
            }
        };
        let columns: Vec<Vec<Place>> = self.columns.iter().enumerate().map(of_column).collect();
        let row = |e: usize| {
            let of = columns.iter().map(|column| column[e]);
            [Place::Other; 2].into_iter().chain(of).collect()
        };
        (0..self.explainers.len()).map(row).collect()
    }

    /// A curve for each quantity and axis with three points or more.
    fn plots(&self, name: &str, means: &[Vec<Option<Interval>>]) -> Vec<Plot> {
        let mut curves: Vec<Curve<'_>> = Vec::new();
        for (c, Column { quantity, parameter, .. }) in self.columns.iter().enumerate() {
            let Parameter::Point { axis, unit, value } = parameter else { continue };
            match curves.iter_mut().find(|k| (k.quantity, k.axis, k.unit) == (quantity, axis, unit))
            {
                Some(curve) => curve.points.push((c, *value)),
                None => curves.push(Curve { quantity, axis, unit, points: vec![(c, *value)] }),
            }
        }
        let drawn = curves.iter().filter(|curve| curve.points.len() >= 3);
        drawn.map(|curve| self.plot(name, curve, means)).collect()
    }

    fn plot(&self, name: &str, curve: &Curve<'_>, means: &[Vec<Option<Interval>>]) -> Plot {
        let line = |of: &Vec<Option<Interval>>| {
            curve.points.iter().filter_map(|(c, at)| Some((*at, of[*c]?.mean))).collect()
        };
        let interval = |of: &Vec<Option<Interval>>| {
            let at = |(c, at): &(usize, f64)| of[*c].map(|i| [*at, i.low, i.high]);
            curve.points.iter().filter_map(at).collect()
        };
        let Curve { quantity, axis, unit, .. } = curve;
        Plot {
            name: format!("{name}_{quantity}"),
            title: format!("{quantity}, mean over items with 95 % interval"),
            x: format!("{axis}, {unit}"),
            y: (*quantity).clone(),
            series: self.explainers.iter().cloned().zip(means.iter().map(line)).collect(),
            intervals: means.iter().map(interval).collect(),
        }
    }

    /// Every explainer against `floor`, item by item: the mean difference in each column that is
    /// good one way, with the sign-flip test's p, Holm-adjusted over the whole table. Notes say who
    /// does not beat it, of those who could have: with few items the test cannot find any
    /// difference, and the notes say that instead. `None` when there is no such explainer or
    /// nothing beside it.
    pub fn against(&self, name: &str, floor: &str, decimals: usize) -> Option<Table> {
        let of_floor = self.explainers.iter().position(|e| e == floor)?;
        let columns: Vec<(usize, String, Better)> = self
            .columns
            .iter()
            .enumerate()
            .filter_map(|(c, column)| Some((c, column.name(), column.better?)))
            .collect();
        let mut found = Vec::new();
        for (e, explainer) in self.explainers.iter().enumerate().filter(|(e, _)| *e != of_floor) {
            for (c, column, better) in &columns {
                let (Some(mine), Some(theirs)) = (self.of(e, *c), self.of(of_floor, *c)) else {
                    continue;
                };
                let differences: Vec<f64> =
                    mine.iter().filter_map(|(item, v)| Some(v - theirs.get(item)?)).collect();
                if !differences.is_empty() {
                    let mean = differences.iter().sum::<f64>() / differences.len() as f64;
                    let p = sign_flip_p(&differences);
                    let least = least_p(&differences);
                    found.push(Found { explainer, column, better: *better, mean, p, least });
                }
            }
        }
        if found.is_empty() {
            return None;
        }
        let adjusted = holm(&found.iter().map(|f| f.p).collect::<Vec<_>>());
        let possible = holm(&found.iter().map(|f| f.least).collect::<Vec<_>>());
        let at = |explainer: &String, column: &String| {
            found.iter().position(|f| f.explainer == explainer && f.column == column)
        };
        let cell = |explainer: &String, column: &String| {
            at(explainer, column).map_or_else(String::new, |i| {
                format!("{:+.decimals$} (p {:.4})", found[i].mean, adjusted[i])
            })
        };
        let row = |explainer: &String| {
            [explainer.clone()]
                .into_iter()
                .chain(columns.iter().map(|(_, c, _)| cell(explainer, c)))
                .collect()
        };
        let numbers = |explainer: &String| {
            let cells = columns.iter().flat_map(|(_, column, _)| match at(explainer, column) {
                Some(i) => [format!("{:.6}", found[i].mean), format!("{:.6}", adjusted[i])],
                None => Default::default(),
            });
            [explainer.clone()].into_iter().chain(cells).collect()
        };
        let notes = verdicts(floor, &found, &adjusted, &possible);
        Some(Table {
            name: format!("{name}_against_{}", crate::data::safe_id(floor)),
            title: format!(
                "Mean difference from `{floor}`, item by item (p: two-sided sign-flip test, Holm-adjusted over {} comparisons)",
                found.len()
            ),
            columns: ["explainer".to_owned()]
                .into_iter()
                .chain(columns.iter().map(|(_, c, b)| format!("{c} ({})", b.words())))
                .collect(),
            rows: self.explainers.iter().filter(|e| *e != floor).map(row).collect(),
            numbers: Some(Numbers {
                columns: ["explainer".to_owned()]
                    .into_iter()
                    .chain(columns.iter().flat_map(|(_, c, _)| [c.clone(), format!("{c} p")]))
                    .collect(),
                rows: self.explainers.iter().filter(|e| *e != floor).map(numbers).collect(),
            }),
            notes,
            ..Table::default()
        })
    }
}

/// The best and the second of `values`, equals alike; none where all are equal, and of two none is
/// second.
pub(super) fn places(values: &[Option<f64>], better: Better) -> Vec<Place> {
    let worth = |value: f64| if better == Better::Higher { value } else { -value };
    let known = values.iter().flatten().copied().filter(|value| !value.is_nan());
    let mut all: Vec<f64> = known.map(worth).collect();
    all.sort_by(|a, b| b.total_cmp(a));
    all.dedup();
    let place = |value: &Option<f64>| {
        let at = value.and_then(|value| all.iter().position(|v| *v == worth(value)));
        match at {
            Some(0) if all.len() > 1 => Place::Best,
            Some(1) if all.len() > 2 => Place::Second,
            _ => Place::Other,
        }
    };
    values.iter().map(place).collect()
}

/// The level at which a difference counts.
const LEVEL: f64 = 0.05;

/// One explainer against the floor in one column.
struct Found<'a> {
    explainer: &'a String,
    column: &'a String,
    better: Better,
    /// Mean difference.
    mean: f64,
    /// Of the test.
    p: f64,
    /// The smallest p that it could have had.
    least: f64,
}

impl Found<'_> {
    fn shown(&self) -> String {
        format!("{} in {}", self.explainer, self.column)
    }
}

/// The smallest p that the sign-flip test can give for as many items: all differences on one side
/// are two of 2ⁿ arrangements, and no p is below that of the flips drawn. Items without a
/// difference do not count.
fn least_p(differences: &[f64]) -> f64 {
    let n = differences.iter().filter(|d| **d != 0.0).count();
    let exact = 2.0f64.powi(1 - n.min(1000) as i32);
    exact.max(1.0 / (FLIPS + 1) as f64).min(1.0)
}

/// Who does not beat the floor, and of whom that cannot be said: with their few items even the
/// largest difference would not have counted.
fn verdicts(floor: &str, found: &[Found<'_>], adjusted: &[f64], possible: &[f64]) -> Vec<String> {
    let beats = |i: usize| {
        let Found { better, mean, .. } = found[i];
        adjusted[i] < LEVEL && if better == Better::Higher { mean > 0.0 } else { mean < 0.0 }
    };
    let of = |is: &dyn Fn(usize) -> bool| -> Vec<String> {
        (0..found.len()).filter(|i| is(*i)).map(|i| found[i].shown()).collect()
    };
    let losers = of(&|i| !beats(i) && possible[i] < LEVEL);
    let undecided = of(&|i| !beats(i) && possible[i] >= LEVEL);
    let mut notes = Vec::new();
    if losers.is_empty() && undecided.is_empty() {
        notes.push(format!("Every explainer beats `{floor}` in every column (p < {LEVEL})."));
    }
    if !losers.is_empty() {
        notes.push(format!(
            "Does NOT beat `{floor}` (p < {LEVEL} in the right direction): {}.",
            losers.join("; ")
        ));
    }
    if !undecided.is_empty() {
        let least = |values: &mut dyn Iterator<Item = f64>| values.fold(1.0, f64::min);
        let (own, adjusted) =
            (least(&mut found.iter().map(|f| f.least)), least(&mut possible.iter().copied()));
        notes.push(format!(
            "Too few items to tell from `{floor}`: the smallest p that was possible is {own:.4}, and {adjusted:.4} after the adjustment, which is not below {LEVEL}: {}.",
            if undecided.len() == found.len() { "every comparison".to_owned() } else { undecided.join("; ") }
        ));
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p_values_are_those_of_the_exact_test() {
        // Of 2⁸ signs two take eight equal differences as far: p = 2/256, and 10,000 flips waver by
        // 0.001.
        assert!((sign_flip_p(&[1.0; 8]) - 2.0 / 256.0).abs() < 0.004);
        assert_eq!(sign_flip_p(&[1.0, -1.0]), 1.0);
        assert_eq!(sign_flip_p(&[]), 1.0);
        assert!((sign_flip_p(&[0.1; 40]) - 1.0 / 10_001.0).abs() < 1e-12);
    }

    #[test]
    fn holm_is_the_textbooks() {
        // R: p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm") = 0.03 0.06 0.06 0.02.
        let adjusted = holm(&[0.01, 0.04, 0.03, 0.005]);
        for (a, b) in adjusted.iter().zip([0.03, 0.06, 0.06, 0.02]) {
            assert!((a - b).abs() < 1e-12, "{adjusted:?}");
        }
        assert_eq!(holm(&[0.9, 0.8]), [1.0, 1.0]);
    }

    fn column(quantity: &str, parameter: Parameter, better: Option<Better>) -> Column {
        Column { quantity: quantity.into(), parameter, better }
    }

    fn scores() -> Scores {
        let mut scores = Scores::default();
        for item in 0..20 {
            for (explainer, drop) in [("good", 2.0), ("random", 0.0), ("bad", -1.0)] {
                for p in [10, 30, 50] {
                    let value = drop * f64::from(p) / 10.0 + f64::from(item % 3) * 0.01;
                    let parameter = Parameter::at("P", "percent of the pixels", f64::from(p));
                    let column = column("drop", parameter, Some(Better::Higher));
                    scores.add(explainer, &column, &item.to_string(), value);
                }
            }
            let area = column("area", Parameter::None, None);
            scores.add("good", &area, &item.to_string(), 0.5);
        }
        scores
    }

    #[test]
    fn who_does_not_beat_chance_is_named() {
        let table = scores().against("road", "random", 2).unwrap();
        assert_eq!(table.name, "road_against_random");
        assert_eq!(table.columns[1], "drop P=10 (high is good)");
        assert_eq!(table.columns.len(), 4, "a column that is good neither way is not tested");
        assert_eq!(table.rows[0][..2], ["good", "+2.00 (p 0.0006)"]);
        assert!(
            table.notes[0].contains("bad in drop P=10; bad in drop P=30")
                && !table.notes[0].contains("good in"),
            "{:?}",
            table.notes
        );
        assert!(scores().against("road", "nobody", 2).is_none());
    }

    #[test]
    fn a_test_that_could_not_be_won_is_not_called_lost() {
        // Five items: the smallest p is 2/32 = 0.0625, and two comparisons double it.
        let mut few = Scores::default();
        for item in 0..5 {
            for (explainer, value) in [("good", 2.0), ("bad", -2.0), ("random", 0.0)] {
                let drop = column("drop", Parameter::None, Some(Better::Higher));
                few.add(explainer, &drop, &item.to_string(), value);
            }
        }
        let notes = few.against("road", "random", 2).unwrap().notes;
        assert_eq!(notes.len(), 1);
        assert!(
            notes[0].contains("is 0.0625, and 0.1250 after the adjustment")
                && notes[0].ends_with("every comparison."),
            "{notes:?}"
        );
        assert!((least_p(&[1.0; 8]) - 2.0 / 256.0).abs() < 1e-12);
        assert_eq!((least_p(&[]), least_p(&[0.0; 9])), (1.0, 1.0));
    }

    #[test]
    fn other_programs_get_one_number_to_a_cell() {
        let table = scores().means("road", "t".into(), 4);
        let numbers = table.numbers.unwrap();
        assert_eq!(
            numbers.columns[..5],
            ["explainer", "items", "drop P=10", "drop P=10 low", "drop P=10 high"]
        );
        assert!(numbers.rows.iter().all(|row| row.len() == numbers.columns.len()));
        assert!(numbers.rows[0][1..5].iter().all(|cell| cell.parse::<f64>().is_ok()));
        let against = scores().against("road", "random", 2).unwrap().numbers.unwrap();
        assert_eq!(against.columns[..3], ["explainer", "drop P=10", "drop P=10 p"]);
    }

    #[test]
    fn best_and_second_are_marked_where_a_column_is_good_one_way() {
        use Place::{Best, Other, Second};
        let table = scores().means("road", "t".into(), 4);
        // explainer, items, three drops, and an area that is good neither way.
        assert_eq!(table.places[0], [Other, Other, Best, Best, Best, Other]);
        assert_eq!(table.places[1], [Other, Other, Second, Second, Second, Other]);
        assert_eq!(table.places[2], [Other; 6]);
        let of = |values: &[f64], better| {
            places(&values.iter().copied().map(Some).collect::<Vec<_>>(), better)
        };
        assert_eq!(of(&[3.0, 1.0, 2.0], Better::Lower), [Other, Best, Second]);
        assert_eq!(of(&[3.0, 3.0, 2.0, 1.0], Better::Higher), [Best, Best, Second, Other]);
        assert_eq!(of(&[2.0, 1.0], Better::Higher), [Best, Other], "of two none is second");
        assert_eq!(of(&[2.0, 2.0], Better::Higher), [Other; 2]);
        assert_eq!(places(&[None, Some(f64::NAN), Some(1.0)], Better::Higher), [Other; 3]);
    }

    #[test]
    fn an_empty_table_says_so() {
        assert!(
            Scores::default().means("iou", "t".into(), 4).notes[0].contains("Nothing was measured")
        );
        assert!(scores().means("road", "t".into(), 4).notes.is_empty());
    }

    #[test]
    fn curves_are_made_of_points_of_one_axis() {
        let table = scores().means("road", "t".into(), 4);
        assert_eq!(table.plots.len(), 1);
        let plot = &table.plots[0];
        assert_eq!(
            (plot.name.as_str(), plot.series.len(), plot.series[0].0.as_str()),
            ("road_drop", 3, "good")
        );
        assert!((plot.series[0].1[2].1 - 10.0).abs() < 0.02 && plot.series[0].1[2].0 == 50.0);
        let [at, low, high] = plot.intervals[0][2];
        assert!(at == 50.0 && low < plot.series[0].1[2].1 && high > plot.series[0].1[2].1);
    }

    /// The number is a field: a name that looks like a point, or a unit, is only a name.
    #[test]
    fn no_number_is_read_out_of_a_name() {
        let mut scores = Scores::default();
        for p in [1, 2, 3] {
            let named = column(&format!("drop P={p}"), Parameter::None, None);
            scores.add("fame", &named, "item", 1.0);
            let case = column("drop", Parameter::case(format!("P={p}")), None);
            scores.add("fame", &case, "item", 1.0);
            let point = column("spearman", Parameter::at("layers", "drawn anew", p.into()), None);
            scores.add("fame", &point, "item", f64::from(p));
        }
        let plots = scores.means("sanity", "t".into(), 4).plots;
        assert_eq!(plots.len(), 1, "{plots:?}");
        assert_eq!((plots[0].y.as_str(), plots[0].x.as_str()), ("spearman", "layers, drawn anew"));
        assert_eq!(plots[0].series[0].1, [(1.0, 1.0), (2.0, 2.0), (3.0, 3.0)]);
    }
}
