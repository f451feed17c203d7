//! Opening a plugin: everything that can be checked is checked in the file, and only then does its
//! code run.

use std::{
    fs::File,
    io::{Seek as _, SeekFrom},
    path::{Path, PathBuf},
    sync::Arc,
};

use object::{Object as _, ObjectSection as _, read::ReadCache};

use super::{
    declaration::{Declared, SECTIONS},
    place,
};
use crate::{
    Error, Result,
    data::{Value, facts, open_ordinary, sha256_of},
    registry::{Library, Registration, Registry},
};

/// The entry of a plugin: hands every registration to `take`. Made by
/// [`export_plugin!`](crate::export_plugin); a call across the line, in Rust's own calling
/// convention, which is why everything is compared first.
pub type Entry = fn(take: &mut dyn FnMut(Registration)) -> Result<()>;

/// A plugin's file, read but not opened: none of its code has run.
#[derive(Clone, Debug)]
pub struct PluginFile {
    /// The path as given.
    pub path: PathBuf,
    /// The file itself, with all links followed.
    pub real: PathBuf,
    /// SHA-256 of the file, hexadecimal.
    pub sha256: String,
    /// What it says about itself: one declaration for each crate in it that exports plugins, at
    /// least one.
    pub declared: Vec<Declared>,
    /// The file itself, opened once: its name may stand for another file at any time.
    opened: Arc<File>,
}

/// Loads the plugins in the shared library at `path` into `registry`: **runs its code.** A file
/// that is loaded already is left alone; a crate that is linked into the program gives way to it,
/// but for that of the built-in plugins.
///
/// # Errors
/// The file cannot be trusted (unless the registry is [trusting](Registry::trusting)), is no
/// plugin, was built by another compiler or against another fame-core, or brings a name that is
/// taken. Nothing is added then.
pub fn load(registry: &mut Registry, path: &Path) -> Result<()> {
    let file = PluginFile::read(path)?;
    if registry.libraries().iter().any(|known| known.file == file.real) {
        return Ok(());
    }
    if !registry.is_trusting() {
        file.check_place()?;
    }
    let brought = file.open()?;
    registry.add_library(Library { record: file.record(), file: file.real }, brought)
}

impl PluginFile {
    /// Reads what the file at `path` says about itself.
    ///
    /// # Errors
    /// There is no such file, it is no object file or cut short, it is no plugin, or its
    /// declaration is not one of this fame.
    pub fn read(path: &Path) -> Result<Self> {
        let real = place::real(path)?;
        let opened = open_ordinary(&real)?;
        let declared = declared(&opened).map_err(|e| e.at(format!("`{}`", path.display())))?;
        let failed = |e: std::io::Error| Error::io("read", path, &e);
        (&opened).seek(SeekFrom::Start(0)).map_err(failed)?;
        let sha256 = sha256_of(&opened).map_err(failed)?;
        Ok(Self { path: path.to_owned(), sha256, real, declared, opened: Arc::new(opened) })
    }

    /// Whether only this user and root can have put or changed the file. It and every folder above
    /// must belong to one of them; neither it nor its folder may be writable by every user or by a
    /// group, nor a folder above, unless it has the sticky bit. The same holds for every link and
    /// folder on the way that the path takes as it was given. On systems without such permissions
    /// this is not checked.
    ///
    /// # Errors
    /// What is open to others.
    pub fn check_place(&self) -> Result<()> {
        let about = self.opened.metadata().map_err(|e| Error::io("read", &self.real, &e))?;
        place::check(&self.path, &self.real, &about)
    }

    /// Whether it was built by the same compiler against the same fame-core as this program.
    ///
    /// # Errors
    /// The first difference, with both sides and the way out.
    pub fn fits(&self) -> Result<()> {
        self.declared
            .iter()
            .try_for_each(Declared::fits)
            .map_err(|e| e.at(format!("`{}`", self.path.display())))
    }

    /// Opens the library and takes its plugins: **runs its code.** It stays open for the life of
    /// the process.
    ///
    /// # Errors
    /// It does not fit (see [`PluginFile::fits`]), the system cannot open it, or it brings nothing.
    pub(crate) fn open(&self) -> Result<Vec<Registration>> {
        self.fits()?;
        let library = open_library(&self.name_to_open()).map_err(|e| self.cannot_open(&e))?;
        let mut taken = Vec::new();
        for declared in &self.declared {
            let entry = entry(library, &declared.entry).map_err(|e| self.cannot_open(&e))?;
            let from = format!("{} {} ({})", declared.name, declared.version, self.path.display());
            // Never closed, so whatever it brings lives as long as the process; its origin may do
            // so too.
            let from: &'static str = from.leak();
            entry(&mut |registration| taken.push(registration.from(from)))
                .map_err(|e| e.at(format!("`{}`", self.path.display())))?;
        }
        Ok(taken)
    }

    /// The name by which the system opens the very file that was checked. It stays open with the
    /// library, so that its name stays true.
    #[cfg(target_os = "linux")]
    fn name_to_open(&self) -> PathBuf {
        use std::os::fd::AsRawFd as _;
        // The system looks for what lies beside a library beside the name that it was opened by.
        if self.needs_its_place() {
            return self.real.clone();
        }
        let name = format!("/proc/self/fd/{}", self.opened.as_raw_fd()).into();
        std::mem::forget(self.opened.clone());
        name
    }

    /// Elsewhere an open file has no name of its own.
    #[cfg(not(target_os = "linux"))]
    fn name_to_open(&self) -> PathBuf {
        self.real.clone()
    }

    /// Whether the library asks for others that lie beside it (`$ORIGIN`).
    #[cfg(target_os = "linux")]
    fn needs_its_place(&self) -> bool {
        let cache = ReadCache::new(&*self.opened);
        let Ok(object) = object::File::parse(&cache) else { return false };
        let names = object.section_by_name(".dynstr").and_then(|section| section.data().ok());
        let places = [&b"$ORIGIN"[..], b"${ORIGIN}"];
        names.is_some_and(|names| {
            places.iter().any(|place| names.windows(place.len()).any(|window| window == *place))
        })
    }

    fn cannot_open(&self, error: &libloading::Error) -> Error {
        Error::new(
            "fame::plugin::cannot_open",
            format!(
                "the system cannot open the plugin `{}`: {}.",
                self.path.display(),
                chain(error)
            ),
        )
        .with_help("A library it needs may be missing: `ldd` lists them.")
    }

    /// Name, version and hash of its plugins, for the record: the same wherever the file lies.
    pub fn record(&self) -> Value {
        let named = |d: &Declared| Value::Text(format!("{} {}", d.name, d.version));
        Value::Map(facts([
            ("plugins", Value::List(self.declared.iter().map(named).collect())),
            (
                "file",
                self.real.file_name().unwrap_or_default().to_string_lossy().into_owned().into(),
            ),
            ("sha256", self.sha256.as_str().into()),
        ]))
    }
}

/// The declarations in an object file.
fn declared(file: &File) -> Result<Vec<Declared>> {
    // Reads only what is asked for: a library may be large.
    let cache = ReadCache::new(file);
    let not_a_library = |e: object::Error| {
        Error::new(
            "fame::plugin::not_a_library",
            format!("it is not a shared library, or it is cut short: {}.", lower_first(&e.to_string())),
        )
        .with_help("A plugin is what `cargo build --release` makes of a crate with `crate-type = [\"cdylib\"]`.")
    };
    let object = object::File::parse(&cache).map_err(not_a_library)?;
    let Some(section) = SECTIONS.into_iter().find_map(|name| object.section_by_name(name)) else {
        return Err(Error::new("fame::plugin::not_a_plugin", "it is a library, but not a plugin of fame: it has no declaration.")
            .with_help(
                "A plugin's crate says `fame_core::export_plugin!();` once, and `crate-type = [\"cdylib\", \"rlib\"]` in its Cargo.toml.",
            ));
    };
    Declared::read_all(section.data().map_err(not_a_library)?)
}

fn lower_first(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

/// An error with everything behind it: `libloading` says what the system said only there.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |e| e.source());
    let said: Vec<String> =
        causes.map(|e| e.to_string().trim_end_matches('.').to_owned()).collect();
    said.join(": ")
}

/// Opens a library for the life of the process: what came out of it (functions, constants, objects)
/// is used everywhere and must never be unmapped.
#[allow(unsafe_code)]
fn open_library(path: &Path) -> Result<&'static libloading::Library, libloading::Error> {
    // SAFETY: opening a library runs its constructors, which are foreign code. Whoever named the
    // file asked for that. The declaration says that it is a plugin built by the same compiler from
    // the same fame-core, so its constructors are those of `inventory` and of its dependencies.
    let library = unsafe { libloading::Library::new(path) }?;
    Ok(Box::leak(Box::new(library)))
}

/// The entry `symbol` of a plugin.
#[allow(unsafe_code)]
fn entry(library: &'static libloading::Library, symbol: &str) -> Result<Entry, libloading::Error> {
    // SAFETY: the symbol's name comes from a declaration that only `export_plugin!` writes, next to
    // the function of this type. That the type means the same on both sides (calling convention,
    // layouts) is what the comparison of compiler, target, fame-core and layout was for. The
    // library is never closed.
    let entry = unsafe { library.get::<Entry>(symbol) }?;
    Ok(*entry)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn what_is_opened_is_the_file_that_was_checked_whatever_its_name_means_by_then() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("plugin.so");
        std::fs::write(&path, "checked").unwrap();
        let file = PluginFile {
            path: path.clone(),
            real: path.clone(),
            sha256: String::new(),
            declared: Vec::new(),
            opened: Arc::new(open_ordinary(&path).unwrap()),
        };
        std::fs::write(dir.path().join("other.so"), "swapped").unwrap();
        std::fs::rename(dir.path().join("other.so"), &path).unwrap();
        assert_eq!(std::fs::read_to_string(file.name_to_open()).unwrap(), "checked");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "swapped");
    }
}
