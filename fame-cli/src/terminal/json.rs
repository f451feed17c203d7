//! One JSON object per line on standard output.

use std::sync::{Mutex, PoisonError};

use fame_core::{
    run::{Event, Observer},
    store::FetchEvent,
    text::SourcedProblem,
};
use fame_plugins::writers::answers;
use serde_json::{Value, json};

/// With what the network answered for the item that ends next.
#[derive(Default)]
pub(super) struct JsonLines(Mutex<Vec<String>>);

fn fetch(p: &FetchEvent) -> Value {
    match p {
        FetchEvent::Started { what, tool } => {
            json!({ "event": "fetch", "step": "started", "what": what, "tool": tool.to_string() })
        }
        FetchEvent::Waiting { what } => {
            json!({ "event": "fetch", "step": "waiting", "what": what })
        }
        FetchEvent::Verifying { what, bytes } => {
            json!({ "event": "fetch", "step": "verifying", "what": what, "bytes": bytes })
        }
        FetchEvent::Extracting { file } => {
            json!({ "event": "fetch", "step": "extracting", "what": file })
        }
        FetchEvent::Converting { script } => {
            json!({ "event": "fetch", "step": "converting", "what": script })
        }
        FetchEvent::Done { path, sha256, cached } => {
            json!({ "event": "fetch", "step": "done", "path": path, "sha256": sha256, "cached": cached })
        }
    }
}

/// A mistake in a recipe or manifest, with its place: line and column count from 1.
pub(crate) fn problem_json(sourced: &SourcedProblem) -> Value {
    let (problem, (line, column)) = (sourced.problem(), sourced.line_column());
    json!({
        "code": problem.code, "message": problem.message, "file": sourced.name(), "line": line,
        "column": column, "label": problem.label, "help": problem.help,
    })
}

impl Observer for JsonLines {
    fn event(&self, event: &Event<'_>) {
        let value = match event {
            Event::Fetch(p) => fetch(p),
            Event::Stage(stage) => json!({ "event": "stage", "stage": stage }),
            Event::Items(n) => json!({ "event": "items", "count": n }),
            Event::Steps { explainer, done, total } => {
                json!({ "event": "steps", "explainer": explainer, "done": done, "total": total })
            }
            Event::Finished(item) => {
                *self.0.lock().unwrap_or_else(PoisonError::into_inner) = answers(item);
                return;
            }
            Event::Item { id, status, line } => {
                let mut answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                json!({
                    "event": "item", "id": id, "status": status.word(), "line": line,
                    "answers": std::mem::take(&mut *answers),
                })
            }
            Event::Note(text) => json!({ "event": "note", "text": text }),
            Event::Warning(text) => json!({ "event": "warning", "text": text }),
            Event::ItemWarning { id, text } => {
                json!({ "event": "warning", "item": id, "text": format!("{id}: {text}") })
            }
        };
        // A closed pipe must not stop a run whose files are wanted.
        let _ = super::out(&value.to_string());
    }
}
