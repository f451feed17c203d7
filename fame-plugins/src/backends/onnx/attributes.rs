//! Attributes that no version of an operator has: what they mean is not known, so a node that has
//! one is refused, as onnxruntime refuses it.

use std::collections::HashMap;
use std::sync::LazyLock;

use tract_onnx::pb::{GraphProto, NodeProto};
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

/// Refuses a node of ONNX's own operators with an attribute that none of its versions has.
///
/// # Errors
/// Such a node.
pub(super) fn check_attributes(graph: &GraphProto) -> TractResult<()> {
    for node in graph.node.iter().filter(|node| matches!(node.domain.as_str(), "" | "ai.onnx")) {
        if let Some(name) = unknown(node) {
            let reason = format!("its attribute `{name}` is in no version of ONNX");
            return Err(Unsupported::new(&shown(node), &node.op_type, reason).into());
        }
    }
    Ok(())
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
    use tract_onnx::pb::AttributeProto;

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
