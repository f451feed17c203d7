//! The reliability of metrics: whether a metric orders the explainers alike from item to item.

use std::collections::{BTreeMap, BTreeSet};

use super::{Column, Numbers, Parameter, Scores, Table};
use crate::Random;

/// Items below which nothing is said: of two, each half is a single one.
const LEAST_ITEMS: usize = 3;

/// Random halves behind a split-half reliability: where the correlation differs by a tenth from
/// half to half, its mean wavers by less than a hundredth.
const SPLITS: usize = 200;

/// So many halves at least, of however many items.
const LEAST_SPLITS: usize = 20;

/// Items that all halves together have: of more than a thousand items, whose halves differ less
/// from one another, there are fewer than [`SPLITS`].
const SPLIT_ITEMS: usize = 200_000;

/// A curve of more points is left out: they are the summands of its area or of another number,
/// which has a row of its own.
const MOST_POINTS: usize = 12;

/// The seed of the halves.
const SEED: u64 = 0x00FA_3E02;

/// The scores of one item: one for each explainer that has any of this column, in the same order.
type OfItem = Vec<Option<f64>>;

/// What was found of one column of one metric.
struct Found<'a> {
    metric: &'a str,
    column: &'a Column,
    explainers: usize,
    items: usize,
    /// Krippendorff's α, the split-half reliability and the agreement of the explainers; `None`
    /// where it is not defined.
    values: [Option<f64>; 3],
}

/// How reliable every column of `scored` (metrics by name) is over items; `None` where no column
/// has two explainers and three items that two of them have.
///
/// Every item ranks the explainers, equals sharing the mean of their ranks, as a rater would
/// (Tomsett et al., Sanity Checks for Saliency Metrics, AAAI 2020, arXiv 1912.01451). Three numbers
/// say how far the items agree:
///
/// - `alpha`, Krippendorff's α of ordinal data with items as raters (Krippendorff 2011): 1 where
///   all items order the explainers alike, about 0 where each does as chance would, below 0 where
///   they contradict one another. Items without some of the explainers count with those they have.
/// - `split-half`: the correlation (Pearson) of the explainers' mean ranks in one random half of
///   the items with those in the other, averaged over 200 seeded divisions, r, and raised to the
///   length of the whole by 2r / (1 + r) (Spearman 1910, Brown 1910), where it is above 0: how far
///   as many other items would repeat the order of these. Of items that every explainer has. At
///   most 1. Of more than 1000 items fewer divisions, 20 at least.
/// - `inter-method`: the mean over pairs of explainers of Spearman's correlation of their scores
///   over items, −1..=1: where it is high, the metric speaks of the items more than of the maps.
///
/// Curves of more than 12 points have no rows; a note names them.
pub fn reliability(scored: &[(&str, Scores)]) -> Option<Table> {
    let (mut all, mut long) = (Vec::new(), Vec::new());
    for (metric, scores) in scored {
        for (c, column) in scores.columns().iter().enumerate() {
            let name = format!("{metric} {}", column.quantity);
            if points_beside(scores.columns(), column) <= MOST_POINTS {
                all.extend(found(metric, scores, c, column));
            } else if !long.contains(&name) {
                long.push(name);
            }
        }
    }
    let found: Vec<Found<'_>> = all;
    if found.is_empty() {
        return None;
    }
    let row = |of: &Found<'_>, decimals: usize| {
        let number = |value: &Option<f64>| value.map(|v| format!("{v:.decimals$}"));
        let names = [of.metric.to_owned(), of.column.quantity.clone()];
        let about = [of.column.parameter.to_string()];
        let counts = [of.explainers, of.items].map(|n| n.to_string());
        let values = of.values.iter().map(|value| number(value).unwrap_or_default());
        names.into_iter().chain(about).chain(counts).chain(values).collect()
    };
    let columns = [
        "metric",
        "quantity",
        "parameter",
        "explainers",
        "items",
        "alpha",
        "split-half",
        "inter-method",
    ];
    let columns = columns.map(str::to_owned).to_vec();
    Some(Table {
        name: "reliability".to_owned(),
        title: "Reliability of the metrics over items: do they order the explainers alike?"
            .to_owned(),
        columns: columns.clone(),
        rows: found.iter().map(|of| row(of, 2)).collect(),
        notes: notes(&found, &long),
        numbers: Some(Numbers { columns, rows: found.iter().map(|of| row(of, 6)).collect() }),
        ..Table::default()
    })
}

/// Of how many points the curve is that `column` belongs to; 0 for one that is no point.
fn points_beside(columns: &[Column], column: &Column) -> usize {
    let curve = |column: &Column| match &column.parameter {
        Parameter::Point { axis, unit, .. } => {
            Some((column.quantity.clone(), axis.clone(), unit.clone()))
        }
        _ => None,
    };
    let of = curve(column);
    if of.is_none() { 0 } else { columns.iter().filter(|other| curve(other) == of).count() }
}

/// What a reader must know to read the table, in which the curves `long` are not.
fn notes(found: &[Found<'_>], long: &[String]) -> Vec<String> {
    let mut notes = vec![
        "alpha: Krippendorff's, ordinal, every item a rater that ranks the explainers; 1 where all \
         items order them alike, 0 as chance would. Low means that the order of the methods changes \
         from picture to picture: which one is ahead on the mean then says little about a single \
         picture. split-half: correlation of the mean ranks in random halves of the items, \
         Spearman–Brown corrected: how far as many other items would repeat this order. \
         inter-method: whether the explainers' scores rise and fall over the items together."
            .to_owned(),
        "Every explainer of the run counts, noise too: one that is behind all others on every item \
         raises alpha and split-half, whatever the order of the others."
            .to_owned(),
    ];
    if found.iter().any(|of| of.explainers == 2) {
        notes.push(
            "Two explainers can only be ordered one way or the other: the numbers are coarse."
                .to_owned(),
        );
    }
    if !long.is_empty() {
        notes.push(format!(
            "Left out, curves of more than {MOST_POINTS} points: {}. Look at their areas.",
            long.join(", ")
        ));
    }
    notes
}

/// What is found of column `c`, if enough was measured.
fn found<'a>(metric: &'a str, scores: &Scores, c: usize, column: &'a Column) -> Option<Found<'a>> {
    let of: Vec<BTreeMap<&str, f64>> =
        (0..scores.explainers().len()).filter_map(|e| scores.of(e, c)).collect();
    let ids: BTreeSet<&str> = of.iter().flat_map(|values| values.keys().copied()).collect();
    let item = |id: &&str| -> OfItem { of.iter().map(|values| values.get(id).copied()).collect() };
    let mut items: Vec<OfItem> = ids.iter().map(item).collect();
    items.retain(|scores| scores.iter().flatten().count() > 1);
    if items.len() < LEAST_ITEMS {
        return None;
    }
    let ranks: Vec<OfItem> = items.iter().map(|scores| relative_ranks(scores)).collect();
    let whole: Vec<Vec<f64>> = ranks.iter().filter_map(|of| of.iter().copied().collect()).collect();
    let values = [alpha(&ranks), split_half(&whole), inter_method(&items)];
    Some(Found { metric, column, explainers: of.len(), items: items.len(), values })
}

/// The ranks of the scores that are there, the lowest first, as shares of their number, in 0..1:
/// 1/8, 3/8, 5/8 and 7/8 for four. Equals share the mean of theirs. So the best of two and of four
/// are told apart, and both stand on the upper half.
fn relative_ranks(scores: &[Option<f64>]) -> OfItem {
    let there: Vec<f64> = scores.iter().flatten().copied().collect();
    let mut ranks = ranks(&there).into_iter();
    let share = |rank: f64| (rank - 0.5) / there.len() as f64;
    scores.iter().map(|score| score.and_then(|_| ranks.next()).map(share)).collect()
}

/// The rank of each value, 1 the lowest; equals share the mean of theirs.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let (mut ranks, mut below) = (vec![0.0; values.len()], 0);
    for equals in order.chunk_by(|a, b| values[*a] == values[*b]) {
        let shared = below as f64 + f64::midpoint(1.0, equals.len() as f64);
        equals.iter().for_each(|i| ranks[*i] = shared);
        below += equals.len();
    }
    ranks
}

/// Krippendorff's α of ordinal data: `ratings[r][u]` is what rater r says of unit u, `None` where
/// it says nothing. α = 1 − D_o / D_e, with the distance (Σ_{g=c..k} n_g − (n_c + n_k) / 2)² of two
/// values c and k, n_g how often the value g was given to units that two raters have seen. `None`
/// where all values are equal, or no unit was seen twice.
fn alpha(ratings: &[OfItem]) -> Option<f64> {
    let mut domain: Vec<f64> = ratings.iter().flatten().flatten().copied().collect();
    domain.sort_by(f64::total_cmp);
    domain.dedup();
    let units = ratings.iter().map(Vec::len).max()?;
    let mut counts = vec![vec![0.0; domain.len()]; units];
    for rating in ratings {
        for (of_unit, value) in counts.iter_mut().zip(rating) {
            let Some(value) = value else { continue };
            of_unit[domain.partition_point(|known| known < value)] += 1.0;
        }
    }
    // What one rater alone has seen is compared with nothing.
    counts.retain(|of_unit| of_unit.iter().sum::<f64>() > 1.0);
    let totals: Vec<f64> =
        (0..domain.len()).map(|v| counts.iter().map(|of_unit| of_unit[v]).sum()).collect();
    // The distance of c and k is the square of the difference of their middles here.
    let mut below = 0.0;
    let middle = |n: &f64| {
        below += n;
        below - n / 2.0
    };
    let middles: Vec<f64> = totals.iter().map(middle).collect();
    let n: f64 = totals.iter().sum();
    let expected = distances(&totals, &middles) / (n - 1.0);
    let observed: f64 = counts
        .iter()
        .map(|of_unit| distances(of_unit, &middles) / (of_unit.iter().sum::<f64>() - 1.0))
        .sum();
    (expected > 0.0).then(|| 1.0 - observed / expected)
}

/// Σ (x − y)² over all ordered pairs of values, `counts[v]` of which are `places[v]`: twice their
/// number times the sum of squares around their mean.
fn distances(counts: &[f64], places: &[f64]) -> f64 {
    let n: f64 = counts.iter().sum();
    let both = || counts.iter().zip(places);
    let mean = both().map(|(n, x)| n * x).sum::<f64>() / n;
    2.0 * n * both().map(|(n, x)| n * (x - mean).powi(2)).sum::<f64>()
}

/// The split-half reliability of `ranks`, one row for each item: see [`reliability`]. `None` where
/// there are too few items, or no half tells any two explainers apart.
fn split_half(ranks: &[Vec<f64>]) -> Option<f64> {
    correlation_of_halves(ranks).map(spearman_brown)
}

/// How many divisions of so many items there are.
fn splits(items: usize) -> usize {
    (SPLIT_ITEMS / items.max(1)).clamp(LEAST_SPLITS, SPLITS)
}

/// The correlation of the mean ranks in two random halves, averaged over [`splits`] divisions.
fn correlation_of_halves(ranks: &[Vec<f64>]) -> Option<f64> {
    let n = ranks.len();
    if n < LEAST_ITEMS {
        return None;
    }
    let mut random = Random::new(SEED);
    let mut order: Vec<usize> = (0..n).collect();
    let found: Vec<Option<f64>> = (0..splits(n))
        .map(|_| {
            // Fisher and Yates: every order as likely as every other.
            (1..n).rev().for_each(|i| order.swap(i, random.below(i + 1)));
            let (one, other) = order.split_at(n / 2);
            pearson(&mean_ranks(ranks, one), &mean_ranks(ranks, other))
        })
        .collect();
    // A half in which all explainers are equal orders nothing, and agrees with no order.
    let is_defined = found.iter().any(Option::is_some);
    is_defined.then(|| found.iter().map(|r| r.unwrap_or(0.0)).sum::<f64>() / found.len() as f64)
}

/// The reliability of a test of twice the length, from the correlation r of its halves. A negative
/// one is left as it is: the formula is of halves that measure the same.
fn spearman_brown(r: f64) -> f64 {
    if r > 0.0 { 2.0 * r / (1.0 + r) } else { r }
}

/// Each explainer's mean rank over `items`.
fn mean_ranks(ranks: &[Vec<f64>], items: &[usize]) -> Vec<f64> {
    let mut sums = vec![0.0; ranks.first().map_or(0, Vec::len)];
    for item in items {
        sums.iter_mut().zip(&ranks[*item]).for_each(|(sum, rank)| *sum += rank);
    }
    sums.iter().map(|sum| sum / items.len() as f64).collect()
}

/// The mean over pairs of explainers of Spearman's correlation of their scores over the items that
/// both have; pairs with fewer than three such items, or with equal scores, are left out.
fn inter_method(items: &[OfItem]) -> Option<f64> {
    let explainers = items.first().map_or(0, Vec::len);
    let mut found = Vec::new();
    for a in 0..explainers {
        for b in a + 1..explainers {
            let (one, other): (Vec<f64>, Vec<f64>) =
                items.iter().filter_map(|scores| scores[a].zip(scores[b])).unzip();
            if one.len() >= LEAST_ITEMS {
                found.extend(pearson(&ranks(&one), &ranks(&other)));
            }
        }
    }
    (!found.is_empty()).then(|| found.iter().sum::<f64>() / found.len() as f64)
}

/// Pearson's correlation; `None` where either side does not vary.
fn pearson(one: &[f64], other: &[f64]) -> Option<f64> {
    /// Ranks are at least half a rank apart, and means of them a half over the number of items;
    /// what rounding leaves of equal ones is far below.
    const NOTHING: f64 = 1e-12;
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (of_one, of_other) = (mean(one), mean(other));
    let (mut both, mut square, mut other_square) = (0.0, 0.0, 0.0);
    for (a, b) in one.iter().zip(other) {
        let (a, b) = (a - of_one, b - of_other);
        both += a * b;
        square += a * a;
        other_square += b * b;
    }
    let varies = square > NOTHING && other_square > NOTHING;
    varies.then(|| (both / (square * other_square).sqrt()).clamp(-1.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Better;

    /// Sums of a few dozen numbers in another order than NumPy's.
    const ROUNDING: f64 = 1e-9;

    const NO: f64 = f64::NAN;

    fn ratings(rows: &[&[f64]]) -> Vec<OfItem> {
        let value = |v: &f64| (!v.is_nan()).then_some(*v);
        rows.iter().map(|row| row.iter().map(value).collect()).collect()
    }

    /// PyPI krippendorff 0.8.2: `alpha(reliability_data=…, level_of_measurement="ordinal")`, raters
    /// in rows. The first is the example of Krippendorff's paper.
    #[test]
    fn alpha_is_that_of_krippendorff_with_values_missing() {
        let textbook = ratings(&[
            &[1.0, 2.0, 3.0, 3.0, 2.0, 1.0, 4.0, 1.0, 2.0, NO, NO, NO],
            &[1.0, 2.0, 3.0, 3.0, 2.0, 2.0, 4.0, 1.0, 2.0, 5.0, NO, 3.0],
            &[NO, 3.0, 3.0, 3.0, 2.0, 3.0, 4.0, 2.0, 2.0, 5.0, 1.0, NO],
            &[1.0, 2.0, 3.0, 3.0, 2.0, 4.0, 4.0, 1.0, 2.0, 5.0, 1.0, NO],
        ]);
        let with_equals = ratings(&[
            &[1.0, 2.0, 3.0, 4.0],
            &[1.0, 3.0, 2.0, 4.0],
            &[2.0, 1.0, 3.0, 4.0],
            &[NO, 1.0, 2.0, 3.0],
            &[1.5, 1.5, 3.0, 4.0],
        ]);
        let (sixth, half) = (1.0 / 6.0, 0.5);
        let of_shares = ratings(&[
            &[0.25, 0.75, NO],
            &[sixth, 5.0 / 6.0, half],
            &[5.0 / 6.0, sixth, half],
            &[NO, 0.25, 0.75],
            &[half, sixth, 5.0 / 6.0],
        ]);
        for (of, expected) in [
            (textbook, 0.815_387_503_754_881_4),
            (with_equals, 0.682_253_153_545_019_6),
            (of_shares, -0.049_450_549_450_549_5),
        ] {
            let found = alpha(&of).unwrap();
            assert!((found - expected).abs() < ROUNDING, "{found} {expected}");
        }
    }

    #[test]
    fn alpha_is_one_of_one_order_and_nothing_of_no_differences() {
        let same = ratings(&[&[1.0, 2.0, 3.0][..]; 4]);
        assert_eq!(alpha(&same), Some(1.0));
        assert_eq!(alpha(&ratings(&[&[2.0, 2.0][..]; 4])), None);
        // No unit was seen twice.
        assert_eq!(alpha(&ratings(&[&[1.0, NO], &[NO, 2.0]])), None);
    }

    /// Four items and four explainers, two of them equal in the last one.
    const SCORES: [[f64; 4]; 4] =
        [[3.0, 1.0, 2.0, 0.5], [2.5, 2.0, 1.0, 0.1], [0.2, 0.9, 0.8, 0.4], [5.0, 3.0, 3.0, 1.0]];

    fn items() -> Vec<OfItem> {
        SCORES.iter().map(|row| row.iter().copied().map(Some).collect()).collect()
    }

    fn shares() -> Vec<Vec<f64>> {
        let whole = |scores: &OfItem| relative_ranks(scores).into_iter().collect::<Option<_>>();
        items().iter().filter_map(whole).collect()
    }

    /// SciPy 1.17.1: `rankdata` by row, then `(rank - 0.5) / 4`, means of rows 0 and 2 and of rows
    /// 1 and 3, `corrcoef` of these; `spearmanr` of all pairs of columns.
    #[test]
    fn correlations_are_those_of_scipy() {
        let shares = shares();
        assert_eq!(shares[3], [0.875, 0.5, 0.5, 0.125]);
        let r = pearson(&mean_ranks(&shares, &[0, 2]), &mean_ranks(&shares, &[1, 3])).unwrap();
        assert!((r - 0.569_494_797_451_499_3).abs() < ROUNDING, "{r}");
        assert!((spearman_brown(r) - 0.725_704_600_456_438_3).abs() < ROUNDING);
        assert_eq!([0.0, -0.5, 1.0].map(spearman_brown), [0.0, -0.5, 1.0]);
        let found = inter_method(&items()).unwrap();
        assert!((found - 0.766_666_666_666_666_6).abs() < ROUNDING, "{found}");
    }

    #[test]
    fn every_division_into_halves_is_as_likely() {
        // Of the three divisions of four items, with NumPy: 0.5547, 0.5695 and 0.4110. The mean of
        // 200 draws has a standard error of 0.0715 / √200 = 0.005; four of them.
        let found = correlation_of_halves(&shares()).unwrap();
        assert!((found - 0.511_730_8).abs() < 0.02, "{found}");
        assert_eq!(correlation_of_halves(&shares()[..2]), None, "too few");
        assert_eq!(correlation_of_halves(&[vec![0.5; 3], vec![0.5; 3], vec![0.5; 3]]), None);
    }

    fn column(quantity: &str) -> Column {
        let parameter = Parameter::at("P", "percent of the pixels", 10.0);
        Column { quantity: quantity.into(), parameter, better: Some(Better::Higher) }
    }

    fn scores(explainers: &[&str], value: impl Fn(usize, usize) -> Option<f64>) -> Scores {
        let mut scores = Scores::default();
        for item in 0..6 {
            for (e, explainer) in explainers.iter().enumerate() {
                if let Some(value) = value(item, e) {
                    scores.add(explainer, &column("drop"), &format!("i{item}"), value);
                }
            }
        }
        scores
    }

    #[test]
    fn a_table_says_which_order_to_trust() {
        // One order on every item; the heights of the items differ, all explainers' alike.
        let steady = scores(&["a", "b", "c"], |item, e| Some((item * 10 + e) as f64));
        // Each item turns the order around.
        let turned = scores(&["a", "b", "c"], |item, e| {
            Some(if item % 2 == 0 { e as f64 } else { -(e as f64) })
        });
        let table = reliability(&[("Steady", steady), ("Turned", turned)]).unwrap();
        assert_eq!((table.name.as_str(), table.rows.len()), ("reliability", 2));
        assert_eq!(table.rows[0], ["Steady", "drop", "P=10", "3", "6", "1.00", "1.00", "1.00"]);
        let [alpha, halves] = [5, 6].map(|c| table.rows[1][c].parse::<f64>().unwrap());
        assert!(alpha < 0.0 && halves < 0.0, "{:?}", table.rows[1]);
        let numbers = table.numbers.unwrap();
        assert_eq!((numbers.columns, numbers.rows[0][5].as_str()), (table.columns, "1.000000"));
        assert!(table.notes[1].contains("noise too") && table.notes.len() == 2);
    }

    #[test]
    fn long_curves_are_left_out_and_named() {
        let mut scores = scores(&["a", "b"], |item, e| Some((item + e) as f64));
        let point = |quantity: &str, value: f64| Column {
            parameter: Parameter::at("P", "percent of the pixels", value),
            ..column(quantity)
        };
        for item in 0..6 {
            for (e, explainer) in ["a", "b"].iter().enumerate() {
                let mut add = |quantity: &str, points: usize| {
                    for value in 0..points {
                        let column = point(quantity, value as f64);
                        scores.add(explainer, &column, &format!("i{item}"), e as f64);
                    }
                };
                add("short", MOST_POINTS);
                add("long", MOST_POINTS + 1);
            }
        }
        let table = reliability(&[("M", scores)]).unwrap();
        let rows = |quantity: &str| table.rows.iter().filter(|row| row[1] == quantity).count();
        assert_eq!((rows("drop"), rows("short"), rows("long")), (1, MOST_POINTS, 0));
        let note = table.notes.last().unwrap();
        assert!(note.contains("M long") && !note.contains("short"), "{note}");
    }

    #[test]
    fn many_items_are_divided_less_often() {
        assert_eq!([3, 1000, 4000, 1_000_000].map(splits), [200, 200, 50, 20]);
    }

    #[test]
    fn items_count_with_the_explainers_they_have() {
        // `c` has half of the items; there are six of which two explainers are there.
        let some = |item: usize, e: usize| (e < 2 || item.is_multiple_of(2)).then_some(e as f64);
        let table = reliability(&[("Some", scores(&["a", "b", "c"], some))]).unwrap();
        assert_eq!(table.rows[0][3..5], ["3", "6"]);
        // The three whole items agree; equal scores of all items do not vary over them.
        assert_eq!(table.rows[0][6..], ["1.00", ""]);
    }

    #[test]
    fn one_explainer_or_two_items_say_nothing() {
        assert!(reliability(&[]).is_none());
        assert!(reliability(&[("M", scores(&["a"], |i, _| Some(i as f64)))]).is_none());
        let two = scores(&["a", "b"], |item, e| (item < 2).then_some(e as f64));
        assert!(reliability(&[("M", two)]).is_none());
        let both = scores(&["a", "b"], |_, e| Some(e as f64));
        assert!(reliability(&[("M", both)]).unwrap().notes[2].contains("Two explainers"));
    }
}
