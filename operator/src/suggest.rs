//! "Did you mean": the nearest known word to an unknown one.
//!
//! Decides how far two words may be apart to be the same one mistyped. Refuses to know what the
//! words are for.

/// Words longer than this are not compared: the cost is the product of the lengths.
const MAX_COMPARED_CHARS: usize = 64;

/// Fewer letters than these begin too many words.
const MIN_BEGINNING_CHARS: usize = 4;

/// The candidate that `word` most likely meant: at most a third of its letters wrong, the same
/// letters in another case, or the only one that begins with it.
pub(crate) fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let length = word.chars().count();
    if length == 0 || length > MAX_COMPARED_CHARS {
        return None;
    }
    let most = length.div_ceil(3);
    let candidates: Vec<&'c str> = candidates.into_iter().collect();
    let near = candidates
        .iter()
        .copied()
        .filter(|candidate| candidate.chars().count() <= MAX_COMPARED_CHARS)
        .map(|candidate| (distance(&word.to_lowercase(), &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate);
    near.or_else(|| beginning(word, &candidates))
}

/// The only candidate that begins with `word`.
fn beginning<'c>(word: &str, candidates: &[&'c str]) -> Option<&'c str> {
    let word = word.to_lowercase();
    let mut longer = candidates.iter().filter(|candidate| candidate.to_lowercase().starts_with(&word));
    match (longer.next(), longer.next()) {
        (Some(only), None) if word.chars().count() >= MIN_BEGINNING_CHARS => Some(only),
        (_, _) => None,
    }
}

/// Letters to insert, remove, replace or swap with their neighbour to make `a` into `b`.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = replaced.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(before[j - 2] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_word_is_recognised() {
        let fields = ["extensions", "displayName", "primarySmtpAddress", "umMailboxPolicy"];
        assert_eq!(nearest("extentions", fields), Some("extensions"));
        assert_eq!(nearest("DisplayName", fields), Some("displayName"));
        assert_eq!(nearest("umMialboxPolicy", fields), Some("umMailboxPolicy"));
    }

    #[test]
    fn the_beginning_of_one_known_word_is_recognised() {
        let fields = ["numberOfDigitsInExtension", "maxCallDuration", "maxRecordingDuration"];
        assert_eq!(nearest("numberOfDigits", fields), Some("numberOfDigitsInExtension"));
        assert_eq!(nearest("maxi", fields), None, "no word begins so");
        assert_eq!(nearest("max", fields), None, "two words begin so");
        assert_eq!(nearest("num", fields), None, "too short to tell");
    }

    #[test]
    fn another_word_is_not_taken_for_a_known_one() {
        assert_eq!(nearest("pin", ["extensions", "displayName"]), None);
        assert_eq!(nearest("", ["a"]), None);
        assert_eq!(nearest(&"a".repeat(65), ["a"]), None);
    }

    #[test]
    fn swapped_neighbours_are_one_mistake() {
        assert_eq!(distance("ab", "ba"), 1);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
    }
}
