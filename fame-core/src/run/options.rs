//! The choices for one run that are not in its recipe.

use std::path::{Path, PathBuf};

/// Choices for one run that are not part of the recipe: where it writes and which items it does.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Output folder.
    pub out: PathBuf,
    /// Recompute items that are there already.
    pub force: bool,
    /// Stop after this many items.
    pub limit: Option<usize>,
    /// Only these items.
    pub only: Vec<String>,
}

/// The folder of the recipe at `path`.
pub fn recipe_folder(path: &Path) -> PathBuf {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned()
}
