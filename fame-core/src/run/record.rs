//! `run.json`, `item.json` and `metrics.csv`: what was asked, with what, and what came out.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use super::{Measured, RunOptions, machine};
use crate::{
    Error, Explanation, Model, Parameter, Plan, Result, Sample, Table,
    contract::{ItemRef, MetricRow},
    data::{Facts, Value, facts},
    data::{sha256_hex, write_json, write_whole},
};

/// Raised whenever `item.json` is laid out anew: items of another layout are made again, because a
/// run's tables are read out of them.
pub(super) const LAYOUT: u32 = 2;

/// How an item ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ItemStatus {
    /// Computed and written now.
    Done,
    /// Found whole from an earlier run of the same work.
    Kept,
    /// Not written; the record says why.
    Failed,
}

impl ItemStatus {
    /// The word in `run.json`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Kept => "kept",
            Self::Failed => "failed",
        }
    }
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunStatus {
    /// Every item is there.
    Complete,
    /// The run went through, but some items failed.
    Incomplete,
}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Summary {
    /// How it ended.
    pub status: RunStatus,
    /// Items computed now.
    pub done: usize,
    /// Items kept from an earlier run.
    pub kept: usize,
    /// Items that failed.
    pub failed: usize,
    /// Where everything is.
    pub out: PathBuf,
    /// Wall-clock time.
    pub seconds: f64,
    /// What the measurements of all items come to.
    pub tables: Vec<Table>,
}

struct ItemLine {
    id: String,
    status: ItemStatus,
    seconds: f64,
    computed: Vec<String>,
    error: Option<Error>,
}

/// The run's record while it grows.
pub(super) struct RunRecord {
    out: PathBuf,
    head: Facts,
    clocks: Facts,
    items: Vec<ItemLine>,
    /// Forward checks that failed, by item and explainer: the items themselves are not written.
    differing: BTreeMap<String, Facts>,
    /// Every item's place in the data: items end in another order than they begin in.
    order: BTreeMap<String, usize>,
    began: Instant,
}

impl RunRecord {
    pub(super) fn begin(plan: &Plan, options: &RunOptions) -> Result<Self> {
        let recipe = facts([
            ("file", plan.text.name().into()),
            ("text", plan.text.original().into()),
            ("sha256", sha256_hex(plan.text.original().as_bytes()).into()),
            ("overrides", plan.text.overrides().to_vec().into()),
        ]);
        let started = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        let head = facts([
            ("fame_version", env!("CARGO_PKG_VERSION").into()),
            ("recipe", Value::Map(recipe)),
            ("plan", plan.record()),
            ("machine", machine()),
            ("started_unix_seconds", Value::Integer(started as i64)),
        ]);
        let record = Self {
            out: options.out.clone(),
            head,
            clocks: Facts::new(),
            items: Vec::new(),
            differing: BTreeMap::new(),
            order: BTreeMap::new(),
            began: Instant::now(),
        };
        record.save("running", None)?;
        Ok(record)
    }

    pub(super) fn model(&mut self, model: &Model) -> Result<()> {
        let m = &model.manifest;
        let about = facts([
            ("name", m.name.as_str().into()),
            (
                "file",
                model.file.file_name().unwrap_or_default().to_string_lossy().into_owned().into(),
            ),
            ("sha256", model.sha256.as_str().into()),
            ("licence", m.licence.as_str().into()),
            ("input", Value::of(&m.input)),
            ("notes", model.network.notes().to_vec().into()),
        ]);
        self.head.insert("model".into(), Value::Map(about));
        self.save("running", None)
    }

    /// What the dataset says about its list as a whole.
    pub(super) fn data(&mut self, items: usize, notes: &[String]) {
        let about = facts([("items", items.into()), ("notes", notes.to_vec().into())]);
        self.head.insert("data".into(), Value::Map(about));
    }

    pub(super) fn clocks(&mut self, clocks: Facts) {
        self.clocks = clocks;
    }

    pub(super) fn order(&mut self, items: &[ItemRef]) {
        self.order = items.iter().enumerate().map(|(n, i)| (i.id.clone(), n)).collect();
    }

    /// How an item ended; `computed` names the explanations and measurements that were made now and
    /// not restored.
    pub(super) fn item(
        &mut self,
        id: &str,
        status: ItemStatus,
        time: Duration,
        computed: Vec<String>,
        error: Option<&Error>,
    ) {
        self.items.push(ItemLine {
            id: id.to_owned(),
            status,
            seconds: time.as_secs_f64(),
            computed,
            error: error.cloned(),
        });
    }

    /// What the forward check of an explanation found that will not be written.
    pub(super) fn check_failed(&mut self, id: &str, explainer: &str, found: Facts) {
        self.differing
            .entry(id.to_owned())
            .or_default()
            .insert(explainer.to_owned(), Value::Map(found));
    }

    pub(super) fn finish(mut self, plan: &Plan) -> Result<Summary> {
        let order = std::mem::take(&mut self.order);
        self.items.sort_by_key(|i| order.get(&i.id).copied());
        let count = |s| self.items.iter().filter(|i| i.status == s).count();
        let (done, kept, failed) =
            (count(ItemStatus::Done), count(ItemStatus::Kept), count(ItemStatus::Failed));
        let status = if failed == 0 { RunStatus::Complete } else { RunStatus::Incomplete };
        let tables = self.metrics(plan)?;
        self.save(if failed == 0 { "complete" } else { "incomplete" }, None)?;
        Ok(Summary {
            status,
            done,
            kept,
            failed,
            seconds: self.began.elapsed().as_secs_f64(),
            out: self.out,
            tables,
        })
    }

    pub(super) fn fail(&self, error: &Error) -> Result<()> {
        self.save("failed", Some(error))
    }

    fn save(&self, status: &str, error: Option<&Error>) -> Result<()> {
        let mut all = self.head.clone();
        all.insert("status".into(), status.into());
        if let Some(e) = error {
            all.insert("error".into(), error_value(e));
        }
        let mut timings = self.clocks.clone();
        timings.insert("total".into(), self.began.elapsed().as_secs_f64().into());
        all.insert("timings_seconds".into(), Value::Map(timings));
        all.insert("peak_memory_bytes".into(), peak_memory().into());
        if status != "running" {
            let items: Vec<Value> = self.items.iter().map(|i| self.item_value(i)).collect();
            all.extend(
                super::check::tally(&items).map(|tally| ("forward_check".to_owned(), tally)),
            );
            all.insert("items".into(), Value::List(items));
        }
        write_json(&self.out.join("run.json"), &Value::Map(all))
    }

    /// What `item.json` says of an item, and its time.
    fn item_value(&self, line: &ItemLine) -> Value {
        let mut about = match read_item(&self.out.join("items").join(&line.id)) {
            Some(Value::Map(m)) if line.status != ItemStatus::Failed => m,
            _ => facts([("id", line.id.as_str().into())]),
        };
        about.remove("measurements");
        about.insert("status".into(), line.status.word().into());
        about.insert(
            "seconds".into(),
            if line.status == ItemStatus::Kept { Value::Null } else { line.seconds.into() },
        );
        about.insert("computed".into(), line.computed.clone().into());
        if let Some(e) = &line.error {
            about.insert("error".into(), error_value(e));
        }
        if let Some(found) =
            self.differing.get(&line.id).filter(|_| line.status == ItemStatus::Failed)
        {
            let explained = found.iter().map(|(name, check)| {
                (name.clone(), Value::Map([(super::check::FACT.to_owned(), check.clone())].into()))
            });
            about.insert("explanations".into(), Value::Map(explained.collect()));
        }
        Value::Map(about)
    }

    /// `metrics.csv` from the items, in order, and the tables it comes to; nothing when no metric
    /// was asked for.
    fn metrics(&self, plan: &Plan) -> Result<Vec<Table>> {
        let folder = self.out.join("tables");
        if folder.exists() {
            std::fs::remove_dir_all(&folder).map_err(|e| Error::io("remove", &folder, &e))?;
        }
        let names = plan.metric_names();
        let mut of_metric: Vec<Vec<MetricRow>> = vec![Vec::new(); names.len()];
        let mut text =
            String::from("item,explainer,map,metric,quantity,parameter,value,genuine,fold\n");
        for line in self.items.iter().filter(|i| i.status != ItemStatus::Failed) {
            for (metric, row) in rows_of(&self.out.join("items").join(&line.id), &line.id) {
                let MetricRow { item, explainer, map, quantity, parameter, value, .. } = &row;
                let parameter = &parameter.to_string();
                let genuine = row.genuine.map_or_else(String::new, |g| g.to_string());
                let fold = row.fold.as_deref().unwrap_or_default();
                let cells = [
                    item,
                    explainer,
                    map,
                    &metric,
                    quantity,
                    parameter,
                    &value.to_string(),
                    &genuine,
                    fold,
                ];
                let cells = cells.map(|c| c.replace([',', '\n', '"'], "_"));
                let _ = writeln!(text, "{}", cells.join(","));
                if let Some(n) = names.iter().position(|n| *n == metric) {
                    of_metric[n].push(row);
                }
            }
        }
        if names.is_empty() {
            return Ok(Vec::new());
        }
        write_whole(&self.out.join("metrics.csv"), text.as_bytes())?;
        let mut tables = Vec::new();
        for ((name, rows), metric) in names.iter().zip(&of_metric).zip(&plan.metrics) {
            let about = |e: Error| Table {
                name: crate::data::safe_id(&name.to_lowercase()),
                title: name.clone(),
                notes: vec![format!("No table: {e}")],
                ..Table::default()
            };
            tables.extend(metric.plugin.summarise(name, rows).unwrap_or_else(|e| vec![about(e)]));
        }
        std::fs::create_dir_all(&folder).map_err(|e| Error::io("create", &folder, &e))?;
        for table in &tables {
            let forms = [("csv", table.csv()), ("md", table.markdown()), ("tex", table.latex())];
            for (ending, text) in forms.into_iter().take(if table.is_list { 1 } else { 3 }) {
                write_whole(&folder.join(format!("{}.{ending}", table.name)), text.as_bytes())?;
            }
            for plot in &table.plots {
                write_whole(&folder.join(format!("{}.svg", plot.name)), plot.svg()?.as_bytes())?;
            }
        }
        Ok(tables)
    }
}

/// What was measured of the item in `folder`, each with its metric's name.
fn rows_of(folder: &Path, id: &str) -> Vec<(String, MetricRow)> {
    let Some(item) = read_item(folder) else { return Vec::new() };
    let genuine = match item.get("genuine") {
        Some(Value::Bool(genuine)) => Some(*genuine),
        _ => None,
    };
    let fold = item.get("fold").and_then(Value::as_str).map(str::to_owned);
    let Some(Value::List(rows)) = item.get("measurements") else { return Vec::new() };
    let row = |row: &Value| {
        let field =
            |name: &str| row.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let of = MetricRow {
            item: id.to_owned(),
            explainer: field("explainer"),
            map: field("map"),
            quantity: field("quantity"),
            parameter: parameter_of(row.get("parameter")?)?,
            value: row.get("value").and_then(Value::as_f64)?,
            genuine,
            fold: fold.clone(),
        };
        Some((field("metric"), of))
    };
    rows.iter().filter_map(row).collect()
}

/// What a measurement depends on, for [`parameter_of`]: a case is its name, a point a map.
pub(super) fn parameter_value(parameter: &Parameter) -> Value {
    match parameter {
        Parameter::None => Value::Null,
        Parameter::Case(name) => name.as_str().into(),
        Parameter::Point { axis, unit, value } => Value::Map(facts([
            ("axis", axis.as_str().into()),
            ("unit", unit.as_str().into()),
            ("value", (*value).into()),
        ])),
    }
}

/// What [`parameter_value`] made.
pub(super) fn parameter_of(value: &Value) -> Option<Parameter> {
    Some(match value {
        Value::Null => Parameter::None,
        Value::Text(name) => Parameter::Case(name.clone()),
        point => Parameter::at(
            point.get("axis")?.as_str()?,
            point.get("unit")?.as_str()?,
            point.get("value")?.as_f64()?,
        ),
    })
}

fn error_value(e: &Error) -> Value {
    Value::Map(facts([
        ("code", e.code.as_str().into()),
        ("message", e.message.as_str().into()),
        ("help", e.help.clone().into()),
    ]))
}

fn read_item(folder: &Path) -> Option<Value> {
    let text = std::fs::read_to_string(folder.join("item.json")).ok()?;
    serde_json::from_str(&text).ok()
}

/// Whether `folder` holds the finished item with this key.
pub(super) fn is_done(folder: &Path, key: &str) -> bool {
    read_item(folder).is_some_and(|item| item.get("key").and_then(Value::as_str) == Some(key))
}

/// Everything about a finished item that does not depend on clock or machine.
pub(super) fn item_json(
    item: &ItemRef,
    key: &str,
    sample: &Sample,
    explanations: &[(String, Explanation)],
    measurements: &[Measured],
    files: &[String],
) -> Value {
    let pictures = sample.pictures.iter().map(|(role, p)| {
        let about = facts([
            ("source", p.source.as_str().into()),
            ("geometry", p.geometry.0.to_vec().into()),
            ("prepared", Value::Map(p.facts.clone())),
        ]);
        (role.clone(), Value::Map(about))
    });
    let explained = explanations.iter().map(|(name, e)| {
        let maps = e.maps.iter().map(|m| {
            let mut about = m.facts.clone();
            about.insert("name".into(), m.name().into());
            about.insert("role".into(), m.id.role.as_str().into());
            about.insert("claim".into(), m.id.claim.word().into());
            let told = [("finish", &m.id.finish), ("stage", &m.id.stage)];
            about.extend(
                told.into_iter()
                    .filter_map(|(name, word)| Some((name.to_owned(), word.as_deref()?.into()))),
            );
            about.insert("map_shape".into(), m.finished.shape().to_vec().into());
            Value::Map(about)
        });
        let mut about = e.facts.clone();
        about.insert("maps".into(), Value::List(maps.collect()));
        about.insert("warnings".into(), e.warnings.clone().into());
        (name.clone(), Value::Map(about))
    });
    let rows = measurements.iter().map(|Measured { explainer, metric, measurement: m }| {
        Value::Map(facts([
            ("explainer", explainer.as_str().into()),
            ("map", m.map.as_str().into()),
            ("metric", metric.as_str().into()),
            ("quantity", m.name.as_str().into()),
            ("parameter", parameter_value(&m.parameter)),
            ("value", m.value.into()),
        ]))
    });
    Value::Map(facts([
        ("id", item.id.as_str().into()),
        ("key", key.into()),
        ("label", sample.label.into()),
        ("genuine", sample.genuine.into()),
        ("row", sample.row.into()),
        ("fold", sample.fold.clone().into()),
        ("facts", Value::Map(sample.facts.clone())),
        ("pictures", Value::Map(pictures.collect())),
        ("explanations", Value::Map(explained.collect())),
        ("measurements", Value::List(rows.collect())),
        ("files", files.to_vec().into()),
    ]))
}

/// One line for the terminal: the first maps of each explanation, with what their explainer notes.
pub(super) fn line(explanations: &[(String, Explanation)]) -> String {
    let about = |m: &crate::NamedMap| {
        if m.note.is_empty() { m.name() } else { format!("{} {}", m.name(), m.note) }
    };
    let one = |(name, e): &(String, Explanation)| {
        let maps: Vec<String> = e.maps.iter().take(2).map(about).collect();
        let more =
            if e.maps.len() > 2 { format!(", … {} maps", e.maps.len()) } else { String::new() };
        format!("{name}: {}{more}", maps.join(", "))
    };
    explanations.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// The most memory this process has held, in bytes; `None` where the system does not say.
fn peak_memory() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|l| l.starts_with("VmHWM:"))?;
    let kib: usize = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::Measurement;

    /// The tables are made of what the records hold in fields; a fact of the same name is for
    /// people.
    #[test]
    fn rows_come_back_from_fields_and_never_from_facts() {
        let item = ItemRef { id: "item".into(), files: Vec::new(), note: String::new() };
        let sample = Sample {
            id: "item".into(),
            genuine: Some(false),
            row: Some(4),
            fold: Some("2".into()),
            facts: facts([("fold", "9".into()), ("row", 9usize.into())]),
            ..Sample::default()
        };
        let parameters = [
            Parameter::None,
            Parameter::case("P=10"),
            Parameter::at("P", "percent of the pixels", 10.0),
        ];
        let measured = parameters.clone().map(|parameter| Measured {
            explainer: "fame".into(),
            metric: "Verification".into(),
            measurement: Measurement {
                map: "probe".into(),
                name: "delete".into(),
                parameter,
                value: 0.5,
            },
        });
        let dir = tempfile::tempdir().unwrap();
        let json = item_json(&item, "key", &sample, &[], &measured, &[]);
        write_json(&dir.path().join("item.json"), &json).unwrap();
        assert_eq!(json.get("row"), Some(&Value::Integer(4)));
        let rows = rows_of(dir.path(), "item");
        assert!(rows.iter().all(|(metric, row)| {
            metric == "Verification"
                && row.fold.as_deref() == Some("2")
                && row.genuine == Some(false)
        }));
        let back: Vec<Parameter> = rows.into_iter().map(|(_, row)| row.parameter).collect();
        assert_eq!(back, parameters);
        assert_eq!([1, 2].map(|i| back[i].value()), [None, Some(10.0)]);
    }
}
