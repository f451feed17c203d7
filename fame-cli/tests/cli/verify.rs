//! `verify` and `inspect`: what they find, what they say, and how they end.

use super::*;

/// Runs `fame-cli` without an onnxruntime: neither the environment nor the cache has one.
fn without_library(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_fame-cli"));
    command
        .current_dir(folder)
        .args(arguments)
        .env("NO_COLOR", "1")
        .env_remove("ORT_DYLIB_PATH")
        .env("FAME_CACHE", folder.join("cache"));
    command.output().expect("fame-cli starts")
}

#[test]
fn without_its_library_the_witness_says_where_to_get_it() {
    let dir = workshop();
    let output = without_library(dir.path(), &["verify", "net.onnx"]);
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("onnxruntime is not here") && said.contains("onnxruntime.sh"), "{said}");
    let recipe = recipe("net.onnx", "a.png", "b.png", FAME)
        .replace("prepare: []", "prepare: [], check: ForwardCheck(backend: Ort())");
    std::fs::write(dir.path().join("r.ron"), recipe).unwrap();
    let output = without_library(dir.path(), &["run", "r.ron", "--out", "out"]);
    assert!(stderr(&output).contains("onnxruntime is not here"), "{}", stderr(&output));
}

#[test]
fn fewer_bits_than_f32_are_not_verified() {
    let dir = workshop();
    let bf16 = ["--backend", "Tract(precision: Bf16)"];
    for command in [["verify", "net.onnx"], ["inspect", "net.onnx"]] {
        let verify = if command[0] == "inspect" { &["--verify"][..] } else { &[] };
        let output = fame(dir.path(), &[&command, verify, &bf16].concat());
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("too few bits") && said.contains("precision: F32"), "{said}");
    }
}

#[test]
fn a_sound_network_is_verified_and_one_with_other_weights_is_not() {
    let dir = workshop();
    let witness = ["--witness", "Tract(threads: 1)"];
    let right = fame(dir.path(), &[&["verify", "net.onnx"][..], &witness].concat());
    let said = stdout(&right);
    assert_eq!(right.status.code(), Some(0), "{said}{}", stderr(&right));
    assert!(said.contains("layers compared on 4 inputs, 0 differ"), "{said}");
    assert!(said.contains("compared with slopes on 4 inputs, 0 differ"), "{said}");
    let other = ["verify", "net.onnx", "--picture", "a.png", "--backend", "RandomWeights()"];
    let wrong = fame(dir.path(), &[&other[..], &witness].concat());
    let said = stdout(&wrong);
    assert_eq!(wrong.status.code(), Some(3), "{said}{}", stderr(&wrong));
    let first = said.lines().next().unwrap();
    assert!(first.contains("it begins here, at node") && first.contains("(Conv)"), "{first}");
    assert!(said.contains("layers compared on 5 inputs"), "{said}");
}

#[test]
fn onnxruntime_agrees_where_it_is_here() {
    let Some(library) = std::env::var_os("ORT_DYLIB_PATH") else {
        println!("ABSENT onnxruntime: ORT_DYLIB_PATH is not set.");
        return;
    };
    let dir = workshop();
    let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_fame-cli"));
    command.current_dir(dir.path()).env("ORT_DYLIB_PATH", library);
    let output = command.args(["--json", "verify", "net.onnx"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
    let said = stdout(&output);
    // Behind the events, one line each.
    let document = &said[said.find("{\n").unwrap()..];
    let found: serde_json::Value = serde_json::from_str(document).unwrap();
    assert!(found["values"]["compared"].as_u64() > Some(50), "{found}");
    assert_eq!(found["gradient"]["measured"], 4, "{found}");
}

#[test]
fn inspect_compares_the_gradient_with_slopes_where_it_is_asked() {
    let dir = workshop();
    let output = fame(dir.path(), &["inspect", "net.onnx", "--verify"]);
    let said = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{said}{}", stderr(&output));
    assert!(said.contains("compared with slopes on 4 inputs, 0 differ"), "{said}");
    assert!(said.contains("numbers: one score for each class, or an embedding"), "{said}");
}

#[test]
fn an_alias_that_names_no_tensor_is_refused_before_anything_runs() {
    let dir = workshop();
    let manifest = MANIFEST.replace("ask:", "layers: {\"embedding\": \"outptu\"}, ask:");
    std::fs::write(dir.path().join("net.ron"), manifest).unwrap();
    let recipe = recipe("net.onnx", "a.png", "b.png", FAME);
    std::fs::write(dir.path().join("r.ron"), recipe).unwrap();
    for arguments in [&["inspect", "net.onnx"][..], &["check", "r.ron"], &["run", "r.ron"]] {
        let output = fame(dir.path(), arguments);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(said.contains("the network has no layer `outptu`"), "{arguments:?}: {said}");
    }
}

#[test]
fn a_model_that_is_not_there_is_not_told_to_lack_a_manifest() {
    let dir = workshop();
    let said = stderr(&fame(dir.path(), &["inspect", "nett.onnx"]));
    assert!(said.contains("there is no file `./nett.onnx`"), "{said}");
    std::fs::remove_file(dir.path().join("net.ron")).unwrap();
    let said = stderr(&fame(dir.path(), &["verify", "net.onnx"]));
    assert!(said.contains("has no manifest"), "{said}");
}

#[test]
fn inspect_proposes_a_manifest_that_is_complete() {
    let dir = workshop();
    std::fs::remove_file(dir.path().join("net.ron")).unwrap();
    let recipe = r#"(model: "net.onnx", data: Image(file: "a.png"), explain: {"fame": Fame()})"#;
    std::fs::write(dir.path().join("r.ron"), recipe).unwrap();
    for pictures in [&[][..], &["a.png"]] {
        let arguments = [&["--json", "inspect", "net.onnx"][..], pictures].concat();
        let output = fame(dir.path(), &arguments);
        assert!(output.status.success(), "{}", stderr(&output));
        // Lines of events come first.
        let said = stdout(&output);
        let said = &said[said.find("{\n").unwrap()..];
        let said: serde_json::Value = serde_json::from_str(said).unwrap();
        let assumed = said["assumed"][0].as_str().unwrap();
        assert!(assumed.starts_with("no manifest; assumed input: (size: "), "{assumed}");
        // It is what a run needs, and the recipe that had none runs with it.
        let manifest = said["proposed_manifest"].as_str().unwrap();
        assert!(manifest.contains("prepare: [ResizeShorter("), "{manifest}");
        std::fs::write(dir.path().join("net.ron"), manifest).unwrap();
        let checked = fame(dir.path(), &["check", "r.ron"]);
        assert!(checked.status.success(), "{}", stderr(&checked));
        // Now it has one: there is nothing to be compared.
        let refused = fame(dir.path(), &["inspect", "net.onnx", "a.png"]);
        assert_eq!(refused.status.code(), Some(2), "{}", stderr(&refused));
        std::fs::remove_file(dir.path().join("net.ron")).unwrap();
    }
    let said = stdout(&fame(dir.path(), &["inspect", "net.onnx"]));
    assert!(said.contains("The manifest that would go with it, as `net.ron`:"), "{said}");
}
