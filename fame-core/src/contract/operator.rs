//! Operators: ONNX nodes that an engine does not know by itself, with the rule that pulls a
//! gradient back through them.
//!
//! An engine asks [`Operators::find`] for each node of a file. Where a registered operator serves
//! the node, the engine gives it the node's attributes and inputs as plain host tensors, and takes
//! outputs, or cotangents of the inputs, in return.
//!
//! # Shapes
//!
//! Every tensor is `f32`, and every shape includes the batch: an input that depends on the
//! network's input has the rows of the batch as its first axis, and so has every output. Rows must
//! not influence one another. A constant input, such as a weight, comes as it stands in the file.
//! A node with an input of another type, or without an input in the middle of others, is refused by
//! the engine.
//!
//! ```
//! use fame_core::{Result, Tensor, contract::{Attributes, Operator, OperatorId}};
//!
//! /// y = x·|x|, so dy/dx = 2·|x|.
//! struct SignedSquare;
//!
//! impl Operator for SignedSquare {
//!     fn serves(&self) -> OperatorId {
//!         OperatorId::new("my.domain", "SignedSquare")
//!     }
//!     fn output_shapes(&self, _: &Attributes, inputs: &[Vec<usize>]) -> Result<Vec<Vec<usize>>> {
//!         Ok(inputs.to_vec())
//!     }
//!     fn forward(&self, _: &Attributes, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
//!         let y = inputs[0].data().iter().map(|x| x * x.abs()).collect();
//!         Ok(vec![Tensor::new(inputs[0].shape(), y)?])
//!     }
//!     fn pull_back(
//!         &self,
//!         _: &Attributes,
//!         inputs: &[Tensor],
//!         _: &[Tensor],
//!         cotangents: &[Tensor],
//!     ) -> Result<Vec<Tensor>> {
//!         let pairs = inputs[0].data().iter().zip(cotangents[0].data());
//!         Ok(vec![Tensor::new(inputs[0].shape(), pairs.map(|(x, c)| 2.0 * x.abs() * c).collect())?])
//!     }
//! }
//!
//! let x = Tensor::vector(vec![-3.0, 0.5]);
//! fame_core::testkit::check_operator(&SignedSquare, &Attributes::default(), &[x]).unwrap();
//! ```

use std::{collections::BTreeMap, fmt, ops::RangeInclusive, sync::Arc};

use crate::{Error, Result, Tensor};

/// An operator of ONNX: what its outputs are, and how a gradient passes it.
///
/// All methods are functions of their arguments alone: the same attributes and inputs always give
/// the same outputs.
pub trait Operator: Send + Sync {
    /// The nodes it serves.
    fn serves(&self) -> OperatorId;

    /// The shapes of all outputs for inputs of these shapes.
    ///
    /// # Errors
    /// When the number of inputs, a shape or an attribute is not the operator's; the engine names
    /// the node.
    fn output_shapes(
        &self,
        attributes: &Attributes,
        inputs: &[Vec<usize>],
    ) -> Result<Vec<Vec<usize>>>;

    /// The outputs, of the shapes that [`Operator::output_shapes`] gives.
    ///
    /// # Errors
    /// As [`Operator::output_shapes`].
    fn forward(&self, attributes: &Attributes, inputs: &[Tensor]) -> Result<Vec<Tensor>>;

    /// Whether the operator can be differentiated with respect to input number `input`.
    ///
    /// # Errors
    /// One sentence saying why not. A gradient that would have to pass there is refused with it.
    fn check_gradient(&self, attributes: &Attributes, input: usize) -> Result<()> {
        let _ = (attributes, input);
        Ok(())
    }

    /// The cotangents of all inputs, each of its input's shape: for every input x, the sum over the
    /// outputs y of ȳ·∂y/∂x. `outputs` is what `forward` gave for `inputs`, and `cotangents` has
    /// one ȳ for each output, of its shape; that of an output nobody uses is zero. Where
    /// [`Operator::check_gradient`] refuses an input, its cotangent is zero.
    ///
    /// # Errors
    /// As [`Operator::output_shapes`].
    fn pull_back(
        &self,
        attributes: &Attributes,
        inputs: &[Tensor],
        outputs: &[Tensor],
        cotangents: &[Tensor],
    ) -> Result<Vec<Tensor>>;
}

/// The identity of an operator: which nodes of which files it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorId {
    /// The operator's domain, such as `com.microsoft`; empty for ONNX's own, `ai.onnx`.
    pub domain: String,
    /// The type of the node: `Gelu`.
    pub op_type: String,
    /// The versions of the domain's operator set in which the operator means this.
    pub opsets: RangeInclusive<u64>,
}

/// ONNX's own domain has two names, of which the empty one is common.
const ONNX: &str = "ai.onnx";

fn domain(name: &str) -> &str {
    if name == ONNX { "" } else { name }
}

impl OperatorId {
    /// The operator `op_type` of `domain`, in every version of it.
    pub fn new(domain: impl Into<String>, op_type: impl Into<String>) -> Self {
        Self { domain: domain.into(), op_type: op_type.into(), opsets: 1..=u64::MAX }
    }

    /// The same in these versions of the domain only.
    #[must_use]
    pub fn in_opsets(mut self, opsets: RangeInclusive<u64>) -> Self {
        self.opsets = opsets;
        self
    }

    /// Whether a node of this domain and type is the operator, in a file that imports version
    /// `opset` of the domain.
    pub fn covers(&self, domain_name: &str, op_type: &str, opset: u64) -> bool {
        domain(&self.domain) == domain(domain_name)
            && self.op_type == op_type
            && self.opsets.contains(&opset)
    }

    /// Whether some node could be both operators.
    fn overlaps(&self, other: &Self) -> bool {
        domain(&self.domain) == domain(&other.domain)
            && self.op_type == other.op_type
            && self.opsets.start() <= other.opsets.end()
            && other.opsets.start() <= self.opsets.end()
    }
}

impl fmt::Display for OperatorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let domain = if domain(&self.domain).is_empty() { ONNX } else { &self.domain };
        write!(f, "{domain}.{}", self.op_type)?;
        match (*self.opsets.start(), *self.opsets.end()) {
            (0 | 1, u64::MAX) => Ok(()),
            (first, u64::MAX) => write!(f, ", opset {first} and later"),
            (first, last) => write!(f, ", opsets {first} to {last}"),
        }
    }
}

/// An attribute's value. Graphs, sparse tensors and tensors of whole numbers have no place here: an
/// engine refuses a node with one.
#[derive(Clone, Debug, PartialEq)]
pub enum Attribute {
    /// A whole number.
    Int(i64),
    /// Several of them.
    Ints(Vec<i64>),
    /// A number.
    Float(f32),
    /// Several of them.
    Floats(Vec<f32>),
    /// Text.
    Text(String),
    /// Several of them.
    Texts(Vec<String>),
    /// A constant.
    Tensor(Tensor),
}

/// The attributes of a node, by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attributes(BTreeMap<String, Attribute>);

impl<N: Into<String>> FromIterator<(N, Attribute)> for Attributes {
    fn from_iter<I: IntoIterator<Item = (N, Attribute)>>(all: I) -> Self {
        Self(all.into_iter().map(|(name, value)| (name.into(), value)).collect())
    }
}

impl Attributes {
    /// The attribute `name`, if the node has it.
    pub fn get(&self, name: &str) -> Option<&Attribute> {
        self.0.get(name)
    }

    /// The names of all attributes, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The whole number `name`, or `default` where the node does not say.
    ///
    /// # Errors
    /// When it is something else.
    pub fn int(&self, name: &str, default: i64) -> Result<i64> {
        match self.get(name) {
            None => Ok(default),
            Some(Attribute::Int(value)) => Ok(*value),
            Some(_) => Err(wrong_type(name, "a whole number")),
        }
    }

    /// The whole numbers `name`, or `default` where the node does not say.
    ///
    /// # Errors
    /// When it is something else.
    pub fn ints(&self, name: &str, default: &[i64]) -> Result<Vec<i64>> {
        match self.get(name) {
            None => Ok(default.to_vec()),
            Some(Attribute::Ints(values)) => Ok(values.clone()),
            Some(_) => Err(wrong_type(name, "a list of whole numbers")),
        }
    }

    /// The number `name`, or `default` where the node does not say.
    ///
    /// # Errors
    /// When it is something else.
    pub fn float(&self, name: &str, default: f32) -> Result<f32> {
        match self.get(name) {
            None => Ok(default),
            Some(Attribute::Float(value)) => Ok(*value),
            Some(_) => Err(wrong_type(name, "a number")),
        }
    }

    /// The text `name`, or `default` where the node does not say.
    ///
    /// # Errors
    /// When it is something else.
    pub fn text<'a>(&'a self, name: &str, default: &'a str) -> Result<&'a str> {
        match self.get(name) {
            None => Ok(default),
            Some(Attribute::Text(value)) => Ok(value),
            Some(_) => Err(wrong_type(name, "text")),
        }
    }
}

fn wrong_type(name: &str, wanted: &str) -> Error {
    Error::new("fame::operator::attribute", format!("the attribute `{name}` must be {wanted}."))
}

/// The operators that a model may be loaded with, no two of which serve the same node.
#[derive(Clone, Default)]
pub struct Operators(Vec<(String, OperatorId, Arc<dyn Operator>)>);

impl Operators {
    /// Adds the operator of the plugin called `plugin`.
    ///
    /// # Errors
    /// When another one serves the same nodes; both plugins are named.
    pub fn add(&mut self, plugin: &str, operator: Box<dyn Operator>) -> Result<()> {
        let id = operator.serves();
        if let Some((other, theirs, _)) = self.0.iter().find(|(_, known, _)| known.overlaps(&id)) {
            let message = format!(
                "two operators serve the same nodes: `{other}` serves {theirs}, and `{plugin}` serves {id}."
            );
            return Err(Error::new("fame::operator::duplicate", message)
                .with_help("Load only one of the two plugins."));
        }
        self.0.push((plugin.to_owned(), id, Arc::from(operator)));
        Ok(())
    }

    /// The operator that serves a node of this domain and type in a file that imports version
    /// `opset` of the domain, with the name of its plugin.
    pub fn find(
        &self,
        domain: &str,
        op_type: &str,
        opset: u64,
    ) -> Option<(&str, Arc<dyn Operator>)> {
        let served = self.0.iter().find(|(_, id, _)| id.covers(domain, op_type, opset));
        served.map(|(plugin, _, operator)| (plugin.as_str(), operator.clone()))
    }

    /// Every plugin's name with the nodes it serves, in the order they were added.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &OperatorId)> {
        self.0.iter().map(|(plugin, id, _)| (plugin.as_str(), id))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Operators {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nothing(OperatorId);

    impl Operator for Nothing {
        fn serves(&self) -> OperatorId {
            self.0.clone()
        }

        fn output_shapes(&self, _: &Attributes, _: &[Vec<usize>]) -> Result<Vec<Vec<usize>>> {
            Ok(Vec::new())
        }

        fn forward(&self, _: &Attributes, _: &[Tensor]) -> Result<Vec<Tensor>> {
            Ok(Vec::new())
        }

        fn pull_back(
            &self,
            _: &Attributes,
            _: &[Tensor],
            _: &[Tensor],
            _: &[Tensor],
        ) -> Result<Vec<Tensor>> {
            Ok(Vec::new())
        }
    }

    #[test]
    fn a_node_finds_the_operator_of_its_domain_type_and_version() {
        let mut all = Operators::default();
        let old = OperatorId::new("", "Swish").in_opsets(1..=23);
        let new = OperatorId::new(ONNX, "Swish").in_opsets(24..=u64::MAX);
        let foreign = OperatorId::new("com.example", "Swish");
        for (plugin, id) in [("Old", &old), ("New", &new), ("Foreign", &foreign)] {
            all.add(plugin, Box::new(Nothing(id.clone()))).unwrap();
        }
        let found = |domain: &str, op_type: &str, opset: u64| {
            all.find(domain, op_type, opset).map(|(plugin, _)| plugin.to_owned())
        };
        assert_eq!(found(ONNX, "Swish", 17).as_deref(), Some("Old"));
        assert_eq!(found("", "Swish", 24).as_deref(), Some("New"));
        assert_eq!(found("com.example", "Swish", 1).as_deref(), Some("Foreign"));
        assert_eq!(found("com.other", "Swish", 17), None);
        assert_eq!(found("", "Mish", 17), None);
        assert_eq!(
            [&old, &new, &foreign].map(ToString::to_string),
            [
                "ai.onnx.Swish, opsets 1 to 23",
                "ai.onnx.Swish, opset 24 and later",
                "com.example.Swish"
            ]
        );
    }

    #[test]
    fn two_operators_for_one_node_are_refused_by_name() {
        let mut all = Operators::default();
        let first = OperatorId::new("", "Swish").in_opsets(1..=23);
        all.add("First", Box::new(Nothing(first))).unwrap();
        let second = OperatorId::new(ONNX, "Swish").in_opsets(23..=30);
        let error = all.add("Second", Box::new(Nothing(second))).unwrap_err();
        assert_eq!(error.code, "fame::operator::duplicate");
        assert!(error.message.contains("`First`") && error.message.contains("`Second`"), "{error}");
        assert_eq!(all.iter().count(), 1);
    }

    #[test]
    fn an_attribute_has_its_type_or_its_default() {
        let node: Attributes =
            [("axis", Attribute::Int(-1)), ("mode", Attribute::Text("tanh".into()))]
                .into_iter()
                .collect();
        assert_eq!((node.int("axis", 0).unwrap(), node.int("other", 7).unwrap()), (-1, 7));
        assert_eq!(
            (node.text("mode", "none").unwrap(), node.float("alpha", 0.5).unwrap()),
            ("tanh", 0.5)
        );
        assert_eq!(node.ints("pads", &[1, 2]).unwrap(), [1, 2]);
        let error = node.float("axis", 0.0).unwrap_err();
        assert_eq!(error.message, "the attribute `axis` must be a number.");
    }
}
