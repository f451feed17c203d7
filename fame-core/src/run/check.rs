//! The recipe's check at work: its findings go into the record, and a fault fails the item.

use crate::{
    Error, Explanation, Model, Plan, Result, Sample,
    contract::LoadedCheck,
    data::{Facts, Value, facts},
};

/// The verdict of a check that found no fault, and of one that did.
const AGREES: &str = "agrees";
const DIFFERS: &str = "differs";

/// The name of the plan's check in records: `forward_check` for `ForwardCheck`.
pub(super) fn name(plan: &Plan) -> Option<String> {
    plan.check.as_ref().map(|check| snake_case(&check.name))
}

fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}

/// The plan's check with its model loaded.
pub(super) struct Checker<'a> {
    name: String,
    loaded: Box<dyn LoadedCheck + 'a>,
}

impl<'a> Checker<'a> {
    /// The plan's check made ready for `model`; `None` if the plan has no check.
    pub(super) fn load(plan: &'a Plan, model: &Model) -> Result<Option<Self>> {
        let Some((check, name)) = plan.check.as_ref().zip(name(plan)) else { return Ok(None) };
        Ok(Some(Self { name, loaded: check.plugin.load(model)? }))
    }

    /// Compares, and adds the finding to the facts of `explanation`.
    ///
    /// # Errors
    /// The fault that was found, or that nothing could be compared; and what the record says about
    /// it.
    pub(super) fn check(
        &self,
        model: &Model,
        sample: &Sample,
        mut explanation: Explanation,
    ) -> Result<Explanation, (Error, Facts)> {
        let finding = self
            .loaded
            .compare(model, sample, &explanation)
            .map_err(|error| (error, Facts::new()))?;
        let verdict = if finding.fault.is_none() { AGREES } else { DIFFERS };
        let mut found = finding.facts;
        found.insert("difference".to_owned(), finding.difference.into());
        found.insert("verdict".to_owned(), verdict.into());
        if let Some(fault) = finding.fault {
            return Err((fault, found));
        }
        explanation.facts.insert(self.name.clone(), Value::Map(found));
        Ok(explanation)
    }
}

/// The sum of the findings called `name` over what was `explained` of all items of a run; `None`
/// when nothing was checked.
pub(super) fn tally(name: &str, explained: impl Iterator<Item = Value>) -> Option<Value> {
    let (mut checked, mut differing, mut largest) = (0usize, 0usize, 0.0_f64);
    for of_item in explained {
        let Value::Map(all) = of_item else { continue };
        for check in all.values().filter_map(|of_explainer| of_explainer.get(name)) {
            checked += 1;
            let verdict = check.get("verdict").and_then(Value::as_str);
            differing += usize::from(verdict != Some(AGREES));
            let difference = check.get("difference").and_then(Value::as_f64);
            largest = largest.max(difference.unwrap_or(0.0));
        }
    }
    let about = facts([
        ("checked", checked.into()),
        ("differing", differing.into()),
        ("largest_difference", largest.into()),
    ]);
    (checked > 0).then_some(Value::Map(about))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_is_called_in_records_as_its_plugin_in_small_letters() {
        assert_eq!(snake_case("ForwardCheck"), "forward_check");
        assert_eq!(snake_case("Twice"), "twice");
    }

    #[test]
    fn a_run_is_told_how_many_checks_differ() {
        let item = |verdict: &str, difference: f64| {
            let check =
                Value::Map(facts([("verdict", verdict.into()), ("difference", difference.into())]));
            Value::Map(facts([("fame", Value::Map(facts([("forward_check", check)])))]))
        };
        let told = tally(
            "forward_check",
            [item("agrees", 1e-6), item("differs", 0.5), Value::Null].into_iter(),
        )
        .unwrap();
        assert_eq!(
            told,
            Value::Map(facts([
                ("checked", 2usize.into()),
                ("differing", 1usize.into()),
                ("largest_difference", 0.5.into())
            ]))
        );
        assert!(tally("forward_check", [Value::Map(Facts::new())].into_iter()).is_none());
    }
}
