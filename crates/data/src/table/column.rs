//! The values of a column, numbers or texts.

use std::collections::HashMap;

use seedhouse_core::dataset::ColumnValues;

use super::cell::Cell;

/// What the values of a column are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Numbers,
    Texts,
}

/// Sees the values of a column that are not missing, and says what they are: numbers if all of them read as such.
pub(crate) struct KindFinder {
    has_text: bool,
}

impl KindFinder {
    pub(crate) fn new(is_declared_categorical: bool) -> KindFinder {
        KindFinder { has_text: is_declared_categorical }
    }

    pub(crate) fn see(&mut self, cell: &Cell<'_>) {
        if self.has_text {
            return;
        }
        self.has_text = match cell {
            Cell::Written(text) => text.trim().parse::<f64>().is_err(),
            Cell::Text(_) | Cell::Boolean(_) => true,
            Cell::Number(_) | Cell::Missing => false,
        };
    }

    pub(crate) fn kind(self) -> Kind {
        if self.has_text { Kind::Texts } else { Kind::Numbers }
    }
}

/// A column as it is filled.
pub(crate) struct RawColumn {
    pub(crate) name: String,
    pub(crate) values: ColumnValues,
    /// The place of each name among the names, while the column is filled.
    places: HashMap<String, u32>,
}

impl RawColumn {
    pub(crate) fn new(name: String, kind: Kind) -> RawColumn {
        let values = match kind {
            Kind::Numbers => ColumnValues::Numbers(Vec::new()),
            Kind::Texts => ColumnValues::Categories { names: Vec::new(), codes: Vec::new() },
        };
        RawColumn { name, values, places: HashMap::new() }
    }

    /// Adds a value, and returns how many bytes it takes as a text; one that is no finite number, in a column of numbers, comes back.
    pub(crate) fn push(&mut self, cell: &Cell<'_>) -> Result<u64, String> {
        let (names, codes) = match &mut self.values {
            ColumnValues::Numbers(numbers) => {
                numbers.push(number(cell)?);
                return Ok(0);
            }
            ColumnValues::Categories { names, codes } => (names, codes),
        };
        let before = names.len();
        codes.push(match cell {
            Cell::Missing => None,
            Cell::Written(text) => Some(code(text, names, &mut self.places)),
            Cell::Text(text) => Some(code(text, names, &mut self.places)),
            Cell::Number(number) => Some(code(&number.to_string(), names, &mut self.places)),
            Cell::Boolean(truth) => Some(code(&truth.to_string(), names, &mut self.places)),
        });
        // A text that the column has already takes nothing but its code.
        Ok(names[before..].iter().map(|name| (name.len() + size_of::<String>()) as u64).sum())
    }

    /// Sorts the names, so that codes do not depend on the order of the rows.
    pub(crate) fn finish(&mut self) {
        self.places = HashMap::new();
        if let ColumnValues::Categories { names, codes } = &mut self.values {
            sort(names, codes);
        }
    }
}

fn number(cell: &Cell<'_>) -> Result<f64, String> {
    let (number, shown) = match cell {
        Cell::Missing => return Ok(f64::NAN),
        Cell::Number(number) => (*number, number.to_string()),
        Cell::Written(text) => (text.trim().parse().map_err(|_| (*text).to_owned())?, (*text).to_owned()),
        Cell::Text(text) => return Err(text.to_string()),
        Cell::Boolean(truth) => return Err(truth.to_string()),
    };
    if number.is_finite() { Ok(number) } else { Err(shown) }
}

fn code(text: &str, names: &mut Vec<String>, places: &mut HashMap<String, u32>) -> u32 {
    if let Some(place) = places.get(text) {
        return *place;
    }
    let place = names.len() as u32;
    names.push(text.to_owned());
    places.insert(text.to_owned(), place);
    place
}

/// Sorts the names and renumbers the codes.
fn sort(names: &mut Vec<String>, codes: &mut [Option<u32>]) {
    let mut order: Vec<usize> = (0..names.len()).collect();
    order.sort_by(|one, other| names[*one].cmp(&names[*other]));
    let mut renumbered = vec![0; names.len()];
    for (place, before) in order.iter().enumerate() {
        renumbered[*before] = place as u32;
    }
    *names = order.iter().map(|place| std::mem::take(&mut names[*place])).collect();
    for code in codes.iter_mut().flatten() {
        *code = renumbered[*code as usize];
    }
}

/// Returns the rows of a column, and of its names those that these rows have.
pub(crate) fn take(values: &ColumnValues, rows: &[usize]) -> ColumnValues {
    match values {
        ColumnValues::Numbers(numbers) => ColumnValues::Numbers(rows.iter().map(|row| numbers[*row]).collect()),
        ColumnValues::Categories { names, codes } => {
            let taken: Vec<Option<u32>> = rows.iter().map(|row| codes[*row]).collect();
            let mut occurs = vec![false; names.len()];
            taken.iter().flatten().for_each(|code| occurs[*code as usize] = true);
            let renumbered: Vec<u32> = occurs
                .iter()
                .scan(0, |next, occurs| {
                    let place = *next;
                    *next += u32::from(*occurs);
                    Some(place)
                })
                .collect();
            let names =
                names.iter().zip(&occurs).filter(|(_, occurs)| **occurs).map(|(name, _)| name.clone()).collect();
            let codes = taken.into_iter().map(|code| code.map(|code| renumbered[code as usize])).collect();
            ColumnValues::Categories { names, codes }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_counted_by_its_length_and_where_it_repeats_once() {
        let mut column = RawColumn::new("soil".into(), Kind::Texts);
        let place = size_of::<String>() as u64;
        assert_eq!(column.push(&Cell::Written("loam")), Ok(4 + place));
        assert_eq!(column.push(&Cell::Written("loam")), Ok(0));
        assert_eq!(column.push(&Cell::Text("黑土".into())), Ok(6 + place));
        assert_eq!(column.push(&Cell::Missing), Ok(0));
    }
}
