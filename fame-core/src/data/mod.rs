//! The ground floor: plain data that every other room speaks of.
//!
//! Tensors, pictures, samples, attribution maps, facts for the record, errors and problems, names,
//! random numbers and files that are there whole or not at all. Nothing here knows a plugin, a
//! recipe or a network; every other room may use it.

mod budget;
mod convention;
mod error;
mod facts;
mod files;
mod map;
mod map_id;
mod marks;
mod names;
mod problem;
mod random;
mod sample;
mod tensor;

pub use budget::{memory_budget, require_memory, require_memory_for, set_memory_budget};
pub use convention::{ChannelOrder, FixedInput, InputConvention, Layout};
pub use error::{Error, ErrorKind, Result};
pub use facts::{Facts, Value, facts};
pub(crate) use files::{
    Begun, Draft, FileHashes, LIST, files_below, json_text, move_into_place, recorded_files,
    remove_at_once, sha256_of, sweep_unfinished, without_mark, write_whole_by, write_whole_from,
};
pub use files::{
    open_ordinary, read_ordinary, replace_folder, sha256_file, sha256_hex, write_json, write_whole,
};
pub use map::{AttributionMap, Explanation, Frame, NamedMap, Witness};
pub use map_id::{Claim, MapId, Subject};
pub use marks::{Mark, MarkType, Marks};
pub use names::{file_name, safe_id, safe_name, seed_of};
pub use problem::{Problem, Problems, SourcedProblem, line_column, offset_of};
pub use random::Random;
pub use sample::{Affine, Annotation, Original, Picture, Sample};
pub use tensor::{Tensor, max_abs};
