//! # fame-detection: which pixels make this detection?
//!
//! Object detectors for [fame](fame_core), as a third party adds them: of fame this crate knows the
//! contracts of `fame-core`, and `fame-letters`, which writes labels; nothing else, and `fame-core`
//! knows nothing of detection. It is linked into `fame-cli` (feature `detection`, on by default) or into a program of your own (`use
//! fame_detection as _;` beside `fame_cli::main()`), or loaded with `--plugin
//! libfame_detection.so`; all give the same bytes.
//!
//! ```ron
//! explain: {
//!     "fame": Fame(layer: ["scores", "boxes"], loss: DetectionScore(of: Detections(head: UltraFace()))),
//!     "d_rise": DRise(of: Detections(head: UltraFace())),
//! },
//! ```
//!
//! | kind | plugins |
//! | --- | --- |
//! | dataset | [`Coco`], [`Voc`]: pictures with boxes |
//! | loss | [`DetectionScore`], [`BoxCoordinate`]: for FAME, and for every other method that explains a loss |
//! | explainer | [`DRise`] |
//! | map step | [`Power`] |
//! | metric | [`DetectionPointing`], [`DetectionEnergy`], [`DetectionDeletion`] |
//! | writer | [`DetectionOverlay`] |
//!
//! What a detector's outputs mean is said by a [`Head`], which detections are meant by
//! [`Detections`], and who speaks for one of them while the picture changes by [`Matching`];
//! [`recognise()`] tells the head by the outputs' shapes. Boxes are in pixels of the network's
//! input, measured from the outer corner of the first pixel.

mod datasets;
mod detections;
mod explainers;
mod head;
mod losses;
mod maps;
mod matched;
mod metrics;
mod pictures;
mod probe;
mod recognise;
mod rect;
#[cfg(test)]
mod testing;
mod writers;

pub use datasets::{Coco, Origin, Voc};
pub use detections::{BOX, Class, Detection, Detections, Found, Wanted, Which};
pub use explainers::{DRise, Fill, Objectness};
pub use head::{Head, Layout, OutputValue, Side};
pub use losses::{BoxCoordinate, Coordinate, DetectionScore, Direction, Form};
pub use maps::Power;
pub use matched::Matching;
pub use metrics::{DetectionDeletion, DetectionEnergy, DetectionPointing, Filling, Truth};
pub use pictures::Orientation;
pub use recognise::{Recognised, recognise, recognise_layers};
pub use rect::Rect;
pub use writers::{Colours, DetectionOverlay};

fame_core::export_plugin!();

#[cfg(test)]
mod tests {
    use fame_core::{
        registry::{BuildContext, Registry},
        text::Spec,
    };

    /// What a plugin's documentation shows must work.
    #[test]
    fn every_registered_example_parses_and_builds() {
        let registry = Registry::builtin().unwrap();
        let with = BuildContext::new(&registry, std::path::Path::new("."));
        assert_eq!(registry.iter().count(), 10);
        for registration in registry.iter() {
            registry.check_example(registration, &with).unwrap_or_else(|p| panic!("{}: {p:?}", registration.example()));
            assert_eq!(Spec::from_text(registration.example()).unwrap().name, registration.name());
        }
    }

    #[test]
    fn parameters_out_of_range_are_reported() {
        let registry = Registry::builtin().unwrap();
        let with = BuildContext::new(&registry, std::path::Path::new("."));
        let says = |spec: &str| {
            let problems = registry.build::<dyn fame_core::contract::Loss>(&Spec::from_text(spec).unwrap(), &with).err().unwrap();
            problems.iter().map(|p| p.message.clone()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(says("DetectionScore(of: (head: UltraFace(), max_overlap: 2))"), "`of` needs a `max_overlap` of 0 to 1.");
        assert_eq!(
            says("DetectionScore(of: (head: UltraFace()), matching: Cluster(0))"),
            "`matching` needs an overlap above 0 and at most 1."
        );
        assert!(
            says("DetectionScore(of: (head: CenterNet(stride: 0), which: Box(5, 5, 1, 9), limit: 0))").contains("needs a stride above 0")
        );
        assert!(says("DetectionScore()").contains("of"));
    }
}
