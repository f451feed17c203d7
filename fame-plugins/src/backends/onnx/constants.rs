//! The size of what tract computes while it imports a graph: constants of constants.
//!
//! Two hundred bytes (`ConstantOfShape`, `Range`, `OneHot`, a product of a row and a column) can
//! ask for any number. tract computes such a node before anyone can look at it, so its output is
//! measured here first, by the rules of its operator alone.

use fame_core::data::require_memory;
use fame_core::{Error, Result};
use tract_onnx::tract_hir::internal::*;

/// The most bytes that one constant may take, as for a layer.
const LARGEST: u64 = 1 << 30;

/// Refuses `model`, the graph of the file `path`, with a node that makes a constant larger than the
/// budget. What else is wrong with the graph is left to tract, which says so.
///
/// # Errors
/// `fame::memory` or `fame::model::too_large`, inside of tract's error.
pub(super) fn check_constants(path: &str, model: &InferenceModel) -> TractResult<()> {
    // What is found out here is forgotten: the import itself stays as tract does it.
    let mut model = model.clone();
    for id in model.eval_order()? {
        let [inputs, outputs, observed] = facts(&model, id)?;
        let is_constant = !inputs.is_empty() && inputs.iter().all(|fact| fact.value.is_concrete());
        let node = model.node_mut(id);
        if is_constant {
            let told = node.op.infer_facts(all(&inputs), all(&outputs), all(&observed));
            let sizes = told.iter().flat_map(|(_, told, _)| told).filter_map(size);
            let of_range = (node.op.name() == "Range").then(|| range(&inputs)).flatten();
            for (shape, bytes) in of_range.into_iter().chain(sizes) {
                let what = format!(
                    "`{path}`: the constant of shape {shape:?} that node `{}` ({}) makes",
                    node.name,
                    node.op.name()
                );
                check_size(&what, bytes)?;
            }
        }
        let Ok((_, found, _)) = node.op.infer(all(&inputs), all(&outputs), all(&observed)) else {
            continue;
        };
        for (slot, (found, known)) in found.iter().zip(&outputs).enumerate() {
            if let Ok(fact) = found.unify(known) {
                model.set_outlet_fact(OutletId::new(id, slot), fact)?;
            }
        }
    }
    Ok(())
}

fn check_size(what: &str, bytes: u64) -> Result<()> {
    require_memory(what, bytes)?;
    if bytes <= LARGEST {
        return Ok(());
    }
    let message = format!("{what} would need {:.1} GB.", bytes as f64 / 1e9);
    Err(Error::new("fame::model::too_large", message)
        .with_help("Export the model without it, or with another input size."))
}

/// What is known of a node: its inputs, its outputs, and what else it looks at.
fn facts(model: &InferenceModel, id: usize) -> TractResult<[TVec<InferenceFact>; 3]> {
    let node = model.node(id);
    let (inputs, outputs) = model.node_facts(id)?;
    let observed = node.op.observe_outlets(model, node)?;
    let observed = observed.iter().map(|outlet| model.outlet_fact(*outlet).cloned());
    Ok([
        inputs.into_iter().cloned().collect(),
        outputs.into_iter().cloned().collect(),
        observed.collect::<TractResult<_>>()?,
    ])
}

fn all(facts: &[InferenceFact]) -> TVec<&InferenceFact> {
    facts.iter().collect()
}

/// The shape and the bytes of what has this fact, where its shape is known.
fn size(fact: &InferenceFact) -> Option<(Vec<usize>, u64)> {
    let width = fact.datum_type.concretize().map_or(size_of::<f64>(), |kind| kind.size_of());
    let shape = fact.shape.concretize()?;
    let extents = shape.iter().map(|extent| extent.to_usize().ok());
    let shape: Vec<usize> = extents.collect::<Option<_>>()?;
    let bytes = shape.iter().fold(width as u64, |n, extent| n.saturating_mul(*extent as u64));
    Some((shape, bytes))
}

/// The shape and the bytes of a `Range` from the first input to the second in steps of the third:
/// tract's own rule does not know steps backwards.
fn range(inputs: &[InferenceFact]) -> Option<(Vec<usize>, u64)> {
    let number = |ix: usize| -> Option<f64> {
        inputs.get(ix)?.value.concretize()?.cast_to_scalar::<f64>().ok()
    };
    let length = ((number(1)? - number(0)?) / number(2)?).ceil();
    // What is no number, or less than none, is no length.
    let length = length.max(0.0) as u64;
    Some((vec![length as usize], length.saturating_mul(size_of::<f64>() as u64)))
}

#[cfg(test)]
mod tests {
    use fame_core::Error;
    use tract_onnx::pb::attribute_proto::AttributeType;
    use tract_onnx::pb::tensor_proto::DataType;
    use tract_onnx::pb::{AttributeProto, NodeProto, TensorProto};

    use crate::backends::onnx::file::OnnxFile;
    use crate::backends::onnx::fixtures::{model, node};
    use crate::backends::tract::load_file;

    fn whole(name: &str, dims: &[i64], values: &[i64]) -> TensorProto {
        TensorProto {
            name: name.into(),
            dims: dims.into(),
            data_type: DataType::Int64 as i32,
            int64_data: values.into(),
            ..TensorProto::default()
        }
    }

    /// Why a graph that adds what `made` makes of `weights` to its input is refused.
    fn refused(made: Vec<NodeProto>, weights: Vec<TensorProto>) -> Error {
        let mut nodes = made;
        nodes.push(node("Add", &["x", "made"], "y", &[]));
        let file = OnnxFile::check(model(nodes, weights, "y"), None, "net.onnx".into()).unwrap();
        load_file(file).err().unwrap()
    }

    fn as_float(input: &str) -> NodeProto {
        node("Cast", &[input], "made", &[("to", &[DataType::Float as i64])])
    }

    #[test]
    fn a_constant_that_would_fill_the_memory_is_refused_before_it_is_made() {
        // Four pebibytes each: to ask for them ends in a panic of tract's, with other words.
        let shape = whole("shape", &[3], &[1 << 20, 1 << 20, 1 << 10]);
        let zeros = node("ConstantOfShape", &["shape"], "made", &[]);
        let far = [("zero", 0), ("end", -(1 << 49)), ("back", -1)];
        let far = far.map(|(name, value)| whole(name, &[], &[value])).to_vec();
        let range = node("Range", &["zero", "end", "back"], "range", &[]);
        let cases = [
            (vec![zeros], vec![shape], "[1048576, 1048576, 1024] that node `made_node`"),
            (vec![range, as_float("range")], far, "[562949953421312] that node `range_node`"),
        ];
        for (made, weights, says) in cases {
            let error = refused(made, weights);
            // A system that says nothing of its memory has the bound of layers alone.
            let codes = ["fame::memory", "fame::model::too_large"];
            assert!(codes.contains(&error.code.as_str()), "{error}");
            assert!(error.message.starts_with("`net.onnx`: the constant of shape"), "{error}");
            assert!(error.message.contains(says), "{error}");
        }
    }

    #[test]
    fn a_shape_that_is_computed_from_constants_is_known() {
        let value = AttributeProto {
            name: "value".into(),
            r#type: AttributeType::Tensor as i32,
            t: Some(whole("", &[1], &[1 << 25])),
            ..AttributeProto::default()
        };
        let mut constant = node("Constant", &[], "large", &[]);
        constant.attribute.push(value);
        let made = vec![
            constant,
            node("Concat", &["large", "large"], "shape", &[("axis", &[0])]),
            node("ConstantOfShape", &["shape"], "made", &[]),
        ];
        let error = refused(made, vec![]);
        assert!(error.message.contains("[33554432, 33554432] that node"), "{error}");
    }

    #[test]
    fn constants_of_an_ordinary_size_are_made() {
        let shape = whole("shape", &[4], &[1, 2, 8, 8]);
        let zeros = node("ConstantOfShape", &["shape"], "made", &[]);
        let nodes = vec![zeros, node("Add", &["x", "made"], "y", &[])];
        let proto = model(nodes, vec![shape], "y");
        assert!(load_file(OnnxFile::check(proto, None, "net.onnx".into()).unwrap()).is_ok());
    }
}
