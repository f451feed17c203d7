//! Guard of [`Operator`].

use super::{Guard, Guarded, Who, shaped};
use crate::{
    Error, Result, Tensor,
    contract::{Attributes, Operator, OperatorId},
};

impl Guard for dyn Operator {
    fn guarded(who: Who, inner: Box<Self>) -> Result<Box<Self>> {
        let inner = Guarded::new(who, inner);
        let serves = inner.call("serves", Operator::serves)?;
        if serves.op_type.is_empty() || serves.opsets.is_empty() {
            return Err(inner.wrong("serves", "an operator that no node can be"));
        }
        Ok(Box::new(GuardedOperator { inner, serves }))
    }
}

struct GuardedOperator {
    inner: Guarded<dyn Operator>,
    serves: OperatorId,
}

impl GuardedOperator {
    fn wrong(&self, method: &str, what: String) -> Error {
        self.inner.wrong(method, what)
    }
}

impl Operator for GuardedOperator {
    fn serves(&self) -> OperatorId {
        self.serves.clone()
    }

    fn output_shapes(
        &self,
        attributes: &Attributes,
        inputs: &[Vec<usize>],
    ) -> Result<Vec<Vec<usize>>> {
        self.inner.call("output_shapes", |o| o.output_shapes(attributes, inputs))?
    }

    fn forward(&self, attributes: &Attributes, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let shapes: Vec<Vec<usize>> = inputs.iter().map(|t| t.shape().to_vec()).collect();
        let wanted = self.output_shapes(attributes, &shapes)?;
        let outputs = self.inner.call("forward", |o| o.forward(attributes, inputs))??;
        all_shaped("an output", "outputs", &outputs, wanted.iter().map(Vec::as_slice))
            .map_err(|what| self.wrong("forward", what))?;
        Ok(outputs)
    }

    fn check_gradient(&self, attributes: &Attributes, input: usize) -> Result<()> {
        self.inner.call("check_gradient", |o| o.check_gradient(attributes, input))?
    }

    fn pull_back(
        &self,
        attributes: &Attributes,
        inputs: &[Tensor],
        outputs: &[Tensor],
        cotangents: &[Tensor],
    ) -> Result<Vec<Tensor>> {
        let pulled = self
            .inner
            .call("pull_back", |o| o.pull_back(attributes, inputs, outputs, cotangents))??;
        all_shaped("a cotangent", "cotangents", &pulled, inputs.iter().map(Tensor::shape))
            .map_err(|what| self.wrong("pull_back", what))?;
        Ok(pulled)
    }
}

/// `Err` with what is wrong, unless there is one tensor for each shape, and of it.
fn all_shaped<'s>(
    one: &str,
    many: &str,
    tensors: &[Tensor],
    wanted: impl ExactSizeIterator<Item = &'s [usize]>,
) -> std::result::Result<(), String> {
    if tensors.len() != wanted.len() {
        return Err(format!("{} {many} instead of {}", tensors.len(), wanted.len()));
    }
    tensors.iter().zip(wanted).try_for_each(|(tensor, shape)| shaped(one, tensor, shape))
}
