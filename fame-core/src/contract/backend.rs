//! Backends: what runs a network and pulls gradients back through it.
//!
//! Four nouns, each owning the next:
//!
//! * [`Backend`] knows how to load a model file on this machine;
//! * [`Network`] is a loaded model: its named [`Layer`]s, and forward passes over batches;
//! * [`Pass`] is one forward pass that remembers enough to be differentiated: read any tapped
//!   layer's output, then pull any number of *cotangents* (derivatives of some scalar with respect
//!   to a layer's output) back to the input or to an inner layer;
//! * [`Tensor`] carries everything in and out.
//!
//! The split matters: a loss sees only a layer's output and answers with a value and a cotangent,
//! so it needs no automatic differentiation and runs on every backend. One forward with many
//! pull-backs is what FGGB needs (one per embedding dimension); a pull-back to an inner layer is
//! every CAM; outputs alone are the black-box methods.
//!
//! ```
//! use fame_core::{GradientPlace, LayerCotangent, Result, Taps, Tensor, contract::Network};
//!
//! /// d(sum of the embedding) / d(input) for one batch.
//! fn input_gradient(network: &dyn Network, batch: &Tensor) -> Result<Tensor> {
//!     let taps = Taps::of(["embedding"]).with_gradient(GradientPlace::Input);
//!     let pass = network.forward(batch, &taps)?;
//!     let embedding = pass.output("embedding")?;
//!     let ones = Tensor::filled(embedding.shape(), 1.0);
//!     let cotangent = LayerCotangent { layer: "embedding".into(), cotangent: ones };
//!     let mut gradients = pass.gradient(&[cotangent])?;
//!     Ok(gradients.remove(0))
//! }
//! ```

use std::{collections::BTreeMap, path::PathBuf};

use super::{DeviceRows, NodeTime, Operators, PlainStep, RelevanceRules};
use crate::{
    Error, Result, Tensor,
    data::{FixedInput, Layout},
};

/// Loads model files. One value of a backend is one set of options (device, threads, precision).
pub trait Backend: Send + Sync {
    /// Can this backend run on this machine with these options? If not, one sentence saying why and
    /// what would help.
    fn check(&self) -> Result<()>;

    /// Loads a model and learns its layers.
    ///
    /// # Errors
    /// One clear sentence naming the file: it is missing, is not ONNX, is cut short, holds an
    /// operator the backend cannot run, holds NaN weights, or its input cannot be given the asked
    /// shape.
    fn load(&self, request: &LoadRequest) -> Result<Box<dyn Network>>;

    /// Every file that loading reads, the model's own first: a file that keeps its weights in
    /// others names them. Their contents are part of the key of everything that is made with the
    /// model. Files that are not there are left out; [`Backend::load`] says what that means.
    ///
    /// # Errors
    /// When the file cannot be read.
    fn files(&self, request: &LoadRequest) -> Result<Vec<PathBuf>> {
        Ok(vec![request.file.clone()])
    }
}

/// Which model to load, and how it will be fed.
#[derive(Clone, Debug)]
pub struct LoadRequest {
    /// The ONNX file.
    pub file: PathBuf,
    /// The shape of one sample without the batch axis, such as `[3, 112, 112]`. `None`: what the
    /// file declares. Needed when the file leaves height or width open.
    pub input_shape: Option<Vec<usize>>,
    /// Operators of plugins. A node that one of them serves is given to it, also where the engine
    /// has an operator of its own for the node.
    pub operators: Operators,
    /// How the file lays out its input. Whoever loads it feeds channels first in any case.
    pub layout: Layout,
    /// The values of inputs that no picture is fed to, by name.
    pub fixed: BTreeMap<String, FixedInput>,
}

impl LoadRequest {
    /// The request for `file`, fed as the file declares, without operators of plugins.
    pub fn new(file: impl Into<PathBuf>) -> Self {
        Self {
            file: file.into(),
            input_shape: None,
            operators: Operators::default(),
            layout: Layout::default(),
            fixed: BTreeMap::new(),
        }
    }

    /// The same, fed with samples of this shape.
    #[must_use]
    pub fn with_input_shape(mut self, shape: impl Into<Vec<usize>>) -> Self {
        self.input_shape = Some(shape.into());
        self
    }

    /// The same, for a file that lays out its input so, and has these further inputs.
    #[must_use]
    pub fn with_inputs(mut self, layout: Layout, fixed: BTreeMap<String, FixedInput>) -> Self {
        (self.layout, self.fixed) = (layout, fixed);
        self
    }

    /// The same, with operators of plugins.
    #[must_use]
    pub fn with_operators(mut self, operators: Operators) -> Self {
        self.operators = operators;
        self
    }
}

/// A named tensor of the graph.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// The tensor's name in the ONNX file.
    pub name: String,
    /// The ONNX operator that computes it (`Conv`, `PRelu`, `Gemm`); `Input` for the graph's input.
    pub op: String,
    /// The shape of its value for **one sample**: the batch axis is left out.
    pub shape: Vec<usize>,
    /// True if it is one of the graph's declared outputs.
    pub is_output: bool,
    /// True if the value depends on the input (a layer that does not cannot be explained).
    pub depends_on_input: bool,
    /// Names of the tensors that its operator reads, weights among them; empty where the backend
    /// does not know.
    pub reads: Vec<String>,
}

/// An additive constant of the graph, as FullGrad needs it.
#[derive(Clone, Debug, PartialEq)]
pub struct Bias {
    /// The layer whose output contains the constant as a summand.
    pub layer: String,
    /// The constant, broadcast to the layer's per-sample shape (axes of extent 1 where it does not
    /// vary).
    pub value: Tensor,
}

/// Where a gradient is asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GradientPlace {
    /// The network's input.
    Input,
    /// The output of the named layer.
    Layer(String),
}

/// How gradients pass a ReLU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReluRule {
    /// Where its input was above zero: the derivative.
    #[default]
    Standard,
    /// Where its input was above zero and the gradient is too (guided backpropagation): no
    /// derivative of anything. Other activations are not touched; the lower bound of a clipped ReLU
    /// at zero is a ReLU.
    Guided,
}

/// The list of what a forward pass must keep: layers to read and to pull back from, and places to
/// differentiate with respect to.
///
/// Say everything you will need: a backend compiles one plan for each distinct `Taps` and caches
/// it, and it stores nothing that was not asked for. With no gradient places the forward-only plan
/// runs, which is faster.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Taps {
    /// Layers whose outputs will be read, and which may get cotangents.
    pub layers: Vec<String>,
    /// Places that [`Pass::gradient`] answers for, in this order.
    pub gradients: Vec<GradientPlace>,
    /// How those gradients pass a ReLU.
    pub relu: ReluRule,
    /// With rules, [`Pass::gradient`] answers with relevance, not with derivatives, and
    /// [`Taps::relu`] has no say. Not every backend can: [`Network::check_relevance`].
    pub relevance: Option<RelevanceRules>,
    /// Whether [`Pass::gradient`] answers with multipliers, which tell differences, in place of
    /// derivatives, which tell slopes. The rows of a batch then come in pairs: row 2k, and row 2k +
    /// 1, the **reference** that it is compared with. The multiplier m of a value x for what is
    /// seeded is such that Σ m·(x − x_reference) over a place's values is the seeded values'
    /// difference from the reference's times their cotangents: as a derivative is composed by the
    /// chain rule of each operator's slopes, a multiplier is of each operator's quotients Δy / Δx.
    /// Cotangents are row 2k's; both rows of a pair get their multipliers.
    ///
    /// Not together with [`Taps::relevance`]; [`Taps::relu`] has no say. Not every backend can:
    /// [`Network::check_multipliers`].
    pub multipliers: bool,
}

impl Taps {
    /// Taps on `layers`, without gradients.
    pub fn of<S: Into<String>>(layers: impl IntoIterator<Item = S>) -> Self {
        Self {
            layers: layers.into_iter().map(Into::into).collect(),
            gradients: Vec::new(),
            relu: ReluRule::Standard,
            relevance: None,
            multipliers: false,
        }
    }

    /// Also asks for the gradient at `place`.
    #[must_use]
    pub fn with_gradient(mut self, place: GradientPlace) -> Self {
        self.gradients.push(place);
        self
    }
}

/// A derivative to pull back: d(scalar)/d(output of `layer`), one row for each row of the batch.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerCotangent {
    /// A tapped layer.
    pub layer: String,
    /// Same shape as that layer's output, `[N, …]`.
    pub cotangent: Tensor,
}

/// A loaded model.
///
/// Rows of a batch never influence one another: a batch of N gives the same numbers as N batches of
/// one. Only [`Taps::multipliers`] are of a row and the one behind it.
pub trait Network: Send + Sync {
    /// Shape of one sample of the input, without the batch axis: `[3, 112, 112]`.
    fn input_shape(&self) -> &[usize];

    /// Every named tensor of the graph, in topological order; the first is the input.
    fn layers(&self) -> &[Layer];

    /// Why the tensor `name` of the graph is none of [`Network::layers`], as the end of a sentence:
    /// "its size depends on values". `None` where the graph has no such tensor, or the backend
    /// cannot tell.
    fn why_no_layer(&self, name: &str) -> Option<String> {
        let _ = name;
        None
    }

    /// Whether a gradient can be pulled back from `layer` to `to`. If not, the error names the node
    /// and the operator that stop it.
    ///
    /// It may be asked of every layer of a graph (`fame-cli inspect` does), so it must not compile
    /// anything.
    fn check_gradient(&self, layer: &str, to: &GradientPlace) -> Result<()>;

    /// Whether relevance can be shared out by the rules in `taps`, from its layers to its places.
    /// If not, the error names the node and the operator that stop it. It may compile what a pass
    /// with these taps will run.
    ///
    /// # Errors
    /// That, and by default always: a backend that knows nothing of relevance need not say so.
    fn check_relevance(&self, taps: &Taps) -> Result<()> {
        let _ = taps;
        Err(Error::new(
            "fame::backend::no_relevance",
            "this backend computes derivatives only and cannot share out relevance layer by layer.",
        )
        .with_help(
            "Leave `backend` out of the recipe, for the usual one can; or take a method that needs \
             derivatives only, such as `IntegratedGradients`.",
        ))
    }

    /// Whether multipliers ([`Taps::multipliers`]) can be pulled back from the layers of `taps` to
    /// its places. If not, the error names the node and the operator that stop them. It may compile
    /// what a pass with these taps will run.
    ///
    /// # Errors
    /// That, and by default always: a backend that knows nothing of multipliers need not say so.
    fn check_multipliers(&self, taps: &Taps) -> Result<()> {
        let _ = taps;
        Err(Error::new(
            "fame::backend::no_multipliers",
            "this backend computes derivatives only and cannot compare a picture with a reference \
             layer by layer.",
        )
        .with_help(
            "Leave `backend` out of the recipe, for the usual one can; or take a method that needs \
             derivatives only and has a reference too, such as `IntegratedGradients`.",
        ))
    }

    /// How many rows keep this backend busy: the number of worker threads on a CPU, more on a GPU.
    /// Callers batch up to this many.
    fn preferred_rows(&self) -> usize;

    /// Remarks made while loading that belong into the record ("a Reshape to batch 1 was
    /// repaired").
    fn notes(&self) -> &[String];

    /// Runs `batch` `[N, …input_shape]` forward.
    ///
    /// # Errors
    /// An unknown layer (with the nearest names), a batch of the wrong shape, or a place no
    /// gradient can reach.
    fn forward<'n>(&'n self, batch: &Tensor, taps: &Taps) -> Result<Box<dyn Pass + 'n>>;

    /// Runs forward with the output of `layer` replaced by `value` `[N, …]`: what Score-CAM and
    /// Ablation-CAM ask. Everything that does not depend on `layer` is computed from `batch` as
    /// usual, so a skip connection around the layer keeps its meaning.
    fn forward_from<'n>(
        &'n self,
        layer: &str,
        value: &Tensor,
        batch: &Tensor,
        taps: &Taps,
    ) -> Result<Box<dyn Pass + 'n>>;

    /// Begins a batch of rows that are walked where this network computes, without a picture being
    /// copied at every step: none yet, each of them will step as `step` says, and `layers` are what
    /// their losses read. `None`, the default: this backend does not do that, and whoever asks walks
    /// on the host. See [`device_rows`](super::device_rows) for what it must mean.
    ///
    /// # Errors
    /// When the network or its device cannot be used. An unknown layer, or one no gradient of which
    /// reaches the input, may be an error here or at the first forward pass.
    fn device_rows<'n>(
        &'n self,
        step: &PlainStep,
        layers: &[String],
    ) -> Result<Option<Box<dyn DeviceRows + 'n>>> {
        let _ = (step, layers);
        Ok(None)
    }

    /// Every additive constant of the graph with the layer it adds to: convolution, dense and
    /// batch-norm biases.
    fn biases(&self) -> Result<Vec<Bias>>;

    /// What each node takes in a step of a walk: a forward pass of `batch` `[1, …input_shape]`, and
    /// the gradient at the input of what `seed` is the cotangent of. The nodes of the forward pass
    /// come first, in the order they run in. Each is timed `runs` times where it stands, between its
    /// neighbours, so that what it reads comes from where it does in a walk.
    ///
    /// # Errors
    /// As [`Network::forward`] and [`Pass::gradient`], and by default always: a backend need not
    /// know what its nodes take.
    fn profile(&self, batch: &Tensor, seed: &LayerCotangent, runs: usize) -> Result<Vec<NodeTime>> {
        let _ = (batch, seed, runs);
        Err(Error::new(
            "fame::backend::no_profile",
            "this backend does not tell what the nodes of a network take.",
        )
        .with_help("Leave `backend` out, for the usual one does."))
    }

    /// Whether this is not for computing with: it answers for as many rows as the sample has
    /// pictures, so that what is wrong with a question is found. An explainer that computes with
    /// networks of its own explains with this one then. No backend's network is one.
    fn is_rehearsal(&self) -> bool {
        false
    }
}

/// One forward pass, ready to be read and differentiated.
pub trait Pass {
    /// The output of a tapped layer, `[N, …layer shape]`.
    ///
    /// # Errors
    /// When `layer` was not in the [`Taps`].
    fn output(&self, layer: &str) -> Result<Tensor>;

    /// Gradients at every place of [`Taps::gradients`], in that order: each `[N, …]` in the shape
    /// of the place's value. What is pulled back from several layers is summed; a tapped layer
    /// that `cotangents` does not name has cotangent zero. May be called any number of times on
    /// one pass.
    ///
    /// With [`Taps::relevance`] the answer is the relevance `[N, …]` of each place's values: what
    /// is shared out is the layer's output times its cotangent. With [`Taps::multipliers`] it is
    /// their multipliers, `[N, …]` too, the same in both rows of a pair.
    ///
    /// # Errors
    /// When a layer was not tapped, its cotangent has another shape than its output, or no
    /// gradient was asked for.
    fn gradient(&self, cotangents: &[LayerCotangent]) -> Result<Vec<Tensor>>;
}

/// What a [`Network`] around another one has to say of itself, as the inner one says it: its layers,
/// what can be explained, and the rest that runs nothing. What runs it is left to write,
/// [`Network::forward`], [`Network::forward_from`], and what it offers beside them.
///
/// ```
/// use fame_core::{Layer, Result, Taps, Tensor, contract::{Network, Pass}, network_facts};
///
/// /// A network that is run in small batches.
/// struct Patient(Box<dyn Network>);
///
/// impl Network for Patient {
///     network_facts!(self => self.0);
///
///     fn forward<'n>(&'n self, batch: &Tensor, taps: &Taps) -> Result<Box<dyn Pass + 'n>> {
///         self.0.forward(batch, taps)
///     }
///
///     fn forward_from<'n>(
///         &'n self,
///         layer: &str,
///         value: &Tensor,
///         batch: &Tensor,
///         taps: &Taps,
///     ) -> Result<Box<dyn Pass + 'n>> {
///         self.0.forward_from(layer, value, batch, taps)
///     }
/// }
/// ```
#[macro_export]
macro_rules! network_facts {
    ($me:ident => $inner:expr) => {
        fn input_shape(&$me) -> &[usize] {
            $inner.input_shape()
        }

        fn layers(&$me) -> &[$crate::Layer] {
            $inner.layers()
        }

        fn why_no_layer(&$me, name: &str) -> Option<String> {
            $inner.why_no_layer(name)
        }

        fn check_gradient(&$me, layer: &str, to: &$crate::GradientPlace) -> $crate::Result<()> {
            $inner.check_gradient(layer, to)
        }

        fn check_relevance(&$me, taps: &$crate::Taps) -> $crate::Result<()> {
            $inner.check_relevance(taps)
        }

        fn check_multipliers(&$me, taps: &$crate::Taps) -> $crate::Result<()> {
            $inner.check_multipliers(taps)
        }

        fn preferred_rows(&$me) -> usize {
            $inner.preferred_rows()
        }

        fn notes(&$me) -> &[String] {
            $inner.notes()
        }

        fn biases(&$me) -> $crate::Result<Vec<$crate::Bias>> {
            $inner.biases()
        }
    };
}
