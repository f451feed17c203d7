//! A second opinion: networks run forward by [onnxruntime](https://onnxruntime.ai).
//!
//! `Tract` and `Tch` share one front end, so a fault of it is in both and a comparison of the two
//! passes. This engine shares nothing with them but the definition of ONNX's messages: the file's
//! own bytes go to onnxruntime, and what is asked for is added to them.
//!
//! ```text
//! file's bytes ─ wire (outputs added) ─▶ a session for the asked layers ─ one row at a time ─▶ pass
//!      │ source (names, operators, what depends on the input)
//! ```
//!
//! * Nothing is linked: the library is loaded when a recipe or a command asks for it.
//! * Rows run one by one, as in the other engines, so that no file's batch matters; as many at once
//!   as there are lanes, each with a session of its own.
//! * There are no gradients: onnxruntime for inference has none.

mod library;
mod network;
mod plugin;
mod session;
mod source;
mod wire;

pub use plugin::Ort;
#[cfg(test)]
pub(in crate::backends) use plugin::present;
pub(in crate::backends) use source::reads;
