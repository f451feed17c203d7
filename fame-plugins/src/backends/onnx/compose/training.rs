//! What training needs: losses, and batch normalisation by the statistics of the batch.

use tract_onnx::model::OnnxOpRegister;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::math;

use super::op::{Outputs, composed, tracts};
use super::writer::Writer;

pub(super) fn register(known: &mut OnnxOpRegister) {
    known.insert("NegativeLogLikelihoodLoss", |ctx, node| composed(ctx, node, &[], likelihood));
    known.insert("SoftmaxCrossEntropyLoss", |ctx, node| composed(ctx, node, &[], cross_entropy));
    known.insert("BatchNormalization", |ctx, node| {
        let is_training =
            |a: &tract_onnx::pb::AttributeProto| a.name == "training_mode" && a.i != 0;
        if node.attribute.iter().any(is_training) {
            return composed(ctx, node, &[], batch_norm);
        }
        tracts("BatchNormalization", ctx, node)
    });
}

fn likelihood(w: &mut Writer) -> TractResult<Outputs> {
    let log_probabilities = w.needed(0)?;
    Ok(tvec!(Some(loss(w, log_probabilities)?)))
}

fn cross_entropy(w: &mut Writer) -> TractResult<Outputs> {
    let scores = w.needed(0)?;
    let max = w.max(scores, &[1])?;
    let shifted = w.sub(scores, max)?;
    let exp = w.wire(math::exp(), &[shifted])?;
    let sum = w.sum(exp, &[1])?;
    let log = w.wire(math::ln(), &[sum])?;
    let log_probabilities = w.sub(shifted, log)?;
    Ok(tvec!(Some(loss(w, log_probabilities)?), Some(log_probabilities)))
}

/// `−w[label] · log p[label]` at every place, reduced as the node says. Source: ONNX's
/// NegativeLogLikelihoodLoss; the mean is over the weights.
fn loss(w: &mut Writer, log_probabilities: OutletId) -> TractResult<OutletId> {
    let shape = w.shape(log_probabilities)?;
    ensure!(shape.len() >= 2, "scores of shape {shape:?} have no classes");
    let labels = w.needed(1)?;
    let labels = w.as_f32(labels)?;
    let mut column = shape.clone();
    column[1] = 1;
    let labels = w.reshape(labels, &column)?;
    let mut along = vec![1; shape.len()];
    along[1] = shape[1];
    let classes: Vec<f32> = (0..shape[1]).map(|class| class as f32).collect();
    let classes = w.floats(&along, &classes)?;
    // Labels are whole numbers, so a label is a class where they are less than a half apart.
    let mut hot = near(w, classes, labels)?;
    if let Some(ignored) = w.int("ignore_index") {
        let ignored = w.number(ignored as f32)?;
        let ignored = near(w, labels, ignored)?;
        let one = w.number(1.0)?;
        let counts = w.sub(one, ignored)?;
        hot = w.mul(hot, counts)?;
    }
    if let Some(weights) = w.input(2) {
        let weights = w.reshape(weights, &along)?;
        hot = w.mul(hot, weights)?;
    }
    let chosen = w.mul(hot, log_probabilities)?;
    let chosen = w.sum(chosen, &[1])?;
    let losses = w.scale(chosen, -1.0)?;
    let mut row = shape;
    row.remove(1);
    let all: Vec<usize> = (0..column.len()).collect();
    match w.text("reduction").as_deref() {
        Some("none") => w.reshape(losses, &row),
        Some("sum") => {
            let sum = w.sum(losses, &all)?;
            w.reshape(sum, &[])
        }
        None | Some("mean") => {
            let (sum, weight) = (w.sum(losses, &all)?, w.sum(hot, &all)?);
            let mean = w.div(sum, weight)?;
            w.reshape(mean, &[])
        }
        Some(other) => bail!("the reduction `{other}` is not known"),
    }
}

/// 1 where `a` and `b` are the same whole number, else 0.
fn near(w: &mut Writer, a: OutletId, b: OutletId) -> TractResult<OutletId> {
    let apart = w.sub(a, b)?;
    let apart = w.wire(math::abs(), &[apart])?;
    let half = w.number(0.5)?;
    let same = w.less(apart, half)?;
    w.as_f32(same)
}

/// Source: ONNX's BatchNormalization in training mode. The batch is the one row that is run.
fn batch_norm(w: &mut Writer) -> TractResult<Outputs> {
    let x = w.needed(0)?;
    let shape = w.shape(x)?;
    ensure!(shape.len() >= 2, "values of shape {shape:?} have no channels");
    let epsilon = w.float("epsilon").unwrap_or(1e-5);
    let momentum = w.float("momentum").unwrap_or(0.9);
    let axes: Vec<usize> = (0..shape.len()).filter(|axis| *axis != 1).collect();
    let count: usize = axes.iter().map(|axis| shape[*axis]).product();
    let mut column = vec![1; shape.len()];
    column[1] = shape[1];

    let mean = w.sum(x, &axes)?;
    let mean = w.scale(mean, (count as f32).recip())?;
    let centred = w.sub(x, mean)?;
    let squares = w.mul(centred, centred)?;
    let variance = w.sum(squares, &axes)?;
    let variance = w.scale(variance, (count as f32).recip())?;
    let epsilon = w.number(epsilon)?;
    let deviation = w.add(variance, epsilon)?;
    let deviation = w.wire(math::sqrt(), &[deviation])?;
    let mut y = w.div(centred, deviation)?;
    let (gamma, beta) = (w.needed(1)?, w.needed(2)?);
    let (gamma, beta) = (w.reshape(gamma, &column)?, w.reshape(beta, &column)?);
    y = w.mul(y, gamma)?;
    y = w.add(y, beta)?;

    let mut running = |input: usize, now: OutletId| -> TractResult<OutletId> {
        let before = w.needed(input)?;
        let now = w.reshape(now, &[shape[1]])?;
        let (before, now) = (w.scale(before, momentum)?, w.scale(now, 1.0 - momentum)?);
        w.add(before, now)
    };
    let (mean, variance) = (running(3, mean)?, running(4, variance)?);
    Ok(tvec!(Some(y), Some(mean), Some(variance)))
}
