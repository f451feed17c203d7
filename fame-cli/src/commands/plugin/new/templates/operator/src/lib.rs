//! `Scaffold`: an operator of ONNX that no engine knows, forwards and backwards.

use fame_core::{
    Error, Result, Tensor,
    contract::{Attributes, Operator, OperatorId},
    registry::{BuildContext, Assembly, Plugin},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

// Makes the shared library loadable; in a program that links this crate it does nothing.
fame_core::export_plugin!();

/// Serves the nodes `Scaffold` of the ONNX domain `scaffold-crate`: y = c · tanh(x / c), a soft bound
/// on scores. Its derivative is 1 − (y / c)². The node's attribute `cap` is c, above 0; 30 where
/// it is left out.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scaffold {}

/// The bound of a node without the attribute.
const CAP: f32 = 30.0;

impl Plugin<dyn Operator> for Scaffold {
    const NAME: &'static str = "Scaffold";
    const SUMMARY: &'static str = "The operator scaffold-crate.Scaffold: a soft bound";
    // No recipe names an operator: it is there when the plugin is, and its parameters, if it has
    // any, need defaults.
    const EXAMPLE: &'static str = "Scaffold()";

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn Operator>> {
        Some(Box::new(self))
    }
}

fame_core::register!(Operator: Scaffold);

/// The bound that a node asks for.
fn cap(attributes: &Attributes) -> Result<f32> {
    let cap = attributes.float("cap", CAP)?;
    if cap.is_finite() && cap > 0.0 {
        return Ok(cap);
    }
    Err(Error::new("scaffold_crate::cap", format!("`cap` is {cap}; it must be above 0.")))
}

impl Operator for Scaffold {
    // Which nodes: domain and type, in every version of the domain.
    fn serves(&self) -> OperatorId {
        OperatorId::new("scaffold-crate", "Scaffold")
    }

    // Asked while the model is loaded: what is wrong with a node is said here.
    fn output_shapes(
        &self,
        attributes: &Attributes,
        inputs: &[Vec<usize>],
    ) -> Result<Vec<Vec<usize>>> {
        cap(attributes)?;
        match inputs {
            [x] => Ok(vec![x.clone()]),
            other => {
                let message = format!("it takes one input, not {}.", other.len());
                Err(Error::new("scaffold_crate::inputs", message))
            }
        }
    }

    fn forward(&self, attributes: &Attributes, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let c = cap(attributes)?;
        let mut y = inputs[0].clone();
        y.data_mut().iter_mut().for_each(|x| *x = c * (*x / c).tanh());
        Ok(vec![y])
    }

    // From cotangents of the outputs to those of the inputs: ȳ · ∂y/∂x.
    fn pull_back(
        &self,
        attributes: &Attributes,
        _: &[Tensor],
        outputs: &[Tensor],
        cotangents: &[Tensor],
    ) -> Result<Vec<Tensor>> {
        let c = cap(attributes)?;
        let mut pulled = cotangents[0].clone();
        for (cotangent, y) in pulled.data_mut().iter_mut().zip(outputs[0].data()) {
            *cotangent *= 1.0 - (y / c) * (y / c);
        }
        Ok(vec![pulled])
    }
}
