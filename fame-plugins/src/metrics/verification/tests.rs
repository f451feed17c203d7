use fame_core::Marks;

use super::{protocol::Pairs, *};
use crate::datasets::{FOLD, GENUINE};

/// Rows of one explainer on four pairs: `perfect` deletes at once and inserts at once.
fn rows(explainer: &str, perfect: bool) -> Vec<MetricRow> {
    let mut rows = Vec::new();
    for (n, genuine) in [true, true, false, false].into_iter().enumerate() {
        let clean = if genuine { 0.8 } else { 0.1 };
        for k in 0..=10 {
            for name in ["delete", "insert"] {
                let whole = (name == "delete") == (k < if perfect { 1 } else { 9 });
                let value = if whole { clean } else { 0.0 };
                let (item, parameter) = (format!("{n}"), at_percent(10.0 * f64::from(k)));
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
        .map(|r| MetricRow { marks: Marks::default().with(&GENUINE, r.marks.get(&GENUINE)), ..r })
        .collect();
    let known =
        Pairs::of(&apart, &(0..=10).map(|k| 10.0 * f64::from(k)).collect::<Vec<_>>()).unwrap();
    assert_eq!(known.cross_validated(&Threshold::Eer).unwrap_err().code, "fame::metric::no_folds");
}

#[test]
fn the_strict_threshold_on_a_separable_set_is_warned_of() {
    let tables = summary("threshold: Eer");
    assert!(tables[0].notes[0].contains("separates these pairs"), "{:?}", tables[0].notes);
    assert!(Pairs::of(&[MetricRow::default()], &[0.0]).is_none());
}
