//! `RNN`: `h = f(W x + R h + b)`.

use std::sync::Arc;

use fame_core::Result;

use super::BuiltIn;
use super::gate::Gate;
use super::node::Node;
use super::recurrence::{Cell, Recurrence, State, Weights, add_transposed, directions};
use crate::backends::onnx::host_operator::HostOperator;

pub(super) const OPERATORS: &[BuiltIn] = &[BuiltIn::new("RNN", &[1, 2, 3, 4], build)];

struct Rnn {
    weights: Vec<Weights>,
    gates: Vec<Vec<Gate>>,
}

fn build(node: &Node) -> Result<Arc<dyn HostOperator>> {
    let weights = Weights::of(node, 1)?;
    let sizes = (weights[0].input, weights[0].hidden);
    let gates = Gate::of(node, directions(node)?.len(), &["Tanh"])?;
    Ok(Arc::new(Recurrence::new(node, Rnn { weights, gates }, sizes, false)?))
}

impl Cell for Rnn {
    fn step(&self, d: usize, x: &[f32], before: &State) -> (State, Vec<f32>) {
        let mut sum = self.weights[d].of_input(x);
        sum.iter_mut().zip(self.weights[d].of_state(&before.h)).for_each(|(s, r)| *s += r);
        let h = sum.iter().map(|s| self.gates[d][0].value(*s)).collect();
        (State { h, c: vec![] }, sum)
    }

    fn back(
        &self,
        d: usize,
        before: &State,
        saved: &[f32],
        cotangent: &State,
        of_x: &mut [f32],
    ) -> State {
        let slope = |(s, c): (&f32, &f32)| c * self.gates[d][0].slope(*s);
        let of_sum: Vec<f32> = saved.iter().zip(&cotangent.h).map(slope).collect();
        add_transposed(&self.weights[d].w, &of_sum, of_x);
        let mut of_h = vec![0.0; before.h.len()];
        add_transposed(&self.weights[d].r, &of_sum, &mut of_h);
        State { h: of_h, c: vec![] }
    }
}

#[cfg(test)]
mod tests {
    use super::super::recurrence::fixtures::check_kind;
    use super::*;

    #[test]
    fn back_through_time() {
        check_kind(&OPERATORS[0], 1, &[], false);
    }
}
