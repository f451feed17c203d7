//! `fame-cli describe commands`: the help of every command, on one page.

#![allow(clippy::format_push_string, reason = "a page is written once")]

use clap::CommandFactory as _;

use crate::arguments::Arguments;

/// The help of the program and of all of its commands, as text or in Markdown.
pub(super) fn page(markdown: bool) -> String {
    let mut command = Arguments::command().color(clap::ColorChoice::Never);
    command.build();
    let mut page = String::new();
    write(&mut command, markdown, &mut page);
    page
}

fn write(command: &mut clap::Command, markdown: bool, page: &mut String) {
    let name = command.get_bin_name().unwrap_or_else(|| command.get_name()).to_owned();
    let help = command.render_long_help().to_string();
    let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
    let help = lines.join("\n");
    let help = help.trim();
    if markdown {
        page.push_str(&format!("## {name}\n\n```text\n{help}\n```\n\n"));
    } else {
        page.push_str(&format!("{}\n\n{help}\n\n\n", name.to_uppercase()));
    }
    let inner = command.get_subcommands_mut().filter(|inner| inner.get_name() != "help");
    inner.for_each(|inner| write(inner, markdown, page));
}
