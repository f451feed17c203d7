//! A changed recipe computes only what the change touches, and leaves what a fresh run of it would.

use std::{collections::BTreeMap, fs, path::Path};

use super::*;

const SALIENCY: &str = r#""saliency": Saliency(loss: Logit(class: Index(0)), layer: Output)"#;
const WALK: &str = r#""walk": Fame(layer: Output, loss: Logit(class: Index(0)), perturbation: Lots(iterations: 3), map: [Gray(), MaxNormalize()])"#;
const DELETION: &str =
    "DeletionInsertion(steps: 2, answer: Value, loss: Logit(class: Index(0)), layer: Output)";

/// A recipe over two pictures.
fn text(explain: &str, metrics: &str, write: &str) -> String {
    format!(
        r#"(model: "net.onnx", data: Images(files: ["a.png", "b.png"]), prepare: [], explain: {{{explain}}}, metrics: [{metrics}], write: [{write}])"#
    )
}

/// Runs `text` into `out` and says for each item what was computed.
pub(super) fn computed(folder: &Path, out: &str, text: &str) -> Vec<(String, Vec<String>)> {
    fs::write(folder.join("r.ron"), text).unwrap();
    let output = fame(folder, &["run", "r.ron", "--out", out]);
    assert!(output.status.success(), "{}", stderr(&output));
    let record = record(&folder.join(out));
    let items = record["items"].as_array().unwrap();
    let words = |v: &serde_json::Value| {
        v.as_array().unwrap().iter().map(|w| w.as_str().unwrap().to_owned()).collect()
    };
    items
        .iter()
        .map(|i| (i["status"].as_str().unwrap().to_owned(), words(&i["computed"])))
        .collect()
}

/// Both items ended as `status` and computed `what`.
fn both(status: &str, what: &[&str]) -> Vec<(String, Vec<String>)> {
    vec![(status.to_owned(), what.iter().map(|w| (*w).to_owned()).collect()); 2]
}

/// Every file of the results, by name; `run.json` and `items.jsonl` hold clock times, and `parts` what other recipes
/// left.
fn results(out: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    let mut folders = vec![out.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(out).unwrap().to_string_lossy().into_owned();
            match path.is_dir() {
                true if name != "parts" => folders.push(path),
                false if !["run.json", "items.jsonl"].contains(&name.as_str()) => {
                    _ = all.insert(name, fs::read(&path).unwrap());
                }
                _ => {}
            }
        }
    }
    all
}

#[test]
fn a_changed_recipe_computes_only_what_the_change_touches() {
    let dir = workshop();
    let mut n = 0;
    // Each step changes one thing of the one before; what it leaves must be what a fresh run
    // leaves.
    let mut step = |text: &str, expected: Vec<(String, Vec<String>)>| {
        assert_eq!(computed(dir.path(), "out", text), expected, "{text}");
        n += 1;
        let fresh = format!("fresh{n}");
        computed(dir.path(), &fresh, text);
        let (one, other) = (results(&dir.path().join("out")), results(&dir.path().join(fresh)));
        assert_eq!(one.keys().collect::<Vec<_>>(), other.keys().collect::<Vec<_>>(), "{text}");
        for (name, bytes) in &one {
            assert!(other[name] == *bytes, "{name} differs after {text}");
        }
    };
    step(&text(SALIENCY, "", "Npy()"), both("done", &["saliency"]));
    step(&text(SALIENCY, "", "Npy()"), both("kept", &[]));
    step(&text(SALIENCY, "", "Npy(raw: true), Heatmap()"), both("done", &[]));
    step(&text(SALIENCY, DELETION, "Npy()"), both("done", &["saliency/DeletionInsertion"]));
    let two = format!("{WALK}, {SALIENCY}");
    step(&text(&two, DELETION, "Npy()"), both("done", &["walk", "walk/DeletionInsertion"]));
    let other = DELETION.replace("steps: 2", "steps: 3");
    step(
        &text(&two, &other, "Npy()"),
        both("done", &["walk/DeletionInsertion", "saliency/DeletionInsertion"]),
    );
    let against = other.replace("steps: 3", r#"against: ["walk"], steps: 3"#);
    step(&text(&two, &against, "Npy()"), both("kept", &[]));
    let longer = two.replace("iterations: 3", "iterations: 4");
    step(&text(&longer, &against, "Npy()"), both("done", &["walk", "walk/DeletionInsertion"]));
}

#[test]
fn what_was_kept_is_not_trusted_beyond_its_key() {
    let dir = workshop();
    let recipe = text(SALIENCY, "", "Npy()");
    assert_eq!(computed(dir.path(), "out", &recipe), both("done", &["saliency"]));
    // Another picture under the same name: the item and its explanation are made again.
    picture(56, 7).save(dir.path().join("a.png")).unwrap();
    let now = computed(dir.path(), "out", &recipe);
    assert_eq!(now, [both("done", &["saliency"])[0].clone(), both("kept", &[])[1].clone()]);
    // A damaged part is made again; so is everything with --force.
    let part = dir.path().join("out/parts/b/saliency.part");
    let whole = fs::read(&part).unwrap();
    fs::write(&part, &whole[..whole.len() - 1]).unwrap();
    let other = text(SALIENCY, "", "Npy(raw: true)");
    let now = computed(dir.path(), "out", &other);
    assert_eq!(now, [both("done", &[])[0].clone(), both("done", &["saliency"])[1].clone()]);
    assert_eq!(fs::read(&part).unwrap(), whole);
    let forced = fame(dir.path(), &["run", "r.ron", "--out", "out", "--force"]);
    assert!(forced.status.success());
    let index = fs::read_to_string(dir.path().join("out/items.jsonl")).unwrap();
    assert!(index.contains(r#""computed":["saliency""#), "{index}");
    // Whoever is short of space keeps nothing.
    let lean = recipe.replace("(model:", "(parts: false, model:");
    assert_eq!(computed(dir.path(), "lean", &lean), both("done", &["saliency"]));
    assert!(!dir.path().join("lean/parts").exists());
}

/// One method's silence is a finding; if nobody says anything, the item has failed.
#[test]
fn a_silent_explainer_does_not_take_the_others_with_it() {
    let dir = workshop();
    let silent = WALK
        .replace("walk", "silent")
        .replace("iterations: 3", "iterations: 3, stop: [LossBelow(1e9)]");
    let recipe = text(&format!("{silent}, {SALIENCY}"), DELETION, "Npy()");
    let now = computed(dir.path(), "out", &recipe);
    assert_eq!(
        now,
        both(
            "done",
            &["silent", "silent/DeletionInsertion", "saliency", "saliency/DeletionInsertion"]
        )
    );
    let item: serde_json::Value = serde_json::from_str(
        &fs::read_to_string(dir.path().join("out/items/a/item.json")).unwrap(),
    )
    .unwrap();
    assert_eq!(item["explanations"]["silent"]["maps"], serde_json::json!([]));
    assert!(
        item["explanations"]["silent"]["warnings"][0]
            .as_str()
            .unwrap()
            .contains("stopped before its first step")
    );
    assert_eq!(item["explanations"]["saliency"]["maps"].as_array().unwrap().len(), 1);
    fs::write(dir.path().join("alone.ron"), text(&silent, "", "Npy()")).unwrap();
    let alone = fame(dir.path(), &["run", "alone.ron", "--out", "alone"]);
    assert_eq!(alone.status.code(), Some(3));
    assert!(
        stderr(&alone).contains("explainer `silent`") && stderr(&alone).contains("no map came out"),
        "{}",
        stderr(&alone)
    );
}
