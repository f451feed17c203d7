//! `Ort`: onnxruntime, forward only.

use std::path::PathBuf;

use fame_core::Result;
use fame_core::contract::{Backend, LoadRequest, Network};
use fame_core::registry::{Assembly, BuildContext, Plugin};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::onnx::data_files::files_of;
use super::library;
use super::network::OrtNetwork;

/// Runs ONNX networks forward with onnxruntime: an engine that shares no code with the others, for
/// checks, and the fastest forward pass on a CPU, for methods and metrics that need no gradient.
/// Gradients are refused.
///
/// A file is run as it is: in its own number types, with a batch of 1. Rows of a batch run in
/// parallel and do not influence one another.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Ort {
    /// The shared library of onnxruntime, 1.17 or later; loading it runs its code. Empty: what the
    /// environment variable ORT_DYLIB_PATH names, else what `fame-plugins/onnxruntime.sh` fetched.
    pub library: PathBuf,
    /// How many rows run at once; 0 = one on each core. Of a network of many weights fewer run at
    /// once, on more threads each.
    pub threads: usize,
    /// Whether onnxruntime may fuse operators and change layouts; without, it computes node by node
    /// what the file says.
    pub optimize: bool,
}

impl Default for Ort {
    fn default() -> Self {
        Self { library: PathBuf::new(), threads: 0, optimize: true }
    }
}

impl Plugin<dyn Backend> for Ort {
    const NAME: &'static str = "Ort";
    const SUMMARY: &'static str = "onnxruntime on the CPU, forward only: an independent witness";
    const EXAMPLE: &'static str = "Ort(threads: 2)";
    const REFERENCE: &'static str = "onnxruntime (Microsoft) through the crate ort";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        assembly.check("threads", self.threads <= 1024, "must be at most 1024");
    }

    fn build(self, with: &BuildContext<'_>, assembly: &mut Assembly) -> Option<Box<dyn Backend>> {
        let named = !self.library.as_os_str().is_empty();
        let library = named.then(|| with.folder.join(&self.library));
        // Other versions give other numbers. A library that is nowhere is `check`'s to tell.
        if let Ok(file) = library::find(library.as_deref()) {
            assembly.reads(file);
        }
        let trusting = with.registry.is_trusting();
        Some(Box::new(OrtBackend {
            library,
            trusting,
            threads: self.threads,
            optimize: self.optimize,
        }))
    }
}

fame_core::register!(Backend: Ort);

/// onnxruntime with its options.
struct OrtBackend {
    library: Option<PathBuf>,
    trusting: bool,
    threads: usize,
    optimize: bool,
}

impl Backend for OrtBackend {
    fn check(&self) -> Result<()> {
        library::load(self.library.as_deref(), self.trusting).map(|_| ())
    }

    fn load(&self, request: &LoadRequest) -> Result<Box<dyn Network>> {
        let environment = library::load(self.library.as_deref(), self.trusting)?;
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let threads = if self.threads > 0 { self.threads } else { cores() };
        Ok(Box::new(OrtNetwork::load(environment, request, threads, self.optimize)?))
    }

    fn files(&self, request: &LoadRequest) -> Result<Vec<PathBuf>> {
        files_of(&request.file)
    }
}

/// onnxruntime for a test; its absence is said aloud, and is a failure where the environment names
/// the library.
#[cfg(test)]
pub(in crate::backends) fn present() -> Option<Box<dyn Backend>> {
    let backend = OrtBackend { library: None, trusting: true, threads: 2, optimize: false };
    match backend.check() {
        Ok(()) => Some(Box::new(backend)),
        Err(why) => {
            assert!(std::env::var_os("ORT_DYLIB_PATH").is_none(), "{why}");
            println!("ABSENT Ort(): {why}");
            None
        }
    }
}
