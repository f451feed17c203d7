//! `fame-cli merge OUT`: the second stage of a run in shards.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use fame_core::{
    Error,
    run::{RunOptions, ShardState, merge as merge_shards, remove_shards, shards},
};

use super::{Failure, recipes, run::carry_out};
use crate::{
    arguments::{MergeArgs, RecipeArgs},
    setup::{BUILT_IN, Setup},
};

pub(crate) fn merge(setup: &Setup, args: &MergeArgs) -> Result<ExitCode, Failure> {
    let states = shards(&args.out)?;
    let started = states.iter().find_map(|state| state.recipe.clone());
    let (recipe, set) = match (&args.recipe, started) {
        (Some(recipe), started) => (recipe.clone(), started.unwrap_or_default().1),
        (None, Some((recipe, set))) => (built_in(&recipe).unwrap_or(recipe), set),
        (None, None) => return Err(nothing_to_merge(args).into()),
    };
    if args.recipe.is_none() && !recipe.exists() && recipes::called(&recipe).is_none() {
        return Err(recipe_is_gone(&recipe).into());
    }
    // Whatever can fail before anything is moved fails now.
    let (plan, store) = setup.plan(&RecipeArgs { recipe, set })?;
    let now = plan.text.original();
    if let Some(shard) = states.iter().find(|s| s.text.as_deref().is_some_and(|text| text != now)) {
        return Err(other_recipe(&shard.folder).into());
    }
    let (limit, only) = one_question(&states)?;
    merge_shards(&args.out)?;
    let options =
        RunOptions { limit, only, stop: setup.stop.clone(), ..RunOptions::new(&args.out) };
    let code = carry_out(setup, &plan, &store, &options, None)?;
    remove_shards(&args.out)?;
    Ok(code)
}

/// The name of a recipe that came with the program, where the shards were run with one.
fn built_in(recorded: &Path) -> Option<PathBuf> {
    let name = recorded.file_name()?.to_str()?.strip_suffix(BUILT_IN)?;
    recipes::called(Path::new(name)).map(|(name, _)| name.into())
}

/// The selection of items that all shards were run with.
///
/// # Errors
/// When two shards were run with other values set in the recipe, or with other selections: what one
/// of them did would be thrown away, or done for items that nobody asked for.
fn one_question(states: &[ShardState]) -> Result<(Option<usize>, Vec<String>), Error> {
    let mut started = states.iter().filter(|state| state.recipe.is_some());
    let Some(first) = started.next() else { return Ok((None, Vec::new())) };
    let set = |state: &ShardState| state.recipe.clone().unwrap_or_default().1;
    for other in started {
        let differ = |what: &str| {
            let message = format!(
                "the shards in `{}` and `{}` were run with another {what}.",
                first.folder.display(),
                other.folder.display()
            );
            let error = Error::new("fame::run::other_question", message);
            error.with_help(
                "Nothing was moved. Run them again with the same command but for --shard.",
            )
        };
        if set(other) != set(first) {
            return Err(differ("--set"));
        }
        if (other.limit, &other.only) != (first.limit, &first.only) {
            return Err(differ("--limit or --only"));
        }
    }
    Ok((first.limit, first.only.clone()))
}

/// The error of a recipe that is not the shards': merged with it, all they did would be done anew.
fn other_recipe(shard: &Path) -> Error {
    let message =
        format!("the recipe has changed since the shard in `{}` read it.", shard.display());
    Error::new("fame::run::other_recipe", message).with_help(
        "Name the recipe as it was, `--recipe FILE` (its text is in the shard's run.json), or run the shards again.",
    )
}

/// The error of a recipe that is not where the shards read it.
fn recipe_is_gone(recipe: &Path) -> Error {
    let message =
        format!("there is no `{}`, the recipe that the shards were run with.", recipe.display());
    Error::new("fame::run::no_recipe", message).with_help(
        "Nothing was moved. Say where it lies now, or name one that came with this program: \
         `fame-cli merge OUT --recipe FILE`. Its text is in the shards' run.json.",
    )
}

fn nothing_to_merge(args: &MergeArgs) -> Error {
    let message = format!("`{}` holds no shards.", args.out.display());
    Error::new("fame::run::no_shards", message).with_help(
        "They are merged already, or none has started: `fame-cli run RECIPE --out OUT --shard 0/2` does the first of two.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_of_a_recipe_that_came_with_the_program_are_merged_by_it() {
        let recorded = Path::new("/somewhere/fr_similar (built in)");
        assert_eq!(built_in(recorded), Some("fr_similar".into()));
        assert_eq!(built_in(Path::new("/somewhere/mine (built in)")), None);
        assert_eq!(built_in(Path::new("/somewhere/fr_similar.ron")), None);
    }
}
