//! The gradient of an EinSum is an EinSum: the output takes the place of the input that is asked
//! for.

use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::einsum::EinSum;

use super::rule::Rule;
use super::tape::{Pull, Pulled};

pub(super) const RULES: &[Rule] = &[Rule::operator::<EinSum>(einsum)];

fn einsum(pull: &mut Pull) -> TractResult<Pulled> {
    ensure!(pull.op::<EinSum>()?.q_params.is_none(), "quantized products have no gradient");
    (0..pull.arity())
        .map(|ix| if pull.needs(ix) { for_input(pull, ix).map(Some) } else { Ok(None) })
        .collect()
}

/// The one position of an axis in a slot; a repeated axis (a diagonal) is not differentiated.
fn position(slot: &[usize]) -> TractResult<Option<usize>> {
    ensure!(slot.len() <= 1, "an axis is repeated within one operand");
    Ok(slot.first().copied())
}

fn for_input(pull: &mut Pull, ix: usize) -> TractResult<OutletId> {
    let op = pull.op::<EinSum>()?;
    let others: Vec<usize> = (0..pull.arity()).filter(|&other| other != ix).collect();
    let target = pull.input_shape(ix)?.to_vec();
    // Axes of the input that reappear in the gradient's operands, in order; the rest are broadcast
    // back afterwards.
    let mut present = vec![];
    for axis in op.axes.iter_all_axes() {
        let Some(at) = position(&axis.inputs[ix])? else { continue };
        let mut extent = 1;
        if let Some(place) = position(&axis.outputs[0])? {
            extent = extent.max(pull.output_shape()?[place]);
        }
        for &other in &others {
            if let Some(place) = position(&axis.inputs[other])? {
                extent = extent.max(pull.input_shape(other)?[place]);
            }
        }
        // A differing extent means that the axis was broadcast (sum it) or that it was summed alone
        // (broadcast it).
        if extent == target[at] && (extent > 1 || operand_has(axis, ix)) {
            present.push((at, axis.repr));
        }
    }
    present.sort_unstable();
    let mut axes = vec![];
    for axis in op.axes.iter_all_axes() {
        let mut swapped = Axis::new(axis.repr, op.axes.input_count(), 1);
        swapped.inputs[0].clone_from(&axis.outputs[0]);
        for (slot, &other) in others.iter().enumerate() {
            swapped.inputs[slot + 1].clone_from(&axis.inputs[other]);
        }
        if let Some(place) = present.iter().position(|(_, repr)| *repr == axis.repr) {
            swapped.outputs[0] = tvec!(place);
        }
        if swapped.inputs.iter().any(|slot| !slot.is_empty()) {
            axes.push(swapped);
        }
    }
    let mut inputs = vec![pull.cotangent];
    for &other in &others {
        inputs.push(pull.input(other)?);
    }
    let axes = AxesMapping::new(op.axes.input_count(), 1, axes)?;
    let mut wire = pull.wire(EinSum::new(axes, f32::datum_type()), &inputs)?;
    for at in 0..target.len() {
        if !present.iter().any(|(place, _)| *place == at) {
            wire = pull.wire(AxisOp::Add(at), &[wire])?;
        }
    }
    pull.broadcast(wire, &target)
}

/// Whether the axis occurs in the output or in another input than `ix`.
fn operand_has(axis: &Axis, ix: usize) -> bool {
    !axis.outputs[0].is_empty()
        || axis.inputs.iter().enumerate().any(|(other, slot)| other != ix && !slot.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backends::rule_check::{CURVED, LINEAR, check, tensor};

    #[test]
    fn products() {
        let cases = [
            ("mk,kn->mn", [3usize, 4].as_slice(), [4usize, 2].as_slice()),
            ("bmk,bkn->bmn", &[2, 3, 4], &[2, 4, 2]),
            ("mk,nk->nm", &[3, 4], &[2, 4]),
            ("mk,k->m", &[3, 4], &[4]),
            // An axis that is summed alone, and one that is broadcast.
            ("mkj,kn->mn", &[3, 4, 2], &[4, 2]),
            ("bmk,bkn->bmn", &[1, 3, 4], &[2, 4, 2]),
        ];
        for (expression, left, right) in cases {
            let product = || EinSum::new(expression.parse().unwrap(), f32::datum_type());
            check(left, &LINEAR, |m, x| {
                let k = m.add_const("k", tensor(right, 9))?;
                Ok(m.wire_node("e", product(), &[x, k])?[0])
            });
            check(right, &LINEAR, |m, x| {
                let k = m.add_const("k", tensor(left, 9))?;
                Ok(m.wire_node("e", product(), &[k, x])?[0])
            });
        }
        // Both operands depend on the input, as in attention.
        let square = EinSum::new("mk,nk->mn".parse().unwrap(), f32::datum_type());
        check(&[3, 4], &CURVED, |m, x| Ok(m.wire_node("e", square.clone(), &[x, x])?[0]));
    }
}
