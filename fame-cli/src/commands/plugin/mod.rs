//! `fame-cli plugin check | list | new`: plugins of other people, and your own.

mod check;
mod list;
mod new;

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
        PluginAction::New(args) => new::new(setup, args).map(|()| ExitCode::SUCCESS),
    }
}
