//! The main tables of all metrics as one: a row for each explainer.

use super::{Numbers, Place, Table};

/// The name of the joined table.
const NAME: &str = "all_metrics";

/// The two columns that begin a table of means.
const FIRST: [&str; 2] = ["explainer", "items"];

/// The means of all metrics beside one another, columns named after metric and quantity; `None`
/// where there are not two such tables. Only tables of means count, as
/// [`Scores::means`](super::Scores::means) makes them.
pub fn joined(tables: &[Table]) -> Option<Table> {
    let main: Vec<&Table> =
        tables.iter().filter(|t| is_of_means(&t.columns) && !t.rows.is_empty()).collect();
    if main.len() < 2 {
        return None;
    }
    let mut explainers: Vec<&String> = Vec::new();
    for row in main.iter().flat_map(|t| &t.rows) {
        if !explainers.contains(&&row[0]) {
            explainers.push(&row[0]);
        }
    }
    let shown: Vec<Part<'_>> =
        main.iter().map(|t| Part { name: &t.name, columns: &t.columns, rows: &t.rows }).collect();
    let numbers: Vec<Part<'_>> = main
        .iter()
        .filter_map(|t| {
            let n = t.numbers.as_ref().filter(|n| is_of_means(&n.columns))?;
            Some(Part { name: &t.name, columns: &n.columns, rows: &n.rows })
        })
        .collect();
    let counts: Vec<&String> = main.iter().flat_map(|t| &t.rows).map(|row| &row[1]).collect();
    let uneven = counts.iter().any(|count| *count != counts[0]);
    let notes = uneven.then(|| {
        "Not every metric could be measured of every item: `items` is the most; each metric's own table has its number.".to_owned()
    });
    let (columns, rows) = beside(&shown, &explainers);
    let places = |explainer: &&String| {
        let of = main.iter().flat_map(|t| {
            let at = t.rows.iter().position(|row| row[0] == **explainer);
            let place = move |c| at.map_or(Place::Other, |at| t.place(at, c));
            (FIRST.len()..t.columns.len()).map(place)
        });
        FIRST.map(|_| Place::Other).into_iter().chain(of).collect()
    };
    let (number_columns, number_rows) = beside(&numbers, &explainers);
    Some(Table {
        name: NAME.to_owned(),
        title: "All metrics: means over items with 95 % bootstrap intervals".to_owned(),
        columns,
        rows,
        places: explainers.iter().map(places).collect(),
        notes: notes.into_iter().collect(),
        numbers: Some(Numbers { columns: number_columns, rows: number_rows }),
        ..Table::default()
    })
}

fn is_of_means(columns: &[String]) -> bool {
    columns.len() > FIRST.len() && columns[..FIRST.len()] == FIRST
}

/// A table of means, shown or as numbers.
struct Part<'a> {
    name: &'a str,
    columns: &'a [String],
    rows: &'a [Vec<String>],
}

/// Columns and rows of `parts` beside one another.
fn beside(parts: &[Part<'_>], explainers: &[&String]) -> (Vec<String>, Vec<Vec<String>>) {
    let first = FIRST.map(str::to_owned).into_iter();
    let of_part = |p: &Part<'_>| -> Vec<String> {
        p.columns[FIRST.len()..].iter().map(|c| format!("{} {c}", p.name)).collect()
    };
    let columns: Vec<String> = first.chain(parts.iter().flat_map(of_part)).collect();
    let row = |explainer: &&String| {
        let of = |p: &Part<'_>| p.rows.iter().position(|row| row[0] == **explainer);
        let items = parts
            .iter()
            .filter_map(|p| p.rows[of(p)?][1].parse::<usize>().ok())
            .max()
            .unwrap_or_default();
        let cells = parts.iter().flat_map(|p| match of(p) {
            Some(at) => p.rows[at][FIRST.len()..].to_vec(),
            None => vec![String::new(); p.columns.len() - FIRST.len()],
        });
        [(*explainer).clone(), items.to_string()].into_iter().chain(cells).collect()
    };
    let rows = explainers.iter().map(row).collect();
    (columns, rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(name: &str, quantity: &str, rows: &[[&str; 3]]) -> Table {
        let text = |cells: &[&str]| cells.iter().map(|c| (*c).to_owned()).collect::<Vec<_>>();
        Table {
            name: name.to_owned(),
            columns: text(&["explainer", "items", quantity]),
            rows: rows.iter().map(|row| text(row)).collect(),
            ..Table::default()
        }
    }

    #[test]
    fn every_explainer_has_one_row_over_all_metrics() {
        let iou = table("iou", "iou", &[["a", "3", "0.5"], ["b", "3", "0.4"]]);
        let road = table("road", "drop", &[["b", "4", "2"], ["c", "4", "1"]]);
        let list = Table { columns: vec!["explainer".into(), "curve".into()], ..iou.clone() };
        let all = joined(&[iou.clone(), list, road.clone()]).unwrap();
        assert_eq!(all.columns, ["explainer", "items", "iou iou", "road drop"]);
        assert_eq!(all.rows, [["a", "3", "0.5", ""], ["b", "4", "0.4", "2"], ["c", "4", "", "1"]]);
        assert!(all.notes[0].contains("Not every metric"));
        // What is best in a metric's own table is best here.
        let best = Table { places: vec![vec![Place::Best; 3], vec![]], ..iou.clone() };
        let beside = joined(&[road, best]).unwrap();
        assert_eq!(beside.columns[2..], ["road drop", "iou iou"]);
        assert_eq!((beside.rows[2][0].as_str(), beside.place(2, 3)), ("a", Place::Best));
        assert_eq!((beside.place(2, 2), beside.place(0, 3)), (Place::Other, Place::Other));
        assert!(joined(&[iou]).is_none(), "one table is one table already");
    }
}
