//! The name that somebody probably meant.

/// Returns the known name that is nearest to a wrong one, if it is near at all: with at most a third of its characters changed, added
/// or left out. Capitals count for nothing.
pub(crate) fn nearest<'n>(wrong: &str, known: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    /// Longer names are compared by their beginnings: the time grows with the square.
    const LONGEST: usize = 64;
    let characters = |name: &str| name.to_lowercase().chars().take(LONGEST).collect::<Vec<char>>();
    let wrong = characters(wrong);
    let with_distance = known.map(|name| (distance(&wrong, &characters(name)), name));
    let (distance, name) = with_distance.min_by_key(|(distance, _)| *distance)?;
    (distance <= wrong.len().div_ceil(3)).then_some(name)
}

/// How many characters must be changed, added or left out (Levenshtein 1966).
fn distance(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (line, from) in a.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], line + 1);
        for (column, to) in b.iter().enumerate() {
            let changed = diagonal + usize::from(from != to);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_name_is_the_one_with_the_fewest_changes() {
        let known = ["soil_ph", "organic_matter", "土壤"];
        let cases = [
            ("soilph", Some("soil_ph")),
            ("SOIL_PH", Some("soil_ph")),
            ("organic matter", Some("organic_matter")),
            ("土", Some("土壤")),
            ("longitude", None),
            ("", None),
        ];
        for (wrong, expected) in cases {
            assert_eq!(nearest(wrong, known.into_iter()), expected, "{wrong}");
        }
        assert_eq!(nearest("a", [].into_iter()), None);
    }
}
