use fame_core::{Subject, Tensor};

use super::{
    super::super::testing::{explanation, map, map_of, sample},
    *,
};

const SIDE: usize = 8;

fn plain(name: &str, role: &str) -> NamedMap {
    map(name, role, Tensor::filled([SIDE, SIDE], 0.4))
}

fn cell(row: usize, column: usize, n: usize, role: &str) -> NamedMap {
    let edge = |k: usize| (k as f64 * SIDE as f64 / n as f64).round() as usize;
    let frame = Some(Frame {
        top: edge(row),
        left: edge(column),
        bottom: edge(row + 1),
        right: edge(column + 1),
    });
    NamedMap { frame, ..plain(&format!("cell_{row}_{column}"), role) }
}

/// The sheet as text: `title|label|` and for every cell `caption=what`.
fn outline(
    roles: &[&str],
    explanations: &[(&str, Explanation)],
    columns: Option<usize>,
    picture: Option<bool>,
) -> Vec<String> {
    let explanations: Vec<(String, Explanation)> =
        explanations.iter().map(|(n, e)| ((*n).to_owned(), e.clone())).collect();
    let sample = sample(roles, SIDE, SIDE);
    let lines =
        lines(&FinishedItem { sample: &sample, explanations: &explanations }, columns, picture)
            .unwrap();
    let cell = |c: &Cell<'_>| match c.shows {
        Shows::Blank => format!("{}=-", c.caption),
        Shows::Picture(_) => format!("{}=P", c.caption),
        Shows::Map(_, m) => format!("{}={}", c.caption, m.name()),
    };
    lines
        .iter()
        .map(|l| {
            format!(
                "{}|{}|{}",
                l.title,
                l.label,
                l.cells.iter().map(cell).collect::<Vec<_>>().join(" ")
            )
        })
        .collect()
}

#[test]
fn cells_lie_where_their_frames_do_also_when_pixels_do_not_divide() {
    let n = 3;
    let mut maps: Vec<NamedMap> = (0..9).map(|i| cell(i / n, i % n, n, "image")).collect();
    maps.remove(4);
    let mut e = explanation(maps);
    e.warnings.push("cell_1_1 has no map: dead".into());
    let lines = outline(&["image"], &[("cells", e)], None, None);
    assert_eq!(lines[0], "cells|0|0=cell_0_0 1=cell_0_1 2=cell_0_2");
    assert_eq!(lines[1], "|1|=cell_1_0 =- =cell_1_2");
}

#[test]
fn a_dead_row_does_not_shift_the_others() {
    let mut e = explanation(vec![cell(2, 1, 4, "image"), cell(3, 3, 4, "image")]);
    e.warnings.push("the other cells are dead".into());
    let lines = outline(&["image"], &[("cells", e)], None, Some(true));
    assert_eq!(
        (lines.len(), lines[0].as_str(), lines[3].as_str()),
        (5, "cells||picture=P", "|2|=- =cell_2_1 =- =-")
    );
}

#[test]
fn a_few_chosen_cells_are_packed() {
    let e = explanation(vec![cell(0, 0, 8, "image"), cell(3, 3, 8, "image")]);
    assert_eq!(
        outline(&["image"], &[("cells", e)], None, None),
        ["cells||picture=P cell_0_0=cell_0_0 cell_3_3=cell_3_3"]
    );
}

#[test]
fn roles_and_finishes_have_grids_of_their_own() {
    let finished =
        |m: NamedMap, finish: &str| NamedMap { id: m.id.finished(Some(finish.to_owned())), ..m };
    let cells: Vec<(usize, usize)> = vec![(0, 0), (0, 1), (1, 0), (1, 1)];
    let mut maps = Vec::new();
    for &(r, c) in &cells {
        maps.extend(["k5", "k9"].map(|f| finished(cell(r, c, 2, "gallery"), f)));
    }
    maps.extend(cells.iter().map(|&(r, c)| cell(r, c, 2, "probe")));
    let lines = outline(&["gallery", "probe"], &[("cells", explanation(maps))], None, None);
    assert_eq!(lines[0], "cells: gallery|0|0=cell_0_0_k5 1=cell_0_1_k5");
    assert_eq!(lines[2], "cells: gallery, cell_0_0_k9|0|0=cell_0_0_k9 1=cell_0_1_k9");
    assert_eq!(lines[4], "cells: probe|0|0=cell_0_0 1=cell_0_1");
    assert_eq!(lines.len(), 6);
}

#[test]
fn explainers_are_rows_and_maps_are_columns() {
    let fame = explanation(vec![
        plain("gallery_s", "gallery"),
        plain("probe_s", "probe"),
        plain("gallery_d", "gallery"),
    ]);
    let cam = explanation(vec![plain("probe_s", "probe"), plain("gallery_s", "gallery")]);
    let lines = outline(&["gallery", "probe"], &[("fame", fame), ("cam", cam)], None, None);
    assert_eq!(
        lines[0],
        "|fame|gallery: test\u{200E}=P gallery_s=gallery_s gallery_d=gallery_d probe: test\u{200E}=P probe_s=probe_s"
    );
    assert_eq!(lines[1], "|cam|=P =gallery_s =- =P =probe_s");
}

#[test]
fn noise_stands_below_the_maps_that_are_about_the_same() {
    let of = |id: MapId| map_of(id, Tensor::filled([SIDE, SIDE], 0.4));
    let id = |role: &str| MapId::new(role).about(Subject::Match);
    let sides = [Claim::For, Claim::Against].map(|claim| of(id("left").claiming(claim)));
    let cam = explanation(vec![of(id("left")), of(id("right"))]);
    let noise = ["left", "right"].map(|role| of(id(role).claiming(Claim::Neither)));
    let all = [
        ("noise", explanation(noise.to_vec())),
        ("fame", explanation(sides.to_vec())),
        ("cam", cam),
    ];
    let lines = outline(&["left", "right"], &all, None, Some(false));
    assert_eq!(lines[0], "|noise|left_similar=left left_dissimilar=- right_similar=right");
    assert_eq!(lines[2], "|cam|=left_similar =- =right_similar");
    // What is about something else has a column of its own.
    let other = of(MapId::new("left").claiming(Claim::Neither));
    let all = [("cam", explanation(vec![of(id("left"))])), ("other", explanation(vec![other]))];
    let lines = outline(&["left", "right"], &all, None, Some(false));
    assert_eq!(lines[0], "|cam|left_similar=left_similar left=-");
}

#[test]
fn one_explainer_fills_a_row_or_a_near_square() {
    let maps = |n: usize| explanation((0..n).map(|i| plain(&format!("m{i}"), "image")).collect());
    let widths = |n, columns, picture| {
        let lines = outline(&["image"], &[("fame", maps(n))], columns, picture);
        lines.iter().map(|l| l.matches('=').count()).collect::<Vec<_>>()
    };
    assert_eq!(widths(7, None, None), [8]);
    assert_eq!(widths(8, None, None), [3, 3, 3]);
    assert_eq!(widths(5, Some(2), Some(false)), [2, 2, 1]);
}

#[test]
fn the_answers_stand_above_everything_and_beside_each_map_where_they_differ() {
    let of = |name: &str, class: &str, probability: f64| {
        let mut map = plain(name, "image");
        map.facts.insert("probability_before".into(), probability.into());
        map.facts.insert("class_name".into(), class.into());
        map
    };
    let (tabby, lynx) = (of("class_281", "tabby", 0.62), of("class_287", "lynx", 0.31));
    let one = [("cam", explanation(vec![tabby.clone()]))];
    let lines = outline(&["image"], &one, None, None);
    assert_eq!(lines, ["tabby\u{200E} 62 %||", "cam||picture=P class_281=class_281"]);
    let both = explanation(vec![tabby.clone(), lynx]);
    let lines = outline(&["image"], &[("cam", both.clone())], None, Some(false));
    assert_eq!(lines[0], "tabby\u{200E} 62 %, lynx\u{200E} 31 %||");
    let captions = "class_281, tabby\u{200E} 62 %=class_281 class_287, lynx\u{200E} 31 %=class_287";
    assert_eq!(lines[1], format!("cam||{captions}"));
    // Beside another method that explains one of them.
    let methods = [("cam", both), ("fame", explanation(vec![tabby]))];
    let lines = outline(&["image"], &methods, None, Some(false));
    assert_eq!(lines[1..], [format!("|cam|{captions}"), "|fame|=class_281 =-".to_owned()]);
    assert!(outline(&["image"], &[("cam", explanation(Vec::new()))], None, None).is_empty());
}

#[test]
fn pictures_of_a_pair_have_the_names_of_their_files() {
    let name =
        |source: &str| name_of(&Picture::new(Tensor::filled([3, 2, 2], 0.5), source).unwrap());
    assert_eq!(name("picture:obama2"), "obama2");
    assert_eq!(name("faces/Ann Lee/0001.jpg"), "Ann Lee/0001");
    assert_eq!([name("faces/Ann_0001.jpg"), name("0001.jpg")], ["Ann_0001", "0001"]);
    assert_eq!([name("lfw.bin#12"), name("c#.png")], ["lfw#12", "c#"]);
}
