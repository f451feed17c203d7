//! Running sums and products.

use tract_onnx::model::OnnxOpRegister;
use tract_onnx::tract_core::internal::*;

use super::op::{Outputs, composed};
use super::writer::{Writer, axis};

/// The most factors that are multiplied one by one.
const MOST_STEPS: usize = 512;

pub(super) fn register(known: &mut OnnxOpRegister) {
    known.insert("CumProd", |ctx, node| composed(ctx, node, &[1], cumulative_product));
    known.insert("CumSum", |ctx, node| composed(ctx, node, &[1], cumulative_sum));
}

/// The axis that input 1 names.
fn named_axis(w: &Writer, rank: usize) -> TractResult<usize> {
    let at = w.integers_input(1)?.and_then(|at| at.first().copied());
    axis(at.context("no axis is given")?, rank)
}

/// Source: ONNX's CumSum, as a product with a triangle of ones.
fn cumulative_sum(w: &mut Writer) -> TractResult<Outputs> {
    let x = w.needed(0)?;
    let shape = w.shape(x)?;
    let at = named_axis(w, shape.len())?;
    let (reverse, exclusive) =
        (w.int("reverse").unwrap_or(0) != 0, w.int("exclusive").unwrap_or(0) != 0);
    let extent = shape[at];
    ensure!(extent <= 1 << 12, "a sum along {extent} elements is not supported");
    let counts = |to: usize, from: usize| {
        let (early, late) = if reverse { (to, from) } else { (from, to) };
        f32::from(u8::from(if exclusive { early < late } else { early <= late }))
    };
    let triangle: Vec<f32> = (0..extent * extent).map(|i| counts(i / extent, i % extent)).collect();
    let triangle = w.floats(&[extent, extent], &triangle)?;
    let (before, after) = (shape[..at].iter().product(), shape[at + 1..].iter().product::<usize>());
    let x = w.reshape(x, &[before, extent, after])?;
    let y = w.einsum("bia,oi->boa", &[x, triangle])?;
    Ok(tvec!(Some(w.reshape(y, &shape)?)))
}

/// Source: ONNX's CumProd, one product after the other.
fn cumulative_product(w: &mut Writer) -> TractResult<Outputs> {
    let x = w.needed(0)?;
    let shape = w.shape(x)?;
    let at = named_axis(w, shape.len())?;
    let (reverse, exclusive) =
        (w.int("reverse").unwrap_or(0) != 0, w.int("exclusive").unwrap_or(0) != 0);
    ensure!(
        (1..=MOST_STEPS).contains(&shape[at]),
        "a product along {} elements is not supported",
        shape[at]
    );
    let mut row = shape.clone();
    row[at] = 1;
    let one = w.number(1.0)?;
    let mut so_far = w.broadcast(one, &row)?;
    let mut steps = vec![];
    for step in 0..shape[at] {
        let place = if reverse { shape[at] - 1 - step } else { step };
        if exclusive {
            steps.push(so_far);
        }
        let factor = w.slice(x, at, place, place + 1)?;
        so_far = if step == 0 { factor } else { w.mul(so_far, factor)? };
        if !exclusive {
            steps.push(so_far);
        }
    }
    if reverse {
        steps.reverse();
    }
    Ok(tvec!(Some(w.concat(&steps, at)?)))
}
