//! `fame-cli check RECIPE`: everything that can be known without running.

use std::process::ExitCode;

use fame_core::run::{check_data, rehearse};

use super::Failure;
use crate::{
    arguments::CheckArgs,
    setup::Setup,
    terminal::{out, out_line},
};

pub(crate) fn check(setup: &Setup, args: &CheckArgs) -> Result<ExitCode, Failure> {
    let (plan, store) = setup.plan(&args.recipe)?;
    let data = check_data(&plan, &store)?;
    let rehearsal = rehearse(&plan, &store)?;
    if let Some(problems) = rehearsal.problems {
        return Err(problems.into());
    }
    let model = rehearsal.model;
    if setup.json {
        out(&serde_json::to_string_pretty(&plan.record()).unwrap_or_default())?;
        return Ok(ExitCode::SUCCESS);
    }
    let names: Vec<&str> = plan.explain.iter().map(|(n, _)| n.as_str()).collect();
    let (items, notes) =
        data.map_or_else(|| (String::new(), Vec::new()), |(n, notes)| (counted(n), notes));
    for note in notes {
        out_line(&note)?;
    }
    for doubt in plan.doubts() {
        out_line(&format!("warning: {doubt}"))?;
    }
    for doubt in model.iter().flat_map(|model| model.doubts()) {
        out_line(&format!("warning: {doubt}"))?;
    }
    if let Some(why) = rehearsal.unseen {
        out_line(&format!("The first item was not looked at: {why}."))?;
    }
    match &model {
        Some(model) => model
            .outputs()
            .try_for_each(|(name, form)| out_line(&format!("output `{name}`: {form}.")))?,
        None => out("The model was not looked at: its file is not here yet.")?,
    }
    out_line(&format!(
        "{} is fine: model {}, backend {}, data {}{items}, explainers {}.",
        args.recipe.recipe.display(),
        plan.manifest.name,
        plan.backend.name,
        plan.data.name,
        names.join(", ")
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// The number of items, in brackets behind the dataset's name.
fn counted(items: usize) -> String {
    format!(" ({items} item{})", if items == 1 { "" } else { "s" })
}
