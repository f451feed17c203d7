//! The report of everything that is wrong with a recipe.

use crate::{
    recipe::RecipeText,
    registry::UNKNOWN_PLUGIN,
    text::{Problem, Problems, SourcedProblem},
};

/// The label of a plugin in `plugins` that was not loaded.
pub(super) const REFUSED: &str = "this plugin is not loaded";

/// The `problems` without the names that nobody knows because the plugin that brings them was
/// refused: that is reported already.
pub(super) fn without_echoes(mut problems: Vec<Problem>) -> Vec<Problem> {
    if problems.iter().any(|p| p.label == REFUSED) {
        problems.retain(|p| p.code != UNKNOWN_PLUGIN);
    }
    problems
}

/// All problems of a recipe, sorted by place, and after them those `elsewhere`: in the manifests
/// that it names.
pub(super) fn report(
    text: &RecipeText,
    mut problems: Vec<Problem>,
    elsewhere: Vec<SourcedProblem>,
) -> Problems {
    problems.sort_by_key(|p| (p.span.start, p.span.end));
    let n = problems.len();
    let summary =
        format!("recipe `{}` has {n} error{}", text.name(), if n == 1 { "" } else { "s" });
    let own = problems.into_iter().map(|p| text.sourced(p));
    Problems { summary, each: own.chain(elsewhere).collect() }
}
