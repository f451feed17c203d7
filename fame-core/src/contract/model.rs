//! A model in memory: its manifest, its network, and the layers that recipes name.

use std::path::PathBuf;

use super::output::{OutputForm, form_of, logits_of};
use crate::{
    Error, ErrorKind, Layer, Result,
    contract::{Backend, LoadRequest, Network, Operators, Remembered, layout_of},
    data::{Layout, require_memory},
    store::ModelManifest,
    text::{LayerChoice, suggestion},
};

/// The largest mean or deviation of pixels in 0..=1 that anybody uses on purpose: 0.5 and 1 are
/// usual, and what counts 0 to 255 is far above.
const LARGEST_USUAL: f32 = 4.0;

/// A loaded model with its manifest.
pub struct Model {
    /// Input convention, aliases, labels, licence.
    pub manifest: ModelManifest,
    /// The network.
    pub network: Box<dyn Network>,
    /// The file it was loaded from.
    pub file: PathBuf,
    /// SHA-256 of that file, hexadecimal.
    pub sha256: String,
    /// Class names in index order; empty when unknown.
    pub labels: Vec<String>,
    /// The operators of plugins that it was loaded with.
    pub operators: Operators,
    /// What it has answered of pictures that many samples share.
    pub remembered: Remembered,
}

/// The error about a tensor of a network that is none of its layers, and why.
fn no_layer(tensor: &str, model: &str, why: &str) -> Error {
    let text = format!("the tensor `{tensor}` of model `{model}` is no layer: {why}.");
    Error::new("fame::layer::none", text).with_help(format!(
        "Choose a layer in front of it. `fame-cli inspect {model}` lists all layers."
    ))
}

/// Refuses an alias that names no layer.
fn check_aliases(manifest: &ModelManifest, network: &dyn Network) -> Result<()> {
    let names: Vec<&str> = network.layers().iter().map(|l| l.name.as_str()).collect();
    let Some((alias, tensor)) = manifest.layers.iter().find(|(_, t)| !names.contains(&t.as_str()))
    else {
        return Ok(());
    };
    if let Some(why) = network.why_no_layer(tensor) {
        let text = format!("manifest `{}` calls it `{alias}`", manifest.name);
        return Err(no_layer(tensor, &manifest.name, &why).at(text));
    }
    let text = format!(
        "manifest `{}` calls the tensor `{tensor}` by the name `{alias}`, but the network has no layer `{tensor}`.",
        manifest.name
    );
    let mut error = Error::new("fame::model::alias", text);
    let all = "`layers` in the manifest maps names for recipes to tensors of the file.";
    error.help = suggestion(tensor, &names, "layer").or_else(|| Some(all.to_owned()));
    Err(error)
}

impl Model {
    /// The same model with another network in the place of its own, which counts or stops what that
    /// one does, say. It remembers nothing yet.
    #[must_use]
    pub fn with_network(&self, network: Box<dyn Network>) -> Self {
        Self {
            manifest: self.manifest.clone(),
            network,
            file: self.file.clone(),
            sha256: self.sha256.clone(),
            labels: self.labels.clone(),
            operators: self.operators.clone(),
            remembered: Remembered::default(),
        }
    }

    /// Loads `file` with `backend` and checks it against the manifest.
    ///
    /// # Errors
    /// What the backend says, a manifest whose input does not fit the network, or a layer that
    /// would fill the memory.
    pub fn load(
        manifest: ModelManifest,
        file: PathBuf,
        sha256: String,
        labels: Vec<String>,
        backend: &dyn Backend,
    ) -> Result<Self> {
        Self::load_with(manifest, file, sha256, labels, backend, Operators::default())
    }

    /// [`Model::load`], with operators of plugins.
    ///
    /// # Errors
    /// As [`Model::load`].
    pub fn load_with(
        manifest: ModelManifest,
        file: PathBuf,
        sha256: String,
        labels: Vec<String>,
        backend: &dyn Backend,
        operators: Operators,
    ) -> Result<Self> {
        let input = &manifest.input;
        let shape = vec![input.channels, input.height, input.width];
        let request = LoadRequest::new(&file)
            .with_input_shape(shape.clone())
            .with_inputs(manifest.layout, manifest.located_inputs())
            .with_operators(operators.clone());
        let network = backend.load(&request)?;
        if network.input_shape() != shape {
            return Err(Error::new(
                "fame::model::input_mismatch",
                format!(
                    "manifest `{}` says the input is {shape:?}, but `{}` takes {:?}.",
                    manifest.name,
                    file.display(),
                    network.input_shape()
                ),
            )
            .with_help("Correct `input.size` in the manifest: (channels, height, width)."));
        }
        check_sizes(network.layers()).map_err(|e| e.at(format!("`{}`", file.display())))?;
        check_aliases(&manifest, network.as_ref())?;
        let remembered = Remembered::default();
        Ok(Self { manifest, network, file, sha256, labels, operators, remembered })
    }

    /// The request that loads the same network once more: for a second backend, or with other
    /// weights.
    pub fn load_request(&self) -> LoadRequest {
        LoadRequest::new(&self.file)
            .with_input_shape(self.network.input_shape())
            .with_inputs(self.manifest.layout, self.manifest.located_inputs())
            .with_operators(self.operators.clone())
    }

    /// What is odd about its manifest, one sentence each, for whoever reads the results: it may be
    /// meant so, but usually is not.
    pub fn doubts(&self) -> Vec<String> {
        let input = &self.manifest.input;
        let far = |values: &[f32]| values.iter().copied().find(|v| v.abs() > LARGEST_USUAL);
        let in_pixels = [("mean", &input.mean), ("std", &input.std)].into_iter().find_map(
            |(name, values)| {
                far(values).map(|v| {
                    format!(
                        "`{name}` {v} seems to count pixels from 0 to 255, but they are 0 to 1 here: divide it by 255."
                    )
                })
            },
        );
        let outputs = || self.network.layers().iter().filter(|layer| layer.is_output);
        // Of rows of boxes, or of classes for each pixel, no product of extents is a number of
        // classes.
        let are_vectors = outputs().all(|layer| layer.shape.iter().filter(|n| **n > 1).count() < 2);
        let sizes: Vec<usize> =
            outputs().filter(|_| are_vectors).map(|layer| layer.shape.iter().product()).collect();
        let labels = self.labels.len();
        let miscounted = (labels > 0 && !sizes.is_empty() && !sizes.contains(&labels)).then(|| {
            let sizes: Vec<String> = sizes.iter().map(usize::to_string).collect();
            format!(
                "the manifest has {labels} labels, but the network gives {} numbers: names may stand beside other classes.",
                sizes.join(" and ")
            )
        });
        in_pixels.into_iter().chain(miscounted).collect()
    }

    /// The outputs that depend on the input, each with what it is.
    pub fn outputs(&self) -> impl Iterator<Item = (&str, OutputForm)> {
        let layers = self.network.layers();
        let shown = layers.iter().filter(|l| l.is_output && l.depends_on_input);
        shown.map(|l| (l.name.as_str(), form_of(l, layers)))
    }

    /// How `layer` lays out its channels, if it is a feature map and its graph or the proportions
    /// of the picture tell ([`layout_of`]).
    pub fn layout(&self, layer: &Layer) -> Option<Layout> {
        let input = &self.manifest.input;
        layout_of(layer, self.network.layers(), (input.height, input.width))
    }

    /// The layer a recipe means. The rule `Output` means the scores before a softmax or a sigmoid,
    /// where the network ends in one.
    ///
    /// # Errors
    /// An unknown name, with the nearest ones; a rule that fits no layer.
    pub fn layer(&self, choice: &LayerChoice) -> Result<&Layer> {
        let layers = self.network.layers();
        let by_rule = |rule: &str, found: Option<&'_ Layer>| -> Result<String> {
            found.map(|l| l.name.clone()).ok_or_else(|| {
                Error::new(
                    "fame::layer::rule",
                    format!("no layer of model `{}` fits the rule {rule}.", self.manifest.name),
                )
                .with_help(format!(
                    "`fame-cli inspect {}` lists its layers; name one.",
                    self.manifest.name
                ))
            })
        };
        let spatial = |l: &&Layer| {
            l.depends_on_input
                && l.op != "Input"
                && l.shape.len() == 3
                && l.shape[1] > 1
                && l.shape[2] > 1
        };
        let name = match choice {
            LayerChoice::Named(name) => self.manifest.layers.get(name).unwrap_or(name).clone(),
            LayerChoice::LastConv => {
                by_rule("LastConv", layers.iter().rfind(|l| l.op == "Conv" && spatial(l)))?
            }
            LayerChoice::BeforePooling => {
                self.not_tokens_only(layers, spatial)?;
                by_rule("BeforePooling", layers.iter().rfind(spatial))?
            }
            LayerChoice::Output => {
                let output = layers.iter().find(|l| l.is_output);
                // A score that a softmax has squeezed hides how sure the network is: what is meant
                // is the score before.
                by_rule("Output", output.map(|l| logits_of(l, layers).unwrap_or(l)))?
            }
        };
        layers.iter().find(|l| l.name == name).ok_or_else(|| self.unknown_layer(&name))
    }

    /// Refuses a network that never leaves its tokens again: there is nothing spatial before its
    /// pooling, and what looks so (attention over T × T tokens, heads) is not. Its last tokens
    /// would not do either, since of them the output reads the class token only.
    fn not_tokens_only(&self, layers: &[Layer], spatial: impl Fn(&&Layer) -> bool) -> Result<()> {
        let attention = |l: &Layer| {
            l.depends_on_input
                && l.op == "Softmax"
                && matches!(*l.shape, [_, t, u] if t == u && t > 1)
        };
        let Some(last) = layers.iter().rposition(attention) else { return Ok(()) };
        let tokens = layers[last].shape[1];
        let (before, after) = layers.split_at(last);
        if after
            .iter()
            .any(|l| spatial(&l) && (l.op == "Conv" || l.shape[1] * l.shape[2] == tokens))
        {
            return Ok(());
        }
        let text = format!(
            "model `{}` ends in tokens, not in a layer with spatial extent, so the rule BeforePooling fits none.",
            self.manifest.name
        );
        // What the last attention reads: later tokens hardly reach the output.
        let grid =
            |l: &&Layer| l.depends_on_input && matches!(*l.shape, [t, c] if t == tokens && c > 1);
        let read = before
            .iter()
            .rfind(|l| l.op == "LayerNormalization" && grid(l))
            .or_else(|| before.iter().rfind(|l| l.op == "Add" && grid(l)));
        let help = read.map_or(String::new(), |l| {
            format!("Name what the last attention reads: {:?} is a good choice. ", l.name)
        });
        Err(Error::new("fame::layer::tokens", text).with_help(format!(
            "{help}`fame-cli inspect {}` lists all layers.",
            self.manifest.name
        )))
    }

    fn unknown_layer(&self, name: &str) -> Error {
        if let Some(why) = self.network.why_no_layer(name) {
            return no_layer(name, &self.manifest.name, &why);
        }
        let aliases = self.manifest.layers.keys().map(String::as_str);
        let known: Vec<&str> =
            aliases.chain(self.network.layers().iter().map(|l| l.name.as_str())).collect();
        let near = crate::text::nearest(name, known.iter().copied());
        let help = match near {
            Some(_) => suggestion(name, &known, "layer"),
            None => Some(format!(
                "`fame-cli inspect {}` lists all {} layers.",
                self.manifest.name,
                self.network.layers().len()
            )),
        };
        let mut error = Error::new(
            "fame::layer::unknown",
            format!("model `{}` has no layer called `{name}`.", self.manifest.name),
        );
        error.help = help;
        error.of_kind(ErrorKind::WrongRequest)
    }
}

/// The most bytes that one layer may take for one sample: tens of times what the largest layers of
/// published networks take at their own sizes. A file of a kilobyte can ask for any number.
const LARGEST_LAYER: usize = 1 << 30;

/// Refuses a network with a layer that would fill the memory, before anything is run.
fn check_sizes(layers: &[Layer]) -> Result<()> {
    let bytes =
        |layer: &Layer| layer.shape.iter().fold(size_of::<f32>(), |n, d| n.saturating_mul(*d));
    let Some(layer) = layers.iter().find(|layer| bytes(layer) > LARGEST_LAYER) else {
        let largest = layers.iter().max_by_key(|layer| bytes(layer));
        return largest.map_or(Ok(()), |layer| {
            let what = format!("layer `{}` of shape {:?}", layer.name, layer.shape);
            require_memory(what, bytes(layer) as u64)
        });
    };
    let message = format!(
        "layer `{}` would need {:.1} GB for one picture: its shape is {:?}.",
        layer.name,
        bytes(layer) as f64 / 1e9,
        layer.shape
    );
    Err(Error::new("fame::model::too_large", message)
        .with_help("Give a smaller `input.size` in the manifest, or export the model without it."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_that_would_fill_the_memory_is_refused() {
        let layer = |name: &str, shape: &[usize]| Layer {
            name: name.into(),
            op: "Pad".into(),
            shape: shape.to_vec(),
            is_output: false,
            depends_on_input: true,
            reads: Vec::new(),
        };
        // The first block of VGG at 1024 × 1024 pixels.
        assert!(check_sizes(&[layer("a", &[64, 1024, 1024])]).is_ok());
        let error = check_sizes(&[layer("a", &[3]), layer("b", &[3, 49000, 49000])]).unwrap_err();
        assert_eq!(
            error.message,
            "layer `b` would need 28.8 GB for one picture: its shape is [3, 49000, 49000]."
        );
        assert!(check_sizes(&[layer("c", &[usize::MAX, 2])]).is_err());
    }
}
