//! Detection, a task that fame-core has never heard of, brought by a crate outside of the
//! workspace: linked into `fame-cli` by the feature `detection`, and loaded into it as a file.

// Helpers of tests, outside of the test functions that clippy knows.
#![allow(clippy::unwrap_used, clippy::case_sensitive_file_extension_comparisons)]

mod onnx;

use std::{
    collections::BTreeMap,
    env::consts::{DLL_PREFIX, DLL_SUFFIX},
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::OnceLock,
};

use fame_core::{
    Plan,
    recipe::RecipeText,
    registry::Registry,
    run::{Event, Observer, RunOptions, RunStatus, recipe_folder, run},
    store::ModelStore,
};
// Linked, beside what is built in.
use fame_detection as _;
use fame_plugins as _;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn third_party() -> PathBuf {
    root().join("tests/third-party/fame-detection")
}

/// The plugin, built from its own workspace with its own lock file, once for all tests.
fn plugin() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        cargo(&["build", "--locked"]);
        target().join("debug").join(format!("{DLL_PREFIX}fame_detection{DLL_SUFFIX}"))
    })
}

/// Where crates outside of the workspace are built.
fn target() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("third-party")
}

/// Cargo in the crate's own workspace; what it printed.
fn cargo(arguments: &[&str]) -> String {
    let mut cargo = Command::new(env!("CARGO"));
    // What cargo tells the tests of this crate is not about that one.
    for (name, _) in std::env::vars()
        .filter(|(name, _)| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_"))
    {
        cargo.env_remove(name);
    }
    let output = cargo
        .current_dir(third_party())
        .args(arguments)
        .env("CARGO_TARGET_DIR", target())
        .output()
        .unwrap();
    assert!(output.status.success(), "cargo {arguments:?}: {}", said(&output));
    said(&output)
}

/// `fame-cli --plugin …` with arguments, run in `folder`.
fn fame(folder: &Path, arguments: &[&str]) -> Output {
    let plugin = plugin().to_str().unwrap();
    as_installed(folder, &[&["--plugin", plugin], arguments].concat())
}

/// `fame-cli` with arguments and no plugin, run in `folder`.
fn as_installed(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fame-cli"));
    command.current_dir(folder).args(arguments).env("NO_COLOR", "1").output().unwrap()
}

fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// A folder with the hand-made detector, its manifest, and a COCO list of two pictures with one
/// bright cell each.
fn workshop() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(dir.path().join(name), bytes).unwrap();
    write("blobs.onnx", &onnx::blob_detector());
    write(
        "blobs.ron",
        br#"(input: (size: (3, 32, 32), order: Rgb, mean: 0, std: 1), layers: {"heatmap": "heatmap", "wh": "wh"}, labels: List(["blob"]))"#,
    );
    fs::create_dir(dir.path().join("pictures")).unwrap();
    for (name, column) in [("a", 1), ("b", 3)] {
        // Twice the detector's size: boxes must follow the picture.
        let bright = |x: u32, y: u32| {
            if x / 16 == column && y / 16 == 2 { 250 } else { 20 + ((x * 7 + y * 3) % 30) as u8 }
        };
        let picture = image::RgbImage::from_fn(64, 64, |x, y| image::Rgb([bright(x, y); 3]));
        picture.save(dir.path().join(format!("pictures/{name}.png"))).unwrap();
    }
    write(
        "list.json",
        br#"{
  "images": [{"id": 1, "file_name": "a.png", "width": 64, "height": 64}, {"id": 2, "file_name": "b.png", "width": 64, "height": 64}],
  "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [16, 32, 16, 16]}, {"id": 2, "image_id": 2, "category_id": 1, "bbox": [48, 32, 16, 16]}],
  "categories": [{"id": 1, "name": "blob"}]
}"#,
    );
    write("recipe.ron", RECIPE.as_bytes());
    dir
}

const RECIPE: &str = r#"(
    model: "blobs.onnx",
    data: Coco(annotations: "list.json", images: "pictures"),
    prepare: [Resize()],
    explain: {
        "fame": Fame(
            layer: ["heatmap", "wh"],
            loss: DetectionScore(of: Detections(head: CenterNet(stride: 8, offset: 0.5), which: Annotations)),
            perturbation: Lots(iterations: 5),
            map: [Gray(), MaxNormalize()],
        ),
        "left": Fame(
            layer: ["heatmap", "wh"],
            loss: BoxCoordinate(of: Detections(head: CenterNet(stride: 8, offset: 0.5)), coordinate: Left, direction: Increase),
            perturbation: Lots(iterations: 2),
            map: [Gray(), MaxNormalize()],
        ),
        "d_rise": DRise(of: Detections(head: CenterNet(stride: 8, offset: 0.5)), masks: 300, grid: 4),
        "random": RandomMap(),
    },
    metrics: [
        DetectionPointing(of: Detections(head: CenterNet(stride: 8, offset: 0.5)), truth: Annotation),
        DetectionEnergy(of: Detections(head: CenterNet(stride: 8, offset: 0.5)), truth: Annotation),
        DetectionDeletion(of: Detections(head: CenterNet(stride: 8, offset: 0.5)), steps: 16, delete_to: Black),
    ],
    write: [Npy(), DetectionOverlay()],
)"#;

/// The mean over items of each quantity, by explainer, from `metrics.csv`.
fn measured(out: &Path) -> BTreeMap<(String, String), f64> {
    let text = fs::read_to_string(out.join("metrics.csv")).unwrap();
    let mut lines = text.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let header = lines.next().unwrap();
    let column = |name: &str| {
        header.iter().position(|h| *h == name).unwrap_or_else(|| panic!("no {name} in {header:?}"))
    };
    let (explainer, quantity, value) = (column("explainer"), column("quantity"), column("value"));
    let mut all: BTreeMap<(String, String), Vec<f64>> = BTreeMap::new();
    for line in lines {
        all.entry((line[explainer].to_owned(), line[quantity].to_owned()))
            .or_default()
            .push(line[value].parse().unwrap());
    }
    all.into_iter()
        .map(|(key, values)| (key, values.iter().sum::<f64>() / values.len() as f64))
        .collect()
}

#[test]
fn a_loaded_detector_plugin_explains_a_list_with_boxes() {
    let dir = workshop();
    let output = fame(dir.path(), &["run", "recipe.ron", "--out", "out"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let numbers = measured(&dir.path().join("out"));
    let of =
        |explainer: &str, quantity: &str| numbers[&(explainer.to_owned(), quantity.to_owned())];
    // A cell sees its own pixels and no others, and nothing was blurred.
    assert_eq!((of("fame", "hit"), of("left", "hit"), of("d_rise", "hit")), (1.0, 1.0, 1.0));
    assert!(of("fame", "energy") > 0.999 && of("left", "energy") > 0.999, "{numbers:?}");
    // The box covers 1/16; the masks smear over a cell, and noise knows nothing.
    assert!(of("d_rise", "energy") > 2.0 * of("random", "energy"), "{numbers:?}");
    assert!(
        (of("random", "energy") - 1.0 / 16.0).abs() < 0.02 && of("fame", "area") == 1.0 / 16.0,
        "{numbers:?}"
    );
    assert!(
        of("fame", "deletion_auc") < of("random", "deletion_auc")
            && of("fame", "insertion_auc") > of("random", "insertion_auc"),
        "{numbers:?}"
    );
    for file in [
        "fame.annotated_blob_0.detection.png",
        "left.blob_0.detection.png",
        "d_rise.blob_0.npy",
        "random.image.detection.png",
    ] {
        assert!(dir.path().join("out/items/b").join(file).is_file(), "{file}");
    }
    let item: serde_json::Value = serde_json::from_str(
        &fs::read_to_string(dir.path().join("out/items/b/item.json")).unwrap(),
    )
    .unwrap();
    let map = &item["explanations"]["fame"]["maps"][0];
    assert_eq!(map["box"], serde_json::json!([24.0, 16.0, 32.0, 24.0]), "{map}");
    assert!(map["loss_after"].as_f64() < map["loss_before"].as_f64(), "{map}");
}

#[test]
fn the_crates_own_tests_pass() {
    // Not beside the build: both write the library.
    plugin();
    let text = cargo(&["test", "--locked", "--lib"]);
    let passed = text.split("test result: ok. ").nth(1).and_then(|rest| rest.split(' ').next());
    let passed: usize = passed.and_then(|n| n.parse().ok()).unwrap_or(0);
    assert!(passed > 50, "{passed} tests: {text}");
}

#[test]
fn a_broken_list_is_refused_before_anything_runs() {
    let dir = workshop();
    let list = fs::read_to_string(dir.path().join("list.json")).unwrap();
    fs::write(
        dir.path().join("list.json"),
        list.replace("[16, 32, 16, 16]", "[16, 32, 16]")
            .replace("\"image_id\": 2", "\"image_id\": 5"),
    )
    .unwrap();
    let output = fame(dir.path(), &["run", "recipe.ron", "--out", "out"]);
    let text = said(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains("has 2 malformed records")
            && text.contains("annotations[0]: invalid length 3")
            && text.contains("annotations[1]: image_id 5"),
        "{text}"
    );
    assert!(!dir.path().join("out/items").exists());
}

#[test]
fn the_plugin_declares_itself_and_its_kinds_are_described() {
    let dir = tempfile::tempdir().unwrap();
    let check = fame(dir.path(), &["plugin", "check", &plugin().to_string_lossy()]);
    assert!(check.status.success() && said(&check).contains("fame-detection"), "{}", said(&check));
    let about = fame(dir.path(), &["describe", "DetectionScore"]);
    assert!(
        about.status.success() && said(&about).contains("which pixels make this detection"),
        "{}",
        said(&about)
    );
    // What the numbers of a box are, wherever somebody looks up who takes and tells them.
    for name in ["DetectionScore", "BoxCoordinate", "DRise"] {
        let about = said(&fame(dir.path(), &["describe", name]));
        let about = about.split_whitespace().collect::<Vec<_>>().join(" ");
        for told in [
            "left, top, right, bottom",
            "pixels of the network's input",
            "pixels of the picture as it was decoded",
        ] {
            assert!(about.contains(told), "{name}: {told}: {about}");
        }
    }
    let unknown = fame(dir.path(), &["describe", "loss"]);
    assert!(
        said(&unknown).contains("BoxCoordinate") && said(&unknown).contains("Logit"),
        "{}",
        said(&unknown)
    );
}

struct Quiet;

impl Observer for Quiet {
    fn event(&self, _: &Event<'_>) {}
}

/// What makes the recipe for faces short.
const SHORT: [&str; 3] = [
    "explain.fame.perturbation.iterations=10",
    "explain.d_rise.masks=12",
    "metrics=[DetectionEnergy(of: Detections(head: UltraFace()))]",
];

/// The same recipe in this process, where the crate is linked.
fn run_linked(recipe: &Path, out: &Path) {
    let mut text = RecipeText::read(recipe).unwrap().with_defaults(fame_plugins::RECIPE_DEFAULTS);
    for set in SHORT {
        text.set(set).unwrap();
    }
    let store =
        ModelStore::from_env().unwrap().with_folder(root().join("models")).trusting_manifests(true);
    let plan = Plan::resolve(text, &recipe_folder(recipe), &Registry::builtin().unwrap(), &store);
    let plan = plan.unwrap_or_else(|p| {
        panic!("{:#?}", p.each.iter().map(|e| e.problem().clone()).collect::<Vec<_>>())
    });
    let options = RunOptions::new(out);
    assert_eq!(run(&plan, &store, &options, &Quiet).unwrap().status, RunStatus::Complete);
}

/// Every file of the run's only item, by name.
fn item_files(out: &Path) -> BTreeMap<String, Vec<u8>> {
    let item = fs::read_dir(out.join("items")).unwrap().next().unwrap().unwrap().path();
    let files = fs::read_dir(item).unwrap().map(|f| f.unwrap());
    files.map(|f| (f.file_name().into_string().unwrap(), fs::read(f.path()).unwrap())).collect()
}

#[test]
fn a_face_is_explained_by_its_own_pixels_and_loaded_or_linked_to_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let recipe = third_party().join("recipes/face_detection.ron");
    let sets = SHORT.iter().flat_map(|set| ["--set", set]);
    let arguments: Vec<&str> =
        ["run", recipe.to_str().unwrap(), "--out", "loaded"].into_iter().chain(sets).collect();
    let output = fame(dir.path(), &arguments);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    run_linked(&recipe, &dir.path().join("linked"));
    let (loaded, linked) =
        (item_files(&dir.path().join("loaded")), item_files(&dir.path().join("linked")));
    assert_eq!(loaded.keys().collect::<Vec<_>>(), linked.keys().collect::<Vec<_>>());
    let compared = loaded
        .iter()
        .filter(|(name, _)| Path::new(name).extension().is_some_and(|e| e == "npy" || e == "png"));
    let differing: Vec<&String> = compared
        .clone()
        .filter(|(name, bytes)| linked[*name] != **bytes)
        .map(|(name, _)| name)
        .collect();
    assert!(compared.count() >= 8 && differing.is_empty(), "{differing:?} of {:?}", loaded.keys());
    let numbers = measured(&dir.path().join("loaded"));
    let of =
        |explainer: &str, quantity: &str| numbers[&(explainer.to_owned(), quantity.to_owned())];
    assert!(of("fame", "energy") > 0.6, "{numbers:?}");
    assert!((of("random", "energy") - of("random", "area")).abs() < 0.02, "{numbers:?}");
}

/// The text of `run.json`, `item.json` and the like.
fn json(path: &Path) -> serde_json::Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

#[cfg(feature = "detection")]
#[test]
fn the_installed_program_knows_detectors_and_has_their_recipes() {
    let dir = workshop();
    let list = said(&as_installed(dir.path(), &["recipes", "list"]));
    for name in ["face_detection", "coco_folder"] {
        assert!(list.lines().any(|line| line.starts_with(name)), "{list}");
    }
    let check = as_installed(dir.path(), &["check", "face_detection"]);
    assert!(check.status.success(), "{}", said(&check));
    let output = as_installed(dir.path(), &["run", "recipe.ron", "--out", "out"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(dir.path().join("out/items/b/fame.annotated_blob_0.detection.png").is_file());
}

#[test]
fn the_library_takes_the_place_of_the_crate_that_is_linked() {
    let dir = workshop();
    let list = said(&fame(dir.path(), &["plugin", "list"]));
    let of_detection: Vec<&str> =
        list.lines().filter(|line| line.starts_with("fame-detection ")).collect();
    assert!(
        of_detection.len() == 1 && of_detection[0].ends_with("), loaded"),
        "once, from the file: {list}"
    );
    let short =
        ["--set", "explain.fame.perturbation.iterations=1", "--set", "explain.d_rise.masks=9"];
    let arguments = [&["run", "recipe.ron", "--out", "out"], &short[..]].concat();
    let output = fame(dir.path(), &arguments);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let text = json(&dir.path().join("out/run.json")).to_string();
    let file = plugin().file_name().unwrap().to_str().unwrap();
    assert!(text.contains(file) && text.contains("fame-detection 0.1.0"), "{text}");
    // The record and the run itself say whose place it takes.
    assert!(text.contains(r#""replaces":["fame-detection 0.1.0"]"#), "{text}");
    assert!(said(&output).contains("takes the place of fame-detection 0.1.0"), "{}", said(&output));
}

/// What `inspect` recognises in the made detector `net.onnx` of `workshop`, which the recipe it
/// leads to explains.
#[cfg(feature = "detection")]
fn recognised(bytes: &[u8], labels: &str, head: &str, layers: &[&str]) {
    /// Pixels: DETR's boxes move by hundredths with the picture.
    const SLACK: f64 = 0.05;
    let dir = workshop();
    let place = |name: &str| dir.path().join(name);
    fs::write(place("net.onnx"), bytes).unwrap();
    let bare = said(&as_installed(dir.path(), &["inspect", "net.onnx"]));
    let sentence = format!("loss: DetectionScore(of: Detections(head: {head}))");
    assert!(bare.contains("This is a detector") && bare.contains(&sentence), "{bare}");
    // What it proposes, and what `explain` and `init` would take, asks the same.
    let ask =
        format!("ask: (loss: DetectionScore(of: Detections(head: {head})), layer: {layers:?})");
    assert!(bare.contains(&ask) && bare.contains("prepare: [Letterbox()]"), "{bare}");
    let picture = "pictures/a.png";
    let output = as_installed(dir.path(), &["init", "net.onnx", picture, "--recipe", "asked.ron"]);
    let told = said(&output);
    assert!(
        told.contains("score of its best detection") && told.contains(" at (8, 16)–(16, 24)"),
        "{told}"
    );
    let asked = fs::read_to_string(place("asked.ron")).unwrap();
    assert!(asked.contains("DetectionOverlay()"), "{asked}");
    let output = as_installed(dir.path(), &["explain", "net.onnx", picture, "--class", "0"]);
    assert!(said(&output).contains("this network is a detector"), "{}", said(&output));
    let manifest = format!(
        "(input: (size: (3, 32, 32), order: Rgb, mean: 0, std: 1), labels: List({labels}))"
    );
    fs::write(place("net.ron"), manifest).unwrap();
    let output = as_installed(dir.path(), &["inspect", "net.ron", "--json"]);
    // The answer comes last, behind an event for each file that is looked for.
    let documents = serde_json::Deserializer::from_slice(&output.stdout).into_iter();
    let found: serde_json::Value = documents.last().unwrap().unwrap();
    let detector = &found["detector"];
    assert_eq!((&detector["head"], &detector["layers"]), (&head.into(), &layers.into()));
    let (loss, layers) = (detector["loss"].as_str().unwrap(), &detector["layers"]);
    let recipe = format!(
        r#"(
    model: "net.onnx",
    data: Coco(annotations: "list.json", images: "pictures"),
    prepare: [Resize()],
    explain: {{"fame": Fame(layer: {layers}, loss: {loss}, perturbation: Lots(iterations: 5), map: [Gray(), MaxNormalize()])}},
    metrics: [DetectionEnergy(of: Detections(head: {head}), truth: Annotation)],
    write: [DetectionOverlay()],
)"#
    );
    fs::write(place("recipe.ron"), recipe).unwrap();
    let output = as_installed(dir.path(), &["run", "recipe.ron", "--out", "out"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let map = &json(&place("out/items/a/item.json"))["explanations"]["fame"]["maps"][0];
    let sides: Vec<f64> =
        map["box"].as_array().unwrap().iter().map(|side| side.as_f64().unwrap()).collect();
    let is_near = |(side, wanted): (&f64, f64)| (side - wanted).abs() < SLACK;
    assert!(sides.iter().zip([8.0, 16.0, 16.0, 24.0]).all(is_near), "the bright cell: {sides:?}");
    let energy = measured(&place("out"))[&("fame".to_owned(), "energy".to_owned())];
    assert!(energy > 0.999, "a cell sees its own pixels and no others: {energy}");
}

/// A manifest that asks nothing does not make a classifier of a detector.
#[cfg(feature = "detection")]
#[test]
fn a_detector_whose_manifest_asks_nothing_is_asked_about_its_best_detection() {
    let dir = workshop();
    fs::write(dir.path().join("net.onnx"), onnx::yolo_detector()).unwrap();
    // Labels of any length: files are called after them.
    let labels = ["blob", "ghost"].map(|name| name.repeat(75));
    let manifest = format!(
        "(input: (size: (3, 32, 32), order: Rgb, mean: 0, std: 1), prepare: [Resize()], labels: List({labels:?}))"
    );
    fs::write(dir.path().join("net.ron"), manifest).unwrap();
    let line = [
        &["explain", "net.onnx", "pictures/a.png", "--out", "out"][..],
        &["--method", "Fame(perturbation: Lots(iterations: 2), map: [Gray(), MaxNormalize()])"],
        &["--method", "Saliency"],
    ];
    let output = as_installed(dir.path(), &line.concat());
    let told = said(&output);
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert!(told.contains("by its outputs this is a detector"), "{told}");
    assert!(told.contains(" at (8, 16)–(16, 24)"), "{told}");
    assert!(told.contains("), in pixels of the network's input"), "{told}");
    assert!(told.contains("Which pixels make this detection?"), "{told}");
    for asked in ["Fame(loss: DetectionScore(", "Saliency(loss: DetectionScore("] {
        assert!(told.contains(asked), "{asked}: {told}");
    }
    let item = json(&dir.path().join("out/items/a/item.json"));
    let map = &item["explanations"]["fame"]["maps"][0];
    assert!(map["name"].as_str().is_some_and(|name| name.len() > 300), "in full: {map}");
    let files = item["files"].as_object().unwrap();
    for ending in [".npy", ".overlay.png", ".detection.png"] {
        let is_of_fame = |name: &&String| name.starts_with("fame.") && name.ends_with(ending);
        assert_eq!(files.keys().filter(is_of_fame).count(), 1, "{ending}: {files:?}");
    }
}

#[cfg(feature = "detection")]
#[test]
fn a_made_yolo_is_recognised_and_explained_as_inspect_says() {
    recognised(&onnx::yolo_detector(), r#"["blob", "ghost"]"#, "Yolo()", &["output0"]);
}

#[cfg(feature = "detection")]
#[test]
fn a_made_detr_is_recognised_and_explained_as_inspect_says() {
    recognised(&onnx::detr_detector(), r#"["blob"]"#, "Detr()", &["logits", "pred_boxes"]);
}
