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
//!                  FAME:  Walk.image ─▶ Network.forward ─▶ Pass.output ─▶ Loss ─▶ value + cotangent
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
//! | room | what lives there |
//! | --- | --- |
//! | [`contract`] | the seams, one file each: what a backend, loss, perturbation, explainer, … must do. **Read these first.** |
//! | [`registry`] | plugins by kind and name; the [`register!`] macro; how parameters become running parts |
//! | [`plugin`] | plugins of other people: what a loaded one must declare, what is checked, what may not cross; the [`export_plugin!`] macro |
//! | [`recipe`] | RON text, places, overrides, diagnostics |
//! | [`model`] | manifests, the store that fetches and verifies models and pictures, loaded models, layer choice |
//! | [`run`] | the loop over items, the walk over rows, whole-or-not-at-all files, the record |
//! | [`testkit`] | what a plugin's tests need: gradient checks, a fake network, conformance of a backend, whole recipes in a test |
//! | plain types | [`Tensor`], [`Picture`], [`Sample`], [`AttributionMap`], [`Explanation`], [`record::Value`] |
//!
//! ## Where a first change goes
//!
//! * A loss, a perturbation, a map step, a prepare step, a dataset, a metric, a writer, an
//!   explainer: one file in `fame-plugins/src/<kind>/`, one `mod` line. The [`registry`] docs show
//!   a whole loss in thirty lines.
//! * A rule for an ONNX operator: `fame-plugins/src/backends/tract/gradient/`.
//! * If it needs more than that, the seam is wrong: mend the contract here.
//!
//! ## What crosses a contract
//!
//! Plain data only: [`Tensor`] is a shape and `f32`s, parameters are RON text, errors are [`Error`]
//! (a code, a sentence, a way out). A plugin built elsewhere, with other versions of every
//! dependency, still fits.

pub mod ask;
pub mod contract;
pub mod data;
mod plan;
pub mod plugin;
mod preset;
pub mod recipe;
pub mod registry;
pub mod report;
pub mod run;
pub mod store;
pub mod testkit;
pub mod text;

pub use contract::{
    Bias, Layer, LayerChoice, LayerChoices, LoadRequest, Model, Place, Seed, Taps, Target,
    TargetRequest,
};
pub use data::{
    Affine, Annotation, AttributionMap, Claim, Error, ErrorKind, Explanation, Frame, GALLERY,
    IMAGE, MapId, NamedMap, PROBE, Picture, Random, Result, Sample, Subject, Tensor, Witness,
    max_abs, seed_of,
};
pub use plan::Plan;
pub use preset::Preset;
pub use report::{
    Better, Column, Interval, Parameter, Plot, Scores, Table, holm, interval, sign_flip_p,
    stratified_interval,
};
