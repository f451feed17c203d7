//! Attributes that no version of an operator has: what they mean is not known, so a node that has
//! one is refused, as onnxruntime refuses it.

use std::collections::HashMap;
use std::sync::LazyLock;

use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto};
use tract_onnx::tract_core::internal::TractResult;

use super::file::shown;
use super::unsupported::Unsupported;

/// Every operator of ONNX with its attributes, one a line; `tests/oracles/attributes.py` makes it.
const TABLE: &str = include_str!("attributes.txt");

static KNOWN: LazyLock<HashMap<&str, Vec<&str>>> = LazyLock::new(|| {
    let line = |line: &'static str| {
        let mut words = line.split(' ');
        Some((words.next()?, words.collect()))
    };
    TABLE.lines().filter_map(line).collect()
});

/// Larger than any window, step or border that a network can mean: 4096 × 4096 places. tract would
/// make a list of the places, and reckon with their distances without looking for overflow.
const MOST_PLACES: i64 = 1 << 24;

/// Refuses a node of ONNX's own operators with an attribute that none of its versions has, or with
/// a window that no picture has.
///
/// # Errors
/// Such a node.
pub(super) fn check_attributes(graph: &GraphProto) -> TractResult<()> {
    for node in graph.node.iter().filter(|node| matches!(node.domain.as_str(), "" | "ai.onnx")) {
        if let Some(name) = unknown(node) {
            let reason = format!("its attribute `{name}` is in no version of ONNX");
            return Err(Unsupported::new(&shown(node), &node.op_type, reason).into());
        }
        if let Some(attribute) = node.attribute.iter().find(|a| !is_possible(a)) {
            let reason = format!("its `{}` cannot be {:?}", attribute.name, attribute.ints);
            return Err(Unsupported::new(&shown(node), &node.op_type, reason).into());
        }
    }
    Ok(())
}

/// Whether a window can have this size, step or border; an attribute that is none of these passes.
fn is_possible(attribute: &AttributeProto) -> bool {
    let sizes = &attribute.ints;
    let places = || sizes.iter().try_fold(1i64, |n, size| n.checked_mul(*size));
    match attribute.name.as_str() {
        "kernel_shape" | "strides" | "dilations" => {
            sizes.iter().all(|size| *size > 0)
                && places().is_some_and(|places| places <= MOST_PLACES)
        }
        "pads" => sizes.iter().all(|size| size.unsigned_abs() <= MOST_PLACES.unsigned_abs()),
        _ => true,
    }
}

/// An attribute of `node` that its operator has in no version. Operators that are not known are
/// refused elsewhere.
fn unknown(node: &NodeProto) -> Option<&str> {
    let known = KNOWN.get(node.op_type.as_str())?;
    let mut names = node.attribute.iter().map(|attribute| attribute.name.as_str());
    names.find(|name| !known.contains(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_that_no_picture_has_is_refused() {
        let said = |name: &str, ints: &[i64]| {
            let attribute =
                AttributeProto { name: name.into(), ints: ints.into(), ..Default::default() };
            let node = NodeProto {
                op_type: "MaxPool".into(),
                attribute: vec![attribute],
                ..Default::default()
            };
            let graph = GraphProto { node: vec![node], ..Default::default() };
            check_attributes(&graph).err().map(|error| error.to_string())
        };
        for (name, ints) in [
            ("kernel_shape", [0, 3]),
            ("kernel_shape", [1 << 40, 1 << 40]),
            ("kernel_shape", [1 << 16, 1 << 16]),
            ("strides", [2, 0]),
            ("dilations", [1 << 62, 1]),
            ("pads", [0, i64::MIN]),
        ] {
            let said = said(name, &ints).unwrap();
            assert!(said.ends_with(&format!("its `{name}` cannot be {ints:?}")), "{said}");
        }
        assert!(said("kernel_shape", &[4096, 4096]).is_none() && said("pads", &[-1, 0]).is_none());
    }

    #[test]
    fn an_attribute_of_no_version_is_refused_by_name() {
        let node = |op: &str, domain: &str, attribute: &str| NodeProto {
            op_type: op.into(),
            domain: domain.into(),
            name: "n".into(),
            attribute: vec![AttributeProto { name: attribute.into(), ..AttributeProto::default() }],
            ..NodeProto::default()
        };
        let check = |node: NodeProto| {
            check_attributes(&GraphProto { node: vec![node], ..GraphProto::default() })
        };
        assert!(check(node("Relu", "", "slope")).unwrap_err().to_string().contains("`slope`"));
        assert!(check(node("LeakyRelu", "", "alpha")).is_ok());
        // An old version's attribute, and what others' operators mean by theirs.
        assert!(check(node("BatchNormalization", "", "spatial")).is_ok());
        assert!(check(node("Relu", "com.example", "slope")).is_ok());
    }
}
