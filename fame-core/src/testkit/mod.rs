//! The test kit: what a plugin's tests need, so that an author writes what is new and nothing else.
//!
//! Every check returns `Result`: an author's test calls it and unwraps. An error says in one
//! sentence which promise of the contract is broken, where, and by how much; a [`Check`] says how
//! close the worst place came.
//!
//! | for a | there is |
//! | --- | --- |
//! | any plugin | [`check_plugin`]: its example parses and builds, its parameters are documented, unknown ones are refused |
//! | loss | [`check_loss`], [`check_loss_gradient`]: central differences; [`targets()`] |
//! | perturbation | [`check_perturbation`]: where it starts, how far it moves, when it stops, the same again |
//! | map step | [`check_map_step`], [`check_refuses_constant`] |
//! | prepare step | [`check_prepare`]: values, and whether the geometry follows the pixels |
//! | dataset | [`check_dataset`]: ids unique, safe, stable; pictures in range |
//! | explainer | [`check_explainer`]: a batch is a loop, maps are honest, the same again |
//! | metric | [`check_metric`] |
//! | writer | [`check_writer`]: exactly the files it names |
//! | backend | [`check_network`]: the conformance suite; [`check_forward_network`] for one without gradients; [`check_device_rows`], a part of the suite, for a network that only its own backend's tests have |
//! | reader of foreign bytes | [`fuzz()`] |
//! | operator | [`check_operator`]: the same again, cotangents against central differences; [`check_operator_rows`] |
//!
//! To explain something, a test needs a network, pictures and a recipe: [`FakeNetwork`] is a small
//! one with exact gradients, [`model()`] makes a [`Model`] of it, [`picture()`] and [`sample()`]
//! make data, and [`Trial::run`] runs a whole recipe with the plugins linked into the test and with
//! the kit's own backend (`Fake`), dataset (`FakePictures`), explainer (`FakeWalk`), loss
//! (`FakeLoss`) and perturbation (`FakeSteps`), which no other registry holds.
//!
//! ```
//! use fame_core::testkit::{self, Trial};
//!
//! // The kit's own loss, as an author would test theirs.
//! let loss = testkit::build::<dyn fame_core::contract::Loss>("FakeLoss()")?;
//! let check = testkit::check_loss(loss.plugin.as_ref(), &[fame_core::Tensor::vector(vec![0.5, -1.0, 2.0])])?;
//! assert!(check.worst <= check.tolerance);
//!
//! let trial = Trial::run(r#"explain: {"walk": FakeWalk(loss: FakeLoss())}, write: []"#)?;
//! assert_eq!(trial.summary.done, 2);
//! # Ok::<(), fame_core::Error>(())
//! ```

mod conformance;
mod data;
mod device;
mod fakes;
mod loss;
mod maps;
mod network;
mod operator;
mod results;
mod trial;
mod walk;

use std::{fmt, path::Path, path::PathBuf};

pub use crate::fuzz::{Fuzzed, fuzz};
pub use conformance::{
    BATCH_TOLERANCE, LINEARITY_TOLERANCE, SLOPE_TOLERANCE, check_forward_network, check_network,
};
pub use data::{FolderFiles, check_dataset, check_prepare};
pub use device::{DEVICE_TOLERANCE, HostRows, OnHost, check_device_rows};
pub use fakes::{FakeLoss, FakePictures, FakeSteps, FakeWalk};
pub use loss::{GRADIENT_TOLERANCE, STEP, check_loss, check_loss_gradient, targets};
pub use maps::{check_explainer, check_map_step, check_refuses_constant};
pub use network::{Fake, FakeNetwork};
pub use operator::{check_operator, check_operator_rows};
pub use results::{check_metric, check_writer};
pub use trial::Trial;
pub use walk::check_perturbation;

use crate::{
    Error, Explanation, Model, Picture, Result, Sample, Tensor,
    contract::{Backend, Dataset, Explainer, Loss, Operators, Perturbation},
    registry::{Assembly, BuildContext, Built, Contract, Plugin, Registration, Registry},
    store::ModelManifest,
    text::{Problem, Spec, parse},
};

/// Rows and columns of the kit's pictures.
pub const SIZE: usize = 8;
/// Outputs of the kit's network.
pub const CLASSES: usize = 5;

/// The result of a check: the worst of many comparisons.
#[derive(Clone, Debug)]
pub struct Check {
    /// The two things that were compared.
    pub what: String,
    /// The largest difference, relative as the check says.
    pub worst: f32,
    /// The largest difference that passes.
    pub tolerance: f32,
    /// Place of the worst comparison.
    pub place: String,
    /// Number of comparisons made.
    pub compared: usize,
}

impl Check {
    fn new(what: &str, tolerance: f32) -> Self {
        Self {
            what: what.to_owned(),
            worst: 0.0,
            tolerance,
            place: "nowhere".to_owned(),
            compared: 0,
        }
    }

    /// Takes one comparison into account. A difference that is NaN is the worst there is.
    fn see(&mut self, difference: f32, place: impl FnOnce() -> String) {
        self.compared += 1;
        if !self.worst.is_nan() && (difference.is_nan() || difference > self.worst) {
            self.worst = difference;
            self.place = place();
        }
    }

    /// Takes another check of the same kind into account.
    fn join(&mut self, other: Self) {
        let compared = self.compared + other.compared;
        self.see(other.worst, || other.place);
        self.compared = compared;
    }

    /// Itself, or the error that `broken` happened.
    fn verdict(self, broken: &str) -> Result<Self> {
        // Not `>`: NaN fails.
        if self.worst <= self.tolerance {
            return Ok(self);
        }
        Err(fail(format!(
            "{broken}: {} (off by {:.2e}, tolerance {:.0e}).",
            self.place, self.worst, self.tolerance
        )))
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: worst {:.2e} of {} (tolerance {:.0e}), {}",
            self.what, self.worst, self.compared, self.tolerance, self.place
        )
    }
}

/// A broken promise.
fn fail(message: impl Into<String>) -> Error {
    Error::new("fame::testkit::broken", message)
}

/// Everything linked into this test, and the kit's own plugins.
///
/// # Errors
/// When two plugins share a name.
pub fn registry() -> Result<Registry> {
    let mut registry = Registry::builtin()?;
    let own = [
        Registration::of::<dyn Backend, Fake>(ORIGIN),
        Registration::of::<dyn Dataset, FakePictures>(ORIGIN),
        Registration::of::<dyn Explainer, FakeWalk>(ORIGIN),
        Registration::of::<dyn Loss, FakeLoss>(ORIGIN),
        Registration::of::<dyn Perturbation, FakeSteps>(ORIGIN),
    ];
    own.into_iter().try_for_each(|registration| registry.add(registration))?;
    Ok(registry)
}

/// The origin of the kit's own plugins.
const ORIGIN: &str = "the test kit";

/// Builds what a recipe would write, such as `MyLoss(weight: 2)`, with [`registry()`]: no
/// preset, relative paths from the working folder.
///
/// # Errors
/// Every problem of the spec, in one sentence each.
pub fn build<T: ?Sized + Contract>(spec: &str) -> Result<Built<T>> {
    build_in(spec, Path::new("."))
}

/// [`build`], with relative paths from `folder`.
///
/// # Errors
/// Every problem of the spec, in one sentence each.
pub fn build_in<T: ?Sized + Contract>(spec: &str, folder: &Path) -> Result<Built<T>> {
    let registry = registry()?;
    let with = BuildContext::new(&registry, folder);
    Spec::from_text(spec)
        .map_err(|p| vec![p])
        .and_then(|parsed| registry.build::<T>(&parsed, &with))
        .map_err(|p| refused(spec, &p))
}

/// The parameters that `body`, such as `(weight: 2)`, stands for, with every default filled in: no
/// preset, and a model that says nothing about itself.
///
/// # Errors
/// Every problem of the parameters.
pub fn parameters<T: ?Sized + Contract, P: Plugin<T>>(body: &str) -> Result<P> {
    let (registry, mut assembly) = (registry()?, Assembly::new(body));
    let with = BuildContext::new(&registry, Path::new("."));
    let typed = parse::<P::Typed>(body).map_err(|p| refused(body, &[p]))?;
    let filled = P::fill(typed, &with, &mut assembly).map(|mut parameters| {
        parameters.resolve(&with, &mut assembly);
        parameters
    });
    match filled {
        Some(parameters) if assembly.problems().is_empty() => Ok(parameters),
        _ => Err(refused(body, assembly.problems())),
    }
}

fn refused(spec: &str, problems: &[Problem]) -> Error {
    let told: Vec<&str> = problems.iter().map(|p| p.message.as_str()).collect();
    Error::new("fame::testkit::spec", format!("`{spec}` cannot be used: {}", told.join(" ")))
}

/// What every plugin promises: it is registered under its name; its example parses and builds for
/// every preset known; it has a summary; every parameter is documented and an unknown one is refused
/// (`#[serde(deny_unknown_fields)]`).
///
/// A plugin named inside of the example (a loss in an explainer's) may come from a crate that is
/// not linked into the test, as fame's own are not: such names are not looked up.
///
/// ```
/// # // The kit's own are not registered in this doctest's registry, but in the kit's.
/// fame_core::testkit::check_plugin::<dyn fame_core::contract::Loss, fame_core::testkit::FakeLoss>().unwrap();
/// ```
///
/// # Errors
/// One sentence about the first promise that is broken.
pub fn check_plugin<T: ?Sized + Contract, P: Plugin<T>>() -> Result<()> {
    let (registry, noun) = (registry()?, T::KIND.noun());
    let Some(registered) = registry.get(T::KIND, P::NAME) else {
        return Err(fail(format!(
            "no {noun} is registered as `{}`: `fame_core::register!(…);` is missing.",
            P::NAME
        )));
    };
    if P::SUMMARY.trim().is_empty() || P::SUMMARY.contains('\n') {
        return Err(fail(format!("the summary of `{}` is not one line.", P::NAME)));
    }
    let spec = Spec::from_text(P::EXAMPLE).map_err(|p| refused(P::EXAMPLE, &[p]))?;
    if spec.name != P::NAME {
        return Err(fail(format!("the example of `{}` shows `{}`.", P::NAME, spec.name)));
    }
    for preset in [""].into_iter().chain(registry.presets()) {
        let with = BuildContext { preset, ..BuildContext::new(&registry, Path::new(".")) };
        let problems = registry.check_example(registered, &with).err().unwrap_or_default();
        // A plugin inside of it may be one of another crate, which is not linked into this test.
        let own: Vec<Problem> =
            problems.into_iter().filter(|p| p.code != "fame::recipe::unknown_plugin").collect();
        if !own.is_empty() {
            return Err(refused(P::EXAMPLE, &own));
        }
    }
    let odd = format!("{}(no_such_parameter_at_all: 1)", P::NAME);
    if build::<T>(&odd).is_ok() {
        return Err(fail(format!(
            "`{odd}` is accepted: `#[serde(deny_unknown_fields)]` is missing."
        )));
    }
    check_schema(P::NAME, &registered.schema()?)
}

/// Every parameter has a docstring.
fn check_schema(name: &str, schema: &str) -> Result<()> {
    let schema: serde_json::Value = serde_json::from_str(schema)
        .map_err(|e| fail(format!("the schema of `{name}` is not JSON: {e}.")))?;
    if !schema["description"].is_string() {
        return Err(fail(format!("`{name}` has no docstring that says what it does.")));
    }
    let parameters = schema["properties"].as_object().into_iter().flatten();
    match parameters.into_iter().find(|(_, about)| !about["description"].is_string()) {
        Some((parameter, _)) => {
            Err(fail(format!("parameter `{parameter}` of `{name}` has no docstring.")))
        }
        None => Ok(()),
    }
}

/// A picture of `size` × `size` smooth, coloured pixels in 0.1..=0.9, the same for the same
/// `variant` and another one for another.
///
/// # Errors
/// When `size` is 0.
pub fn picture(size: usize, variant: usize) -> Result<Picture> {
    let (fx, fy) = (0.9 + 0.37 * variant as f32, 0.6 + 0.23 * variant as f32);
    let value = |i: usize| {
        let (c, y, x) = (i / (size * size), i / size % size, i % size);
        let (x, y) = (x as f32 * 6.3 / size as f32, y as f32 * 6.3 / size as f32);
        0.5 + 0.4 * (fx * x + c as f32).sin() * (fy * y + 0.5 * c as f32 + variant as f32).cos()
    };
    Picture::new(
        Tensor::new([3, size, size], (0..3 * size * size).map(value).collect())?,
        format!("testkit picture {variant}"),
    )
}

/// A sample with one [`picture()`] for each role, labelled with class 1.
///
/// # Errors
/// When `size` is 0.
pub fn sample(id: &str, roles: &[&str], size: usize) -> Result<Sample> {
    // Different samples show different pictures.
    let first: usize = id.bytes().map(usize::from).sum::<usize>() % 17;
    let pictures = roles
        .iter()
        .enumerate()
        .map(|(n, role)| Ok(((*role).to_owned(), picture(size, first + 3 * n)?)))
        .collect::<Result<_>>()?;
    Ok(Sample { id: id.to_owned(), pictures, label: Some(1), ..Sample::default() })
}

/// The manifest of [`model()`], whose aliases are put in place of a word.
const MANIFEST: &str = r#"(
    summary: "The test kit's network",
    input: (size: (3, 8, 8), order: Rgb, mean: (0.4, 0.5, 0.6), std: (0.5, 0.4, 0.3)),
    layers: {ALIASES},
)"#;

const ALIASES: &str = r#""feature_map": "pooled", "embedding": "logits""#;

/// A model around a [`FakeNetwork`] for [`SIZE`] × [`SIZE`] pictures with [`CLASSES`] outputs. Its
/// layers: `input`, `features`, `activation`, `pooled` (alias `feature_map`), `logits` (alias
/// `embedding`).
///
/// # Errors
/// Never in this version.
pub fn model() -> Result<Model> {
    Ok(Model {
        manifest: ModelManifest::parse("fake", &MANIFEST.replace("ALIASES", ALIASES), None)?,
        network: Box::new(FakeNetwork::new(SIZE, CLASSES, 1)?),
        file: PathBuf::from("fake.onnx"),
        sha256: String::new(),
        labels: (0..CLASSES).map(|k| format!("class {k}")).collect(),
        operators: Operators::default(),
        remembered: crate::contract::Remembered::default(),
    })
}

/// An explanation of the only picture of `sample(id, &["image"], size)`: one map named `image`, in
/// 0..=1, highest in its middle.
///
/// # Errors
/// When `size` is 0.
pub fn explanation(size: usize) -> Result<Explanation> {
    let middle = (size as f32 - 1.0) / 2.0;
    let value = |i: usize| {
        let (y, x) = ((i / size) as f32 - middle, (i % size) as f32 - middle);
        (-(x * x + 1.3 * y * y) / size as f32).exp()
    };
    let finished = Tensor::new([size, size], (0..size * size).map(value).collect())?;
    let raw = finished.clone().reshaped([1, size, size])?;
    let map = crate::NamedMap::new(crate::MapId::new("image").alone(true), raw, finished);
    Ok(Explanation { maps: vec![map], ..Explanation::default() })
}

/// The largest difference of two equally long lists, relative to the largest value of the second;
/// NaN where lengths differ or anything is not finite.
fn relative(a: &[f32], b: &[f32]) -> f32 {
    if a.len() != b.len() || a.iter().chain(b).any(|v| !v.is_finite()) {
        return f32::NAN;
    }
    let apart = a.iter().zip(b).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
    if apart == 0.0 { 0.0 } else { apart / crate::max_abs(b).max(f32::MIN_POSITIVE) }
}

#[cfg(test)]
mod tests;
