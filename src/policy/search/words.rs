//! Text as words: identifiers are split, English endings are cut off, words that say nothing are known.

use snowball_stemmers_rs::{Algorithm, Stemmer};

/// Characters of a longer word that are read; hashes and encoded data are no words.
const WORD_CHARS_MAX: usize = 40;

/// Words that stand in every description and say nothing of a tool.
const STOP_WORDS: [&str; 44] = [
    "a", "all", "an", "and", "any", "are", "as", "at", "be", "been", "but", "by", "can", "for", "from",
    "given", "has", "have", "i", "if", "in", "into", "is", "it", "its", "me", "my", "no", "not", "of", "on",
    "or", "that", "the", "their", "this", "to", "use", "used", "want", "was", "which", "with", "you",
];

/// Whether a word, in small letters, says nothing.
pub(super) fn is_stop_word(word: &str) -> bool {
    STOP_WORDS.binary_search(&word).is_ok()
}

/// Cuts English endings off.
pub(super) struct Stems(Stemmer);

impl Stems {
    pub(super) fn new() -> Self {
        Self(Stemmer::create(Algorithm::English))
    }

    /// The stem of a word in small letters. Words with other letters than English ones have none but themselves.
    pub(super) fn stem(&self, word: &str) -> String {
        if word.bytes().all(|byte| byte.is_ascii_lowercase()) {
            self.0.stem(word).into_owned()
        } else {
            word.to_owned()
        }
    }
}

/// What a word is to its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// A word of it.
    Plain,
    /// The words before it once more, as one.
    Joined,
}

/// Tells every word of the first `chars_max` characters of a text, in small letters. `readCsv` and `read_csv` are two words each;
/// what is written together and split only by its capitals is told as one word too, so that `GitHub` is found as `github`.
pub(super) fn each_word(text: &str, chars_max: usize, mut tell: impl FnMut(&str, Form)) {
    let mut run = Vec::with_capacity(WORD_CHARS_MAX);
    let (mut part, mut whole) = (String::new(), String::new());
    let mut characters = text.chars().take(chars_max);
    loop {
        let next = characters.next();
        match next {
            Some(c) if c.is_alphanumeric() => run.push(c),
            Some(_) | None => {
                split_run(&run, &mut part, &mut whole, &mut tell);
                run.clear();
            }
        }
        if next.is_none() {
            return;
        }
    }
}

/// Tells the parts of letters and digits that are written together, and all of them as one where there are several.
fn split_run(run: &[char], part: &mut String, whole: &mut String, tell: &mut impl FnMut(&str, Form)) {
    let run = &run[..run.len().min(WORD_CHARS_MAX)];
    part.clear();
    whole.clear();
    let mut parts = 0;
    for (place, c) in run.iter().enumerate() {
        let (before, after) = (place.checked_sub(1).map(|before| run[before]), run.get(place + 1));
        // `readCsv` before the C, `HTTPServer` before the S.
        let begins = before.is_some_and(|before| {
            c.is_uppercase() && (!before.is_uppercase() || after.is_some_and(|after| after.is_lowercase()))
        });
        if begins && !part.is_empty() {
            tell(part, Form::Plain);
            part.clear();
            parts += 1;
        }
        part.extend(c.to_lowercase());
        whole.extend(c.to_lowercase());
    }
    if !part.is_empty() {
        tell(part, Form::Plain);
        if parts > 0 {
            tell(whole, Form::Joined);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        let mut words = Vec::new();
        each_word(text, 1000, |word, _| words.push(word.to_owned()));
        words
    }

    #[test]
    fn identifiers_are_split_however_they_are_written() {
        for name in ["read_csv", "file.read", "read-csv", "read csv", "READ_CSV"] {
            assert_eq!(words(name).len(), 2, "{name}");
        }
        assert_eq!(words("readCsv"), ["read", "csv", "readcsv"]);
        assert_eq!(words("HTTPServer"), ["http", "server", "httpserver"]);
        assert_eq!(words("GitHub v2, s3Get!"), ["git", "hub", "github", "v2", "s3", "get", "s3get"]);
        assert_eq!(words("日本 ÜBER"), ["日本", "über"]);
        assert!(words(" ,.").is_empty());
    }

    #[test]
    fn long_words_and_long_texts_are_cut() {
        assert_eq!(words(&"x".repeat(100))[0].len(), WORD_CHARS_MAX);
        let mut count = 0;
        each_word(&"ab ".repeat(100), 30, |_, _| count += 1);
        assert_eq!(count, 10);
    }

    #[test]
    fn endings_are_cut_off_and_stop_words_are_in_order() {
        let stems = Stems::new();
        assert_eq!(
            (stems.stem("files"), stems.stem("queries"), stems.stem("utf8")),
            ("file".to_owned(), stems.stem("query"), "utf8".to_owned())
        );
        assert!(STOP_WORDS.is_sorted());
        assert!(is_stop_word("the") && !is_stop_word("file"));
    }
}
