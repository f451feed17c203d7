//! Edits of an ONNX file as bytes: whatever an edit does not name stays as it was written.
//!
//! A witness must see the file's own graph. Decoding and encoding it again would lose what our
//! definitions of ONNX do not know, so the encoded fields are walked instead. What is added needs
//! no walking: in protobuf, two encoded messages one after the other are one message, whose
//! repeated fields are those of the first followed by those of the second.

use prost::Message as _;
use tract_onnx::pb::{GraphProto, ModelProto, ValueInfoProto};

/// Field numbers of ONNX's messages.
const MODEL_GRAPH: u64 = 7;
const GRAPH_NODE: u64 = 1;
const GRAPH_INPUT: u64 = 11;
const NODE_OUTPUT: u64 = 2;

/// The encoding of a field whose length is told before its bytes.
const LENGTH_DELIMITED: u64 = 2;

/// `graph` as the encoded part of a model, to be put before or behind another one.
pub(super) fn part(graph: GraphProto) -> Vec<u8> {
    ModelProto { graph: Some(graph), ..ModelProto::default() }.encode_to_vec()
}

/// The encoded `model` in which the node that computes `name` gives it out as `other`. `None` when
/// the bytes are no model.
pub(super) fn rename_output(model: &[u8], name: &str, other: &str) -> Option<Vec<u8>> {
    rewrite(model, MODEL_GRAPH, &|graph| {
        rewrite(graph, GRAPH_NODE, &|node| {
            rewrite(node, NODE_OUTPUT, &|output| {
                let renamed = if output == name.as_bytes() { other.as_bytes() } else { output };
                Some(renamed.to_vec())
            })
        })
    })
}

/// The encoded `model` in which `input` stands in place of its input `name`. `None` when the bytes
/// are no model.
pub(super) fn replace_input(model: &[u8], name: &str, input: &ValueInfoProto) -> Option<Vec<u8>> {
    rewrite(model, MODEL_GRAPH, &|graph| {
        rewrite(graph, GRAPH_INPUT, &|old| {
            let is_meant = ValueInfoProto::decode(old).ok()?.name == name;
            Some(if is_meant { input.encode_to_vec() } else { old.to_vec() })
        })
    })
}

/// The encoded `message` with `edit` applied to every field called `number`, which holds bytes.
fn rewrite(
    message: &[u8],
    number: u64,
    edit: &dyn Fn(&[u8]) -> Option<Vec<u8>>,
) -> Option<Vec<u8>> {
    let mut edited = Vec::with_capacity(message.len());
    let mut rest = message;
    while !rest.is_empty() {
        let start = rest;
        let key = varint(&mut rest)?;
        let length = match key & 7 {
            0 => {
                varint(&mut rest)?;
                0
            }
            1 => 8,
            LENGTH_DELIMITED => usize::try_from(varint(&mut rest)?).ok()?,
            5 => 4,
            _ => return None,
        };
        let (body, after) = rest.split_at_checked(length)?;
        if key == number << 3 | LENGTH_DELIMITED {
            let body = edit(body)?;
            put_varint(&mut edited, key);
            put_varint(&mut edited, body.len() as u64);
            edited.extend(body);
        } else {
            edited.extend(&start[..start.len() - after.len()]);
        }
        rest = after;
    }
    Some(edited)
}

/// Reads a number from the front of `bytes`: seven bits in each byte, the lowest first.
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn put_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

#[cfg(test)]
mod tests {
    use tract_onnx::pb::NodeProto;

    use super::*;

    fn node(input: &str, output: &str) -> NodeProto {
        NodeProto {
            op_type: "Relu".into(),
            input: vec![input.into()],
            output: vec![output.into()],
            ..NodeProto::default()
        }
    }

    #[test]
    fn an_output_is_renamed_and_all_else_stays() {
        let graph =
            GraphProto { node: vec![node("x", "y"), node("y", "z")], ..GraphProto::default() };
        let mut bytes = part(graph);
        // A field that no version of ONNX knows: number 1000, two bytes long.
        let unknown = [0xc2, 0x3e, 2, 7, 9];
        bytes.extend(unknown);
        let longer = "y/".repeat(100);
        let edited = rename_output(&bytes, "y", &longer).unwrap();
        let nodes = ModelProto::decode(&*edited).unwrap().graph.unwrap().node;
        assert_eq!(nodes, [node("x", &longer), node("y", "z")]);
        assert!(edited.ends_with(&unknown));
        assert_eq!(rename_output(&bytes, "nothing", "else"), Some(bytes.clone()));
        assert_eq!(rename_output(&bytes[..bytes.len() - 1], "y", "else"), None);
    }

    #[test]
    fn two_parts_are_one_graph() {
        let mut bytes = part(GraphProto { node: vec![node("x", "y")], ..GraphProto::default() });
        let output = ValueInfoProto { name: "y".into(), ..ValueInfoProto::default() };
        bytes.extend(part(GraphProto { output: vec![output], ..GraphProto::default() }));
        let graph = ModelProto::decode(&*bytes).unwrap().graph.unwrap();
        assert_eq!((graph.node.len(), graph.output[0].name.as_str()), (1, "y"));
    }
}
