//! `fame-cli completions SHELL` and `fame-cli man DIR`: what a shell and `man` want to know of the
//! arguments.

use std::{path::Path, process::ExitCode};

use clap::{Command, CommandFactory as _};
use fame_core::Error;

use super::{Failure, write_new};
use crate::{
    arguments::{Arguments, CompletionsArgs, ManArgs},
    terminal::out,
};

/// The program's name.
const NAME: &str = "fame-cli";

pub(crate) fn completions(args: &CompletionsArgs) -> Result<ExitCode, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Arguments::command(), NAME, &mut script);
    out(String::from_utf8_lossy(&script).trim_end())?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn man(args: &ManArgs) -> Result<ExitCode, Failure> {
    let folder = &args.folder;
    std::fs::create_dir_all(folder).map_err(|e| Error::io("create", folder, &e))?;
    let mut command = Arguments::command().disable_help_subcommand(true);
    command.build();
    let mut pages = Vec::new();
    draw(&command, &mut pages).map_err(|e| Error::io("draw the man pages of", folder, &e))?;
    // Before the first one is written.
    let mut places = pages.iter().map(|(name, _)| folder.join(name));
    if let Some(taken) = places.find(|place| is_there(place)) {
        let message = format!("`{}` is there already, and was not touched.", taken.display());
        let error = Error::new("fame::man::taken", message);
        return Err(error.with_help("Nothing was written. Name a new folder.").into());
    }
    for (name, page) in pages {
        write_new(&folder.join(name), &page)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The pages of `command` and of all commands below it: name of the file, and text.
fn draw(command: &Command, pages: &mut Vec<(String, Vec<u8>)>) -> std::io::Result<()> {
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        draw(below, pages)?;
    }
    let man = clap_mangen::Man::new(command.clone());
    let mut page = Vec::new();
    man.render(&mut page)?;
    pages.push((man.get_filename(), page));
    Ok(())
}

/// Whether anything lies at `place`, also a link to nothing.
fn is_there(place: &Path) -> bool {
    std::fs::symlink_metadata(place).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn man_pages_replace_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let into = |folder: &str| man(&ManArgs { folder: dir.path().join(folder) });
        assert!(into("new").is_ok());
        let page = std::fs::read_to_string(dir.path().join("new/fame-cli-run.1")).unwrap();
        assert!(page.contains(".TH"), "{page}");
        // Also not what lies behind a link.
        let (mine, folder) = (dir.path().join("mine"), dir.path().join("linked"));
        std::fs::write(&mine, "precious").unwrap();
        std::fs::create_dir(&folder).unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(&mine, folder.join("fame-cli.1")).unwrap();
        #[cfg(not(unix))]
        std::fs::write(folder.join("fame-cli.1"), "precious").unwrap();
        let Err(Failure::Error(refused)) = into("linked") else { panic!("it was written over") };
        assert_eq!(refused.code, "fame::man::taken");
        assert_eq!(std::fs::read_to_string(&mine).unwrap(), "precious");
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1, "nothing else was written");
    }
}
