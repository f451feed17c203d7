//! The first classes of an output, for the record: a reader sees at once whether a wrong picture
//! was asked about.

use fame_core::{
    ask::softmax,
    data::{Value, facts},
};

/// The fact of a target that lists the first classes of the clean picture.
pub(crate) const TOP_BEFORE: &str = "top_before";

/// How many classes are listed.
const CLASSES: usize = 5;

/// The classes with the highest of `scores`, highest first: index, name where `labels` has one, and
/// probability. Scores that are probabilities are not put through a softmax once more.
pub(crate) fn top_classes(scores: &[f32], labels: &[String], are_probabilities: bool) -> Value {
    let given = || scores.iter().map(|p| f64::from(*p)).collect();
    let all: Vec<f64> = if are_probabilities { given() } else { softmax(scores) };
    let mut order: Vec<usize> = (0..all.len()).collect();
    order.sort_by(|a, b| all[*b].total_cmp(&all[*a]));
    let one = |class: usize| {
        let mut about =
            facts([("class", class.into()), ("probability", (all[class] as f32).into())]);
        about.extend(labels.get(class).map(|name| ("name".to_owned(), name.as_str().into())));
        Value::Map(about)
    };
    Value::List(order.into_iter().take(CLASSES).map(one).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_classes_come_first_with_their_names() {
        let labels = ["cat", "dog"].map(str::to_owned);
        let Value::List(top) = top_classes(&[0.0, 3f32.ln()], &labels, false) else { panic!() };
        assert_eq!(top.len(), 2);
        assert_eq!(top[0].get("name").unwrap().as_str(), Some("dog"));
        assert!((top[0].get("probability").unwrap().as_f64().unwrap() - 0.75).abs() < 1e-6);
        let Value::List(given) = top_classes(&[0.2, 0.1, 0.7], &labels, true) else { panic!() };
        assert_eq!(given[0].get("class"), Some(&2usize.into()));
        assert_eq!(
            (given[0].get("name"), given[0].get("probability")),
            (None, Some(&0.7f32.into()))
        );
        let Value::List(many) = top_classes(&[0.0; 9], &[], false) else { panic!() };
        assert_eq!(many.len(), CLASSES);
    }
}
