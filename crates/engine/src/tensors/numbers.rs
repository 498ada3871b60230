//! Numbers in nested lists, before it is known which type the model wants them to be.

use std::fmt;

use half::f16;
use seedhouse_core::runtime::{Tensor, TensorData, TensorSpec, TensorType};
use seedhouse_core::{Error, Result};
use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, SeqAccess, Visitor};

/// Numbers of one shape. As JSON: nested lists, a number alone for no dimension, and `"NaN"`, `"Infinity"`, `"-Infinity"` for what JSON has
/// no word for.
#[derive(Debug, Clone, PartialEq)]
pub struct Numbers {
    /// Dimensions, outermost first.
    pub shape: Vec<usize>,
    /// Last dimension fastest.
    pub values: Values,
}

/// Values as they were written.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    /// Whole numbers only.
    Whole(Vec<i64>),
    /// Numbers with fractions among them.
    Fractional(Vec<f64>),
    /// True or false.
    Bool(Vec<bool>),
}

impl Numbers {
    /// Returns the tensor of the type that the model wants. A shape that does not fit is the model's to name.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming the input, with a value that is none of the type.
    pub fn to_tensor(&self, spec: &TensorSpec) -> Result<Tensor> {
        let data = match spec.tensor_type {
            TensorType::F32 => TensorData::F32(self.floats(spec, |value| value as f32)?),
            TensorType::F16 => TensorData::F16(self.floats(spec, f16::from_f64)?),
            TensorType::I64 => TensorData::I64(self.whole(spec)?),
            TensorType::I32 => TensorData::I32(self.whole(spec)?),
            TensorType::I8 => TensorData::I8(self.whole(spec)?),
            TensorType::U8 => TensorData::U8(self.whole(spec)?),
            TensorType::Bool => TensorData::Bool(self.bools(spec)?),
        };
        Ok(Tensor { shape: self.shape.clone(), data })
    }

    fn floats<T>(&self, spec: &TensorSpec, convert: impl Fn(f64) -> T) -> Result<Vec<T>> {
        match &self.values {
            Values::Whole(values) => Ok(values.iter().map(|value| convert(*value as f64)).collect()),
            Values::Fractional(values) => Ok(values.iter().map(|value| convert(*value)).collect()),
            Values::Bool(values) => refused(spec, values.first()),
        }
    }

    fn whole<T: TryFrom<i64> + Default>(&self, spec: &TensorSpec) -> Result<Vec<T>> {
        match &self.values {
            Values::Whole(values) => {
                let convert = |value: &i64| T::try_from(*value).or_else(|_| refused(spec, Some(value)));
                values.iter().map(convert).collect()
            }
            Values::Fractional(values) => {
                refused(spec, values.iter().find(|value| value.fract() != 0.0).or(values.first()))
            }
            Values::Bool(values) => refused(spec, values.first()),
        }
    }

    fn bools(&self, spec: &TensorSpec) -> Result<Vec<bool>> {
        match &self.values {
            Values::Bool(values) => Ok(values.clone()),
            Values::Whole(values) if values.iter().all(|value| matches!(value, 0 | 1)) => {
                Ok(values.iter().map(|value| *value == 1).collect())
            }
            Values::Whole(values) => refused(spec, values.iter().find(|value| !matches!(value, 0 | 1))),
            Values::Fractional(values) => refused(spec, values.first()),
        }
    }
}

/// An empty list is of every type.
fn refused<T: Default, V: fmt::Debug>(spec: &TensorSpec, value: Option<&V>) -> Result<T> {
    match value {
        Some(value) => {
            let rule = format!("`{}` is a tensor of {}", spec.name, spec.tensor_type);
            Err(Error::invalid(&spec.name, format!("{value:?}"), rule))
        }
        None => Ok(T::default()),
    }
}

impl<'de> Deserialize<'de> for Numbers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Numbers, D::Error> {
        let mut reader = NumbersReader::default();
        reader.at(0).deserialize(deserializer)?;
        Ok(reader.finish())
    }
}

/// Reads nested lists one number at a time: the nested form never stands in memory.
#[derive(Debug, Default)]
struct NumbersReader {
    /// The size of each dimension, as its first list had it.
    shape: Vec<Option<usize>>,
    /// How deep the numbers lie; known from the first of them on.
    depth: Option<usize>,
    values: Option<Values>,
}

/// More dimensions than a model has; deeper lists are a mistake, or worse.
const MOST_DIMENSIONS: usize = 16;

impl NumbersReader {
    fn at(&mut self, depth: usize) -> Level<'_> {
        Level { reader: self, depth }
    }

    /// Adds a number that stands in `depth` lists.
    fn add<E: de::Error>(&mut self, depth: usize, value: Value) -> Result<(), E> {
        match self.depth {
            None if self.shape.len() > depth => return Err(E::custom("a number stands beside a list")),
            None => self.depth = Some(depth),
            Some(first) if first == depth => {}
            Some(first) => return Err(E::custom(format!("a number stands in {depth} lists, another one in {first}"))),
        }
        let values = self.values.get_or_insert_with(|| value.none_like_it());
        match (values, value) {
            (Values::Whole(values), Value::Whole(value)) => values.push(value),
            (Values::Fractional(values), Value::Fractional(value)) => values.push(value),
            (Values::Fractional(values), Value::Whole(value)) => values.push(value as f64),
            (Values::Bool(values), Value::Bool(value)) => values.push(value),
            (Values::Whole(whole), Value::Fractional(value)) => {
                let mut values: Vec<f64> = whole.iter().map(|value| *value as f64).collect();
                values.push(value);
                self.values = Some(Values::Fractional(values));
            }
            _ => return Err(E::custom("true or false stands among numbers")),
        }
        Ok(())
    }

    fn begin_list<E: de::Error>(&mut self, depth: usize) -> Result<(), E> {
        if self.depth.is_some_and(|numbers| depth >= numbers) {
            return Err(E::custom("a list stands beside a number"));
        }
        if depth == MOST_DIMENSIONS {
            return Err(E::custom(format!("lists lie in lists more than {MOST_DIMENSIONS} deep")));
        }
        if self.shape.len() <= depth {
            self.shape.push(None);
        }
        Ok(())
    }

    fn end_list<E: de::Error>(&mut self, depth: usize, length: usize) -> Result<(), E> {
        match self.shape[depth] {
            None => self.shape[depth] = Some(length),
            Some(first) if first == length => {}
            Some(first) => {
                return Err(E::custom(format!(
                    "a list has {length} items, but the first one in its place has {first}"
                )));
            }
        }
        Ok(())
    }

    fn finish(self) -> Numbers {
        let shape = self.shape.into_iter().map(Option::unwrap_or_default).collect();
        Numbers { shape, values: self.values.unwrap_or(Values::Whole(Vec::new())) }
    }
}

enum Value {
    Whole(i64),
    Fractional(f64),
    Bool(bool),
}

impl Value {
    fn none_like_it(&self) -> Values {
        match self {
            Value::Whole(_) => Values::Whole(Vec::new()),
            Value::Fractional(_) => Values::Fractional(Vec::new()),
            Value::Bool(_) => Values::Bool(Vec::new()),
        }
    }
}

struct Level<'r> {
    reader: &'r mut NumbersReader,
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for Level<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Level<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("numbers in nested lists")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        self.reader.begin_list(self.depth)?;
        let mut length = 0;
        while items.next_element_seed(self.reader.at(self.depth + 1))?.is_some() {
            length += 1;
        }
        self.reader.end_list(self.depth, length)
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<(), E> {
        self.reader.add(self.depth, Value::Whole(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<(), E> {
        let value = i64::try_from(value).map_or(Value::Fractional(value as f64), Value::Whole);
        self.reader.add(self.depth, value)
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<(), E> {
        self.reader.add(self.depth, Value::Fractional(value))
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<(), E> {
        self.reader.add(self.depth, Value::Bool(value))
    }

    fn visit_str<E: de::Error>(self, word: &str) -> Result<(), E> {
        let value = match word {
            "NaN" => f64::NAN,
            "Infinity" => f64::INFINITY,
            "-Infinity" => f64::NEG_INFINITY,
            _ => return Err(E::invalid_value(de::Unexpected::Str(word), &self)),
        };
        self.reader.add(self.depth, Value::Fractional(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Numbers {
        serde_json::from_str(json).unwrap()
    }

    fn spec(tensor_type: TensorType) -> TensorSpec {
        TensorSpec { name: "x".into(), tensor_type, shape: vec![None] }
    }

    #[test]
    fn nested_lists_have_a_shape_and_values() {
        let cases = [
            ("7", vec![], Values::Whole(vec![7])),
            ("[]", vec![0], Values::Whole(vec![])),
            ("[[], []]", vec![2, 0], Values::Whole(vec![])),
            ("[[1, 2, 3], [4, 5, 6]]", vec![2, 3], Values::Whole(vec![1, 2, 3, 4, 5, 6])),
            ("[1, 0.5, -3]", vec![3], Values::Fractional(vec![1.0, 0.5, -3.0])),
            ("[\"-Infinity\", 1]", vec![2], Values::Fractional(vec![f64::NEG_INFINITY, 1.0])),
            ("[[[true]], [[false]]]", vec![2, 1, 1], Values::Bool(vec![true, false])),
        ];
        for (json, shape, values) in cases {
            assert_eq!(read(json), Numbers { shape, values }, "{json}");
        }
    }

    #[test]
    fn lists_that_are_no_tensor_are_refused() {
        let deep = format!("{}1{}", "[".repeat(17), "]".repeat(17));
        let cases = [
            ("[[1, 2], [3]]", "1 items, but the first one in its place has 2"),
            ("[1, [2]]", "a list stands beside a number"),
            ("[[2], 1]", "in 1 lists, another one in 2"),
            ("[[], 1]", "a number stands beside a list"),
            ("[1, true]", "true or false stands among numbers"),
            ("[\"wheat\"]", "\"wheat\""),
            ("[null]", "null"),
            (&deep, "more than 16 deep"),
        ];
        for (json, expected) in cases {
            let error = serde_json::from_str::<Numbers>(json).unwrap_err().to_string();
            assert!(error.contains(expected), "{json}: {error}");
        }
    }

    #[test]
    fn values_become_the_type_of_the_model_or_are_named() {
        let tensor = |json: &str, tensor_type| read(json).to_tensor(&spec(tensor_type));
        assert_eq!(tensor("[1, 0.5]", TensorType::F32).unwrap().data, TensorData::F32(vec![1.0, 0.5]));
        assert_eq!(tensor("[1, 2]", TensorType::F32).unwrap().data, TensorData::F32(vec![1.0, 2.0]));
        assert_eq!(tensor("[-128]", TensorType::I8).unwrap().data, TensorData::I8(vec![-128]));
        assert_eq!(tensor("[1, 0]", TensorType::Bool).unwrap().data, TensorData::Bool(vec![true, false]));
        assert_eq!(
            tensor("[9007199254740993]", TensorType::I64).unwrap().data,
            TensorData::I64(vec![9007199254740993])
        );
        let cases = [
            ("[1.5]", TensorType::I64, ["1.5", "int64"]),
            ("[1, 300]", TensorType::U8, ["300", "uint8"]),
            ("[4294967296]", TensorType::I32, ["4294967296", "int32"]),
            ("[true]", TensorType::F32, ["true", "float32"]),
            ("[0, 2]", TensorType::Bool, ["2", "bool"]),
        ];
        for (json, tensor_type, expected) in cases {
            let error = tensor(json, tensor_type).unwrap_err().to_string();
            assert!(expected.iter().all(|part| error.contains(part)), "{error} should contain {expected:?}");
        }
    }
}
