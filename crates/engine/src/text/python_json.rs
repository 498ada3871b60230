//! JSON as Python's `json.dumps(value, ensure_ascii=False)` writes it, which is what chat templates were trained with.

use std::io;

use minijinja::value::{Kwargs, Value};
use minijinja::{Error, ErrorKind};
use serde::Serialize as _;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};

/// The filter `tojson(indent=…)`; unlike the built-in one it does not escape for HTML.
pub(crate) fn to_json(value: &Value, options: Kwargs) -> Result<String, Error> {
    const WIDEST_INDENT: usize = 16;
    let indent = options.get::<Option<usize>>("indent")?;
    options.assert_all_used()?;
    let mut bytes = Vec::new();
    let written = match indent {
        Some(width) if width > WIDEST_INDENT => {
            return Err(Error::new(
                ErrorKind::InvalidOperation,
                format!("an indent of {width} is above {WIDEST_INDENT}"),
            ));
        }
        Some(width) => {
            let indent = " ".repeat(width);
            value
                .serialize(&mut Serializer::with_formatter(&mut bytes, PrettyFormatter::with_indent(indent.as_bytes())))
        }
        None => value.serialize(&mut Serializer::with_formatter(&mut bytes, Spaced)),
    };
    written.map_err(|error| Error::new(ErrorKind::BadSerialization, "cannot write JSON").with_source(error))?;
    Ok(String::from_utf8(bytes).expect("JSON is written as UTF-8"))
}

/// One line with a space behind `,` and `:`.
struct Spaced;

impl Formatter for Spaced {
    fn begin_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}
