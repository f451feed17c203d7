//! Operators that a third party gives on plain host tensors, forward and backward, for every
//! engine at once.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use fame_core::{Error, Result, Tensor, registry::quietly};

/// The value of one attribute of an ONNX node.
#[derive(Clone, Debug, PartialEq)]
pub enum Attribute {
    /// A whole number.
    Int(i64),
    /// A real number.
    Float(f32),
    /// A string.
    Text(String),
    /// A list of whole numbers.
    Ints(Vec<i64>),
    /// A list of real numbers.
    Floats(Vec<f32>),
    /// A tensor, its values as `f32`.
    Tensor(Tensor),
}

/// The attributes of an ONNX node by name.
pub type Attributes = BTreeMap<String, Attribute>;

/// One operator of a graph, its attributes fixed, computed on host tensors.
///
/// Tensors have the shapes that the graph gives them: a batch is run row by row, so an axis of the
/// batch has extent 1 in every call. Calls come from several threads at once.
///
/// [`HostOperator::pull_back`] is the vector–Jacobian product: for a cotangent `c` of the output
/// `y = f(x₁, …)`, the gradient of input `k` is `Σᵢ cᵢ ∂yᵢ/∂xₖ`.
pub trait HostOperator: Send + Sync {
    /// The shape of the output for inputs of these shapes.
    ///
    /// # Errors
    /// When the operator does not take such inputs.
    fn shape(&self, inputs: &[Vec<usize>]) -> Result<Vec<usize>>;

    /// The output, in the shape that [`HostOperator::shape`] says.
    ///
    /// # Errors
    /// When it cannot be computed.
    fn forward(&self, inputs: &[Tensor]) -> Result<Tensor>;

    /// Whether [`HostOperator::pull_back`] is given. Where it is not, a gradient that would have to
    /// pass the operator is refused before anything runs.
    fn is_differentiable(&self) -> bool {
        true
    }

    /// The gradient of each input in the input's shape; `None` for one whose derivative is zero
    /// everywhere, such as an index.
    ///
    /// # Errors
    /// When it cannot be computed.
    fn pull_back(
        &self,
        inputs: &[Tensor],
        output: &Tensor,
        cotangent: &Tensor,
    ) -> Result<Vec<Option<Tensor>>>;
}

/// The maker of an operator from a node's attributes.
pub type Build = Arc<dyn Fn(&Attributes) -> Result<Arc<dyn HostOperator>> + Send + Sync>;

/// An ONNX operator by domain and name, and how one of its nodes becomes a [`HostOperator`]. It
/// takes the place of a built-in operator of the same domain and name.
#[derive(Clone)]
pub struct HostOperatorKind {
    /// The operator's domain; empty for ONNX's own.
    pub domain: String,
    /// The operator's name.
    pub op_type: String,
    /// The versions of the domain's operator set in which the operator means this.
    pub opsets: RangeInclusive<u64>,
    /// Makes the operator of one node, or says what is wrong with the node's attributes.
    pub build: Build,
}

impl HostOperatorKind {
    /// Whether nodes of `op_type` in version `opset` of `domain` are of this kind. ONNX's own
    /// domain has two names.
    pub(super) fn is_for(&self, domain: &str, op_type: &str, opset: u64) -> bool {
        let plain = |name: &str| if name == "ai.onnx" { String::new() } else { name.to_owned() };
        plain(&self.domain) == plain(domain)
            && self.op_type == op_type
            && self.opsets.contains(&opset)
    }
}

/// A node's host operator with the name it is called by in messages. It holds the operator to its
/// contract: what comes back has the promised shape, and a panic is an error.
#[derive(Clone)]
pub(in crate::backends) struct CheckedOperator {
    operator: Arc<dyn HostOperator>,
    name: String,
}

impl CheckedOperator {
    /// The operator `operator`, called `name` in messages.
    pub(super) fn new(operator: Arc<dyn HostOperator>, name: String) -> Self {
        Self { operator, name }
    }

    /// The name for messages.
    pub(in crate::backends) fn name(&self) -> &str {
        &self.name
    }

    /// Whether both are the operator of the same node.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.operator, &other.operator)
    }

    /// Whether gradients can be pulled back through it.
    pub(in crate::backends) fn is_differentiable(&self) -> bool {
        self.operator.is_differentiable()
    }

    /// The shape of the output.
    pub(super) fn shape(&self, inputs: &[Vec<usize>]) -> Result<Vec<usize>> {
        self.guarded("shape", || self.operator.shape(inputs))
    }

    /// The output, which has `shape`.
    pub(in crate::backends) fn forward(
        &self,
        inputs: &[Tensor],
        shape: &[usize],
    ) -> Result<Tensor> {
        let output = self.guarded("forward", || self.operator.forward(inputs))?;
        self.expect("an output", output, shape)
    }

    /// The gradient of every input, zeros where the operator says that there is none.
    pub(in crate::backends) fn pull_back(
        &self,
        inputs: &[Tensor],
        output: &Tensor,
        cotangent: &Tensor,
    ) -> Result<Vec<Tensor>> {
        let pulled =
            self.guarded("pull_back", || self.operator.pull_back(inputs, output, cotangent))?;
        if pulled.len() != inputs.len() {
            return Err(self.broken(format_args!(
                "gave {} gradients for {} inputs",
                pulled.len(),
                inputs.len()
            )));
        }
        let gradient = |(gradient, input): (Option<Tensor>, &Tensor)| match gradient {
            Some(gradient) => self.expect("a gradient", gradient, input.shape()),
            None => Ok(Tensor::zeros(input.shape())),
        };
        pulled.into_iter().zip(inputs).map(gradient).collect()
    }

    fn expect(&self, what: &str, tensor: Tensor, shape: &[usize]) -> Result<Tensor> {
        if tensor.shape() == shape {
            return Ok(tensor);
        }
        Err(self.broken(format_args!("gave {what} of shape {:?}, not {shape:?}", tensor.shape())))
    }

    fn guarded<T>(&self, what: &str, call: impl FnOnce() -> Result<T>) -> Result<T> {
        quietly(call)
            .unwrap_or_else(|said| Err(self.broken(format_args!("panicked in `{what}`: {said}"))))
    }

    fn broken(&self, what: std::fmt::Arguments) -> Error {
        Error::new("fame::backend::operator", format!("the operator `{}` {what}.", self.name))
            .with_help("The fault is in the plugin that brings the operator.")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An operator that keeps none of its promises.
    struct Broken;

    impl HostOperator for Broken {
        fn shape(&self, _: &[Vec<usize>]) -> Result<Vec<usize>> {
            panic!("no shape")
        }

        fn forward(&self, _: &[Tensor]) -> Result<Tensor> {
            Ok(Tensor::zeros([2]))
        }

        fn pull_back(&self, _: &[Tensor], _: &Tensor, _: &Tensor) -> Result<Vec<Option<Tensor>>> {
            Ok(vec![Some(Tensor::zeros([4])), None])
        }
    }

    #[test]
    fn a_broken_promise_is_an_error_that_names_the_operator() {
        let operator = CheckedOperator::new(Arc::new(Broken), "Swirl".into());
        let x = Tensor::zeros([3]);
        let told = [
            operator.shape(&[vec![3]]).unwrap_err(),
            operator.forward(std::slice::from_ref(&x), &[3]).unwrap_err(),
            operator.pull_back(std::slice::from_ref(&x), &x, &x).unwrap_err(),
            operator.pull_back(&[x.clone(), x.clone()], &x, &x).unwrap_err(),
        ];
        let words = ["panicked in `shape`", "output of shape [2]", "2 gradients for 1", "[4]"];
        for (error, word) in told.iter().zip(words) {
            assert_eq!(error.code, "fame::backend::operator");
            assert!(error.message.contains("Swirl") && error.message.contains(word), "{error}");
        }
    }

    #[test]
    fn onnx_own_domain_has_two_names() {
        let build: Build = Arc::new(|_| Ok(Arc::new(Broken)));
        let kind = |domain: &str| HostOperatorKind {
            domain: domain.into(),
            op_type: "Swirl".into(),
            opsets: 3..=5,
            build: build.clone(),
        };
        assert!(kind("").is_for("ai.onnx", "Swirl", 3) && kind("ai.onnx").is_for("", "Swirl", 5));
        assert!(!kind("").is_for("org.else", "Swirl", 4) && !kind("").is_for("", "Swerve", 4));
        assert!(!kind("").is_for("", "Swirl", 2) && !kind("").is_for("", "Swirl", 6));
    }
}
