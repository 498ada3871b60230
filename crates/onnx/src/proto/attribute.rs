//! `AttributeProto`.

use crate::proto::{Graph, Reader, TensorProto};
use crate::wire::{Broken, Fields};

/// A named setting of an operator.
#[derive(Debug)]
pub(crate) struct Attribute<'a> {
    pub(crate) name: &'a str,
    pub(crate) value: AttributeValue<'a>,
}

/// Its value.
#[derive(Debug)]
pub(crate) enum AttributeValue<'a> {
    Float(f32),
    Integer(i64),
    Text(&'a str),
    Tensor(Box<TensorProto<'a>>),
    Graph(Box<Graph<'a>>),
    Floats(Vec<f32>),
    Integers(Vec<i64>),
    Texts(Vec<&'a str>),
    /// Of a kind that nothing here computes with.
    Other(&'static str),
}

/// Everything an attribute may say; which part holds is said by its type.
#[derive(Default)]
struct Parts<'a> {
    kind: i64,
    float: Option<f32>,
    integer: Option<i64>,
    text: Option<&'a [u8]>,
    tensor: Option<TensorProto<'a>>,
    graph: Option<Graph<'a>>,
    floats: Vec<f32>,
    integers: Vec<i64>,
    texts: Vec<&'a [u8]>,
    other: Option<&'static str>,
}

impl Reader {
    pub(super) fn attribute<'a>(&mut self, bytes: &'a [u8]) -> Result<Attribute<'a>, Broken> {
        let (mut name, mut parts) = ("", Parts::default());
        for field in Fields::new(bytes, "an attribute") {
            let (number, value) = field?;
            match number {
                1 => name = value.text("the name of an attribute")?,
                2 => {
                    let mut single = Vec::new();
                    value.floats("an attribute", &mut single)?;
                    parts.float = single.last().copied();
                }
                3 => parts.integer = Some(value.integer("an attribute")?),
                4 => parts.text = Some(value.bytes("an attribute")?),
                5 => parts.tensor = Some(self.tensor(value.bytes("an attribute")?)?),
                6 => parts.graph = Some(self.graph(value.bytes("an attribute")?)?),
                7 => value.floats("an attribute", &mut parts.floats)?,
                8 => value.integers("an attribute", &mut parts.integers)?,
                9 => {
                    self.count()?;
                    parts.texts.push(value.bytes("an attribute")?);
                }
                10 => parts.other = Some("several tensors"),
                11 => parts.other = Some("several graphs"),
                14 | 15 => parts.other = Some("a type"),
                20 => parts.kind = value.integer("the type of an attribute")?,
                21 => parts.other = Some("a reference to an attribute of a function"),
                22 | 23 => parts.other = Some("a sparse tensor"),
                _ => {}
            }
        }
        let value = parts.value().map_err(|Broken(reason)| Broken(format!("attribute `{name}` {reason}")))?;
        Ok(Attribute { name, value })
    }
}

impl<'a> Parts<'a> {
    fn value(self) -> Result<AttributeValue<'a>, Broken> {
        if let Some(other) = self.other {
            return Ok(AttributeValue::Other(other));
        }
        let text = |bytes: &'a [u8]| {
            std::str::from_utf8(bytes).map_err(|error| Broken::new(format!("is no text in UTF-8: {error}")))
        };
        let missing = |what| Broken::new(format!("is said to be {what}, but holds none"));
        let kind = if self.kind == 0 { self.kind_by_content() } else { self.kind };
        Ok(match kind {
            1 => AttributeValue::Float(self.float.unwrap_or_default()),
            2 => AttributeValue::Integer(self.integer.unwrap_or_default()),
            3 => AttributeValue::Text(text(self.text.unwrap_or_default())?),
            4 => AttributeValue::Tensor(Box::new(self.tensor.ok_or_else(|| missing("a tensor"))?)),
            5 => AttributeValue::Graph(Box::new(self.graph.ok_or_else(|| missing("a graph"))?)),
            6 => AttributeValue::Floats(self.floats),
            7 => AttributeValue::Integers(self.integers),
            8 => AttributeValue::Texts(self.texts.into_iter().map(text).collect::<Result<_, _>>()?),
            _ => AttributeValue::Other("a type that is not known"),
        })
    }

    /// Files of the first versions of the format do not name the type.
    fn kind_by_content(&self) -> i64 {
        let held = [
            (self.float.is_some(), 1),
            (self.integer.is_some(), 2),
            (self.text.is_some(), 3),
            (self.tensor.is_some(), 4),
            (self.graph.is_some(), 5),
            (!self.floats.is_empty(), 6),
            (!self.integers.is_empty(), 7),
            (!self.texts.is_empty(), 8),
        ];
        held.into_iter().find_map(|(is_held, kind)| is_held.then_some(kind)).unwrap_or_default()
    }
}
