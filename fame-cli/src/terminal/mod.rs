//! The terminal: lines, bars, JSON events, rendered errors.

mod bars;
mod json;
mod layout;
mod lines;
mod pace;
mod preview;
mod story;

use std::{
    borrow::Cow,
    io::{IsTerminal as _, Write as _},
};

use fame_core::{report::escape, run::Observer};
use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme};

pub(crate) use json::problem_json;
pub(crate) use layout::{output_columns, row_by_row, table};
pub(crate) use pace::told;
pub(crate) use preview::{Preview, When as PreviewWhen};

/// Prints a text of any number of lines on standard output: a document, a table, a line without
/// names of others. An error (a closed pipe) is the caller's to end on, not a panic.
pub(crate) fn out(text: &str) -> std::io::Result<()> {
    bars::beside(|| writeln!(std::io::stdout().lock(), "{}", escape::terminal(text)))
}

/// Prints one line on standard output, whatever the names in it hold. Errors as for [`out`].
pub(crate) fn out_line(text: &str) -> std::io::Result<()> {
    bars::beside(|| writeln!(std::io::stdout().lock(), "{}", escape::terminal_line(text)))
}

/// Prints one line on standard error. A terminal that is gone or a full disk must not end a run
/// whose files are wanted: what cannot be said is in the record.
pub(crate) fn say(text: &str) {
    let line = escape::terminal_line(text);
    let _ = bars::beside(|| writeln!(std::io::stderr().lock(), "{line}"));
}

/// Prints lines of a picture, commands included, on standard error.
fn write_lines(lines: &[String]) {
    let _ = writeln!(std::io::stderr().lock(), "{}", lines.join("\n"));
}

/// Takes the progress bars away for good: the program ends, whatever is still at work.
pub(crate) fn end_bars() {
    bars::end();
}

/// Prints an error with its marked places and its way out on standard error: in colours only on a
/// terminal.
pub(crate) fn say_error(error: &dyn Diagnostic) {
    let plain = !std::io::stderr().is_terminal() || std::env::var_os("NO_COLOR").is_some();
    let text = render(error, !plain);
    let text = text.trim_end_matches('\n');
    let _ = bars::beside(|| writeln!(std::io::stderr().lock(), "{text}"));
}

/// A watcher that suits the output: JSON lines if asked for, bars on a terminal, plain lines
/// otherwise.
pub(crate) fn watcher(json: bool) -> Box<dyn Observer> {
    watcher_with(json, None)
}

/// The same, which shows the maps of finished items too.
pub(crate) fn watcher_with(json: bool, preview: Option<Preview>) -> Box<dyn Observer> {
    if json {
        Box::new(json::JsonLines::default())
    } else if has_bars() {
        Box::new(bars::Bars::new(preview))
    } else {
        Box::new(lines::Lines::new(preview))
    }
}

/// Whether standard error is a terminal that bars can be drawn on.
fn has_bars() -> bool {
    let is_dumb = std::env::var_os("TERM").map_or(cfg!(unix), |kind| kind == "dumb");
    std::io::stderr().is_terminal() && !is_dumb
}

/// Panics are bugs; say so in one line that can be reported, on top of Rust's own message.
pub(crate) fn install_handler() {
    let standard = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        say("fame-cli has a bug. Please report this with the recipe that led here:");
        standard(info);
    }));
}

/// An error as text for a terminal.
fn render(error: &dyn Diagnostic, in_colour: bool) -> String {
    let drawn = |theme| {
        let mut text = String::new();
        let handler = GraphicalReportHandler::new_themed(theme);
        let handler = handler.with_width(120).with_context_lines(1);
        match handler.render_report(&mut text, error) {
            Ok(()) => text,
            Err(_) => format!("error: {error}\n"),
        }
    };
    let plain = drawn(GraphicalTheme::unicode_nocolor());
    match escape::terminal(&plain) {
        // Commands in it are not ours: it gets no colours, which nobody could tell from theirs.
        Cow::Owned(clean) => clean,
        Cow::Borrowed(_) if in_colour => drawn(GraphicalTheme::unicode()),
        Cow::Borrowed(plain) => plain.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use fame_core::Error;

    use super::*;

    #[test]
    fn an_error_has_our_colours_and_never_those_of_a_name() {
        let said = |name: &str, in_colour| {
            render(&Error::new("fame::x", format!("no `{name}`.")), in_colour)
        };
        assert!(said("cat", true).contains("\u{1b}["));
        assert!(!said("cat", false).contains('\u{1b}'));
        for in_colour in [true, false] {
            let said = said("\u{1b}[8mcat", in_colour);
            assert!(said.contains("`\u{fffd}[8mcat`") && !said.contains('\u{1b}'), "{said:?}");
        }
    }
}
