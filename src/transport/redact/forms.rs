//! What is a token by its form, whatever stands around it.

/// What stands behind another word, or before a password, is a secret where it is as long as tokens are.
pub(super) const LONE_BYTES_MIN: usize = 20;

/// Hexadecimal digits are a token where they are as many as 128 bits have, as those of a UUID.
const HEX_DIGITS_MIN: usize = 32;

/// What the tokens of services begin with, as their pages on tokens and the rules of secret scanners (gitleaks, GitHub) have it. Most of
/// them look random as well; these are known where capitals or digits happen to be missing.
pub(super) const FORMS: [&str; 49] = [
    // GitHub: personal (classic, fine-grained), OAuth, user of an app, app, refresh.
    "ghp_",
    "github_pat_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    // GitLab: personal, deployment, runner, trigger.
    "glpat-",
    "gldt-",
    "glrt-",
    "glptt-",
    // Slack: bot, user, workspace, refresh, session, rotating, app.
    "xoxb-",
    "xoxp-",
    "xoxa-",
    "xoxr-",
    "xoxs-",
    "xoxe",
    "xapp-",
    // OpenAI, Anthropic and those who do as they do; Stripe: secret, restricted, webhook.
    "sk-",
    "sk_live_",
    "sk_test_",
    "rk_live_",
    "rk_test_",
    "whsec_",
    // Hugging Face, Groq, Replicate, Perplexity, xAI, Tavily.
    "hf_",
    "gsk_",
    "r8_",
    "pplx-",
    "xai-",
    "tvly-",
    // npm, PyPI, Docker Hub.
    "npm_",
    "pypi-",
    "dckr_pat_",
    // Google: API key, OAuth.
    "AIza",
    "ya29.",
    // Notion: before 2024, since.
    "secret_",
    "ntn_",
    // SendGrid, DigitalOcean, Shopify, Linear, Figma, Vault; JSON Web Tokens, which begin with `{"` in base64.
    "SG.",
    "dop_v1_",
    "shpat_",
    "lin_api_",
    "figd_",
    "hvs.",
    "eyJ",
    // Databricks, Context7, PostHog, Sentry, Apify, NVIDIA.
    "dapi",
    "ctx7sk-",
    "phx_",
    "sntrys_",
    "apify_api_",
    "nvapi-",
];

/// Letters and digits without a break between are drawn by chance, and no word of a name, where they are so many with a digit among
/// them, or so many without one: the tokens of Hugging Face have 34 letters.
const DRAWN_BYTES_MIN: usize = 16;
const DRAWN_LETTERS_MIN: usize = 30;

/// Without a break between, the name of a file has two numbers at most, as `Report2024Draft2`.
const DRAWN_NUMBERS_MIN: usize = 3;

/// How long an id of an access key of AWS is.
const AWS_ID_BYTES: usize = 20;

/// Whether a token may have a character in it.
pub(super) fn is_of_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_')
}

/// Whether a word looks like a token that was drawn by chance, whatever stands around it: as long as these are, with capitals, small
/// letters and digits, or with digits that are hexadecimal.
pub(super) fn looks_random(word: &str) -> bool {
    let any = |is: fn(&u8) -> bool| word.as_bytes().iter().any(is);
    let is_mixed = any(u8::is_ascii_lowercase) && any(u8::is_ascii_uppercase) && any(u8::is_ascii_digit);
    word.len() >= LONE_BYTES_MIN && is_mixed && !is_of_words(word) || is_hexadecimal(word)
}

/// Whether a word is put together from several with hyphens between, as the name of a model or package: each changes once at most.
fn is_of_words(word: &str) -> bool {
    word.split(['-', '_']).nth(2).is_some() && word.split(['-', '_']).all(|part| breaks(part) <= 1)
}

/// Whether a word is a token in hexadecimal digits, or a UUID.
fn is_hexadecimal(word: &str) -> bool {
    let digits = word.bytes().filter(|byte| *byte != b'-');
    let is_hex = digits.clone().all(|byte| byte.is_ascii_hexdigit()) && digits.count() >= HEX_DIGITS_MIN;
    is_hex && word.bytes().any(|byte| byte.is_ascii_digit())
}

/// How often a word changes between capitals, small letters and digits. A capital belongs to the small letters behind it.
pub(super) fn breaks(word: &str) -> usize {
    let kind = |c: char| (c.is_numeric(), c.is_uppercase());
    let places = word.chars().zip(word.chars().skip(1));
    let next = word.chars().skip(2).map(Some).chain([None]);
    let is_break = |((one, other), next): &((char, char), Option<char>)| match (kind(*one), kind(*other)) {
        ((false, true), (false, false)) => false,
        // The last of several capitals begins a word of its own.
        ((false, true), (false, true)) => next.is_some_and(char::is_lowercase),
        (one, other) => one != other,
    };
    places.zip(next).filter(is_break).count()
}

/// Whether a part of the name of a file was drawn by chance. Such names are long, have digits and are put together from words, but
/// their words have three letters and more.
pub(super) fn is_drawn_part(part: &str) -> bool {
    let mut runs = part.split(|c: char| !c.is_ascii_alphanumeric());
    let numbers = |run: &str| {
        let between = run.split(|c: char| !c.is_ascii_digit());
        between.filter(|digits| !digits.is_empty()).count()
    };
    let is_drawn = |run: &str| {
        run.len() >= DRAWN_BYTES_MIN
            && ((breaks(run) + 1) * 3 > run.len() || numbers(run) >= DRAWN_NUMBERS_MIN)
    };
    is_hexadecimal(part) || runs.any(is_drawn)
}

/// Whether a word, which may have dots in it, has the form of a service's tokens.
pub(super) fn is_of_service(word: &str) -> bool {
    let is_drawn_behind =
        |begin: &&str| word.strip_prefix(*begin).is_some_and(|rest| is_drawn(rest) || is_hexadecimal(rest));
    FORMS.iter().any(is_drawn_behind) || is_aws_id(word)
}

/// Whether a part of a word was drawn by chance.
pub(super) fn is_drawn(word: &str) -> bool {
    let runs = word.split(|c: char| !c.is_ascii_alphanumeric());
    let has_digit = |run: &str| run.bytes().any(|byte| byte.is_ascii_digit());
    runs.into_iter()
        .any(|run| run.len() >= DRAWN_LETTERS_MIN || run.len() >= DRAWN_BYTES_MIN && has_digit(run))
}

/// Whether a word is the id of an access key of AWS: lasting (`AKIA`), or of a session (`ASIA`, which begins other words too).
fn is_aws_id(word: &str) -> bool {
    let has_digit = word.bytes().any(|byte| byte.is_ascii_digit());
    let begins = word.starts_with("AKIA") || word.starts_with("ASIA") && has_digit;
    let plain = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit();
    begins && word.len() == AWS_ID_BYTES && word.bytes().all(plain)
}
