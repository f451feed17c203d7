//! Errors of libtorch in fame's words.

use fame_core::Error;

/// The error for `what` that failed in libtorch, without its C++ stack.
pub(super) fn failed(what: &str, error: &tch::TchError) -> Error {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default().trim_end_matches('.');
    Error::new("fame::backend::run", format!("{what} failed in libtorch: {line}."))
}
