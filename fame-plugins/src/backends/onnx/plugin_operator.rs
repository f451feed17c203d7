//! Operators of plugins as host operators: the bridge from the contract to the engines.

use std::sync::Arc;

use fame_core::contract::{self, Operator, Operators};
use fame_core::{Error, Result, Tensor};

use super::host_operator::{Attribute, Attributes, HostOperator, HostOperatorKind};

/// The operators that a model is loaded with, as the import looks them up.
pub(in crate::backends) fn host_operators(operators: &Operators) -> Vec<HostOperatorKind> {
    operators
        .iter()
        .filter_map(|(_, id)| {
            let (_, operator) = operators.find(&id.domain, &id.op_type, *id.opsets.start())?;
            Some(HostOperatorKind {
                domain: id.domain.clone(),
                op_type: id.op_type.clone(),
                opsets: id.opsets.clone(),
                build: Arc::new(move |attributes| {
                    let (operator, attributes) = (operator.clone(), plain(attributes));
                    Ok(Arc::new(PluginOperator { operator, attributes }))
                }),
            })
        })
        .collect()
}

fn plain(attributes: &Attributes) -> contract::Attributes {
    let value = |attribute: &Attribute| match attribute {
        Attribute::Int(value) => contract::Attribute::Int(*value),
        Attribute::Float(value) => contract::Attribute::Float(*value),
        Attribute::Text(value) => contract::Attribute::Text(value.clone()),
        Attribute::Ints(values) => contract::Attribute::Ints(values.clone()),
        Attribute::Floats(values) => contract::Attribute::Floats(values.clone()),
        Attribute::Tensor(tensor) => contract::Attribute::Tensor(tensor.clone()),
    };
    attributes.iter().map(|(name, attribute)| (name.clone(), value(attribute))).collect()
}

/// A plugin's operator with the attributes of one node.
struct PluginOperator {
    operator: Arc<dyn Operator>,
    attributes: contract::Attributes,
}

impl PluginOperator {
    /// The only one of `all`: a node with several outputs has no place in the engines yet.
    fn only<T>(&self, all: Vec<T>) -> Result<T> {
        let count = all.len();
        match <[T; 1]>::try_from(all) {
            Ok([one]) => Ok(one),
            Err(_) => {
                let id = self.operator.serves();
                let message = format!("the operator {id} has {count} outputs; one is supported.");
                Err(Error::new("fame::operator::outputs", message)
                    .with_help("Write the operator as several operators of one output each."))
            }
        }
    }
}

impl HostOperator for PluginOperator {
    fn shape(&self, inputs: &[Vec<usize>]) -> Result<Vec<usize>> {
        self.only(self.operator.output_shapes(&self.attributes, inputs)?)
    }

    fn forward(&self, inputs: &[Tensor]) -> Result<Tensor> {
        self.only(self.operator.forward(&self.attributes, inputs)?)
    }

    /// Refused as a whole when the plugin refuses the first input: the engines know one answer for
    /// a node.
    fn is_differentiable(&self) -> bool {
        self.operator.check_gradient(&self.attributes, 0).is_ok()
    }

    fn pull_back(
        &self,
        inputs: &[Tensor],
        output: &Tensor,
        cotangent: &Tensor,
    ) -> Result<Vec<Option<Tensor>>> {
        let (outputs, cotangents) = ([output.clone()], [cotangent.clone()]);
        let pulled = self.operator.pull_back(&self.attributes, inputs, &outputs, &cotangents)?;
        Ok(pulled.into_iter().map(Some).collect())
    }
}
