//! Losses: scalars to descend, one file each.

mod cosine;
mod dissimilarity;
mod dot_product;
mod feature_map_cell;
mod finer;
mod identification;
mod logit;
mod segment_class;
mod similarity;
mod target;
mod top;
mod vector_file;

pub use cosine::Norms;
pub use dissimilarity::Dissimilarity;
pub use dot_product::DotProduct;
pub use feature_map_cell::{Cells, FeatureMapCell};
pub use finer::Finer;
pub use identification::{Identification, Rival};
pub(crate) use identification::{ranking, set_against};
pub use logit::{Class, Logit};
pub use segment_class::{Region, SegmentClass};
pub use similarity::Similarity;
pub use target::{Target, Towards};
pub(crate) use top::{TOP_BEFORE, top_classes};
pub use vector_file::VectorFile;
