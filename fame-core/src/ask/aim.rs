//! Aiming: from "this loss at this layer" to rows with frozen targets, the same for every
//! explainer.
//!
//! An explainer that asks "what moves this scalar?" needs the same four things: the target layers
//! by name, the clean outputs of every picture, the loss's targets made from them, and for each
//! later forward pass the loss's value with seeds to pull back. [`Aim`] is these four, so that
//! FAME, a CAM and integrated gradients mean exactly the same thing by the same loss.

use super::clean::CleanOutputs;
use crate::{
    Error, Layer, LayerChoices, MapId, Model, Result, Sample, Tensor,
    contract::{
        Evaluation, LayerCotangent, Loss, OutputForm, Pass, Reference, Taps, Target, TargetRequest,
        form_of,
    },
    data::{Value, facts},
};

/// A loss aimed at layers of a model.
pub struct Aim<'a> {
    /// The model.
    pub model: &'a Model,
    /// The target layers' names.
    pub layers: Vec<String>,
    /// The scalar.
    pub loss: &'a dyn Loss,
}

/// One thing to explain: a picture of a sample and a frozen target.
#[derive(Clone, Debug)]
pub struct AimedRow {
    /// The picture's role, and what a map of this row is about and claims.
    pub id: MapId,
    /// What its outputs are measured against.
    pub target: Target,
}

impl AimedRow {
    /// Its name, [`MapId::name`].
    pub fn name(&self) -> String {
        self.id.name()
    }
}

impl<'a> Aim<'a> {
    /// Resolves `layers`.
    ///
    /// # Errors
    /// An unknown layer, with the nearest names.
    pub fn new(model: &'a Model, layers: &LayerChoices, loss: &'a dyn Loss) -> Result<Self> {
        let layers = layers
            .0
            .iter()
            .map(|choice| model.layer(choice).map(|l| l.name.clone()))
            .collect::<Result<_>>()?;
        Ok(Self { model, layers, loss })
    }

    /// The rows of `sample`: every role of `roles` (all if `None`), every target of the loss.
    ///
    /// # Errors
    /// An unknown role, clean outputs that are not finite, or what the loss says.
    pub fn rows(&self, sample: &Sample, roles: Option<&[String]>) -> Result<Vec<AimedRow>> {
        let roles = chosen_roles(sample, roles)?;
        let at = |role: &str| sample.roles().position(|known| known == role).unwrap_or_default();
        let mut clean = CleanOutputs::new(self.clean_outputs(sample)?);
        let mut rows = Vec::new();
        for role in roles {
            clean.turn_to(at(&role));
            let reference: &[Tensor] = match self.loss.reference() {
                Reference::None => &[],
                Reference::OtherRole => clean.other(at(sample.other_role(&role)?)),
                Reference::EveryOtherRole => clean.others.as_slice(),
            };
            let input = &self.model.manifest.input;
            let about = TargetRequest {
                sample,
                role: &role,
                layers: &self.layers,
                clean: &clean.own,
                reference,
                input_size: (input.height, input.width),
                labels: &self.model.labels,
                holds_probabilities: self.holds_probabilities(),
                layout: self.first_layer().and_then(|layer| self.model.layout(layer)),
            };
            for target in self.loss.targets(&about)? {
                let id = MapId::new(&role)
                    .alone(sample.pictures.len() == 1)
                    .about(target.subject.clone())
                    .claiming(target.claim);
                rows.push(AimedRow { id, target });
            }
        }
        Ok(rows)
    }

    /// The network's input for the picture in `role`, `[C, H, W]`.
    ///
    /// # Errors
    /// When there is no such picture or it has the wrong size.
    pub fn input(&self, sample: &Sample, role: &str) -> Result<Tensor> {
        let picture = sample
            .picture(role)
            .ok_or_else(|| Error::bug(format!("sample `{}` has no role `{role}`.", sample.id)))?;
        self.model.manifest.input.to_input(&picture.pixels)
    }

    /// Whether the first target layer holds probabilities: a softmax or a sigmoid made them.
    pub fn holds_probabilities(&self) -> bool {
        let layers = self.model.network.layers();
        self.first_layer()
            .is_some_and(|l| matches!(form_of(l, layers), OutputForm::Probabilities { .. }))
    }

    fn first_layer(&self) -> Option<&Layer> {
        let layers = self.model.network.layers();
        layers.iter().find(|l| Some(&l.name) == self.layers.first())
    }

    /// What the target layers must be tapped for.
    pub fn taps(&self) -> Taps {
        Taps::of(self.layers.iter().cloned())
    }

    /// Value and cotangents of every row of `pass`; `targets[n]` belongs to row n.
    ///
    /// # Errors
    /// What the pass or the loss says, or a loss that returns the wrong shapes.
    pub fn evaluate(&self, pass: &dyn Pass, targets: &[&Target]) -> Result<Evaluation> {
        self.evaluate_outputs(&self.read(pass)?, targets)
    }

    /// The outputs of the target layers in `pass`, each `[N, …]`.
    pub(super) fn read(&self, pass: &dyn Pass) -> Result<Vec<Tensor>> {
        self.layers.iter().map(|layer| pass.output(layer)).collect()
    }

    /// Value and cotangents of every row of the target layers' `outputs`.
    pub(super) fn evaluate_outputs(
        &self,
        outputs: &[Tensor],
        targets: &[&Target],
    ) -> Result<Evaluation> {
        let evaluation = self.loss.evaluate(outputs, targets)?;
        check_evaluation(&evaluation, outputs)?;
        Ok(evaluation)
    }

    /// The cotangents of an evaluation as seeds for [`Pass::gradient`].
    pub fn layer_cotangents(&self, cotangents: Vec<Tensor>) -> Vec<LayerCotangent> {
        self.layers
            .iter()
            .zip(cotangents)
            .map(|(layer, cotangent)| LayerCotangent { layer: layer.clone(), cotangent })
            .collect()
    }

    /// Name, operator and shape of the target layers, for the record.
    pub fn layer_facts(&self) -> Value {
        let fact = |l: &Layer| {
            Value::Map(facts([
                ("name", l.name.as_str().into()),
                ("op", l.op.as_str().into()),
                ("shape", l.shape.clone().into()),
            ]))
        };
        let named =
            |name: &String| self.model.network.layers().iter().find(|l| l.name == *name).map(fact);
        Value::List(self.layers.iter().filter_map(named).collect())
    }
}

fn chosen_roles(sample: &Sample, roles: Option<&[String]>) -> Result<Vec<String>> {
    let known: Vec<&str> = sample.roles().collect();
    let Some(roles) = roles else { return Ok(known.into_iter().map(String::from).collect()) };
    if let Some(wrong) = roles.iter().find(|r| !known.contains(&r.as_str())) {
        let mut e = Error::new(
            "fame::explain::unknown_role",
            format!("sample `{}` has no picture in the role `{wrong}`.", sample.id),
        );
        e.help = crate::text::suggestion(wrong, &known, "role");
        return Err(e);
    }
    Ok(roles.to_vec())
}

fn check_evaluation(evaluation: &Evaluation, outputs: &[Tensor]) -> Result<()> {
    let rows = outputs.first().map_or(0, Tensor::rows);
    let Evaluation { values, cotangents } = evaluation;
    let shapes_fit = cotangents.len() == outputs.len()
        && cotangents.iter().zip(outputs).all(|(c, o)| c.shape() == o.shape());
    if values.len() == rows && shapes_fit {
        return Ok(());
    }
    let given: Vec<_> = cotangents.iter().map(Tensor::shape).collect();
    let wanted: Vec<_> = outputs.iter().map(Tensor::shape).collect();
    Err(Error::new(
        "fame::loss::wrong_shape",
        format!("the loss returned {} values and cotangents {given:?} for {rows} rows of outputs {wanted:?}.", values.len()),
    )
    .with_help("This is a bug in the loss: one value per row, and one cotangent per target layer in the shape of its output."))
}
