//! `LSTM`: `c = f · c₋₁ + i · c̃`, `h = o · tanh(c)`, with gates i, o and f.

use std::sync::Arc;

use fame_core::{Result, Tensor};

use super::BuiltIn;
use super::gate::Gate;
use super::node::{Node, mismatch, unsupported};
use super::recurrence::{Cell, Recurrence, State, Weights, add_transposed, directions};
use crate::backends::onnx::host_operator::HostOperator;

pub(super) const OPERATORS: &[BuiltIn] = &[BuiltIn::new("LSTM", &[1, 2, 3, 4, 7], build)];

struct Lstm {
    weights: Vec<Weights>,
    /// Of i, o and f; of c̃; and of c.
    gates: Vec<Vec<Gate>>,
    /// How c moves i, o and f ("peepholes"), `[directions, 3 · hidden]`.
    peepholes: Tensor,
}

fn build(node: &Node) -> Result<Arc<dyn HostOperator>> {
    if node.int("input_forget", 0) != 0 {
        return Err(unsupported("its attribute `input_forget`"));
    }
    let weights = Weights::of(node, 4)?;
    let (directions, sizes) = (directions(node)?.len(), (weights[0].input, weights[0].hidden));
    let gates = Gate::of(node, directions, &["Sigmoid", "Tanh", "Tanh"])?;
    let none = Tensor::zeros([directions, 3 * sizes.1]);
    let peepholes = node.setting(7).cloned().unwrap_or_else(|| none.clone());
    if peepholes.shape() != none.shape() {
        return Err(mismatch("its peepholes do not fit its weights"));
    }
    let cell = Lstm { weights, gates, peepholes };
    Ok(Arc::new(Recurrence::new(node, cell, sizes, true)?))
}

/// The places of i, o, f and c̃ among `4 · n` sums.
const GATES: [usize; 4] = [0, 1, 2, 3];

impl Cell for Lstm {
    /// Saved, one for each of the hidden numbers: the arguments of i, o, f and c̃, and c.
    fn step(&self, d: usize, x: &[f32], before: &State) -> (State, Vec<f32>) {
        let (gates, n) = (&self.gates[d], before.h.len());
        let peepholes = self.peepholes.row(d);
        let mut saved = self.weights[d].of_input(x);
        saved.iter_mut().zip(self.weights[d].of_state(&before.h)).for_each(|(s, r)| *s += r);
        let [i, o, f, g] = GATES.map(|gate| gate * n);
        let (mut h, mut c) = (vec![0.0; n], vec![0.0; n]);
        for k in 0..n {
            saved[i + k] += peepholes[k] * before.c[k];
            saved[f + k] += peepholes[2 * n + k] * before.c[k];
            c[k] = gates[0].value(saved[f + k]) * before.c[k]
                + gates[0].value(saved[i + k]) * gates[1].value(saved[g + k]);
            saved[o + k] += peepholes[n + k] * c[k];
            h[k] = gates[0].value(saved[o + k]) * gates[2].value(c[k]);
        }
        saved.extend(&c);
        (State { h, c }, saved)
    }

    fn back(
        &self,
        d: usize,
        before: &State,
        saved: &[f32],
        cotangent: &State,
        of_x: &mut [f32],
    ) -> State {
        let (gates, n) = (&self.gates[d], before.h.len());
        let peepholes = self.peepholes.row(d);
        let [i, o, f, g] = GATES.map(|gate| gate * n);
        let (mut of_sums, mut of_c) = (vec![0.0; 4 * n], vec![0.0; n]);
        for k in 0..n {
            let c = saved[4 * n + k];
            let of_h = cotangent.h[k];
            of_sums[o + k] = of_h * gates[2].value(c) * gates[0].slope(saved[o + k]);
            let of_state = cotangent.c[k]
                + of_h * gates[0].value(saved[o + k]) * gates[2].slope(c)
                + of_sums[o + k] * peepholes[n + k];
            of_sums[i + k] = of_state * gates[1].value(saved[g + k]) * gates[0].slope(saved[i + k]);
            of_sums[f + k] = of_state * before.c[k] * gates[0].slope(saved[f + k]);
            of_sums[g + k] = of_state * gates[0].value(saved[i + k]) * gates[1].slope(saved[g + k]);
            of_c[k] = of_state * gates[0].value(saved[f + k])
                + of_sums[i + k] * peepholes[k]
                + of_sums[f + k] * peepholes[2 * n + k];
        }
        add_transposed(&self.weights[d].w, &of_sums, of_x);
        let mut of_h = vec![0.0; n];
        add_transposed(&self.weights[d].r, &of_sums, &mut of_h);
        State { h: of_h, c: of_c }
    }
}

#[cfg(test)]
mod tests {
    use super::super::difference::check;
    use super::super::recurrence::fixtures::{check_kind, node};
    use super::*;
    use crate::backends::onnx::fixtures::batch;

    #[test]
    fn back_through_time() {
        check_kind(&OPERATORS[0], 4, &[], true);
        let mut with_peepholes = node(4, "forward", 0, &[], true);
        with_peepholes.settings.insert(7, batch(&[1, 9], 3));
        let operator = build(&with_peepholes).unwrap();
        check(operator.as_ref(), &[&[3, 2, 4], &[1, 2, 3], &[1, 2, 3]], &[0, 1, 2]);
    }
}
