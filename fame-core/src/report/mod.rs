//! Tables, scores and curves: what the numbers of a run come to.

mod plot;
mod scores;
mod table;

pub use plot::Plot;
pub use scores::{Better, Scores, holm, sign_flip_p};
pub use table::{Interval, Table, interval, stratified_interval};
