//! What a panic said.

use std::any::Any;

/// Returns the message of a panic that was caught: that of `panic!` is a `&str` or a `String`, whatever else was thrown has none.
///
/// ```
/// let panic = std::panic::catch_unwind(|| panic!("row {}", 7)).unwrap_err();
/// assert_eq!(seedhouse_core::panic_text(&*panic), "row 7");
/// ```
pub fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_of_either_kind_is_kept_and_anything_else_has_none() {
        let cases: [(Box<dyn Any + Send>, &str); 3] = [
            (Box::new("borrowed"), "borrowed"),
            (Box::new(String::from("owned")), "owned"),
            (Box::new(7), "no message"),
        ];
        for (panic, text) in cases {
            assert_eq!(panic_text(&*panic), text);
        }
    }
}
