//! `GRU`: `h = (1 − z) · h̃ + z · h₋₁`, with gates z (update) and r (reset).

use std::sync::Arc;

use fame_core::Result;

use super::BuiltIn;
use super::gate::Gate;
use super::node::Node;
use super::recurrence::{Cell, Recurrence, State, Weights, add_transposed, directions, product};
use crate::backends::onnx::host_operator::HostOperator;

pub(super) const OPERATORS: &[BuiltIn] = &[BuiltIn::new("GRU", &[1, 2, 3, 4], build)];

struct Gru {
    weights: Vec<Weights>,
    /// Of z and r, and of h̃.
    gates: Vec<Vec<Gate>>,
    /// `h̃ = g(W x + r · (R h₋₁ + b))`; else `g(W x + R (r · h₋₁) + b)`.
    linear_before_reset: bool,
}

fn build(node: &Node) -> Result<Arc<dyn HostOperator>> {
    let weights = Weights::of(node, 3)?;
    let sizes = (weights[0].input, weights[0].hidden);
    let gates = Gate::of(node, directions(node)?.len(), &["Sigmoid", "Tanh"])?;
    let linear_before_reset = node.int("linear_before_reset", 0) != 0;
    let cell = Gru { weights, gates, linear_before_reset };
    Ok(Arc::new(Recurrence::new(node, cell, sizes, false)?))
}

impl Cell for Gru {
    /// Saved, one for each of the hidden numbers: the arguments of z, r and h̃, and `R h₋₁ + b` of
    /// h̃.
    fn step(&self, d: usize, x: &[f32], before: &State) -> (State, Vec<f32>) {
        let (weights, gates, n) = (&self.weights[d], &self.gates[d], before.h.len());
        let (of_x, of_h) = (weights.of_input(x), weights.of_state(&before.h));
        let mut saved: Vec<f32> = (0..2 * n).map(|k| of_x[k] + of_h[k]).collect();
        let reset: Vec<f32> = (0..n).map(|k| gates[0].value(saved[n + k])).collect();
        let inner = if self.linear_before_reset {
            of_h[2 * n..].to_vec()
        } else {
            let held: Vec<f32> = reset.iter().zip(&before.h).map(|(r, h)| r * h).collect();
            product(&weights.r[2 * n * n..], &held, &weights.r_bias[2 * n..])
        };
        let factor = |k: usize| if self.linear_before_reset { reset[k] } else { 1.0 };
        saved.extend((0..n).map(|k| of_x[2 * n + k] + factor(k) * inner[k]));
        saved.extend(&inner);
        let next = |k: usize| {
            let z = gates[0].value(saved[k]);
            (1.0 - z) * gates[1].value(saved[2 * n + k]) + z * before.h[k]
        };
        (State { h: (0..n).map(next).collect(), c: vec![] }, saved)
    }

    fn back(
        &self,
        d: usize,
        before: &State,
        saved: &[f32],
        cotangent: &State,
        of_x: &mut [f32],
    ) -> State {
        let (weights, gates, n) = (&self.weights[d], &self.gates[d], before.h.len());
        let (mut of_sums, mut of_h) = (vec![0.0; 3 * n], vec![0.0; n]);
        for k in 0..n {
            let (c, z) = (cotangent.h[k], gates[0].value(saved[k]));
            let candidate = gates[1].value(saved[2 * n + k]);
            of_sums[k] = c * (before.h[k] - candidate) * gates[0].slope(saved[k]);
            of_sums[2 * n + k] = c * (1.0 - z) * gates[1].slope(saved[2 * n + k]);
            of_h[k] = c * z;
        }
        let mut of_reset = vec![0.0; n];
        let of_inner: Vec<f32> = if self.linear_before_reset {
            let inner = &saved[3 * n..];
            (0..n).for_each(|k| of_reset[k] = of_sums[2 * n + k] * inner[k]);
            (0..n).map(|k| of_sums[2 * n + k] * gates[0].value(saved[n + k])).collect()
        } else {
            let mut of_held = vec![0.0; n];
            add_transposed(&weights.r[2 * n * n..], &of_sums[2 * n..], &mut of_held);
            for k in 0..n {
                of_reset[k] = of_held[k] * before.h[k];
                of_h[k] += of_held[k] * gates[0].value(saved[n + k]);
            }
            vec![0.0; n]
        };
        for k in 0..n {
            of_sums[n + k] = of_reset[k] * gates[0].slope(saved[n + k]);
        }
        add_transposed(&weights.w, &of_sums, of_x);
        add_transposed(&weights.r[..2 * n * n], &of_sums[..2 * n], &mut of_h);
        add_transposed(&weights.r[2 * n * n..], &of_inner, &mut of_h);
        State { h: of_h, c: vec![] }
    }
}

#[cfg(test)]
mod tests {
    use super::super::recurrence::fixtures::check_kind;
    use super::*;
    use crate::backends::onnx::host_operator::Attribute;

    #[test]
    fn back_through_time() {
        check_kind(&OPERATORS[0], 3, &[], false);
        check_kind(&OPERATORS[0], 3, &[("linear_before_reset", Attribute::Int(1))], false);
    }
}
