//! tract's simplification of a typed model, with its faults mended.

use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::optim::change_axes::ChangeAxes;
use tract_onnx::tract_core::optim::{Optimizer, OptimizerSession, TypedPass};

/// Simplifies `model` as tract does, but for moves of axes that cannot be made.
///
/// tract 0.23.9 takes an axis added to the **bias** of a channels-last convolution for one added to
/// its input, and then refuses its own result ("Bias should be scalar or a vector"). docs/upstream.md
/// has the smallest graph.
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
    use super::*;

    #[test]
    fn the_pass_that_is_mended_is_found_once() {
        let passes = Optimizer::declutter().passes;
        assert_eq!(passes.iter().filter(|pass| is_change_axes(pass.as_ref())).count(), 1);
    }
}
