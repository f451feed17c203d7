//! RNN, GRU and LSTM, one step after the other. tract's importer runs `reverse` forward, and fuses
//! cells into operators that have no gradient.
//!
//! Source: ONNX's RNN, GRU and LSTM, whose letters are kept: `X` goes in, `H` is the hidden state,
//! `C` the cell, `W`, `R`, `B` and `P` are weights, recurrent weights, biases and peepholes.

use tract_onnx::model::OnnxOpRegister;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::math;
use tract_onnx::tract_core::ops::nn::sigmoid;

use super::op::{Outputs, composed};
use super::writer::Writer;

/// The most steps that are written out.
const MOST_STEPS: usize = 512;

pub(super) fn register(known: &mut OnnxOpRegister) {
    known.insert("RNN", |ctx, node| composed(ctx, node, &[4], |w| recurrent(w, Cell::Rnn)));
    known.insert("GRU", |ctx, node| composed(ctx, node, &[4], |w| recurrent(w, Cell::Gru)));
    known.insert("LSTM", |ctx, node| composed(ctx, node, &[4], |w| recurrent(w, Cell::Lstm)));
}

#[derive(Clone, Copy, PartialEq)]
enum Cell {
    Rnn,
    Gru,
    Lstm,
}

impl Cell {
    fn gates(self) -> usize {
        match self {
            Self::Rnn => 1,
            Self::Gru => 3,
            Self::Lstm => 4,
        }
    }

    fn activations(self) -> &'static [&'static str] {
        match self {
            Self::Rnn => &["Tanh"],
            Self::Gru => &["Sigmoid", "Tanh"],
            Self::Lstm => &["Sigmoid", "Tanh", "Tanh"],
        }
    }
}

fn recurrent(w: &mut Writer, cell: Cell) -> TractResult<Outputs> {
    let is_batch_first = w.int("layout").unwrap_or(0) != 0;
    let mut x = w.needed(0)?;
    if is_batch_first {
        x = w.transpose(x, &[1, 0, 2])?;
    }
    let shape = w.shape(x)?;
    let &[steps, batch, _] = shape.as_slice() else { bail!("{shape:?} has not three axes") };
    ensure!((1..=MOST_STEPS).contains(&steps), "{steps} steps are not written out");
    let recurrence = w.needed(2)?;
    let (directions, hidden) = (w.shape(recurrence)?[0], w.shape(recurrence)?[2]);
    let reversed = match w.text("direction").as_deref() {
        None | Some("forward") => vec![false],
        Some("reverse") => vec![true],
        Some("bidirectional") => vec![false, true],
        Some(other) => bail!("the direction `{other}` is not known"),
    };
    ensure!(reversed.len() == directions, "weights for {directions} directions");
    let (mut rows, mut last, mut cells) = (vec![], vec![], vec![]);
    for (index, is_reversed) in reversed.into_iter().enumerate() {
        let direction =
            Direction { cell, index, is_reversed, steps, batch, hidden, is_batch_first };
        let Ran { outputs, h, c } = direction.run(w, x)?;
        let outputs = w.concat(&outputs, 0)?;
        rows.push(w.reshape(outputs, &[steps, 1, batch, hidden])?);
        last.push(w.reshape(h, &[1, batch, hidden])?);
        cells.push(w.reshape(c, &[1, batch, hidden])?);
    }
    let (mut y, mut h, mut c) = (w.concat(&rows, 1)?, w.concat(&last, 0)?, w.concat(&cells, 0)?);
    if is_batch_first {
        y = w.transpose(y, &[2, 0, 1, 3])?;
        h = w.transpose(h, &[1, 0, 2])?;
        c = w.transpose(c, &[1, 0, 2])?;
    }
    Ok(tvec!(Some(y), Some(h), Some(c).filter(|_| cell == Cell::Lstm)))
}

/// One direction of a recurrence.
struct Direction {
    cell: Cell,
    index: usize,
    is_reversed: bool,
    steps: usize,
    batch: usize,
    hidden: usize,
    is_batch_first: bool,
}

/// What one direction gives: `[1, batch · hidden]` for each step, in the order of time, and the
/// last states.
struct Ran {
    outputs: Vec<OutletId>,
    h: OutletId,
    c: OutletId,
}

/// The weights of one direction.
struct Weights {
    r: OutletId,
    /// `Wb` and `Rb`, or nothing.
    biases: Option<[OutletId; 2]>,
    peepholes: Option<OutletId>,
    activations: Vec<String>,
    clip: Option<f32>,
    linear_before_reset: bool,
    input_forget: bool,
}

impl Direction {
    /// The part of input `ix` that belongs to this direction, in this shape.
    fn own(&self, w: &mut Writer, ix: usize, shape: &[usize]) -> TractResult<Option<OutletId>> {
        let Some(all) = w.input(ix) else { return Ok(None) };
        let part = w.slice(all, 0, self.index, self.index + 1)?;
        w.reshape(part, shape).map(Some)
    }

    /// The state that input `ix` begins with, or zeros.
    fn state(&self, w: &mut Writer, ix: usize) -> TractResult<OutletId> {
        let shape = [self.batch, self.hidden];
        let Some(mut all) = w.input(ix) else {
            return w.floats(&shape, &vec![0.0; self.batch * self.hidden]);
        };
        if self.is_batch_first {
            all = w.transpose(all, &[1, 0, 2])?;
        }
        let part = w.slice(all, 0, self.index, self.index + 1)?;
        w.reshape(part, &shape)
    }

    fn weights(&self, w: &mut Writer) -> TractResult<Weights> {
        let (gates, hidden) = (self.cell.gates(), self.hidden);
        let r = self.own(w, 2, &[gates * hidden, hidden])?.context("no recurrent weights")?;
        let biases = match self.own(w, 3, &[1, 2 * gates * hidden])? {
            Some(both) => Some([
                w.slice(both, 1, 0, gates * hidden)?,
                w.slice(both, 1, gates * hidden, 2 * gates * hidden)?,
            ]),
            None => None,
        };
        let peepholes = match self.cell {
            Cell::Lstm => self.own(w, 7, &[1, 3 * hidden])?,
            _ => None,
        };
        let own = self.cell.activations();
        let named = w.texts("activations").unwrap_or_default();
        let named = named.get(self.index * own.len()..(self.index + 1) * own.len());
        let activations = named.map_or_else(
            || own.iter().map(|name| (*name).to_owned()).collect(),
            <[String]>::to_vec,
        );
        Ok(Weights {
            r,
            biases,
            peepholes,
            activations,
            clip: w.float("clip").filter(|clip| *clip > 0.0),
            linear_before_reset: w.int("linear_before_reset").unwrap_or(0) != 0,
            input_forget: w.int("input_forget").unwrap_or(0) != 0,
        })
    }

    fn run(&self, w: &mut Writer, x: OutletId) -> TractResult<Ran> {
        let (gates, hidden) = (self.cell.gates(), self.hidden);
        let inputs = w.shape(x)?[2];
        let kernel = self.own(w, 1, &[gates * hidden, inputs])?.context("no weights")?;
        let weights = self.weights(w)?;
        let projected = w.einsum("tbi,gi->tbg", &[x, kernel])?;
        let lengths = w.integers_input(4)?.unwrap_or_default();
        let (mut h, mut c) = (self.state(w, 5)?, self.state(w, 6)?);
        let mut outputs = vec![None; self.steps];
        for step in 0..self.steps {
            let time = if self.is_reversed { self.steps - 1 - step } else { step };
            let now = w.slice(projected, 0, time, time + 1)?;
            let now = w.reshape(now, &[self.batch, gates * hidden])?;
            let (next_h, next_c) = self.step(w, &weights, now, h, c)?;
            let mut output = next_h;
            if lengths.iter().all(|length| *length as usize > time) {
                (h, c) = (next_h, next_c);
            } else {
                // Behind its end a sequence keeps its state and gives zeros.
                let runs: Vec<f32> =
                    lengths.iter().map(|n| f32::from(u8::from(*n as usize > time))).collect();
                let runs = w.floats(&[self.batch, 1], &runs)?;
                output = w.mul(next_h, runs)?;
                (h, c) = (blend(w, runs, next_h, h)?, blend(w, runs, next_c, c)?);
            }
            outputs[time] = Some(w.reshape(output, &[1, self.batch * hidden])?);
        }
        Ok(Ran { outputs: outputs.into_iter().flatten().collect(), h, c })
    }

    /// The states after one step, from the projected input and the states before it.
    fn step(
        &self,
        w: &mut Writer,
        weights: &Weights,
        x: OutletId,
        h: OutletId,
        c: OutletId,
    ) -> TractResult<(OutletId, OutletId)> {
        match self.cell {
            Cell::Rnn => {
                let all = self.sum(w, weights, x, h)?;
                let h = activated(w, weights, 0, all)?;
                Ok((h, h))
            }
            Cell::Gru => {
                let h = self.gru(w, weights, x, h)?;
                Ok((h, h))
            }
            Cell::Lstm => self.lstm(w, weights, x, h, c),
        }
    }

    /// Gate number `gate` of `[batch, gates · hidden]`.
    fn gate(&self, w: &mut Writer, all: OutletId, gate: usize) -> TractResult<OutletId> {
        w.slice(all, 1, gate * self.hidden, (gate + 1) * self.hidden)
    }

    /// `x + H Rᵀ + Wb + Rb`, of all gates.
    fn sum(
        &self,
        w: &mut Writer,
        weights: &Weights,
        x: OutletId,
        h: OutletId,
    ) -> TractResult<OutletId> {
        let recurrent = w.einsum("bh,gh->bg", &[h, weights.r])?;
        let mut sum = w.add(x, recurrent)?;
        for bias in weights.biases.into_iter().flatten() {
            sum = w.add(sum, bias)?;
        }
        Ok(sum)
    }

    fn gru(
        &self,
        w: &mut Writer,
        weights: &Weights,
        x: OutletId,
        h: OutletId,
    ) -> TractResult<OutletId> {
        let all = self.sum(w, weights, x, h)?;
        let (z, r) = (self.gate(w, all, 0)?, self.gate(w, all, 1)?);
        let (z, r) = (activated(w, weights, 0, z)?, activated(w, weights, 0, r)?);
        let kernel = w.slice(weights.r, 0, 2 * self.hidden, 3 * self.hidden)?;
        let mut new = self.gate(w, x, 2)?;
        let biases = match weights.biases {
            Some([of_w, of_r]) => Some([self.gate(w, of_w, 2)?, self.gate(w, of_r, 2)?]),
            None => None,
        };
        let recurrent = if weights.linear_before_reset {
            let mut product = w.einsum("bh,gh->bg", &[h, kernel])?;
            if let Some([_, bias]) = biases {
                product = w.add(product, bias)?;
            }
            w.mul(r, product)?
        } else {
            let reset = w.mul(r, h)?;
            let product = w.einsum("bh,gh->bg", &[reset, kernel])?;
            match biases {
                Some([_, bias]) => w.add(product, bias)?,
                None => product,
            }
        };
        new = w.add(new, recurrent)?;
        if let Some([bias, _]) = biases {
            new = w.add(new, bias)?;
        }
        let new = activated(w, weights, 1, new)?;
        blend(w, z, h, new)
    }

    fn lstm(
        &self,
        w: &mut Writer,
        weights: &Weights,
        x: OutletId,
        h: OutletId,
        c: OutletId,
    ) -> TractResult<(OutletId, OutletId)> {
        let all = self.sum(w, weights, x, h)?;
        let peeped = |w: &mut Writer, gate: usize, cell: OutletId| -> TractResult<OutletId> {
            let sum = self.gate(w, all, gate)?;
            let Some(peepholes) = weights.peepholes else { return Ok(sum) };
            let peephole = self.gate(w, peepholes, gate)?;
            let seen = w.mul(peephole, cell)?;
            w.add(sum, seen)
        };
        let i = peeped(w, 0, c)?;
        let i = activated(w, weights, 0, i)?;
        let f = if weights.input_forget {
            let one = w.number(1.0)?;
            w.sub(one, i)?
        } else {
            let f = peeped(w, 2, c)?;
            activated(w, weights, 0, f)?
        };
        let new = self.gate(w, all, 3)?;
        let new = activated(w, weights, 1, new)?;
        let (kept, added) = (w.mul(f, c)?, w.mul(i, new)?);
        let c = w.add(kept, added)?;
        let o = peeped(w, 1, c)?;
        let o = activated(w, weights, 0, o)?;
        let shown = plain(w, &weights.activations[2], c)?;
        Ok((w.mul(o, shown)?, c))
    }
}

/// `share · a + (1 − share) · b`.
fn blend(w: &mut Writer, share: OutletId, a: OutletId, b: OutletId) -> TractResult<OutletId> {
    let apart = w.sub(a, b)?;
    let part = w.mul(share, apart)?;
    w.add(b, part)
}

/// Activation number `at` of the clipped `x`.
fn activated(w: &mut Writer, weights: &Weights, at: usize, x: OutletId) -> TractResult<OutletId> {
    let mut x = x;
    if let Some(clip) = weights.clip {
        x = w.at_most(x, clip)?;
        x = w.at_least(x, -clip)?;
    }
    plain(w, &weights.activations[at], x)
}

fn plain(w: &mut Writer, name: &str, x: OutletId) -> TractResult<OutletId> {
    match name.to_lowercase().as_str() {
        "sigmoid" => w.wire(sigmoid(), &[x]),
        "tanh" => w.wire(math::tanh(), &[x]),
        "relu" => w.at_least(x, 0.0),
        _ => bail!("the activation `{name}` of a recurrence is not supported"),
    }
}
