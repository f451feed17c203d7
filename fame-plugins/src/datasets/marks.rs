//! Roles and marks: what the pictures of a sample are called, and what lists say about it.

use fame_core::Mark;

/// The role of the only picture of a sample that has one.
pub const IMAGE: &str = "image";
/// The role of the enrolled face of a pair.
pub const GALLERY: &str = "gallery";
/// The role of the presented face of a pair.
pub const PROBE: &str = "probe";

/// Whether both pictures of a pair show the same identity.
pub const GENUINE: Mark<bool> = Mark::new("genuine");
/// A sample's place in the list it comes from, counted from 0 before any selection: the row of a
/// protocol.
pub const ROW: Mark<usize> = Mark::new("row");
/// The part of the list that a sample belongs to: a fold of a cross-validation.
pub const FOLD: Mark<String> = Mark::new("fold");
/// The group that a sample belongs to, such as that of the people it shows: what a list says in a
/// column of its own.
pub const GROUP: Mark<String> = Mark::new("group");
/// The role of the picture in a sample's gallery that shows the same identity as its probe, where
/// there is one.
pub const MATE: Mark<String> = Mark::new("mate");
/// Whether both pictures of a pair lie in one frame and differ only in a region that is known: then
/// a pixel of one can take the place of the same pixel of the other.
pub const SAME_FRAME: Mark<bool> = Mark::new("same_frame");
