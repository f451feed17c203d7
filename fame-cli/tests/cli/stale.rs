//! A result is kept only as long as everything that it was made of stays what it was.

use std::{fs, path::Path};

use super::{parts::computed, *};

const MANIFEST: &str = r#"(
    summary: "a net",
    input: (size: (3, 56, 56), order: Bgr, mean: 0.5, std: 0.5),
    ask: (loss: Logit(class: Index(0)), layer: "answer"),
    prepare: [CenterCrop(size: 56)],
    layers: { "look": "late", "answer": "logits" },
    labels: List(["a", "b", "c", "d", "e", "f"]),
)"#;

const RECIPE: &str = r#"(
    model: "net.onnx",
    data: ImageList(list: "list.csv"),
    explain: {
        "saliency": Saliency(),
        "cam": GradCam(layer: "look"),
        "stored": Precomputed(dir: "maps", pattern: "{stem}.npy"),
    },
    write: [Npy()],
)"#;

/// A folder with a network whose weights lie beside it, its manifest, a list, a picture and a map
/// that another program made.
fn desk() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for file in ["net.onnx", "net.bin"] {
        fs::copy(root().join("tests/golden/external").join(file), dir.path().join(file)).unwrap();
    }
    put(dir.path(), "net.ron", MANIFEST);
    put(dir.path(), "list.csv", "path,label\na.png,0\n");
    picture(60, 3).save(dir.path().join("a.png")).unwrap();
    fs::create_dir(dir.path().join("maps")).unwrap();
    fs::write(dir.path().join("maps/a.npy"), map(0.25)).unwrap();
    dir
}

fn put(folder: &Path, name: &str, text: &str) {
    fs::write(folder.join(name), text).unwrap();
}

/// A `.npy` file of 56 × 56 floats, all zero but the first.
fn map(first: f32) -> Vec<u8> {
    let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (56, 56), }";
    let header = format!("{header:<117}\n");
    let length = u16::try_from(header.len()).unwrap();
    let mut bytes = [&b"\x93NUMPY\x01\x00"[..], &length.to_le_bytes(), header.as_bytes()].concat();
    bytes.extend((0..56 * 56).flat_map(|i| if i == 0 { first } else { 0.0 }.to_le_bytes()));
    bytes
}

/// Replaces one text by another in the manifest.
fn edit(folder: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(folder.join("net.ron")).unwrap();
    assert!(text.contains(from), "{from} is not in {text}");
    put(folder, "net.ron", &text.replace(from, to));
}

/// Changes one byte of a file in the middle, and nothing of its size or time.
fn spoil(path: &Path) {
    let time = fs::metadata(path).unwrap().modified().unwrap();
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
    fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

/// What a run computes: nothing when the item is kept.
fn run_again(folder: &Path, recipe: &str) -> Vec<String> {
    let [(status, what)] = &computed(folder, "out", recipe)[..] else { panic!("one item") };
    assert_eq!(status == "kept", what.is_empty(), "{status} {what:?}");
    what.clone()
}

const ALL: [&str; 3] = ["saliency", "cam", "stored"];

/// A change: what it is called, how it is made, and the arguments of the run after it.
type Change = (&'static str, fn(&Path), &'static [&'static str]);

#[test]
fn each_change_of_what_determines_the_bytes_computes_anew() {
    let dir = desk();
    let folder = dir.path();
    assert_eq!(run_again(folder, RECIPE), ALL);
    let changes: [Change; 13] = [
        ("order", |f| edit(f, "Bgr", "Rgb"), &ALL),
        ("mean", |f| edit(f, "mean: 0.5", "mean: 0.4"), &ALL),
        ("std", |f| edit(f, "std: 0.5", "std: (0.5, 0.5, 0.25)"), &ALL),
        ("an alias", |f| edit(f, r#""look": "late""#, r#""look": "early""#), &ALL),
        ("labels", |f| edit(f, r#"["a","#, r#"["z","#), &ALL),
        ("prepare", |f| edit(f, "CenterCrop(size: 56)", "Resize()"), &ALL),
        // It is a parameter of whoever asks; the stored map asks nothing.
        ("ask", |f| edit(f, "Index(0)", "Index(1)"), &["saliency", "cam"]),
        ("weights beside the model", |f| spoil(&f.join("net.bin")), &ALL),
        ("the model", |f| append_producer(&f.join("net.onnx")), &ALL),
        ("a stored map", |f| fs::write(f.join("maps/a.npy"), map(0.75)).unwrap(), &["stored"]),
        ("a label in the list", |f| put(f, "list.csv", "path,label\na.png,1\n"), &ALL),
        ("the picture", |f| picture(60, 5).save(f.join("a.png")).unwrap(), &ALL),
        ("the weights again", |f| spoil(&f.join("net.bin")), &ALL),
    ];
    for (what, change, expected) in changes {
        change(folder);
        assert_eq!(run_again(folder, RECIPE), *expected, "{what}");
        assert!(run_again(folder, RECIPE).is_empty(), "{what}: the second run keeps it");
    }
}

const MASKED: &str = r#"(
    input: (size: (3, 56, 56), order: Rgb, mean: 0, std: 1, fixed: {"mask": File("mask.npy")}),
    ask: (loss: Logit(class: Index(0)), layer: "logits"),
)"#;

#[test]
fn a_changed_value_of_a_fixed_input_computes_anew() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    let net = root().join("tests/golden/external/masked.onnx");
    fs::copy(net, folder.join("net.onnx")).unwrap();
    put(folder, "net.ron", MASKED);
    fs::write(folder.join("mask.npy"), map(0.5)).unwrap();
    picture(56, 3).save(folder.join("a.png")).unwrap();
    let recipe = r#"(model: "net.onnx", data: Image(file: "a.png"), prepare: [],
        explain: {"saliency": Saliency()}, write: [Npy(raw: true)])"#;
    let raw = || {
        let bytes = fs::read(folder.join("out/items/a/saliency.class_0.raw.npy")).unwrap();
        f32::from_le_bytes(*bytes[bytes.len() - 4 * 3 * 56 * 56..].first_chunk().unwrap())
    };
    assert_eq!(run_again(folder, recipe), ["saliency"]);
    // The mean over 56 × 56 pixels of what the mask lets through.
    assert!((raw() * 56.0 * 56.0 - 0.5).abs() < 1e-6, "{}", raw());
    let values = |first: u8| format!("Values([{first}{}])", ", 0".repeat(56 * 56 - 1));
    let file = r#"File("mask.npy")"#;
    let changes: [(&str, &dyn Fn()); 3] = [
        ("the file", &|| fs::write(folder.join("mask.npy"), map(0.25)).unwrap()),
        ("another kind", &|| edit(folder, file, &values(2))),
        ("another number", &|| edit(folder, &values(2), &values(3))),
    ];
    for (what, change) in changes {
        change();
        assert_eq!(run_again(folder, recipe), ["saliency"], "{what}");
        assert!(run_again(folder, recipe).is_empty(), "{what}: the second run keeps it");
    }
    assert!((raw() * 56.0 * 56.0 - 3.0).abs() < 1e-5, "{}", raw());
    edit(folder, &values(3), r#"File("no.npy")"#);
    let output = fame(folder, &["run", "r.ron", "--out", "out"]);
    assert!(!output.status.success() && stderr(&output).contains("no.npy"), "{}", stderr(&output));
}

/// Another file of the same network: behind the last field of an ONNX file one more may stand.
fn append_producer(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    // Field 2, `producer_name`, of one letter.
    bytes.extend([0x12, 1, b'x']);
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_record_tells_the_files_of_the_weights() {
    let dir = desk();
    assert_eq!(run_again(dir.path(), RECIPE), ALL);
    let record: serde_json::Value =
        serde_json::from_slice(&fs::read(dir.path().join("out/run.json")).unwrap()).unwrap();
    let sha256 = record["model"]["data_files"]["net.bin"].as_str().unwrap();
    assert_eq!(sha256.len(), 64);
    let engine = record["plan"]["backend"]["Tract"]["engine"].as_str().unwrap();
    assert!(engine.starts_with("tract 0."), "{engine}");
}

#[test]
fn what_does_not_matter_keeps_everything() {
    let dir = desk();
    let folder = dir.path();
    assert_eq!(run_again(folder, RECIPE), ALL);
    let kept = |what: &str, recipe: &str| {
        assert!(run_again(folder, recipe).is_empty(), "{what} computed anew");
    };
    put(folder, "net.ron", &format!("// A remark.\n{}\n\n", MANIFEST.replace(", ", " , ")));
    kept("a comment and spaces in the manifest", RECIPE);
    let mut fields: Vec<&str> = MANIFEST.lines().collect();
    fields[1..7].reverse();
    let order = fields.join("\n").replace("mean: 0.5", "mean: [0.5, 0.5, 0.5]");
    put(folder, "net.ron", &order.replace("a net", "the same net"));
    kept("the manifest's fields in another order, and its summary", RECIPE);
    let now = std::time::SystemTime::now();
    for file in ["net.onnx", "net.bin", "net.ron", "list.csv", "a.png", "maps/a.npy"] {
        let file = fs::File::options().write(true).open(folder.join(file)).unwrap();
        file.set_modified(now).unwrap();
    }
    kept("the time of every file", RECIPE);
    let recipe = RECIPE.replace("Saliency()", "Saliency( ) /* the plainest */");
    kept("a comment in the recipe", &recipe);
    fs::create_dir(folder.join("copy")).unwrap();
    fs::copy(folder.join("net.onnx"), folder.join("copy/net.onnx")).unwrap();
    fs::copy(folder.join("net.bin"), folder.join("copy/net.bin")).unwrap();
    put(folder, "net.ron", &MANIFEST.replacen('(', r#"(source: File(path: "copy/net.onnx"),"#, 1));
    kept("a copy of the model elsewhere", RECIPE);
    // The whole folder somewhere else, results and all.
    let elsewhere = tempfile::tempdir().unwrap();
    copy_all(folder, elsewhere.path());
    assert!(run_again(elsewhere.path(), RECIPE).is_empty(), "another folder computed anew");
}

fn copy_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let place = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_all(&path, &place);
        } else {
            fs::copy(&path, &place).unwrap();
        }
    }
}

const SHAPES: &str = r#"(
    model: "shapes",
    data: Shapes(count: 2),
    explain: { "a": GradCam() },
    metrics: [PointingGame()],
    write: [Npy(), Report()],
)"#;

/// A folder with the recipe, and what is run of it with these values set: the exit code and what was
/// told.
fn shapes() -> (tempfile::TempDir, impl Fn(&[&str]) -> (Option<i32>, String)) {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "r.ron", SHAPES);
    let at = dir.path().to_owned();
    let run = move |set: &[&str]| {
        let mut words = vec!["run", "r.ron", "--out", "out"];
        set.iter().for_each(|value| words.extend(["--set", value]));
        let output = fame(&at, &words);
        (output.status.code(), stderr(&output))
    };
    (dir, run)
}

/// The names in a folder and what its files hold.
fn contents(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let mut all: Vec<_> = names
        .map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            (name, fs::read(entry.path()).unwrap_or_default())
        })
        // It names the process that writes.
        .filter(|(name, _)| name != "run.lock")
        .collect();
    all.sort();
    all
}

#[test]
fn measurements_and_report_of_another_recipe_do_not_stay() {
    let (dir, run) = shapes();
    let out = dir.path().join("out");
    assert_eq!(run(&[]).0, Some(0));
    assert!(out.join("metrics.csv").is_file() && out.join("report.html").is_file());
    let other = ["explain.a=Saliency()", "metrics=[]", "write=[Npy()]"];
    assert_eq!(run(&other).0, Some(0));
    assert!(!out.join("metrics.csv").exists() && !out.join("report.html").exists());
    // A page that `report` has made again is the run's still.
    assert_eq!(run(&[]).0, Some(0));
    assert_eq!(fame(dir.path(), &["report", "out"]).status.code(), Some(0));
    assert_eq!(fame(dir.path(), &["verify-run", "out"]).status.code(), Some(0));
    assert_eq!(run(&other).0, Some(0));
    assert!(!out.join("report.html").exists());
    // What somebody has changed stays, and is named.
    assert_eq!(run(&[]).0, Some(0));
    fs::write(out.join("metrics.csv"), "item,explainer,map,metric,quantity,parameter,value\n")
        .unwrap();
    let (code, told) = run(&other);
    assert!(code == Some(0) && told.contains("metrics.csv"), "{told}");
    assert!(out.join("metrics.csv").exists());
}

#[test]
fn a_file_of_the_name_of_one_of_ours_is_refused_before_anything_is_written() {
    for (name, set) in [
        ("metrics.csv", "seed=0"),
        ("metrics.parquet", "write=[Npy(),Parquet()]"),
        ("ro-crate-metadata.json", "write=[Npy(),RoCrate(licence: \"CC0-1.0\")]"),
    ] {
        let (dir, run) = shapes();
        let out = dir.path().join("out");
        assert_eq!(run(&["metrics=[]", "write=[Npy()]"]).0, Some(0));
        fs::write(out.join(name), "mine").unwrap();
        let before = contents(&out);
        let (code, told) = run(&[set]);
        assert_eq!(code, Some(1), "{told}");
        assert!(told.contains(name) && told.contains("--out FOLDER"), "{told}");
        assert_eq!(contents(&out), before, "{name}");
        // Its own it replaces.
        fs::remove_file(out.join(name)).unwrap();
        for _ in 0..2 {
            assert_eq!(run(&[set, "seed=1"]).0, Some(0));
        }
    }
}

#[test]
fn a_mistake_in_a_recipe_costs_an_earlier_run_nothing() {
    let (dir, run) = shapes();
    let out = dir.path().join("out");
    assert_eq!(run(&[]).0, Some(0));
    let before = (contents(&out), contents(&out.join("items")));
    for (set, told) in [
        ("explain.a=GradCam(layer: \"gone\")", "no layer called `gone`"),
        ("explain.a=GradCam(loss: Logit(class: Index(99)))", "99"),
        ("metrics=[Road(loss: Logit(class: Index(99)))]", "99"),
    ] {
        let (code, said) = run(&[set]);
        assert_eq!(code, Some(2), "{set}: {said}");
        // At its place.
        assert!(said.contains(told) && said.contains("╰── here"), "{said}");
        assert_eq!((contents(&out), contents(&out.join("items"))), before, "{set}");
    }
}

#[test]
fn another_manifest_or_network_is_said_to_replace_what_is_there() {
    let dir = desk();
    let run = || {
        put(dir.path(), "r.ron", RECIPE);
        let output = fame(dir.path(), &["run", "r.ron", "--out", "out"]);
        assert!(output.status.success(), "{}", stderr(&output));
        stderr(&output)
    };
    assert!(!run().contains("another question"));
    // Kept, and the same question.
    assert!(!run().contains("another question"));
    edit(dir.path(), "mean: 0.5", "mean: 0.25");
    let said = run();
    assert!(said.contains("since then changed: model.input.mean"), "{said}");
    spoil(&dir.path().join("net.bin"));
    let said = run();
    assert!(said.contains("since then changed: model.data_files"), "{said}");
}
