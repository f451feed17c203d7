//! `fame-cli compare OUT OTHER…`: runs side by side.

use std::{path::Path, process::ExitCode};

use fame_core::report::escape::markdown_cell;
use serde_json::json;

use super::Failure;
use crate::{
    arguments::CompareArgs,
    setup::Setup,
    terminal::{out, out_line, row_by_row},
};

/// A folder in a heading of Markdown.
fn shown(folder: &Path) -> String {
    markdown_cell(&folder.display().to_string())
}

pub(crate) fn compare(setup: &Setup, args: &CompareArgs) -> Result<ExitCode, Failure> {
    let mut all = Vec::new();
    for other in &args.others {
        let tables = fame_plugins::compare(&args.first, other)?;
        if setup.json {
            let shown = tables.iter().filter_map(|table| {
                let numbers = table.numbers.as_ref()?;
                Some(json!({
                    "name": table.name, "title": table.title, "columns": numbers.columns,
                    "rows": numbers.rows, "notes": table.notes,
                }))
            });
            all.push(json!({ "other": other, "tables": shown.collect::<Vec<_>>() }));
            continue;
        }
        out_line(&format!("## {} against {}", shown(other), shown(&args.first)))?;
        out("")?;
        for table in &tables {
            match row_by_row(table) {
                Some(lines) => lines.iter().try_for_each(|line| out_line(line))?,
                None => out(&table.markdown())?,
            }
        }
    }
    if setup.json {
        let answer = json!({ "first": args.first, "compared": all });
        out(&serde_json::to_string_pretty(&answer).unwrap_or_default())?;
    }
    Ok(ExitCode::SUCCESS)
}
