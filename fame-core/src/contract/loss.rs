//! Losses: the scalar whose descent is the explanation.
//!
//! A loss never meets a network. It sees the outputs of its target layers and answers with one
//! value per row and the derivative of that value with respect to those outputs (the *cotangent*);
//! the backend pulls the cotangent back to the pixels. So a loss is a few lines, needs no automatic
//! differentiation, and runs on every backend.
//!
//! What a loss is measured against (a class, a cell, a vector, another picture's embedding) is its
//! [`Target`]. Targets are made once per row, before the walk, from the *clean* outputs, and are
//! frozen: [`Loss::targets`] may return several, and each becomes a row and a map of its own (one
//! per feature-map cell, say).
//!
//! ```
//! use fame_core::{Result, Target, TargetRequest, Tensor, contract::{Evaluation, Loss, per_row}};
//!
//! /// Descends the mean of the target layer.
//! struct Mean;
//!
//! impl Loss for Mean {
//!     fn targets(&self, _about: &TargetRequest<'_>) -> Result<Vec<Target>> {
//!         Ok(vec![Target::unnamed()])
//!     }
//!     fn evaluate(&self, outputs: &[Tensor], targets: &[&Target]) -> Result<Evaluation> {
//!         per_row(outputs, targets, |outputs, _target, cotangents| {
//!             let n = outputs[0].len() as f32;
//!             cotangents[0].fill(1.0 / n);
//!             Ok(outputs[0].iter().sum::<f32>() / n)
//!         })
//!     }
//! }
//! ```

use crate::{
    Annotation, Claim, Error, Frame, Result, Sample, Subject, Tensor,
    data::{Facts, Layout},
};

/// A scalar to descend, per sample. See the [module docs](self).
pub trait Loss: Send + Sync {
    /// Whether targets need the clean output of the sample's other picture (face similarity does),
    /// or of all others (identification does).
    fn reference(&self) -> Reference {
        Reference::None
    }

    /// The targets of one picture, from its clean outputs: one row, and one map, each.
    ///
    /// # Errors
    /// One sentence saying what is missing or out of range ("class 1000, but `logits` has 1000
    /// classes").
    fn targets(&self, about: &TargetRequest<'_>) -> Result<Vec<Target>>;

    /// Value and cotangents for a batch. `outputs[i]` is `[N, …]` of the i-th target layer,
    /// `targets` has N entries.
    ///
    /// Rows must not influence one another, and nothing is summed or averaged over them;
    /// [`per_row`] makes that easy.
    fn evaluate(&self, outputs: &[Tensor], targets: &[&Target]) -> Result<Evaluation>;
}

/// Which other picture's clean output a loss is measured against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reference {
    /// None: the loss looks at one picture.
    None,
    /// The sample's other picture, frozen. Explaining the other side is the same loss with the
    /// roles swapped.
    OtherRole,
    /// All other pictures of the sample, frozen: a picture among many it is compared with.
    EveryOtherRole,
}

/// What [`Loss::targets`] may look at.
pub struct TargetRequest<'a> {
    /// The sample, with its label.
    pub sample: &'a Sample,
    /// Role of the picture that will be walked.
    pub role: &'a str,
    /// Names of the target layers.
    pub layers: &'a [String],
    /// Clean outputs of the target layers for this picture, per-sample shape.
    pub clean: &'a [Tensor],
    /// Clean outputs of the other picture if [`Loss::reference`] asked for it; or of all others,
    /// one picture after another in the order of the sample's roles, of each those of all target
    /// layers; else empty.
    pub reference: &'a [Tensor],
    /// Rows and columns of the network's input, for [`Target::frame`].
    pub input_size: (usize, usize),
    /// Class names in index order; may be empty.
    pub labels: &'a [String],
    /// Whether the first target layer holds probabilities already, not scores.
    pub holds_probabilities: bool,
    /// How the first target layer lays out its channels, where it is a feature map and that can be
    /// told ([`Model::layout`](super::Model::layout)).
    pub layout: Option<Layout>,
}

/// What one row is measured against. `values` means what the loss that made it says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Target {
    /// What it is about: a class, a cell, the match of two pictures. It tells the targets of a loss
    /// apart, and maps have it from here.
    pub subject: Subject,
    /// What descending the loss shows of the subject: the evidence for it, or against it. A loss
    /// that falls when the evidence goes claims [`Claim::For`], the default.
    pub claim: Claim,
    /// Class index, cell, vector: the loss's own encoding.
    pub values: Vec<f32>,
    /// The pixels it is about, if it is about a part of the picture.
    pub frame: Option<Frame>,
    /// Points and regions that show what it is about, such as a detection's box, in pixels of the
    /// prepared picture: for writers that draw them over the map.
    pub annotations: Vec<Annotation>,
    /// For the record.
    pub facts: Facts,
}

impl Target {
    /// The only target of a loss, with nothing to remember.
    pub fn unnamed() -> Self {
        Self::default()
    }
}

/// What a loss says about a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// One value per row.
    pub values: Vec<f32>,
    /// d(value of row n) / d(output), one tensor per target layer, shaped like that layer's output.
    pub cotangents: Vec<Tensor>,
}

/// Evaluates a loss row by row: `f(outputs of the row, its target, cotangents to fill) -> value`.
/// The slices are the row's values, row-major, one per target layer; cotangents start at zero.
pub fn per_row(
    outputs: &[Tensor],
    targets: &[&Target],
    mut f: impl FnMut(&[&[f32]], &Target, &mut [&mut [f32]]) -> Result<f32>,
) -> Result<Evaluation> {
    if let Some(odd) = outputs.iter().find(|o| o.rows() != targets.len()) {
        return Err(Error::bug(format!(
            "a loss got {} targets for {} rows of outputs.",
            targets.len(),
            odd.rows()
        )));
    }
    let mut cotangents: Vec<Tensor> = outputs.iter().map(|o| Tensor::zeros(o.shape())).collect();
    let mut values = Vec::with_capacity(targets.len());
    for (n, target) in targets.iter().enumerate() {
        let row: Vec<&[f32]> = outputs.iter().map(|o| o.row(n)).collect();
        let mut grads: Vec<&mut [f32]> = cotangents.iter_mut().map(|c| c.row_mut(n)).collect();
        values.push(f(&row, target, &mut grads)?);
    }
    Ok(Evaluation { values, cotangents })
}
