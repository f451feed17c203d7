//! The import: from a file's graph to tract's typed model, for one set of outputs.

use std::collections::HashSet;

use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::{InferenceFact, InferenceModelExt};

use super::constants::check_constants;
use super::control_flow::unroll_scans;
use super::cut::subgraph;
use super::file::{OnnxFile, guarded};
use super::fold::fold_batch_norms;
use super::operators::OperatorTable;
use super::slice::hold_strides;

/// A request for a typed model.
pub(in crate::backends) struct Wanted<'a> {
    /// The tensors to give out, in this order.
    pub(in crate::backends) outputs: &'a [String],
    /// A layer whose value comes from outside: it becomes the second input.
    pub(in crate::backends) replaced: Option<(&'a str, &'a [usize])>,
    /// The shape of the first input, batch axis included.
    pub(in crate::backends) input: &'a [usize],
    /// Whether operators may be folded into one another.
    pub(in crate::backends) fold: bool,
}

/// Builds the typed model, not yet decluttered.
///
/// Outputs are chosen before the model is typed: then every one of them keeps its name and its ONNX
/// layout.
pub(in crate::backends) fn typed_model(
    file: &OnnxFile,
    operators: &OperatorTable,
    wanted: &Wanted,
) -> TractResult<TypedModel> {
    guarded("importing", || {
        let replaced = wanted.replaced.map(|(name, _)| name);
        let mut graph = subgraph(file, wanted.outputs, replaced);
        // Taken first: folding knows operators by name, and must not meet a third party's `Conv`.
        let host = operators.take_host_nodes(file, &mut graph)?;
        if wanted.fold {
            let kept: HashSet<&str> = wanted.outputs.iter().map(String::as_str).collect();
            fold_batch_norms(file, &mut graph, &kept);
        }
        let mut model = operators.parse(file, graph, host)?;
        model.set_input_fact(0, InferenceFact::from(f32::fact(wanted.input)))?;
        if let Some((_, shape)) = wanted.replaced {
            model.set_input_fact(1, InferenceFact::from(f32::fact(shape)))?;
        }
        // With nothing folded all of the file is learnt; what is compiled later is a part of it.
        if !wanted.fold {
            check_constants(&file.path, &model)?;
        }
        let mut typed = unroll_scans(model.into_typed()?)?;
        hold_strides(&mut typed)?;
        Ok(typed)
    })
}
