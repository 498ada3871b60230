//! Text out of files, for messages.

/// Returns text out of a file in a form that is safe to print: escaped, shortened, in backticks.
pub(crate) fn quote(text: &str) -> String {
    const LONGEST: usize = 80;
    let mut characters = text.chars();
    let head: String = characters.by_ref().take(LONGEST).flat_map(char::escape_debug).collect();
    if characters.next().is_some() { format!("`{head}…` ({} bytes)", text.len()) } else { format!("`{head}`") }
}
