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

/// Whether only this user and root can have put or changed the file that `of_file` is about, which
/// is called `file` (a real path) and was named by `written`: it, every folder above, and every
/// link and folder on the way that `written` takes belong to one of them, and neither others nor a
/// group may write there. The group that has this user's own number is this user. A folder that
/// others may write is harmless above the file's own if it has the sticky bit, as `/tmp` has: there
/// nobody can take away what is not theirs.
///
/// # Errors
/// What is open to whom, and how to close it.
#[cfg(unix)]
pub(super) fn check(written: &Path, file: &Path, of_file: &Metadata) -> Result<()> {
    require_own("plugin", file, of_file, false)?;
    for (above, folder) in file.ancestors().skip(1).enumerate() {
        require_own("folder", folder, &about(folder)?, above > 0)?;
    }
    check_way(written)
}

/// Elsewhere there are no such bits to look at.
#[cfg(not(unix))]
pub(super) fn check(_: &Path, _: &Path, _: &Metadata) -> Result<()> {
    Ok(())
}

/// What the system says about `path`, where a link is the link itself.
#[cfg(unix)]
fn about(path: &Path) -> Result<Metadata> {
    std::fs::symlink_metadata(path).map_err(|e| Error::io("read", path, &e))
}

/// Whether nobody else can have put or changed a link on the way that `written` takes, as the
/// system walks it: whoever can, says what is loaded.
#[cfg(unix)]
fn check_way(written: &Path) -> Result<()> {
    /// As many as Linux follows.
    const MOST_LINKS: usize = 40;
    let backwards = |path: &Path| -> Vec<std::ffi::OsString> {
        path.components().rev().map(|part| part.as_os_str().to_owned()).collect()
    };
    let failed = |e: std::io::Error| Error::io("read", written, &e);
    let mut ahead = backwards(&std::path::absolute(written).map_err(failed)?);
    let mut links = 0;
    // Without links, so that `..` leads back.
    let mut here = PathBuf::from("/");
    while let Some(part) = ahead.pop() {
        match part.to_str() {
            Some("/") => here = PathBuf::from("/"),
            Some("..") => _ = here.pop(),
            _ => {
                require_own("folder", &here, &about(&here)?, true)?;
                let place = here.join(&part);
                let found = about(&place)?;
                if !found.is_symlink() {
                    here = place;
                    continue;
                }
                require_owner("link", &place, &found)?;
                links += 1;
                if links > MOST_LINKS {
                    return Err(failed(std::io::Error::other("too many links")));
                }
                ahead.extend(backwards(&std::fs::read_link(&place).map_err(failed)?));
            }
        }
    }
    Ok(())
}

/// Refuses `path`, a `what`, if somebody else may write there; `sticky_will_do` where the sticky
/// bit is enough.
#[cfg(unix)]
fn require_own(what: &str, path: &Path, about: &Metadata, sticky_will_do: bool) -> Result<()> {
    use std::os::unix::fs::MetadataExt as _;
    const OTHERS_WRITE: u32 = 0o002;
    const GROUP_WRITES: u32 = 0o020;
    const STICKY: u32 = 0o1000;
    require_owner(what, path, about)?;
    let me = rustix::process::geteuid().as_raw();
    let mode = about.mode();
    let is_sticky = mode & STICKY != 0;
    if sticky_will_do && is_sticky {
        return Ok(());
    }
    // A folder with the sticky bit is everybody's on purpose; what is root's only root can close.
    let can_close = about.uid() == me && !is_sticky;
    if mode & OTHERS_WRITE != 0 {
        let close = can_close.then_some("o-w");
        return Err(open_to("world_writable", "every user of this machine", close, what, path));
    }
    // Root's own group is no private one: on many systems it has members.
    let is_own_group = about.gid() == me && me != 0;
    if mode & GROUP_WRITES != 0 && !is_own_group {
        let who = format!("every member of the group {}", about.gid());
        return Err(open_to("group_writable", &who, can_close.then_some("g-w"), what, path));
    }
    Ok(())
}

/// Refuses `path`, a `what`, if it is neither this user's nor root's.
#[cfg(unix)]
fn require_owner(what: &str, path: &Path, about: &Metadata) -> Result<()> {
    use std::os::unix::fs::MetadataExt as _;
    let me = rustix::process::geteuid().as_raw();
    if about.uid() == me || about.uid() == 0 {
        return Ok(());
    }
    let message = format!(
        "the {what} `{}` belongs to another user (uid {}), and fame runs as uid {me}.",
        path.display(),
        about.uid()
    );
    Err(Error::new("fame::plugin::foreign_owner", message)
        .with_help("Loading a plugin runs its code. If you trust it, copy it to a folder of yours, or say --trust-plugin."))
}

/// The refusal of `path`, a `what` that `who` can write; `close` is what `chmod` is told, where
/// that is the way out.
#[cfg(unix)]
fn open_to(code: &str, who: &str, close: Option<&str>, what: &str, path: &Path) -> Error {
    let path = path.display();
    let message = format!("the {what} `{path}` can be written by {who}.");
    let way_out = match close {
        Some(close) => format!("`chmod {close} {path}`"),
        None => "copy it to a folder that only you can write".to_owned(),
    };
    Error::new(format!("fame::plugin::{code}"), message).with_help(format!(
        "Loading a plugin runs its code, so nobody else may be able to change it: {way_out}, or \
         say --trust-plugin if it is safe all the same.",
    ))
}

#[cfg(all(test, unix))]
mod tests {
    use std::{
        fs,
        os::unix::fs::{PermissionsExt as _, symlink},
    };

    use super::*;

    #[test]
    fn a_link_that_others_can_exchange_is_refused_wherever_it_stands() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().canonicalize().unwrap();
        for folder in ["mine", "open"] {
            fs::create_dir(base.join(folder)).unwrap();
            fs::set_permissions(base.join(folder), fs::Permissions::from_mode(0o700)).unwrap();
        }
        let file = base.join("mine/plugin.so");
        fs::write(&file, "").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        symlink("../mine/plugin.so", base.join("open/file.so")).unwrap();
        symlink("../mine", base.join("open/folder")).unwrap();
        // A link of one's own, in a folder of one's own, to one that others can exchange.
        symlink("../open/file.so", base.join("mine/twice.so")).unwrap();
        let check = |written: &str| {
            check(&base.join(written), &file, &fs::metadata(&file).unwrap()).map_err(|e| e.code)
        };
        let ways = ["open/file.so", "open/folder/plugin.so", "mine/twice.so"];
        for written in ways {
            assert_eq!(check(written), Ok(()), "{written}");
        }
        let open = |mode| fs::set_permissions(base.join("open"), fs::Permissions::from_mode(mode));
        open(0o777).unwrap();
        for written in ways {
            let refused = Err("fame::plugin::world_writable".to_owned());
            assert_eq!(check(written), refused, "{written}");
        }
        assert_eq!(check("mine/plugin.so"), Ok(()));
        // There nobody can exchange a link of mine.
        open(0o1777).unwrap();
        assert_eq!(check("open/file.so"), Ok(()));
    }

    #[test]
    fn nobody_is_told_to_close_a_folder_that_is_everybodys() {
        let help = |mode| {
            let dir = tempfile::tempdir().unwrap();
            fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode)).unwrap();
            let refused = require_own("folder", dir.path(), &about(dir.path()).unwrap(), false);
            refused.unwrap_err().help.unwrap()
        };
        assert!(help(0o777).contains("chmod o-w"));
        assert!(!help(0o1777).contains("chmod") && help(0o1777).contains("copy it to a folder"));
    }
}
