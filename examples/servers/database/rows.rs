//! The rows of a statement, as many as fit into a result.

use rusqlite::types::{ToSqlOutput, Value as SqlValue, ValueRef};
use rusqlite::{Statement, ToSql, params_from_iter};
use serde_json::{Map, Value, json};

use super::super::refusal::Refusal;
use super::super::weight::{self, RESULT_WEIGHT_MAX};

/// Columns of a result. With the bound on a value it bounds what one row takes in the database's memory.
const COLUMNS_MAX: usize = 100;

/// What a statement brought.
#[derive(Default)]
pub struct Rows {
    /// The rows, as far as they were wanted and fit.
    pub rows: Vec<Map<String, Value>>,
    /// Why there are no more of them, if there are.
    pub cut: Option<Cut>,
}

/// Why rows were left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// There are more than were asked for.
    Limit,
    /// More would not fit into a message.
    Weight,
}

impl Cut {
    /// What the caller can do for the others.
    pub fn advice(self) -> &'static str {
        match self {
            Self::Limit => "there are more rows than the limit: ask for the others with LIMIT and OFFSET",
            Self::Weight => {
                "more rows do not fit into one message: ask for the others with LIMIT and OFFSET, for fewer columns, \
                 or for parts of them with substr(column, start, length)"
            }
        }
    }
}

/// Refuses a statement with more columns than a result may have, before it runs.
pub fn columns(statement: &Statement<'_>) -> Result<(), Refusal> {
    let count = statement.column_count();
    if count > COLUMNS_MAX {
        let message =
            format!("the result has {count} columns; {COLUMNS_MAX} are allowed: name those that you need");
        return Err(Refusal::new("TOO_MANY_COLUMNS", message));
    }
    Ok(())
}

/// Runs a statement to its end and keeps the first rows that it brings.
pub fn gather(
    statement: &mut Statement<'_>,
    values: &[Value],
    limit: usize,
    cut: AtCut,
) -> rusqlite::Result<Rows> {
    let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
    let mut found = statement.query(params_from_iter(values.iter().map(Bound)))?;
    let mut gathered = Rows::default();
    let mut room = RESULT_WEIGHT_MAX;
    while let Some(row) = found.next()? {
        match (gathered.cut, cut) {
            (Some(_), AtCut::Stop) => break,
            (Some(_), AtCut::RunOn) => continue,
            (None, _) if gathered.rows.len() == limit => gathered.cut = Some(Cut::Limit),
            (None, _) => match object(&names, row, room)? {
                Some((object, weight)) => {
                    room -= weight;
                    gathered.rows.push(object);
                }
                None => gathered.cut = Some(Cut::Weight),
            },
        }
    }
    Ok(gathered)
}

/// What becomes of a statement of which no more rows are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtCut {
    /// It only reads, so it may stop.
    Stop,
    /// It changes data and is to come to its own end.
    RunOn,
}

/// A row and what it weighs, if that is no more than `room`.
fn object(
    names: &[String],
    row: &rusqlite::Row<'_>,
    room: usize,
) -> rusqlite::Result<Option<(Map<String, Value>, usize)>> {
    let mut object = Map::with_capacity(names.len());
    // What the columns weigh at least, so that none is copied that cannot fit.
    let mut least = 0;
    for (index, name) in names.iter().enumerate() {
        let value = row.get_ref(index)?;
        if let ValueRef::Text(bytes) | ValueRef::Blob(bytes) = value {
            least += 2 * bytes.len();
        }
        if least > room {
            return Ok(None);
        }
        object.insert(name.clone(), value_of(value));
    }
    let object = Value::Object(object);
    // Each row is followed by a comma, in the structure and in the text.
    let weight = weight::of(&object) + 2;
    let Value::Object(object) = object else { return Ok(None) };
    Ok((weight <= room).then_some((object, weight)))
}

/// A JSON value as a bound parameter.
struct Bound<'a>(&'a Value);

impl ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let value = match self.0 {
            Value::Null => SqlValue::Null,
            Value::Bool(value) => SqlValue::Integer(i64::from(*value)),
            Value::Number(value) => match value.as_i64() {
                Some(value) => SqlValue::Integer(value),
                None => SqlValue::Real(value.as_f64().unwrap_or(f64::NAN)),
            },
            Value::String(value) => SqlValue::Text(value.clone()),
            other @ (Value::Array(_) | Value::Object(_)) => SqlValue::Text(other.to_string()),
        };
        Ok(ToSqlOutput::Owned(value))
    }
}

fn value_of(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(value) => json!(value),
        ValueRef::Real(value) => json!(value),
        ValueRef::Text(value) => json!(String::from_utf8_lossy(value)),
        ValueRef::Blob(value) => json!(data_encoding::BASE64.encode(value)),
    }
}
