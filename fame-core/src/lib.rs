//! # fame-core: the contracts and the pipeline
//!
//! fame explains what a vision network looked at. This crate is its middle: it knows *how* an
//! explanation comes about and nothing about any particular network engine, loss, method or
//! dataset. Those are plugins, built in (`fame-plugins`) or anybody's.
//!
//! ## The way of the data
//!
//! ```text
//! recipe.ron ──▶ RecipeFile ──▶ Plan ──▶ run ──▶ out/
//!                (as written)   (resolved,
//!                               all errors at once)
//!
//! Dataset ─▶ Sample ─▶ PrepareStep… ─▶ Explainer ─▶ Explanation ─▶ Metric… ─▶ Writer… ─▶ item.json, run.json
//!                                         │
//!                  walk:  Walk.image ─▶ Network.forward ─▶ Pass.output ─▶ Loss ─▶ value + cotangent
//!                              ▲                                                        │
//!                              └── Walk.step(gradient) ◀── Pass.gradient ◀──────────────┘
//!                         Walk.field ─▶ MapStep… ─▶ AttributionMap
//! ```
//!
//! One direction, no way back. Nothing touches a model or the output folder before the [`Plan`] is
//! whole.
//!
//! ## The rooms
//!
//! Each room uses those above it in this table and none below: a test reads the `use` lines and
//! fails on a circle.
//!
//! | room | what lives there |
//! | --- | --- |
//! | [`data`] | plain types that every room speaks of: [`Tensor`], [`Picture`], [`Sample`], [`AttributionMap`], [`Explanation`], [`Error`], facts for the record; random numbers; files that are there whole or not at all |
//! | [`text`] | the RON dialect of recipes and manifests: specs, fields, the place of every word, near names. A broken manifest gets a broken recipe's diagnostics because both are read here |
//! | [`store`] | models and pictures by name: manifests, verified files, the cache, the registries' own clients |
//! | [`report`] | numbers for readers: scores with their intervals, tables, plots |
//! | [`contract`] | the seams, one file each: what a backend, loss, perturbation, explainer, … must do. **Read these first** |
//! | [`registry`] | plugins by kind and name: one table of the kinds, the [`register!`] macro, how parameters become running parts, and the guard around every call into a plugin |
//! | [`plugin`] | libraries with plugins of other people: what one must declare, what is checked when it is loaded, what may not cross; the [`export_plugin!`] macro |
//! | [`ask`] | questions to a network, which explainers and metrics share: a loss aimed at layers, rows that walk along its gradient |
//! | [`recipe`] | a recipe's text with its overrides, cut into fields |
//! | `plan` | [`Plan`]: a recipe with every name resolved and every parameter checked |
//! | [`run`] | one folder, [`run::run`]: items (load, prepare, explain, measure, write), keys, parts, the record, events |
//! | [`testkit`] | what a plugin's tests need: gradient checks, a fake network, conformance of a backend, whole recipes in a test |
//!
//! ## Where a first change goes
//!
//! * A loss, a perturbation, a map step, a prepare step, a dataset, a metric, a writer, an
//!   explainer: one file in `fame-plugins/src/<kind>/`, one `mod` line. The [`registry`] docs show
//!   a whole loss in thirty lines.
//! * A gradient rule of our own engine: `fame-plugins/src/backends/tract/gradient/`.
//! * A new kind of plugin: it begins with one row in the registry's table of kinds.
//! * If it needs more than that, the seam is wrong: mend the contract here.
//!
//! `CONTRIBUTING.md` walks each of these through every file it touches.
//!
//! ## One word for one thing
//!
//! | word | meaning |
//! | --- | --- |
//! | plugin | a named, parametrised part of a recipe: anything written `Name(…)` |
//! | kind | what a plugin is for; each kind has one contract |
//! | contract | the trait that plugins of a kind implement |
//! | guard | the wrapper around a plugin that catches its panics and checks what it returns |
//! | assembly | the making of one plugin from its spec: collects its mistakes, builds what is nested in it |
//! | spec | a plugin as written, `Name(param: value)`: its parameters are still text |
//! | recipe | the file that says what is explained, how, and what is written |
//! | manifest | the file that says what a model is: where it comes from, what input it wants, what its layers are called |
//! | plan | a recipe with every name resolved; nothing has run yet |
//! | item | one entry of a dataset, known by its id; a folder of its own in the output |
//! | sample | an item that was loaded: its pictures and what the dataset says of them |
//! | role | the dataset's name for a picture of a sample, such as `image` |
//! | picture | pixels `[3, H, W]` in 0..=1 with the geometry that leads back to the file |
//! | convention | how a picture becomes a model's input: size, channel order, mean, deviation |
//! | layer | a tensor of the network by its name in the graph, or by the manifest's alias |
//! | target layer | the layer whose values a loss reads |
//! | feature map | a layer's values with rows and columns: `[C, H, W]` per sample |
//! | logit, embedding | a model's output: a score per class before any softmax; a vector that stands for the picture |
//! | tap | a request to keep a layer's values, or to pull a gradient back to it, during a pass |
//! | pass | one run of a network over a batch, which can be asked for outputs and gradients |
//! | cotangent | the derivative of a scalar by a layer's values; what is pulled back through a network |
//! | loss | a scalar of a target layer's values, with its cotangent; explanations descend it |
//! | target | what a loss measures against, taken from the clean outputs before anything moves |
//! | walk | the moves of one picture along a gradient, made by a perturbation |
//! | plain walk | one whose step is a formula, so that a backend can take it on its device |
//! | row | one line of a batch: a picture with one target on its way |
//! | observation | an input of the network and what the aimed layers gave for it |
//! | aim | a loss at its target layers, ready to make rows |
//! | question | a loss asked about altered copies of a picture |
//! | attribution map | values over a picture's pixels, as an explainer gives them |
//! | finished map | an attribution map after the map steps: what is drawn and measured |
//! | witness | an input that an explanation rests on, with the layer values it gave then; a check recomputes them |
//! | claim | whether a map speaks for or against the outcome |
//! | deletion, insertion | a metric's curve while the most important pixels are taken away, or put back |
//! | measurement | one number about one map, by one metric |
//! | key | a hash of everything that determines a file; what has the right key is not done again |
//! | shard | a share of a run's items that one of several machines does; merged, they are the run |
//! | part | an explanation with its measurements, kept for the next run with another recipe |
//! | record | `run.json` and `item.json`: what was asked, with what, and what came out |
//! | fact | a named value in the record; code writes facts and never reads them |
//! | problem | a mistake in a text with the characters it marks |
//! | error | a code, a sentence, a way out; with problems, where a text is to blame |
//!
//! ## What crosses a contract
//!
//! Plain data only: [`Tensor`] is a shape and `f32`s, parameters are RON text, errors are [`Error`]
//! (a code, a sentence, a way out). A plugin built elsewhere, with other versions of every
//! dependency, still fits.

pub mod ask;
pub mod contract;
pub mod data;
mod fuzz;
mod plan;
pub mod plugin;
pub mod recipe;
pub mod registry;
pub mod report;
pub mod run;
pub mod store;
pub mod testkit;
pub mod text;

pub use contract::{
    Bias, GradientPlace, Layer, LayerCotangent, LoadRequest, Model, Taps, Target, TargetRequest,
};
pub use data::{
    Affine, Annotation, AttributionMap, Claim, Error, ErrorKind, Explanation, Frame, MapId, Mark,
    MarkType, Marks, NamedMap, Picture, Random, Result, Sample, Subject, Tensor, Witness, max_abs,
    seed_of,
};
pub use plan::Plan;
pub use report::{
    Better, Column, Interval, Parameter, Plot, Scores, Table, holm, interval, sign_flip_p,
    stratified_interval, stratified_intervals,
};
pub use text::{LayerChoice, LayerChoices};
