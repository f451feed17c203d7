//! Operators on quantised numbers, written out: each becomes the plain operator between
//! `DequantizeLinear` and `QuantizeLinear`, which is what it means.

use std::collections::HashMap;

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, TensorProto};

use super::repair::int;

/// Writes out the operators of `graph` on quantised numbers. A remark for the record where the
/// graph rounds.
pub(super) fn write_out(graph: &mut GraphProto) -> Option<String> {
    let weights = graph.initializer.iter().map(|w| (w.name.clone(), w.data_type));
    let constants = graph.node.iter().filter(|n| n.op_type == "Constant").filter_map(|n| {
        let value = n.attribute.iter().find(|a| a.name == "value")?.t.as_ref()?;
        Some((n.output.first()?.clone(), value.data_type))
    });
    let types: HashMap<String, i32> = weights.chain(constants).collect();
    let mut writer = Writer { nodes: vec![], types, needs_one: false };
    for node in std::mem::take(&mut graph.node) {
        writer.write(node);
    }
    if writer.needs_one {
        graph.initializer.push(TensorProto {
            name: ONE.into(),
            data_type: DataType::Float as i32,
            float_data: vec![1.0],
            ..TensorProto::default()
        });
    }
    graph.node = writer.nodes;
    let is_rounding = |node: &&NodeProto| {
        node.op_type.ends_with("QuantizeLinear") && !node.op_type.starts_with("De")
    };
    let count = graph.node.iter().filter(is_rounding).count();
    (count > 0).then(|| {
        format!(
            "{count} of its values are quantised; the gradient passes their rounding as if it were \
             the identity (straight-through) and stops where the range ends"
        )
    })
}

/// The name of the scale of what is not scaled.
const ONE: &str = "fame/one";

/// Where a quantised value is: the positions of it, of its scale and of its zero among the inputs
/// of a node.
type Place = [usize; 3];

struct Writer {
    nodes: Vec<NodeProto>,
    /// The number type of each constant.
    types: HashMap<String, i32>,
    needs_one: bool,
}

impl Writer {
    fn write(&mut self, mut node: NodeProto) {
        match node.op_type.as_str() {
            "QuantizeLinear" => {
                self.say_type(&mut node);
                self.nodes.push(node);
            }
            "QLinearConv" => self.conv(&node),
            "QLinearMatMul" => {
                let inputs = [([0, 1, 2], -2), ([3, 4, 5], -1)];
                self.between("MatMul", &node, &inputs, [6, 7]);
            }
            "QLinearAdd" => self.between("Add", &node, &[([0, 1, 2], 1), ([3, 4, 5], 1)], [6, 7]),
            "QLinearMul" => self.between("Mul", &node, &[([0, 1, 2], 1), ([3, 4, 5], 1)], [6, 7]),
            "QLinearSigmoid" => self.between("Sigmoid", &node, &[([0, 1, 2], 1)], [3, 4]),
            "QLinearLeakyRelu" => self.between("LeakyRelu", &node, &[([0, 1, 2], 1)], [3, 4]),
            "QLinearGlobalAveragePool" if attribute(&node, "channels_last") == 0 => {
                // ONNX's own pool has no such attribute.
                node.attribute.retain(|a| a.name != "channels_last");
                self.between("GlobalAveragePool", &node, &[([0, 1, 2], 1)], [3, 4]);
            }
            "MatMulInteger" => self.of_whole("MatMul", &node, [-2, -1]),
            "ConvInteger" => self.of_whole("Conv", &node, [1, 0]),
            _ => self.nodes.push(node),
        }
    }

    /// The output's type is that of the zero: written down, for the zero may be read as another.
    fn say_type(&self, node: &mut NodeProto) {
        let zero = node.input.get(2).and_then(|zero| self.types.get(zero));
        if let Some(kind) = zero.filter(|_| attribute(node, "output_dtype") == 0) {
            node.attribute.retain(|a| a.name != "output_dtype");
            node.attribute.push(int("output_dtype", i64::from(*kind)));
        }
    }

    /// A node `op` that reads `inputs` and gives `output`; empty inputs at the end are left out.
    fn push(
        &mut self,
        op: &str,
        inputs: Vec<String>,
        output: &str,
        attributes: Vec<AttributeProto>,
    ) {
        let given = inputs.iter().rposition(|name| !name.is_empty()).map_or(0, |last| last + 1);
        self.nodes.push(NodeProto {
            op_type: op.into(),
            name: output.into(),
            input: inputs[..given].to_vec(),
            output: vec![output.into()],
            attribute: attributes,
            ..NodeProto::default()
        });
    }

    /// The real numbers behind a quantised input, which vary along `axis`: their name.
    fn real(&mut self, node: &NodeProto, place: Place, axis: i64) -> String {
        let names = place.map(|ix| node.input.get(ix).cloned().unwrap_or_default());
        let output = format!("{}/real.{}", node.output[0], place[0]);
        self.push("DequantizeLinear", names.to_vec(), &output, vec![int("axis", axis)]);
        output
    }

    /// `value` quantised with the scale and zero at `place`, as the output of `node`.
    fn quantised(&mut self, node: &NodeProto, value: String, place: [usize; 2]) {
        let name = |ix: usize| node.input.get(ix).cloned().unwrap_or_default();
        let inputs = vec![value, name(place[0]), name(place[1])];
        self.push("QuantizeLinear", inputs, &node.output[0], vec![]);
        if let Some(mut last) = self.nodes.pop() {
            self.say_type(&mut last);
            last.name.clone_from(&node.name);
            self.nodes.push(last);
        }
    }

    /// `op` between the real numbers of its inputs and the quantised output.
    fn between(&mut self, op: &str, node: &NodeProto, inputs: &[(Place, i64)], output: [usize; 2]) {
        let reals = inputs.iter().map(|(place, axis)| self.real(node, *place, *axis)).collect();
        let value = format!("{}/value", node.output[0]);
        self.push(op, reals, &value, node.attribute.clone());
        self.quantised(node, value, output);
    }

    /// A convolution; the scale of its bias is that of its products.
    fn conv(&mut self, node: &NodeProto) {
        let x = self.real(node, [0, 1, 2], 1);
        let kernel = self.real(node, [3, 4, 5], 0);
        let mut inputs = vec![x, kernel];
        if let Some(bias) = node.input.get(8).filter(|name| !name.is_empty()) {
            let (scale, real) =
                (format!("{}/bias.scale", node.output[0]), format!("{}/bias", node.output[0]));
            self.push("Mul", vec![node.input[1].clone(), node.input[4].clone()], &scale, vec![]);
            let names = vec![bias.clone(), scale];
            self.push("DequantizeLinear", names, &real, vec![int("axis", 0)]);
            inputs.push(real);
        }
        let value = format!("{}/value", node.output[0]);
        self.push("Conv", inputs, &value, node.attribute.clone());
        self.quantised(node, value, [6, 7]);
    }

    /// `op` on whole numbers without their zeros, which vary along `axes`.
    fn of_whole(&mut self, op: &str, node: &NodeProto, axes: [i64; 2]) {
        self.needs_one = true;
        let mut inputs = vec![];
        for (ix, axis) in axes.into_iter().enumerate() {
            let zero = node.input.get(ix + 2).cloned().unwrap_or_default();
            let output = format!("{}/whole.{ix}", node.output[0]);
            let names = vec![node.input[ix].clone(), ONE.into(), zero];
            self.push("DequantizeLinear", names, &output, vec![int("axis", axis)]);
            inputs.push(output);
        }
        self.push(op, inputs, &node.output[0], node.attribute.clone());
        if let Some(last) = self.nodes.last_mut() {
            last.name.clone_from(&node.name);
        }
    }
}

fn attribute(node: &NodeProto, name: &str) -> i64 {
    node.attribute.iter().find(|a| a.name == name).map_or(0, |a| a.i)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backends::onnx::fixtures::node;

    fn written(op: &str, inputs: &[&str]) -> GraphProto {
        let zero = TensorProto {
            name: "zero".into(),
            data_type: DataType::Int8 as i32,
            ..TensorProto::default()
        };
        let mut graph = GraphProto {
            node: vec![node(op, inputs, "y", &[])],
            initializer: vec![zero],
            ..GraphProto::default()
        };
        write_out(&mut graph);
        graph
    }

    fn operators(graph: &GraphProto) -> Vec<&str> {
        graph.node.iter().map(|n| n.op_type.as_str()).collect()
    }

    #[test]
    fn a_quantised_pool_leaves_its_layout_behind() {
        let mut graph = GraphProto {
            node: vec![node("QLinearGlobalAveragePool", &["x", "xs", "xz", "ys", "yz"], "y", &[])],
            ..GraphProto::default()
        };
        graph.node[0].attribute.push(int("channels_last", 0));
        write_out(&mut graph);
        assert_eq!(operators(&graph), ["DequantizeLinear", "GlobalAveragePool", "QuantizeLinear"]);
        assert!(graph.node[1].attribute.is_empty());
    }

    #[test]
    fn a_quantised_convolution_is_one_between_real_numbers() {
        let inputs = ["x", "xs", "xz", "w", "ws", "wz", "ys", "zero", "b"];
        let graph = written("QLinearConv", &inputs);
        let [x, w] = ["DequantizeLinear"; 2];
        assert_eq!(operators(&graph), [x, w, "Mul", "DequantizeLinear", "Conv", "QuantizeLinear"]);
        let last = graph.node.last().unwrap();
        assert_eq!((last.output[0].as_str(), last.name.as_str()), ("y", "y_node"));
        assert_eq!(attribute(last, "output_dtype"), DataType::Int8 as i64);
    }

    #[test]
    fn products_of_whole_numbers_lose_their_zeros_first() {
        let graph = written("MatMulInteger", &["a", "b", "", "zero"]);
        assert_eq!(operators(&graph), ["DequantizeLinear", "DequantizeLinear", "MatMul"]);
        assert_eq!(graph.node[0].input, ["a", ONE]);
        assert_eq!(graph.node[1].input, ["b", ONE, "zero"]);
        assert!(graph.initializer.iter().any(|w| w.name == ONE && w.float_data == [1.0]));
    }

    #[test]
    fn only_what_rounds_is_remarked() {
        let mut graph = GraphProto {
            node: vec![node("DequantizeLinear", &["w", "s"], "y", &[])],
            ..GraphProto::default()
        };
        assert_eq!(write_out(&mut graph), None);
        graph.node.push(node("DynamicQuantizeLinear", &["y"], "z", &[]));
        assert!(write_out(&mut graph).unwrap().starts_with("1 of its values"));
    }
}
