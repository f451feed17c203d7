//! `fame-cli bench --methods RECIPE`: what a map of each of a recipe's explainers costs.

use std::{
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use fame_core::{
    LayerCotangent, Model, Result, Taps, Tensor,
    contract::{DeviceRows, ExplainContext, Network, Pass, PlainStep, Silent, Stop},
    network_facts,
    run::preview,
};
use serde_json::json;

use super::{cpu_seconds, median, peak_memory, processor};
use crate::{
    arguments::BenchArgs,
    commands::Failure,
    setup::Setup,
    terminal::{self, out, out_line, table},
};

/// What an explainer took for all items, in one of the rounds.
#[derive(Default)]
struct Cost {
    maps: usize,
    seconds: Vec<f64>,
    cpu: Vec<f64>,
    forward: usize,
    backward: usize,
}

/// Explains the first items of `recipe` with each of its explainers, in turns, and tells what a map
/// takes. Nothing is measured of the maps, and nothing is written.
pub(super) fn methods(setup: &Setup, args: &BenchArgs) -> Result<ExitCode, Failure> {
    let Some(recipe) = args.recipe() else { return Ok(ExitCode::SUCCESS) };
    let (plan, store) = setup.plan(&recipe)?;
    let watcher = terminal::watcher(setup.json);
    let seen = preview(&plan, &store, usize::from(args.items.unwrap_or(1)), watcher.as_ref())?;
    drop(watcher);
    if let Some(error) = seen.left_out.into_iter().next() {
        return Err(error.into());
    }
    let rounds = args.rounds.unwrap_or(1);
    let mut costs: Vec<Cost> = plan.explain.iter().map(|_| Cost::default()).collect();
    for _ in 0..rounds {
        for (cost, (name, explainer)) in costs.iter_mut().zip(&plan.explain) {
            let (rows, model) = counting(&seen.model);
            let with = ExplainContext { model: &model, seed: plan.seed, progress: &Silent };
            let (start, busy) = (Instant::now(), cpu_seconds());
            let results = explainer.plugin.explain(&with, &seen.samples);
            cost.seconds.push(start.elapsed().as_secs_f64());
            cost.cpu.push(cpu_seconds() - busy);
            let maps = results.into_iter().map(|result| result.map(|it| it.maps.len()));
            cost.maps =
                maps.sum::<Result<usize>>().map_err(|e| e.at(format!("explainer `{name}`")))?;
            let read = |count: &AtomicUsize| count.load(Ordering::Relaxed);
            (cost.forward, cost.backward) = (read(&rows.forward), read(&rows.backward));
        }
    }
    let named: Vec<_> = plan.explain.iter().map(|(name, _)| name.as_str()).zip(&costs).collect();
    let (model, backend) = (&plan.manifest.name, &plan.backend.name);
    if setup.json {
        let methods: Vec<_> = named.iter().map(|(name, cost)| cost.as_json(name)).collect();
        let all = json!({
            "cpu": processor(), "model": model, "backend": backend, "items": seen.samples.len(),
            "rounds": rounds, "methods": methods, "peak_memory_mib": peak_memory(),
        });
        out(&serde_json::to_string_pretty(&all).unwrap_or_default())?;
        return Ok(ExitCode::SUCCESS);
    }
    out_line(&format!(
        "{}; model `{model}` with {backend}; {} item{}, {}.",
        processor(),
        seen.samples.len(),
        if seen.samples.len() == 1 { "" } else { "s" },
        match rounds {
            1 => "once each, with the compiling of its plans".to_owned(),
            rounds => format!("medians of {rounds} rounds"),
        },
    ))?;
    out_line(
        "Rows are pictures that the network is run for, and gradients pulled back, for a map.",
    )?;
    let mut rows =
        vec![row(["explainer", "maps", "s a map", "CPU s", "forward rows", "gradients"])];
    rows.extend(named.iter().map(|(name, cost)| cost.as_row(name)));
    table(&rows).iter().try_for_each(|line| out_line(line))?;
    Ok(ExitCode::SUCCESS)
}

fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).into()
}

impl Cost {
    /// `total` of all maps, for one.
    fn each(&self, total: f64) -> f64 {
        total / self.maps.max(1) as f64
    }

    fn as_row(&self, name: &str) -> Vec<String> {
        let [seconds, cpu] = [&self.seconds, &self.cpu].map(|all| self.each(median(all)));
        let [forward, backward] = [self.forward, self.backward].map(|rows| self.each(rows as f64));
        row([
            name,
            &format!("{:>4}", self.maps),
            &format!("{seconds:>8.3}"),
            &format!("{cpu:>8.3}"),
            &format!("{forward:>12.1}"),
            &format!("{backward:>9.1}"),
        ])
    }

    fn as_json(&self, name: &str) -> serde_json::Value {
        json!({
            "explainer": name, "maps": self.maps,
            "seconds_per_map": self.each(median(&self.seconds)),
            "cpu_seconds_per_map": self.each(median(&self.cpu)),
            "forward_rows_per_map": self.each(self.forward as f64),
            "gradient_rows_per_map": self.each(self.backward as f64),
        })
    }
}

/// How many rows a network was run for.
#[derive(Default)]
struct Rows {
    forward: AtomicUsize,
    backward: AtomicUsize,
}

/// `model` with a network that counts its rows, and that remembers nothing yet: what explainers of a
/// run share would be the first one's cost alone.
fn counting(model: &Arc<Model>) -> (Arc<Rows>, Model) {
    let rows = Arc::new(Rows::default());
    let network = Counting { model: model.clone(), rows: rows.clone() };
    (rows, model.with_network(Box::new(network)))
}

struct Counting {
    model: Arc<Model>,
    rows: Arc<Rows>,
}

impl Counting {
    fn pass<'n>(&'n self, inner: Box<dyn Pass + 'n>, rows: usize) -> Box<dyn Pass + 'n> {
        self.rows.forward.fetch_add(rows, Ordering::Relaxed);
        Box::new(CountingPass { inner, rows, all: &self.rows.backward })
    }
}

impl Network for Counting {
    network_facts!(self => self.model.network);

    fn forward<'n>(&'n self, batch: &Tensor, taps: &Taps) -> Result<Box<dyn Pass + 'n>> {
        Ok(self.pass(self.model.network.forward(batch, taps)?, batch.rows()))
    }

    fn forward_from<'n>(
        &'n self,
        layer: &str,
        value: &Tensor,
        batch: &Tensor,
        taps: &Taps,
    ) -> Result<Box<dyn Pass + 'n>> {
        let inner = self.model.network.forward_from(layer, value, batch, taps)?;
        Ok(self.pass(inner, batch.rows()))
    }

    fn device_rows<'n>(
        &'n self,
        step: &PlainStep,
        layers: &[String],
    ) -> Result<Option<Box<dyn DeviceRows + 'n>>> {
        let inner = self.model.network.device_rows(step, layers)?;
        Ok(inner.map(|inner| Box::new(CountingRows { inner, rows: 0, all: &self.rows }) as _))
    }
}

struct CountingPass<'n> {
    inner: Box<dyn Pass + 'n>,
    rows: usize,
    all: &'n AtomicUsize,
}

impl Pass for CountingPass<'_> {
    fn output(&self, layer: &str) -> Result<Tensor> {
        self.inner.output(layer)
    }

    fn gradient(&self, cotangents: &[LayerCotangent]) -> Result<Vec<Tensor>> {
        self.all.fetch_add(self.rows, Ordering::Relaxed);
        self.inner.gradient(cotangents)
    }
}

/// Rows on a device, counted as those of passes are.
struct CountingRows<'n> {
    inner: Box<dyn DeviceRows + 'n>,
    rows: usize,
    all: &'n Rows,
}

impl DeviceRows for CountingRows<'_> {
    fn enter(&mut self, places: &Tensor) -> Result<()> {
        self.rows += places.rows();
        self.inner.enter(places)
    }

    fn forward(&mut self, to_step: bool) -> Result<Vec<Tensor>> {
        self.all.forward.fetch_add(self.rows, Ordering::Relaxed);
        self.inner.forward(to_step)
    }

    fn step(&mut self, cotangents: &[LayerCotangent], going: &[bool]) -> Result<Vec<Option<Stop>>> {
        self.all.backward.fetch_add(self.rows, Ordering::Relaxed);
        self.inner.step(cotangents, going)
    }

    fn place(&self, row: usize) -> Result<Tensor> {
        self.inner.place(row)
    }

    fn keep(&mut self, rows: &[usize]) -> Result<()> {
        self.rows = rows.len();
        self.inner.keep(rows)
    }
}
