//! Walks on the device of every backend that has one for them, against the same walks on the host:
//! every rule, space, clamp and stop rule, with more rows than go at once, so that some enter as
//! others leave.

use std::collections::BTreeMap;

use fame_core::ask::{Aim, Row, WalkedRow, walk_rows};
use fame_core::contract::{
    LoadRequest, Loss, Operators, Perturbation, PlainStep, Remembered, Silent, Start, StepRule,
    Stop,
};
use fame_core::data::Layout;
use fame_core::registry::Built;
use fame_core::store::ModelManifest;
use fame_core::testkit::{OnHost, build, sample};
use fame_core::text::{LayerChoice, LayerChoices};
use fame_core::{Model, Tensor};

use super::backends::{Subject, present};
use super::networks::golden;

/// How far losses and fields may lie apart, as a share of the host's (sums of magnitudes: where a
/// gradient is nearly 0, its sign, and with it a step of `Sign`, is rounding's). The two ways feed
/// the network the same numbers but for the last digit of a length, whose sum is another order.
const APART: f64 = 1e-4;
/// The same for a network that computes in fewer bits: the last digit of a place is a whole digit
/// of what the network sees where it is rounded, and units change sides at their kinks.
const APART_IN_FEW_BITS: f64 = 5e-2;

/// Networks, and every how manieth walk is walked on each; neither number shares a factor with how
/// many rules, spaces or stop rules there are, so that each of these has its turn.
const NETWORKS: [(&str, usize); 3] = [("iresnet50_slim", 5), ("nhwc_slim", 11), ("vit_slim", 11)];

/// Pictures walked: more than the four rows that go at once.
const ROLES: [&str; 5] = ["a", "b", "c", "d", "e"];
/// Steps of the longest row; the others are shorter by one each, and the last takes none.
const STEPS: usize = 4;

/// Height and width of a network's pictures.
fn side(name: &str) -> usize {
    if name == "iresnet50_slim" { 56 } else { 64 }
}

fn model(subject: &Subject, name: &str) -> Model {
    let file = golden().join("nets").join(format!("{name}.onnx"));
    let layout =
        if name.starts_with("nhwc") { Layout::ChannelsLast } else { Layout::ChannelsFirst };
    let shape = [3, side(name), side(name)];
    let request =
        LoadRequest::new(file.clone()).with_inputs(layout, BTreeMap::new()).with_input_shape(shape);
    let network = subject.backend.load(&request).unwrap();
    let text = format!(
        r#"(summary: "A test network", input: (size: (3, {0}, {0}), order: Rgb, mean: (0.4, 0.5, 0.6), std: (0.25, 0.4, 0.3)))"#,
        side(name)
    );
    Model {
        manifest: ModelManifest::parse(name, &text, None).unwrap(),
        network,
        file,
        sha256: String::new(),
        labels: Vec::new(),
        operators: Operators::default(),
        remembered: Remembered::default(),
    }
}

fn on_host(model: Model) -> Model {
    Model { network: Box::new(OnHost(model.network)), ..model }
}

fn has_device(model: &Model) -> bool {
    let (mean, std) = (vec![0.0; 3], vec![1.0; 3]);
    let step = PlainStep { rule: StepRule::Sign, size: 1.0, mean, std, bounds: None };
    let output = model.network.layers().iter().find(|l| l.is_output).unwrap().name.clone();
    model.network.device_rows(&step, &[output]).unwrap().is_some()
}

/// Walks all pictures down the first logit by `perturbation`.
fn walked(model: &Model, perturbation: &Built<dyn Perturbation>) -> Vec<WalkedRow> {
    let convention = &model.manifest.input;
    let sample = sample("s", &ROLES, convention.height).unwrap();
    let loss = build::<dyn Loss>("Logit(class: Index(0))").unwrap();
    let layers = LayerChoices::from(LayerChoice::Output);
    let aim = Aim::new(model, &layers, loss.plugin.as_ref()).unwrap();
    let rows = aim.rows(&sample, None).unwrap().into_iter().enumerate().map(|(n, about)| {
        let pixels = convention.pixels(&sample.pictures[n].1.pixels).unwrap();
        let start = Start { pixels: &pixels, convention, seed: 1 };
        Row {
            walk: perturbation.plugin.start(&start).unwrap(),
            target: about.target,
            max_steps: STEPS.saturating_sub(n),
            read_at: vec![0, 2],
        }
    });
    walk_rows(&aim, rows.collect(), &Silent).unwrap()
}

/// Σ |a − b| / Σ |b|.
fn apart(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let sum = |all: &mut dyn Iterator<Item = f32>| all.map(|x| f64::from(x.abs())).sum::<f64>();
    let distance = sum(&mut a.iter().zip(b).map(|(a, b)| a - b));
    if distance == 0.0 { 0.0 } else { distance / sum(&mut b.iter().copied()) }
}

/// The largest distance of anything that is told of the rows, or what is told differently.
fn compare(there: &[WalkedRow], here: &[WalkedRow]) -> Result<f64, String> {
    let mut worst = 0f64;
    let mut see = |a: &Tensor, b: &Tensor| worst = worst.max(apart(a.data(), b.data()));
    for (n, (there, here)) in there.iter().zip(here).enumerate() {
        let ends = |row: &WalkedRow| {
            format!("{} after {}, read {}", row.stop, row.steps, row.readings.len())
        };
        if ends(there) != ends(here) {
            return Err(format!("row {n} ended by {}, not by {}", ends(there), ends(here)));
        }
        see(&Tensor::vector(there.losses.clone()), &Tensor::vector(here.losses.clone()));
        see(&there.walk.field().unwrap(), &here.walk.field().unwrap());
        for (there, here) in [(&there.began, &here.began), (&there.ended, &here.ended)] {
            see(&there.input, &here.input);
            there.outputs.iter().zip(&here.outputs).for_each(|(a, b)| see(a, b));
        }
        for (there, here) in there.readings.iter().zip(&here.readings) {
            see(&there.field, &here.field);
            there.outputs.iter().zip(&here.outputs).for_each(|(a, b)| see(a, b));
        }
    }
    Ok(worst)
}

fn perturbation(text: &str) -> Built<dyn Perturbation> {
    build::<dyn Perturbation>(text).unwrap_or_else(|e| panic!("{text}: {e}"))
}

/// Every kind of walk, with stop rules that end some rows early; `losses` are those of a row that
/// was not stopped.
fn walks(losses: &[f32]) -> Vec<String> {
    let bound = losses[losses.len() / 2];
    let stops = [
        String::new(),
        format!("LossBelow({bound})"),
        "RelativeDrop(0.5)".to_owned(),
        "Plateau(window: 1, tolerance: 0.2)".to_owned(),
    ];
    let mut all = Vec::new();
    for (rule, step) in [("Lots", 0.05), ("Sign", 0.01), ("L2", 1.0)] {
        for (space, clamp) in
            [("Pixel", "Off"), ("Pixel", "Pixels"), ("Normalised", "Off"), ("Normalised", "Pixels")]
        {
            for stop in &stops {
                all.push(format!(
                    "{rule}(step: {step}, iterations: {STEPS}, space: {space}, clamp: {clamp}, stop: [{stop}])"
                ));
            }
        }
    }
    all
}

#[test]
fn a_walk_on_the_device_is_the_walk_on_the_host() {
    for subject in present() {
        let mut faults = Vec::new();
        let allowed = if subject.operator > super::backends::F32_OPERATOR {
            APART_IN_FEW_BITS
        } else {
            APART
        };
        let mut early = 0;
        for (name, every) in NETWORKS {
            let device = model(&subject, name);
            if !has_device(&device) {
                println!("{}: walks are on the host anyway.", subject.spec);
                break;
            }
            let host = on_host(model(&subject, name));
            let first = walked(&host, &perturbation("Lots(step: 0.05, iterations: 4)"));
            let specs = walks(&first[0].losses);
            let mut worst = 0f64;
            for spec in specs.iter().step_by(every) {
                let perturbation = perturbation(spec);
                let (there, here) = (walked(&device, &perturbation), walked(&host, &perturbation));
                early += here.iter().filter(|row| row.stop != Stop::Iterations).count();
                match compare(&there, &here) {
                    Ok(distance) if distance <= allowed => worst = worst.max(distance),
                    Ok(distance) => faults.push(format!("{name} {spec}: {distance:.1e} apart")),
                    Err(what) => faults.push(format!("{name} {spec}: {what}")),
                }
            }
            println!("{} {name}: at most {worst:.1e} apart", subject.spec);
            assert!(early > 0, "no stop rule was tried");
        }
        assert!(faults.is_empty(), "{}:\n{}", subject.spec, faults.join("\n"));
    }
}
