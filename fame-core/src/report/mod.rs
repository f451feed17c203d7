//! Tables, scores and curves: what the numbers of a run come to.

pub mod escape;
mod groups;
mod joined;
mod parameter;
mod plot;
mod reliability;
mod scores;
mod summary;
mod table;

pub use joined::joined;
pub use parameter::Parameter;
pub use plot::Plot;
pub use reliability::reliability;
pub use scores::{Better, Column, Scores, holm, sign_flip_p};
pub use summary::summary;
pub use table::{
    Interval, Numbers, Place, Table, interval, stratified_interval, stratified_intervals,
};
