//! A loaded model: what an engine knows of it before anything is compiled.

use fame_core::{Error, Result, Tensor};
use tract_onnx::tract_core::internal::TypedOp;

use super::file::OnnxFile;
use super::input::{note_fixed_batch, resolve_shape};
use super::operators::OperatorTable;
use super::refusal::Engine;
use super::skeleton::Skeleton;

/// A model file with its layers, its input shape, and the operators that it is imported with.
pub(in crate::backends) struct LoadedModel {
    /// The file.
    pub(in crate::backends) file: OnnxFile,
    /// The operators that its nodes may name.
    pub(in crate::backends) operators: OperatorTable,
    /// Its layers.
    pub(in crate::backends) skeleton: Skeleton,
    /// The shape of one row.
    pub(in crate::backends) input_shape: Vec<usize>,
    /// Remarks for the record.
    pub(in crate::backends) notes: Vec<String>,
}

impl LoadedModel {
    /// Resolves the input's shape and learns the layers. `has_rule` says through which operators a
    /// gradient of `engine` goes.
    pub(in crate::backends) fn new(
        file: OnnxFile,
        operators: OperatorTable,
        input_shape: Option<Vec<usize>>,
        engine: Engine,
        has_rule: fn(&dyn TypedOp) -> bool,
    ) -> Result<Self> {
        operators.check(&file, engine)?;
        let mut notes = file.notes.clone();
        let input_shape = resolve_shape(&file, input_shape, &mut notes)?;
        let mut full = vec![1];
        full.extend(&input_shape);
        let skeleton = Skeleton::learn(&file, &operators, &full, engine, has_rule)?;
        note_fixed_batch(&file, &mut notes);
        notes.extend(operators.notes(&file));
        Ok(Self { file, operators, skeleton, input_shape, notes })
    }

    /// The shape of the graph's input, its batch axis of 1 included.
    pub(in crate::backends) fn full_input(&self) -> Result<&[usize]> {
        self.skeleton.shape(&self.skeleton.layers[0].name)
    }

    /// Refuses a batch that the network cannot take.
    pub(in crate::backends) fn check_input(&self, batch: &Tensor) -> Result<()> {
        check_batch("the batch", batch, &self.input_shape)
    }

    /// Refuses a replacement of layer `layer`, of row shape `shape`, that does not go with `batch`.
    pub(in crate::backends) fn check_replaced(
        &self,
        layer: &str,
        value: &Tensor,
        batch: &Tensor,
        shape: &[usize],
    ) -> Result<()> {
        self.check_input(batch)?;
        check_replaced(layer, value, batch, shape)
    }
}

/// Refuses a replacement of layer `layer`, of row shape `shape`, that does not go with `batch`.
pub(in crate::backends) fn check_replaced(
    layer: &str,
    value: &Tensor,
    batch: &Tensor,
    shape: &[usize],
) -> Result<()> {
    check_batch(&format!("the value of layer `{layer}`"), value, shape)?;
    if value.rows() == batch.rows() {
        return Ok(());
    }
    Err(Error::new(
        "fame::backend::batch_shape",
        format!(
            "{} rows of layer `{layer}` cannot go with a batch of {} rows.",
            value.rows(),
            batch.rows()
        ),
    ))
}

/// Refuses `batch`, called `what` in messages, unless its rows have `shape`.
pub(in crate::backends) fn check_batch(what: &str, batch: &Tensor, shape: &[usize]) -> Result<()> {
    if batch.shape().is_empty() || batch.row_shape() != shape || batch.rows() == 0 {
        return Err(Error::new(
            "fame::backend::batch_shape",
            format!(
                "{what} has shape {:?}, but the network takes [N, {}].",
                batch.shape(),
                join(shape)
            ),
        ));
    }
    Ok(())
}

fn join(shape: &[usize]) -> String {
    shape.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
