//! Aiming: from "this loss at this layer" to rows with frozen targets, the same for every
//! explainer.
//!
//! An explainer that asks "what moves this scalar?" needs the same four things: the target layers
//! by name, the clean outputs of every picture, the loss's targets made from them, and for each
//! later forward pass the loss's value with seeds to pull back. [`Aim`] is these four, so that
//! FAME, a CAM and integrated gradients mean exactly the same thing by the same loss.

use crate::{
    Error, Layer, LayerChoices, MapId, Model, Result, Sample, Tensor,
    contract::{
        Evaluation, Known, LayerCotangent, Loss, OutputForm, Pass, Reference, Taps, Target,
        TargetRequest, form_of,
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
        let outputs = self.layers.iter().map(|l| pass.output(l)).collect::<Result<Vec<_>>>()?;
        let evaluation = self.loss.evaluate(&outputs, targets)?;
        check_evaluation(&evaluation, &outputs)?;
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

    /// Clean outputs of the target layers for each picture of `sample`, in the order of its roles.
    /// A sample may have hundreds of pictures: as many at once go through the network as it
    /// prefers, and those that are remembered do not.
    fn clean_outputs(&self, sample: &Sample) -> Result<Vec<Vec<Tensor>>> {
        let rows = self.model.network.preferred_rows().max(1);
        // The pictures of larger samples are those of the next sample too, all but one.
        let recur = sample.pictures.len() > OWN_PICTURES;
        let mut clean: Vec<Vec<Tensor>> = vec![Vec::new(); sample.pictures.len()];
        let mut waiting: Vec<Waiting> = Vec::new();
        for (at, role) in sample.roles().enumerate() {
            let input = self.input(sample, role)?;
            let known = recur.then(|| Known::of(&self.layers, &input));
            match known.as_ref().and_then(|known| self.model.remembered.get(known)) {
                Some(answer) => clean[at] = answer,
                None => waiting.push(Waiting { at, known, input }),
            }
            if waiting.len() == rows {
                self.answer(sample, std::mem::take(&mut waiting), &mut clean)?;
            }
        }
        self.answer(sample, waiting, &mut clean)?;
        Ok(clean)
    }

    /// Puts the network's answers to what is `waiting` into `clean`, and remembers those that may
    /// be asked for again.
    fn answer(
        &self,
        sample: &Sample,
        waiting: Vec<Waiting>,
        clean: &mut [Vec<Tensor>],
    ) -> Result<()> {
        if waiting.is_empty() {
            return Ok(());
        }
        let inputs: Vec<Tensor> = waiting.iter().map(|waiting| waiting.input.clone()).collect();
        let pass = self.model.network.forward(&Tensor::stack(&inputs)?, &self.taps())?;
        let outputs = self.layers.iter().map(|l| pass.output(l)).collect::<Result<Vec<_>>>()?;
        let mut named = self.layers.iter().zip(&outputs);
        if let Some((layer, _)) = named.find(|(_, output)| !output.is_finite()) {
            let message = format!(
                "layer `{layer}` is NaN or infinite on the clean picture of sample `{}`.",
                sample.id
            );
            return Err(Error::new("fame::explain::not_finite", message)
                .with_help("The model or its input convention (mean, std, channel order) is broken: see the manifest."));
        }
        for (row, Waiting { at, known, .. }) in waiting.into_iter().enumerate() {
            let answer: Vec<Tensor> = outputs.iter().map(|o| o.row_tensor(row)).collect();
            if let Some(known) = known {
                self.model.remembered.put(known, &answer);
            }
            clean[at] = answer;
        }
        Ok(())
    }
}

/// Up to so many pictures, all of a sample's are its own, or as good as.
const OWN_PICTURES: usize = 2;

/// A picture that has to go through the network.
struct Waiting {
    /// Its place among the roles.
    at: usize,
    /// By what it is remembered, if it is to be.
    known: Option<Known>,
    input: Tensor,
}

/// The clean outputs of a sample's pictures: those of one picture, and those of all others in their
/// order, which are moved and never copied from one role to the next.
struct CleanOutputs {
    /// The picture that is held apart, by its place among the roles.
    at: usize,
    /// Its outputs, one for each target layer.
    own: Vec<Tensor>,
    /// Those of all others, one picture after the other.
    others: Vec<Tensor>,
}

impl CleanOutputs {
    /// Holds the first of `all` apart.
    fn new(all: Vec<Vec<Tensor>>) -> Self {
        let mut all = all.into_iter();
        let own = all.next().unwrap_or_default();
        Self { at: 0, own, others: all.flatten().collect() }
    }

    /// Holds the picture `role` apart.
    fn turn_to(&mut self, role: usize) {
        // Neighbours change places: the one that was apart comes to where the other one was.
        while self.at < role {
            self.swap_with(self.at);
            self.at += 1;
        }
        while self.at > role {
            self.at -= 1;
            self.swap_with(self.at);
        }
    }

    fn swap_with(&mut self, block: usize) {
        let layers = self.own.len();
        self.own.swap_with_slice(&mut self.others[block * layers..(block + 1) * layers]);
    }

    /// The outputs of the picture `role`, which is not the one that is held apart.
    fn other(&self, role: usize) -> &[Tensor] {
        let (block, layers) = (if role < self.at { role } else { role - 1 }, self.own.len());
        &self.others[block * layers..(block + 1) * layers]
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        GradientPlace, LayerChoice,
        contract::{Bias, Network, Remembered},
        testkit,
    };

    /// Remembers what it was measured against.
    struct AgainstAll;

    impl Loss for AgainstAll {
        fn reference(&self) -> Reference {
            Reference::EveryOtherRole
        }

        fn targets(&self, about: &TargetRequest<'_>) -> Result<Vec<Target>> {
            let values = about.reference.iter().flat_map(Tensor::data).copied().collect();
            Ok(vec![Target { values, ..Target::unnamed() }])
        }

        fn evaluate(&self, _: &[Tensor], _: &[&Target]) -> Result<Evaluation> {
            Err(Error::bug("nothing is walked here."))
        }
    }

    #[test]
    fn a_loss_sees_the_clean_outputs_of_all_other_pictures_in_their_order() {
        let model = testkit::model().unwrap();
        let sample = testkit::sample("s", &["one", "two", "three"], testkit::SIZE).unwrap();
        let layers = ["features", "logits"].map(|name| LayerChoice::Named(name.to_owned()));
        let aim = Aim::new(&model, &LayerChoices(layers.to_vec()), &AgainstAll).unwrap();
        let rows = aim.rows(&sample, None).unwrap();
        let clean = aim.clean_outputs(&sample).unwrap();
        let against = |others: [usize; 2]| -> Vec<f32> {
            let outputs = others.iter().flat_map(|role| &clean[*role]);
            outputs.flat_map(Tensor::data).copied().collect()
        };
        for (row, others) in rows.iter().zip([[1, 2], [0, 2], [0, 1]]) {
            assert_eq!(row.target.values, against(others), "{}", row.id.role);
        }
        assert_eq!(rows.len(), 3);
        // Whatever order the roles are asked in.
        let backwards = ["three", "one", "two"].map(str::to_owned);
        let rows = aim.rows(&sample, Some(&backwards)).unwrap();
        for (row, others) in rows.iter().zip([[0, 1], [1, 2], [0, 2]]) {
            assert_eq!(row.target.values, against(others), "{}", row.id.role);
        }
    }

    #[test]
    fn the_other_picture_is_found_from_either_side() {
        let all = |n: u8| (0..n).map(|i| vec![Tensor::filled([1], f32::from(i)); 2]).collect();
        let mut clean = CleanOutputs::new(all(4));
        for apart in [0, 3, 1, 1, 2, 0] {
            clean.turn_to(apart);
            assert_eq!(clean.own[1].data(), [apart as f32]);
            for role in (0..4).filter(|role| *role != apart) {
                let other = clean.other(role);
                assert_eq!((other.len(), other[0].data()), (2, [role as f32].as_slice()));
            }
        }
    }

    /// Counts the rows of every batch.
    struct Counting {
        inner: Box<dyn Network>,
        batches: std::sync::Arc<std::sync::Mutex<Vec<usize>>>,
    }

    impl Network for Counting {
        fn input_shape(&self) -> &[usize] {
            self.inner.input_shape()
        }

        fn layers(&self) -> &[Layer] {
            self.inner.layers()
        }

        fn check_gradient(&self, layer: &str, to: &GradientPlace) -> Result<()> {
            self.inner.check_gradient(layer, to)
        }

        fn preferred_rows(&self) -> usize {
            2
        }

        fn notes(&self) -> &[String] {
            self.inner.notes()
        }

        fn forward<'n>(&'n self, batch: &Tensor, taps: &Taps) -> Result<Box<dyn Pass + 'n>> {
            self.batches.lock().unwrap().push(batch.rows());
            self.inner.forward(batch, taps)
        }

        fn forward_from<'n>(
            &'n self,
            layer: &str,
            value: &Tensor,
            batch: &Tensor,
            taps: &Taps,
        ) -> Result<Box<dyn Pass + 'n>> {
            self.inner.forward_from(layer, value, batch, taps)
        }

        fn biases(&self) -> Result<Vec<Bias>> {
            self.inner.biases()
        }
    }

    #[test]
    fn many_pictures_go_through_the_network_a_few_at_a_time() {
        let sample = testkit::sample("s", &["a", "b", "c", "d", "e"], testkit::SIZE).unwrap();
        let layers = LayerChoices(vec![LayerChoice::Named("features".into())]);
        let model = testkit::model().unwrap();
        let whole = Aim::new(&model, &layers, &AgainstAll).unwrap().clean_outputs(&sample).unwrap();
        let batches = std::sync::Arc::default();
        let network = Counting { inner: model.network, batches: std::sync::Arc::clone(&batches) };
        let remembered = Remembered::default();
        let model = Model { network: Box::new(network), remembered, ..model };
        let aim = Aim::new(&model, &layers, &AgainstAll).unwrap();
        assert_eq!(aim.clean_outputs(&sample).unwrap(), whole);
        assert_eq!(*batches.lock().unwrap(), [2, 2, 1]);
        // The next sample shares all pictures but one, and is answered the same without them.
        let mut next = sample.clone();
        next.pictures[0].1.pixels.data_mut().iter_mut().for_each(|v| *v = 0.5 * *v);
        let answered = aim.clean_outputs(&next).unwrap();
        assert_eq!(answered[1..], whole[1..]);
        assert_ne!(answered[0], whole[0]);
        assert_eq!(*batches.lock().unwrap(), [2, 2, 1, 1]);
        // A pair's pictures are its own.
        let pair = testkit::sample("p", &["a", "b"], testkit::SIZE).unwrap();
        for _ in 0..2 {
            aim.clean_outputs(&pair).unwrap();
        }
        assert_eq!(*batches.lock().unwrap(), [2, 2, 1, 1, 2, 2]);
    }
}
