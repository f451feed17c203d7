//! Runs a converter: a Python script that makes an ONNX file of another format.

use std::fs;
use std::path::{Path, PathBuf};

use super::cache::{self, Cache};
use super::events::FetchEvent;
use super::tools::{Tool, Tools};
use crate::data::sha256_hex;
use crate::{Error, Result};

/// The converter of one manifest.
pub(super) struct Converter<'a> {
    pub(super) tools: &'a Tools,
    pub(super) cache: &'a Cache,
    /// The script on disk.
    pub(super) script: PathBuf,
    /// Its name for people.
    pub(super) name: &'a str,
    pub(super) requirements: &'a [String],
}

impl Converter<'_> {
    /// Runs `script input output`.
    pub(super) fn run(
        &self,
        input: &Path,
        output: &Path,
        progress: &mut dyn FnMut(FetchEvent),
    ) -> Result<()> {
        let packages = self.packages(progress)?;
        progress(FetchEvent::Converting { script: self.name.to_owned() });
        let what = format!("convert `{}` with `{}`", input.display(), self.name);
        let mut command = self.tools.command(Tool::Python, &what)?;
        // Only the pinned packages count, not what this user happens to have installed.
        command
            .arg("-s")
            .arg(&self.script)
            .arg(input)
            .arg(output)
            .env("PYTHONPATH", packages)
            .env_remove("PYTHONHOME");
        Tools::run(command, Tool::Python, "fame::model::convert", &what)?;
        if output.is_file() {
            return Ok(());
        }
        Err(Error::new(
            "fame::model::convert",
            format!("`{}` ended well but wrote no file.", self.name),
        )
        .with_help(
            "A converter is called with two arguments, INPUT and OUTPUT, and must write OUTPUT.",
        ))
    }

    /// The folder with the installed requirements; installs them the first time.
    fn packages(&self, progress: &mut dyn FnMut(FetchEvent)) -> Result<PathBuf> {
        let what = format!("install {} for `{}`", self.requirements.join(" "), self.name);
        let mut version = self.tools.command(Tool::Python, &what)?;
        version.arg("--version");
        // Compiled packages fit one Python on one kind of machine.
        let python = Tools::run(version, Tool::Python, "fame::model::convert", &what)?;
        let key = format!(
            "{} {} {} {}",
            python.trim(),
            std::env::consts::OS,
            std::env::consts::ARCH,
            self.requirements.join(" ")
        );
        let key = &sha256_hex(key.as_bytes())[..16];
        let folder = self.cache.python(key);
        if folder.is_dir() {
            return Ok(folder);
        }
        let _lock = self.cache.lock(&format!("python-{key}"), || {
            progress(FetchEvent::Waiting { what: self.requirements.join(" ") });
        })?;
        if folder.is_dir() {
            return Ok(folder);
        }
        let work = self.cache.work_folder()?;
        let target = work.path().join("site");
        cache::make_folder(&target)?;
        if !self.requirements.is_empty() {
            progress(FetchEvent::Started { what: self.requirements.join(" "), tool: Tool::Pip });
            let mut install = self.tools.command(Tool::Pip, &what)?;
            // Wheels only, and nothing that is not pinned: no code of a package runs here, and the
            // result does not drift.
            install
                .args(["install", "--only-binary=:all:", "--no-deps", "--target"])
                .arg(&target)
                .args(self.requirements);
            install.current_dir(work.path());
            Tools::run(install, Tool::Pip, "fame::model::convert", &what)?;
        }
        if let Some(parent) = folder.parent() {
            cache::make_folder(parent)?;
        }
        match fs::rename(&target, &folder) {
            // Without locks another process may have been first; its folder holds the same.
            Err(_) if folder.is_dir() => Ok(folder),
            Err(error) => Err(Error::io("write", &folder, &error)),
            Ok(()) => Ok(folder),
        }
    }
}
