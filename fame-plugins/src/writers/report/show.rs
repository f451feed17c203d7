//! Values of the record as text for readers.

use serde_json::Value;

use crate::as_typed::as_typed;

/// A number with four digits that matter.
pub(super) fn number(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return if value == 0.0 { "0".to_owned() } else { "not finite".to_owned() };
    }
    if value.fract() == 0.0 && value.abs() < 1e9 {
        return format!("{value:.0}");
    }
    if !(1e-4..1e6).contains(&value.abs()) {
        return format!("{value:.2e}");
    }
    let decimals = (3 - value.abs().log10().floor() as i32).clamp(0, 6) as usize;
    let text = format!("{value:.decimals$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// A part of 1 in percent.
pub(super) fn percent(value: f64) -> String {
    format!("{:.1} %", value * 100.0)
}

/// A fact on one line: text and numbers as they are, plugins and what is nested as a recipe writes
/// it.
pub(super) fn fact(value: &Value) -> String {
    match value {
        Value::Null => "–".to_owned(),
        Value::Bool(yes) => if *yes { "yes" } else { "no" }.to_owned(),
        Value::String(text) => text.clone(),
        Value::Number(n) => n.as_f64().map_or_else(|| n.to_string(), number),
        Value::Array(list) if list.iter().all(|v| !v.is_array() && !v.is_object()) => {
            list.iter().map(fact).collect::<Vec<_>>().join(", ")
        }
        nested => as_typed(nested),
    }
}

/// A number of things: `1 item`, `2 items`.
pub(super) fn count(n: usize, thing: &str) -> String {
    format!("{n} {thing}{}", if n == 1 { "" } else { "s" })
}

/// A name of the record as words: `loss_before` is `loss before`.
pub(super) fn words(name: &str) -> String {
    name.replace('_', " ")
}

/// A duration in the unit that suits it.
pub(super) fn seconds(value: f64) -> String {
    match value {
        v if v < 1.0 => format!("{:.0} ms", v * 1000.0),
        v if v < 120.0 => format!("{v:.1} s"),
        v if v < 7200.0 => format!("{:.0} min", v / 60.0),
        v => format!("{:.1} h", v / 3600.0),
    }
}

/// Why a walk ended, in words.
pub(super) fn stop(word: &str) -> String {
    match word {
        "iterations" => "all steps were taken",
        "loss_below" => "the loss fell below its bound",
        "relative_drop" => "the loss lost the asked part of its first value",
        "plateau" => "the loss no longer improved",
        "zero_gradient" => "the gradient was zero",
        "not_finite" => "the loss or its gradient was not finite",
        other => other,
    }
    .to_owned()
}

/// What a map's values speak for.
pub(super) fn claim(word: &str) -> &str {
    match word {
        "for" => "evidence for (e+)",
        "against" => "evidence against (e−)",
        "both" => "for above, against below the middle",
        "neither" => "takes no side",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_four_digits_that_matter() {
        for (value, text) in [
            (0.0, "0"),
            (-0.25, "-0.25"),
            (0.779_610_46, "0.7796"),
            (12.345_67, "12.35"),
            (1.0, "1"),
            (1234.5, "1234"),
            (3.2e-6, "3.20e-6"),
            (f64::NAN, "not finite"),
        ] {
            assert_eq!(number(value), text);
        }
        assert_eq!(percent(0.6213), "62.1 %");
        assert_eq!(seconds(0.0123), "12 ms");
        assert_eq!(seconds(7300.0), "2.0 h");
    }

    #[test]
    fn facts_are_text() {
        let list = serde_json::json!([1, "b", 0.5]);
        assert_eq!(fact(&list), "1, b, 0.5");
        assert_eq!(fact(&serde_json::json!({"Lots": {"n": 1}})), "Lots(n: 1)");
        assert_eq!(fact(&Value::Null), "–");
    }
}
