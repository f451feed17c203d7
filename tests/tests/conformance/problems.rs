//! The small problems of `tests/golden/ops` and `tests/golden/front_end` on every backend.

use std::path::PathBuf;

use fame_core::contract::LoadRequest;

use super::backends::{Subject, present};
use super::measure::{cotangent, facts, input, read, relative, run, shape, stacked};

/// What a backend is not held to: its name and part of its spec, problem, reason. An ignored problem
/// that passes is a failure, so the list stays true.
const IGNORED: [([&str; 2], &str, &str); 2] = [
    (
        ["Tch", "precision: Bf16"],
        "activation/HardSigmoid_sixth",
        "an input rounds over a bound, where the derivative jumps",
    ),
    (
        ["Tch", "precision: Bf16"],
        "activation/hard_swish_opset11",
        "an input rounds over a bound, where the derivative jumps",
    ),
];

pub(crate) struct Problem {
    pub(crate) name: String,
    pub(crate) file: PathBuf,
    pub(crate) input_shape: Vec<usize>,
    pub(crate) scale: f32,
    pub(crate) shift: f32,
    pub(crate) output: Vec<f32>,
    gradient: Vec<f32>,
}

/// The problems of both folders.
pub(crate) fn problems() -> Vec<Problem> {
    ["ops", "front_end"].into_iter().flat_map(problems_of).collect()
}

fn problems_of(folder: &str) -> Vec<Problem> {
    let folder = fame_tests::root().join("tests/golden").join(folder);
    let values = read(&folder.join("values.npy"));
    let only = std::env::var("FAME_ONLY").unwrap_or_default();
    let all = facts(&folder.join("problems.json"));
    let one = |(name, facts): (&String, &serde_json::Value)| {
        let input_shape = shape(&facts["input_shape"]);
        let at = facts["at"].as_u64().unwrap() as usize;
        let (outputs, inputs) = (
            shape(&facts["output_shape"]).iter().product::<usize>(),
            input_shape.iter().product::<usize>(),
        );
        let number = |key: &str| facts[key].as_f64().unwrap() as f32;
        Problem {
            name: name.clone(),
            file: folder.join(format!("{name}.onnx")),
            input_shape,
            scale: number("scale"),
            shift: number("shift"),
            output: values[at..][..outputs].to_vec(),
            gradient: values[at + outputs..][..inputs].to_vec(),
        }
    };
    all.as_object()
        .unwrap()
        .iter()
        .map(one)
        .filter(|problem| problem.name.contains(&only))
        .collect()
}

/// What is wrong, or the two distances.
fn solve(subject: &Subject, problem: &Problem) -> Result<[f64; 2], String> {
    let network =
        subject.backend.load(&LoadRequest::new(problem.file.clone())).map_err(|e| e.to_string())?;
    let network = network.as_ref();
    let x = input(&problem.input_shape, 0, problem.scale, problem.shift);
    let (output, gradient) = run(network, "y", &x).map_err(|e| e.to_string())?;
    if output.len() != problem.output.len() {
        return Err(format!("the output has shape {:?}", output.shape()));
    }
    let apart =
        [relative(output.data(), &problem.output), relative(gradient.data(), &problem.gradient)];
    if apart.iter().any(|d| *d > subject.operator) {
        return Err(format!(
            "forward {:.1e}, gradient {:.1e}, allowed {:.0e}",
            apart[0], apart[1], subject.operator
        ));
    }
    batch_is_loop(subject, problem, network)?;
    Ok(apart)
}

/// Three copies of the rows, each with other values, give what each gives alone.
fn batch_is_loop(
    subject: &Subject,
    problem: &Problem,
    network: &dyn fame_core::contract::Network,
) -> Result<(), String> {
    let row =
        |i: usize| input(&problem.input_shape, 10_000 * i as u32, problem.scale, problem.shift);
    let together = stacked(3, row);
    let pass = |batch: &fame_core::Tensor, seed: &fame_core::Tensor| -> fame_core::Result<_> {
        let pass = network.forward(
            batch,
            &fame_core::Taps::of(["y"]).with_gradient(fame_core::GradientPlace::Input),
        )?;
        let seed = fame_core::LayerCotangent { layer: "y".to_owned(), cotangent: seed.clone() };
        Ok((pass.output("y")?, pass.gradient(&[seed])?.remove(0)))
    };
    let mut shape = network
        .layers()
        .iter()
        .find(|l| l.name == "y")
        .ok_or("there is no layer `y`")?
        .shape
        .clone();
    shape.insert(0, problem.input_shape[0]);
    let seed = cotangent(&shape);
    let (output, gradient) = pass(&together, &stacked(3, |_| seed.clone()))
        .map_err(|e| format!("batch of three: {e}"))?;
    let (outputs, inputs) = (problem.output.len(), problem.gradient.len());
    for i in 0..3 {
        let (one, back) = pass(&row(i), &seed).map_err(|e| format!("row {i}: {e}"))?;
        let apart = [
            relative(&output.data()[i * outputs..][..outputs], one.data()),
            relative(&gradient.data()[i * inputs..][..inputs], back.data()),
        ];
        if apart.iter().any(|d| *d > subject.batch) {
            return Err(format!(
                "row {i} alone differs from the batch by {:.1e} and {:.1e}, allowed {:.0e}",
                apart[0], apart[1], subject.batch
            ));
        }
    }
    Ok(())
}

#[test]
fn operators() {
    let problems = problems();
    let mut faults = vec![];
    for subject in present() {
        let (mut worst, mut solved) = ([(0f64, ""); 2], 0);
        for problem in &problems {
            let is_it = |parts: &[&str; 2]| parts.iter().all(|part| subject.spec.contains(part));
            let ignored =
                IGNORED.iter().find(|(parts, name, _)| is_it(parts) && *name == problem.name);
            match (solve(&subject, problem), ignored) {
                (Ok(apart), None) => {
                    solved += 1;
                    for (worst, apart) in worst.iter_mut().zip(apart) {
                        if apart > worst.0 {
                            *worst = (apart, &problem.name);
                        }
                    }
                }
                (Err(_), Some((_, _, reason))) => {
                    println!("ignored {} {}: {reason}", subject.spec, problem.name);
                }
                (Err(why), None) => {
                    faults.push(format!("{} {}: {why}", subject.spec, problem.name));
                }
                (Ok(_), Some(_)) => faults.push(format!(
                    "{} {}: it is ignored, but it passes",
                    subject.spec, problem.name
                )),
            }
        }
        let [forward, gradient] = worst.map(|(apart, name)| format!("{apart:.1e} ({name})"));
        println!(
            "{}: {solved} of {} operators; worst forward {forward}, worst gradient {gradient}",
            subject.spec,
            problems.len()
        );
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}
