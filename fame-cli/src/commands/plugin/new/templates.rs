//! What `plugin new` writes for a kind: the files of its folder in `templates/`, and those of
//! `templates/crate/`, which every new crate has.
//!
//! In their text `Scaffold` stands for the plugin, `scaffold-crate` and `scaffold_crate` for the
//! crate, and words that begin with `SCAFFOLD_` for what only this program knows.

use std::path::Path;

use fame_core::registry::Kind;

use super::core::dependency;

mod embedded {
    include!(concat!(env!("OUT_DIR"), "/templates.rs"));
}

/// The folder of what every new crate has.
const EVERY_CRATE: &str = "crate";

/// The file that names what a crate depends on beside fame-core, and does not become part of it.
const DEPENDENCIES: &str = "dependencies.txt";

/// The files of a new crate, as templates.
pub(super) struct Template {
    /// Path in the new crate, and contents.
    files: Vec<(&'static str, &'static [u8])>,
    dependencies: &'static str,
}

impl Template {
    /// The template of `kind`, found by its word; `None` if nobody wrote one.
    pub(super) fn of(kind: Kind) -> Option<Self> {
        let own: Vec<_> = files_of(kind.word()).collect();
        let text = |bytes| std::str::from_utf8(bytes).unwrap_or_default();
        let dependencies = own.iter().find(|(path, _)| *path == DEPENDENCIES);
        let dependencies = dependencies.map_or("", |(_, bytes)| text(bytes));
        let shared = files_of(EVERY_CRATE);
        let files = shared.chain(own.iter().copied().filter(|(path, _)| *path != DEPENDENCIES));
        (!own.is_empty()).then(|| Self { files: files.collect(), dependencies })
    }

    /// Every file with its contents, `text` changed by `named`. What is not UTF-8 is taken as it
    /// is.
    pub(super) fn files(&self, named: impl Fn(&str) -> String) -> Vec<(String, Vec<u8>)> {
        let contents = |bytes: &[u8]| match std::str::from_utf8(bytes) {
            Ok(text) => named(text).into_bytes(),
            Err(_) => bytes.to_vec(),
        };
        let file = |(path, bytes): &(&str, &[u8])| {
            // `Cargo.toml` itself would make a package of the templates' folder.
            (path.strip_suffix(".txt").unwrap_or(path).to_owned(), contents(bytes))
        };
        self.files.iter().map(file).collect()
    }

    /// Lines of the manifest beyond fame-core: a line of `dependencies.txt` that is a dependency of
    /// the workspace's becomes what the workspace says of it.
    pub(super) fn dependencies(&self) -> String {
        let line = |line: &'static str| match dependency(line) {
            "" => line,
            known => known,
        };
        let all = ["schemars", "serde"].into_iter().chain(self.dependencies.lines()).map(line);
        all.map(|line| line.to_owned() + "\n").collect()
    }

    /// Whether the code of the template uses `word`.
    pub(super) fn uses(&self, word: &str) -> bool {
        let is_code = |path: &str| Path::new(path).extension().is_some_and(|e| e == "rs");
        let code = self.files.iter().filter(|(path, _)| is_code(path));
        code.filter_map(|(_, bytes)| std::str::from_utf8(bytes).ok())
            .flat_map(|text| text.split(|c: char| !c.is_alphanumeric()))
            .any(|used| used == word)
    }
}

/// The files below `templates/FOLDER/`, by their path there.
fn files_of(folder: &str) -> impl Iterator<Item = (&'static str, &'static [u8])> {
    embedded::TEMPLATES.iter().filter_map(move |(path, bytes)| {
        Some((path.strip_prefix(folder)?.strip_prefix('/')?, *bytes))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_template_that_registers_it_exports_it_and_tests_it() {
        for kind in Kind::ALL {
            let template = Template::of(kind).unwrap_or_else(|| panic!("no template: {kind}"));
            let files = template.files(str::to_owned);
            let file = |name: &str| {
                let found = files.iter().find(|(path, _)| path == name);
                String::from_utf8(found.unwrap_or_else(|| panic!("{kind}: {name}")).1.clone())
                    .unwrap()
            };
            let (source, test) = (file("src/lib.rs"), file("tests/promises.rs"));
            assert!(source.contains(&format!("register!({kind:?}: Scaffold);")), "{kind}");
            assert!(source.contains("fame_core::export_plugin!();"), "{kind}");
            assert!(test.contains("check_plugin::<") && test.contains("Trial::run"), "{kind}");
            assert!(file("recipe.ron").contains("plugins: [\"target/debug/SCAFFOLD_LIBRARY\"]"));
            assert!(file("Cargo.toml").contains("cdylib") && file("README.md").contains("fame"));
        }
    }

    #[test]
    fn dependencies_are_the_workspaces_own() {
        let dataset = Template::of(Kind::Dataset).unwrap().dependencies();
        assert!(dataset.starts_with("schemars = ") && dataset.contains("\nimage = {"), "{dataset}");
        assert!(dataset.contains("\n[dev-dependencies]\ntempfile = "), "{dataset}");
    }
}
