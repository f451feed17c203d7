//! `fame-cli plugin check | list`: plugins that are loaded while fame runs.

mod check;
mod list;

use std::process::ExitCode;

use super::Failure;
use crate::{
    arguments::{PluginAction, PluginArgs},
    setup::Setup,
};

pub(crate) fn plugin(setup: &Setup, args: &PluginArgs) -> Result<ExitCode, Failure> {
    match &args.action {
        PluginAction::Check { file } => check::check(setup, file),
        PluginAction::List => list::list(setup),
    }?;
    Ok(ExitCode::SUCCESS)
}
