//! Number types: whatever a file computes with, fame computes in `f32`.
//!
//! Half precision, bfloat16 and double weights, casts between float types, and sparse weights
//! become plain `f32` when a file is read. So every layer has a gradient, where a cast to another
//! float type would end it, and every engine sees one type.

use std::collections::BTreeSet;

use tract_onnx::pb::tensor_proto::{DataLocation, DataType};
use tract_onnx::pb::type_proto::Value;
use tract_onnx::pb::{GraphProto, NodeProto, SparseTensorProto, TensorProto};
use tract_onnx::tract_core::internal::{TractResult, bail, ensure};

use super::narrow::widen;

/// The float types that become `f32`.
const FLOATS: [DataType; 3] = [DataType::Float16, DataType::Bfloat16, DataType::Double];

/// The attribute of a cast, and of operators that make tensors, that names a type.
const TYPE_ATTRIBUTES: [&str; 2] = ["to", "dtype"];

/// Turns every float of `graph` into `f32` and every sparse weight into a dense one. Returns one
/// sentence about each thing that was done, for the record.
///
/// # Errors
/// When a sparse weight contradicts itself.
pub(super) fn to_f32(graph: &mut GraphProto) -> TractResult<Vec<String>> {
    let narrow = widen(graph)?;
    let mut types = BTreeSet::new();
    let sparse = graph.sparse_initializer.len();
    for tensor in std::mem::take(&mut graph.sparse_initializer) {
        graph.initializer.push(dense(&tensor)?);
    }
    for tensor in &mut graph.initializer {
        convert(tensor, &mut types);
    }
    convert_nodes(graph, &mut types);
    for value in graph.input.iter_mut().chain(&mut graph.output) {
        if let Some(Value::TensorType(tensor)) =
            value.r#type.as_mut().and_then(|kind| kind.value.as_mut())
            && let Some(kind) = other_float(tensor.elem_type)
        {
            types.insert(name(kind));
            tensor.elem_type = DataType::Float as i32;
        }
    }
    let mut notes = Vec::new();
    if !types.is_empty() {
        let types: Vec<&str> = types.into_iter().collect();
        notes.push(format!("the file computes in {}; fame computes in f32", types.join(" and ")));
    }
    if !narrow.types.is_empty() {
        let types = narrow.types.join(" and ");
        notes.push(format!("weights of the types {types} were written out"));
    }
    if narrow.casts > 0 {
        notes.push(format!(
            "{} of its casts round to floats of few bits; the gradient passes their rounding as if \
             it were the identity (straight-through) and stops where the range ends",
            narrow.casts
        ));
    }
    if sparse > 0 {
        notes.push(format!("{sparse} sparse weight(s) were filled with their zeros"));
    }
    Ok(notes)
}

fn name(kind: DataType) -> &'static str {
    match kind {
        DataType::Float16 => "f16",
        DataType::Bfloat16 => "bf16",
        _ => "f64",
    }
}

/// The type behind `kind` if it is a float type other than `f32`.
fn other_float(kind: i32) -> Option<DataType> {
    DataType::try_from(kind).ok().filter(|kind| FLOATS.contains(kind))
}

/// The nodes of `graph`, and the weights and nodes of the graphs within them.
fn convert_nodes(graph: &mut GraphProto, types: &mut BTreeSet<&'static str>) {
    for node in &mut graph.node {
        convert_node(node, types);
        for inner in node.attribute.iter_mut().filter_map(|a| a.g.as_mut()) {
            for tensor in &mut inner.initializer {
                convert(tensor, types);
            }
            convert_nodes(inner, types);
        }
    }
}

fn convert_node(node: &mut NodeProto, types: &mut BTreeSet<&'static str>) {
    let is_exponent = node.op_type == "Pow";
    for attribute in &mut node.attribute {
        if let Some(tensor) = &mut attribute.t {
            convert(tensor, types);
        }
        if TYPE_ATTRIBUTES.contains(&attribute.name.as_str())
            && !is_exponent
            && let Some(kind) = i32::try_from(attribute.i).ok().and_then(other_float)
        {
            types.insert(name(kind));
            attribute.i = DataType::Float as i64;
        }
    }
}

/// `tensor` in `f32` if it holds another float type. Values in a file of their own are left alone:
/// the import reads them.
fn convert(tensor: &mut TensorProto, types: &mut BTreeSet<&'static str>) {
    let Some(kind) = other_float(tensor.data_type) else { return };
    if tensor.data_location == Some(DataLocation::External as i32) {
        return;
    }
    let raw = &tensor.raw_data;
    let values: Vec<f32> = match kind {
        DataType::Double if raw.is_empty() => {
            tensor.double_data.iter().map(|v| *v as f32).collect()
        }
        DataType::Double => {
            let (eights, _) = raw.as_chunks::<8>();
            eights.iter().map(|bytes| f64::from_le_bytes(*bytes) as f32).collect()
        }
        _ => {
            let bits: Vec<u16> = if raw.is_empty() {
                tensor.int32_data.iter().map(|v| *v as u16).collect()
            } else {
                let (twos, _) = raw.as_chunks::<2>();
                twos.iter().map(|bytes| u16::from_le_bytes(*bytes)).collect()
            };
            let wide = |bits: u16| match kind {
                DataType::Bfloat16 => f32::from_bits(u32::from(bits) << 16),
                _ => half(bits),
            };
            bits.into_iter().map(wide).collect()
        }
    };
    types.insert(name(kind));
    *tensor = TensorProto {
        dims: std::mem::take(&mut tensor.dims),
        name: std::mem::take(&mut tensor.name),
        data_type: DataType::Float as i32,
        float_data: values,
        ..TensorProto::default()
    };
}

/// The number that 16 bits of IEEE 754 half precision stand for.
fn half(bits: u16) -> f32 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let (exponent, fraction) = (i32::from((bits >> 10) & 0x1f), f32::from(bits & 0x3ff));
    match exponent {
        0 => sign * fraction * 2f32.powi(-24),
        31 if fraction == 0.0 => sign * f32::INFINITY,
        31 => f32::NAN,
        _ => sign * (1.0 + fraction / 1024.0) * 2f32.powi(exponent - 15),
    }
}

/// More values than a sparse weight may have when it is written out: 1 GiB of `f32`.
const MOST_VALUES: usize = 1 << 28;

/// A sparse weight written out.
fn dense(sparse: &SparseTensorProto) -> TractResult<TensorProto> {
    let (Some(values), Some(indices)) = (&sparse.values, &sparse.indices) else {
        bail!("a sparse weight without values or indices")
    };
    let mut values = values.clone();
    convert(&mut values, &mut BTreeSet::new());
    ensure!(
        values.data_type == DataType::Float as i32,
        "the sparse weight `{}` holds no floats",
        values.name
    );
    let extents: Vec<usize> =
        sparse.dims.iter().map(|d| usize::try_from(*d)).collect::<Result<_, _>>()?;
    let volume = extents
        .iter()
        .try_fold(1usize, |n, d| n.checked_mul(*d))
        .filter(|volume| *volume <= MOST_VALUES);
    let Some(volume) = volume else {
        bail!("the sparse weight `{}` of shape {:?} is too large", values.name, sparse.dims)
    };
    let numbers: Vec<f32> = if values.raw_data.is_empty() {
        values.float_data.clone()
    } else {
        let (fours, _) = values.raw_data.as_chunks::<4>();
        fours.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
    };
    let places: Vec<i64> = if indices.raw_data.is_empty() {
        indices.int64_data.clone()
    } else {
        let (eights, _) = indices.raw_data.as_chunks::<8>();
        eights.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect()
    };
    let rank = if indices.dims.len() == 2 { extents.len() } else { 1 };
    ensure!(places.len() == numbers.len() * rank, "`{}` has an index too few", values.name);
    let mut filled = vec![0f32; volume];
    for (place, number) in places.chunks(rank.max(1)).zip(numbers) {
        let place: Vec<usize> =
            place.iter().map(|i| usize::try_from(*i)).collect::<Result<_, _>>()?;
        let linear = if indices.dims.len() == 2 {
            place.iter().zip(&extents).fold(0, |linear, (i, extent)| linear * extent + i)
        } else {
            place[0]
        };
        let Some(cell) = filled.get_mut(linear) else {
            bail!("`{}` has an index outside of its shape", values.name)
        };
        *cell = number;
    }
    Ok(TensorProto {
        dims: sparse.dims.clone(),
        name: values.name.clone(),
        data_type: DataType::Float as i32,
        float_data: filled,
        ..TensorProto::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(kind: DataType, raw: &[u8], count: i64) -> TensorProto {
        TensorProto {
            dims: vec![count],
            data_type: kind as i32,
            raw_data: raw.to_vec(),
            name: "w".into(),
            ..TensorProto::default()
        }
    }

    #[test]
    fn every_float_type_becomes_the_same_numbers_in_f32() {
        let double: Vec<u8> = [1.5f64, -0.1].iter().flat_map(|v| v.to_le_bytes()).collect();
        for (kind, raw, want) in [
            // 1, −2, the smallest subnormal, infinity.
            (
                DataType::Float16,
                vec![0x00, 0x3c, 0x00, 0xc0, 0x01, 0x00, 0x00, 0x7c],
                vec![1.0, -2.0, 5.960_464_5e-8, f32::INFINITY],
            ),
            (DataType::Bfloat16, vec![0x80, 0x3f, 0x49, 0xc0], vec![1.0, -3.140_625]),
            (DataType::Double, double, vec![1.5, -0.1]),
        ] {
            let mut graph = GraphProto {
                initializer: vec![tensor(kind, &raw, want.len() as i64)],
                ..GraphProto::default()
            };
            let notes = to_f32(&mut graph).unwrap();
            assert_eq!(graph.initializer[0].float_data, want);
            assert_eq!(graph.initializer[0].data_type, DataType::Float as i32);
            assert_eq!(
                notes,
                [format!("the file computes in {}; fame computes in f32", name(kind))]
            );
        }
    }

    #[test]
    fn a_sparse_weight_is_written_out_or_refused() {
        let sparse = |dims: Vec<i64>, places: Vec<i64>, index_dims: Vec<i64>| SparseTensorProto {
            values: Some(TensorProto {
                float_data: vec![2.0, 3.0],
                ..tensor(DataType::Float, &[], 2)
            }),
            indices: Some(TensorProto {
                dims: index_dims,
                int64_data: places,
                ..tensor(DataType::Int64, &[], 2)
            }),
            dims,
        };
        let want = [0.0, 2.0, 0.0, 0.0, 0.0, 3.0];
        assert_eq!(dense(&sparse(vec![2, 3], vec![1, 5], vec![2])).unwrap().float_data, want);
        let pairs = sparse(vec![2, 3], vec![0, 1, 1, 2], vec![2, 2]);
        assert_eq!(dense(&pairs).unwrap().float_data, want);
        for broken in [
            sparse(vec![2, 3], vec![1, 6], vec![2]),
            sparse(vec![2, 3], vec![1], vec![2]),
            sparse(vec![1 << 40, 3], vec![1, 5], vec![2]),
        ] {
            assert!(dense(&broken).is_err());
        }
    }
}
