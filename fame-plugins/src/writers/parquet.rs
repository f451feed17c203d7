//! `Parquet`: the measurements of a run as a table with types.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use fame_core::{
    Error, Result,
    contract::{FinishedItem, Writer},
    data::{Value, write_whole},
    registry::{Assembly, BuildContext, Plugin},
    run::ItemRecord,
};
use parquet::{
    basic::{LogicalType, Repetition, Type as Physical},
    data_type::{BoolType, ByteArray, ByteArrayType, DoubleType, Int64Type},
    errors::ParquetError,
    file::writer::{SerializedColumnWriter, SerializedFileWriter},
    schema::types::Type,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::item_record::{Kind, MarkKinds, told};

/// `<out>/metrics.parquet`: the measurements of a run, one row for each item, explainer, map,
/// metric, quantity and parameter, with the columns and rows of `metrics.csv` in their order, and
/// with types. `value` is a double; what the dataset knows of an item is a truth value, a whole
/// number, a double or a text, and null where it knows nothing; `parameter` is null where there is
/// none. Texts are as they are: no `'` stands before what a spreadsheet would take for a formula.
/// What the dataset knows under a name that another column has, in upper or lower case, has `_mark`
/// behind it. pandas, Polars, DuckDB and Spark read the file.
///
/// It is written when a run has gone through, from the items that are there; a run without metrics
/// leaves a table without rows. The pages are not compressed, but equal texts are kept once.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Parquet {}

impl Plugin<dyn Writer> for Parquet {
    const NAME: &'static str = "Parquet";
    const SUMMARY: &'static str = "The measurements of a run as a Parquet table, with types";
    const EXAMPLE: &'static str = "Parquet()";
    const REFERENCE: &'static str = "Apache Parquet, parquet.apache.org";

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn Writer>> {
        Some(Box::new(self))
    }
}

fame_core::register!(Writer: Parquet);

/// The file in a run's folder, beside `metrics.csv`.
const FILE: &str = "metrics.parquet";
/// The columns that every run has, before `value`, which is a number.
const TEXTS: [&str; 6] = ["item", "explainer", "map", "metric", "quantity", "parameter"];
/// Which of them is null where there is nothing.
const PARAMETER: usize = 5;
/// Rows that are in memory before they are encoded: a group of them is what readers take at a time.
const GROUP: usize = 1 << 17;

impl Writer for Parquet {
    fn write(&self, _: &FinishedItem<'_>, _: &Path) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn replaces(&self) -> Vec<String> {
        vec![FILE.to_owned()]
    }

    fn gather(&self, out: &Path, items: &[PathBuf]) -> Result<Vec<String>> {
        let mut marks = MarkKinds::default();
        for item in items {
            let record = ItemRecord::read(item)?;
            // As in `metrics.csv`: an item of which nothing was measured has no say.
            if record.rows().next().is_some() {
                marks.note(&record.marks);
            }
        }
        let path = out.join(FILE);
        let failed = |e: ParquetError| {
            let message = format!("`{}` cannot be written: {e}.", path.display());
            Error::new("fame::writer::parquet", message)
                .with_help("The same rows are in metrics.csv beside it.")
        };
        let mut table = Table::new(&marks).map_err(failed)?;
        for item in items {
            table.add(&ItemRecord::read(item)?).map_err(failed)?;
        }
        write_whole(&path, &table.finish().map_err(failed)?)?;
        Ok(vec![FILE.to_owned()])
    }
}

/// The table while it grows: rows that wait, and the file so far. It is in memory as a whole, but
/// encoded: a value is eight bytes, and a name the number of a text that is kept once.
struct Table {
    columns: Vec<Column>,
    /// The names of the marks, in the order of the last columns.
    marks: Vec<String>,
    waiting: usize,
    file: SerializedFileWriter<Vec<u8>>,
}

/// A column, with the values that wait to be encoded.
struct Column {
    values: Values,
    /// Of each row, 1 where it has a value and 0 where it has none; `None`: every row has one.
    levels: Option<Vec<i16>>,
}

/// Values of one type.
enum Values {
    Bool(Vec<bool>),
    Whole(Vec<i64>),
    Number(Vec<f64>),
    Text(Vec<ByteArray>),
}

impl Table {
    fn new(kinds: &MarkKinds) -> Result<Self, ParquetError> {
        let texts = TEXTS
            .iter()
            .enumerate()
            .map(|(n, name)| ((*name).to_owned(), Column::new(Kind::Text, n == PARAMETER)));
        let value = [("value".to_owned(), Column::new(Kind::Number, false))];
        // Readers refuse a table with two columns of one name, and some do not tell cases apart.
        let mut taken: Vec<String> = TEXTS.map(str::to_owned).to_vec();
        taken.push("value".to_owned());
        let marks = kinds.iter().map(|(mark, kind)| {
            let mut name = mark.to_owned();
            while taken.iter().any(|other| other.eq_ignore_ascii_case(&name)) {
                name += "_mark";
            }
            taken.push(name.clone());
            (name, Column::new(kind, true))
        });
        let (names, columns): (Vec<String>, Vec<Column>) = texts.chain(value).chain(marks).unzip();
        let fields = names.iter().zip(&columns).map(|(name, column)| column.schema(name));
        let fields = fields.collect::<Result<Vec<_>, _>>()?;
        let schema = Type::group_type_builder("measurements").with_fields(fields).build()?;
        let file = SerializedFileWriter::new(Vec::new(), Arc::new(schema), Arc::default())?;
        let marks = kinds.iter().map(|(mark, _)| mark.to_owned()).collect();
        Ok(Self { columns, marks, waiting: 0, file })
    }

    /// Adds the rows of an item.
    fn add(&mut self, item: &ItemRecord) -> Result<(), ParquetError> {
        for (row, parameter, value) in item.rows() {
            let parameter = parameter.to_string();
            let texts =
                [&item.id, &row.explainer, &row.map, &row.metric, &row.quantity, &parameter];
            let (first, rest) = self.columns.split_at_mut(TEXTS.len());
            for (n, (column, text)) in first.iter_mut().zip(texts).enumerate() {
                column.push_text(Some(text.as_str()).filter(|t| n != PARAMETER || !t.is_empty()));
            }
            let marks = self.marks.iter().map(|name| item.marks.get(name));
            let value = Value::Number(value);
            for (column, value) in rest.iter_mut().zip([Some(&value)].into_iter().chain(marks)) {
                column.push(value.unwrap_or(&Value::Null));
            }
            self.waiting += 1;
            if self.waiting == GROUP {
                self.encode()?;
            }
        }
        Ok(())
    }

    /// Encodes the rows that wait.
    fn encode(&mut self) -> Result<(), ParquetError> {
        let mut group = self.file.next_row_group()?;
        for column in &mut self.columns {
            let next = group.next_column()?;
            let mut into = next.ok_or_else(|| ParquetError::EOF("a column is missing".into()))?;
            column.encode(&mut into)?;
            into.close()?;
        }
        group.close()?;
        self.waiting = 0;
        Ok(())
    }

    /// The whole file.
    fn finish(mut self) -> Result<Vec<u8>, ParquetError> {
        if self.waiting > 0 {
            self.encode()?;
        }
        self.file.into_inner()
    }
}

impl Column {
    fn new(kind: Kind, has_gaps: bool) -> Self {
        let values = match kind {
            Kind::Bool => Values::Bool(Vec::new()),
            Kind::Whole => Values::Whole(Vec::new()),
            Kind::Number => Values::Number(Vec::new()),
            Kind::Text => Values::Text(Vec::new()),
        };
        Self { values, levels: has_gaps.then(Vec::new) }
    }

    /// The column in the file's schema.
    fn schema(&self, name: &str) -> Result<Arc<Type>, ParquetError> {
        let (physical, logical) = match self.values {
            Values::Bool(_) => (Physical::BOOLEAN, None),
            Values::Whole(_) => (Physical::INT64, None),
            Values::Number(_) => (Physical::DOUBLE, None),
            Values::Text(_) => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        };
        let repetition =
            if self.levels.is_some() { Repetition::OPTIONAL } else { Repetition::REQUIRED };
        let column = Type::primitive_type_builder(name, physical);
        Ok(Arc::new(column.with_repetition(repetition).with_logical_type(logical).build()?))
    }

    /// Adds a text to a column of texts.
    fn push_text(&mut self, text: Option<&str>) {
        if let Some(levels) = &mut self.levels {
            levels.push(i16::from(text.is_some()));
        }
        if let (Values::Text(values), Some(text)) = (&mut self.values, text) {
            values.push(ByteArray::from(text));
        }
    }

    /// Adds a value, which is of the column's type or null; a column of texts takes any.
    fn push(&mut self, value: &Value) {
        let taken = match (&mut self.values, value) {
            (_, Value::Null) => false,
            (Values::Text(_), value) => return self.push_text(Some(&told(value))),
            (Values::Bool(values), Value::Bool(yes)) => {
                values.push(*yes);
                true
            }
            (Values::Whole(values), Value::Integer(number)) => {
                values.push(*number);
                true
            }
            (Values::Number(values), value) => {
                values.extend(value.as_f64());
                value.as_f64().is_some()
            }
            _ => false,
        };
        if let Some(levels) = &mut self.levels {
            levels.push(i16::from(taken));
        }
    }

    /// Encodes the values, and forgets them.
    fn encode(&mut self, into: &mut SerializedColumnWriter<'_>) -> Result<(), ParquetError> {
        let levels = self.levels.as_deref();
        match &mut self.values {
            Values::Bool(values) => {
                into.typed::<BoolType>().write_batch(values.as_slice(), levels, None)?;
                values.clear();
            }
            Values::Whole(values) => {
                into.typed::<Int64Type>().write_batch(values.as_slice(), levels, None)?;
                values.clear();
            }
            Values::Number(values) => {
                into.typed::<DoubleType>().write_batch(values.as_slice(), levels, None)?;
                values.clear();
            }
            Values::Text(values) => {
                into.typed::<ByteArrayType>().write_batch(values.as_slice(), levels, None)?;
                values.clear();
            }
        }
        if let Some(levels) = &mut self.levels {
            levels.clear();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use parquet::{
        file::reader::{FileReader as _, SerializedFileReader},
        record::{Field, Row},
    };
    use serde_json::{Value as Json, json};

    use super::{super::testing::build, *};

    /// Leaves the records of items with these marks and measurements.
    fn run(out: &Path, items: &[(&str, Json, Json)]) -> Vec<PathBuf> {
        let leave = |(id, marks, measurements): &(&str, Json, Json)| {
            let folder = out.join("items").join(id);
            fs::create_dir_all(&folder).unwrap();
            let record = json!({"id": id, "marks": marks, "measurements": measurements});
            fs::write(folder.join("item.json"), record.to_string()).unwrap();
            folder
        };
        items.iter().map(leave).collect()
    }

    fn measured(parameter: &Json, value: &Json) -> Json {
        json!({"explainer": "=cam", "map": "image", "metric": "M", "quantity": "q",
               "parameter": parameter, "value": value})
    }

    /// The columns' names and the rows, as the crate's own reader has them.
    fn read(out: &Path) -> (Vec<String>, Vec<Row>) {
        let reader = SerializedFileReader::new(File::open(out.join(FILE)).unwrap()).unwrap();
        let schema = reader.metadata().file_metadata().schema();
        let names = schema.get_fields().iter().map(|field| field.name().to_owned()).collect();
        (names, reader.get_row_iter(None).unwrap().map(Result::unwrap).collect())
    }

    fn cells(row: &Row) -> Vec<Field> {
        row.get_column_iter().map(|(_, field)| field.clone()).collect()
    }

    fn text(text: &str) -> Field {
        Field::Str(text.to_owned())
    }

    #[test]
    fn rows_come_back_with_their_types_and_gaps() {
        let dir = tempfile::tempdir().unwrap();
        let point = json!({"axis": "P", "unit": "percent", "value": 10.0});
        let items = run(
            dir.path(),
            &[
                (
                    "a",
                    json!({"genuine": true, "row": 7, "fold": "-2", "item": 0.5}),
                    json!([measured(&Json::Null, &json!(0.1)), measured(&point, &json!(1))]),
                ),
                ("b", json!({"fold": 3}), json!([measured(&json!("last_3"), &json!(-1e-300))])),
                // What has no value has no row, and an item without rows has no column.
                ("c", json!({"unseen": 1}), json!([measured(&Json::Null, &Json::Null)])),
            ],
        );
        let writer = build("Parquet()").unwrap();
        writer.gather(dir.path(), &items).unwrap();
        let (names, rows) = read(dir.path());
        let own = ["fold", "genuine", "item_mark", "row"];
        assert_eq!(names, [&TEXTS[..], &["value"], &own[..]].concat());
        let row = |item: &str, parameter: Field, value: f64, marks: [Field; 4]| {
            let mut cells = vec![text(item)];
            cells.extend(["=cam", "image", "M", "q"].map(text));
            cells.extend([parameter, Field::Double(value)]);
            cells.extend(marks);
            cells
        };
        let marks = || [text("-2"), Field::Bool(true), Field::Double(0.5), Field::Long(7)];
        let none = [text("3"), Field::Null, Field::Null, Field::Null];
        assert_eq!(
            rows.iter().map(cells).collect::<Vec<_>>(),
            [
                row("a", Field::Null, 0.1, marks()),
                row("a", text("P=10"), 1.0, marks()),
                row("b", text("last_3"), -1e-300, none),
            ]
        );
        // The same items give the same bytes.
        let first = fs::read(dir.path().join(FILE)).unwrap();
        writer.gather(dir.path(), &items).unwrap();
        assert_eq!(fs::read(dir.path().join(FILE)).unwrap(), first);
    }

    #[test]
    fn many_rows_are_several_groups_and_none_is_a_table_too() {
        let dir = tempfile::tempdir().unwrap();
        let writer = build("Parquet()").unwrap();
        let items = run(dir.path(), &[("a", json!({"row": 1}), json!([]))]);
        writer.gather(dir.path(), &items).unwrap();
        let (names, rows) = read(dir.path());
        assert_eq!((names.len(), rows.len()), (TEXTS.len() + 1, 0));
        let mut kinds = MarkKinds::default();
        let item = serde_json::from_value::<ItemRecord>(json!({
            "id": "a", "marks": {"row": 1},
            "measurements": vec![measured(&Json::Null, &json!(0.5)); GROUP + 1],
        }));
        let item = item.unwrap();
        kinds.note(&item.marks);
        let mut table = Table::new(&kinds).unwrap();
        table.add(&item).unwrap();
        let bytes = table.finish().unwrap();
        // Equal texts are kept once.
        assert!(bytes.len() < GROUP, "{} bytes", bytes.len());
        fs::write(dir.path().join(FILE), bytes).unwrap();
        let (_, rows) = read(dir.path());
        assert_eq!(rows.len(), GROUP + 1);
        assert_eq!(cells(&rows[GROUP])[6..], [Field::Double(0.5), Field::Long(1)]);
    }

    #[test]
    fn a_changed_record_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let items = run(dir.path(), &[("a", json!({}), json!([]))]);
        fs::write(items[0].join("item.json"), "{").unwrap();
        let error = build("Parquet()").unwrap().gather(dir.path(), &items).unwrap_err();
        assert_eq!(error.code, "fame::run::item");
    }
}
