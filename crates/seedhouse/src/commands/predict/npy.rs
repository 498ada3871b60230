//! Arrays as `numpy.save` writes them (format versions 1 to 3), with values in the order of C.

use half::f16;
use seedhouse_core::{Error, Result};
use seedhouse_service::{Numbers, Values};

const MAGIC: &[u8] = b"\x93NUMPY";

/// Returns whether bytes are such an array.
pub(super) fn is_array(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

/// Reads an array; `what` names it in errors.
///
/// # Errors
/// [`Error::Malformed`] when the file is broken, [`Error::Unsupported`] for a type or an order of values that is not read.
pub(super) fn read(what: &str, bytes: &[u8]) -> Result<Numbers> {
    let malformed = |reason: String| Error::malformed(what, reason);
    let (header, data) = split(bytes).ok_or_else(|| malformed("it ends within its header".into()))?;
    let header = std::str::from_utf8(header).map_err(|error| malformed(format!("its header is no text: {error}")))?;
    let field =
        |name: &str| field(header, name).ok_or_else(|| malformed(format!("its header has no `{name}`: {header}")));
    if field("fortran_order")?.starts_with("True") {
        return Err(Error::unsupported(
            what,
            "its values are in the order of Fortran; `numpy.ascontiguousarray` changes that",
        ));
    }
    let shape = shape(field("shape")?).ok_or_else(|| malformed(format!("its shape is no list of sizes: {header}")))?;
    let kind = field("descr")?.trim_start_matches('\'').split('\'').next().unwrap_or_default();
    let size = kind.get(2..).and_then(|size| size.parse::<usize>().ok()).unwrap_or_default();
    let wanted = shape.iter().try_fold(size, |product, size| product.checked_mul(*size));
    if wanted != Some(data.len()) {
        return Err(malformed(format!(
            "it has {} bytes of values, but its header says {shape:?} of `{kind}`",
            data.len()
        )));
    }
    let values = values(kind, data).ok_or_else(|| {
        Error::unsupported(
            format!("the type `{kind}` of {what}"),
            "bool, int8 to int64, uint8 and float16 to float64 are read",
        )
    })?;
    Ok(Numbers { shape, values })
}

/// Returns the header and the values.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = bytes.strip_prefix(MAGIC)?;
    let (length, rest) = match rest {
        [1, _, a, b, rest @ ..] => (usize::from(u16::from_le_bytes([*a, *b])), rest),
        [2 | 3, _, a, b, c, d, rest @ ..] => (usize::try_from(u32::from_le_bytes([*a, *b, *c, *d])).ok()?, rest),
        _ => return None,
    };
    rest.split_at_checked(length)
}

/// Returns what follows the name of a field in the header, which is a dictionary of Python.
fn field<'h>(header: &'h str, name: &str) -> Option<&'h str> {
    let (_, rest) = header.split_once(&format!("'{name}':"))?;
    Some(rest.trim_start())
}

fn shape(text: &str) -> Option<Vec<usize>> {
    let (inner, _) = text.strip_prefix('(')?.split_once(')')?;
    inner.split(',').map(str::trim).filter(|size| !size.is_empty()).map(|size| size.parse().ok()).collect()
}

fn values(kind: &str, data: &[u8]) -> Option<Values> {
    let fractional = |values: Vec<f64>| Some(Values::Fractional(values));
    let whole = |values: Vec<i64>| Some(Values::Whole(values));
    match kind {
        "|b1" => Some(Values::Bool(data.iter().map(|byte| *byte != 0).collect())),
        "|u1" => whole(data.iter().map(|byte| i64::from(*byte)).collect()),
        "|i1" => whole(data.iter().map(|byte| i64::from(byte.cast_signed())).collect()),
        "<i2" => whole(data.as_chunks().0.iter().map(|bytes| i64::from(i16::from_le_bytes(*bytes))).collect()),
        "<i4" => whole(data.as_chunks().0.iter().map(|bytes| i64::from(i32::from_le_bytes(*bytes))).collect()),
        "<i8" => whole(data.as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect()),
        "<f2" => fractional(data.as_chunks().0.iter().map(|bytes| f16::from_le_bytes(*bytes).to_f64()).collect()),
        "<f4" => fractional(data.as_chunks().0.iter().map(|bytes| f64::from(f32::from_le_bytes(*bytes))).collect()),
        "<f8" => fractional(data.as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(header: &str, data: &[u8]) -> Vec<u8> {
        let length = u16::try_from(header.len()).unwrap().to_le_bytes();
        [MAGIC, &[1, 0], &length, header.as_bytes(), data].concat()
    }

    fn read_array(header: &str, data: &[u8]) -> Result<Numbers> {
        read("file `a.npy`", &array(header, data))
    }

    #[test]
    fn arrays_of_numpy_are_read() {
        let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1), }  \n";
        let data = [1.5_f32.to_le_bytes(), (-2.0_f32).to_le_bytes()].concat();
        let expected = Numbers { shape: vec![2, 1], values: Values::Fractional(vec![1.5, -2.0]) };
        assert_eq!(read_array(header, &data).unwrap(), expected);
        let scalar = read_array("{'descr': '<i8', 'fortran_order': False, 'shape': (), }", &7_i64.to_le_bytes());
        assert_eq!(scalar.unwrap(), Numbers { shape: vec![], values: Values::Whole(vec![7]) });
        let bytes = read_array("{'descr': '|i1', 'fortran_order': False, 'shape': (2,), }", &[255, 1]);
        assert_eq!(bytes.unwrap().values, Values::Whole(vec![-1, 1]));
    }

    #[test]
    fn broken_arrays_are_refused_by_name() {
        let cases = [
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", "has 4 bytes of values"),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296), }", "has 4 bytes of values"),
            ("{'descr': '<f4', 'fortran_order': True, 'shape': (1,), }", "Fortran"),
            ("{'descr': '<U1', 'fortran_order': False, 'shape': (4,), }", "`<U1`"),
            ("{'descr': '>f4', 'fortran_order': False, 'shape': (1,), }", "`>f4`"),
            ("{'descr': '<f4', 'shape': (1,), }", "no `fortran_order`"),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }", "no list of sizes"),
        ];
        for (header, expected) in cases {
            let error = read_array(header, &[0; 4]).unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains("a.npy"), "{error}");
        }
        assert!(read("a", b"\x93NUMPY\x01\x00\xff\xff{").unwrap_err().to_string().contains("within its header"));
    }
}
