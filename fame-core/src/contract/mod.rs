//! The contracts, one file each. Read them in the order of the data: [`dataset`], [`prepare`],
//! [`backend`], [`relevance`], [`operator`], [`loss`], [`perturbation`],
//! [`plain_walk`](mod@plain_walk), [`device_rows`], [`explainer`], [`map_step`], [`check`],
//! [`metric`], [`writer`].
//!
//! Only plain types cross a contract: [`crate::Tensor`], strings, small structs and enums of our
//! own. No array library, tensor library or image type appears in a signature, so a plugin that was
//! built elsewhere with other versions of those still fits.

pub mod backend;
pub mod check;
pub mod dataset;
pub mod device_rows;
pub mod explainer;
pub mod feature_map;
pub mod loss;
pub mod map_step;
pub mod metric;
mod model;
pub mod operator;
pub mod output;
pub mod perturbation;
mod pixel_walk;
pub mod plain_walk;
pub mod prepare;
mod profile;
pub mod relevance;
mod remembered;
pub mod writer;

pub use backend::{
    Backend, Bias, GradientPlace, Layer, LayerCotangent, LoadRequest, Network, Pass, ReluRule, Taps,
};
pub use check::{Check, Finding, LoadedCheck, witnesses};
pub use dataset::{Dataset, Files, ItemRef};
pub use device_rows::DeviceRows;
pub use explainer::{ExplainContext, Explainer, Progress, Silent};
pub use feature_map::{layout_not_told, layout_of};
pub use loss::{Evaluation, Loss, Reference, Target, TargetRequest, per_row};
pub use map_step::{MapSource, MapStep};
pub use metric::{Measurement, Metric, MetricRow, means, scores};
pub use model::Model;
pub use operator::{Attribute, Attributes, Operator, OperatorId, Operators};
pub use output::{OutputForm, form_of};
pub use perturbation::{Perturbation, Recorded, Start, Stop, Walk};
pub use pixel_walk::pixel_walk;
pub use plain_walk::{NO_GRADIENT, Plain, PlainStep, StepRule, plain_walk};
pub use prepare::{Models, PrepareContext, PrepareStep};
pub use profile::{NodeKernel, NodeTime};
pub use relevance::{FirstRule, RelevanceRules, RuleNumber, WeightRule};
pub use remembered::{Known, Remembered};
pub use writer::{FinishedItem, Writer};
