//! The page as a whole, made of folders as runs leave them.

use std::{fs, path::Path};

use fame_core::{
    Claim, MapId, Picture, Sample, Subject, Tensor,
    contract::{FinishedItem, Writer},
    data::{Affine, Original},
};
use serde_json::{Value, json};

use super::{
    super::testing::{build, explanation, map_of},
    REPORT, Report,
};

/// A name that is markup, and one that would end a script.
const HOSTILE: [&str; 2] = ["<img src=x onerror=alert(1)>", "</script><script>alert(2)</script>"];

/// Noise, which no encoder makes small; the same on every run.
fn noise(n: usize) -> Vec<f32> {
    let value = |i: usize| (i as u32).wrapping_mul(2_654_435_761).rotate_left(13) % 1000;
    (0..n).map(|i| value(i) as f32 / 1000.0).collect()
}

/// A pair of pictures of `side`, the first cut out of a larger one.
fn pair(id: &str, side: usize) -> Sample {
    let picture = |source: &str| {
        let pixels = Tensor::new([3, side, side], noise(3 * side * side)).unwrap();
        Picture::new(pixels, source).unwrap()
    };
    let mut cut = picture("large");
    let large = Picture::new(Tensor::filled([3, 2 * side, 3 * side], 0.5), "large").unwrap();
    cut.original = Some(Original::of(&large).unwrap());
    cut.geometry = Affine([0.5, 0.0, -4.0, 0.0, 0.5, -2.0]);
    let pictures = vec![("left".to_owned(), cut), ("right".to_owned(), picture("small"))];
    Sample { id: id.to_owned(), pictures, ..Sample::default() }
}

/// Lets `report` write the item `id`, and writes its record, as a run does. `explainer` has a map
/// for and a map against.
fn leave(out: &Path, report: &dyn Writer, id: &str, explainer: &str, genuine: bool) -> Value {
    let (folder, side) = (out.join("items").join(id), 48);
    fs::create_dir_all(&folder).unwrap();
    let sample = pair(id, side);
    let values = Tensor::new([side, side], noise(side * side)).unwrap();
    let maps = [("left", Claim::For), ("right", Claim::Against)].map(|(role, claim)| {
        map_of(MapId::new(role).about(Subject::Match).claiming(claim), values.clone())
    });
    let explanations = [(explainer.to_owned(), explanation(maps.to_vec()))];
    let item = FinishedItem { sample: &sample, explanations: &explanations };
    let files = report.write(&item, &folder).unwrap();
    assert!(files.iter().all(|file| file.starts_with("report.")), "{files:?}");
    let map = |name: &str, role: &str, claim: &str| {
        json!({
            "name": name, "role": role, "claim": claim, "map_shape": [side, side],
            "similarity_before": 0.61, "loss_before": 0.61, "loss_after": 0.12, "steps": 20,
            "stop": "iterations", "class_name": HOSTILE[0],
            "loss_curve": {"every": 10, "values": [0.61, 0.3, 0.12]},
            "top_before": [{"class": 1, "name": HOSTILE[1], "probability": 0.5}],
        })
    };
    let record = json!({
        "id": id, "marks": {"genuine": genuine}, "label": null, "facts": {"note": HOSTILE[1]},
        "pictures": {
            "left": {"source": HOSTILE[0], "geometry": [0.5, 0, -4, 0, 0.5, -2], "original_size": [96, 144]},
            "right": {"source": "small", "geometry": [1, 0, 0, 0, 1, 0], "warnings": [HOSTILE[1]]},
        },
        "explanations": {explainer: {
            "maps": [map("left_similar", "left", "for"), map("right_dissimilar", "right", "against")],
            "warnings": ["a warning of the method"],
            "forward_check": {"verdict": "agrees", "difference": 1e-6},
        }},
        "measurements": [
            {"explainer": explainer, "map": "left_similar", "metric": "M", "quantity": "q",
             "parameter": {"axis": "P", "unit": "percent", "value": 0.0}, "value": 0.9},
            {"explainer": explainer, "map": "left_similar", "metric": "M", "quantity": "q",
             "parameter": {"axis": "P", "unit": "percent", "value": 50.0}, "value": 0.5},
            {"explainer": explainer, "map": "left_similar", "metric": "M", "quantity": "q",
             "parameter": {"axis": "P", "unit": "percent", "value": 100.0}, "value": 0.1},
        ],
        "files": {},
    });
    fs::write(folder.join("item.json"), record.to_string()).unwrap();
    json!({"id": id, "status": "done", "seconds": 0.5})
}

/// Writes the record of a run with these items.
fn finish(out: &Path, items: Vec<Value>, explainer: &str, parameters: &Value) {
    let record = json!({
        "fame_version": "0.1.0", "status": "incomplete", "started_unix_seconds": 1_795_928_936,
        "recipe": {"file": "r.ron", "text": format!("// {}: fame-cli run r.ron\n()", HOSTILE[0]), "overrides": [HOSTILE[1]]},
        "model": {"name": HOSTILE[1], "file": "net.onnx"},
        "data": {"items": items.len(), "notes": []},
        "plan": {
            "backend": {"Tract": {}}, "data": {"Pairs": {"list": HOSTILE[0]}},
            "explain": [{"name": explainer, "explainer": {"Fame": {"layer": HOSTILE[1]}}}],
            "write": [{"Report": parameters}],
        },
        "timings_seconds": {"total": 1.5}, "peak_memory_bytes": 1e8, "items": items,
    });
    fs::write(out.join("run.json"), record.to_string()).unwrap();
}

fn page(out: &Path) -> String {
    fs::read_to_string(out.join(REPORT)).unwrap()
}

/// A run of two pairs, of which a third failed, with names that are markup.
fn hostile_run() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let report = build("Report()").unwrap();
    let mut items = vec![
        leave(dir.path(), report.as_ref(), HOSTILE[0], HOSTILE[0], true),
        leave(dir.path(), report.as_ref(), "b", HOSTILE[0], false),
    ];
    let error = json!({"code": "fame::x", "message": HOSTILE[1], "help": HOSTILE[0]});
    items.push(json!({"id": HOSTILE[1], "status": "failed", "seconds": 0.1, "error": error}));
    finish(dir.path(), items, HOSTILE[0], &json!({}));
    let tables = dir.path().join("tables");
    fs::create_dir(&tables).unwrap();
    fs::write(tables.join("v_thresholds.csv"), "rule,thr\nEer,0.5\n").unwrap();
    let markdown = format!("### {}\n\n| rule | thr |\n| --- | --- |\n| Eer | 0.5 |\n", HOSTILE[1]);
    fs::write(tables.join("v_thresholds.md"), markdown).unwrap();
    report.gather(dir.path(), &[]).unwrap();
    dir
}

#[test]
fn no_name_is_markup() {
    let dir = hostile_run();
    let page = page(dir.path());
    assert!(!page.contains("<img src=x") && !page.contains("<script>alert"), "a name is markup");
    assert!(page.contains("&lt;img src=x onerror=alert(1)&gt;"), "the name is there as text");
    // The page's own script, the palettes, and a view and its figures for each item.
    assert_eq!(page.matches("<script").count(), 2 + 2 * 3);
    assert_eq!(page.matches("</script").count(), 2 + 2 * 3);
    let own = "script-src 'sha256-";
    assert!(page.contains(own) && page.contains("default-src 'none'"), "only ours may run");
    // The one address is a namespace, which nobody fetches.
    let addresses = page.replace("http://www.w3.org/2000/svg", "");
    assert!(!addresses.contains("http://") && !addresses.contains("https://"), "it fetches");
}

#[test]
fn a_page_has_everything_of_a_run() {
    let dir = hostile_run();
    let page = page(dir.path());
    let at = |text: &str| page.find(text).unwrap_or_else(|| panic!("no {text}"));
    assert!(at("What to know first") < at("Overview") && at("Overview") < at("id=\"sheet\""));
    for text in [
        "true accept: 1",
        "false accept: 1",
        "a warning of the method",
        "all steps were taken",
        "Loss along the walk",
        "Answers to the clean picture",
        "forward check: <strong>agrees</strong>",
        "Shows which pixels moved most",
        // A measurement along an axis is a curve.
        "M: q",
        // Back from the prepared picture: twice as large, and shifted by the crop.
        "matrix(2.000000 -0.000000 -0.000000 2.000000 8.000 4.000)",
        "\"s\":[96.0,144.0]",
        "took</dt><dd>1.5 s",
    ] {
        at(text);
    }
    assert_eq!(page.matches("<script type=\"text/html\" id=\"view-").count(), 3);
    // What the maps have alike stands in the page once: claim, answers, facts.
    assert_eq!(page.matches("Shows which pixels moved most").count(), 2, "once, and in the list");
    assert_eq!(page.matches("Answers to the clean picture").count(), 1);
    // Two prepared pictures, one photograph, two maps.
    assert_eq!(page.matches("data:image/jpeg").count(), 2 * 3);
    assert_eq!(page.matches("data:image/png").count(), 2 * 2);
}

#[test]
fn a_search_is_answered_by_whom_it_found_and_before_whom() {
    let dir = tempfile::tempdir().unwrap();
    let report = build("Report()").unwrap();
    let items = vec![leave(dir.path(), report.as_ref(), "a", "fame", true)];
    let file = dir.path().join("items/a/item.json");
    let mut record: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    let maps = record["explanations"]["fame"]["maps"].as_array_mut().unwrap();
    for map in maps.iter_mut() {
        map["rank_1"] = "obama".into();
        map["rival"] = "כהן".into();
        map["rival_similarity"] = 0.053.into();
        map["candidates"] = json!([{"name": "obama", "s": 0.61}, {"name": "<b>", "s": 0.053}]);
    }
    // Of the gallery, and not explained; by its name it would come first.
    record["pictures"]["enrolled"] = json!({"source": "e"});
    fs::write(&file, record.to_string()).unwrap();
    finish(dir.path(), items, "fame", &json!({}));
    report.gather(dir.path(), &[]).unwrap();
    let found = "rank 1 \u{2068}obama\u{2069} 0.610 before \u{2068}כהן\u{2069} 0.053";
    // In its line and above its view; both maps explain the same, and say nothing of it.
    let once = page(dir.path());
    assert_eq!(once.matches(found).count(), 2);
    assert!(once.contains("<tr><td>2</td><td>&lt;b&gt;</td><td>0.053</td></tr>"), "all candidates");
    let at = |role: &str| once.find(&format!("How “{role}” was made")).unwrap_or(usize::MAX);
    assert!(at("left") < at("right") && at("right") < at("enrolled"), "what is explained is first");
    // A map that explains something else: each says what.
    record["explanations"]["fame"]["maps"][1]["probability_before"] = 0.731.into();
    record["explanations"]["fame"]["maps"][1]["class_name"] = "disc".into();
    fs::write(&file, record.to_string()).unwrap();
    report.gather(dir.path(), &[]).unwrap();
    let page = page(dir.path());
    let class = "\u{2068}disc\u{2069} 73 %";
    assert!(page.contains(&format!(
        "<td class=\"answer\" data-v=\"0.61\"><bdi>{found}</bdi>, <bdi>{class}</bdi>"
    )));
    assert_eq!([found, class].map(|answer| page.matches(answer).count()), [4, 4]);
}

#[test]
fn a_pair_keeps_its_order_where_only_its_second_picture_is_explained() {
    let dir = tempfile::tempdir().unwrap();
    let report = build("Report()").unwrap();
    let items = vec![leave(dir.path(), report.as_ref(), "a", "fame", true)];
    let file = dir.path().join("items/a/item.json");
    let mut record: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    let maps = record["explanations"]["fame"]["maps"].as_array_mut().unwrap();
    maps.retain(|map| map["role"] == "right");
    assert_eq!(maps.len(), 1);
    fs::write(&file, record.to_string()).unwrap();
    finish(dir.path(), items, "fame", &json!({}));
    report.gather(dir.path(), &[]).unwrap();
    let page = page(dir.path());
    let at = |role: &str| page.find(&format!("How “{role}” was made")).unwrap_or(usize::MAX);
    assert!(at("left") < at("right") && at("right") < usize::MAX);
}

#[test]
fn a_page_is_made_again_from_the_folder_alone() {
    let dir = tempfile::tempdir().unwrap();
    let report = build("Report(side: 32, colormap: \"cividis\")").unwrap();
    let items = vec![leave(dir.path(), report.as_ref(), "a", "fame", true)];
    let parameters = json!({"side": 32, "colormap": "cividis", "megabytes": 24, "items": 5000});
    finish(dir.path(), items, "fame", &parameters);
    report.gather(dir.path(), &[]).unwrap();
    let first = page(dir.path());
    assert!(first.contains("<option value=\"cividis\" selected>"));
    fs::remove_file(dir.path().join(REPORT)).unwrap();
    assert_eq!(Report::of_run(dir.path()).unwrap(), dir.path().join(REPORT));
    assert_eq!(page(dir.path()), first);
}

#[test]
fn a_page_opens_with_the_colours_of_the_runs_pictures() {
    let dir = tempfile::tempdir().unwrap();
    finish(dir.path(), Vec::new(), "fame", &json!({}));
    let file = dir.path().join("run.json");
    let mut record: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    let mut opens_with = |write: Value| {
        record["plan"]["write"] = write;
        fs::write(&file, record.to_string()).unwrap();
        Report::of_run(dir.path()).unwrap();
        let page = page(dir.path());
        let options = page.split("<option value=\"").filter_map(|p| p.split_once("\" selected"));
        // Of three choices, the number of items to a page among them, colours have no digits.
        let names = options.map(|(name, _)| name.to_owned());
        names.filter(|name| !name.starts_with(char::is_numeric)).collect::<Vec<_>>()
    };
    let report = json!({"Report": {"colormap": null}});
    assert_eq!(opens_with(json!([report])), ["viridis"]);
    let overlay = |name: &str| json!({"Overlay": {"colormap": name}});
    assert_eq!(opens_with(json!([{"Npy": {}}, report, overlay("jet")])), ["jet"]);
    // Also colours that it does not offer by itself, and no name that means none.
    assert_eq!(opens_with(json!([report, overlay("plasma")])), ["plasma"]);
    assert_eq!(opens_with(json!([report, overlay("<b>")])), ["viridis"]);
    let asked = json!({"Report": {"colormap": "gray"}});
    assert_eq!(opens_with(json!([overlay("jet"), asked])), ["gray"]);
}

#[test]
fn pictures_take_no_more_than_they_may_and_further_items_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let report = build("Report()").unwrap();
    let items: Vec<Value> = (0..12)
        .map(|n| leave(dir.path(), report.as_ref(), &format!("i{n}"), "fame", true))
        .collect();
    finish(dir.path(), items, "fame", &json!({}));
    let embedded = |report: &Report| {
        report.gather(dir.path(), &[]).unwrap();
        let page = page(dir.path());
        let pieces = page.split("\"data:image").skip(1);
        let bytes: usize = pieces.map(|p| p.find('"').unwrap_or_default()).sum();
        (page, bytes)
    };
    let (whole, unbounded) = embedded(&Report::default());
    assert!(!whole.contains("were reduced below"));
    // The share of one of 12 items; a megabyte is far more than they need, so it is cut by counting.
    let share = unbounded / 12 / 2;
    let tight = super::Budget::sharing(256, share, unbounded);
    let run = super::RunFolder::open(dir.path()).unwrap();
    for line in &run.items().unwrap() {
        let pictures = super::pictures::embed(&run.item(line), &tight);
        let bytes: usize = pictures.addresses.iter().map(String::len).sum();
        assert!(bytes <= share && pictures.side < 256, "{bytes} of {share}");
    }
    // Where even the smallest pictures pass the share, the first items have them, and the rest none.
    let scarce = super::Budget::sharing(32, 10, unbounded / 8);
    let left_out: Vec<bool> = run
        .items()
        .unwrap()
        .iter()
        .map(|l| super::pictures::embed(&run.item(l), &scarce).left_out)
        .collect();
    assert!(!left_out[0] && left_out[11], "{left_out:?}");
    let (cut, _) = embedded(&Report { items: 10, ..Report::default() });
    assert_eq!(cut.matches("<script type=\"text/html\" id=\"view-").count(), 10);
    assert!(cut.contains("2 more items are in the run's folder"), "what is left out is told");
}

#[test]
fn a_run_without_the_writer_has_a_page_of_what_others_left() {
    let dir = tempfile::tempdir().unwrap();
    let others = build("Npy()").unwrap();
    let report = build("Report()").unwrap();
    let items = vec![leave(dir.path(), report.as_ref(), "a", "fame", true)];
    let folder = dir.path().join("items/a");
    for entry in fs::read_dir(&folder).unwrap().flatten() {
        if entry.file_name().to_string_lossy().starts_with("report.") {
            fs::remove_file(entry.path()).unwrap();
        }
    }
    let values = Tensor::new([48, 48], noise(48 * 48)).unwrap();
    let id = MapId::new("left").about(Subject::Match);
    let explanations = [("fame".to_owned(), explanation(vec![map_of(id, values)]))];
    let sample = pair("a", 48);
    others.write(&FinishedItem { sample: &sample, explanations: &explanations }, &folder).unwrap();
    finish(dir.path(), items, "fame", &json!({}));
    Report::of_run(dir.path()).unwrap();
    let page = page(dir.path());
    assert_eq!(page.matches("data:image/png").count(), 1, "the map of numbers");
    assert!(page.contains("No picture of this map is in the page."), "and the one nobody wrote");
    assert!(page.contains("was not kept"), "the prepared picture");
}

#[test]
fn what_is_not_ours_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(Report::of_run(dir.path()).unwrap_err().code, "fame::report::no_run");
    finish(dir.path(), Vec::new(), "fame", &json!({}));
    fs::write(dir.path().join(REPORT), "<html>mine</html>").unwrap();
    assert_eq!(Report::of_run(dir.path()).unwrap_err().code, "fame::report::foreign");
    assert_eq!(page(dir.path()), "<html>mine</html>");
    assert_eq!(build("Report(side: 8, megabytes: 0, items: 0)").err().unwrap().len(), 3);
    assert_eq!(build("Report(colormap: \"spectral\")").err().unwrap().len(), 1);
}
