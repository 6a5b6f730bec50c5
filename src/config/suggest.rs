//! "Did you mean …?"

/// The candidate that is most like a mistyped word, if one is like it.
///
/// Letter case is ignored first, so that `RS256` is found for `rs256`. Returns `None` if everything is too far away.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = word.to_lowercase();
    let scored = candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&wanted, &candidate.to_lowercase()), candidate));
    // A third of the letters may be wrong: `adress` and `adresses` find `address`, `cat` does not find `who`.
    let close = scored.filter(|(distance, candidate)| *distance <= candidate.chars().count().max(3) / 3);
    close.min_by_key(|(distance, _)| *distance).map(|(_, candidate)| candidate)
}

/// ``did you mean `x`? `` for a word that has a near candidate, else nothing; to be put before the rest of a help text.
pub fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, candidates).map(|candidate| format!("did you mean `{candidate}`? ")).unwrap_or_default()
}

/// `` `a`, `b`, `c` ``.
pub fn listed<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    words.into_iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_mistake_finds_its_word_and_another_word_does_not() {
        let keys = ["address", "tls", "credentials", "max_size"];
        for (typed, meant) in [
            ("adress", "address"),
            ("Address", "address"),
            ("credentails", "credentials"),
            ("maxsize", "max_size"),
            ("tsl", "tls"),
        ] {
            assert_eq!(nearest(typed, keys), Some(meant), "{typed}");
        }
        for typed in ["", "port", "completely"] {
            assert_eq!(nearest(typed, keys), None, "{typed}");
        }
    }
}
