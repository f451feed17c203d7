//! Synthetic data from the command line to the FAME authors' file layout and back.

use std::{collections::BTreeMap, fs, path::Path};

use super::*;

/// Every file below `folder` by its path.
fn tree(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        for path in fs::read_dir(next).unwrap().map(|e| e.unwrap().path()) {
            if path.is_dir() {
                open.push(path);
            } else {
                all.insert(
                    path.strip_prefix(folder).unwrap().to_string_lossy().into_owned(),
                    fs::read(&path).unwrap(),
                );
            }
        }
    }
    all
}

#[test]
fn a_drawn_list_is_explained_and_the_authors_layout_is_read_back() {
    let dir = workshop();
    let made = fame(
        dir.path(),
        &["synth", "set", "--layout", "gpt-csv", "--count", "4", "--size", "56", "--seed", "9"],
    );
    assert!(
        made.status.success() && stdout(&made).contains("data: Pairs(list: "),
        "{}{}",
        stdout(&made),
        stderr(&made)
    );
    let recipe = |explain: &str| {
        format!(
            r#"(model: "net.onnx", data: Pairs(list: "set/pairs.csv", root: "set/images", ids: Rows), prepare: [], explain: {{"fame": {explain}}},
                write: [ReferenceLayout(model: "Adaface_ir_18", methods: {{"fame": "FAME"}}, dataset: "Set", protocol: "all")])"#
        )
    };
    let fame_spec = r"Fame(layer: Output, loss: Similarity(), perturbation: Lots(iterations: 2), map: [Gray(), MaxNormalize()])";
    fs::write(dir.path().join("r.ron"), recipe(fame_spec)).unwrap();
    let checked = fame(dir.path(), &["check", "r.ron"]);
    assert!(
        stdout(&checked).starts_with("4 pairs: 2 genuine, 2 impostor.\n"),
        "{}{}",
        stdout(&checked),
        stderr(&checked)
    );
    let ran = fame(dir.path(), &["run", "r.ron", "--out", "out"]);
    assert!(ran.status.success(), "{}", stderr(&ran));
    let maps = tree(&dir.path().join("out/reference"));
    let names: Vec<&str> = maps.keys().map(String::as_str).collect();
    // Eight maps, and the list of them.
    assert_eq!(names.len(), 9, "{names:?}");
    assert!(names.contains(&"SHA256SUMS"), "{names:?}");
    assert!(
        names.contains(&"FAME/Adaface_ir_18/Set/all/3_p_pos.npy")
            && names.contains(&"FAME/Adaface_ir_18/Set/all/0_g_pos.npy"),
        "{names:?}"
    );
    // A run that keeps every item gathers the same, also where the tree had been lost.
    fs::remove_dir_all(dir.path().join("out/reference")).unwrap();
    assert!(fame(dir.path(), &["run", "r.ron", "--out", "out"]).status.success());
    assert_eq!(tree(&dir.path().join("out/reference")), maps);
    // What their scripts would read, Precomputed reads, and hands on as it is.
    let theirs =
        r#"Precomputed(dir: "out/reference/FAME/Adaface_ir_18/Set/all", maps: ["similar"])"#;
    fs::write(dir.path().join("r.ron"), recipe(theirs)).unwrap();
    let read = fame(dir.path(), &["run", "r.ron", "--out", "again"]);
    assert!(read.status.success(), "{}", stderr(&read));
    assert_eq!(tree(&dir.path().join("again/reference")), maps);
}

#[test]
fn malformed_rows_stop_a_run_before_it_begins() {
    let dir = workshop();
    assert!(
        fame(dir.path(), &["synth", "set", "--layout", "gpt-csv", "--count", "4", "--size", "56"])
            .status
            .success()
    );
    fs::write(
        dir.path().join("set/pairs.csv"),
        "G,P,T\nid0000/0.png,id0000/1.png,1\nid0000/0.png,nobody.png,0\nid0000/0.png,,0\n",
    )
    .unwrap();
    fs::write(
        dir.path().join("r.ron"),
        r#"(model: "net.onnx", data: Pairs(list: "set/pairs.csv", root: "set/images"), prepare: [], explain: {"fame": Fame(layer: Output, loss: Similarity())})"#,
    )
    .unwrap();
    for arguments in [&["check", "r.ron"][..], &["run", "r.ron"]] {
        let output = fame(dir.path(), arguments);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        for part in [
            "2 rows that cannot be used",
            "line 3: the file is not there",
            "set/images/nobody.png",
            "line 4: a path is missing",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
    }
    assert!(!dir.path().join("out/r/items").exists());
}

#[test]
fn layouts_are_listed_and_unknown_ones_refused() {
    let dir = workshop();
    let listed = fame(dir.path(), &["synth", "--list"]);
    assert_eq!(stdout(&listed).lines().count(), 10);
    let unknown = fame(dir.path(), &["synth", "set", "--layout", "lwf"]);
    assert!(
        unknown.status.code() == Some(2) && stderr(&unknown).contains("lfw"),
        "{}",
        stderr(&unknown)
    );
    let there = fame(dir.path(), &["synth", ".", "--layout", "lfw"]);
    assert!(
        there.status.code() == Some(1) && stderr(&there).contains("already"),
        "{}",
        stderr(&there)
    );
}
