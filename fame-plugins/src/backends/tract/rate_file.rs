//! What was measured of convolutions, remembered from one process to the next.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use fame_core::store;

use crate::backends::onnx::TRACT_VERSION;
use fame_kernels::Measured;

/// Version of the kernels: measurements of others say nothing of these.
const KERNELS: u32 = 4;
/// Characters of a processor's name that are kept in a file's.
const NAME: usize = 60;

/// Measurements of one processor's kernels by [`Layer::key`](fame_kernels::Layer::key), in fame's
/// cache: two processes on one machine choose the same kernels and give the same bytes.
///
/// It is a convenience, never a cause to fail: a file that cannot be read counts as empty, and one
/// that cannot be written stays as it is.
pub(super) struct RateFile(Option<PathBuf>);

/// What it holds: by layer.
type Known = BTreeMap<String, Vec<Measured>>;

impl RateFile {
    /// The file of this machine's processor.
    pub(super) fn of_this_machine() -> Self {
        let name = format!("{}-tract{TRACT_VERSION}-{KERNELS}.json", processor());
        Self(store::default_cache_dir().ok().map(|cache| cache.join("kernels").join(name)))
    }

    /// What was measured of the layer `key`, if anything was.
    pub(super) fn get(&self, key: &str) -> Option<Vec<Measured>> {
        self.read().remove(key)
    }

    /// Adds what was measured of the layer `key`, and gives what is to be believed: what another
    /// process has written in the meantime, else `rates`.
    pub(super) fn add(&self, key: String, rates: Vec<Measured>) -> Vec<Measured> {
        let Some(path) = &self.0 else { return rates };
        let mut known = self.read();
        let believed = known.entry(key).or_insert(rates).clone();
        // A failure leaves the file as it was: see the type.
        let _ = replace(path, &known);
        believed
    }

    fn read(&self) -> Known {
        let text = self.0.as_ref().and_then(|path| std::fs::read(path).ok());
        text.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
    }
}

/// Writes all of `known` beside `path` and moves it there: no reader sees half of it.
fn replace(path: &Path, known: &Known) -> std::io::Result<()> {
    let folder = path.parent().ok_or(std::io::ErrorKind::NotFound)?;
    std::fs::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(&serde_json::to_vec_pretty(known)?)?;
    file.persist(path)?;
    Ok(())
}

/// The processor's name as the system tells it, else the architecture's, as part of a file's name.
fn processor() -> String {
    let told = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = told.lines().find(|line| line.starts_with(name))?;
        line.split_once(':').map(|(_, value)| value.trim().to_owned())
    };
    // Names of virtual machines may be as short as `AMD EPYC`: family and model tell them apart.
    let parts = ["model name", "cpu family", "model\t"].map(field);
    let name = parts.into_iter().flatten().collect::<Vec<_>>().join("-");
    let name = if name.is_empty() { std::env::consts::ARCH.to_owned() } else { name };
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    name.chars().map(plain).take(NAME).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use fame_kernels::Algorithm;

    fn rates(seconds: f64) -> Vec<Measured> {
        vec![Measured { algorithm: Algorithm::Winograd4(24), seconds, bytes: 9 }]
    }

    #[test]
    fn another_process_finds_what_one_has_measured_and_the_first_word_counts() {
        let folder = tempfile::tempdir().unwrap();
        let file = || RateFile(Some(folder.path().join("kernels/this.json")));
        assert!(file().get("layer").is_none());
        assert_eq!(file().add("layer".into(), rates(2.0)), rates(2.0));
        assert_eq!(file().add("layer".into(), rates(3.0)), rates(2.0));
        file().add("other".into(), rates(4.0));
        assert_eq!(file().get("layer"), Some(rates(2.0)));
        let left = std::fs::read_dir(folder.path().join("kernels")).unwrap().count();
        assert_eq!(left, 1, "a temporary file was left");
    }

    #[test]
    fn a_damaged_file_is_begun_anew_and_a_missing_folder_is_no_failure() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("this.json");
        std::fs::write(&path, "{\"layer\": {").unwrap();
        assert!(RateFile(Some(path.clone())).get("layer").is_none());
        RateFile(Some(path.clone())).add("layer".into(), rates(2.0));
        assert!(RateFile(Some(path.clone())).get("layer").is_some());
        // Its folder is a file: nothing can be written there.
        let nowhere = RateFile(Some(path.join("this.json")));
        assert_eq!(nowhere.add("layer".into(), rates(5.0)), rates(5.0));
        assert_eq!(RateFile(None).add("layer".into(), rates(6.0)), rates(6.0));
    }

    #[test]
    fn the_file_is_named_after_the_processor() {
        let name = processor();
        assert!(!name.is_empty() && name.len() <= NAME);
        assert!(name.bytes().all(|b| b == b'-' || b.is_ascii_lowercase() || b.is_ascii_digit()));
    }
}
