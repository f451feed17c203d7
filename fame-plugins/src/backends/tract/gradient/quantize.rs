//! Quantisation, straight-through: the gradient passes rounding and stops where the range ends.

use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::math;

use super::rule::Rule;
use super::tape::{Pull, Pulled};
use crate::backends::onnx::quantize::Quantize;
use crate::backends::tract::ops::QuantizeGrad;

pub(super) const RULES: &[Rule] = &[Rule::operator::<Quantize>(quantize)];

/// Of `q = x / scale + zero` inside of the range: `c / scale`, `−c x / scale²` and `c`.
fn quantize(pull: &mut Pull) -> TractResult<Pulled> {
    let quantize = pull.op::<Quantize>()?.clone();
    let (x, scale, zero) = (pull.input(0)?, pull.input(1)?, pull.input(2)?);
    let g = pull.cotangent;
    let of_x = pull.wire(QuantizeGrad(quantize), &[g, x, scale, zero])?;
    let mut pulled: Pulled = tvec!(Some(of_x), None, None);
    if pull.needs(1) {
        let product = pull.wire(math::mul(), &[of_x, x])?;
        let over = pull.wire(math::div(), &[product, scale])?;
        let of_scale = pull.wire(math::neg(), &[over])?;
        pulled[1] = Some(pull.unbroadcast(of_scale, 1)?);
    }
    if pull.needs(2) {
        let of_zero = pull.wire(math::mul(), &[of_x, scale])?;
        pulled[2] = Some(pull.unbroadcast(of_zero, 2)?);
    }
    Ok(pulled)
}

#[cfg(test)]
mod tests {
    use fame_core::contract::ReluRule;

    use super::*;
    use crate::backends::onnx::quantize::Range;
    use crate::backends::tract::differentiate;

    /// The gradients of `Σ cotangent · quantised` with respect to x, scale and zero.
    fn gradients(x: &[f32], scale: f32, zero: f32, range: Range) -> Vec<Vec<f32>> {
        let mut model = TypedModel::default();
        let inputs = [&[x.len()][..], &[1], &[1]].map(f32::fact);
        let sources: Vec<OutletId> = ["x", "scale", "zero"]
            .into_iter()
            .zip(inputs)
            .map(|(name, fact)| model.add_source(name, fact).unwrap())
            .collect();
        let y = model.wire_node("q", Quantize(range), &sources).unwrap()[0];
        model.select_output_outlets(&[y]).unwrap();
        let backward = differentiate(&model, &[y], &sources, ReluRule::Standard, false).unwrap();
        let feed = |outlet: &OutletId| match outlet.node {
            node if node == sources[0].node => tensor1(x),
            node if node == sources[1].node => tensor1(&[scale]),
            _ => tensor1(&[zero]),
        };
        let mut values: TVec<TValue> =
            backward.residuals.iter().map(|outlet| feed(outlet).into_tvalue()).collect();
        values.push(tensor1(&vec![1f32; x.len()]).into_tvalue());
        let plan = SimplePlan::new(backward.model).unwrap();
        let found = plan.run(values).unwrap();
        let list = |t: &TValue| t.to_plain_array_view::<f32>().unwrap().iter().copied().collect();
        found.iter().map(list).collect()
    }

    #[test]
    fn the_gradient_passes_rounding_and_stops_where_the_range_ends() {
        let range = Range { low: -2.0, high: 3.0 };
        // Rounded to −2 (inside), 1, 3 (inside), 4 and −3 (both clipped).
        let x = [-1.2, 0.4, 1.6, 2.1, -1.4];
        let found = gradients(&x, 0.5, 0.0, range);
        assert_eq!(found[0], [2.0, 2.0, 2.0, 0.0, 0.0]);
        let inside: f32 = x[..3].iter().map(|x| -x / 0.25).sum();
        assert!((found[1][0] - inside).abs() < 1e-5, "{found:?}");
        assert_eq!(found[2], [3.0]);
    }
}
