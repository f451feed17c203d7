//! The source of fame-core for a new crate.

use std::path::{Path, PathBuf};

use fame_core::{Error, Result};

/// The tree that this program was built from.
const BUILT_FROM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../fame-core");

/// The manifest of the workspace: versions of what a plugin shares with fame.
const WORKSPACE: &str = include_str!("../../../../../Cargo.toml");

/// What stands behind `fame-core =` in the new crate's manifest.
#[derive(Debug)]
pub(super) enum Core {
    /// A folder with its source, absolute.
    Source(PathBuf),
    /// A version of a registry.
    Version(String),
}

impl Core {
    /// What `--fame-core` says; without it the tree that this program was built from, if it is
    /// still there; else this program's version.
    ///
    /// # Errors
    /// When it says neither a folder with fame-core nor a version.
    pub(super) fn find(said: Option<&str>) -> Result<Self> {
        let Some(said) = said else {
            return Ok(source(Path::new(BUILT_FROM)).map_or_else(
                || Self::Version(env!("CARGO_PKG_VERSION").to_owned()),
                Self::Source,
            ));
        };
        if let Some(folder) =
            source(Path::new(said)).or_else(|| source(&Path::new(said).join("fame-core")))
        {
            return Ok(Self::Source(folder));
        }
        let numbers: Vec<&str> = said.trim_start_matches('=').splitn(3, '.').collect();
        if numbers.len() == 3
            && numbers[..2].iter().all(|n| n.parse::<u32>().is_ok())
            && numbers[2].starts_with(|c: char| c.is_ascii_digit())
        {
            return Ok(Self::Version(said.trim_start_matches('=').to_owned()));
        }
        Err(Error::new("fame::plugin::core", format!("`{said}` is neither a folder with fame-core's source nor a version."))
            .with_help("Say --fame-core PATH (a checkout of fame, or its folder `fame-core`) or --fame-core 0.1.0. Left out, it is the tree that this fame-cli was built from."))
    }

    /// As a TOML value.
    pub(super) fn toml(&self) -> String {
        match self {
            // A Rust string literal of a path is a TOML basic string too.
            Self::Source(folder) => format!("{{ path = {:?} }}", folder.display().to_string()),
            // The contract between plugin and host is one version exactly.
            Self::Version(version) => format!("\"={version}\""),
        }
    }

    /// Its origin, in words.
    pub(super) fn told(&self) -> String {
        match self {
            Self::Source(folder) => format!("the source in `{}`", folder.display()),
            Self::Version(version) => format!(
                "version {version} of the registry; --fame-core PATH names a checkout instead"
            ),
        }
    }

    /// fame's own lock file: with it the new crate builds the versions that fame was tested with,
    /// and needs no network.
    pub(super) fn lock(&self) -> Option<String> {
        let Self::Source(folder) = self else { return None };
        std::fs::read_to_string(folder.parent()?.join("Cargo.lock")).ok()
    }
}

/// `folder`, absolute, if it holds fame-core.
fn source(folder: &Path) -> Option<PathBuf> {
    let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).ok()?;
    manifest.contains("name = \"fame-core\"").then(|| std::fs::canonicalize(folder).ok())?
}

/// The line of the workspace's manifest for the dependency `name`.
pub(super) fn dependency(name: &str) -> &'static str {
    WORKSPACE.lines().find(|line| line.split(' ').next() == Some(name)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_found_and_what_is_neither_folder_nor_version_is_refused() {
        let Core::Source(here) = Core::find(None).unwrap() else {
            panic!("the tree is there: it is being tested")
        };
        assert!(here.is_absolute() && here.ends_with("fame-core"));
        let workspace = here.parent().unwrap().to_string_lossy().into_owned();
        assert!(
            matches!(Core::find(Some(&workspace)).unwrap(), Core::Source(found) if found == here)
        );
        assert_eq!(Core::find(Some("=1.2.3")).unwrap().toml(), "\"=1.2.3\"");
        for odd in ["", "no/such/folder", "1.2", "one.two.3", "/tmp"] {
            assert_eq!(Core::find(Some(odd)).unwrap_err().code, "fame::plugin::core", "{odd}");
        }
    }

    #[test]
    fn dependencies_are_the_workspaces() {
        for name in ["serde", "schemars", "image", "tempfile"] {
            assert!(
                dependency(name).starts_with(&format!("{name} = ")),
                "{name}: {}",
                dependency(name)
            );
        }
    }
}
