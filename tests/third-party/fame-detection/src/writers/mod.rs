//! Writers that know what a detection is.

mod canvas;
mod detection_overlay;

pub use detection_overlay::{Colours, DetectionOverlay};
