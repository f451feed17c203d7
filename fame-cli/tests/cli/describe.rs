//! `fame-cli describe`.

use fame_core::registry::Kind;

use super::*;

#[test]
fn every_kind_is_listed_and_every_plugin_can_be_described() {
    let dir = tempfile::tempdir().unwrap();
    let all = fame(dir.path(), &["describe", "--json"]);
    let all: Vec<serde_json::Value> = serde_json::from_str(&stdout(&all)).unwrap();
    for kind in Kind::ALL.map(Kind::word) {
        if kind == Kind::Operator.word() {
            // Engines have their own: there is one only where a plugin brings it.
            let said = stderr(&fame(dir.path(), &["describe", kind]));
            assert!(said.contains("no operator is registered"), "{said}");
            continue;
        }
        let of_kind: Vec<_> = all.iter().filter(|p| p["kind"] == kind).collect();
        assert!(!of_kind.is_empty(), "no {kind}");
        let said = stdout(&fame(dir.path(), &["describe", kind]));
        for plugin in of_kind {
            assert!(
                said.contains(plugin["name"].as_str().unwrap())
                    && said.contains(plugin["example"].as_str().unwrap()),
                "{plugin}"
            );
        }
    }
}

#[test]
fn a_parameter_shows_type_default_and_meaning() {
    let dir = tempfile::tempdir().unwrap();
    let said = stdout(&fame(dir.path(), &["describe", "Lots"]));
    assert!(
        said.starts_with("PERTURBATIONS\n")
            && stdout(&fame(dir.path(), &["describe", "Logit"])).starts_with("LOSSES\n"),
        "{said}"
    );
    for part in [
        "step: number\n",
        "Default: 1/255",
        "iterations: integer\n",
        "Pixel | Normalised",
        "example    Lots(",
        "reference  Rozsa",
    ] {
        assert!(said.contains(part), "{part} is missing in\n{said}");
    }
    // A default that follows from nothing else stands beside the type.
    let said = stdout(&fame(dir.path(), &["describe", "MaskWalk"]));
    assert!(said.contains("iterations: integer, default 25"), "{said}");
}

#[test]
fn an_unknown_name_gets_the_nearest() {
    let dir = tempfile::tempdir().unwrap();
    let output = fame(dir.path(), &["describe", "Lotz"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("did you mean `Lots`?"), "{}", stderr(&output));
}
