//! Searches: which index leads to the versions, and in which order it is walked.
//!
//! A page is found in one of two ways, and the number of versions that match decides which is cheaper:
//!
//! ```text
//! few match     collect all of them from the rarest condition, sort, take the first        costs the number of matches
//! many match    walk in the order asked for, keep what matches, stop when the page is full  costs limit · all / matches
//! ```
//!
//! The two cost the same at `sqrt(limit · all)` matches, so nobody counts further than that; of several conditions that each
//! narrow the walk a little, further: see [`few`]. By order of registration the
//! index of texts and labels is walked newest first by itself, and several of its tokens are intersected there, so that way
//! needs no count.

mod predicate;
mod source;

use rusqlite::types::Value as SqlValue;
use rusqlite::{Connection, params_from_iter};
use seedhouse_core::Query;
use seedhouse_core::query::{Direction, Field, OrderBy, Position};

use self::predicate::{Predicate, key_of, typed_column};
use self::source::{Source, ordered_source, sources};
use super::values::sql_value;
use crate::search_tokens::words;

/// A query, and the connection that answers it.
pub(super) struct Search<'a> {
    connection: &'a Connection,
    query: &'a Query,
    words: Vec<String>,
    /// An upper bound of the number of versions.
    total: i64,
}

/// By what rows are ordered: an expression, and what must hold for it to have a value.
struct OrderKey {
    expression: String,
    join: String,
    condition: Option<String>,
    missing: Option<String>,
}

impl<'a> Search<'a> {
    /// Prepares a query.
    pub(super) fn new(connection: &'a Connection, query: &'a Query) -> rusqlite::Result<Search<'a>> {
        let sql = "SELECT coalesce(max(id), 0) FROM version_search";
        let total = connection.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
        let words = words(query.text.as_deref().unwrap_or_default());
        Ok(Search { connection, query, words, total })
    }

    /// Returns the rows of at most `limit` versions that match and stand behind a position, in the order of the query.
    pub(super) fn ids(&self, position: Option<&Position>, limit: usize) -> rusqlite::Result<Vec<i64>> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let OrderBy::Field(field) = &self.query.order.by else {
            let source = self.best_source(limit, Walk::Registration)?;
            return self.by_registration(&source, None, position, limit);
        };
        let few_source = self.best_source(limit, Walk::Field)?;
        let in_missing = position.is_some_and(|position| position.value.is_none());
        let mut ids = Vec::new();
        if !in_missing {
            ids = match &few_source {
                source if source.is_few => self.sorted(source, field, position, limit)?,
                _ => self.walked(field, position, limit)?,
            };
        }
        let left = limit - i64::try_from(ids.len()).unwrap_or(limit);
        if let (Some(missing), 1..) = (order_key(self.connection, field)?.missing, left) {
            let source = if few_source.is_few { few_source } else { self.best_source(limit, Walk::Registration)? };
            let position = position.filter(|_| in_missing);
            ids.extend(self.by_registration(&source, Some(missing), position, left)?);
        }
        Ok(ids)
    }

    /// Returns the number of versions that match, counting to at most `most`.
    pub(super) fn count(&self, most: i64) -> rusqlite::Result<i64> {
        let source = self.best_source(most, Walk::Count)?;
        let mut statement = Statement::of(&source, self, None)?;
        statement.parameters.push(SqlValue::Integer(most));
        let sql = format!("SELECT count(*) FROM (SELECT 1 FROM {} LIMIT ?)", statement.text());
        self.connection.prepare_cached(&sql)?.query_row(params_from_iter(statement.parameters), |row| row.get(0))
    }

    /// Returns the source to collect `limit` versions from if it is small, else the one to walk.
    fn best_source(&self, limit: i64, walk: Walk) -> rusqlite::Result<Source> {
        let mut best: Option<(i64, Source)> = None;
        let mut walkable = Source::everything();
        let sources = sources(self.connection, self.query, &self.words)?;
        let alone = sources.len() == 1;
        let few = match walk {
            Walk::Registration => {
                let narrowing = sources.iter().filter(|source| !source.is_text).count();
                few(limit, self.total, narrowing, 4.0)
            }
            Walk::Field => few(limit, self.total, sources.len(), 1.0),
            Walk::Count => limit,
        };
        for mut source in sources {
            // Nothing to weigh against, and it comes in the right order by itself.
            if alone && source.is_ordered && walk != Walk::Field {
                return Ok(source);
            }
            let most = best.as_ref().map_or(few, |(count, _)| few.min(*count));
            let count = source.count(self.connection, most + 1)?;
            if count <= few && best.as_ref().is_none_or(|(least, _)| count < *least) {
                source.is_few = true;
                best = Some((count, source));
            } else if source.is_ordered && walkable.is_everything {
                walkable = source;
            }
        }
        Ok(best.map_or(walkable, |(_, source)| source))
    }

    fn by_registration(
        &self,
        source: &Source,
        condition: Option<String>,
        position: Option<&Position>,
        limit: i64,
    ) -> rusqlite::Result<Vec<i64>> {
        let mut statement = Statement::of(source, self, None)?;
        if let Some(condition) = condition {
            statement.needs_row = true;
            statement.conditions.push(condition);
        }
        let (sign, direction) = self.direction();
        let id = source.id;
        if let Some(position) = position {
            statement.conditions.push(format!("{id} {sign} ?"));
            statement.parameters.push(row_number(position));
        }
        self.collect(statement, &format!("{id} {direction}"), id, limit)
    }

    /// Collects all that match from a small source and sorts them.
    fn sorted(
        &self,
        source: &Source,
        field: &Field,
        position: Option<&Position>,
        limit: i64,
    ) -> rusqlite::Result<Vec<i64>> {
        let key = order_key(self.connection, field)?;
        let mut statement = Statement::of(source, self, None)?;
        statement.needs_row |= !matches!(field, Field::Path(_));
        statement.join.push_str(&key.join.replace("{id}", source.id));
        self.in_order(statement, key, source.id, position, limit)
    }

    /// Walks the index of the field until enough are found.
    fn walked(&self, field: &Field, position: Option<&Position>, limit: i64) -> rusqlite::Result<Vec<i64>> {
        let (source, expression) = ordered_source(self.connection, field)?;
        let statement = Statement::of(&source, self, Some((field, &expression)))?;
        let condition = Some(format!("{expression} IS NOT NULL"));
        let key = OrderKey { expression, join: String::new(), condition, missing: None };
        self.in_order(statement, key, source.id, position, limit)
    }

    fn in_order(
        &self,
        mut statement: Statement,
        key: OrderKey,
        id: &str,
        position: Option<&Position>,
        limit: i64,
    ) -> rusqlite::Result<Vec<i64>> {
        let (sign, direction) = self.direction();
        let expression = key.expression;
        statement.conditions.extend(key.condition);
        if let Some((position, value)) = position.and_then(|position| Some((position, position.value.as_ref()?))) {
            statement.conditions.push(format!("({expression}, {id}) {sign} (?, ?)"));
            statement.parameters.extend([sql_value(value), row_number(position)]);
        }
        self.collect(statement, &format!("{expression} {direction}, {id} {direction}"), id, limit)
    }

    fn collect(&self, mut statement: Statement, order: &str, id: &str, limit: i64) -> rusqlite::Result<Vec<i64>> {
        statement.parameters.push(SqlValue::Integer(limit));
        let sql = format!("SELECT {id} FROM {} ORDER BY {order} LIMIT ?", statement.text());
        let mut prepared = self.connection.prepare_cached(&sql)?;
        prepared.query_map(params_from_iter(statement.parameters), |row| row.get(0))?.collect()
    }

    fn direction(&self) -> (&'static str, &'static str) {
        match self.query.order.direction {
            Direction::Ascending => (">", "ASC"),
            Direction::Descending => ("<", "DESC"),
        }
    }
}

/// Which way is open if too many match to be collected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Walk {
    /// In order of registration.
    Registration,
    /// In no order: all that match are counted.
    Count,
    /// Along the index of a field.
    Field,
}

/// What follows `FROM`, put together.
struct Statement {
    from: String,
    join: String,
    needs_row: bool,
    row_join: String,
    conditions: Vec<String>,
    parameters: Vec<SqlValue>,
}

impl Statement {
    /// Returns the statement that finds all that match; conditions that the source has seen to are left out. `walked` is the
    /// field whose index is walked and its expression there, where a condition on it bounds the walk.
    fn of(source: &Source, search: &Search<'_>, walked: Option<(&Field, &str)>) -> rusqlite::Result<Statement> {
        let mut statement = Statement {
            from: source.from.clone(),
            join: String::new(),
            needs_row: false,
            row_join: source.row_join.clone(),
            conditions: source.conditions.clone(),
            parameters: source.parameters.clone(),
        };
        for (index, condition) in search.query.filter.conditions.iter().enumerate() {
            if source.settled.contains(&index) {
                continue;
            }
            let (predicate, needs_row) = match walked {
                Some((field, expression)) if condition.field == *field => {
                    (Predicate::on(expression, &condition.test), false)
                }
                _ => Predicate::of(search.connection, condition, source.id)?,
            };
            statement.needs_row |= needs_row;
            statement.conditions.push(predicate.sql);
            statement.parameters.extend(predicate.parameters);
        }
        for word in search.words.iter().filter(|word| !source.settled_words.contains(*word)) {
            statement.needs_row = true;
            statement.conditions.push("instr(s.text, ?) > 0".into());
            statement.parameters.push(SqlValue::Text(word.clone()));
        }
        Ok(statement)
    }

    fn text(&self) -> String {
        let row_join = if self.needs_row { &self.row_join } else { "" };
        let conditions = if self.conditions.is_empty() { "TRUE".to_owned() } else { self.conditions.join(" AND ") };
        format!("{}{row_join}{} WHERE {conditions}", self.from, self.join)
    }
}

/// Returns how rows that are collected are ordered by a field.
fn order_key(connection: &Connection, field: &Field) -> rusqlite::Result<OrderKey> {
    Ok(match field {
        Field::Path(path) => {
            let key = key_of(connection, path)?;
            OrderKey {
                expression: "o.value".into(),
                join: format!(" CROSS JOIN version_value o ON o.version_id = {{id}} AND o.key_id = {key}"),
                condition: None,
                missing: Some(format!(
                    "NOT EXISTS (SELECT 1 FROM version_value WHERE version_id = s.id AND key_id = {key})"
                )),
            }
        }
        typed => {
            let column = typed_column(typed);
            let is_optional = *typed == Field::SizeBytes;
            OrderKey {
                // Without the plus SQLite might walk the whole index of the column to save the sorting of a few.
                expression: format!("+s.{column}"),
                join: String::new(),
                condition: is_optional.then(|| format!("+s.{column} IS NOT NULL")),
                missing: is_optional.then(|| format!("+s.{column} IS NULL")),
            }
        }
    })
}

/// Returns the size of a set up to which collecting it is cheaper than walking all versions until `limit` match.
///
/// If each of `k` conditions lets `c` of `n` versions through, and independently, a walk looks at `limit · (n / c)^k` of them,
/// and collecting looks at `c`: as many at the root number `k + 1` of `limit · n^k`. What is collected lies all over the tables
/// and costs `dearness` times as much as what is walked in order of registration.
fn few(limit: i64, total: i64, conditions: usize, dearness: f64) -> i64 {
    let (limit, total) = (limit.min(total).max(1) as f64, total.max(1) as f64);
    let power = conditions.clamp(1, 8) as f64;
    ((limit.ln() + power * total.ln() - dearness.ln()) / (power + 1.0)).exp().ceil().max(64.0) as i64
}

fn row_number(position: &Position) -> SqlValue {
    SqlValue::Integer(i64::try_from(position.row).unwrap_or(i64::MAX))
}
