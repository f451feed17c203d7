//! The items of a limited run: the first ones, the kinds of items in turn.

/// At most `limit` of `items`, in their order: the first of each kind, then the second of each, and
/// so on, where `kind` says which kind an item is. A list with all of one kind before the other
/// would otherwise give a short run half of what is measured.
pub(super) fn first_of_each<T>(items: Vec<T>, limit: usize, kind: impl Fn(&T) -> usize) -> Vec<T> {
    if limit >= items.len() {
        return items;
    }
    let kinds: Vec<usize> = items.iter().map(kind).collect();
    // How many of its own kind stand before each item: smaller numbers come first.
    let mut order: Vec<(usize, usize)> = Vec::with_capacity(items.len());
    let mut seen = std::collections::BTreeMap::new();
    for (n, kind) in kinds.iter().enumerate() {
        let before: &mut usize = seen.entry(*kind).or_default();
        order.push((*before, n));
        *before += 1;
    }
    order.sort_unstable();
    let mut chosen = vec![false; items.len()];
    order.iter().take(limit).for_each(|(_, n)| chosen[*n] = true);
    items.into_iter().zip(chosen).filter_map(|(item, chosen)| chosen.then_some(item)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_taken_in_turn_and_keep_their_order() {
        let items = || vec!["a0", "a1", "a2", "b0", "b1", "b2"];
        let kind = |item: &&str| usize::from(item.starts_with('b'));
        assert_eq!(first_of_each(items(), 4, kind), ["a0", "a1", "b0", "b1"]);
        assert_eq!(first_of_each(items(), 3, kind), ["a0", "a1", "b0"]);
        assert_eq!(first_of_each(items(), 3, |_| 0), ["a0", "a1", "a2"], "of one kind the first");
        assert_eq!(first_of_each(items(), 9, kind).len(), 6);
        assert!(first_of_each(items(), 0, kind).is_empty());
        // One kind is used up: the rest comes from the other.
        assert_eq!(first_of_each(vec!["a0", "b0", "b1", "b2"], 3, kind), ["a0", "b0", "b1"]);
    }
}
