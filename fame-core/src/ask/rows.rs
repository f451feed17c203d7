//! Walking rows: the loop at the heart of FAME.
//!
//! Every row (picture × target) is independent, so they are walked as one batch of as many rows as
//! keep the backend busy, and when one stops early the next waiting row takes its place: stopping
//! early saves real time. Rows never influence one another's numbers. Where the walks are plain and
//! the network has a place for them, they are walked on its device.

use std::collections::VecDeque;

use super::{
    Aim,
    ground::{Ground, ground},
};
use crate::{
    Error, Result, Tensor,
    contract::{Progress, Recorded, Stop, Target, Walk},
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

impl WalkedRow {
    /// What a reader of the map called `name` must know of this walk after `steps` steps, if its
    /// loss had risen by then: every walk goes down. Whoever makes maps of walks puts it among the
    /// [warnings](crate::Explanation::warnings).
    pub fn rose(&self, name: &str, steps: usize) -> Option<String> {
        let after = *self.losses.get(steps).or(self.losses.last())?;
        let before = self.first_loss;
        (after > before).then(|| {
            format!(
                "{name}: the walk went the wrong way: its loss rose from {before} to {after} in \
                 {steps} steps, so what moved is no evidence. Smaller steps follow the gradient \
                 more closely: give the perturbation a smaller `step` and more `iterations`. Where \
                 there was nothing to go down from, as between two pictures that are the same, none \
                 do."
            )
        })
    }
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
    fn new(index: usize, row: Row) -> Self {
        let (losses, readings) = (Vec::new(), Vec::new());
        Self { index, row, steps: 0, losses, began: None, readings }
    }

    /// Notes what there is to see before a step: the start, and what has moved so far where that was
    /// asked for, if the row goes on. It is row `n` of `outputs` and of `ground`.
    fn look(
        &mut self,
        n: usize,
        goes: bool,
        outputs: &[Tensor],
        ground: &dyn Ground,
    ) -> Result<()> {
        if self.began.is_none() {
            self.began = Some(self.observation(n, outputs, ground)?);
        }
        if goes && self.row.read_at.contains(&self.steps) {
            ground.tell(n, self.row.walk.as_mut())?;
            let walk = &self.row.walk;
            self.readings.push(Reading {
                steps: self.steps,
                field: walk.field()?,
                recorded: walk.recorded()?,
                facts: walk.facts()?,
                outputs: outputs.iter().map(|o| o.row_tensor(n)).collect(),
            });
        }
        Ok(())
    }

    /// Where the row is, and what the aimed layers gave for it.
    fn observation(
        &mut self,
        n: usize,
        outputs: &[Tensor],
        ground: &dyn Ground,
    ) -> Result<Observation> {
        ground.tell(n, self.row.walk.as_mut())?;
        Ok(Observation {
            input: ground.image(n, self.row.walk.as_ref())?,
            outputs: outputs.iter().map(|o| o.row_tensor(n)).collect(),
        })
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

/// Walks `rows` to their ends,
/// [`Network::preferred_rows`](crate::contract::Network::preferred_rows) at a time, descending the
/// aimed loss. Results are in the order of `rows`.
///
/// # Errors
/// What the network or the loss reports. A row that meets NaN only ends itself
/// ([`Stop::NotFinite`]).
pub fn walk_rows(aim: &Aim<'_>, rows: Vec<Row>, progress: &dyn Progress) -> Result<Vec<WalkedRow>> {
    let mut ground = ground(aim, &mut rows.iter().map(|row| row.walk.as_ref()))?;
    let total: usize = rows.iter().map(|r| r.max_steps).sum();
    let mut done_steps = 0;
    let mut walked: Vec<Option<WalkedRow>> = rows.iter().map(|_| None).collect();
    let mut waiting: VecDeque<(usize, Row)> = rows.into_iter().enumerate().collect();
    let mut active: Vec<Active> = Vec::new();
    let width = aim.model.network.preferred_rows().max(1);
    loop {
        let room = width.saturating_sub(active.len()).min(waiting.len());
        let entering = waiting.drain(..room).map(|(index, row)| Active::new(index, row));
        let inside = active.len();
        active.extend(entering);
        if active.is_empty() {
            break;
        }
        if active.len() > inside {
            ground.enter(&walks(&active[inside..]))?;
        }
        // When every row has taken its last step only the values are wanted: no need to keep what a
        // gradient would read.
        let last = active.iter().all(|a| a.steps >= a.row.max_steps);
        let outputs = ground.forward(&walks(&active), !last)?;
        let targets: Vec<&Target> = active.iter().map(|a| &a.row.target).collect();
        let evaluation = aim.evaluate_outputs(&outputs, &targets)?;
        let mut stops: Vec<Option<Stop>> = active
            .iter_mut()
            .zip(&evaluation.values)
            .map(|(a, v)| observe(a, *v))
            .collect::<Result<_>>()?;
        for (n, (a, stop)) in active.iter_mut().zip(&stops).enumerate() {
            a.look(n, stop.is_none(), &outputs, ground.as_ref())?;
        }
        if stops.iter().any(Option::is_none) {
            let cotangents = aim.layer_cotangents(evaluation.cotangents);
            let mut walks: Vec<_> = active.iter_mut().map(|a| &mut a.row.walk).collect();
            ground.step(&cotangents, &mut walks, &mut stops)?;
        }
        let (mut still, mut kept) = (Vec::with_capacity(active.len()), Vec::new());
        for (n, (mut a, stop)) in active.drain(..).zip(stops).enumerate() {
            if let Some(stop) = stop {
                // Whoever ends a walk does so without having moved: this is where it is.
                let ended = a.observation(n, &outputs, ground.as_ref())?;
                done_steps += a.row.max_steps - a.steps;
                let (index, row) = a.finish(stop, ended);
                walked[index] = Some(row);
            } else {
                a.steps += 1;
                done_steps += 1;
                kept.push(n);
                still.push(a);
            }
        }
        if kept.len() < evaluation.values.len() {
            ground.keep(&kept)?;
        }
        active = still;
        progress.advance(done_steps, total);
    }
    walked.into_iter().collect::<Option<Vec<_>>>().ok_or_else(|| Error::bug("a row was lost."))
}

/// The walks of rows.
fn walks(active: &[Active]) -> Vec<&dyn Walk> {
    active.iter().map(|a| a.row.walk.as_ref()).collect()
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
