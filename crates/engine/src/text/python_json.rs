//! JSON as Python's `json.dumps(value, ensure_ascii=False)` writes it, which is what chat templates were trained with.

use std::io;

use minijinja::value::{Kwargs, Value};
use minijinja::{Error, ErrorKind};
use serde_json::Value as Json;
use serde_json::ser::{Formatter, Serializer};

use super::bounded::BoundedBytes;

const WIDEST_INDENT: usize = 16;

/// The filter `tojson` with the arguments of Hugging Face's environment; it does not escape for HTML.
///
/// A value that holds another one twice, sixty times over, is small in memory and beyond any memory as JSON, so the
/// writer has a limit.
pub(crate) fn to_json(value: &Value, options: Kwargs) -> Result<String, Error> {
    let indent = options.get::<Option<usize>>("indent")?;
    let separators = options.get::<Option<Vec<String>>>("separators")?;
    let sort_keys = options.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
    let ensure_ascii = options.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false);
    options.assert_all_used()?;
    let formatter = Python::new(indent, separators)?;
    let mut text = write(value, formatter.clone())?;
    if sort_keys {
        let parsed: Json = serde_json::from_str(&write(value, Python::new(None, None)?)?).map_err(broken)?;
        text = write(&sorted(parsed), formatter)?;
    }
    Ok(if ensure_ascii { escape_beyond_ascii(&text) } else { text })
}

fn write(value: &impl serde::Serialize, formatter: Python) -> Result<String, Error> {
    let mut bytes = BoundedBytes::default();
    value.serialize(&mut Serializer::with_formatter(&mut bytes, formatter)).map_err(broken)?;
    Ok(String::from_utf8(bytes.0).expect("JSON is written as UTF-8"))
}

fn broken(error: serde_json::Error) -> Error {
    Error::new(ErrorKind::BadSerialization, format!("cannot write JSON: {error}"))
}

/// The depth is bounded: the parser that made the value reads no deeper than 128.
fn sorted(value: Json) -> Json {
    match value {
        Json::Object(map) => {
            let entries: std::collections::BTreeMap<_, _> =
                map.into_iter().map(|(key, value)| (key, sorted(value))).collect();
            Json::Object(entries.into_iter().collect())
        }
        Json::Array(values) => Json::Array(values.into_iter().map(sorted).collect()),
        other => other,
    }
}

fn escape_beyond_ascii(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\0'..='\x7f' => escaped.push(character),
            _ => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    escaped.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
    escaped
}

/// `json.dumps`: one line with a space behind `,` and `:`, or indented lines.
#[derive(Clone)]
struct Python {
    item: String,
    key: String,
    indent: Option<usize>,
    depth: usize,
    has_value: bool,
}

impl Python {
    fn new(indent: Option<usize>, separators: Option<Vec<String>>) -> Result<Python, Error> {
        let refuse = |reason: String| Err(Error::new(ErrorKind::InvalidOperation, reason));
        if let Some(width) = indent.filter(|width| *width > WIDEST_INDENT) {
            return refuse(format!("an indent of {width} is above {WIDEST_INDENT}"));
        }
        let (item, key) = match separators.as_deref() {
            None if indent.is_some() => (",".to_owned(), ": ".to_owned()),
            None => (", ".to_owned(), ": ".to_owned()),
            Some([item, key]) => (item.clone(), key.clone()),
            Some(other) => return refuse(format!("there are {} separators, but 2 are needed", other.len())),
        };
        Ok(Python { item, key, indent, depth: 0, has_value: false })
    }

    fn begin<W: ?Sized + io::Write>(&mut self, writer: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.depth += 1;
        self.has_value = false;
        writer.write_all(bracket)
    }

    fn end<W: ?Sized + io::Write>(&mut self, writer: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.depth -= 1;
        if self.has_value {
            self.break_line(writer)?;
        }
        writer.write_all(bracket)
    }

    fn separate<W: ?Sized + io::Write>(&self, writer: &mut W, first: bool) -> io::Result<()> {
        if !first {
            writer.write_all(self.item.as_bytes())?;
        }
        self.break_line(writer)
    }

    fn break_line<W: ?Sized + io::Write>(&self, writer: &mut W) -> io::Result<()> {
        let Some(width) = self.indent else { return Ok(()) };
        writer.write_all(b"\n")?;
        (0..self.depth).try_for_each(|_| writer.write_all(&[b' '; WIDEST_INDENT][..width]))
    }
}

impl Formatter for Python {
    fn begin_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.begin(writer, b"[")
    }

    fn end_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.end(writer, b"]")
    }

    fn begin_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.separate(writer, first)
    }

    fn end_array_value<W: ?Sized + io::Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.has_value = true;
        Ok(())
    }

    fn begin_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.begin(writer, b"{")
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.end(writer, b"}")
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.separate(writer, first)
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(self.key.as_bytes())
    }

    fn end_object_value<W: ?Sized + io::Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.has_value = true;
        Ok(())
    }
}
