//! `ValueInfoProto`: the name and type of an input or output.

use crate::element_type::ElementType;
use crate::wire::{Broken, Fields};

/// An input or output.
#[derive(Debug)]
pub(crate) struct ValueInfo<'a> {
    pub(crate) name: &'a str,
    pub(crate) kind: ValueKind,
}

/// What it is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ValueKind {
    /// A tensor; the shape is `None` when the file does not say how many dimensions it has.
    Tensor { element: ElementType, shape: Option<Vec<Option<usize>>> },
    /// Nothing is said, which is usual in the bodies of operators.
    Unsaid,
    /// A sequence or the like.
    Other(&'static str),
}

impl<'a> ValueInfo<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Result<ValueInfo<'a>, Broken> {
        let (mut name, mut kind) = ("", ValueKind::Unsaid);
        for field in Fields::new(bytes, "an input or output") {
            match field? {
                (1, value) => name = value.text("the name of an input or output")?,
                (2, value) => kind = read_type(value.bytes("the type of an input or output")?)?,
                _ => {}
            }
        }
        Ok(ValueInfo { name, kind })
    }
}

fn read_type(bytes: &[u8]) -> Result<ValueKind, Broken> {
    let mut kind = ValueKind::Unsaid;
    for field in Fields::new(bytes, "a type") {
        kind = match field? {
            (1, value) => read_tensor_type(value.bytes("a tensor type")?)?,
            (4, _) => ValueKind::Other("a sequence"),
            (5, _) => ValueKind::Other("a map"),
            (8, _) => ValueKind::Other("a sparse tensor"),
            (9, _) => ValueKind::Other("an optional value"),
            _ => kind,
        };
    }
    Ok(kind)
}

fn read_tensor_type(bytes: &[u8]) -> Result<ValueKind, Broken> {
    let (mut element, mut shape) = (ElementType(0), None);
    for field in Fields::new(bytes, "a tensor type") {
        match field? {
            (1, value) => element = ElementType(value.integer("an element type")?),
            (2, value) => shape = Some(read_shape(value.bytes("a shape")?)?),
            _ => {}
        }
    }
    Ok(ValueKind::Tensor { element, shape })
}

fn read_shape(bytes: &[u8]) -> Result<Vec<Option<usize>>, Broken> {
    /// More dimensions than any library has.
    const MOST: usize = 64;
    let mut shape = Vec::new();
    for field in Fields::new(bytes, "a shape") {
        if let (1, value) = field? {
            shape.push(read_dimension(value.bytes("a dimension")?)?);
        }
        if shape.len() > MOST {
            return Err(Broken::new(format!("a shape has more than {MOST} dimensions")));
        }
    }
    Ok(shape)
}

/// Exporters write a free dimension as a name, as `?`, as nothing, as -1 or as 0.
fn read_dimension(bytes: &[u8]) -> Result<Option<usize>, Broken> {
    let mut size = None;
    for field in Fields::new(bytes, "a dimension") {
        if let (1, value) = field? {
            size = usize::try_from(value.integer("a dimension")?).ok().filter(|size| *size > 0);
        }
    }
    Ok(size)
}
