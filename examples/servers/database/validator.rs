//! What a statement may do, judged by its parse tree.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use sqlparser::ast::{ObjectName, Query, SetExpr, Statement, Visit, Visitor};
use sqlparser::dialect::SQLiteDialect;
use sqlparser::parser::Parser;

use super::super::params;
use super::super::refusal::Refusal;

/// Limits on statements.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Characters of a statement: 10,000.
    pub length_max: usize,
    /// Joins of a statement: 5.
    pub joins_max: usize,
    /// Depth of subqueries: 3.
    pub depth_max: usize,
    /// The operations that are allowed.
    pub operations: Vec<String>,
    /// The only tables that may be touched, if there are any.
    pub allowed_tables: Vec<String>,
    /// Tables that may not be touched.
    pub denied_tables: Vec<String>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            length_max: 10_000,
            joins_max: 5,
            depth_max: 3,
            // DROP, TRUNCATE, ATTACH, PRAGMA and all that is not here are refused.
            operations: ["SELECT", "INSERT", "UPDATE", "DELETE"].map(str::to_owned).to_vec(),
            allowed_tables: Vec::new(),
            denied_tables: Vec::new(),
        }
    }
}

/// What is known of a statement that may run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    pub operation: &'static str,
    pub tables: Vec<String>,
    pub warnings: Vec<String>,
}

/// Judges a statement.
pub fn judge(query: &str, limits: &Limits, read_only: bool) -> Result<Judged, Refusal> {
    params::length("query", query, 1, usize::MAX)?;
    let length = query.chars().count();
    if length > limits.length_max {
        let message = format!("the query has {length} characters; {} are allowed", limits.length_max);
        return Err(Refusal::new("QUERY_TOO_LONG", message));
    }
    let refused = |error: sqlparser::parser::ParserError| Refusal::new("PARSE_ERROR", error.to_string());
    let statements = Parser::parse_sql(&SQLiteDialect {}, query).map_err(refused)?;
    let [statement] = statements.as_slice() else {
        let message = format!("one statement is expected, not {}", statements.len());
        return Err(Refusal::new("PARSE_ERROR", message));
    };
    let operation = operation(statement);
    if read_only && operation != "SELECT" {
        return Err(Refusal::new("READ_ONLY_VIOLATION", "this gateway writes nothing"));
    }
    if !limits.operations.iter().any(|allowed| allowed == operation) {
        return Err(Refusal::new("OPERATION_DENIED", format!("{operation} is not allowed")));
    }
    let mut survey = Survey::default();
    // The survey never breaks off.
    let _ = statement.visit(&mut survey);
    if survey.joins > limits.joins_max {
        let message = format!("{} joins; {} are allowed", survey.joins, limits.joins_max);
        return Err(Refusal::new("TOO_MANY_JOINS", message));
    }
    if survey.depth_max > limits.depth_max + 1 {
        let message =
            format!("subqueries are nested {} deep; {} is allowed", survey.depth_max - 1, limits.depth_max);
        return Err(Refusal::new("SUBQUERY_TOO_DEEP", message));
    }
    for table in &survey.tables {
        let is = |name: &String| name.eq_ignore_ascii_case(table);
        if limits.denied_tables.iter().any(is) {
            return Err(Refusal::denied("TABLE_DENIED", format!("the table {table} is denied")));
        }
        if !limits.allowed_tables.is_empty() && !limits.allowed_tables.iter().any(is) {
            return Err(Refusal::denied("TABLE_NOT_ALLOWED", format!("the table {table} is not allowed")));
        }
    }
    Ok(Judged { operation, tables: survey.tables.into_iter().collect(), warnings: warnings(statement) })
}

fn operation(statement: &Statement) -> &'static str {
    match statement {
        // A query whose body changes data says so in its parse tree.
        Statement::Query(query) => match body(&query.body) {
            Some(operation) => operation,
            None => "SELECT",
        },
        Statement::Insert(_) => "INSERT",
        Statement::Update(_) => "UPDATE",
        Statement::Delete(_) => "DELETE",
        Statement::Drop { .. } => "DROP",
        Statement::Truncate(_) => "TRUNCATE",
        Statement::CreateTable(_) => "CREATE",
        Statement::AttachDatabase { .. } => "ATTACH",
        Statement::Pragma { .. } => "PRAGMA",
        _ => "OTHER",
    }
}

fn body(body: &SetExpr) -> Option<&'static str> {
    match body {
        SetExpr::Insert(_) => Some("INSERT"),
        SetExpr::Update(_) => Some("UPDATE"),
        SetExpr::Delete(_) => Some("DELETE"),
        SetExpr::Query(query) => self::body(&query.body),
        _ => None,
    }
}

fn warnings(statement: &Statement) -> Vec<String> {
    let all = match statement {
        Statement::Update(update) => update.selection.is_none().then_some("UPDATE"),
        Statement::Delete(delete) => delete.selection.is_none().then_some("DELETE"),
        _ => None,
    };
    all.map(|operation| format!("{operation} without WHERE will affect all rows")).into_iter().collect()
}

/// Counts joins and nesting, and gathers tables.
#[derive(Default)]
struct Survey {
    joins: usize,
    depth: usize,
    depth_max: usize,
    tables: BTreeSet<String>,
}

impl Visitor for Survey {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        self.depth += 1;
        self.depth_max = self.depth_max.max(self.depth);
        if let SetExpr::Select(select) = query.body.as_ref() {
            self.joins += select.from.iter().map(|table| table.joins.len()).sum::<usize>();
            // Tables in a comma list are joined too.
            self.joins += select.from.len().saturating_sub(1);
        }
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        let name = relation.0.last().map(ToString::to_string).unwrap_or_default();
        self.tables.insert(name.trim_matches(['"', '`', '[', ']']).to_owned());
        ControlFlow::Continue(())
    }
}
