//! The table of the network zoo: every architecture of `models/exporters/zoo.py`, full-size, on
//! every backend.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use fame_core::contract::LoadRequest;
use fame_core::{GradientPlace, Tensor};

use super::backends::present;
use super::measure::{facts, input, read, relative, run, shape};

/// Forward pass against onnxruntime.
const FORWARD: f64 = 1e-4;
/// Input gradient against PyTorch in f64.
const GRADIENT: f64 = 1e-3;
/// Where PyTorch's own gradient moves by more, f32 against f64 or after the input moved by 1e-6,
/// some units sit on their kinks: a correct program may be that far off, times this, since each
/// flips other units.
const KINK_SLACK: f64 = 2.0;

/// One network's files.
struct Entry {
    name: String,
    file: PathBuf,
    facts: serde_json::Value,
}

impl Entry {
    fn number(&self, key: &str) -> f64 {
        self.facts[key].as_f64().unwrap()
    }

    /// How far PyTorch itself is from itself.
    fn spread(&self) -> f64 {
        self.number("gradient_f32_against_f64").max(self.number("gradient_nudged_against_f64"))
    }
}

fn entries(folder: &Path) -> Vec<Entry> {
    let only = std::env::var("FAME_ONLY").unwrap_or_default();
    let files =
        std::fs::read_dir(folder).unwrap_or_else(|e| panic!("FAME_ZOO {}: {e}", folder.display()));
    let mut names: Vec<String> = files
        .filter_map(|f| f.unwrap().file_name().to_str()?.strip_suffix(".onnx").map(str::to_owned))
        .collect();
    names.sort();
    names.retain(|name| name.contains(&only));
    let entry = |name: String| Entry {
        file: folder.join(format!("{name}.onnx")),
        facts: facts(&folder.join(format!("{name}.json"))),
        name,
    };
    names.into_iter().map(entry).collect()
}

#[test]
#[ignore = "needs the zoo: models/exporters/zoo.py writes it, FAME_ZOO names its folder"]
fn zoo_table() {
    let folder = PathBuf::from(
        std::env::var_os("FAME_ZOO").unwrap_or_else(|| "/work/models-onnx/zoo".into()),
    );
    let (subjects, entries) = (present(), entries(&folder));
    assert!(!entries.is_empty(), "{} holds no network", folder.display());
    let mut faults = vec![];
    println!(
        "relative L2 distances; `f32` and `nudged`: PyTorch's gradient in f32, and in f64 after the input moved by 1e-6 (worst of three), from its f64\n"
    );
    print!("| network | gradient in PyTorch: f32 | nudged |");
    for (ix, subject) in subjects.iter().enumerate() {
        print!(" {}: forward | input gradient | layers explainable | s |", subject.spec);
        if ix > 0 {
            print!(" gradient from {} |", subjects[0].spec);
        }
    }
    println!("\n|{}", " --- |".repeat(3 + subjects.len() * 5 - 1));
    for entry in &entries {
        let mut line = format!(
            "| {} | {:.1e} | {:.1e} |",
            entry.name,
            entry.number("gradient_f32_against_f64"),
            entry.number("gradient_nudged_against_f64")
        );
        let mut first: Option<Tensor> = None;
        for (ix, subject) in subjects.iter().enumerate() {
            let start = Instant::now();
            let mut fault =
                |why: String| faults.push(format!("{} {}: {why}", subject.spec, entry.name));
            let network = match subject.backend.load(&LoadRequest::new(entry.file.clone())) {
                Ok(network) => network,
                Err(e) => {
                    fault(e.to_string());
                    line += " not loaded | | | |";
                    continue;
                }
            };
            let depend: Vec<_> = network.layers().iter().filter(|l| l.depends_on_input).collect();
            let explainable = depend
                .iter()
                .filter(|l| network.check_gradient(&l.name, &GradientPlace::Input).is_ok())
                .count();
            let x = input(&shape(&entry.facts["input_shape"]), 0, 1.0, 0.0);
            let (output, gradient) =
                match run(network.as_ref(), entry.facts["output_name"].as_str().unwrap(), &x) {
                    Ok(both) => both,
                    Err(e) => {
                        fault(e.to_string());
                        let _ = write!(line, " stopped | | {explainable} of {} | |", depend.len());
                        continue;
                    }
                };
            let forward = relative(output.data(), &read(&entry.file.with_extension("output.npy")));
            let back = relative(gradient.data(), &read(&entry.file.with_extension("gradient.npy")));
            if forward > FORWARD.max(subject.forward) {
                fault(format!("the forward pass is {forward:.1e} from onnxruntime's"));
            }
            // What bf16 does to a gradient is told, not judged: it depends on how many of the units
            // sit near their kinks.
            let between_allowed = subject.gradient(&entry.name);
            if between_allowed.is_some() && back > GRADIENT.max(KINK_SLACK * entry.spread()) {
                fault(format!(
                    "the input gradient is {back:.1e} from PyTorch's, whose own spread is {:.1e}",
                    entry.spread()
                ));
            }
            let seconds = start.elapsed().as_secs_f64();
            let _ = write!(
                line,
                " {forward:.1e} | {back:.1e} | {explainable} of {} | {seconds:.1} |",
                depend.len()
            );
            if ix > 0 {
                let between = first
                    .as_ref()
                    .map_or(f64::NAN, |first| relative(gradient.data(), first.data()));
                let _ = write!(line, " {between:.1e} |");
                if between_allowed
                    .is_some_and(|allowed| between > allowed.max(KINK_SLACK * entry.spread()))
                {
                    fault(format!(
                        "the input gradient is {between:.1e} from that of {}",
                        subjects[0].spec
                    ));
                }
            }
            if first.is_none() {
                first = Some(gradient);
            }
        }
        println!("{line}");
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}
