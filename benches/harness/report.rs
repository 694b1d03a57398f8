//! What a bench found: tables for people, a JSON file beside them for programs, and which bounds hold.
//!
//! Absolute times are noise on a shared machine, so figures are ratios inside one run, or counts. A bench fails only for bounds
//! on figures that repeat themselves ([`Kind::Count`]).

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Map, Value, json};

/// How much more than known is no noise.
const GROWTH_MAX: f64 = 1.05;

/// The tables and bounds of one bench.
pub struct Report {
    bench: &'static str,
    tables: Vec<Table>,
    bounds: Vec<Bound>,
    notes: Vec<String>,
}

/// One table.
pub struct Table {
    title: &'static str,
    columns: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

/// One figure, or its name.
#[derive(Debug, Clone)]
pub enum Cell {
    Text(String),
    /// A number, shown with so many decimals.
    Number(f64, usize),
    /// Several runs: the median, with the least and the most, shown with so many decimals.
    Spread(Spread, usize),
    /// It was not measured.
    Nothing,
}

/// The figures of several runs.
#[derive(Debug, Clone, Copy)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

/// What a figure has to be.
pub struct Bound {
    pub what: String,
    pub limit: Limit,
    /// What is aimed at beyond the limit.
    pub aim: Option<f64>,
    pub measured: f64,
    pub kind: Kind,
}

/// A limit of a figure.
#[derive(Debug, Clone, Copy)]
pub enum Limit {
    AtMost(f64),
    AtLeast(f64),
}

/// Whether a figure repeats itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It does: the bench fails where its bound does not hold.
    Count,
    /// It depends on the machine and its other work: whether its bound holds is told.
    Time,
}

impl Spread {
    /// Of at least one figure.
    pub fn of(figures: impl IntoIterator<Item = f64>) -> Self {
        let mut figures: Vec<f64> = figures.into_iter().collect();
        figures.sort_unstable_by(f64::total_cmp);
        let (min, max) = (figures[0], figures[figures.len() - 1]);
        Self { median: figures[figures.len() / 2], min, max }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<u64> for Cell {
    fn from(number: u64) -> Self {
        Self::Number(number as f64, 0)
    }
}

impl From<usize> for Cell {
    fn from(number: usize) -> Self {
        Self::Number(number as f64, 0)
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Number(number, decimals) => write!(f, "{number:.decimals$}"),
            Self::Spread(Spread { median, min, max }, decimals) => {
                write!(f, "{median:.decimals$} ({min:.decimals$}–{max:.decimals$})")
            }
            Self::Nothing => f.write_str("–"),
        }
    }
}

impl Cell {
    fn json(&self) -> Value {
        match self {
            Self::Text(text) => json!(text),
            Self::Number(number, _) => json!(number),
            Self::Spread(Spread { median, min, max }, _) => json!({"median": median, "min": min, "max": max}),
            Self::Nothing => Value::Null,
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(limit) => write!(f, "at most {limit}"),
            Self::AtLeast(limit) => write!(f, "at least {limit}"),
        }
    }
}

impl Limit {
    fn holds(self, measured: f64) -> bool {
        match self {
            Self::AtMost(limit) => measured <= limit,
            Self::AtLeast(limit) => measured >= limit,
        }
    }

    fn json(self) -> Value {
        match self {
            Self::AtMost(limit) => json!({"at_most": limit}),
            Self::AtLeast(limit) => json!({"at_least": limit}),
        }
    }
}

impl Bound {
    fn holds(&self) -> bool {
        self.limit.holds(self.measured)
    }

    fn verdict(&self) -> &'static str {
        match (self.holds(), self.kind) {
            (true, _) => "ok",
            (false, Kind::Count) => "NOT (fails)",
            (false, Kind::Time) => "NOT",
        }
    }

    fn row(&self) -> Vec<Cell> {
        let aim = self.aim.map_or(Cell::Nothing, |aim| aim.to_string().into());
        let measured = Cell::Number(self.measured, if self.measured < 100.0 { 2 } else { 0 });
        vec![self.what.as_str().into(), self.limit.to_string().into(), aim, measured, self.verdict().into()]
    }

    fn json(&self) -> Value {
        json!({
            "what": self.what,
            "limit": self.limit.json(),
            "aim": self.aim,
            "measured": self.measured,
            "holds": self.holds(),
        })
    }
}

impl Table {
    pub fn new(title: &'static str, columns: &[&'static str]) -> Self {
        Self { title, columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds a row, with a cell for each column.
    pub fn row(&mut self, cells: Vec<Cell>) {
        assert_eq!(cells.len(), self.columns.len(), "a cell for each column of {}", self.title);
        self.rows.push(cells);
    }

    fn json(&self) -> Value {
        let object = |row: &Vec<Cell>| {
            let cells =
                self.columns.iter().zip(row).map(|(column, cell)| ((*column).to_owned(), cell.json()));
            Value::Object(cells.collect::<Map<String, Value>>())
        };
        self.rows.iter().map(object).collect()
    }
}

/// As Markdown, aligned.
impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows: Vec<Vec<String>> =
            self.rows.iter().map(|row| row.iter().map(Cell::to_string).collect()).collect();
        let widths: Vec<usize> = (0..self.columns.len())
            .map(|column| {
                let cells = rows.iter().map(|row| row[column].chars().count());
                cells.chain([self.columns[column].chars().count()]).max().unwrap_or_default()
            })
            .collect();
        let line = |f: &mut fmt::Formatter<'_>, cells: &[&str]| {
            for (cell, width) in cells.iter().zip(&widths) {
                write!(f, "| {cell:width$} ")?;
            }
            writeln!(f, "|")
        };
        line(f, &self.columns)?;
        let rule: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
        line(f, &rule.iter().map(String::as_str).collect::<Vec<_>>())?;
        rows.iter().try_for_each(|row| line(f, &row.iter().map(String::as_str).collect::<Vec<_>>()))
    }
}

impl Report {
    pub fn new(bench: &'static str) -> Self {
        Self { bench, tables: Vec::new(), bounds: Vec::new(), notes: Vec::new() }
    }

    pub fn table(&mut self, table: Table) {
        self.tables.push(table);
    }

    pub fn bound(&mut self, bound: Bound) {
        self.bounds.push(bound);
    }

    /// A figure that repeats itself, beside what it was when it was last written down: it may not have grown.
    pub fn known(&mut self, what: &str, measured: f64, known: f64) {
        self.bound(Bound {
            what: format!("{what}, over the known {known}"),
            limit: Limit::AtMost(GROWTH_MAX),
            aim: None,
            measured: measured / known,
            kind: Kind::Count,
        });
        if measured * GROWTH_MAX < known {
            self.note(format!("{what}: it fell to {measured:.1}; write that down in place of {known}."));
        }
    }

    /// A sentence below the tables.
    pub fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// Prints everything, writes the file, and fails where a bound on a count does not hold.
    pub fn finish(self) -> ExitCode {
        for table in self.tables.iter().filter(|table| !table.rows.is_empty()) {
            print!("\n{}: {}\n\n{table}", self.bench, table.title);
        }
        self.notes.iter().for_each(|note| println!("\n{note}"));
        if !self.bounds.is_empty() {
            let mut bounds = Table::new("bounds", &["bound", "limit", "aim", "measured", "holds"]);
            self.bounds.iter().for_each(|bound| bounds.row(bound.row()));
            print!("\n{}: bounds\n\n{bounds}", self.bench);
        }
        let failed = self.bounds.iter().any(|bound| !bound.holds() && bound.kind == Kind::Count);
        match self.write() {
            Ok(file) => println!("{}", file.display()),
            Err(error) => {
                eprintln!("the report was not written: {error}");
                return ExitCode::FAILURE;
            }
        }
        if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }

    fn write(&self) -> std::io::Result<PathBuf> {
        let tables = self.tables.iter().map(|table| (table.title.to_owned(), table.json()));
        let report = json!({
            "bench": self.bench,
            "cores": std::thread::available_parallelism().map(usize::from).unwrap_or_default(),
            "tables": tables.collect::<Map<String, Value>>(),
            "bounds": self.bounds.iter().map(Bound::json).collect::<Vec<_>>(),
            "notes": self.notes,
        });
        let folder = target().join("bench");
        std::fs::create_dir_all(&folder)?;
        let file = folder.join(self.bench).with_extension("json");
        std::fs::write(&file, format!("{report:#}\n"))?;
        Ok(file)
    }
}

/// The folder that Cargo builds in.
pub fn target() -> &'static Path {
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR"));
    scratch.parent().unwrap_or(scratch)
}
