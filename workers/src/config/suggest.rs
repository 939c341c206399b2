//! "Did you mean": the known word nearest to a mistyped one.

/// More edits than this make another word.
const MAX_EDITS: usize = 2;

pub(crate) fn nearest<'k>(typed: &str, known: &[&'k str]) -> Option<&'k str> {
    let typed = typed.to_ascii_lowercase();
    let near = known
        .iter()
        .map(|word| (edits(&typed, &word.to_ascii_lowercase()), *word));
    // A word of two letters is two edits from every other.
    let enough = near.filter(|(edits, word)| *edits <= MAX_EDITS && *edits < word.len());
    enough.min_by_key(|(edits, _)| *edits).map(|(_, word)| word)
}

/// The Damerau-Levenshtein distance: letters added, lost, changed or swapped with a neighbour.
fn edits(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    let mut rows = vec![(0..=other.len()).collect::<Vec<usize>>()];
    for (i, a) in one.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in other.iter().enumerate() {
            let above = &rows[i];
            let mut best = (above[j] + usize::from(a != b))
                .min(above[j + 1] + 1)
                .min(row[j] + 1);
            if i > 0 && j > 0 && *a == other[j - 1] && one[i - 1] == *b {
                best = best.min(rows[i - 1][j - 1] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[one.len()][other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_found_and_far_ones_are_not() {
        let known = ["host", "port", "password", "password_env", "tls"];
        for (typed, expect) in [
            ("hots", Some("host")),
            ("pasword", Some("password")),
            ("Password_Env", Some("password_env")),
            ("tsl", Some("tls")),
            ("prot", Some("port")),
            ("mailbox", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(typed, &known), expect, "{typed}");
        }
    }
}
