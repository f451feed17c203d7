//! Numbers of eight bits and fewer that tract cannot read: floats of 8 and 4 bits become `f32`,
//! whole numbers of 4 and 2 bits become `i8` and `u8`. Only constants can; a node that would make such
//! numbers rounds, and is refused.

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, NodeProto, TensorProto};
use tract_onnx::tract_core::internal::{TractResult, bail, ensure};

use super::file::shown;
use super::unsupported::Unsupported;

/// A float of few bits.
struct Format {
    /// Bits of the fraction.
    fraction: u32,
    /// Bits of the exponent.
    exponent: u32,
    /// What is subtracted from the exponent.
    bias: i32,
    /// What the highest exponent and a negative zero mean.
    special: Special,
}

/// What the patterns mean that are no ordinary numbers.
#[derive(PartialEq)]
enum Special {
    /// The highest exponent is infinity or NaN, as in IEEE 754.
    Ieee,
    /// All ones are NaN, and there is no infinity.
    AllOnes,
    /// Negative zero is NaN, and there is no infinity.
    NegativeZero,
    /// Every pattern is a number.
    None,
}

/// ONNX's number of whole numbers of two bits, without a sign and with one.
const UINT2: i32 = 25;
const INT2: i32 = 26;

/// ONNX's names of the types that tract does not know at all.
const NAMELESS: [(i32, &str); 3] = [(24, "FLOAT8E8M0"), (UINT2, "UINT2"), (INT2, "INT2")];

fn format(kind: DataType) -> Option<Format> {
    let (exponent, fraction, bias, special) = match kind {
        DataType::Float8e4m3fn => (4, 3, 7, Special::AllOnes),
        DataType::Float8e4m3fnuz => (4, 3, 8, Special::NegativeZero),
        DataType::Float8e5m2 => (5, 2, 15, Special::Ieee),
        DataType::Float8e5m2fnuz => (5, 2, 16, Special::NegativeZero),
        DataType::Float4e2m1 => (2, 1, 1, Special::None),
        _ => return None,
    };
    Some(Format { fraction, exponent, bias, special })
}

impl Format {
    /// The number that a pattern stands for.
    fn number(&self, bits: u8) -> f32 {
        let width = self.fraction + self.exponent;
        let bits = u32::from(bits);
        let (sign, rest) = (bits >> width & 1, bits & ((1 << width) - 1));
        let (exponent, fraction) = (rest >> self.fraction, rest & ((1 << self.fraction) - 1));
        let highest = (1 << self.exponent) - 1;
        let sign_of = if sign == 1 { -1.0 } else { 1.0 };
        match self.special {
            Special::AllOnes if rest == (1 << width) - 1 => return f32::NAN,
            Special::NegativeZero if sign == 1 && rest == 0 => return f32::NAN,
            Special::Ieee if exponent == highest && fraction == 0 => {
                return sign_of * f32::INFINITY;
            }
            Special::Ieee if exponent == highest => return f32::NAN,
            _ => {}
        }
        let unit = 2f32.powi(-(self.fraction as i32));
        if exponent == 0 {
            sign_of * fraction as f32 * unit * 2f32.powi(1 - self.bias)
        } else {
            sign_of * (1.0 + fraction as f32 * unit) * 2f32.powi(exponent as i32 - self.bias)
        }
    }
}

/// ONNX's name of a type that no engine has.
fn narrow_name(kind: i64) -> Option<&'static str> {
    let kind = i32::try_from(kind).ok()?;
    if let Some((_, name)) = NAMELESS.iter().find(|(number, _)| *number == kind) {
        return Some(name);
    }
    let kind = DataType::try_from(kind).ok()?;
    let is_narrow = format(kind).is_some() || matches!(kind, DataType::Int4 | DataType::Uint4);
    is_narrow.then(|| kind.as_str_name())
}

/// Refuses nodes that make narrow numbers, then turns every narrow constant of `graph` into one
/// that can be read. Returns the names of the types it met.
///
/// # Errors
/// A node that makes narrow numbers, or a constant of a type that is not known.
pub(super) fn widen(graph: &mut GraphProto) -> TractResult<Vec<&'static str>> {
    check_nodes(graph)?;
    multiply_floats(graph)?;
    let mut met = vec![];
    let inner = graph.node.iter_mut().flat_map(|node| &mut node.attribute);
    let constants = inner.filter_map(|attribute| attribute.t.as_mut());
    for tensor in graph.initializer.iter_mut().chain(constants) {
        let Some(name) = narrow_name(tensor.data_type.into()) else { continue };
        wide(tensor, name)?;
        if !met.contains(&name) {
            met.push(name);
        }
    }
    Ok(met)
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

fn check_nodes(graph: &GraphProto) -> TractResult<()> {
    for node in &graph.node {
        let attribute = |name: &str| node.attribute.iter().find(|a| a.name == name).map(|a| a.i);
        let of_input = |ix: usize| type_of(graph, node.input.get(ix)?);
        let made = match node.op_type.as_str() {
            "Cast" | "BitCast" => attribute("to"),
            "CastLike" => of_input(1),
            "QuantizeLinear" => of_input(2).or_else(|| attribute("output_dtype")),
            _ => None,
        };
        if let Some(name) = made.and_then(narrow_name) {
            return Err(refusal(node, name).into());
        }
    }
    Ok(())
}

fn refusal(node: &NodeProto, name: &str) -> Unsupported {
    let reason = format!("it makes numbers of the type {name}, which only weights may have");
    Unsupported::new(&shown(node), &node.op_type, reason)
}

/// Turns each `DequantizeLinear` of a narrow float weight into the product that it is: once the
/// weight is `f32`, the operator would not take it.
fn multiply_floats(graph: &mut GraphProto) -> TractResult<()> {
    let rank = |name: &str| {
        let weight = graph.initializer.iter().find(|weight| weight.name == name)?;
        format(DataType::try_from(weight.data_type).ok()?)?;
        Some(weight.dims.len())
    };
    let is_dequantize = |node: &NodeProto| node.op_type == "DequantizeLinear";
    let of = |node: &NodeProto| rank(node.input.first().filter(|_| is_dequantize(node))?);
    let found: Vec<(usize, usize)> =
        graph.node.iter().enumerate().filter_map(|(at, node)| Some((at, of(node)?))).collect();
    for (at, rank) in found {
        let node = graph.node[at].clone();
        let refused = |reason: &str| Unsupported::new(&shown(&node), &node.op_type, reason);
        let attribute = |name: &str| node.attribute.iter().find(|a| a.name == name).map(|a| a.i);
        let is_zero = |name: &String| {
            let point = graph.initializer.iter().find(|weight| weight.name == *name);
            point.is_some_and(|point| {
                point.raw_data.iter().all(|byte| *byte == 0)
                    && point.int32_data.iter().all(|value| *value == 0)
            })
        };
        if attribute("block_size").unwrap_or(0) != 0 || !node.input.get(2).is_none_or(is_zero) {
            let reason = "blocks and zero points are not supported for floats of a few bits";
            return Err(refused(reason).into());
        }
        let scale = graph.initializer.iter().find(|w| Some(&w.name) == node.input.get(1)).cloned();
        let mut scale = scale.ok_or_else(|| refused("its scale is no weight of the file"))?;
        let name = node.output.first().map_or("", String::as_str);
        scale.name = format!("scale of {name}");
        if scale.dims.iter().product::<i64>() > 1 {
            let axis = attribute("axis").unwrap_or(1);
            let axis = if axis < 0 { axis + rank as i64 } else { axis };
            let counts = scale.dims.clone();
            scale.dims = vec![1; rank];
            let place = usize::try_from(axis).ok().and_then(|axis| scale.dims.get_mut(axis));
            match (place, counts.as_slice()) {
                (Some(place), [count]) => *place = *count,
                _ => return Err(refused("its scale has no axis of the weight").into()),
            }
        }
        let plain = &mut graph.node[at];
        "Mul".clone_into(&mut plain.op_type);
        plain.attribute.clear();
        plain.input.truncate(1);
        plain.input.push(scale.name.clone());
        graph.initializer.push(scale);
    }
    Ok(())
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
            DataType::Float4e2m1 => Some(Self::Float(format(kind)?, 4)),
            _ => Some(Self::Float(format(kind)?, 8)),
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

    fn read(kind: DataType, bits: u8) -> f32 {
        format(kind).unwrap().number(bits)
    }

    #[test]
    fn floats_of_few_bits_are_the_numbers_of_their_standard() {
        // One, the largest, the smallest, and what is no number.
        assert_eq!(read(DataType::Float8e4m3fn, 0x38), 1.0);
        assert_eq!(read(DataType::Float8e4m3fn, 0x7e), 448.0);
        assert_eq!(read(DataType::Float8e4m3fn, 0x81), -(2f32.powi(-9)));
        assert!(read(DataType::Float8e4m3fn, 0x7f).is_nan());
        assert_eq!(read(DataType::Float8e4m3fnuz, 0x40), 1.0);
        assert_eq!(read(DataType::Float8e4m3fnuz, 0x7f), 240.0);
        assert!(read(DataType::Float8e4m3fnuz, 0x80).is_nan());
        assert_eq!(read(DataType::Float8e5m2, 0x3c), 1.0);
        assert_eq!(read(DataType::Float8e5m2, 0x7b), 57344.0);
        assert_eq!(read(DataType::Float8e5m2, 0xfc), f32::NEG_INFINITY);
        assert_eq!(read(DataType::Float8e5m2fnuz, 0x7f), 57344.0);
        let fours: Vec<f32> = (0..8).map(|bits| read(DataType::Float4e2m1, bits)).collect();
        assert_eq!(fours, [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]);
        assert_eq!(read(DataType::Float4e2m1, 15), -6.0);
    }

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
        assert_eq!(widen(&mut graph).unwrap(), ["INT4", "UINT4"]);
        assert_eq!(graph.initializer[0].int32_data, [-1, -8, 7]);
        assert_eq!(graph.initializer[1].int32_data, [15, 8, 7]);
        let mut pair = TensorProto { dims: vec![5], data_type: INT2, ..packed(DataType::Int4) };
        wide(&mut pair, "INT2").unwrap();
        assert_eq!(pair.int32_data, [-1, -1, 0, -2, -1]);
    }

    #[test]
    fn a_node_that_makes_narrow_numbers_is_refused_by_name() {
        let cast = NodeProto {
            op_type: "Cast".into(),
            name: "round".into(),
            attribute: vec![tract_onnx::pb::AttributeProto {
                name: "to".into(),
                i: DataType::Float8e5m2 as i64,
                ..Default::default()
            }],
            ..NodeProto::default()
        };
        let mut graph = GraphProto { node: vec![cast], ..GraphProto::default() };
        let told = widen(&mut graph).unwrap_err().to_string();
        assert!(told.contains("`round`") && told.contains("FLOAT8E5M2"), "{told}");
    }
}
