//! `fame-cli completions SHELL` and `fame-cli man DIR`: what a shell and `man` want to know of the
//! arguments.

use std::process::ExitCode;

use clap::CommandFactory as _;
use fame_core::Error;

use super::Failure;
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
    std::fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(Arguments::command(), folder))
        .map_err(|e| Error::io("write man pages into", folder, &e))?;
    Ok(ExitCode::SUCCESS)
}
