//! Whole networks on every backend: against PyTorch's gradients, committed under `tests/golden`
//! (see the README there), against the first backend, in a batch, and started from an inner layer.
//!
//! The slim networks are always compared. With `FAME_MODELS` naming a folder of the real ONNX
//! files, those found there are too.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use fame_core::contract::{LoadRequest, Network};
use fame_core::{GradientPlace, LayerCotangent, Taps, Tensor};

use super::backends::{Subject, present};
use super::measure::{cotangent, facts, input, read, relative, stacked};

/// The unit of distances is a backend's tolerance for gradients. ResNet-50's input gradient: 8 ReLU
/// inputs lie so near zero that f32 and f64 take different sides (golden README), which costs 5e-3
/// in PyTorch itself.
const KINKED: f64 = 200.0;
/// `fr_expression`: moving the input by 3e-7 to 1e-6, the rounding of f32, moves PyTorch's own f64
/// gradient by up to 4e-3, since some unit then crosses its kink.
const NEARLY_KINKED: f64 = 100.0;
/// How far two backends, or one from PyTorch, may lie apart beyond rounding where nothing sits on a
/// kink.
const SMOOTH: f64 = 1.0;

/// Zeros in place of a layer change the output by more than this. The same program computes both,
/// so the rounding is the same too.
const CHANGES: f64 = 1e-3;

const FULL: [(&str, f64); 5] = [
    ("fr_feature", SMOOTH),
    ("efficientnet_lite0", SMOOTH),
    ("iresnet50", SMOOTH),
    ("fr_expression", NEARLY_KINKED),
    ("resnet50", KINKED),
];

pub(crate) fn golden() -> PathBuf {
    fame_tests::root().join("tests/golden")
}

/// The names of the networks in `tests/golden/nets`, in order.
pub(crate) fn slim() -> Vec<String> {
    let files = std::fs::read_dir(golden().join("nets")).unwrap();
    let mut names: Vec<String> = files
        .filter_map(|f| f.unwrap().file_name().to_str()?.strip_suffix(".onnx").map(str::to_owned))
        .collect();
    names.sort();
    names
}

/// The values the goldens keep of a large tensor.
fn sample(tensor: &Tensor) -> Vec<f32> {
    let (n, data) = (tensor.len(), tensor.data());
    if n <= 4096 { data.to_vec() } else { (0..2048).map(|j| data[j * n / 2048 + j % 2]).collect() }
}

/// Means over square blocks of a `[1, C, H, W]` tensor: they see every pixel.
fn blocks(tensor: &Tensor, side: usize) -> Vec<f32> {
    let &[_, channels, height, width] = tensor.shape() else { panic!("not a picture") };
    let mut means = vec![];
    for (c, by, bx) in (0..channels * (height / side) * (width / side)).map(|i| {
        (
            i / (height / side * (width / side)),
            i / (width / side) % (height / side),
            i % (width / side),
        )
    }) {
        let pixels = (0..side * side).map(|k| (by * side + k / side, bx * side + k % side));
        let sum: f64 =
            pixels.map(|(y, x)| f64::from(tensor.data()[(c * height + y) * width + x])).sum();
        means.push((sum / (side * side) as f64) as f32);
    }
    means
}

/// What is asked of one network, as its golden says.
pub(crate) struct Question {
    facts: serde_json::Value,
    pub(crate) output: String,
    pub(crate) layer: Option<String>,
    /// The golden's input.
    pub(crate) x: Tensor,
    taps: Taps,
}

impl Question {
    pub(crate) fn of(name: &str) -> Self {
        let facts = facts(&golden().join(name).join("golden.json"));
        let text = |key: &str| facts[key].as_str().map(str::to_owned);
        let (output, layer) = (text("output_name").unwrap(), text("layer_name"));
        let start = facts["input_start"].as_u64().unwrap() as u32;
        // Exact either way: a 24-bit integer over a power of two.
        let (scale, shift) =
            if facts["input_in_unit_range"].as_bool().unwrap() { (0.5, 0.5) } else { (1.0, 0.0) };
        let x = input(&super::measure::shape(&facts["input_shape"]), start, scale, shift);
        let mut taps = Taps::of([output.clone()]).with_gradient(GradientPlace::Input);
        if let Some(layer) = &layer {
            taps.layers.push(layer.clone());
            taps = taps.with_gradient(GradientPlace::Layer(layer.clone()));
        }
        Self { facts, output, layer, x, taps }
    }

    /// Output, gradient at the input and, where the golden has a layer, its value and gradient.
    fn answer(&self, network: &dyn Network, batch: &Tensor) -> fame_core::Result<Vec<Tensor>> {
        let pass = network.forward(batch, &self.taps)?;
        let output = pass.output(&self.output)?;
        let mut one = output.shape().to_vec();
        one[0] = 1;
        let seed = LayerCotangent {
            layer: self.output.clone(),
            cotangent: stacked(output.rows(), |_| cotangent(&one)),
        };
        let mut gradients = pass.gradient(&[seed])?;
        let mut all = vec![output, gradients.remove(0)];
        if let Some(layer) = &self.layer {
            all.push(pass.output(layer)?);
            all.extend(gradients);
        }
        Ok(all)
    }
}

/// Compares one network with its golden; gives the whole tensors.
fn compare(
    subject: &Subject,
    name: &str,
    model: &Path,
    slack: f64,
    faults: &mut Vec<String>,
) -> Vec<Tensor> {
    let question = Question::of(name);
    let folder = golden().join(name);
    let network = match subject.backend.load(&LoadRequest::new(model.to_owned())) {
        Ok(network) => network,
        Err(e) => {
            faults.push(format!("{} {name}: {e}", subject.spec));
            return vec![];
        }
    };
    let answer = match question.answer(network.as_ref(), &question.x) {
        Ok(answer) => answer,
        Err(e) => {
            faults.push(format!("{} {name}: {e}", subject.spec));
            return vec![];
        }
    };
    let mut line = String::new();
    let mut check = |what: &str, got: &[f32], allowed: Option<f64>| {
        let apart = relative(got, &read(&folder.join(format!("{what}.npy"))));
        let _ = write!(line, "  {what} {apart:.1e}");
        if let Some(allowed) = allowed.filter(|allowed| apart > *allowed) {
            faults.push(format!(
                "{} {name}: {what} is {apart:.2e} from PyTorch, more than {allowed:.1e}",
                subject.spec
            ));
        }
    };
    let (forward, gradient) = (Some(subject.forward), subject.gradient(name));
    let kinked = gradient.map(|g| g * slack);
    check("output_head", &answer[0].data()[..answer[0].len().min(64)], forward);
    check("input_gradient_sample", &sample(&answer[1]), kinked);
    if let Some(side) = question.facts["block_side"].as_u64() {
        check("input_gradient_blocks", &blocks(&answer[1], side as usize), kinked);
    }
    if question.layer.is_some() {
        check("layer_sample", &sample(&answer[2]), forward);
        check("layer_gradient_sample", &sample(&answer[3]), gradient);
    }
    println!("{} {name}:{line}", subject.spec);
    answer
}

/// A batch of two gives what each row gives alone, and the layer's own value put in its place
/// changes nothing.
fn promises(subject: &Subject, name: &str, model: &Path, faults: &mut Vec<String>) {
    let question = Question::of(name);
    let network = subject.backend.load(&LoadRequest::new(model.to_owned())).unwrap();
    let other = input(question.x.shape(), 777_777, 1.0, 0.0);
    let (values, gradients) = subject.in_a_batch(name);
    let mut run = || -> fame_core::Result<()> {
        let together = question.answer(
            network.as_ref(),
            &stacked(2, |i| if i == 0 { question.x.clone() } else { other.clone() }),
        )?;
        for (i, x) in [&question.x, &other].into_iter().enumerate() {
            for ((both, alone), gradient) in together
                .iter()
                .zip(question.answer(network.as_ref(), x)?)
                .zip([false, true, false, true])
            {
                let apart = relative(both.row(i), alone.row(0));
                // Values and gradients in turns, as `answer` gives them.
                if (if gradient { gradients } else { Some(values) })
                    .is_some_and(|allowed| apart > allowed)
                {
                    faults.push(format!("{} {name}: row {i} alone is {apart:.1e} from the same row in a batch of two", subject.spec));
                }
            }
        }
        let Some(layer) = &question.layer else { return Ok(()) };
        let given =
            network.forward(&question.x, &Taps::of([layer.clone(), question.output.clone()]))?;
        let from = network.forward_from(
            layer,
            &given.output(layer)?,
            &question.x,
            &Taps::of([question.output.clone()]),
        )?;
        let apart =
            relative(from.output(&question.output)?.data(), given.output(&question.output)?.data());
        if apart > subject.forward {
            faults.push(format!(
                "{} {name}: forward from `{layer}` is {apart:.1e} from the whole forward pass",
                subject.spec
            ));
        }
        let zeros = Tensor::filled(given.output(layer)?.shape(), 0.0);
        let silenced = network.forward_from(
            layer,
            &zeros,
            &question.x,
            &Taps::of([question.output.clone()]),
        )?;
        let changed = relative(
            silenced.output(&question.output)?.data(),
            given.output(&question.output)?.data(),
        );
        if changed < CHANGES {
            faults.push(format!(
                "{} {name}: `{layer}` replaced by zeros changes nothing",
                subject.spec
            ));
        }
        Ok(())
    };
    if let Err(e) = run() {
        faults.push(format!("{} {name}: {e}", subject.spec));
    }
}

#[test]
fn slim_networks() {
    let subjects = present();
    let mut faults = vec![];
    for name in slim() {
        let file = golden().join("nets").join(format!("{name}.onnx"));
        let mut first: Option<(&Subject, Vec<Tensor>)> = None;
        for subject in &subjects {
            let before = faults.len();
            let answer = compare(subject, &name, &file, SMOOTH, &mut faults);
            if faults.len() > before && answer.is_empty() {
                continue;
            }
            promises(subject, &name, &file, &mut faults);
            match &first {
                None => first = Some((subject, answer)),
                Some((reference, tensors)) => {
                    for (what, (a, b)) in answer.iter().zip(tensors).enumerate() {
                        // Output, gradient, layer, gradient at the layer.
                        let of = |s: &Subject| {
                            if what % 2 == 0 { Some(s.forward) } else { s.gradient(&name) }
                        };
                        let (apart, allowed) = (
                            relative(a.data(), b.data()),
                            of(subject).zip(of(reference)).map(|(a, b)| a.max(b)),
                        );
                        if allowed.is_some_and(|allowed| apart > allowed) {
                            faults.push(format!(
                                "{name}: {} and {} differ by {apart:.1e} in tensor {what}",
                                subject.spec, reference.spec
                            ));
                        }
                    }
                }
            }
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn real_networks_where_their_files_are() {
    let Some(models) = std::env::var_os("FAME_MODELS").map(PathBuf::from) else {
        println!("FAME_MODELS is not set: the real networks are skipped.");
        return;
    };
    let mut faults = vec![];
    for subject in present() {
        for (name, slack) in FULL {
            let file = models.join(format!("{name}.onnx"));
            if !file.exists() {
                continue;
            }
            // The goldens hold for one file: another processor may have drawn other last bits of
            // the random weights.
            let known = facts(&golden().join(name).join("golden.json"))["model_sha256"]
                .as_str()
                .unwrap()
                .to_owned();
            let found = fame_core::data::sha256_file(&file).unwrap();
            if found == known {
                compare(&subject, name, &file, slack, &mut faults);
            } else {
                println!(
                    "{name} is skipped: `{}` has sha256 {found}, its golden is of {known}",
                    file.display()
                );
            }
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}
