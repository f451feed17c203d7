//! Walking rows: the loop at the heart of FAME.
//!
//! Every row (picture × target) is independent, so they are walked as one batch of as many rows as keep the backend busy, and when one stops
//! early the next waiting row takes its place: stopping early saves real time. Rows never influence one another's numbers.

use std::collections::VecDeque;

use super::Aim;
use crate::{
    Error, Result, Tensor,
    contract::{Place, Progress, Stop, Target, Walk},
};

/// A row that waits to be walked.
pub struct Row {
    /// The walk, at its start.
    pub walk: Box<dyn Walk>,
    /// What the loss is measured against.
    pub target: Target,
    /// At most this many steps.
    pub max_steps: usize,
}

/// A row that has been walked.
pub struct WalkedRow {
    /// The walk, at its end.
    pub walk: Box<dyn Walk>,
    /// What it was measured against.
    pub target: Target,
    /// Loss at the start.
    pub loss_before: f32,
    /// Loss at the end.
    pub loss_after: f32,
    /// Steps taken.
    pub steps: usize,
    /// Why it ended.
    pub stop: Stop,
}

struct Active {
    index: usize,
    row: Row,
    steps: usize,
    first: Option<f32>,
    last: f32,
}

impl Active {
    fn finish(self, stop: Stop) -> (usize, WalkedRow) {
        let Active { index, row, steps, first, last } = self;
        let loss_before = first.unwrap_or(last);
        (index, WalkedRow { walk: row.walk, target: row.target, loss_before, loss_after: last, steps, stop })
    }
}

/// Walks `rows` to their ends, [`Network::preferred_rows`](crate::contract::Network::preferred_rows) at a time, descending the aimed loss. Results are in the
/// order of `rows`.
///
/// # Errors
/// What the network or the loss reports. A row that meets NaN only ends itself ([`Stop::NotFinite`]).
pub fn walk_rows(aim: &Aim<'_>, rows: Vec<Row>, progress: &dyn Progress) -> Result<Vec<WalkedRow>> {
    let network = aim.model.network.as_ref();
    let readings = aim.taps();
    let taps = aim.taps().with_gradient(Place::Input);
    let total: usize = rows.iter().map(|r| r.max_steps).sum();
    let mut done_steps = 0;
    let mut walked: Vec<Option<WalkedRow>> = rows.iter().map(|_| None).collect();
    let mut waiting: VecDeque<(usize, Row)> = rows.into_iter().enumerate().collect();
    let mut active: Vec<Active> = Vec::new();
    let width = network.preferred_rows().max(1);
    loop {
        while active.len() < width {
            let Some((index, row)) = waiting.pop_front() else { break };
            active.push(Active { index, row, steps: 0, first: None, last: f32::NAN });
        }
        if active.is_empty() {
            break;
        }
        let images: Vec<Tensor> = active.iter().map(|a| a.row.walk.image()).collect();
        let batch = Tensor::stack(&images)?;
        // When every row has taken its last step only the values are wanted: no need to keep what a gradient would read.
        let last = active.iter().all(|a| a.steps >= a.row.max_steps);
        let pass = network.forward(&batch, if last { &readings } else { &taps })?;
        let targets: Vec<&Target> = active.iter().map(|a| &a.row.target).collect();
        let evaluation = aim.evaluate(pass.as_ref(), &targets)?;
        let stops: Vec<Option<Stop>> = active.iter_mut().zip(&evaluation.values).map(|(a, v)| observe(a, *v)).collect();
        let gradient =
            if stops.iter().any(Option::is_none) { Some(pass.gradient(&aim.seeds(evaluation.cotangents))?.swap_remove(0)) } else { None };
        drop(pass);
        let mut still = Vec::with_capacity(active.len());
        for (n, (mut a, stop)) in active.drain(..).zip(stops).enumerate() {
            let stop = match (stop, &gradient) {
                (Some(stop), _) => Some(stop),
                (None, Some(g)) => a.row.walk.step(&g.row_tensor(n))?,
                (None, None) => return Err(Error::bug("a row that goes on has no gradient.")),
            };
            if let Some(stop) = stop {
                done_steps += a.row.max_steps - a.steps;
                let (index, row) = a.finish(stop);
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
fn observe(a: &mut Active, value: f32) -> Option<Stop> {
    a.first.get_or_insert(value);
    a.last = value;
    if !value.is_finite() {
        return Some(Stop::NotFinite);
    }
    let stop = a.row.walk.observe(value);
    // The walk's own rule has a say even after the last step, but the count decides.
    stop.or_else(|| (a.steps >= a.row.max_steps).then_some(Stop::Iterations))
}
