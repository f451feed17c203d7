//! Walking rows: the loop at the heart of FAME.
//!
//! Every row (picture × target) is independent, so they are walked as one batch of as many rows as
//! keep the backend busy, and when one stops early the next waiting row takes its place: stopping
//! early saves real time. Rows never influence one another's numbers.

use std::{cell::OnceCell, collections::VecDeque};

use super::Aim;
use crate::{
    Error, Result, Tensor,
    contract::{GradientPlace, Pass, Progress, Recorded, Stop, Target, Walk},
    data::Facts,
};

/// A row that waits to be walked.
pub struct Row {
    /// The walk, at its start.
    pub walk: Box<dyn Walk>,
    /// What the loss is measured against.
    pub target: Target,
    /// At most this many steps.
    pub max_steps: usize,
    /// After how many steps to read what has moved so far, in any order; a walk that ends earlier
    /// is not read there. Usually none: the end is always read.
    pub read_at: Vec<usize>,
}

/// A row that has been walked.
pub struct WalkedRow {
    /// The walk, at its end.
    pub walk: Box<dyn Walk>,
    /// What it was measured against.
    pub target: Target,
    /// Loss at the start.
    pub first_loss: f32,
    /// Loss at the end.
    pub last_loss: f32,
    /// Loss at every position: at the start, and after each step.
    pub losses: Vec<f32>,
    /// Steps taken.
    pub steps: usize,
    /// Why it ended.
    pub stop: Stop,
    /// Where the walk began: the clean picture, and what the target layers gave for it.
    pub began: Observation,
    /// Where the walk ended.
    pub ended: Observation,
    /// What was read on the way, as [`Row::read_at`] asked, in the order of the steps.
    pub readings: Vec<Reading>,
}

/// A walk on its way: what it would have left, had this been its last step.
#[derive(Clone, Debug)]
pub struct Reading {
    /// Steps taken so far.
    pub steps: usize,
    /// What moved so far: [`Walk::field`].
    pub field: Tensor,
    /// [`Walk::recorded`].
    pub recorded: Vec<Recorded>,
    /// [`Walk::facts`].
    pub facts: Facts,
    /// The outputs of the aimed layers, without batch axis.
    pub outputs: Vec<Tensor>,
}

/// A network input and the outputs of the aimed layers for it.
#[derive(Clone, Debug)]
pub struct Observation {
    /// `[C, H, W]`.
    pub input: Tensor,
    /// One for each aimed layer, without batch axis.
    pub outputs: Vec<Tensor>,
}

struct Active {
    index: usize,
    row: Row,
    steps: usize,
    losses: Vec<f32>,
    began: Option<Observation>,
    readings: Vec<Reading>,
}

impl Active {
    /// Reads what has moved so far, where that was asked for.
    fn read(&mut self, outputs: impl FnOnce() -> Result<Vec<Tensor>>) -> Result<()> {
        if self.row.read_at.contains(&self.steps) {
            let walk = &self.row.walk;
            self.readings.push(Reading {
                steps: self.steps,
                field: walk.field()?,
                recorded: walk.recorded()?,
                facts: walk.facts()?,
                outputs: outputs()?,
            });
        }
        Ok(())
    }

    fn finish(self, stop: Stop, ended: Observation) -> (usize, WalkedRow) {
        let Active { index, row, steps, losses, began, readings } = self;
        let at = |loss: Option<&f32>| loss.copied().unwrap_or(f32::NAN);
        let began = began.unwrap_or_else(|| ended.clone());
        (
            index,
            WalkedRow {
                walk: row.walk,
                target: row.target,
                first_loss: at(losses.first()),
                last_loss: at(losses.last()),
                losses,
                steps,
                stop,
                began,
                ended,
                readings,
            },
        )
    }
}

/// What the rows of a pass saw. Outputs are read only when a row begins or ends, or is to be read
/// on its way.
struct Views<'p> {
    pass: &'p dyn Pass,
    layers: &'p [String],
    images: &'p [Tensor],
    outputs: OnceCell<Vec<Tensor>>,
}

impl Views<'_> {
    fn of(&self, n: usize) -> Result<Observation> {
        Ok(Observation { input: self.images[n].clone(), outputs: self.outputs_of(n)? })
    }

    fn outputs_of(&self, n: usize) -> Result<Vec<Tensor>> {
        if self.outputs.get().is_none() {
            let read =
                self.layers.iter().map(|layer| self.pass.output(layer)).collect::<Result<_>>()?;
            let _ = self.outputs.set(read);
        }
        let all = self.outputs.get();
        Ok(all.map(|all| all.iter().map(|o| o.row_tensor(n)).collect()).unwrap_or_default())
    }
}

/// Walks `rows` to their ends,
/// [`Network::preferred_rows`](crate::contract::Network::preferred_rows) at a time, descending the
/// aimed loss. Results are in the order of `rows`.
///
/// # Errors
/// What the network or the loss reports. A row that meets NaN only ends itself
/// ([`Stop::NotFinite`]).
pub fn walk_rows(aim: &Aim<'_>, rows: Vec<Row>, progress: &dyn Progress) -> Result<Vec<WalkedRow>> {
    let network = aim.model.network.as_ref();
    let readings = aim.taps();
    let taps = aim.taps().with_gradient(GradientPlace::Input);
    let total: usize = rows.iter().map(|r| r.max_steps).sum();
    let mut done_steps = 0;
    let mut walked: Vec<Option<WalkedRow>> = rows.iter().map(|_| None).collect();
    let mut waiting: VecDeque<(usize, Row)> = rows.into_iter().enumerate().collect();
    let mut active: Vec<Active> = Vec::new();
    let width = network.preferred_rows().max(1);
    loop {
        while active.len() < width {
            let Some((index, row)) = waiting.pop_front() else { break };
            let (losses, readings) = (Vec::new(), Vec::new());
            active.push(Active { index, row, steps: 0, losses, began: None, readings });
        }
        if active.is_empty() {
            break;
        }
        let images: Vec<Tensor> =
            active.iter().map(|a| a.row.walk.image()).collect::<Result<_>>()?;
        let batch = Tensor::stack(&images)?;
        // When every row has taken its last step only the values are wanted: no need to keep what a
        // gradient would read.
        let last = active.iter().all(|a| a.steps >= a.row.max_steps);
        let pass = network.forward(&batch, if last { &readings } else { &taps })?;
        let targets: Vec<&Target> = active.iter().map(|a| &a.row.target).collect();
        let evaluation = aim.evaluate(pass.as_ref(), &targets)?;
        let stops: Vec<Option<Stop>> = active
            .iter_mut()
            .zip(&evaluation.values)
            .map(|(a, v)| observe(a, *v))
            .collect::<Result<_>>()?;
        let gradient = if stops.iter().any(Option::is_none) {
            Some(pass.gradient(&aim.layer_cotangents(evaluation.cotangents))?.swap_remove(0))
        } else {
            None
        };
        let views = Views {
            pass: pass.as_ref(),
            layers: &aim.layers,
            images: &images,
            outputs: OnceCell::new(),
        };
        let mut still = Vec::with_capacity(active.len());
        for (n, (mut a, stop)) in active.drain(..).zip(stops).enumerate() {
            let stop = match (stop, &gradient) {
                (Some(stop), _) => Some(stop),
                (None, Some(g)) => {
                    a.read(|| views.outputs_of(n))?;
                    a.row.walk.step(&g.row_tensor(n))?
                }
                (None, None) => return Err(Error::bug("a row that goes on has no gradient.")),
            };
            if a.began.is_none() {
                a.began = Some(views.of(n)?);
            }
            if let Some(stop) = stop {
                // Whoever ends a walk does so without having moved: this is where it is.
                let ended = views.of(n)?;
                done_steps += a.row.max_steps - a.steps;
                let (index, row) = a.finish(stop, ended);
                walked[index] = Some(row);
            } else {
                a.steps += 1;
                done_steps += 1;
                still.push(a);
            }
        }
        active = still;
        progress.advance(done_steps, total);
    }
    walked.into_iter().collect::<Option<Vec<_>>>().ok_or_else(|| Error::bug("a row was lost."))
}

/// Tells the walk its loss; decides whether it ends here.
fn observe(a: &mut Active, value: f32) -> Result<Option<Stop>> {
    a.losses.push(value);
    if !value.is_finite() {
        return Ok(Some(Stop::NotFinite));
    }
    let stop = a.row.walk.observe(value)?;
    // The walk's own rule has a say even after the last step, but the count decides.
    Ok(stop.or_else(|| (a.steps >= a.row.max_steps).then_some(Stop::Iterations)))
}
