//! `fame-cli bench MODEL…`: what a step of a walk costs on this machine.

mod methods;

use std::{path::Path, process::ExitCode, sync::Arc, time::Instant};

use fame_core::{
    Error, GradientPlace, LayerCotangent, Model, Result, Taps, Tensor,
    contract::{LoadRequest, Network},
    max_abs,
    run::ModelShelf,
};
use fame_plugins::backends::product_peak;
use serde_json::json;

use super::Failure;
use crate::{
    arguments::BenchArgs,
    setup::Setup,
    terminal::{self, out, out_line},
};

/// Passes and steps before timing starts: they compile plans, fill caches and grow memory.
const WARM_UP: usize = 2;
/// The size of a step, in the picture's units of 0 to 1. It changes nothing of the time.
const STEP: f32 = 1.0 / 255.0;

/// A network, alone or within a model.
enum Held {
    Model(Arc<Model>),
    Network(Box<dyn Network>),
}

impl Held {
    fn network(&self) -> &dyn Network {
        match self {
            Self::Model(model) => model.network.as_ref(),
            Self::Network(network) => network.as_ref(),
        }
    }
}

/// One model on one backend, ready to be timed.
struct Candidate {
    name: String,
    backend: String,
    network: Held,
    layer: String,
    batch: Tensor,
    cotangent: LayerCotangent,
    /// Until the first step could be taken, in seconds: reading, and compiling plans.
    ready: f64,
    wall: Vec<f64>,
    cpu: Vec<f64>,
    forward: Vec<f64>,
    /// Multiplications and additions of a step of one picture, as direct sums have them; `None` where
    /// the backend does not tell.
    operations: Option<f64>,
}

pub(crate) fn bench(setup: &Setup, args: &BenchArgs) -> Result<ExitCode, Failure> {
    if args.methods.is_some() {
        return methods::methods(setup, args);
    }
    if args.items.is_some() || args.rounds.is_some() || !args.set.is_empty() {
        let error = Error::new(
            "fame::bench::no_recipe",
            "`--items`, `--rounds` and `--set` are of a recipe's explainers, and there is no recipe.",
        );
        return Err(Failure::Arguments(error.with_help("Name one with --methods.")));
    }
    let mut rows = vec![];
    for model in &args.networks {
        let mut candidates = vec![];
        for backend in &args.backend {
            candidates.push(load(setup, args, model, backend)?);
        }
        // In turns, so that what else the machine does meets all of them.
        for _ in 0..args.steps {
            candidates.iter_mut().try_for_each(Candidate::time)?;
        }
        rows.extend(candidates);
    }
    let peak = product_peak();
    if setup.json {
        let rows: Vec<_> = rows.iter().map(|row| row.as_json(args, peak)).collect();
        let all = json!({
            "cpu": processor(), "rows": args.rows, "steps": args.steps, "measured": rows,
            "product_peak_gflops": peak / 1e9, "peak_memory_mib": peak_memory(),
        });
        out(&serde_json::to_string_pretty(&all).unwrap_or_default())?;
    } else {
        as_text(args, &rows, peak)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn load(setup: &Setup, args: &BenchArgs, name: &str, spec: &str) -> Result<Candidate, Failure> {
    let backend = setup.backend(spec)?;
    let start;
    let file = Path::new(name);
    // Time does not depend on what a manifest says, so a bare file will do.
    let is_bare = file.extension().is_some_and(|end| end == "onnx") && file.is_file();
    let (held, layers) = if is_bare {
        start = Instant::now();
        let request = LoadRequest { operators: setup.operators()?, ..LoadRequest::new(file) };
        (Held::Network(backend.plugin.load(&request)?), None)
    } else {
        let store = setup.store()?;
        let manifest = store.resolve(name, ".".as_ref())?;
        let layers = manifest.layers.clone();
        let watcher = terminal::watcher(setup.json);
        let on_fetch =
            |p: &fame_core::store::FetchEvent| watcher.event(&fame_core::run::Event::Fetch(p));
        let shelf = ModelShelf::new(&store, backend.plugin.as_ref(), &on_fetch)
            .with_operators(setup.operators()?);
        let file = shelf.fetch(&manifest)?;
        start = Instant::now();
        (Held::Model(shelf.load(manifest, file)?), Some(layers))
    };
    let network = held.network();
    let layer = match &args.layer {
        Some(name) => {
            layers.and_then(|layers| layers.get(name).cloned()).unwrap_or_else(|| name.clone())
        }
        None => {
            let last = network.layers().iter().rev().find(|layer| layer.is_output);
            last.map(|layer| layer.name.clone()).unwrap_or_default()
        }
    };
    let mut batch = noise(usize::from(args.rows), network.input_shape())?;
    let shape = network.forward(&batch, &taps(&layer))?.output(&layer)?.shape().to_vec();
    let cotangent =
        LayerCotangent { layer: layer.clone(), cotangent: noise(shape[0], &shape[1..])? };
    warm_up(network, &mut batch, &cotangent)?;
    let ready = start.elapsed().as_secs_f64();
    let operations = operations(network, &batch, &cotangent)?;
    Ok(Candidate {
        name: name.to_owned(),
        backend: spec.to_owned(),
        network: held,
        layer,
        batch,
        cotangent,
        ready,
        wall: vec![],
        cpu: vec![],
        forward: vec![],
        operations,
    })
}

/// Runs all that is timed before the clock starts: a pass without a gradient has a plan of its own.
fn warm_up(network: &dyn Network, batch: &mut Tensor, seed: &LayerCotangent) -> Result<()> {
    for _ in 0..WARM_UP {
        forward(network, batch, &seed.layer)?;
        step(network, batch, seed)?;
    }
    Ok(())
}

/// A forward pass alone.
fn forward(network: &dyn Network, batch: &Tensor, layer: &str) -> Result<()> {
    network.forward(batch, &Taps::of([layer])).map(drop)
}

/// Multiplications and additions of a step of the batch's first picture, where the backend tells.
fn operations(network: &dyn Network, batch: &Tensor, seed: &LayerCotangent) -> Result<Option<f64>> {
    let seed = LayerCotangent { layer: seed.layer.clone(), cotangent: first(&seed.cotangent)? };
    let Ok(nodes) = network.profile(&first(batch)?, &seed, 1) else { return Ok(None) };
    Ok(Some(nodes.iter().filter_map(|node| Some(node.kernel.as_ref()?.operations)).sum()))
}

/// The first row, as a batch.
fn first(batch: &Tensor) -> Result<Tensor> {
    Tensor::stack(&[batch.row_tensor(0)])
}

fn taps(layer: &str) -> Taps {
    Taps::of([layer]).with_gradient(GradientPlace::Input)
}

/// A picture-like batch that is the same on every machine, with values from −1 to 1.
pub(super) fn noise(rows: usize, shape: &[usize]) -> Result<Tensor> {
    let full = [&[rows], shape].concat();
    let count: usize = full.iter().product();
    let value = |i: usize| ((i as f32 * 12.9898).sin() * 43_758.547).fract();
    Tensor::new(full, (0..count).map(value).collect())
}

/// Forward, gradient at the input, and the update of each picture.
fn step(network: &dyn Network, batch: &mut Tensor, seed: &LayerCotangent) -> Result<()> {
    let pass = network.forward(batch, &taps(&seed.layer))?;
    let gradient = pass.gradient(std::slice::from_ref(seed))?.remove(0);
    for row in 0..batch.rows() {
        let g = gradient.row(row);
        let scale = STEP / max_abs(g).max(f32::MIN_POSITIVE);
        batch.row_mut(row).iter_mut().zip(g).for_each(|(x, g)| *x -= scale * g);
    }
    Ok(())
}

impl Candidate {
    /// One forward pass and one step.
    fn time(&mut self) -> Result<()> {
        let network = self.network.network();
        let start = Instant::now();
        forward(network, &self.batch, &self.layer)?;
        self.forward.push(start.elapsed().as_secs_f64());
        let (start, busy) = (Instant::now(), cpu_seconds());
        step(network, &mut self.batch, &self.cotangent)?;
        self.wall.push(start.elapsed().as_secs_f64());
        self.cpu.push(cpu_seconds() - busy);
        Ok(())
    }

    /// What part of `peak`, a core's operations in a second, a step reaches on the cores it has; more
    /// than all of it where Winograd's algorithms save most of the multiplications.
    fn share(&self, args: &BenchArgs, peak: f64) -> Option<f64> {
        let cpu = median(&self.cpu);
        let rate = self.operations? * f64::from(args.rows) / cpu;
        (cpu > 0.0).then_some(rate / peak)
    }

    fn as_json(&self, args: &BenchArgs, peak: f64) -> serde_json::Value {
        json!({
            "operations": self.operations, "share_of_peak": self.share(args, peak),
            "model": self.name, "backend": self.backend, "layer": self.layer,
            "step_s": median(&self.wall), "step_cpu_s": median(&self.cpu),
            "forward_s": median(&self.forward), "ready_s": self.ready, "notes": self.network.network().notes(),
        })
    }
}

fn as_text(args: &BenchArgs, rows: &[Candidate], peak: f64) -> Result<(), Failure> {
    let steps = match args.steps {
        1 => "one step each".to_owned(),
        steps => format!("medians of {steps} steps"),
    };
    let (pictures, map) = match args.rows {
        1 => ("one picture".to_owned(), "a map of the paper takes 500"),
        rows => (
            format!("{rows} pictures"),
            "a map of the paper takes 500, of which its picture's share is told",
        ),
    };
    out(&format!("{}; {pictures} in a batch; {steps}, taken in turns; {map}.", processor()))?;
    let model = |row: &Candidate| row.name.chars().count();
    let wide = rows.iter().map(model).max().unwrap_or(0).max("model".len());
    let spec = |row: &Candidate| row.backend.chars().count();
    let long = rows.iter().map(spec).max().unwrap_or(0).max("backend".len());
    out(&format!(
        "{:<wide$}  {:<long$}  {:>9}  {:>9}  {:>10}  {:>11}  {:>8}  {:>9}",
        "model",
        "backend",
        "step, ms",
        "CPU, ms",
        "forward, ms",
        "500 steps, s",
        "ready, s",
        "of peak"
    ))?;
    for row in rows {
        let step = median(&row.wall);
        let share = row.share(args, peak);
        out_line(&format!(
            "{:<wide$}  {:<long$}  {:>9.1}  {:>9.1}  {:>11.1}  {:>12.1}  {:>8.2}  {:>9}",
            row.name,
            row.backend,
            step * 1e3,
            median(&row.cpu) * 1e3,
            median(&row.forward) * 1e3,
            step * 500.0 / f64::from(args.rows),
            row.ready,
            share.map_or("—".to_owned(), |share| format!("{:.0} %", 100.0 * share)),
        ))?;
    }
    out_line(&format!(
        "Peak: {:.0} GFLOP/s on a core, of products of f32 within its first cache. Steps are counted as \
         direct sums, of which Winograd's algorithms save a part; products of bfloat16 have a higher \
         peak.",
        peak / 1e9
    ))?;
    if let Some(memory) = peak_memory() {
        out(&format!("Peak memory of this process: {memory} MiB."))?;
    }
    Ok(())
}

/// The median. Of an even number, the lower of the two in the middle.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
}

/// Seconds that the threads of this process have computed; 0 where the system does not tell. The
/// scheduler counts each thread's in nanoseconds.
fn cpu_seconds() -> f64 {
    let Ok(threads) = std::fs::read_dir("/proc/self/task") else { return 0.0 };
    let of = |thread: std::fs::DirEntry| -> Option<f64> {
        let text = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse().ok()
    };
    threads.flatten().filter_map(of).sum::<f64>() / 1e9
}

/// Peak resident memory in MiB, where the system tells.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib / 1024)
}

/// The processor's name and the number of cores this process may use.
fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let named = text.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{}, {cores} cores", named.unwrap_or("unknown processor"))
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, sync::Mutex};

    use fame_core::{contract::Pass, network_facts, testkit};

    use super::*;

    /// A network that notes the sorts of passes that it runs.
    struct Noting(Model, Arc<Mutex<BTreeSet<Taps>>>);

    impl Network for Noting {
        network_facts!(self => self.0.network);

        fn forward<'n>(&'n self, batch: &Tensor, taps: &Taps) -> Result<Box<dyn Pass + 'n>> {
            self.1.lock().unwrap().insert(taps.clone());
            self.0.network.forward(batch, taps)
        }

        fn forward_from<'n>(
            &'n self,
            layer: &str,
            value: &Tensor,
            batch: &Tensor,
            taps: &Taps,
        ) -> Result<Box<dyn Pass + 'n>> {
            self.0.network.forward_from(layer, value, batch, taps)
        }
    }

    /// The median of one step is that step: its passes must not be the first of their sort.
    #[test]
    fn no_pass_that_is_timed_is_the_first_of_its_sort() {
        let noted = Arc::new(Mutex::new(BTreeSet::new()));
        let network = Noting(testkit::model().unwrap(), noted.clone());
        let (layer, shape) = ("logits".to_owned(), network.input_shape());
        let mut batch = noise(1, shape).unwrap();
        let seen = network.forward(&batch, &taps(&layer)).unwrap().output(&layer).unwrap();
        let cotangent = LayerCotangent { layer: layer.clone(), cotangent: seen };
        warm_up(&network, &mut batch, &cotangent).unwrap();
        let warm = std::mem::take(&mut *noted.lock().unwrap());
        let mut candidate = Candidate {
            name: "net".to_owned(),
            backend: "Fake()".to_owned(),
            network: Held::Network(Box::new(network)),
            layer,
            batch,
            cotangent,
            ready: 0.0,
            wall: vec![],
            cpu: vec![],
            forward: vec![],
            operations: None,
        };
        candidate.time().unwrap();
        let timed = noted.lock().unwrap();
        assert!(timed.len() == 2 && timed.is_subset(&warm), "{timed:?} of {warm:?}");
    }

    #[test]
    fn the_median_is_a_value_that_was_measured() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.0);
        assert!(median(&[]).is_nan());
    }
}
