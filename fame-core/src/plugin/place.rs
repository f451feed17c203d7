//! Whose file it is: a library is only opened where nobody else could have put or changed it.

use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// The file behind `path`, with all links followed.
///
/// # Errors
/// When there is none (with the nearest name), or it is no ordinary file.
pub(super) fn real(path: &Path) -> Result<PathBuf> {
    let real = std::fs::canonicalize(path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => missing(path),
        _ => Error::io("read", path, &e),
    })?;
    if real.is_file() {
        return Ok(real);
    }
    Err(Error::new("fame::plugin::not_a_file", format!("`{}` is not a file.", path.display()))
        .with_help("A plugin is a shared library, such as `target/release/libmy_plugin.so`."))
}

fn missing(path: &Path) -> Error {
    let mut error =
        Error::new("fame::plugin::missing", format!("there is no plugin `{}`.", path.display()));
    let near = crate::text::near_file(path);
    error.help = Some(near.unwrap_or_else(|| {
        "`cargo build --release` leaves it in `target/release`. Paths of a recipe's `plugins` start from the recipe, those of --plugin from the working folder.".to_owned()
    }));
    error
}

/// Whether only this user and root can have put or changed `file` (a real path): it belongs to one
/// of them, others may not write it, nor the folder it lies in, nor may they replace a folder above
/// (a folder that others may write is harmless there if it has the sticky bit, as `/tmp` has).
///
/// # Errors
/// What is open to others, and how to close it.
#[cfg(unix)]
pub(super) fn check(file: &Path) -> Result<()> {
    use std::os::unix::fs::MetadataExt as _;
    const OTHERS_WRITE: u32 = 0o002;
    const STICKY: u32 = 0o1000;
    let about = |path: &Path| std::fs::metadata(path).map_err(|e| Error::io("read", path, &e));
    let me = rustix::process::geteuid().as_raw();
    let of_file = about(file)?;
    if of_file.uid() != me && of_file.uid() != 0 {
        let message = format!(
            "`{}` belongs to another user (uid {}), and fame runs as uid {me}.",
            file.display(),
            of_file.uid()
        );
        return Err(Error::new("fame::plugin::foreign_owner", message)
            .with_help("Loading a plugin runs its code. If you trust it, copy it to a folder of yours, or say --trust-plugin."));
    }
    if of_file.mode() & OTHERS_WRITE != 0 {
        return Err(open_to_all("plugin", file));
    }
    let folders = file.ancestors().skip(1).enumerate();
    for (above, folder) in folders {
        let mode = about(folder)?.mode();
        if mode & OTHERS_WRITE != 0 && (above == 0 || mode & STICKY == 0) {
            return Err(open_to_all("folder", folder));
        }
    }
    Ok(())
}

/// Elsewhere there are no such bits to look at.
#[cfg(not(unix))]
pub(super) fn check(_: &Path) -> Result<()> {
    Ok(())
}

#[cfg(unix)]
fn open_to_all(what: &str, path: &Path) -> Error {
    let message =
        format!("the {what} `{}` can be written by every user of this machine.", path.display());
    Error::new("fame::plugin::world_writable", message).with_help(format!(
        "Loading a plugin runs its code, so nobody else may be able to change it: `chmod o-w {}`, or say --trust-plugin if it is safe all the same.",
        path.display()
    ))
}
