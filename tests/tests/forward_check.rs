//! The forward check: silent where two engines agree, and on the right item where one of them is
//! broken.

// Helpers of tests, outside of the test functions that clippy knows.
#![allow(clippy::unwrap_used)]

use std::{fs, path::Path};

use fame_core::{
    Bias, GradientPlace, Layer, LoadRequest, Plan, Result, Taps, Tensor,
    contract::{Backend, Network, Pass},
    recipe::RecipeText,
    registry::{Assembly, BuildContext, Plugin, Registry},
    run::{RunOptions, RunStatus, Summary, run},
    store::ModelStore,
};
use fame_plugins::{RECIPE_DEFAULTS, backends::tract::Tract};
use fame_tests::{Quiet, root};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// tract computes the faulty picture with one weight of the wrong sign, and every other one
/// rightly.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Faulty {
    /// Pictures with a mean input above this are computed wrongly.
    above: f32,
}

impl Plugin<dyn Backend> for Faulty {
    const NAME: &'static str = "Faulty";
    const SUMMARY: &'static str = "tract with one weight's sign flipped for bright pictures";
    const EXAMPLE: &'static str = "Faulty(above: 0.5)";

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn Backend>> {
        Some(Box::new(self))
    }
}

fame_core::register!(Backend: Faulty);

impl Backend for Faulty {
    fn check(&self) -> Result<()> {
        Ok(())
    }

    fn load(&self, request: &LoadRequest) -> Result<Box<dyn Network>> {
        let broken = request.file.with_extension("broken.onnx");
        fs::write(
            &broken,
            with_one_sign_flipped(&fs::read(&request.file).expect("the network is there")),
        )
        .expect("a writable folder");
        let tract = Tract { threads: 1, ..Tract::default() };
        let wrong = tract.load(&LoadRequest { file: broken, ..request.clone() })?;
        Ok(Box::new(FaultyNetwork { right: tract.load(request)?, wrong, above: self.above }))
    }
}

/// Flips the sign of the largest weight of the first convolution.
fn with_one_sign_flipped(file: &[u8]) -> Vec<u8> {
    /// Bytes of its kernel, 6×3×7×7 in f32, of which the file has no other tensor.
    const KERNEL: usize = 6 * 3 * 7 * 7 * 4;
    /// Field 9 of a `TensorProto`, its bytes, and the length as a varint of two bytes.
    const HEAD: [u8; 3] = [0x4A, (KERNEL & 0x7F) as u8 | 0x80, (KERNEL >> 7) as u8];
    let start =
        3 + file.windows(3).position(|head| head == HEAD).expect("the network has that kernel");
    let weight = |n: usize| f32::from_le_bytes([0, 1, 2, 3].map(|byte| file[start + 4 * n + byte]));
    let largest = (0..KERNEL / 4)
        .max_by(|a, b| weight(*a).abs().total_cmp(&weight(*b).abs()))
        .expect("not empty");
    let mut bytes = file.to_vec();
    bytes[start + 4 * largest + 3] ^= 0x80;
    bytes
}

struct FaultyNetwork {
    right: Box<dyn Network>,
    wrong: Box<dyn Network>,
    above: f32,
}

impl Network for FaultyNetwork {
    fn input_shape(&self) -> &[usize] {
        self.right.input_shape()
    }

    fn layers(&self) -> &[Layer] {
        self.right.layers()
    }

    fn check_gradient(&self, layer: &str, to: &GradientPlace) -> Result<()> {
        self.right.check_gradient(layer, to)
    }

    /// One, so that a batch is one picture.
    fn preferred_rows(&self) -> usize {
        1
    }

    fn notes(&self) -> &[String] {
        self.right.notes()
    }

    fn forward<'n>(&'n self, batch: &Tensor, taps: &Taps) -> Result<Box<dyn Pass + 'n>> {
        let bright = batch.data().iter().sum::<f32>() / batch.len() as f32 > self.above;
        if bright { &self.wrong } else { &self.right }.forward(batch, taps)
    }

    fn forward_from<'n>(
        &'n self,
        layer: &str,
        value: &Tensor,
        batch: &Tensor,
        taps: &Taps,
    ) -> Result<Box<dyn Pass + 'n>> {
        self.right.forward_from(layer, value, batch, taps)
    }

    fn biases(&self) -> Result<Vec<Bias>> {
        self.right.biases()
    }
}

/// A folder with a small network and three pictures of which `bright.png` is bright.
fn workshop(folder: &Path) {
    fs::copy(root().join("tests/golden/nets/resnet50_slim.onnx"), folder.join("net.onnx")).unwrap();
    fs::write(
        folder.join("net.ron"),
        r"(input: (size: (3, 64, 64), order: Rgb, mean: 0.0, std: 1.0), ask: (loss: Logit(), layer: Output))",
    )
    .unwrap();
    for (name, base) in [("dark", 40u32), ("bright", 190), ("dim", 70)] {
        let pixel = |x: u32, y: u32, c: u32| (base + (x * 7 + y * 13 + c * 29) % 60) as u8;
        image::RgbImage::from_fn(64, 64, |x, y| {
            image::Rgb([pixel(x, y, 0), pixel(x, y, 1), pixel(x, y, 2)])
        })
        .save(folder.join(format!("{name}.png")))
        .unwrap();
    }
}

fn run_with(folder: &Path, backend: &str, check: &str, explainer: &str) -> (Summary, Value) {
    let summary = try_run(folder, backend, check, explainer).unwrap();
    (summary, fame_tests::record(&folder.join("out")))
}

fn try_run(folder: &Path, backend: &str, check: &str, explainer: &str) -> Result<Summary> {
    let recipe = format!(
        r#"(model: "net.onnx", backend: {backend}, data: Images(files: ["dark.png", "bright.png", "dim.png"]), prepare: [],
            explain: {{"e": {explainer}}}, check: {check}, write: [Npy()])"#
    );
    fs::write(folder.join("r.ron"), recipe).unwrap();
    let registry = Registry::builtin().unwrap();
    let store = ModelStore::from_env().unwrap();
    let text = RecipeText::read(&folder.join("r.ron")).unwrap().with_defaults(RECIPE_DEFAULTS);
    let plan = Plan::resolve(text, folder, &registry, &store).unwrap_or_else(|p| {
        panic!("{:?}", p.each.iter().map(|e| e.problem().clone()).collect::<Vec<_>>())
    });
    let out = folder.join("out");
    let options = RunOptions { force: true, ..RunOptions::new(out) };
    run(&plan, &store, &options, &Quiet)
}

const FAME: &str = "Fame(layer: LastConv, loss: FeatureMapCell(cells: Only([(0, 0), (1, 1)])), perturbation: Lots(iterations: 2))";

#[test]
fn two_engines_that_agree_pass_and_the_record_says_by_how_much() {
    let folder = tempfile::tempdir().unwrap();
    workshop(folder.path());
    let (summary, record) = run_with(
        folder.path(),
        "Tract(threads: 2)",
        "ForwardCheck(backend: Tract(threads: 1))",
        FAME,
    );
    assert_eq!(summary.status, RunStatus::Complete);
    let item: Value = serde_json::from_str(
        &fs::read_to_string(folder.path().join("out/items/dark/item.json")).unwrap(),
    )
    .unwrap();
    let check = &item["explanations"]["e"]["forward_check"];
    // The clean picture once, and where each of the two cells' walks ended.
    assert_eq!(
        (&check["verdict"], &check["inputs"], &check["tolerance"]),
        (&"agrees".into(), &3.into(), &0.001.into())
    );
    assert_eq!(record["items"][0]["explanations"]["e"]["forward_check"], *check);
    assert_eq!(
        (&record["forward_check"]["checked"], &record["forward_check"]["differing"]),
        (&3.into(), &0.into())
    );
    assert_eq!(record["plan"]["check"]["ForwardCheck"]["backend"]["Tract"]["threads"], 1);
}

#[test]
fn a_check_by_the_backend_itself_is_warned_of_in_the_record() {
    let folder = tempfile::tempdir().unwrap();
    workshop(folder.path());
    let warnings = |backend: &str, check: &str| {
        let (summary, record) = run_with(folder.path(), backend, check, FAME);
        assert_eq!(summary.status, RunStatus::Complete);
        record["warnings"].clone()
    };
    // However the two are written.
    let told = warnings("Tract()", "ForwardCheck(backend: Tract(precision: F32))");
    let told = told[0].as_str().unwrap();
    assert!(
        told.starts_with("`ForwardCheck` recomputes with Tract, as the recipe's own"),
        "{told}"
    );
    // Of the engine's convolutions some are another computation than others.
    let other = warnings("Tract()", "ForwardCheck(backend: Tract(convolutions: Tract))");
    assert_eq!(other, Value::Null);
}

#[test]
fn a_flipped_sign_fails_the_item_it_happened_to_and_no_other() {
    for explainer in [FAME, "GradCam()"] {
        let folder = tempfile::tempdir().unwrap();
        workshop(folder.path());
        let (summary, record) = run_with(
            folder.path(),
            "Faulty(above: 0.5)",
            "ForwardCheck(backend: Tract(), tolerance: 1e-3)",
            explainer,
        );
        assert_eq!(
            (summary.status, summary.done, summary.failed),
            (RunStatus::Incomplete, 2, 1),
            "{explainer}"
        );
        let items = record["items"].as_array().unwrap();
        let status: Vec<(&str, &str)> = items
            .iter()
            .map(|i| (i["id"].as_str().unwrap(), i["status"].as_str().unwrap()))
            .collect();
        assert_eq!(status, [("dark", "done"), ("bright", "failed"), ("dim", "done")]);
        let failed = &items[1];
        assert_eq!(failed["error"]["code"], "fame::check::differs");
        let check = &failed["explanations"]["e"]["forward_check"];
        assert_eq!(check["verdict"], "differs");
        assert!(check["difference"].as_f64().unwrap() > 1e-3, "{check}");
        assert!(
            failed["error"]["message"].as_str().unwrap().contains(check["layer"].as_str().unwrap())
        );
        assert_eq!(
            (&record["forward_check"]["checked"], &record["forward_check"]["differing"]),
            (&3.into(), &1.into())
        );
        for (id, there) in [("dark", true), ("bright", false), ("dim", true)] {
            assert_eq!(
                folder.path().join("out/items").join(id).join("item.json").exists(),
                there,
                "{id}"
            );
        }
    }
}

/// Whether onnxruntime is here; its absence is said aloud, and is a failure where the environment
/// names the library.
fn has_onnxruntime() -> bool {
    let ort = fame_core::testkit::build::<dyn Backend>("Ort()").unwrap();
    let checked = ort.plugin.check();
    if let Err(why) = &checked {
        assert!(std::env::var_os("ORT_DYLIB_PATH").is_none(), "{why}");
        println!("ABSENT Ort(): {why}");
    }
    checked.is_ok()
}

#[test]
fn onnxruntime_agrees_with_the_default_engine_and_sees_a_flipped_sign() {
    if !has_onnxruntime() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    workshop(folder.path());
    let check = "ForwardCheck(backend: Ort(threads: 1))";
    let (summary, record) = run_with(folder.path(), "Tract(threads: 2)", check, FAME);
    assert_eq!(summary.status, RunStatus::Complete);
    let largest = record["forward_check"]["largest_difference"].as_f64().unwrap();
    assert!(largest > 0.0 && largest < 1e-4, "another engine, not the same: {largest}");
    let (summary, record) = run_with(folder.path(), "Faulty(above: 0.5)", check, FAME);
    assert_eq!((summary.status, summary.failed), (RunStatus::Incomplete, 1));
    assert_eq!(record["items"][1]["error"]["code"], "fame::check::differs");
}

#[test]
fn black_box_methods_run_on_onnxruntime_and_others_are_refused() {
    if !has_onnxruntime() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    workshop(folder.path());
    let rise = "Rise(layer: Output, loss: Logit(class: Index(1)), masks: 20)";
    let map = |backend: &str| {
        let (summary, _) = run_with(folder.path(), backend, "ForwardCheck(backend: Tract())", rise);
        assert_eq!(summary.status, RunStatus::Complete, "{backend}");
        let mut files = fs::read_dir(folder.path().join("out/items/dark")).unwrap();
        let path = files.find_map(|f| {
            let path = f.unwrap().path();
            (path.extension().is_some_and(|e| e == "npy")).then_some(path)
        });
        let file = fs::File::open(path.unwrap()).unwrap();
        npyz::NpyFile::new(std::io::BufReader::new(file)).unwrap().into_vec::<f32>().unwrap()
    };
    let (tract, ort) = (map("Tract()"), map("Ort()"));
    let apart = tract.iter().zip(&ort).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    let size = tract.iter().fold(0f32, |most, v| most.max(v.abs()));
    // The same masks, and forward passes that agree to rounding.
    assert!(apart <= 1e-3 * size, "{apart} of {size}");
    let check = "ForwardCheck(backend: Tract())";
    let refused = try_run(folder.path(), "Ort()", check, FAME).err().unwrap();
    assert_eq!(refused.code, "fame::backend::forward_only");
    assert!(refused.message.contains("Ort computes forwards only"), "{refused}");
}

#[test]
fn a_check_that_cannot_be_is_a_recipe_error_at_its_place() {
    let folder = tempfile::tempdir().unwrap();
    workshop(folder.path());
    let problems = |check: &str| -> Vec<String> {
        let recipe = format!(
            r#"(model: "net.onnx", data: Images(files: ["dark.png"]), explain: {{"e": GradCam()}}, check: {check})"#
        );
        let path = folder.path().join("r.ron");
        fs::write(&path, recipe).unwrap();
        let text = RecipeText::read(&path).unwrap().with_defaults(RECIPE_DEFAULTS);
        let registry = Registry::builtin().unwrap();
        let found = Plan::resolve(text, folder.path(), &registry, &ModelStore::from_env().unwrap())
            .err()
            .unwrap();
        found.each.iter().map(|e| e.problem().message.clone()).collect()
    };
    assert_eq!(problems("Twice(backend: Tract())"), ["no check is named `Twice`."]);
    assert_eq!(problems("ForwardCheck(backend: Tracks())"), ["no backend is named `Tracks`."]);
    assert_eq!(
        problems("ForwardCheck(backend: Tract(), tolerance: -1.0)"),
        ["`tolerance` must be a number of at least 0."]
    );
    assert_eq!(problems("ForwardCheck(tolerance: 0.1)"), ["the parameter `backend` is missing."]);
}
