//! The summary of a run: explainers by metrics, with ranks and how sure they are.

use super::{Better, Interval, Numbers, Place, Scores, Table, scores::places};
use crate::Random;

/// Resamples behind a rank's interval: its ends then rest on the 25 lowest and highest of them.
const RESAMPLES: usize = 1000;

/// One column of one metric that is good one way, over the items that every explainer has.
struct Ranked {
    /// What stands above it.
    name: String,
    /// The same without which way it is good.
    plain: String,
    /// For each explainer of the run its mean with the interval, and its rank; `None` where the
    /// metric says nothing of it.
    cells: Vec<Option<(Interval, Rank)>>,
}

/// A rank, 1 the best, with its 95 % interval, which is NaN where fewer than two items can be drawn.
/// Equals share the mean of their ranks.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(clippy::struct_field_names, reason = "the rank is the word for it")]
struct Rank {
    rank: f64,
    low: f64,
    high: f64,
}

/// Every explainer in every column of `scored` (metrics by name) that is good one way: mean with
/// 95 % interval over its own items, and rank among all explainers with the interval that a
/// bootstrap gives it over the items that all of them have. `None` when there is nothing to rank:
/// fewer than two explainers, or fewer than two such columns.
pub fn summary(scored: &[(&str, Scores)]) -> Option<Table> {
    let mut explainers: Vec<&String> = Vec::new();
    for name in scored.iter().flat_map(|(_, scores)| scores.explainers()) {
        if !explainers.contains(&name) {
            explainers.push(name);
        }
    }
    let columns: Vec<Ranked> =
        scored.iter().flat_map(|(metric, scores)| ranked(metric, scores, &explainers)).collect();
    if explainers.len() < 2 || columns.len() < 2 {
        return None;
    }
    let mean_rank = |e: usize| {
        let ranks: Vec<f64> =
            columns.iter().filter_map(|c| Some(c.cells[e].as_ref()?.1.rank)).collect();
        match ranks.len() {
            0 => String::new(),
            n => format!("{:.2}", ranks.iter().sum::<f64>() / n as f64),
        }
    };
    let cell = |cell: &Option<(Interval, Rank)>| match cell {
        None => String::new(),
        Some((mean, Rank { rank, low, .. })) if low.is_nan() => {
            format!("{mean} · {}", short(*rank))
        }
        Some((mean, Rank { rank, low, high })) => {
            format!("{mean} · {} [{}, {}]", short(*rank), short(*low), short(*high))
        }
    };
    let number = |v: f64| if v.is_nan() { String::new() } else { format!("{v:.6}") };
    let numbers = |cell: &Option<(Interval, Rank)>| match cell {
        None => Default::default(),
        Some((mean, of)) => [mean.mean, mean.low, mean.high, of.rank, of.low, of.high].map(number),
    };
    let number_row = |(e, explainer): (usize, &&String)| {
        let cells = columns.iter().flat_map(|column| numbers(&column.cells[e]));
        [(*explainer).clone(), mean_rank(e)].into_iter().chain(cells).collect()
    };
    let number_columns = columns.iter().flat_map(|c| {
        ["", " low", " high", " rank", " rank low", " rank high"]
            .map(|of| format!("{}{of}", c.plain))
    });
    let best: Vec<Vec<Place>> = columns
        .iter()
        .map(|column| {
            let ranks: Vec<Option<f64>> =
                column.cells.iter().map(|cell| Some(cell.as_ref()?.1.rank)).collect();
            places(&ranks, Better::Lower)
        })
        .collect();
    let place_row = |e: usize| {
        [Place::Other; 2].into_iter().chain(best.iter().map(|column| column[e])).collect()
    };
    let first = || ["explainer", "mean rank"].map(str::to_owned).into_iter();
    let row = |(e, explainer): (usize, &&String)| {
        let cells = columns.iter().map(|column| cell(&column.cells[e]));
        [(*explainer).clone(), mean_rank(e)].into_iter().chain(cells).collect()
    };
    Some(Table {
        name: "summary".to_owned(),
        title: "All metrics: mean [95 % interval] · rank [95 % interval], 1 the best".to_owned(),
        columns: first().chain(columns.iter().map(|c| c.name.clone())).collect(),
        rows: explainers.iter().enumerate().map(row).collect(),
        numbers: Some(Numbers {
            columns: first().chain(number_columns).collect(),
            rows: explainers.iter().enumerate().map(number_row).collect(),
        }),
        places: (0..explainers.len()).map(place_row).collect(),
        notes: vec![
            "Ranks are over the items that every explainer has; their intervals are a bootstrap over these. \
             The mean rank weighs every column alike, however much it says the same as another: it is a way to \
             read the table, and no result."
                .to_owned(),
        ],
        ..Table::default()
    })
}

/// A rank with as many digits as it has.
fn short(rank: f64) -> String {
    if rank.fract() == 0.0 { format!("{rank:.0}") } else { format!("{rank:.1}") }
}

/// The columns of one metric that are good one way.
fn ranked(metric: &str, scores: &Scores, explainers: &[&String]) -> Vec<Ranked> {
    let place = |name: &&String| scores.explainers().iter().position(|known| known == *name);
    let places: Vec<Option<usize>> = explainers.iter().map(place).collect();
    let columns = scores.columns().iter().enumerate();
    let wanted = columns.filter_map(|(c, column)| Some((c, column, column.better?)));
    wanted
        .map(|(c, column, better)| {
            let mut ranks = ranks(scores, c, better).into_iter();
            // By the metric's own places: those with numbers, in their order.
            let by_place: Vec<Option<Rank>> = (0..scores.explainers().len())
                .map(|e| scores.of(e, c).and_then(|_| ranks.next()))
                .collect();
            let cell = |place: &Option<usize>| {
                let at = (*place)?;
                Some((scores.mean(at, c)?, by_place[at]?))
            };
            Ranked {
                name: format!("{metric} {} ({})", column.name(), better.words()),
                plain: format!("{metric} {}", column.name()),
                cells: places.iter().map(cell).collect(),
            }
        })
        .collect()
}

/// The ranks of the explainers that have numbers in column `c`, in their order.
fn ranks(scores: &Scores, c: usize, better: Better) -> Vec<Rank> {
    let of: Vec<_> = (0..scores.explainers().len()).filter_map(|e| scores.of(e, c)).collect();
    let Some(first) = of.first() else { return Vec::new() };
    let common: Vec<&str> =
        first.keys().copied().filter(|item| of.iter().all(|v| v.contains_key(item))).collect();
    let values: Vec<Vec<f64>> =
        of.iter().map(|v| common.iter().map(|item| v[item]).collect()).collect();
    let all: Vec<usize> = (0..common.len()).collect();
    let found = ranks_of(&values, &all, better);
    if all.len() < 2 {
        // One item says nothing of others.
        let alone = |rank| Rank { rank, low: f64::NAN, high: f64::NAN };
        return found.into_iter().map(alone).collect();
    }
    let mut random = Random::new(0x00FA_3E01);
    let mut drawn = all;
    let mut resampled: Vec<Vec<f64>> = vec![Vec::with_capacity(RESAMPLES); values.len()];
    for _ in 0..RESAMPLES {
        let n = drawn.len();
        drawn.iter_mut().for_each(|d| *d = random.below(n));
        let ranks = ranks_of(&values, &drawn, better);
        resampled.iter_mut().zip(ranks).for_each(|(of, rank)| of.push(rank));
    }
    let ends = |ranks: &mut Vec<f64>| {
        ranks.sort_by(f64::total_cmp);
        let at = |share: f64| ranks[(share * (ranks.len() - 1) as f64).round() as usize];
        (at(0.025), at(0.975))
    };
    let intervals = resampled.iter_mut().map(ends);
    found.into_iter().zip(intervals).map(|(rank, (low, high))| Rank { rank, low, high }).collect()
}

/// The ranks of the means over the `drawn` items, 1 the best; equals share theirs.
fn ranks_of(values: &[Vec<f64>], drawn: &[usize], better: Better) -> Vec<f64> {
    let sum = |of: &Vec<f64>| drawn.iter().map(|i| of[*i]).sum::<f64>();
    let sums: Vec<f64> = values.iter().map(sum).collect();
    let beats = |a: f64, b: f64| if better == Better::Higher { a > b } else { a < b };
    let rank = |mine: &f64| {
        let ahead = sums.iter().filter(|other| beats(**other, *mine)).count() as f64;
        let equal = sums.iter().filter(|other| *other == mine).count() as f64;
        ahead + f64::midpoint(equal, 1.0)
    };
    sums.iter().map(rank).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Column, Parameter};

    fn column(quantity: &str, better: Option<Better>) -> Column {
        Column { quantity: quantity.into(), parameter: Parameter::None, better }
    }

    /// Twenty items: `good` is far ahead, `even` and `same` are equal, `few` has half of the items.
    fn scores(quantity: &str, better: Option<Better>) -> Scores {
        let sign = if better == Some(Better::Lower) { -1.0 } else { 1.0 };
        let mut scores = Scores::default();
        for item in 0..20 {
            for (explainer, height) in [("good", 5.0), ("even", 1.0), ("same", 1.0), ("few", 0.0)] {
                if explainer != "few" || item % 2 == 0 {
                    let value = sign * (height + f64::from(item % 5) * 0.1);
                    scores.add(explainer, &column(quantity, better), &item.to_string(), value);
                }
            }
        }
        scores
    }

    #[test]
    fn ranks_follow_the_way_a_quantity_is_good() {
        let scored = [
            ("Up", scores("share", Some(Better::Higher))),
            ("Down", scores("loss", Some(Better::Lower))),
            ("Neither", scores("area", None)),
        ];
        let table = summary(&scored).unwrap();
        assert_eq!(
            table.columns,
            ["explainer", "mean rank", "Up share (high is good)", "Down loss (low is good)"]
        );
        assert_eq!(table.rows[0][..2], ["good", "1.00"]);
        assert!(table.rows[0][2].ends_with(" · 1 [1, 1]"), "{:?}", table.rows[0]);
        assert!(table.rows[0][3].starts_with("-5.2000 ["), "{:?}", table.rows[0]);
        // Two equals share ranks 2 and 3.
        for row in [1, 2] {
            assert!(table.rows[row][2].ends_with(" · 2.5 [2.5, 2.5]"), "{:?}", table.rows[row]);
        }
        assert_eq!(table.rows[3][..2], ["few", "4.00"]);
        // Two seconds share their place.
        let places = (0..4).map(|row| table.place(row, 2)).collect::<Vec<_>>();
        assert_eq!(places, [Place::Best, Place::Second, Place::Second, Place::Other]);
        // For other programs, one number to a cell.
        let numbers = table.numbers.unwrap();
        assert_eq!(
            numbers.columns[2..8],
            ["", " low", " high", " rank", " rank low", " rank high"]
                .map(|of| format!("Up share{of}"))
        );
        assert_eq!(numbers.rows[0][5..8], ["1.000000"; 3]);
        assert!(numbers.rows.iter().all(|row| row.len() == numbers.columns.len()));
    }

    #[test]
    fn one_item_gives_no_rank_an_interval() {
        let mut scores = Scores::default();
        for (explainer, value) in [("a", 2.0), ("b", 1.0)] {
            for quantity in ["x", "y"] {
                scores.add(explainer, &column(quantity, Some(Better::Higher)), "item", value);
            }
        }
        let table = summary(&[("M", scores)]).unwrap();
        assert_eq!(table.rows[1][2], "1.0000 · 2");
        let numbers = table.numbers.unwrap();
        assert_eq!(numbers.rows[1][2..8], ["1.000000", "", "", "2.000000", "", ""]);
    }

    #[test]
    fn a_rank_that_chance_decides_has_a_wide_interval() {
        let mut scores = Scores::default();
        for item in 0..10 {
            let coin = if item % 2 == 0 { 1.0 } else { -1.0 };
            let id = item.to_string();
            for (explainer, value) in [("a", coin), ("b", -coin)] {
                scores.add(explainer, &column("x", Some(Better::Higher)), &id, value);
                scores.add(explainer, &column("y", Some(Better::Higher)), &id, value);
            }
        }
        let table = summary(&[("M", scores)]).unwrap();
        assert!(table.rows[0][2].ends_with(" · 1.5 [1, 2]"), "{:?}", table.rows);
    }

    #[test]
    fn nothing_to_rank_is_no_summary() {
        assert!(summary(&[]).is_none());
        assert!(summary(&[("Neither", scores("area", None))]).is_none());
        assert!(summary(&[("One", scores("x", Some(Better::Lower)))]).is_none());
    }
}
