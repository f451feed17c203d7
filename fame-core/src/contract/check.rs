//! Checks: what looks over the first backend's shoulder after every explanation.
//!
//! A wrong kernel, a wrong memory layout or a bad GPU gives maps that look like any other map. A
//! check recomputes what an explanation rests on ([`Explanation::witnesses`]) and says how far that
//! is from what the explainer saw. The recipe's field `check` names one.

use std::borrow::Cow;

use crate::{
    Error, Explanation, Model, Picture, Result, Sample, Taps, Tensor, Witness,
    data::{Facts, Value},
};

/// A check of explanations, with its parameters.
pub trait Check: Send + Sync {
    /// Whether the check can run on this machine.
    ///
    /// # Errors
    /// One sentence saying why not and what would help.
    fn can_run(&self) -> Result<()>;

    /// What a reader of "agrees" must know where a recipe explains with `backend`, its
    /// [record](crate::registry::Built::record): that the check is no second opinion, say. Each is
    /// the rest of a sentence that begins with the check's name. Default: nothing.
    fn doubts(&self, backend: &Value) -> Vec<String> {
        let _ = backend;
        Vec::new()
    }

    /// Gets ready for explanations of `model`, once for a whole run.
    ///
    /// # Errors
    /// When the model cannot be loaded a second time.
    fn load<'c>(&'c self, model: &Model) -> Result<Box<dyn LoadedCheck + 'c>>;
}

/// A check that is ready for one model.
pub trait LoadedCheck {
    /// Compares what `explanation` rests on with what the check computes itself. `model` is the
    /// explained one, `sample` what was explained.
    ///
    /// # Errors
    /// When nothing could be compared: a network cannot be run, there is nothing to compare. A
    /// comparison that fails is no error but [`Finding::fault`].
    fn compare(&self, model: &Model, sample: &Sample, explanation: &Explanation)
    -> Result<Finding>;
}

/// The outcome of one comparison.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The largest difference that was met, relative to the size of what was compared; at least 0,
    /// NaN where a value is not finite.
    pub difference: f32,
    /// Why the explanation must not be trusted: the item fails with this error. `None` when both
    /// sides agree.
    pub fault: Option<Error>,
    /// What else belongs into the record, such as the tolerance and the place of the largest
    /// difference. `difference` and `verdict` are added to it.
    pub facts: Facts,
}

/// What `explanation` rests on: its own witnesses; where its explainer left none, the clean
/// pictures of `sample` with what `model` gives for them at its outputs.
///
/// # Errors
/// When the model cannot be run.
pub fn witnesses<'e>(
    model: &Model,
    sample: &Sample,
    explanation: &'e Explanation,
) -> Result<Cow<'e, [Witness]>> {
    if !explanation.witnesses.is_empty() {
        return Ok(Cow::Borrowed(&explanation.witnesses));
    }
    let layers = model.network.layers().iter().filter(|l| l.is_output && l.depends_on_input);
    let layers: Vec<String> = layers.map(|l| l.name.clone()).collect();
    let clean = |(role, picture): &(String, Picture)| {
        let input = model.manifest.input.to_input(&picture.pixels)?;
        let taps = Taps::of(layers.iter().cloned());
        let pass = model.network.forward(&Tensor::stack([&input])?, &taps)?;
        let outputs = layers
            .iter()
            .map(|layer| Ok((layer.clone(), pass.output(layer)?.row_tensor(0))))
            .collect::<Result<_>>()?;
        Ok(Witness { name: role.clone(), input, outputs })
    };
    sample.pictures.iter().map(clean).collect::<Result<_>>().map(Cow::Owned)
}
