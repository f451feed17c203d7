//! The shape of a network's input: what the file declares, and what it is fed.

use fame_core::Result;
use tract_onnx::pb::tensor_shape_proto::dimension::Value as Dim;
use tract_onnx::pb::type_proto::Value;

use super::file::OnnxFile;

/// More values than a picture has: above this an input shape is a mistake that would exhaust
/// memory.
const MOST_INPUT_VALUES: usize = 1 << 28;

/// The shape the file declares for its input; `None` where it leaves an extent open.
fn declared_shape(file: &OnnxFile) -> Option<Vec<Option<usize>>> {
    let name = file.data_input().ok()?;
    let input = file.graph().input.iter().find(|i| i.name == name)?;
    let Value::TensorType(tensor) = input.r#type.as_ref()?.value.as_ref()?;
    let extent = |dim: &Option<Dim>| match dim {
        Some(Dim::DimValue(extent)) => usize::try_from(*extent).ok().filter(|extent| *extent > 0),
        _ => None,
    };
    Some(tensor.shape.as_ref()?.dim.iter().map(|dim| extent(&dim.value)).collect())
}

/// The asked shape, or what the file declares.
pub(super) fn resolve_shape(
    file: &OnnxFile,
    asked: Option<Vec<usize>>,
    notes: &mut Vec<String>,
) -> Result<Vec<usize>> {
    let declared = declared_shape(file);
    let row: Option<Vec<Option<usize>>> =
        declared.as_ref().map(|shape| shape.iter().skip(1).copied().collect());
    if let (Some(asked), Some(row)) = (&asked, &row) {
        let fits = asked.len() == row.len()
            && asked.iter().zip(row).all(|(a, r)| r.is_none_or(|r| r == *a));
        if !fits && asked.len() != row.len() {
            return Err(file.refuse(format_args!(
                "its input has {} axes without the batch, but {asked:?} was asked for",
                row.len()
            )));
        }
        let is_channels_last = matches!(
            (asked.as_slice(), row.as_slice()),
            (&[c, h, w], &[Some(rows), Some(columns), Some(channels)])
                if (c, h, w) == (channels, rows, columns)
        );
        if !fits && is_channels_last {
            return Err(file
                .refuse(format_args!("its input {row:?} is channels-last (NHWC)"))
                .with_help("Say so in its manifest: `input: (size: (channels, rows, columns), layout: ChannelsLast, …)`."));
        }
        if !fits {
            notes.push(format!(
                "the file declares input shape {row:?}; {asked:?} was asked for and is used"
            ));
        }
    }
    let shape = asked.or_else(|| row.and_then(|row| row.into_iter().collect()));
    let Some(shape) = shape else {
        return Err(file
            .refuse("it leaves the shape of its input open")
            .with_help("Give its size in the manifest: `input: (size: (3, 224, 224), …)`."));
    };
    let volume = shape
        .iter()
        .try_fold(1usize, |n, &d| n.checked_mul(d))
        .filter(|n| (1..=MOST_INPUT_VALUES).contains(n));
    volume
        .map(|_| shape.clone())
        .ok_or_else(|| file.refuse(format_args!("an input of shape {shape:?} cannot be fed")))
}

/// A batch size written into the graph does no harm here, since every plan runs one row; say so for
/// the record.
pub(super) fn note_fixed_batch(file: &OnnxFile, notes: &mut Vec<String>) {
    let constants = file.constants();
    for node in file.graph().node.iter().filter(|n| n.op_type == "Reshape") {
        let target = node
            .input
            .get(1)
            .and_then(|name| constants.get(name.as_str()))
            .and_then(|t| file.tensor(t).ok());
        let target: Option<Vec<i64>> = target.and_then(|t| {
            t.to_plain_array_view::<i64>().ok().map(|view| view.iter().copied().collect())
        });
        if target.is_some_and(|target| target.first() == Some(&1)) {
            notes.push(format!(
                "Reshape `{}` fixes the batch to 1; rows are run one by one, so any batch works",
                node.output[0]
            ));
        }
    }
}
