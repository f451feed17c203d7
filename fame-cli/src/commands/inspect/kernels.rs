//! `fame-cli inspect MODEL --kernels`: what computes each layer, and where a step's time goes.

use std::collections::BTreeMap;

use fame_core::{LayerCotangent, Model, Taps, contract::NodeTime};
use fame_plugins::backends::product_peak;
use serde_json::json;

use super::super::{Failure, bench::noise};
use crate::{
    setup::Setup,
    terminal::{out, out_line, table},
};

/// How often each node is timed.
const RUNS: usize = 9;

/// The least part of a step that is told of a kind of node: what is shown as 0.1 %.
const LEAST: f64 = 0.0005;

/// Times the nodes of a step of one picture, and tells them.
pub(super) fn tell(setup: &Setup, model: &Model, backend: &str) -> Result<(), Failure> {
    let network = model.network.as_ref();
    let output = network.layers().iter().rev().find(|layer| layer.is_output);
    let layer = output.map(|layer| layer.name.clone()).unwrap_or_default();
    let batch = noise(1, network.input_shape())?;
    let pass = network.forward(&batch, &Taps::of([layer.as_str()]))?;
    let shape = pass.output(&layer)?.shape().to_vec();
    let seed = LayerCotangent { layer, cotangent: noise(1, &shape[1..])? };
    let nodes = network.profile(&batch, &seed, RUNS)?;
    let peak = product_peak();
    if setup.json {
        let each: Vec<_> = nodes.iter().map(as_json).collect();
        let all = json!({
            "model": model.manifest.name, "backend": backend, "layer": seed.layer, "runs": RUNS,
            "product_peak_gflops": peak / 1e9, "nodes": each,
        });
        return Ok(out(&serde_json::to_string_pretty(&all).unwrap_or_default())?);
    }
    let step: f64 = nodes.iter().map(|node| node.seconds).sum();
    out_line(&format!(
        "{}: a step of one picture with {backend}, from `{}`: {:.1} ms of nodes, medians of {RUNS} runs.",
        model.manifest.name,
        seed.layer,
        step * 1e3,
    ))?;
    out_line(&format!(
        "A core of this machine multiplies and adds {:.0} GFLOP/s where all lies in its first cache. A \
         rate counts what a direct sum takes: F(4×4, 3×3) needs a quarter of it, F(2×2, 3×3) four \
         ninths.",
        peak / 1e9,
    ))?;
    let mut rows = vec![cells(["pass", "kernel", "shape", "ms", "GFLOP/s", "node"])];
    rows.extend(nodes.iter().filter_map(|node| {
        let kernel = node.kernel.as_ref()?;
        let [ms, rate] = [node.seconds * 1e3, kernel.operations / node.seconds / 1e9];
        let (ms, rate) = (format!("{ms:>7.2}"), format!("{rate:>7.0}"));
        Some(cells([pass_of(node), &kernel.algorithm, &kernel.shape, &ms, &rate, &node.name]))
    }));
    table(&rows).iter().try_for_each(|line| out_line(line))?;
    out_line("")?;
    table(&sums(&nodes, step)).iter().try_for_each(|line| out_line(line))?;
    Ok(())
}

/// The time of all nodes of one kind, the longest first, without those that take next to nothing.
fn sums(nodes: &[NodeTime], step: f64) -> Vec<Vec<String>> {
    let mut kinds: BTreeMap<(bool, String), (usize, f64)> = BTreeMap::new();
    for node in nodes {
        let kind = node.kernel.as_ref().map_or(&node.op, |kernel| &kernel.algorithm);
        let sum = kinds.entry((node.is_backward, kind.clone())).or_default();
        *sum = (sum.0 + 1, sum.1 + node.seconds);
    }
    let mut kinds: Vec<_> = kinds.into_iter().collect();
    // Inputs and what costs as little would only lengthen the table.
    kinds.retain(|(_, (_, seconds))| *seconds >= step * LEAST);
    kinds.sort_by(|a, b| b.1.1.total_cmp(&a.1.1));
    let mut rows = vec![cells(["pass", "kernel or operator", "nodes", "ms", "of the step"])];
    rows.extend(kinds.into_iter().map(|((is_backward, kind), (count, seconds))| {
        let (ms, part) = (seconds * 1e3, 100.0 * seconds / step);
        let [ms, part] = [format!("{ms:>7.2}"), format!("{part:>5.1} %")];
        let pass = if is_backward { "backward" } else { "forward" };
        cells([pass, &kind, &format!("{count:>5}"), &ms, &part])
    }));
    rows
}

fn cells<const N: usize>(row: [&str; N]) -> Vec<String> {
    row.map(str::to_owned).into()
}

fn pass_of(node: &NodeTime) -> &'static str {
    if node.is_backward { "backward" } else { "forward" }
}

fn as_json(node: &NodeTime) -> serde_json::Value {
    let mut told = json!({
        "name": node.name, "op": node.op, "pass": pass_of(node), "seconds": node.seconds,
    });
    if let Some(kernel) = &node.kernel {
        told["kernel"] = json!({
            "algorithm": kernel.algorithm, "shape": kernel.shape, "operations": kernel.operations,
            "gflops": kernel.operations / node.seconds / 1e9, "weight_bytes": kernel.weight_bytes,
        });
    }
    told
}
