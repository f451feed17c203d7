//! `fame-cli run` and what it leaves.

use std::fs;

use super::*;

#[test]
fn a_run_leaves_maps_and_a_complete_record() {
    let dir = workshop();
    let output = run(dir.path(), &recipe("net.onnx", "a.png", "b.png", FAME));
    assert!(output.status.success(), "{}", stderr(&output));
    let record = record(&dir.path().join("out"));
    assert_eq!(record["status"], "complete");
    let map = &record["items"][0]["explanations"]["fame"]["maps"][0];
    assert_eq!(
        (&map["steps"], &map["stop"], &map["role"]),
        (&3.into(), &"iterations".into(), &"gallery".into())
    );
    assert!(map["loss_after"].as_f64() < map["loss_before"].as_f64());
    let item = dir.path().join("out/items/a--b");
    assert_eq!(image::open(item.join("fame.probe_similar.overlay.png")).unwrap().width(), 496);
    assert!(item.join("fame.probe_similar.npy").exists() && item.join("item.json").exists());
}

#[test]
fn the_authors_preset_changes_every_choice_and_the_record_says_so() {
    let dir = workshop();
    fs::write(
        dir.path().join("r.ron"),
        recipe("net.onnx", "a.png", "b.png", "Fame(layer: Output, loss: Similarity())"),
    )
    .unwrap();
    let plan = |sets: &[&str]| -> serde_json::Value {
        let mut arguments = vec!["check", "r.ron", "--json"];
        sets.iter().for_each(|s| arguments.extend(["--set", s]));
        let output = fame(dir.path(), &arguments);
        assert!(output.status.success(), "{}", stderr(&output));
        serde_json::from_str::<serde_json::Value>(&stdout(&output)).unwrap()["explain"][0]["explainer"]["Fame"].clone()
    };
    let paper = plan(&[]);
    assert_eq!(paper["loss"]["Similarity"]["norms"], "Frozen");
    assert_eq!(paper["perturbation"]["Lots"]["stop"], serde_json::json!([]));
    assert_eq!(paper["map"][0]["Gray"]["order"], "AbsThenGray");
    let authors = plan(&["preset=Authors"]);
    assert_eq!(authors["loss"]["Similarity"]["norms"], "Live");
    assert_eq!(authors["perturbation"]["Lots"]["stop"], serde_json::json!([{ "LossBelow": 0.01 }]));
    assert_eq!(authors["perturbation"]["Lots"]["space"], "Pixel");
    assert_eq!(authors["map"][0]["Gray"]["order"], "GrayThenAbs");
    assert!(authors["map"].as_array().unwrap().last().unwrap().get("MinMaxNormalize").is_some());
    let mixed = plan(&["preset=Authors", "explain.fame.loss=Similarity(norms: Frozen)"]);
    assert_eq!(mixed["loss"]["Similarity"]["norms"], "Frozen");
}

#[test]
fn events_are_json_lines_when_asked_for() {
    let dir = workshop();
    fs::write(dir.path().join("r.ron"), recipe("net.onnx", "a.png", "b.png", FAME)).unwrap();
    let output = fame(dir.path(), &["--json", "run", "r.ron", "--out", "out"]);
    let events: Vec<serde_json::Value> =
        stdout(&output).lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(events.first().unwrap()["event"], "stage");
    assert_eq!(
        (&events.last().unwrap()["event"], &events.last().unwrap()["status"]),
        (&"end".into(), &"complete".into())
    );
}

#[test]
fn inspect_lists_layers_and_says_which_can_be_explained() {
    let dir = workshop();
    let output = fame(dir.path(), &["inspect", "./net.onnx"]);
    let said = stdout(&output);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(
        said.contains("input [3, 56, 56]") && said.contains("PRelu") && said.contains("(output)"),
        "{said}"
    );
    assert!(said.trim_end().ends_with("can be explained."), "{said}");
}

#[test]
fn a_mistyped_item_leaves_a_complete_run_alone() {
    let dir = workshop();
    assert!(run(dir.path(), &recipe("net.onnx", "a.png", "b.png", FAME)).status.success());
    let record = fs::read(dir.path().join("out/run.json")).unwrap();
    let output = fame(dir.path(), &["run", "r.ron", "--out", "out", "--only", "a--c"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(fs::read(dir.path().join("out/run.json")).unwrap(), record);
    // Where no run was before, the failure is what there is to tell.
    fame(dir.path(), &["run", "r.ron", "--out", "new", "--only", "a--c"]);
    assert!(fs::read_to_string(dir.path().join("new/run.json")).unwrap().contains("failed"));
}

#[test]
fn a_mark_before_the_first_character_is_no_mistake() {
    let dir = workshop();
    fs::write(dir.path().join("net.ron"), format!("\u{feff}{MANIFEST}")).unwrap();
    let text = format!("\u{feff}{}", recipe("net.onnx", "a.png", "b.png", FAME));
    fs::write(dir.path().join("r.ron"), text).unwrap();
    let output = fame(dir.path(), &["check", "r.ron"]);
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn a_name_too_long_for_a_folder_is_cut_and_stays_its_own() {
    let dir = workshop();
    // A folder and a file of 150 letters: the id has both where the file's name is there twice.
    for folder in ["x", "y"] {
        let folder = dir.path().join(folder.repeat(150));
        fs::create_dir(&folder).unwrap();
        picture(56, 3).save(folder.join(format!("{}.png", "z".repeat(150)))).unwrap();
    }
    let text = r#"(model: "net.onnx", data: Folder(path: ".", recursive: true), prepare: [], explain: {"r": RandomMap()})"#;
    let output = run(dir.path(), text);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let mut folders: Vec<String> = fs::read_dir(dir.path().join("out/items"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with(['x', 'y']))
        .collect();
    folders.sort();
    assert_eq!(folders.len(), 2, "{folders:?}");
    assert!(folders.iter().all(|name| name.len() <= 200), "{folders:?}");
}

#[test]
fn a_foreign_manifest_runs_its_script_only_when_it_is_trusted() {
    let dir = workshop();
    let source = format!(
        r#"(source: Converted(from: File(path: "net.onnx"), script: "evil.py", requirements: [], sha256: "{}"), "#,
        "0".repeat(64)
    );
    fs::write(dir.path().join("net.ron"), MANIFEST.replacen('(', &source, 1)).unwrap();
    fs::write(dir.path().join("evil.py"), "open('RAN', 'w')").unwrap();
    fs::write(dir.path().join("r.ron"), recipe("net.ron", "a.png", "b.png", FAME)).unwrap();
    for arguments in [
        &["check", "r.ron"][..],
        &["inspect", "net.ron"],
        &["inspect", "net.ron", "--trust-manifest"],
        &["run", "r.ron", "--out", "out"],
    ] {
        let output = fame(dir.path(), arguments);
        assert!(!dir.path().join("RAN").exists(), "{arguments:?}");
        let said = stderr(&output);
        assert!(arguments[0] == "check" || said.contains("evil.py"), "{arguments:?}: {said}");
    }
    let said = stderr(&fame(dir.path(), &["run", "r.ron", "--out", "out"]));
    assert!(said.contains("--trust-manifest"), "{said}");
}

#[test]
fn unknown_items_and_closed_pipes_are_no_panics() {
    let dir = workshop();
    fs::write(dir.path().join("r.ron"), recipe("net.onnx", "a.png", "b.png", FAME)).unwrap();
    let output = fame(dir.path(), &["run", "r.ron", "--out", "out", "--only", "a--c"]);
    assert_eq!(output.status.code(), Some(2), "as every argument that cannot be");
    assert!(stderr(&output).contains("did you mean `a--b`?"), "{}", stderr(&output));
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_fame-cli"))
        .args(["describe", "--json"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let ended = child.wait_with_output().unwrap();
    assert!(!stderr(&ended).contains("panicked"), "{}", stderr(&ended));
}

#[test]
fn a_users_file_in_an_items_folder_stays() {
    let dir = workshop();
    let text = recipe("net.onnx", "a.png", "b.png", FAME);
    assert!(run(dir.path(), &text).status.success());
    let notes = dir.path().join("out/items/a--b/notes.txt");
    std::fs::write(&notes, "mine").unwrap();
    // Nothing to do: nothing is replaced.
    assert!(run(dir.path(), &text).status.success());
    let output = run(dir.path(), &text.replace("iterations: 3", "iterations: 2"));
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    assert!(stderr(&output).contains("`notes.txt`, which no run of fame wrote"));
    assert_eq!(std::fs::read_to_string(notes).unwrap(), "mine");
}

/// How many pairs there are of which kind is nothing to be warned of; that one is there twice is.
#[test]
fn what_a_list_holds_is_a_note_and_what_is_odd_in_it_a_warning() {
    let dir = workshop();
    let pair = r#"(gallery: "a.png", probe: "b.png", genuine: true)"#;
    let text = |pairs: &str| {
        recipe("net.onnx", "a.png", "b.png", FAME).replace(
            r#"Pair(gallery: "a.png", probe: "b.png")"#,
            &format!("Pairs(pairs: [{pairs}])"),
        )
    };
    let said = stderr(&run(dir.path(), &text(pair)));
    assert!(said.contains("note: 1 pair: 1 genuine, 0 impostor.") && !said.contains("warning:"));
    let notes = record(&dir.path().join("out"))["data"]["notes"].clone();
    assert_eq!(notes, serde_json::json!(["1 pair: 1 genuine, 0 impostor."]));
    let said = stderr(&run(dir.path(), &text(&format!("{pair}, {pair}"))));
    assert!(said.contains("note: 2 pairs: 2 genuine, 0 impostor."), "{said}");
    assert!(said.contains("warning: 1 of the pairs repeat an earlier one"), "{said}");
    let line = ["--json", "run", "r.ron", "--out", "other"];
    let events = stdout(&fame(dir.path(), &line));
    let note = r#"{"event":"note","text":"2 pairs: 2 genuine, 0 impostor."}"#;
    assert!(events.lines().any(|line| line == note), "{events}");
}
