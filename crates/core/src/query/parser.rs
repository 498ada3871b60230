//! Reads the filter language: `type = vision AND metadata.num_classes >= 10 AND tags.作物 = '小麦'`.
//!
//! ```text
//! filter     condition (AND condition)*
//! condition  field (= | != | < | <= | > | >=) value | field LIKE value | field IN (value, …) | field IS [NOT] NULL
//! field      name (. name)*         name: letters of any script, or anything in `back-ticks`
//! value      'quoted' | "quoted" | bare         a quote inside is written twice
//! ```

use super::{Comparison, Condition, Field, Pattern, Test};

/// A value as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Literal {
    /// Without quotes, so that it may mean a number.
    Word(String),
    /// In quotes, so that it is a text.
    Quoted(String),
}

impl Literal {
    pub(super) fn text(&self) -> &str {
        match self {
            Literal::Word(text) | Literal::Quoted(text) => text,
        }
    }
}

/// The most values of one `IN`.
pub(super) const MOST_VALUES: usize = 256;

/// Returns whether a name needs no back-ticks around this character.
pub(super) fn is_name_character(character: char) -> bool {
    !character.is_whitespace() && !character.is_control() && !"`.'\"=<>!,()".contains(character)
}

/// Reads a whole filter. The error says at which character what was found and what was expected.
pub(super) fn parse_conditions(text: &str) -> Result<Vec<Condition>, String> {
    let mut reader = Reader::new(text);
    let mut conditions = Vec::new();
    reader.skip_space();
    if reader.at_end() {
        return Ok(conditions);
    }
    loop {
        conditions.push(reader.condition()?);
        reader.skip_space();
        if reader.at_end() {
            return Ok(conditions);
        }
        if !reader.takes_word("AND") {
            let note = if reader.next_word().eq_ignore_ascii_case("OR") { "; OR is not supported" } else { "" };
            return Err(format!("{}{note}", reader.unexpected("AND or the end")));
        }
    }
}

/// Reads the name of a field, and nothing else.
pub(super) fn parse_field(text: &str) -> Result<Field, String> {
    let mut reader = Reader::new(text);
    let field = reader.field()?;
    if !reader.at_end() {
        return Err(reader.unexpected("the end of the field's name"));
    }
    Ok(field)
}

struct Reader {
    characters: Vec<char>,
    place: usize,
}

impl Reader {
    fn new(text: &str) -> Reader {
        Reader { characters: text.chars().collect(), place: 0 }
    }

    fn condition(&mut self) -> Result<Condition, String> {
        self.skip_space();
        let field = self.field()?;
        self.skip_space();
        let test = self.test(&field)?;
        Ok(Condition { field, test })
    }

    fn test(&mut self, field: &Field) -> Result<Test, String> {
        if self.takes_word("LIKE") {
            if !field.holds_text() {
                return Err(format!("`{field}` is not a text, so it cannot be compared by LIKE"));
            }
            return Ok(Test::Like(Pattern::new(self.literal()?.text())));
        }
        if self.takes_word("IN") {
            return self.values(field);
        }
        if self.takes_word("IS") {
            self.skip_space();
            let test = if self.takes_word("NOT") { Test::IsNotNull } else { Test::IsNull };
            self.skip_space();
            return if self.takes_word("NULL") { Ok(test) } else { Err(self.unexpected("NULL or NOT NULL")) };
        }
        for comparison in Comparison::ALL {
            if self.takes(comparison.as_str()) {
                return Ok(Test::Compare(comparison, self.value(field)?));
            }
        }
        Err(self.unexpected("one of =, !=, <, <=, >, >=, LIKE, IN, IS"))
    }

    fn values(&mut self, field: &Field) -> Result<Test, String> {
        self.skip_space();
        if !self.takes("(") {
            return Err(self.unexpected("`(`"));
        }
        let mut values = Vec::new();
        loop {
            if values.len() == MOST_VALUES {
                return Err(format!("IN has more than {MOST_VALUES} values at character {}", self.place + 1));
            }
            values.push(self.value(field)?);
            self.skip_space();
            if self.takes(")") {
                return Ok(Test::In(values));
            }
            if !self.takes(",") {
                return Err(self.unexpected("`,` or `)`"));
            }
        }
    }

    fn value(&mut self, field: &Field) -> Result<super::Value, String> {
        self.skip_space();
        let place = self.place;
        let literal = self.literal()?;
        field.value(&literal).map_err(|rule| format!("at character {} {rule}", place + 1))
    }

    fn literal(&mut self) -> Result<Literal, String> {
        self.skip_space();
        if let Some(quote @ ('\'' | '"')) = self.peek() {
            return self.quoted(quote).map(Literal::Quoted);
        }
        let begin = self.place;
        while self.peek().is_some_and(|character| character == '.' || is_name_character(character)) {
            self.place += 1;
        }
        if begin == self.place {
            return Err(self.unexpected("a value"));
        }
        Ok(Literal::Word(self.characters[begin..self.place].iter().collect()))
    }

    fn field(&mut self) -> Result<Field, String> {
        let begin = self.place;
        let mut names = vec![self.name()?];
        while self.takes(".") {
            names.push(self.name()?);
        }
        Field::from_names(&names).map_err(|rule| format!("at character {} {rule}", begin + 1))
    }

    fn name(&mut self) -> Result<String, String> {
        if self.peek() == Some('`') {
            return self.quoted('`');
        }
        let begin = self.place;
        while self.peek().is_some_and(is_name_character) {
            self.place += 1;
        }
        if begin == self.place {
            return Err(self.unexpected("the name of a field"));
        }
        Ok(self.characters[begin..self.place].iter().collect())
    }

    /// Reads what stands in quotes; a quote inside is written twice.
    fn quoted(&mut self, quote: char) -> Result<String, String> {
        let begin = self.place;
        self.place += 1;
        let mut text = String::new();
        while let Some(character) = self.peek() {
            self.place += 1;
            if character == quote {
                if self.peek() != Some(quote) {
                    return Ok(text);
                }
                self.place += 1;
            }
            text.push(character);
        }
        Err(format!("the {quote} at character {} is never closed", begin + 1))
    }

    fn peek(&self) -> Option<char> {
        self.characters.get(self.place).copied()
    }

    fn at_end(&self) -> bool {
        self.place == self.characters.len()
    }

    fn skip_space(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.place += 1;
        }
    }

    fn takes(&mut self, sign: &str) -> bool {
        let matches =
            sign.chars().enumerate().all(|(at, wanted)| self.characters.get(self.place + at) == Some(&wanted));
        if matches {
            self.place += sign.chars().count();
        }
        matches
    }

    /// Returns what stands here, up to the next space or sign.
    fn next_word(&self) -> String {
        let rest = &self.characters[self.place..];
        rest.iter().take_while(|character| is_name_character(**character)).collect()
    }

    fn takes_word(&mut self, word: &str) -> bool {
        let matches = self.next_word().eq_ignore_ascii_case(word);
        if matches {
            self.place += word.len();
        }
        matches
    }

    fn unexpected(&self, expected: &str) -> String {
        const SHOWN: usize = 24;
        let rest = &self.characters[self.place..];
        let found: String = rest.iter().take(SHOWN).take_while(|character| !character.is_whitespace()).collect();
        let found = if rest.is_empty() { "the end".to_owned() } else { format!("`{found}`") };
        format!("at character {} {expected} was expected and {found} found", self.place + 1)
    }
}
