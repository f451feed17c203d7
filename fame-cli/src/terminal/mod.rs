//! The terminal: lines, bars, JSON events, rendered errors.

mod bars;
mod json;
mod lines;

use std::io::{IsTerminal as _, Write as _};

use fame_core::{report::escape, run::Observer};
use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme};

/// Prints one line on standard output. An error (a closed pipe) is the caller's to end on, not a
/// panic.
pub(crate) fn out(line: &str) -> std::io::Result<()> {
    writeln!(std::io::stdout().lock(), "{}", escape::terminal(line))
}

/// Prints `text` on standard error. A terminal that is gone or a full disk must not end a run whose
/// files are wanted: what cannot be said is in the record.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{}", escape::terminal(text));
}

/// A watcher that suits the output: JSON lines if asked for, bars on a terminal, plain lines
/// otherwise.
pub(crate) fn watcher(json: bool) -> Box<dyn Observer> {
    if json {
        Box::new(json::JsonLines)
    } else if std::io::stderr().is_terminal() {
        Box::new(bars::Bars::new())
    } else {
        Box::new(lines::Lines::new())
    }
}

/// Panics are bugs; say so in one line that can be reported, on top of Rust's own message.
pub(crate) fn install_handler() {
    let standard = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        say("fame-cli has a bug. Please report this with the recipe that led here:");
        standard(info);
    }));
}

/// An error as text: colours only on a terminal.
pub(crate) fn render(error: &dyn Diagnostic) -> String {
    let plain = !std::io::stderr().is_terminal() || std::env::var_os("NO_COLOR").is_some();
    let theme = if plain { GraphicalTheme::unicode_nocolor() } else { GraphicalTheme::unicode() };
    let mut text = String::new();
    let handler = GraphicalReportHandler::new_themed(theme).with_width(120).with_context_lines(1);
    match handler.render_report(&mut text, error) {
        Ok(()) => escape::terminal(&text).into_owned(),
        Err(_) => format!("error: {error}\n"),
    }
}
