//! `fame-cli report OUT`: the report of a finished run, made again.

use std::process::ExitCode;

use fame_plugins::writers::Report;

use super::Failure;
use crate::{
    arguments::ReportArgs,
    setup::Setup,
    terminal::{out, out_line},
};

pub(crate) fn report(setup: &Setup, args: &ReportArgs) -> Result<ExitCode, Failure> {
    let place = Report::of_run(&args.out)?;
    if setup.json {
        out(&serde_json::json!({ "report": place }).to_string())?;
    } else {
        out_line(&format!("wrote {}", place.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}
