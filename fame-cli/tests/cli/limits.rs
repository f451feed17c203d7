//! Limits that a run is given: the time of an item, the memory of one thing.

use std::fs;

use super::{killed::many, *};

/// An item's walk that would take hours.
const ENDLESS: &str =
    "Fame(layer: Output, loss: Logit(class: Index(0)), perturbation: Lots(iterations: 100000000))";

#[test]
fn an_item_that_takes_too_long_fails_and_the_run_goes_on() {
    let dir = many(3, ENDLESS);
    let line = ["run", "r.ron", "--out", "out", "--item-timeout", "0.3"];
    let output = fame(dir.path(), &line);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    let all = record(&dir.path().join("out"));
    assert_eq!((&all["status"], &all["item_timeout_seconds"]), (&"incomplete".into(), &0.3.into()));
    let items = all["items"].as_array().unwrap();
    assert_eq!(items.len(), 3);
    for item in items {
        assert_eq!(item["status"], "failed");
        assert_eq!(item["error"]["code"], "fame::run::item_timeout");
        assert_eq!(item["error"]["message"], "the item took longer than 0.3 s.");
        // Each had the time for itself, and not much more.
        assert!(item["seconds"].as_f64().unwrap() >= 0.3, "{item}");
    }
    // With time enough they are made as by a run without a limit.
    let recipe = fs::read_to_string(dir.path().join("r.ron")).unwrap();
    fs::write(dir.path().join("r.ron"), recipe.replace("100000000", "2")).unwrap();
    let output = fame(dir.path(), &["run", "r.ron", "--out", "out", "--item-timeout", "600"]);
    assert!(stdout(&output).contains("3 done"), "{}{}", stdout(&output), stderr(&output));
    let none = fame(dir.path(), &["run", "r.ron", "--out", "none", "--item-timeout", "0"]);
    assert_eq!(none.status.code(), Some(2));
}

#[test]
fn what_passes_the_memory_is_refused_before_it_is_asked_for() {
    let dir = workshop();
    let refused = |recipe: &str, memory: &str, code: i32, says: &str| {
        fs::write(dir.path().join("r.ron"), recipe).unwrap();
        let line = ["run", "r.ron", "--out", "out", "--memory", memory];
        let output = fame(dir.path(), &line);
        let said = flat(&output);
        assert_eq!(output.status.code(), Some(code), "{said}");
        for part in [says, "of memory", "--memory 64GiB"] {
            assert!(said.contains(part), "{part}: {said}");
        }
        let _ = fs::remove_dir_all(dir.path().join("out"));
    };
    let walk = &recipe("net.onnx", "a.png", "b.png", FAME);
    refused(walk, "1KiB", 1, "the file");
    picture(900, 3).save(dir.path().join("big.png")).unwrap();
    let big = recipe("net.onnx", "a.png", "big.png", FAME);
    refused(&big, "8MiB", 3, "the picture `big.png` of 900×900 pixels");
    let scaled = walk.replace("prepare: []", "prepare: [Resize(width: 9000, height: 9000)]");
    refused(&scaled, "1GiB", 3, "a prepared picture of 9000×9000 pixels");
    let shapes = r#"(model: "net.onnx", data: Shapes(count: 1000000), prepare: [], explain: {"r": RandomMap()})"#;
    refused(shapes, "100MiB", 1, "the list of 1000000 drawn pictures would take 190.7 MiB");
}
