//! Full-text search over a catalogue: which tools does a question in plain words mean?
//!
//! Ranked by BM25 (Robertson and Spärck Jones), for each part of a tool by itself: how often each word of the question stands in
//! its name, title, description and parameters, against the usual length of that part, times the part's weight and the word's
//! rarity. A word that is repeated gains less and less, and never as much as one that stands in a part of more weight: so no
//! server can push a tool above those that are called by what is asked for, however it stuffs its description. What it gains is
//! bounded further by reading only the beginning of each text.

mod words;

use std::collections::{BTreeSet, HashMap};

use self::words::{Form, Stems, each_word, is_stop_word};
use super::catalogue::{Catalogue, Tool};
use super::described::Described;

/// Characters that are read of each text. Texts are untrusted and may have megabytes: what a tool does is said in the first
/// thousand characters, and of what one tool can make an index hold this is the bound.
const NAME_CHARS_MAX: usize = 128;
const TITLE_CHARS_MAX: usize = 128;
const DESCRIPTION_CHARS_MAX: usize = 1_000;
/// Of each parameter's name, of its description, and of those of all parameters together.
const PARAMETER_CHARS_MAX: usize = 100;
const PARAMETERS_CHARS_MAX: usize = 1_000;

/// Of a question: it is a sentence, or what a model makes of one.
const QUERY_CHARS_MAX: usize = 1_000;
/// Different words of a question that are looked for, the first ones. Each costs a pass over the tools that have it.
const QUERY_WORDS_MAX: usize = 32;

/// How soon the repetition of a word says nothing more (k1), and how much a long text dilutes its words (b): the values that
/// literature and other engines have as defaults.
const SATURATION: f32 = 1.2;
const DILUTION: f32 = 0.75;

/// The parts of a tool, by their places in tables.
const FIELDS: usize = 4;
const NAME: usize = 0;
const TITLE: usize = 1;
const DESCRIPTION: usize = 2;
const PARAMETERS: usize = 3;

/// What a word counts in each part. A name is chosen to say what a tool does; parameters say what it needs for that.
const WEIGHTS: [f32; FIELDS] = [4.0, 2.0, 1.0, 0.5];

/// A tool that a question may mean.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ToolMatch {
    /// The tool.
    pub tool: Tool,
    /// How well it fits: more than 0, comparable within one answer only.
    pub score: f32,
}

/// A tool that has a word: its place in the catalogue, and what the word says of it before its rarity is counted.
#[derive(Debug, Clone, Copy)]
struct Posting {
    tool: u32,
    weight: f32,
}

/// The index over one catalogue. It never changes; another catalogue has another one.
pub(crate) struct SearchIndex {
    /// How many tools there are.
    tools: usize,
    /// Places in `postings`, by stem.
    terms: HashMap<String, usize>,
    postings: Vec<Box<[Posting]>>,
    stems: Stems,
}

/// How often a word stands in each part of a tool.
type Counts = [u16; FIELDS];

/// What is counted before lengths are known.
struct Counting {
    stems: Stems,
    /// The term that a word means, as it is written; none if it says nothing. Stems are found once for each word.
    words: HashMap<String, usize>,
    terms: HashMap<String, usize>,
    /// By term: the tools that have it.
    found: Vec<Vec<(u32, Counts)>>,
    /// By tool: the words of each part.
    lengths: Vec<Counts>,
}

impl Counting {
    fn term(&mut self, word: &str) -> usize {
        if let Some(term) = self.words.get(word) {
            return *term;
        }
        let next = self.found.len();
        let term = *self.terms.entry(self.stems.stem(word)).or_insert(next);
        if term == next {
            self.found.push(Vec::new());
        }
        self.words.insert(word.to_owned(), term);
        term
    }

    fn read(&mut self, tool: u32, field: usize, text: &str, chars_max: usize) {
        each_word(text, chars_max, |word, form| {
            // A tool may be called by a word that says nothing elsewhere.
            if field != NAME && is_stop_word(word) {
                return;
            }
            let term = self.term(word);
            let found = &mut self.found[term];
            match found.last_mut() {
                Some((last, counts)) if *last == tool => counts[field] = counts[field].saturating_add(1),
                Some(_) | None => {
                    let mut counts = Counts::default();
                    counts[field] = 1;
                    found.push((tool, counts));
                }
            }
            let length = &mut self.lengths[tool as usize][field];
            *length = length.saturating_add(u16::from(form == Form::Plain));
        });
    }
}

impl SearchIndex {
    /// Reads every tool of a catalogue. Takes some twenty microseconds for each.
    pub(crate) fn of(catalogue: &Catalogue) -> Self {
        let tools = catalogue.tools().len();
        let mut counting = Counting {
            stems: Stems::new(),
            words: HashMap::new(),
            terms: HashMap::new(),
            found: Vec::new(),
            lengths: vec![Counts::default(); tools],
        };
        for (place, tool) in (0u32..).zip(catalogue.tools()) {
            let described = Described::read(&tool.definition);
            counting.read(place, NAME, &tool.name, NAME_CHARS_MAX);
            counting.read(place, TITLE, described.title.as_deref().unwrap_or_default(), TITLE_CHARS_MAX);
            let description = described.description.as_deref().unwrap_or_default();
            counting.read(place, DESCRIPTION, description, DESCRIPTION_CHARS_MAX);
            let mut left = PARAMETERS_CHARS_MAX;
            let parameters = described.parameters.iter();
            for text in
                parameters.flat_map(|(name, description)| [Some(name), description.as_ref()]).flatten()
            {
                let read = text.chars().take(PARAMETER_CHARS_MAX.min(left)).count();
                counting.read(place, PARAMETERS, text, read);
                left -= read;
            }
        }
        let Counting { stems, terms, found, lengths, .. } = counting;
        let usual = usual_lengths(&lengths);
        let postings = found.into_iter().map(|tools| {
            let posting =
                |(tool, counts)| Posting { tool, weight: weight(&counts, &lengths[tool as usize], &usual) };
            tools.into_iter().map(posting).collect()
        });
        Self { tools, postings: postings.collect(), terms, stems }
    }

    /// The places in the catalogue of the tools that a question may mean, with their scores: the best first, equals in the
    /// catalogue's order.
    pub(crate) fn search(&self, query: &str) -> Vec<(usize, f32)> {
        let mut scores = vec![0.0_f32; self.tools];
        for term in self.query_terms(query) {
            let postings = &self.postings[term];
            let having = postings.len() as f32;
            let rarity = (1.0 + (self.tools as f32 - having + 0.5) / (having + 0.5)).ln();
            for Posting { tool, weight } in postings {
                scores[*tool as usize] += rarity * weight;
            }
        }
        let mut found: Vec<(usize, f32)> =
            scores.into_iter().enumerate().filter(|(_, score)| *score > 0.0).collect();
        found.sort_unstable_by(|one, other| other.1.total_cmp(&one.1).then(one.0.cmp(&other.0)));
        found
    }

    /// What is looked for. Words that say nothing are looked for only where there are no others.
    fn query_terms(&self, query: &str) -> BTreeSet<usize> {
        let (mut telling, mut others) = (Vec::new(), Vec::new());
        each_word(query, QUERY_CHARS_MAX, |word, _| {
            let words = if is_stop_word(word) { &mut others } else { &mut telling };
            words.push(self.stems.stem(word));
        });
        let stems = if telling.is_empty() { others } else { telling };
        let mut terms = BTreeSet::new();
        for stem in stems {
            if terms.len() < QUERY_WORDS_MAX {
                terms.extend(self.terms.get(&stem));
            }
        }
        terms
    }
}

/// The mean number of words of each part, over the tools that have it.
fn usual_lengths(lengths: &[Counts]) -> [f32; FIELDS] {
    std::array::from_fn(|field| {
        let of_field = lengths.iter().map(|lengths| f32::from(lengths[field])).filter(|length| *length > 0.0);
        let (count, sum) = of_field.fold((0.0_f32, 0.0), |(count, sum), length| (count + 1.0, sum + length));
        sum / count.max(1.0)
    })
}

/// What a word says of a tool, but for its rarity.
fn weight(counts: &Counts, lengths: &Counts, usual: &[f32; FIELDS]) -> f32 {
    let of_field = |field: usize| {
        let (count, length) = (f32::from(counts[field]), f32::from(lengths[field]));
        let dilution = 1.0 - DILUTION + DILUTION * length / usual[field].max(1.0);
        WEIGHTS[field] * count * (SATURATION + 1.0) / (count + SATURATION * dilution)
    };
    (0..FIELDS).filter(|field| counts[*field] > 0).map(of_field).sum()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::config::Collisions;
    use crate::id::{GroupId, ServerId};
    use crate::json::RawJson;
    use crate::policy::catalogue::{Definition, Offer, ServerOffer};

    fn catalogue(tools: &[(&str, Value)]) -> Catalogue {
        let tools = tools.iter().map(|(name, definition)| Definition {
            name: (*name).to_owned(),
            definition: RawJson::from_value(definition).unwrap(),
        });
        let offer = ServerOffer {
            server: ServerId::new("s").unwrap(),
            group: GroupId::new("g").unwrap(),
            trusted: false,
            confirmed: true,
            order: 0,
            offer: Offer { tools: tools.collect(), ..Offer::default() },
        };
        Catalogue::merge(1, [offer], Collisions::Error)
    }

    fn found(tools: &[(&str, Value)], query: &str) -> Vec<String> {
        let catalogue = catalogue(tools);
        let found = SearchIndex::of(&catalogue).search(query);
        found.into_iter().map(|(place, _)| catalogue.tool(place).name.to_string()).collect()
    }

    #[test]
    fn identifiers_are_found_by_their_words() {
        for name in ["read_csv", "readCsv", "csv.read", "csvReading"] {
            let tools = [(name, json!({})), ("send_mail", json!({})), ("list_files", json!({}))];
            assert_eq!(found(&tools, "read a CSV file")[0], name);
        }
    }

    #[test]
    fn a_word_in_the_name_counts_more_than_one_in_the_description_and_that_more_than_in_a_parameter() {
        let tools = [
            ("upload", json!({"inputSchema": {"properties": {"image": {"description": "which one"}}}})),
            ("convert", json!({"description": "turns an image into text"})),
            ("image_info", json!({"description": "size and colours of a picture"})),
            ("ping", json!({"description": "answers"})),
        ];
        assert_eq!(found(&tools, "images"), ["image_info", "convert", "upload"]);
    }

    #[test]
    fn a_rare_word_counts_more_than_a_common_one() {
        let tools = [
            ("a", json!({"description": "search issues"})),
            ("b", json!({"description": "search invoices"})),
            ("c", json!({"description": "search users"})),
        ];
        assert_eq!(found(&tools, "search invoices")[0], "b");
    }

    #[test]
    fn a_stuffed_description_does_not_win() {
        let honest = ("delete_file", json!({"description": "Deletes a file."}));
        let stuffed = "delete file ".repeat(100_000);
        let tools = [honest, ("weather", json!({"description": stuffed, "title": "Weather"}))];
        assert_eq!(found(&tools, "delete a file")[0], "delete_file");
    }

    #[test]
    fn words_that_say_nothing_find_nothing_but_a_tool_of_that_name() {
        let tools = [("use", json!({})), ("other", json!({"description": "the use of it"}))];
        assert_eq!(found(&tools, "use"), ["use"]);
        assert!(found(&tools, "the of").is_empty());
        assert!(found(&tools, "").is_empty());
        assert!(found(&[], "x").is_empty());
    }

    #[test]
    fn equals_are_in_the_catalogues_order_and_scores_are_finite() {
        let tools = [("b_x", json!({})), ("a_x", json!({})), ("c_x", json!({}))];
        assert_eq!(found(&tools, "x"), ["a_x", "b_x", "c_x"]);
        let scores = SearchIndex::of(&catalogue(&tools)).search("x");
        assert!(scores.iter().all(|(_, score)| score.is_finite() && *score > 0.0));
    }
}
