//! What the workspace's tests share: the repository's recipes and models, runs into a temporary
//! folder, and the goldens' number formula.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use fame_core::{
    Model, Picture, Plan, Result, Sample, Tensor,
    contract::Backend,
    data::{ChannelOrder, InputConvention},
    recipe::RecipeText,
    registry::{BuildContext, Built, Contract, Registry},
    run::{Event, ModelShelf, Observer, RunOptions, Summary, item_lines, recipe_folder, run},
    store::{Ask, ModelManifest, ModelStore},
    text::{Spec, parse},
};
use fame_plugins::{Preset, RECIPE_DEFAULTS, backends::tract::Tract};

/// The repository's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The repository's models, in the user's cache: tests fetch what they need once, as a user would.
pub fn store() -> ModelStore {
    ModelStore::from_env()
        .expect("a cache folder")
        .with_folder(root().join("models"))
        // They are the ones that came with this program.
        .trusting_manifests(true)
}

/// A recipe of the repository with overrides, resolved.
///
/// # Panics
/// When it has errors: the test is about something else.
pub fn plan(recipe: &str, sets: &[&str]) -> Plan {
    let path = root().join("recipes").join(recipe);
    let mut text =
        RecipeText::read(&path).expect("the recipe is there").with_defaults(RECIPE_DEFAULTS);
    for set in sets {
        text.set(set).unwrap_or_else(|p| panic!("{set}: {p}"));
    }
    let registry = Registry::builtin().expect("no duplicate plugins");
    Plan::resolve(text, &recipe_folder(&path), &registry, &store()).unwrap_or_else(|p| {
        panic!("{recipe}: {:#?}", p.each.iter().map(|e| e.problem().clone()).collect::<Vec<_>>())
    })
}

/// An observer that says nothing.
pub struct Quiet;

impl Observer for Quiet {
    fn event(&self, _: &Event<'_>) {}
}

/// The record of the run in `out`, with its items: each line of the index, and beside it what the
/// item's own record says.
///
/// # Panics
/// When there is no run, or it cannot be read.
pub fn record(out: &Path) -> serde_json::Value {
    let read = |path: &Path| -> serde_json::Value {
        serde_json::from_slice(&std::fs::read(path).expect("a record")).expect("JSON")
    };
    let items = item_lines(out).expect("an index").map(|line| {
        let place = out.join("items").join(&line.id).join("item.json");
        let mut about = serde_json::to_value(&line).expect("JSON");
        if let (true, Some(line)) = (place.exists(), about.as_object_mut()) {
            line.extend(read(&place).as_object().cloned().unwrap_or_default());
        }
        about
    });
    let items = items.collect();
    let mut record = read(&out.join("run.json"));
    record["items"] = items;
    record
}

/// Runs `plan` into `out`.
///
/// # Errors
/// What the run says.
pub fn run_into(plan: &Plan, out: &Path) -> Result<Summary> {
    run_some(plan, out, None)
}

/// Runs `plan` into `out`, at most `limit` items of it.
///
/// # Errors
/// What the run says.
pub fn run_some(plan: &Plan, out: &Path, limit: Option<usize>) -> Result<Summary> {
    let options = RunOptions { limit, ..RunOptions::new(out) };
    run(plan, &store(), &options, &Quiet)
}

/// A model of `models/`, fetched if need be, run by `backend`.
///
/// # Panics
/// When it cannot be had.
pub fn model(name: &str, backend: &dyn Backend) -> Arc<Model> {
    let store = store();
    let shelf = ModelShelf::new(&store, backend, &|_| ());
    let manifest = store.manifest(name).expect("a manifest");
    let file =
        shelf.fetch(&manifest).expect("the registries are reachable, or the model is cached");
    shelf.load(manifest, file).expect("it loads")
}

/// What a model is asked, as its manifest says it: `(loss: Similarity(), layer: "embedding")`.
///
/// # Panics
/// When it is not written so.
pub fn asks(text: &str) -> Ask {
    parse(text).unwrap_or_else(|p| panic!("{text}: {p:#?}"))
}

/// What a classifier with one output is asked.
pub fn classifier() -> Ask {
    asks("(loss: Logit(), layer: Output)")
}

/// What a face recogniser with one output is asked.
pub fn faces() -> Ask {
    asks("(loss: Similarity(), layer: Output)")
}

/// A part from its spec, for a model that is asked `ask`.
///
/// # Panics
/// When the spec has errors: the test is about something else.
pub fn build<T: ?Sized + Contract>(spec: &str, ask: &Ask, preset: Preset) -> Built<T> {
    let registry = Registry::builtin().expect("no duplicate plugins");
    let with =
        BuildContext { preset: preset.name(), ask, ..BuildContext::new(&registry, Path::new(".")) };
    let parsed = Spec::from_text(spec).unwrap_or_else(|p| panic!("{spec}: {p:#?}"));
    registry.build::<T>(&parsed, &with).unwrap_or_else(|p| panic!("{spec}: {p:#?}"))
}

/// A slim network of `tests/golden/nets`, which is fed as it is (mean 0, standard deviation 1).
///
/// # Panics
/// When it cannot be loaded.
pub fn slim(name: &str, ask: Ask, size: usize) -> Model {
    slim_fed(name, ask, size, 0.0, 1.0)
}

/// A slim network of `tests/golden/nets` that is fed with `(pixel − mean) / std`.
///
/// # Panics
/// When it cannot be loaded.
pub fn slim_fed(name: &str, ask: Ask, size: usize, mean: f32, std: f32) -> Model {
    let file = root().join("tests/golden/nets").join(format!("{name}.onnx"));
    let convention = InputConvention {
        channels: 3,
        height: size,
        width: size,
        order: ChannelOrder::Rgb,
        mean: vec![mean; 3],
        std: vec![std; 3],
    };
    let mut manifest = ModelManifest::for_file(&file, convention).expect("a possible convention");
    manifest.ask = ask;
    Model::load(manifest, file, String::new(), Vec::new(), &Tract::default()).expect("it loads")
}

/// Every `stride`-th row and column of each plane of `height` rows and `width` columns, as the
/// goldens of maps are kept.
pub fn sampled(values: &[f32], (height, width): (usize, usize), stride: usize) -> Vec<f32> {
    let kept = |plane: &[f32]| -> Vec<f32> {
        (0..height)
            .step_by(stride)
            .flat_map(|y| (0..width).step_by(stride).map(move |x| (y, x)))
            .map(|(y, x)| plane[y * width + x])
            .collect()
    };
    values.chunks_exact(height * width).flat_map(kept).collect()
}

/// Largest difference as a share of the largest value of `theirs`, and Pearson's correlation.
///
/// # Panics
/// When there is not one of theirs for each of ours.
pub fn apart(ours: &[f32], theirs: &[f32]) -> (f32, f64) {
    assert_eq!(ours.len(), theirs.len());
    let largest = theirs.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    let apart = ours.iter().zip(theirs).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
    (apart / largest, pearson(ours, theirs))
}

/// A sample of one picture of golden noise, `start` being the number of its first value.
///
/// # Panics
/// Never: the shape is right.
pub fn noise_picture(start: u32, size: usize) -> Picture {
    let values = (0..(3 * size * size) as u32).map(|k| noise(start + k, INPUT)).collect();
    Picture::new(Tensor::new([3, size, size], values).expect("the right volume"), "noise")
        .expect("a picture")
}

/// A sample of one picture.
pub fn sample_of(id: &str, picture: Picture) -> Sample {
    Sample { id: id.to_owned(), pictures: vec![("image".to_owned(), picture)], ..Sample::default() }
}

/// Number `i` of the goldens' formula, −1 ≤ x < 1, exact in any language; see
/// `tests/golden/README.md`.
pub fn noise(i: u32, multiplier: u32) -> f32 {
    let h = i.wrapping_mul(multiplier);
    let h = (h ^ (h >> 15)).wrapping_mul(0x2C1B_3C6D);
    let h = h ^ (h >> 12);
    (h >> 8) as f32 / 8_388_608.0 - 1.0
}

/// Multiplier of golden inputs.
pub const INPUT: u32 = 2_654_435_761;
/// Multiplier of golden cotangents.
pub const COTANGENT: u32 = 2_246_822_519;

/// Pearson correlation of two equally long lists.
pub fn pearson(a: &[f32], b: &[f32]) -> f64 {
    let mean = |v: &[f32]| v.iter().map(|x| f64::from(*x)).sum::<f64>() / v.len() as f64;
    let (ma, mb) = (mean(a), mean(b));
    let sum = |f: &dyn Fn(f64, f64) -> f64| {
        a.iter().zip(b).map(|(x, y)| f(f64::from(*x) - ma, f64::from(*y) - mb)).sum::<f64>()
    };
    sum(&|x, y| x * y) / (sum(&|x, _| x * x) * sum(&|_, y| y * y)).sqrt()
}

/// Compiles the guide for plugin authors as it stands.
#[cfg(doctest)]
#[doc = include_str!("../../docs/plugins.md")]
pub struct Guide;
