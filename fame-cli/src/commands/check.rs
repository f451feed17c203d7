//! `fame-cli check RECIPE`: everything that can be known without running.

use std::process::ExitCode;

use super::Failure;
use crate::{arguments::CheckArgs, setup::Setup, terminal::out};

pub(crate) fn check(setup: &Setup, args: &CheckArgs) -> Result<ExitCode, Failure> {
    let (plan, _) = setup.plan(&args.recipe)?;
    if setup.json {
        out(&serde_json::to_string_pretty(&plan.record()).unwrap_or_default())?;
        return Ok(ExitCode::SUCCESS);
    }
    let names: Vec<&str> = plan.explain.iter().map(|(n, _)| n.as_str()).collect();
    out(&format!(
        "{} is fine: model {}, backend {}, data {}, explainers {}.",
        args.recipe.recipe.display(),
        plan.manifest.name,
        plan.backend.name,
        plan.data.name,
        names.join(", ")
    ))?;
    Ok(ExitCode::SUCCESS)
}
