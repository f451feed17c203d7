//! `fame-cli report`: the page of a run, as it was made, and of a run that was not asked for any.

use super::{killed::measured, *};

/// A recipe over the workshop's files with these writers.
fn with_writers(writers: &str) -> String {
    let recipe = recipe("net.onnx", "a.png", "b.png", FAME);
    recipe.replace("explain:", &format!("write: [{writers}], explain:"))
}

#[test]
fn a_report_is_made_again_as_the_run_made_it() {
    let dir = workshop();
    let output = run(dir.path(), &with_writers("Report()"));
    assert!(output.status.success(), "{}", stderr(&output));
    let place = dir.path().join("out/report.html");
    let first = std::fs::read(&place).unwrap();
    std::fs::remove_file(&place).unwrap();
    let again = fame(dir.path(), &["report", "out"]);
    assert!(again.status.success(), "{}", stderr(&again));
    assert_eq!(stdout(&again).trim(), "wrote out/report.html");
    assert!(std::fs::read(&place).unwrap() == first, "the page differs");
    // The record was finished when the page was made, and the walk is in it.
    let page = String::from_utf8(first).unwrap();
    assert!(page.contains(">complete</span>") && page.contains("Loss along the walk"));
    // A run that keeps its item makes the page as well.
    std::fs::remove_file(&place).unwrap();
    let kept = run(dir.path(), &with_writers("Report()"));
    assert!(kept.status.success() && place.is_file(), "{}", stderr(&kept));
}

#[test]
fn a_run_without_the_writer_can_be_looked_at_too() {
    let dir = workshop();
    let output = run(dir.path(), &with_writers("Npy(), Picture()"));
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(!dir.path().join("out/report.html").exists());
    let made = fame(dir.path(), &["report", "out"]);
    assert!(made.status.success(), "{}", stderr(&made));
    let page = std::fs::read_to_string(dir.path().join("out/report.html")).unwrap();
    // A map and a prepared picture of each side.
    assert_eq!(page.matches("data:image/png").count(), 2);
    assert_eq!(page.matches("data:image/jpeg").count(), 2);
}

#[test]
fn a_folder_without_a_run_has_no_report() {
    let dir = workshop();
    let output = fame(dir.path(), &["report", "."]);
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(said.contains("holds no run") && said.contains("fame-cli run RECIPE"), "{said}");
    assert!(!dir.path().join("report.html").exists());
}

#[test]
fn a_crate_describes_what_other_writers_bring_together_wherever_it_stands() {
    let dir = measured(2, "Saliency(loss: Logit(class: Index(0)), layer: Output)");
    let set = ["--set", r#"write=[RoCrate(licence: "CC0-1.0"), Npy(), Report()]"#];
    let run = || {
        let output = fame(dir.path(), &[&["run", "r.ron", "--out", "out"][..], &set].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        let text = std::fs::read(dir.path().join("out/ro-crate-metadata.json")).unwrap();
        let document: serde_json::Value = serde_json::from_slice(&text).unwrap();
        let graph = document["@graph"].as_array().unwrap().iter();
        graph.map(|entity| entity["@id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let first = run();
    assert!(first.iter().any(|id| id == "report.html"), "{first:?}");
    assert!(first.iter().any(|id| id == "metrics.csv"), "{first:?}");
    assert_eq!(run(), first, "a run that keeps everything describes the same files");
}
