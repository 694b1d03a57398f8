//! What is a token by its form, whatever stands around it.

/// What stands behind another word, or before a password, is a secret where it is as long as tokens are.
pub(super) const LONE_BYTES_MIN: usize = 20;

/// Hexadecimal digits are a token where they are as many as 128 bits have, as those of a UUID.
const HEX_DIGITS_MIN: usize = 32;

/// What the tokens of services begin with, as their pages on tokens and the rules of secret scanners (gitleaks, GitHub) have it. Most of
/// them look random as well; these are known where capitals or digits happen to be missing.
pub(super) const FORMS: [&str; 43] = [
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
];

/// Letters and digits without a break between are drawn by chance, and no word of a name, where they are so many with a digit among
/// them, or so many without one: the tokens of Hugging Face have 34 letters.
const DRAWN_BYTES_MIN: usize = 16;
const DRAWN_LETTERS_MIN: usize = 30;

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
    let digits = word.bytes().filter(|byte| *byte != b'-');
    let is_hex = digits.clone().all(|byte| byte.is_ascii_hexdigit()) && digits.count() >= HEX_DIGITS_MIN;
    word.len() >= LONE_BYTES_MIN && is_mixed || is_hex && any(u8::is_ascii_digit)
}

/// Whether a word, which may have dots in it, has the form of a service's tokens.
pub(super) fn is_of_service(word: &str) -> bool {
    let is_drawn_behind = |begin: &&str| word.strip_prefix(*begin).is_some_and(is_drawn);
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
