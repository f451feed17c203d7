//! What each node of a pair of plans takes.

use fame_core::contract::{NodeKernel, NodeTime};
use fame_core::{GradientPlace, LayerCotangent, Result, Taps, Tensor};
use fame_kernels::without_subnormals;
use tract_onnx::prelude::{TValue, TVec, TractResult};
use tract_onnx::tract_core::internal::{TypedNode, tvec};

use super::network::TractNetwork;
use super::ops::with_threads;
use super::pass::{TractPass, failed, to_tract};
use super::runner::{Runner, convolution};

/// Times every node of a step of one row, `runs` times each and once before.
pub(super) fn profile(
    network: &TractNetwork,
    batch: &Tensor,
    seed: &LayerCotangent,
    runs: usize,
) -> Result<Vec<NodeTime>> {
    let taps = Taps::of([seed.layer.clone()]).with_gradient(GradientPlace::Input);
    let plan = network.plan(&taps, None)?;
    let input = to_tract(network.model.full_input()?, batch.row(0));
    let mut forward = vec![vec![]; plan.forward.nodes().len()];
    let mut backward = vec![vec![]; plan.backward.as_ref().map_or(0, |plan| plan.nodes().len())];
    let input = input.map_err(|e| failed("the forward pass", &e))?;
    for _ in 0..=runs {
        let row = timed(network, &plan.forward, tvec!(input.clone()), &mut forward);
        let rows = vec![row.map_err(|e| failed("the forward pass", &e))?];
        let pass = TractPass { pool: &network.pool, plan: plan.clone(), rows };
        let Some(plan) = &plan.backward else { continue };
        for inputs in pass.backward_inputs(std::slice::from_ref(seed))? {
            timed(network, plan, inputs, &mut backward).map_err(|e| failed("the gradient", &e))?;
        }
    }
    let told = |plan: &Runner, seconds: Vec<Vec<f64>>, is_backward| -> Vec<NodeTime> {
        let nodes = plan.nodes().zip(seconds);
        nodes.map(|(node, seconds)| node_time(node, seconds, is_backward)).collect()
    };
    let mut all = told(&plan.forward, forward, false);
    all.extend(plan.backward.iter().flat_map(|plan| told(plan, backward.split_off(0), true)));
    Ok(all)
}

/// Runs a row as a walk does: on a thread of the pool, which the others help.
fn timed(
    network: &TractNetwork,
    plan: &Runner,
    inputs: TVec<TValue>,
    seconds: &mut [Vec<f64>],
) -> TractResult<TVec<TValue>> {
    let run = || without_subnormals(|| plan.run_timed(inputs, seconds));
    network.pool.install(|| with_threads(network.pool.current_num_threads(), run))
}

fn node_time(node: &TypedNode, mut seconds: Vec<f64>, is_backward: bool) -> NodeTime {
    // The first run fills caches and grows memory.
    seconds.remove(0);
    seconds.sort_by(f64::total_cmp);
    let kernel = convolution(node).map(|op| NodeKernel {
        algorithm: op.kernel.algorithm().to_string(),
        shape: op.kernel.shape(),
        operations: op.kernel.flops(),
        weight_bytes: op.kernel.bytes(),
    });
    NodeTime {
        name: node.name.clone(),
        op: node.op.name().into_owned(),
        is_backward,
        seconds: seconds.get(seconds.len() / 2).copied().unwrap_or(f64::NAN),
        kernel,
    }
}
