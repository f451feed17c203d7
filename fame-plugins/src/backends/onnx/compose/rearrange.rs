//! Operators that only move values.

use tract_onnx::model::OnnxOpRegister;
use tract_onnx::tract_core::internal::*;

use super::op::{Outputs, composed};
use super::writer::{Writer, axis};

pub(super) fn register(known: &mut OnnxOpRegister) {
    known.insert("SpaceToDepth", |ctx, node| composed(ctx, node, &[], space_to_depth));
    known.insert("CenterCropPad", |ctx, node| composed(ctx, node, &[1], center_crop_pad));
}

/// Source: ONNX's SpaceToDepth; `CRD` (opset 28, and exporters before it) puts the channel in front
/// of the position within the block.
fn space_to_depth(w: &mut Writer) -> TractResult<Outputs> {
    let x = w.needed(0)?;
    let &[n, c, height, width] = w.shape(x)?.as_slice() else { bail!("SpaceToDepth of a picture") };
    let block = w.int("blocksize").and_then(|b| usize::try_from(b).ok()).filter(|b| *b > 0);
    let block = block.context("SpaceToDepth without `blocksize`")?;
    ensure!(
        height % block == 0 && width % block == 0,
        "{height} × {width} is no multiple of the block {block}"
    );
    let order = match w.text("mode").as_deref() {
        None | Some("DCR") => [0, 3, 5, 1, 2, 4],
        Some("CRD") => [0, 1, 3, 5, 2, 4],
        Some(mode) => bail!("the mode `{mode}` of SpaceToDepth is not known"),
    };
    let (h, v) = (height / block, width / block);
    let x = w.reshape(x, &[n, c, h, block, v, block])?;
    let x = w.transpose(x, &order)?;
    Ok(tvec!(Some(w.reshape(x, &[n, c * block * block, h, v])?)))
}

/// Source: ONNX's CenterCropPad; of an odd surplus the smaller half lies in front.
fn center_crop_pad(w: &mut Writer) -> TractResult<Outputs> {
    let mut x = w.needed(0)?;
    let rank = w.rank(x)?;
    let target = w.integers_input(1)?.context("CenterCropPad without a shape")?;
    let axes = w.ints("axes").unwrap_or_else(|| (0..rank as i64).collect());
    ensure!(axes.len() == target.len(), "{} extents for {} axes", target.len(), axes.len());
    let mut pads = vec![(0, 0); rank];
    for (at, target) in axes.iter().zip(&target) {
        let (at, target) = (axis(*at, rank)?, usize::try_from(*target)?);
        let extent = w.shape(x)?[at];
        if target < extent {
            let start = (extent - target) / 2;
            x = w.slice(x, at, start, start + target)?;
        } else {
            let before = (target - extent) / 2;
            pads[at] = (before, target - extent - before);
        }
    }
    Ok(tvec!(Some(w.pad(x, &pads, 0.0)?)))
}
