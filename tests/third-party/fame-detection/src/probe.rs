//! Asking a model what it detects: for explainers and metrics, which have a network at hand.

use fame_core::{LayerChoices, Model, Picture, Result, Taps, Tensor};

use crate::{
    detections::{Detections, Found},
    head::Layout,
};

/// Which detections, at which layers.
pub(crate) struct Probe {
    pub(crate) of: Detections,
    pub(crate) layer: LayerChoices,
}

/// What a clean picture answered.
pub(crate) struct Clean {
    pub(crate) found: Found,
    pub(crate) layout: Layout,
    tensors: Vec<Tensor>,
}

impl Clean {
    /// The target layers' values.
    pub(crate) fn outputs(&self) -> Vec<&[f32]> {
        self.tensors.iter().map(Tensor::data).collect()
    }
}

impl Probe {
    /// The layers' names.
    ///
    /// # Errors
    /// An unknown layer.
    pub(crate) fn names(&self, model: &Model) -> Result<Vec<String>> {
        self.layer.0.iter().map(|choice| model.layer(choice).map(|l| l.name.clone())).collect()
    }

    /// Fits the head to the model.
    ///
    /// # Errors
    /// An unknown layer, or layers of another shape.
    pub(crate) fn fit(&self, model: &Model) -> Result<Layout> {
        let layers = self.layer.0.iter().map(|choice| model.layer(choice)).collect::<Result<Vec<_>>>()?;
        let shapes: Vec<&[usize]> = layers.iter().map(|l| l.shape.as_slice()).collect();
        let input = &model.manifest.input;
        self.of.head.layout(&shapes, (input.height, input.width))
    }

    /// Detects on a clean picture.
    ///
    /// # Errors
    /// What the network or [`Detections::find`] says.
    pub(crate) fn ask(&self, model: &Model, picture: &Picture) -> Result<Clean> {
        let (layout, names) = (self.fit(model)?, self.names(model)?);
        let input = model.manifest.input.to_input(&picture.pixels)?;
        let pass = model.network.forward(&Tensor::stack([&input])?, &Taps::of(names.iter().cloned()))?;
        let tensors = names.iter().map(|name| Ok(pass.output(name)?.row_tensor(0))).collect::<Result<Vec<_>>>()?;
        let outputs: Vec<&[f32]> = tensors.iter().map(Tensor::data).collect();
        let found = self.of.find(&layout, &outputs, picture, &model.labels)?;
        Ok(Clean { found, layout, tensors })
    }
}
