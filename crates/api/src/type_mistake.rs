//! What serde says about a wrong type, in the words of somebody who writes JSON.

use seedhouse_service::core::Error;

/// Returns the error about a value at `path` (`.` is the whole body), naming the field, the value and the rule.
pub(crate) fn explain(what: &str, path: &str, error: &serde_json::Error) -> Error {
    let message = error.to_string();
    if !error.is_data() {
        return Error::malformed(what, message);
    }
    // The field is named, and a form's field has no line.
    let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(message, _)| message);
    of_message(what, path, message)
}

fn of_message(what: &str, path: &str, message: &str) -> Error {
    let inner = |name: &str| if path == "." { name.to_owned() } else { format!("{path}.{name}") };
    if let Some(name) = quoted_after(message, "missing field ") {
        return Error::invalid(inner(name), "missing", "is required");
    }
    if let Some(name) = quoted_after(message, "duplicate field ") {
        return Error::invalid(inner(name), "given twice", "must be given once");
    }
    let mistake = message.strip_prefix("invalid type: ").or_else(|| message.strip_prefix("invalid value: "));
    match mistake.and_then(|mistake| mistake.split_once(", expected ")) {
        Some((found, expected)) if path != "." => Error::invalid(path, value(found), rule(expected)),
        _ if path != "." => Error::malformed(what, format!("`{path}`: {message}")),
        _ => Error::malformed(what, message),
    }
}

fn quoted_after<'m>(message: &'m str, start: &str) -> Option<&'m str> {
    message.strip_prefix(start)?.strip_prefix('`')?.strip_suffix('`')
}

/// Returns the value itself from serde's description of it.
fn value(found: &str) -> &str {
    match found {
        "map" => "an object",
        "sequence" => "an array",
        _ => found.find(['`', '"']).map_or(found, |start| found[start..].trim_matches(['`', '"'])),
    }
}

/// Returns what must be there from serde's name of the type.
fn rule(expected: &str) -> String {
    let rule = match expected {
        "usize" | "u8" | "u16" | "u32" | "u64" => "a whole number from 0",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "a boolean" => "`true` or `false`",
        "a sequence" => "an array",
        "a map" => "an object",
        other if other.starts_with("struct ") => "an object",
        other => other,
    };
    format!("must be {rule}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serdes_words_become_the_users() {
        let cases = [
            (
                "top_k",
                "invalid value: integer `-1`, expected usize",
                "`top_k` is `-1`, but must be a whole number from 0",
            ),
            ("stop[1]", "invalid type: null, expected a string", "`stop[1]` is `null`, but must be a string"),
            ("name", "invalid type: floating point `1.5`, expected a string", "`name` is `1.5`, but must be a string"),
            (
                "stream",
                "invalid type: string \"yes\", expected a boolean",
                "`stream` is `yes`, but must be `true` or `false`",
            ),
            ("messages", "invalid type: map, expected a sequence", "`messages` is `an object`, but must be an array"),
            (".", "missing field `model_id`", "`model_id` is `missing`, but is required"),
            ("messages[0]", "missing field `role`", "`messages[0].role` is `missing`, but is required"),
            ("x", "something else", "the body is malformed: `x`: something else"),
        ];
        for (path, message, expected) in cases {
            assert_eq!(of_message("the body", path, message).to_string(), expected);
        }
    }
}
