//! Recipes with mistakes: all of them at once, each at its place, with a way out.

use serde_json::json;

use super::*;

const FIVE: &str = r#"// Five mistakes.
(
    model: "mobilefacenet",
    backend: Tract(thread: 2),
    data: Pair(gallery: "picture:obamma", probe: "picture:obama2"),
    explain: {
        "fame": Fame(
            layer: "embedding",
            loss: Similarty(),
            perturbation: Lots(step: -1.0),
            map: [Gray(order: AbsThenGrey), MaxNormalize()],
        ),
    },
)
"#;

#[test]
fn five_mistakes_are_all_shown() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("five.ron"), FIVE).unwrap();
    let output = fame(dir.path(), &["check", "five.ron"]);
    assert_eq!(output.status.code(), Some(2));
    insta::assert_snapshot!(stderr(&output));
}

#[test]
fn mistakes_on_the_command_line_are_shown_there() {
    let dir = tempfile::tempdir().unwrap();
    let good = FIVE
        .replace("thread:", "threads:")
        .replace("obamma", "obama")
        .replace("Similarty", "Similarity")
        .replace("-1.0", "1.0");
    std::fs::write(dir.path().join("r.ron"), good.replace("AbsThenGrey", "AbsThenGray")).unwrap();
    let output = fame(dir.path(), &["check", "r.ron"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let set = "explain.fame.perturbation=Lots(steps: 3)";
    let output = fame(dir.path(), &["check", "r.ron", "--set", set]);
    assert_eq!(output.status.code(), Some(2));
    insta::assert_snapshot!(stderr(&output));
    let output = fame(
        dir.path(),
        &["check", "r.ron", "--set", "explain.fam.perturbation=Lots()", "--set", "seed=(1"],
    );
    assert_eq!(output.status.code(), Some(2));
    insta::assert_snapshot!(stderr(&output));
}

#[test]
fn what_is_not_a_recipe_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in [
        ("empty.ron", &b""[..]),
        ("cut.ron", b"(model: \"x\", data: Pair("),
        ("binary.ron", b"\xff\xfe\x00"),
        ("deep.ron", &vec![b'('; 100_000]),
    ] {
        std::fs::write(dir.path().join(name), bytes).unwrap();
        let output = fame(dir.path(), &["run", name]);
        let said = stderr(&output);
        assert!(matches!(output.status.code(), Some(1 | 2)), "{name}: {said}");
        assert!(said.contains(name) && !said.contains("panicked"), "{name}: {said}");
    }
    let output = fame(dir.path(), &["run", "missing.ron"]);
    assert!(stderr(&output).contains("cannot read `missing.ron`"), "{}", stderr(&output));
}

/// A manifest with three mistakes: a misspelt field, a value of the wrong kind, one that cannot be.
const BROKEN_MANIFEST: &str = r#"// My network.
(
    input: (size: (3, 56, 56), order: Rgb, mean: 0.5, std: 0),
    sumary: "mine",
    layers: ["embedding"],
)
"#;

#[test]
fn a_broken_manifest_gets_a_recipes_diagnostics() {
    let dir = workshop();
    std::fs::write(dir.path().join("net.ron"), BROKEN_MANIFEST).unwrap();
    std::fs::write(dir.path().join("r.ron"), recipe("net.onnx", "a.png", "b.png", FAME)).unwrap();
    let said = |arguments: &[&str], code: i32| {
        let output = fame(dir.path(), arguments);
        assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
        // The manifest is named by its whole path.
        stderr(&output).replace(&dir.path().display().to_string(), "…")
    };
    insta::assert_snapshot!(said(&["check", "r.ron"], 2));
    insta::assert_snapshot!(said(&["models", "show", "./net.ron"], 1));
}

#[test]
fn a_preset_that_no_plugin_knows_is_marked() {
    let dir = workshop();
    let text = recipe("net.onnx", "a.png", "b.png", FAME);
    std::fs::write(dir.path().join("r.ron"), text.replacen('(', "(preset: Autors, ", 1)).unwrap();
    let output = fame(dir.path(), &["check", "r.ron"]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    insta::assert_snapshot!(stderr(&output));
}

#[test]
fn a_manifest_that_asks_for_no_loss_is_told_once() {
    let dir = workshop();
    let asks_badly = MANIFEST.replace("Similarity()", "Similarty()");
    std::fs::write(dir.path().join("net.ron"), asks_badly).unwrap();
    let text = recipe("net.onnx", "a.png", "b.png", "Fame(), \"cam\": GradCam()");
    std::fs::write(dir.path().join("r.ron"), text).unwrap();
    let output = fame(dir.path(), &["check", "r.ron"]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    insta::assert_snapshot!(stderr(&output));
}

/// A recipe with these explainers and metrics, its third and fourth line.
fn measuring(explain: &str, metrics: &str) -> String {
    format!(
        "(model: \"net.onnx\", prepare: [],\ndata: Pair(gallery: \"a.png\", probe: \"b.png\"),\n\
         explain: {{{explain}}},\nmetrics: [{metrics}])"
    )
}

/// What `check --json` says of such a recipe: the summary, and code, line, column and help of each
/// problem.
fn told_as_json(explain: &str, metrics: &str) -> serde_json::Value {
    let dir = workshop();
    std::fs::write(dir.path().join("r.ron"), measuring(explain, metrics)).unwrap();
    let output = fame(dir.path(), &["check", "r.ron", "--json"]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    let said = stdout(&output);
    serde_json::from_str(said.lines().last().unwrap()).unwrap()
}

#[test]
fn a_misspelt_explainer_in_a_metric_is_marked_and_json_lists_every_problem() {
    let metrics = [
        r#"Road(against: ["random", "randm"])"#,
        r#"MapSimilarity(to: "fam")"#,
        r#"Verification(against: ["walk"])"#,
        r#"ByGroup(of: Road(against: ["fame", "rndom"]))"#,
    ];
    let metrics = metrics.join(", ");
    let explain = r#""fame": Fame(), "random": RandomMap()"#;
    let said = told_as_json(explain, &metrics);
    assert_eq!((&said["event"], &said["code"]), (&json!("error"), &json!("fame::recipe")));
    assert!(said["message"].as_str().unwrap().ends_with("has 4 errors"), "{said}");
    let problems = said["problems"].as_array().unwrap();
    let meant = ["did you mean `random`?", "did you mean `fame`?", "known: `fame`, `random`"];
    let expected =
        [("randm", meant[0]), ("fam", meant[1]), ("walk", meant[2]), ("rndom", meant[0])];
    assert_eq!(problems.len(), expected.len(), "{said}");
    for (problem, (name, help)) in problems.iter().zip(expected) {
        assert_eq!(problem["code"], "fame::recipe::unknown_explainer");
        let message = problem["message"].as_str().unwrap();
        assert!(message.contains(&format!("explainer `{name}`")), "{message}");
        let before = metrics.find(&format!("\"{name}\"")).unwrap();
        let column = "metrics: [".len() + before + 1;
        assert_eq!((&problem["line"], &problem["column"]), (&json!(4), &json!(column)), "{name}");
        assert_eq!((&problem["file"], &problem["help"]), (&json!("r.ron"), &json!(help)));
        assert_eq!(problem["label"], "unknown explainer");
    }
}

#[test]
fn an_explainer_with_a_mistake_of_its_own_is_not_missed_by_metrics() {
    let said = told_as_json(
        r#""fame": Fame(), "random": RandmMap(), "walk": 7"#,
        r#"Road(against: ["random", "fame", "walk"]), MapSimilarity(to: "random", of: ["fame"])"#,
    );
    let problems = said["problems"].as_array().unwrap();
    let codes: Vec<&str> = problems.iter().map(|p| p["code"].as_str().unwrap()).collect();
    assert_eq!(codes.len(), 2, "{said}");
    assert!(!codes.contains(&"fame::recipe::unknown_explainer"), "{said}");
    assert!(problems.iter().all(|p| p["line"] == 3), "{said}");
}
