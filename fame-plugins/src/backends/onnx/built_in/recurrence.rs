//! Recurrent layers: a cell stepped along the time axis, in one direction or both, and its gradient
//! back through time.

use fame_core::{Error, Result, Tensor};

use super::node::{Node, mismatch, unsupported};
use crate::backends::onnx::host_operator::HostOperator;

/// What a cell remembers: its output, and for an LSTM its inner state (else empty).
#[derive(Clone)]
pub(super) struct State {
    pub(super) h: Vec<f32>,
    pub(super) c: Vec<f32>,
}

/// One step of a recurrent layer, its weights fixed.
pub(super) trait Cell: Send + Sync {
    /// The state behind `before`, and what [`Cell::back`] needs of the step.
    fn step(&self, direction: usize, x: &[f32], before: &State) -> (State, Vec<f32>);

    /// From the cotangent of a step's state to that of the state before it; what belongs to the
    /// step's input is added to `of_x`.
    fn back(
        &self,
        direction: usize,
        before: &State,
        saved: &[f32],
        cotangent: &State,
        of_x: &mut [f32],
    ) -> State;
}

/// The weights of one direction, `[gates · hidden, …]`, row-major.
pub(super) struct Weights {
    /// Numbers of the input and of the state.
    pub(super) input: usize,
    pub(super) hidden: usize,
    /// The matrices of the input and of the state.
    pub(super) w: Vec<f32>,
    pub(super) r: Vec<f32>,
    /// Their biases.
    pub(super) w_bias: Vec<f32>,
    pub(super) r_bias: Vec<f32>,
}

impl Weights {
    /// The weights of every direction of `node`, whose cell has `gates`.
    pub(super) fn of(node: &Node, gates: usize) -> Result<Vec<Self>> {
        let given = |position: usize, what: &str| {
            node.setting(position).ok_or_else(|| mismatch(format_args!("its {what} are missing")))
        };
        let (w, r) = (given(1, "input weights")?, given(2, "recurrent weights")?);
        let (&[directions, rows, input], &[_, _, hidden]) = (w.shape(), r.shape()) else {
            return Err(mismatch("its weights are not three-dimensional"));
        };
        let fits = rows == gates * hidden
            && r.shape() == [directions, rows, hidden]
            && node.setting(3).is_none_or(|b| b.shape() == [directions, 2 * rows]);
        if !fits {
            return Err(mismatch("the shapes of its weights do not go together"));
        }
        let zeros = vec![0.0; 2 * rows];
        let one = |d: usize| {
            let bias = node.setting(3).map_or(&zeros[..], |b| b.row(d));
            Self {
                input,
                hidden,
                w: w.row(d).to_vec(),
                r: r.row(d).to_vec(),
                w_bias: bias[..rows].to_vec(),
                r_bias: bias[rows..].to_vec(),
            }
        };
        Ok((0..directions).map(one).collect())
    }

    /// `W x` plus its bias.
    pub(super) fn of_input(&self, x: &[f32]) -> Vec<f32> {
        product(&self.w, x, &self.w_bias)
    }

    /// `R h` plus its bias.
    pub(super) fn of_state(&self, h: &[f32]) -> Vec<f32> {
        product(&self.r, h, &self.r_bias)
    }
}

/// The scalar product, in eight sums side by side, which the compiler makes one vector of.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let mut sums = [0f32; 8];
    for (a, b) in a.iter().zip(b) {
        sums.iter_mut().zip(a).zip(b).for_each(|((sum, a), b)| *sum += a * b);
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}

/// `matrix · x + bias`.
pub(super) fn product(matrix: &[f32], x: &[f32], bias: &[f32]) -> Vec<f32> {
    matrix.chunks(x.len().max(1)).zip(bias).map(|(row, bias)| bias + dot(row, x)).collect()
}

/// Adds `matrixᵀ · cotangent` to `sum`.
pub(super) fn add_transposed(matrix: &[f32], cotangent: &[f32], sum: &mut [f32]) {
    for (row, c) in matrix.chunks(sum.len().max(1)).zip(cotangent) {
        sum.iter_mut().zip(row).for_each(|(sum, m)| *sum += m * c);
    }
}

/// A whole layer: one of the outputs of a node.
pub(super) struct Recurrence<C> {
    cell: C,
    input: usize,
    hidden: usize,
    /// The directions, each backwards or not.
    backwards: Vec<bool>,
    /// The batch is the first axis, not the second.
    batch_first: bool,
    /// Which output: the states of every step, the last `h`, the last `c`.
    output: usize,
    /// Which of the operator's inputs are the first `h` and `c`.
    first: [Option<usize>; 2],
    has_c: bool,
}

/// Whether each direction of `node` runs backwards.
pub(super) fn directions(node: &Node) -> Result<Vec<bool>> {
    match node.text("direction", "forward") {
        "forward" => Ok(vec![false]),
        "reverse" => Ok(vec![true]),
        "bidirectional" => Ok(vec![false, true]),
        other => Err(unsupported(format_args!("the direction `{other}`"))),
    }
}

/// The extents of one call.
#[derive(Clone, Copy)]
struct Extents {
    time: usize,
    batch: usize,
}

/// One step that was run: the state before it and what the cell saved.
type Trace = Vec<(State, Vec<f32>)>;

impl<C: Cell> Recurrence<C> {
    /// The layer of `node`, which steps `cell` of these sizes.
    pub(super) fn new(node: &Node, cell: C, weights: (usize, usize), has_c: bool) -> Result<Self> {
        if node
            .setting(4)
            .is_some_and(|lengths| lengths.data().iter().any(|n| lengths.data().first() != Some(n)))
        {
            return Err(unsupported("sequences of different lengths"));
        }
        Ok(Self {
            cell,
            input: weights.0,
            hidden: weights.1,
            backwards: directions(node)?,
            batch_first: node.int("layout", 0) == 1,
            output: node.output,
            first: [node.input(5), node.input(6).filter(|_| has_c)],
            has_c,
        })
    }

    fn extents(&self, x: &[usize]) -> Result<Extents> {
        match (x, self.batch_first) {
            (&[time, batch, input], false) | (&[batch, time, input], true)
                if input == self.input =>
            {
                Ok(Extents { time, batch })
            }
            _ => Err(mismatch(format_args!("an input {x:?} for {} numbers a step", self.input))),
        }
    }

    /// Where the input of one step of one row begins.
    fn x_at(&self, extents: Extents, t: usize, b: usize) -> usize {
        self.input * if self.batch_first { b * extents.time + t } else { t * extents.batch + b }
    }

    /// Where a state of a direction and row begins in the first or last states.
    fn state_at(&self, extents: Extents, d: usize, b: usize) -> usize {
        let directions = self.backwards.len();
        self.hidden * if self.batch_first { b * directions + d } else { d * extents.batch + b }
    }

    /// Where the state of a step begins among those of every step.
    fn y_at(&self, extents: Extents, t: usize, d: usize, b: usize) -> usize {
        let directions = self.backwards.len();
        let step = if self.batch_first {
            (b * extents.time + t) * directions + d
        } else {
            (t * directions + d) * extents.batch + b
        };
        step * self.hidden
    }

    fn first_state(&self, inputs: &[Tensor], extents: Extents, d: usize, b: usize) -> State {
        let at = self.state_at(extents, d, b);
        let read = |input: Option<usize>| match input {
            Some(ix) => inputs[ix].data()[at..][..self.hidden].to_vec(),
            None => vec![0.0; self.hidden],
        };
        let c = if self.has_c { read(self.first[1]) } else { vec![] };
        State { h: read(self.first[0]), c }
    }

    /// The times in the order in which direction `d` runs through them.
    fn times(&self, extents: Extents, d: usize) -> Vec<usize> {
        let times = 0..extents.time;
        if self.backwards[d] { times.rev().collect() } else { times.collect() }
    }

    /// Runs one direction of one row; `see` is told every step's time and state.
    fn run(
        &self,
        inputs: &[Tensor],
        extents: Extents,
        (d, b): (usize, usize),
        mut see: impl FnMut(usize, &State),
    ) -> (State, Trace) {
        let mut state = self.first_state(inputs, extents, d, b);
        let mut trace = vec![];
        for t in self.times(extents, d) {
            let x = &inputs[0].data()[self.x_at(extents, t, b)..][..self.input];
            let (next, saved) = self.cell.step(d, x, &state);
            see(t, &next);
            trace.push((std::mem::replace(&mut state, next), saved));
        }
        (state, trace)
    }

    fn check(&self, inputs: &[Vec<usize>]) -> Result<Extents> {
        let x = inputs.first().ok_or_else(|| Error::bug("a recurrent layer without its input."))?;
        let extents = self.extents(x)?;
        let directions = self.backwards.len();
        let states = if self.batch_first {
            [extents.batch, directions, self.hidden]
        } else {
            [directions, extents.batch, self.hidden]
        };
        for ix in self.first.iter().flatten() {
            if inputs.get(*ix).is_none_or(|shape| *shape != states) {
                return Err(mismatch(format_args!("its first state is not {states:?}")));
            }
        }
        Ok(extents)
    }
}

impl<C: Cell> HostOperator for Recurrence<C> {
    fn shape(&self, inputs: &[Vec<usize>]) -> Result<Vec<usize>> {
        let Extents { time, batch } = self.check(inputs)?;
        let (directions, hidden) = (self.backwards.len(), self.hidden);
        Ok(match (self.output, self.batch_first) {
            (0, false) => vec![time, directions, batch, hidden],
            (0, true) => vec![batch, time, directions, hidden],
            (_, false) => vec![directions, batch, hidden],
            (_, true) => vec![batch, directions, hidden],
        })
    }

    fn forward(&self, inputs: &[Tensor]) -> Result<Tensor> {
        let shapes: Vec<Vec<usize>> = inputs.iter().map(|x| x.shape().to_vec()).collect();
        let extents = self.check(&shapes)?;
        let mut y = Tensor::zeros(self.shape(&shapes)?);
        for (d, b) in
            (0..self.backwards.len()).flat_map(|d| (0..extents.batch).map(move |b| (d, b)))
        {
            let mut write = |at: usize, values: &[f32]| {
                y.data_mut()[at..][..self.hidden].copy_from_slice(values);
            };
            let (last, _) = self.run(inputs, extents, (d, b), |t, state| {
                if self.output == 0 {
                    write(self.y_at(extents, t, d, b), &state.h);
                }
            });
            match self.output {
                0 => {}
                1 => write(self.state_at(extents, d, b), &last.h),
                _ => write(self.state_at(extents, d, b), &last.c),
            }
        }
        Ok(y)
    }

    fn pull_back(&self, inputs: &[Tensor], _: &Tensor, c: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let shapes: Vec<Vec<usize>> = inputs.iter().map(|x| x.shape().to_vec()).collect();
        let extents = self.check(&shapes)?;
        let mut pulled: Vec<Tensor> = inputs.iter().map(|x| Tensor::zeros(x.shape())).collect();
        let arrived = |at: usize| c.data()[at..][..self.hidden].to_vec();
        for (d, b) in
            (0..self.backwards.len()).flat_map(|d| (0..extents.batch).map(move |b| (d, b)))
        {
            let zeros = vec![0.0; self.hidden];
            let last = |output: usize| {
                if self.output == output {
                    arrived(self.state_at(extents, d, b))
                } else {
                    zeros.clone()
                }
            };
            let of_c = if self.has_c { last(2) } else { vec![] };
            let mut cotangent = State { h: last(1), c: of_c };
            let (_, trace) = self.run(inputs, extents, (d, b), |_, _| {});
            for (t, (before, saved)) in self.times(extents, d).into_iter().zip(&trace).rev() {
                if self.output == 0 {
                    let more = arrived(self.y_at(extents, t, d, b));
                    cotangent.h.iter_mut().zip(more).for_each(|(h, more)| *h += more);
                }
                let at = self.x_at(extents, t, b);
                let of_x = &mut pulled[0].data_mut()[at..][..self.input];
                cotangent = self.cell.back(d, before, saved, &cotangent, of_x);
            }
            let at = self.state_at(extents, d, b);
            for (ix, values) in self.first.iter().zip([&cotangent.h, &cotangent.c]) {
                if let Some(ix) = ix {
                    pulled[*ix].data_mut()[at..][..self.hidden].copy_from_slice(values);
                }
            }
        }
        Ok(pulled.into_iter().map(Some).collect())
    }
}

/// Nodes for the tests of the cells.
#[cfg(test)]
pub(super) mod fixtures {
    use std::collections::BTreeMap;

    use super::*;
    use crate::backends::onnx::built_in::BuiltIn;
    use crate::backends::onnx::built_in::difference::check;
    use crate::backends::onnx::fixtures::batch;
    use crate::backends::onnx::host_operator::Attribute;

    const TIME: usize = 3;
    const BATCH: usize = 2;
    const INPUT: usize = 4;
    const HIDDEN: usize = 3;

    /// A node of a cell with `gates`, in every direction, with first states.
    pub(in super::super) fn node(
        gates: usize,
        direction: &str,
        output: usize,
        more: &[(&str, Attribute)],
        has_c: bool,
    ) -> Node {
        let directions = if direction == "bidirectional" { 2 } else { 1 };
        let rows = gates * HIDDEN;
        let mut attributes =
            BTreeMap::from([("direction".into(), Attribute::Text(direction.into()))]);
        attributes.extend(more.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        let settings = BTreeMap::from([
            (1, batch(&[directions, rows, INPUT], 10)),
            (2, batch(&[directions, rows, HIDDEN], 500)),
            (3, batch(&[directions, 2 * rows], 900)),
        ]);
        let inputs = if has_c { vec![0, 5, 6] } else { vec![0, 5] };
        Node { attributes, settings, inputs, output, opset: 17 }
    }

    /// Every output of every direction and layout of a kind, against differences.
    pub(in super::super) fn check_kind(
        kind: &BuiltIn,
        gates: usize,
        more: &[(&str, Attribute)],
        has_c: bool,
    ) {
        for (direction, directions) in [("forward", 1), ("reverse", 1), ("bidirectional", 2)] {
            for output in 0..if has_c { 3 } else { 2 } {
                let plain = node(gates, direction, output, more, has_c);
                let (x, state): (&[usize], &[usize]) =
                    (&[TIME, BATCH, INPUT], &[directions, BATCH, HIDDEN]);
                let all = [x, state, state];
                let given = &all[..if has_c { 3 } else { 2 }];
                let moved: Vec<usize> = (0..given.len()).collect();
                check((kind.build)(&plain).unwrap().as_ref(), given, &moved);
            }
        }
        let mut turned = node(gates, "forward", 0, more, has_c);
        turned.attributes.insert("layout".into(), Attribute::Int(1));
        let all: [&[usize]; 3] = [&[BATCH, TIME, INPUT], &[BATCH, 1, HIDDEN], &[BATCH, 1, HIDDEN]];
        check((kind.build)(&turned).unwrap().as_ref(), &all[..if has_c { 3 } else { 2 }], &[0, 1]);
    }
}
