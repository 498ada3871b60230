//! Hyper-parameters of a record, held against rules before anything is computed.

use std::collections::HashSet;

use seedhouse_core::{Error, Result};
use serde_json::{Map, Value};

/// Reads the hyper-parameters of a record.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HyperParameters<'m>(pub(crate) &'m Map<String, Value>);

fn field(name: &str) -> String {
    format!("metadata.{name}")
}

impl<'m> HyperParameters<'m> {
    /// Returns a value that is there and not null.
    pub(crate) fn get(self, name: &str) -> Option<&'m Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// Returns a whole number from 1 to `most`, if there is one.
    ///
    /// # Errors
    /// [`Error::Invalid`] for anything else.
    pub(crate) fn size(self, name: &str, most: usize) -> Result<Option<usize>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let number = value.as_u64().and_then(|number| usize::try_from(number).ok());
        let rule = || Error::invalid(field(name), value, format!("must be a whole number from 1 to {most}"));
        number.filter(|number| (1..=most).contains(number)).map(Some).ok_or_else(rule)
    }

    /// The same, or what is usual.
    pub(crate) fn size_or(self, name: &str, most: usize, usual: usize) -> Result<usize> {
        Ok(self.size(name, most)?.unwrap_or(usual))
    }

    /// Returns a truth value, if there is one.
    pub(crate) fn flag(self, name: &str) -> Result<Option<bool>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        value.as_bool().map(Some).ok_or_else(|| Error::invalid(field(name), value, "must be true or false"))
    }

    /// Returns a text, if there is one.
    pub(crate) fn text(self, name: &str) -> Result<Option<&'m str>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        value.as_str().map(Some).ok_or_else(|| Error::invalid(field(name), value, "must be a text"))
    }

    /// Returns texts, each of them once, if they are there.
    ///
    /// # Errors
    /// [`Error::Invalid`] for anything else.
    pub(crate) fn texts(self, name: &str) -> Result<Option<Vec<String>>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let texts =
            || value.as_array()?.iter().map(|item| item.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>();
        let distinct = |texts: &Vec<String>| texts.iter().collect::<HashSet<_>>().len() == texts.len();
        let rule = || Error::invalid(field(name), value, "must be a list of texts, each of them once");
        texts().filter(distinct).map(Some).ok_or_else(rule)
    }

    /// Returns whole numbers from 1 to `most`, if they are there.
    pub(crate) fn sizes(self, name: &str, most: usize, longest: usize) -> Result<Option<Vec<usize>>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let rule =
            || Error::invalid(field(name), value, format!("must be 1 to {longest} whole numbers from 1 to {most}"));
        let items = value.as_array().filter(|items| (1..=longest).contains(&items.len())).ok_or_else(rule)?;
        let size = |item: &Value| {
            item.as_u64().and_then(|item| usize::try_from(item).ok()).filter(|item| (1..=most).contains(item))
        };
        items.iter().map(|item| size(item).ok_or_else(rule)).collect::<Result<_>>().map(Some)
    }

    /// Checks that what the record says of the data is what the data are.
    ///
    /// # Errors
    /// [`Error::Invalid`] with both numbers.
    pub(crate) fn agrees(self, name: &str, found: usize, what: &str) -> Result<()> {
        match self.size(name, usize::MAX)? {
            Some(claimed) if claimed != found => {
                Err(Error::invalid(field(name), claimed, format!("{what} has {found}")))
            }
            _ => Ok(()),
        }
    }

    /// Checks that a width is shared evenly.
    ///
    /// # Errors
    /// [`Error::Invalid`] with both numbers.
    pub(crate) fn divides(self, name: &str, part: usize, whole: usize, what: &str) -> Result<()> {
        if whole.is_multiple_of(part) {
            return Ok(());
        }
        Err(Error::invalid(field(name), part, format!("must divide {what}, which is {whole}")))
    }
}
