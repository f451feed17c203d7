//! What a method's map shows, and what it does not: the sentence that each explainer says of
//! itself.

use std::{collections::BTreeMap, sync::LazyLock};

use fame_core::registry::{Kind, Registry};

/// Sentences by the explainer's name, of all that are linked into the program.
static CLAIMS: LazyLock<BTreeMap<&'static str, &'static str>> = LazyLock::new(|| {
    let Ok(registry) = Registry::builtin() else { return BTreeMap::new() };
    let names = registry.names(Kind::Explainer).into_iter();
    let known = names.filter_map(|name| registry.get(Kind::Explainer, name));
    known.map(|explainer| (explainer.name(), explainer.claim())).collect()
});

/// What a map of the explainer called `plugin` shows, and what it does not: one sentence.
pub fn of(plugin: &str) -> &'static str {
    let said = CLAIMS.get(plugin).filter(|claim| !claim.is_empty());
    said.unwrap_or(&"Nobody has said what a map of this method shows: ask whoever made it.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_explainer_says_what_it_shows() {
        assert!(CLAIMS.len() > 40, "{CLAIMS:?}");
        for (name, claim) in &*CLAIMS {
            let is_sentence = claim.starts_with("Shows ") && claim.ends_with('.');
            assert!(is_sentence, "{name}: {claim:?}");
            assert_eq!(of(name), *claim);
        }
        assert!(of("Mine").contains("Nobody has said"));
    }
}
