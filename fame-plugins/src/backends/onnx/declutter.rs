//! tract's simplification of a typed model, with its faults mended.

use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::optim::change_axes::ChangeAxes;
use tract_onnx::tract_core::optim::{Optimizer, OptimizerSession, TypedPass};

/// Simplifies `model` as tract does, but for moves of axes that cannot be made.
///
/// tract 0.23.9 takes an axis added to the **bias** of a channels-last convolution for one added to
/// its input, and then refuses its own result ("Bias should be scalar or a vector").
/// docs/upstream.md has the smallest graph.
pub(in crate::backends) fn declutter(model: &mut TypedModel) -> TractResult<()> {
    let mut optimizer = Optimizer::declutter();
    // The pass has no other mark than its name; a test holds that it is found.
    for pass in optimizer.passes.iter_mut().filter(|pass| is_change_axes(pass.as_ref())) {
        *pass = Box::new(PossibleMoves::default());
    }
    optimizer.optimize(model)
}

fn is_change_axes(pass: &dyn TypedPass) -> bool {
    format!("{pass:?}") == "ChangeAxes"
}

/// More moves than one search tries in vain; each is tried once.
const MOST_FAILURES: usize = 10_000;

/// The moves of axes that tract proposes and can make.
#[derive(Clone, Debug, Default)]
struct PossibleMoves(ChangeAxes);

impl TypedPass for PossibleMoves {
    fn reset(&mut self) -> TractResult<()> {
        self.0.reset()
    }

    /// A move that fails is remembered as tried, so that the next search goes on behind it.
    fn next(
        &mut self,
        session: &mut OptimizerSession,
        model: &TypedModel,
    ) -> TractResult<Option<TypedModelPatch>> {
        for _ in 0..MOST_FAILURES {
            if let Ok(found) = self.0.next(session, model) {
                return Ok(found);
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use fame_core::{GradientPlace, LayerCotangent, Taps};

    use super::*;
    use crate::backends::onnx::file::OnnxFile;
    use crate::backends::onnx::fixtures::{batch, model, node, weight};
    use crate::backends::tract::load_file;

    /// How far a difference of a linear network may be from its gradient: sums of ~500 products in
    /// f32.
    const ROUNDING: f64 = 1e-4;

    #[test]
    fn channels_last_sums_between_convolutions_do_not_stop_a_gradient() {
        let (first, last): (&[i64], &[i64]) = (&[0, 3, 1, 2], &[0, 2, 3, 1]);
        let nodes = vec![
            node("Conv", &["x", "w0"], "c0", &[]),
            node("Transpose", &["c0"], "l0", &[("perm", last)]),
            node("Add", &["l0", "b0"], "s0", &[]),
            node("Transpose", &["s0"], "f0", &[("perm", first)]),
            node("Conv", &["f0", "w1"], "c1", &[("pads", &[1, 1, 1, 1])]),
            node("Transpose", &["c1"], "l1", &[("perm", last)]),
            node("Add", &["l1", "b1"], "s1", &[]),
            node("Transpose", &["s1"], "f1", &[("perm", first)]),
            node("Conv", &["f1", "w2"], "c2", &[]),
            node("Transpose", &["c2"], "y", &[("perm", last)]),
        ];
        let weights = vec![
            weight("w0", &[8, 2, 1, 1]),
            weight("b0", &[1, 1, 1, 8]),
            weight("w1", &[16, 8, 3, 3]),
            weight("b1", &[1, 1, 1, 16]),
            weight("w2", &[2, 16, 1, 1]),
        ];
        let proto = model(nodes, weights, "y");
        let network = load_file(OnnxFile::check(proto, None, "net.onnx".into()).unwrap()).unwrap();
        let (here, there) = (batch(&[1, 2, 8, 8], 0), batch(&[1, 2, 8, 8], 500));
        let taps = Taps::of(["y"]).with_gradient(GradientPlace::Input);
        let pass = network.forward(&here, &taps).unwrap();
        let y = pass.output("y").unwrap();
        let cotangent = batch(y.shape(), 900);
        let of_y = LayerCotangent { layer: "y".into(), cotangent: cotangent.clone() };
        let gradient = pass.gradient(&[of_y]).unwrap().remove(0);
        let other = network.forward(&there, &taps).unwrap().output("y").unwrap();
        let sum = |terms: &mut dyn Iterator<Item = (f32, f32, f32)>| -> f64 {
            terms.map(|(a, b, w)| (f64::from(a) - f64::from(b)) * f64::from(w)).sum()
        };
        let three = |a: &fame_core::Tensor, b: &fame_core::Tensor, w: &fame_core::Tensor| {
            let all = a.data().iter().zip(b.data()).zip(w.data());
            sum(&mut all.map(|((a, b), w)| (*a, *b, *w)))
        };
        let (found, expected) = (three(&other, &y, &cotangent), three(&there, &here, &gradient));
        assert!((found - expected).abs() <= ROUNDING * found.abs(), "{found} {expected}");
    }

    #[test]
    fn the_pass_that_is_mended_is_found_once() {
        let passes = Optimizer::declutter().passes;
        assert_eq!(passes.iter().filter(|pass| is_change_axes(pass.as_ref())).count(), 1);
    }
}
