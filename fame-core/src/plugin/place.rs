//! Whose file it is: a library is only opened where nobody else could have put or changed it.

use std::{
    fs::Metadata,
    path::{Path, PathBuf},
};

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

/// Whether only this user and root can have put or changed the file that `of_file` is about, and
/// which is called `file` (a real path): it and every folder above belong to one of them, and
/// neither others nor a group may write there. The group that has this user's own number is this
/// user. A folder that others may write is harmless above the file's own if it has the sticky bit,
/// as `/tmp` has: there nobody can take away what is not theirs.
///
/// # Errors
/// What is open to whom, and how to close it.
#[cfg(unix)]
pub(super) fn check(file: &Path, of_file: &Metadata) -> Result<()> {
    require_own("plugin", file, of_file, false)?;
    for (above, folder) in file.ancestors().skip(1).enumerate() {
        let about = std::fs::metadata(folder).map_err(|e| Error::io("read", folder, &e))?;
        require_own("folder", folder, &about, above > 0)?;
    }
    Ok(())
}

/// Elsewhere there are no such bits to look at.
#[cfg(not(unix))]
pub(super) fn check(_: &Path, _: &Metadata) -> Result<()> {
    Ok(())
}

/// Refuses `path`, a `what`, if somebody else may write there; `sticky_will_do` where the sticky bit
/// is enough.
#[cfg(unix)]
fn require_own(what: &str, path: &Path, about: &Metadata, sticky_will_do: bool) -> Result<()> {
    use std::os::unix::fs::MetadataExt as _;
    const OTHERS_WRITE: u32 = 0o002;
    const GROUP_WRITES: u32 = 0o020;
    const STICKY: u32 = 0o1000;
    let me = rustix::process::geteuid().as_raw();
    if about.uid() != me && about.uid() != 0 {
        let message = format!(
            "the {what} `{}` belongs to another user (uid {}), and fame runs as uid {me}.",
            path.display(),
            about.uid()
        );
        return Err(Error::new("fame::plugin::foreign_owner", message)
            .with_help("Loading a plugin runs its code. If you trust it, copy it to a folder of yours, or say --trust-plugin."));
    }
    let mode = about.mode();
    if sticky_will_do && mode & STICKY != 0 {
        return Ok(());
    }
    if mode & OTHERS_WRITE != 0 {
        return Err(open_to("world_writable", "every user of this machine", "o-w", what, path));
    }
    // Root's own group is no private one: on many systems it has members.
    let is_own_group = about.gid() == me && me != 0;
    if mode & GROUP_WRITES != 0 && !is_own_group {
        let who = format!("every member of the group {}", about.gid());
        return Err(open_to("group_writable", &who, "g-w", what, path));
    }
    Ok(())
}

#[cfg(unix)]
fn open_to(code: &str, who: &str, close: &str, what: &str, path: &Path) -> Error {
    let message = format!("the {what} `{}` can be written by {who}.", path.display());
    Error::new(format!("fame::plugin::{code}"), message).with_help(format!(
        "Loading a plugin runs its code, so nobody else may be able to change it: `chmod {close} {}`, or say --trust-plugin if it is safe all the same.",
        path.display()
    ))
}
