//! Groups of items compared: means by group, difference and ratio with intervals.

use std::collections::BTreeMap;

use super::{Interval, Numbers, Scores, Table, stratified_interval};

impl Scores {
    /// Every column of every explainer by groups of items, `group(item)` the group of an item: the
    /// mean in each, its difference from the group `reference` (default: the one with most items)
    /// and its ratio to it, each with a 95 % bootstrap interval that resamples within groups. Items
    /// without a group are left out.
    pub fn by_group(
        &self,
        name: &str,
        title: String,
        group: impl Fn(&str) -> Option<String>,
        reference: Option<&str>,
    ) -> Table {
        let mut sizes: BTreeMap<String, usize> = BTreeMap::new();
        let mut of_item: BTreeMap<String, String> = BTreeMap::new();
        for values in (0..self.explainers().len())
            .flat_map(|e| (0..self.columns().len()).filter_map(move |c| self.of(e, c)))
        {
            for item in values.into_keys() {
                if of_item.contains_key(item) {
                    continue;
                }
                if let Some(of) = group(item) {
                    *sizes.entry(of.clone()).or_default() += 1;
                    of_item.insert(item.to_owned(), of);
                }
            }
        }
        let largest = || sizes.iter().max_by_key(|(_, n)| **n).map(|(of, _)| of.as_str());
        let base = reference.or_else(largest).unwrap_or_default().to_owned();
        let (mut rows, mut numbers) = (Vec::new(), Vec::new());
        for (e, explainer) in self.explainers().iter().enumerate() {
            for (c, column) in self.columns().iter().enumerate() {
                let Some(values) = self.of(e, c) else { continue };
                let in_group = |wanted: &str| -> Vec<f64> {
                    let is = |item: &str| of_item.get(item).is_some_and(|of| of == wanted);
                    values.iter().filter(|(item, _)| is(item)).map(|(_, v)| *v).collect()
                };
                let theirs = in_group(&base);
                for of in sizes.keys() {
                    let mine = in_group(of);
                    if mine.is_empty() {
                        continue;
                    }
                    let beside = (*of != base && !theirs.is_empty()).then_some(&theirs);
                    let found = [
                        Some(compared(&mine, &[], |a, _| a)),
                        beside.map(|theirs| compared(&mine, theirs, |a, b| a - b)),
                        beside.map(|theirs| compared(&mine, theirs, |a, b| a / b)),
                    ];
                    let way = column.better.map_or("", super::Better::words).to_owned();
                    let of =
                        [explainer.clone(), column.name(), way, of.clone(), mine.len().to_string()];
                    let text = found.map(|of| of.map_or_else(String::new, shown));
                    rows.push(of.iter().cloned().chain(text).collect());
                    numbers.push(of.into_iter().chain(found.into_iter().flat_map(cells)).collect());
                }
            }
        }
        let mut notes = vec![format!(
            "Differences and ratios are from and to the group `{base}`. Intervals: bootstrap within groups; a ratio to a mean \
             near zero has none."
        )];
        if sizes.len() < 2 {
            notes.push("There are fewer than two groups: nothing can be compared.".to_owned());
        }
        let first = ["explainer", "quantity", "good", "group", "items"].map(str::to_owned);
        let found = ["mean", "difference", "ratio"];
        let ends = found.iter().flat_map(|n| ["", " low", " high"].map(|end| format!("{n}{end}")));
        Table {
            name: name.to_owned(),
            title,
            columns: first.iter().cloned().chain(found.map(str::to_owned)).collect(),
            rows,
            notes,
            numbers: Some(Numbers {
                columns: first.iter().cloned().chain(ends).collect(),
                rows: numbers,
            }),
            ..Table::default()
        }
    }
}

/// `combine` of the means of two groups, with an interval that draws within either. Without the
/// second group its mean is not a number. A group of one item says nothing of others of its kind:
/// there is no interval then.
fn compared(mine: &[f64], theirs: &[f64], combine: impl Fn(f64, f64) -> f64) -> Interval {
    let all: Vec<f64> = [mine, theirs].concat();
    let strata: Vec<usize> = (0..all.len()).map(|i| usize::from(i >= mine.len())).collect();
    let found = stratified_interval(&strata, |drawn| {
        // An item is replaced by one of its own group, so that places tell the groups.
        let mean = |of: &[usize]| of.iter().map(|i| all[*i]).sum::<f64>() / of.len() as f64;
        combine(mean(&drawn[..mine.len()]), mean(&drawn[mine.len()..]))
    });
    if mine.len() == 1 || theirs.len() == 1 {
        return Interval { low: f64::NAN, high: f64::NAN, ..found };
    }
    found
}

/// Mean and ends for other programs, with nothing in place of what is no number.
fn cells(of: Option<Interval>) -> [String; 3] {
    let number = |v: f64| if v.is_finite() { format!("{v:.6}") } else { String::new() };
    of.map_or_else(Default::default, |of| [of.mean, of.low, of.high].map(number))
}

/// An interval whose ends are numbers, or what of it is.
fn shown(of: Interval) -> String {
    let ends = of.low.is_finite() && of.high.is_finite();
    if of.mean.is_finite() && ends {
        of.to_string()
    } else if of.mean.is_finite() {
        format!("{:.4}", of.mean)
    } else {
        String::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Better, Column, Parameter};

    fn scores() -> Scores {
        let mut scores = Scores::default();
        let column = Column {
            quantity: "miss".into(),
            parameter: Parameter::None,
            better: Some(Better::Lower),
        };
        for item in 0..30 {
            // Ten of `a` at 0.4, twenty of `b` at 0.2.
            let value = if item < 10 { 0.4 } else { 0.2 };
            scores.add("fame", &column, &format!("{item:02}"), value);
        }
        scores
    }

    #[test]
    fn groups_differ_by_what_they_differ() {
        let of = |item: &str| Some(if item < "10" { "a" } else { "b" }.to_owned());
        let table = scores().by_group("groups", "t".into(), of, None);
        assert_eq!(table.rows[0][..5], ["fame", "miss", "low is good", "a", "10"]);
        assert_eq!(
            table.rows[0][5..],
            ["0.4000 [0.4000, 0.4000]", "0.2000 [0.2000, 0.2000]", "2.0000 [2.0000, 2.0000]"]
        );
        // The larger group is what the other is compared with.
        assert_eq!(table.rows[1][3..], ["b", "20", "0.2000 [0.2000, 0.2000]", "", ""]);
        assert!(table.notes[0].contains("the group `b`"), "{:?}", table.notes);
        let other = scores().by_group("groups", "t".into(), of, Some("a"));
        assert_eq!(other.rows[1][6], "-0.2000 [-0.2000, -0.2000]");
        // For other programs, one number to a cell.
        let numbers = other.numbers.unwrap();
        assert_eq!(numbers.columns[4..9], ["items", "mean", "mean low", "mean high", "difference"]);
        assert_eq!(numbers.rows[1][4..9], ["20", "0.200000", "0.200000", "0.200000", "-0.200000"]);
        assert!(numbers.rows.iter().all(|row| row.len() == numbers.columns.len()));
    }

    #[test]
    fn a_group_of_one_item_has_no_interval() {
        // Twenty-nine items vary, and the one of the other group cannot.
        let of = |item: &str| Some(if item == "00" { "one" } else { "many" }.to_owned());
        let table = scores().by_group("groups", "t".into(), of, None);
        let row = table.rows.iter().find(|row| row[3] == "one").unwrap();
        assert_eq!((row[5].as_str(), row[6].as_str()), ("0.4000", "0.1379"));
    }

    #[test]
    fn items_without_a_group_are_left_out_and_one_group_is_told() {
        let of = |item: &str| (item < "10").then(|| "a".to_owned());
        let table = scores().by_group("groups", "t".into(), of, None);
        assert_eq!((table.rows.len(), table.rows[0][4].as_str()), (1, "10"));
        assert!(table.notes[1].contains("fewer than two groups"), "{:?}", table.notes);
    }
}
