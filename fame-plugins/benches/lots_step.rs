//! Time of one LOTS step (forward, input gradient, update) of an ONNX network on every backend that
//! is compiled in; where a backend walks rows on its device, the same step there as well, beside it.
//!
//! `cargo bench -p fame-plugins [--features tch] --bench lots_step -- model.onnx [layer] [rows] [threads]`,
//! or `LOTS_MODEL=model.onnx cargo bench …`. The layer is by default the last output of the graph.
//! Each wall time is the median of eleven runs after warm-up; CPU time is the mean over the same
//! runs. With `LOTS_JSON` set each line is followed by its numbers in JSON
//! (`tests/oracles/speed_table.py` reads them); `LOTS_ENGINES=cpu` or `cuda` keeps only those.

use std::time::{Duration, Instant};

use fame_core::contract::{Backend, LoadRequest, Network, PlainStep, StepRule};
use fame_core::{GradientPlace, LayerCotangent, Result, Taps, Tensor, max_abs};
use fame_plugins::backends::tract::{Convolutions, Tract};

/// Runs before timing starts.
const WARM_UP: usize = 3;
/// Timed runs; the median is told.
const RUNS: usize = 11;
/// The step size of LOTS.
const ETA: f32 = 1.0 / 255.0;

/// Time that the threads of this process have computed, in ms. The scheduler counts each thread's
/// in ns; a thread that has ended is no longer counted, but the engines' pools stay for as long as
/// the process.
fn cpu_time() -> f64 {
    let Ok(threads) = std::fs::read_dir("/proc/self/task") else { return 0.0 };
    let of = |thread: std::fs::DirEntry| -> Option<f64> {
        let text = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse().ok()
    };
    threads.flatten().filter_map(of).sum::<f64>() / 1e6
}

/// Median wall and mean CPU time of a run, in ms.
fn median(mut run: impl FnMut() -> Result<()>) -> Result<(f64, f64)> {
    for _ in 0..WARM_UP {
        run()?;
    }
    let busy = cpu_time();
    let mut times: Vec<Duration> = vec![];
    for _ in 0..RUNS {
        let start = Instant::now();
        run()?;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    Ok((times[RUNS / 2].as_secs_f64() * 1e3, (cpu_time() - busy) / RUNS as f64))
}

/// A picture-like batch that is the same on every machine.
fn picture(rows: usize, shape: &[usize]) -> Result<Tensor> {
    let n: usize = rows * shape.iter().product::<usize>();
    let data = (0..n).map(|i| ((i as f32 * 12.9898).sin() * 43_758.547).fract()).collect();
    let mut full = vec![rows];
    full.extend(shape);
    Tensor::new(full, data)
}

fn step(
    network: &dyn Network,
    batch: &mut Tensor,
    taps: &Taps,
    seed: &LayerCotangent,
) -> Result<()> {
    let pass = network.forward(batch, taps)?;
    let gradient = pass.gradient(std::slice::from_ref(seed))?.remove(0);
    for row in 0..batch.rows() {
        let g = gradient.row(row);
        let scale = ETA / max_abs(g).max(f32::MIN_POSITIVE);
        batch.row_mut(row).iter_mut().zip(g).for_each(|(x, g)| *x -= scale * g);
    }
    Ok(())
}

/// Wall time in ms of the same step of rows that stay where the network is; `None` where they cannot.
fn device_step(
    network: &dyn Network,
    batch: &Tensor,
    seed: &LayerCotangent,
) -> Result<Option<f64>> {
    let channels = network.input_shape()[0];
    let (mean, std) = (vec![0.0; channels], vec![1.0; channels]);
    let step = PlainStep { rule: StepRule::Largest, size: ETA, mean, std, bounds: None };
    let Some(mut rows) = network.device_rows(&step, std::slice::from_ref(&seed.layer))? else {
        return Ok(None);
    };
    rows.enter(batch)?;
    let going = vec![true; batch.rows()];
    let (time, _) = median(|| {
        rows.forward(true)?;
        rows.step(std::slice::from_ref(seed), &going).map(|_| ())
    })?;
    Ok(Some(time))
}

/// Peak resident memory in MiB.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib / 1024)
}

/// Every engine by name.
fn engines(threads: usize) -> Vec<(&'static str, Box<dyn Backend>)> {
    let tract = |name, convolutions| {
        (name, Box::new(Tract { threads, convolutions, ..Tract::default() }) as Box<dyn Backend>)
    };
    let ours = [
        tract("tract", Convolutions::Own),
        tract("tract's kernels", Convolutions::Tract),
        tract("tract fastest", Convolutions::Fastest),
    ];
    ours.into_iter().chain(libtorch(threads)).collect()
}

#[cfg(not(feature = "tch"))]
fn libtorch(_threads: usize) -> Vec<(&'static str, Box<dyn Backend>)> {
    Vec::new()
}

#[cfg(feature = "tch")]
fn libtorch(threads: usize) -> Vec<(&'static str, Box<dyn Backend>)> {
    use fame_plugins::backends::tch::{Device, Precision, Tch};
    let with = |device, precision| Tch { device, threads, precision, ..Tch::default() };
    let mut found = vec![
        ("tch f32", with(Device::Cpu, Precision::F32)),
        ("tch bf16", with(Device::Cpu, Precision::Bf16)),
    ];
    let cuda = [
        ("cuda f32", Precision::F32),
        ("cuda tf32", Precision::Tf32),
        ("cuda bf16", Precision::Bf16),
    ];
    let there = |engine: &Tch| engine.check().is_ok();
    found.extend(
        cuda.into_iter()
            .map(|(name, precision)| (name, with(Device::Cuda(0), precision)))
            .filter(|(_, engine)| there(engine)),
    );
    found.into_iter().map(|(name, engine)| (name, Box::new(engine) as Box<dyn Backend>)).collect()
}

fn bench(
    (name, engine): (&str, &dyn Backend),
    file: &str,
    layer: Option<&str>,
    rows: usize,
    threads: usize,
) -> Result<()> {
    let start = Instant::now();
    let network = engine.load(&LoadRequest::new(file))?;
    let loaded = start.elapsed().as_secs_f64();
    let last = network
        .layers()
        .iter()
        .rev()
        .find(|l| l.is_output)
        .map(|l| l.name.clone())
        .unwrap_or_default();
    let layer = layer.map_or(last, str::to_owned);
    let mut batch = picture(rows, network.input_shape())?;
    let taps = Taps::of([layer.clone()]).with_gradient(GradientPlace::Input);
    let start = Instant::now();
    let shape = network.forward(&batch, &taps)?.output(&layer)?.shape().to_vec();
    let planned = start.elapsed().as_secs_f64();
    let seed = LayerCotangent { layer: layer.clone(), cotangent: picture(shape[0], &shape[1..])? };
    let (forward, _) = median(|| network.forward(&batch, &Taps::of([layer.clone()])).map(|_| ()))?;
    let (lots, busy) = median(|| step(network.as_ref(), &mut batch, &taps, &seed))?;
    let device = device_step(network.as_ref(), &batch, &seed)?;
    let on_device = device.map_or_else(String::new, |ms| format!(" (on the device {ms:.1} ms)"));
    println!(
        "{name:13} {file} `{layer}` rows {rows} threads {threads}: forward {forward:.1} ms, LOTS step {lots:.1} ms{on_device} \
         ({:.1} per row), CPU {busy:.0} ms ({:.1} per row); load {loaded:.2} s, plan {planned:.2} s, peak {} MiB",
        lots / rows as f64,
        busy / rows as f64,
        peak_memory().unwrap_or(0),
    );
    if std::env::var_os("LOTS_JSON").is_some() {
        let device = device.map_or_else(|| "null".to_owned(), |ms| format!("{ms:.3}"));
        println!(
            r#"{{"engine": "{name}", "rows": {rows}, "threads": {threads}, "forward_ms": {forward:.3}, "step_ms": {lots:.3}, "step_cpu_ms": {busy:.3}, "device_step_ms": {device}}}"#
        );
    }
    Ok(())
}

fn main() {
    // Cargo passes `--bench` to every bench.
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let Some(file) = args.first().cloned().or_else(|| std::env::var("LOTS_MODEL").ok()) else {
        println!("lots_step: give an ONNX file as argument or in LOTS_MODEL; nothing to do.");
        return;
    };
    let rows: Option<usize> = args.get(2).and_then(|n| n.parse().ok());
    let layer = args.get(1).map(String::as_str).filter(|layer| !layer.is_empty());
    let threads: Option<usize> = args.get(3).and_then(|n| n.parse().ok());
    let cases = rows
        .map_or(vec![(1, 1), (1, 2), (4, 1), (4, 2)], |rows| vec![(rows, threads.unwrap_or(rows))]);
    // `cpu` or `cuda`: only those.
    let wanted: Option<bool> = std::env::var("LOTS_ENGINES").ok().map(|device| device == "cuda");
    for (rows, threads) in cases {
        for (name, engine) in engines(threads).into_iter().filter(|(name, _)| {
            wanted.as_ref().is_none_or(|cuda| *cuda == name.starts_with("cuda"))
        }) {
            if let Err(error) = bench((name, engine.as_ref()), &file, layer, rows, threads) {
                println!("{name}: {}: {error}", error.code);
            }
        }
    }
}
