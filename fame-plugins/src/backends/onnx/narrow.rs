//! Numbers of eight bits and fewer that tract cannot read: floats of 8 and 4 bits become `f32`,
//! whole numbers of 4 and 2 bits become `i8` and `u8`. Constants are written out; a node that makes
//! such numbers rounds as their type would, and keeps them in the wider one.

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, NodeProto, TensorProto};
use tract_onnx::tract_core::internal::{TractResult, bail, ensure};

use super::few_bits::Format;
use super::file::shown;
use super::repair::int;
use super::unsupported::Unsupported;

/// ONNX's number of whole numbers of two bits, without a sign and with one.
const UINT2: i32 = 25;
const INT2: i32 = 26;

/// ONNX's names of the types that tract does not know at all.
const NAMELESS: [(i32, &str); 3] = [(24, "FLOAT8E8M0"), (UINT2, "UINT2"), (INT2, "INT2")];

/// ONNX's name of a type that no engine has.
fn narrow_name(kind: i64) -> Option<&'static str> {
    let kind = i32::try_from(kind).ok()?;
    if let Some((_, name)) = NAMELESS.iter().find(|(number, _)| *number == kind) {
        return Some(name);
    }
    let kind = DataType::try_from(kind).ok()?;
    let is_narrow = Format::of(kind).is_some() || matches!(kind, DataType::Int4 | DataType::Uint4);
    is_narrow.then(|| kind.as_str_name())
}

/// What was done about narrow numbers, for the record.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Widened {
    /// The names of the types of constants.
    pub(super) types: Vec<&'static str>,
    /// How many casts round to floats of few bits.
    pub(super) casts: usize,
}

/// Rewrites nodes that make narrow numbers, then turns every narrow constant of `graph` into one
/// that can be read.
///
/// # Errors
/// A node that makes numbers of a type that is not known, or a constant of one.
pub(super) fn widen(graph: &mut GraphProto) -> TractResult<Widened> {
    let mut widened = Widened { types: vec![], casts: rewrite_nodes(graph)? };
    let inner = graph.node.iter_mut().flat_map(|node| &mut node.attribute);
    let constants = inner.filter_map(|attribute| attribute.t.as_mut());
    for tensor in graph.initializer.iter_mut().chain(constants) {
        let Some(name) = narrow_name(tensor.data_type.into()) else { continue };
        wide(tensor, name)?;
        if !widened.types.contains(&name) {
            widened.types.push(name);
        }
    }
    Ok(widened)
}

/// The type of a constant of the graph, by its name.
fn type_of(graph: &GraphProto, name: &str) -> Option<i64> {
    let weight = graph.initializer.iter().find(|weight| weight.name == name);
    let given = || {
        let node = graph.node.iter().find(|node| node.output.iter().any(|o| o == name))?;
        node.attribute.iter().find(|a| a.name == "value")?.t.as_ref()
    };
    weight.or_else(given).map(|tensor| i64::from(tensor.data_type))
}

/// Rewrites the nodes of `graph` that make narrow numbers. Returns how many casts round to floats.
fn rewrite_nodes(graph: &mut GraphProto) -> TractResult<usize> {
    let mut casts = 0;
    let (mut nodes, mut weights) = (vec![], vec![]);
    for node in &graph.node {
        let Some((kind, name)) = narrow_made(graph, node) else {
            nodes.push(node.clone());
            continue;
        };
        let is_cast = matches!(node.op_type.as_str(), "Cast" | "CastLike");
        match Storage::of(kind) {
            Some(Storage::Float(..)) if is_cast => {
                casts += 1;
                nodes.push(plain_cast(node, kind));
            }
            Some(Storage::Signed(bits)) if is_cast => {
                nodes.extend(wrapped(node, bits, true, &mut weights));
            }
            Some(Storage::Unsigned(bits)) if is_cast => {
                nodes.extend(wrapped(node, bits, false, &mut weights));
            }
            Some(_) if node.op_type == "QuantizeLinear" => nodes.push(quantize(node, kind)),
            _ => return Err(refusal(node, name).into()),
        }
    }
    graph.node = nodes;
    graph.initializer.extend(weights);
    Ok(casts)
}

/// The narrow type that `node` makes, with its name.
fn narrow_made(graph: &GraphProto, node: &NodeProto) -> Option<(i32, &'static str)> {
    let attribute = |name: &str| node.attribute.iter().find(|a| a.name == name).map(|a| a.i);
    let of_input = |ix: usize| type_of(graph, node.input.get(ix)?);
    let made = match node.op_type.as_str() {
        "Cast" | "BitCast" => attribute("to"),
        "CastLike" => of_input(1),
        "QuantizeLinear" => of_input(2).or_else(|| attribute("output_dtype")),
        _ => None,
    }?;
    Some((i32::try_from(made).ok()?, narrow_name(made)?))
}

fn refusal(node: &NodeProto, name: &str) -> Unsupported {
    let reason = format!("it makes numbers of the type {name}, which only weights may have");
    Unsupported::new(&shown(node), &node.op_type, reason)
}

/// The `Cast` to `kind` that a `Cast` or `CastLike` is.
fn plain_cast(node: &NodeProto, kind: i32) -> NodeProto {
    let mut cast = NodeProto { op_type: "Cast".into(), ..node.clone() };
    cast.input.truncate(1);
    cast.attribute.retain(|a| a.name == "saturate");
    cast.attribute.push(int("to", kind.into()));
    cast
}

/// A `QuantizeLinear` that says its type itself: its zero is about to get another one.
fn quantize(node: &NodeProto, kind: i32) -> NodeProto {
    let mut quantize = node.clone();
    quantize.attribute.retain(|a| a.name != "output_dtype");
    quantize.attribute.push(int("output_dtype", kind.into()));
    quantize
}

/// The nodes of a cast to whole numbers of `bits` bits: the fraction is cut off, and of what is
/// left the lowest bits are kept, as two's complement where they have a sign.
fn wrapped(
    node: &NodeProto,
    bits: u32,
    is_signed: bool,
    weights: &mut Vec<TensorProto>,
) -> Vec<NodeProto> {
    let output = node.output.first().map_or("", String::as_str);
    let (mask, half) = ((1 << bits) - 1, if is_signed { 1 << (bits - 1) } else { 0 });
    let mut constant = |what: &str, value: i32| {
        let name = format!("{output}/{what}");
        weights.push(TensorProto {
            name: name.clone(),
            data_type: DataType::Int32 as i32,
            int32_data: vec![value],
            ..TensorProto::default()
        });
        name
    };
    let (mask, half) = (constant("mask", mask), constant("half", half));
    let part = |what: &str| format!("{output}/{what}");
    let step = |op: &str, inputs: [String; 2], to: &str| NodeProto {
        op_type: op.into(),
        name: part(to),
        input: inputs.to_vec(),
        output: vec![part(to)],
        ..NodeProto::default()
    };
    let mut whole = plain_cast(node, DataType::Int32 as i32);
    whole.output = vec![part("whole")];
    let kind = if is_signed { DataType::Int8 } else { DataType::Uint8 };
    let last = NodeProto {
        op_type: "Cast".into(),
        name: part("narrow"),
        input: vec![part("value")],
        output: node.output.clone(),
        attribute: vec![int("to", kind as i64)],
        ..NodeProto::default()
    };
    vec![
        whole,
        step("Add", [part("whole"), half.clone()], "raised"),
        step("BitwiseAnd", [part("raised"), mask], "low"),
        step("Sub", [part("low"), half], "value"),
        last,
    ]
}

/// How a narrow type is stored, and what its patterns stand for.
enum Storage {
    Float(Format, u32),
    Signed(u32),
    Unsigned(u32),
}

impl Storage {
    fn of(kind: i32) -> Option<Self> {
        match kind {
            UINT2 => return Some(Self::Unsigned(2)),
            INT2 => return Some(Self::Signed(2)),
            _ => {}
        }
        let kind = DataType::try_from(kind).ok()?;
        match kind {
            DataType::Int4 => Some(Self::Signed(4)),
            DataType::Uint4 => Some(Self::Unsigned(4)),
            DataType::Float4e2m1 => Some(Self::Float(Format::of(kind)?, 4)),
            _ => Some(Self::Float(Format::of(kind)?, 8)),
        }
    }

    fn bits(&self) -> u32 {
        match self {
            Self::Float(_, bits) | Self::Signed(bits) | Self::Unsigned(bits) => *bits,
        }
    }
}

/// `tensor`, of the narrow type `name`, in a type that can be read.
fn wide(tensor: &mut TensorProto, name: &str) -> TractResult<()> {
    let Some(storage) = Storage::of(tensor.data_type) else {
        bail!("the weight `{}` has the type {name}, which is not supported", tensor.name)
    };
    ensure!(
        tensor.external_data.is_empty(),
        "the weight `{}` of the type {name} is in a file of its own, which is not supported",
        tensor.name
    );
    let bytes: Vec<u8> = if tensor.raw_data.is_empty() {
        tensor.int32_data.iter().map(|value| *value as u8).collect()
    } else {
        tensor.raw_data.clone()
    };
    let bits = storage.bits();
    let in_a_byte = (8 / bits) as usize;
    let count =
        tensor.dims.iter().try_fold(1usize, |n, d| n.checked_mul(usize::try_from(*d).ok()?));
    ensure!(
        count.map(|count| count.div_ceil(in_a_byte)) == Some(bytes.len()),
        "the weight `{}` of the type {name} holds {} bytes for its shape {:?}",
        tensor.name,
        bytes.len(),
        tensor.dims
    );
    // The first element lies in the lowest bits.
    let low = u8::MAX >> (8 - bits);
    let parts = |byte: u8| (0..in_a_byte as u32).map(move |at| byte >> (at * bits) & low);
    let patterns: Vec<u8> =
        bytes.iter().flat_map(|byte| parts(*byte)).take(count.unwrap_or_default()).collect();
    tensor.raw_data.clear();
    tensor.int32_data.clear();
    let unused = 8 - bits;
    let (kind, whole): (_, Vec<i32>) = match storage {
        Storage::Float(format, _) => {
            tensor.float_data = patterns.iter().map(|bits| format.number(*bits)).collect();
            (DataType::Float, vec![])
        }
        // The sign is the highest of the bits.
        Storage::Signed(_) => {
            let signed = |bits: &u8| i32::from((bits << unused) as i8 >> unused);
            (DataType::Int8, patterns.iter().map(signed).collect())
        }
        Storage::Unsigned(_) => {
            (DataType::Uint8, patterns.iter().map(|bits| (*bits).into()).collect())
        }
    };
    tensor.data_type = kind as i32;
    tensor.int32_data = whole;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_whole_numbers_are_taken_apart() {
        let packed = |kind: DataType| TensorProto {
            dims: vec![3],
            data_type: kind as i32,
            raw_data: vec![0x8f, 0x07],
            name: "w".into(),
            ..TensorProto::default()
        };
        let mut graph = GraphProto {
            initializer: vec![packed(DataType::Int4), packed(DataType::Uint4)],
            ..GraphProto::default()
        };
        assert_eq!(widen(&mut graph).unwrap().types, ["INT4", "UINT4"]);
        assert_eq!(graph.initializer[0].int32_data, [-1, -8, 7]);
        assert_eq!(graph.initializer[1].int32_data, [15, 8, 7]);
        let mut pair = TensorProto { dims: vec![5], data_type: INT2, ..packed(DataType::Int4) };
        wide(&mut pair, "INT2").unwrap();
        assert_eq!(pair.int32_data, [-1, -1, 0, -2, -1]);
    }

    /// A graph of one cast to `kind`.
    fn cast(kind: i64) -> GraphProto {
        let node = NodeProto {
            op_type: "Cast".into(),
            name: "round".into(),
            input: vec!["x".into()],
            output: vec!["y".into()],
            attribute: vec![int("to", kind)],
            ..NodeProto::default()
        };
        GraphProto { node: vec![node], ..GraphProto::default() }
    }

    #[test]
    fn a_cast_to_whole_numbers_of_few_bits_is_written_out_and_keeps_its_name() {
        let mut graph = cast(DataType::Int4 as i64);
        assert_eq!(widen(&mut graph).unwrap(), Widened::default());
        let operators: Vec<&str> = graph.node.iter().map(|n| n.op_type.as_str()).collect();
        assert_eq!(operators, ["Cast", "Add", "BitwiseAnd", "Sub", "Cast"]);
        assert_eq!((graph.node[0].name.as_str(), graph.node[4].output[0].as_str()), ("round", "y"));
        let values: Vec<i32> = graph.initializer.iter().map(|w| w.int32_data[0]).collect();
        assert_eq!(values, [15, 8]);
    }

    #[test]
    fn a_cast_to_floats_of_few_bits_stays_and_is_counted() {
        let mut graph = cast(DataType::Float8e5m2 as i64);
        assert_eq!(widen(&mut graph).unwrap().casts, 1);
        assert_eq!(graph, cast(DataType::Float8e5m2 as i64));
    }

    #[test]
    fn a_node_that_makes_numbers_of_an_unknown_kind_is_refused_by_name() {
        let told = widen(&mut cast(24)).unwrap_err().to_string();
        assert!(told.contains("`round`") && told.contains("FLOAT8E8M0"), "{told}");
    }
}
