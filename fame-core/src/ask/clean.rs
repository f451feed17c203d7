//! Clean outputs: what the aimed layers give for the pictures of a sample as they are.

use super::Aim;
use crate::{Error, Result, Sample, Tensor, contract::Known};

impl Aim<'_> {
    /// Clean outputs of the target layers for each picture of `sample`, in the order of its roles.
    /// A sample may have hundreds of pictures: as many at once go through the network as it
    /// prefers, and those that are remembered do not.
    pub(super) fn clean_outputs(&self, sample: &Sample) -> Result<Vec<Vec<Tensor>>> {
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
pub(super) struct CleanOutputs {
    /// The picture that is held apart, by its place among the roles.
    at: usize,
    /// Its outputs, one for each target layer.
    pub(super) own: Vec<Tensor>,
    /// Those of all others, one picture after the other.
    pub(super) others: Vec<Tensor>,
}

impl CleanOutputs {
    /// Holds the first of `all` apart.
    pub(super) fn new(all: Vec<Vec<Tensor>>) -> Self {
        let mut all = all.into_iter();
        let own = all.next().unwrap_or_default();
        Self { at: 0, own, others: all.flatten().collect() }
    }

    /// Holds the picture `role` apart.
    pub(super) fn turn_to(&mut self, role: usize) {
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
    pub(super) fn other(&self, role: usize) -> &[Tensor] {
        let (block, layers) = (if role < self.at { role } else { role - 1 }, self.own.len());
        &self.others[block * layers..(block + 1) * layers]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        GradientPlace, Layer, LayerChoice, LayerChoices, Model,
        contract::{
            Bias, Evaluation, Loss, Network, Pass, Reference, Remembered, Taps, Target,
            TargetRequest,
        },
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
        next.pictures[0].1.pixels.data_mut().iter_mut().for_each(|v| *v *= 0.5);
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
