//! Plain text, cut into pieces; and texts out of tables.
//!
//! The pieces of a plain text follow each other and do not overlap. Each is in one part, so that what is held out are stretches of text,
//! which only touch the stretches beside them.

use seedhouse_core::dataset::{ColumnValues, DatasetDeclaration, DatasetKind, TextDataset};
use seedhouse_core::{Error, Result};

use crate::declaration::{check_without_class_names, check_without_columns};
use crate::limits::{MOST_ROWS, MOST_TEXT_BYTES, within};
use crate::source::{Source, text_of};
use crate::split::{Examples, test_files};
use crate::table::{RawTable, known_column, row_parts};

/// Bytes of a piece of a plain text: a 64th of the text, within these bounds.
const PIECE_BYTES: (usize, usize) = (1 << 10, 32 << 10);
const PIECES: usize = 64;

/// Reads plain texts, in the order of their names.
pub(crate) fn read_plain(sources: &[&Source<'_>], declaration: &DatasetDeclaration) -> Result<TextDataset> {
    check_without_columns(declaration, DatasetKind::Text)?;
    check_without_class_names(declaration, "texts have no classes")?;
    let names: Vec<&str> = sources.iter().map(|source| source.name).collect();
    let is_test_file = test_files(&declaration.split, &names)?;
    let mut read = Vec::with_capacity(sources.len());
    for source in sources {
        let text = text_of(source.name, source.bytes()?)?;
        if text.trim().is_empty() {
            return Err(Error::malformed(format!("`{}`", source.name), "it has nothing but white space"));
        }
        read.push(text);
    }
    let all: usize = read.iter().map(String::len).sum();
    let size = (all / PIECES).clamp(PIECE_BYTES.0, PIECE_BYTES.1);
    let mut texts = Vec::new();
    let mut is_test = Vec::new();
    for (file, text) in read.iter().enumerate() {
        let before = texts.len();
        texts.extend(pieces(text, size).into_iter().map(str::to_owned));
        is_test.resize(texts.len(), is_test_file.as_ref().is_some_and(|is_test| is_test[file]));
        debug_assert!(texts.len() > before, "a text that is not empty has a piece");
    }
    let split = &declaration.split;
    let is_test = is_test_file.is_some().then_some(is_test.as_slice());
    // As if all were of one class: of few pieces each part gets as many as its share says.
    let one_class = vec![0; texts.len()];
    let parts = Examples { split, is_test, classes: Some(&one_class), count: texts.len() }.parts();
    Ok(TextDataset { texts, parts })
}

/// Cuts a text into pieces of about a size: at the end of a paragraph, of a line, of a word, or between characters, whichever the last
/// half of a piece has.
fn pieces(text: &str, size: usize) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while rest.len() > size + size / 2 {
        let (from, to) = (rest.floor_char_boundary(size / 2), rest.floor_char_boundary(size));
        let window = &rest[from..to];
        let cut = ["\n\n", "\n", " "]
            .into_iter()
            .find_map(|end| window.rfind(end).map(|place| from + place + end.len()))
            .unwrap_or(to);
        let (piece, after) = rest.split_at(cut);
        pieces.push(piece);
        rest = after;
    }
    if rest.trim().is_empty() && !pieces.is_empty() {
        return pieces;
    }
    pieces.push(rest);
    pieces
}

/// Returns the texts of a column of a table, and how many rows have none.
pub(crate) fn of_table(
    raw: &RawTable,
    column: &str,
    files: &[&str],
    declaration: &DatasetDeclaration,
) -> Result<(TextDataset, u64)> {
    for (field, name) in [("targets", declaration.targets.first()), ("features", declaration.features.first())] {
        if let Some(name) = name {
            return Err(Error::invalid(field, name, "does not go together with `text_column`: texts have neither"));
        }
    }
    if let Some(name) = declaration.drop_rows.keys().next() {
        return Err(Error::invalid("drop_rows", name, "does not go together with `text_column`"));
    }
    if declaration.split.stratify {
        return Err(Error::invalid("split.stratify", true, "texts have no classes"));
    }
    let names: Vec<String> = raw.columns.iter().map(|column| column.name.clone()).collect();
    let place = known_column("text_column", column, &names)?;
    let ColumnValues::Categories { names: texts, codes } = &raw.columns[place].values else {
        return Err(Error::invalid(
            "text_column",
            column,
            "must have texts, but has numbers; `categorical` makes them texts",
        ));
    };
    let rows: Vec<usize> = (0..raw.rows).filter(|row| codes[*row].is_some()).collect();
    if rows.is_empty() {
        return Err(Error::invalid("text_column", column, "must have a text in some row; all of them are missing"));
    }
    within("the dataset", rows.len() as u64, MOST_ROWS as u64, "texts")?;
    // A column has a repeated text once, and the dataset in each of its rows.
    let bytes = rows.iter().filter_map(|row| codes[*row]).map(|code| texts[code as usize].len() as u64).sum();
    within("the dataset", bytes, MOST_TEXT_BYTES, "bytes of texts")?;
    let parts = row_parts(raw, files, &rows, declaration)?;
    let texts = rows.iter().filter_map(|row| codes[*row]).map(|code| texts[code as usize].clone()).collect();
    Ok((TextDataset { texts, parts }, (raw.rows - rows.len()) as u64))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::table::{Kind, RawColumn};

    #[test]
    fn a_text_in_many_rows_counts_in_each_of_them() {
        let mut column = RawColumn::new("body".into(), Kind::Texts);
        let names = vec!["a".repeat(1 << 20)];
        column.values = ColumnValues::Categories { names, codes: vec![Some(0); 2049] };
        let raw = RawTable { columns: vec![column], rows: 2049, file_of_row: Vec::new() };
        let message = of_table(&raw, "body", &["a"], &DatasetDeclaration::default()).unwrap_err().to_string();
        assert_eq!(message, "the dataset is 2148532224 bytes of texts, but the limit is 2147483648 bytes of texts");
    }

    #[test]
    fn cuts_at_paragraphs_then_lines_then_words_then_anywhere() {
        let paragraph = format!("{}\n\n", "word ".repeat(140));
        let cut =
            pieces(&paragraph.repeat(4), 1024).into_iter().map(|piece| piece.ends_with("\n\n")).collect::<Vec<_>>();
        assert!(cut.iter().all(|at_paragraph| *at_paragraph), "{cut:?}");
        let lines = "a line of text\n".repeat(300);
        assert!(pieces(&lines, 1024).iter().all(|piece| piece.ends_with('\n')));
        let words = "word ".repeat(1000);
        assert!(pieces(&words, 1024).iter().all(|piece| piece.ends_with(' ')));
        assert_eq!(pieces(&"字".repeat(2000), 1024).concat().chars().count(), 2000);
    }

    proptest! {
        #[test]
        fn pieces_are_the_text(text in "(\\PC|\n| ){1,400}", size in 8_usize..64) {
            let cut = pieces(&text, size);
            prop_assert!(text.starts_with(&cut.concat()));
            prop_assert!(text[cut.concat().len()..].trim().is_empty());
            prop_assert!(cut.iter().all(|piece| piece.len() <= size + size / 2));
        }
    }
}
