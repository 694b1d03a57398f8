//! Whether a URI follows a template (RFC 6570), as far as routing needs it: which server is asked. What the variables are is
//! the server's business.

/// Expressions of one template; one with more is followed by nothing.
const EXPRESSIONS_MAX: usize = 32;

/// How many bytes of `uri` are those with which `template` begins; none where that is another beginning.
pub(super) fn shared_beginning(uri: &str, template: &str) -> Option<usize> {
    let (uri, template) = (uri.as_bytes(), template.as_bytes());
    let alike = uri.iter().zip(template).take_while(|(a, b)| a == b && **b != b'{').count();
    template.get(alike).is_none_or(|next| *next == b'{').then_some(alike)
}

/// Whether `uri` may be an expansion of `template`. An expression stands for at least one character, and for no slash
/// unless its operator gives some (`{+x}`, `{/x}`, `{#x}`, `{?x}`, `{&x}`) or all is exploded (`{x*}`).
pub(super) fn follows(uri: &str, template: &str) -> bool {
    let Some(parts) = parts(template) else { return false };
    let Some((Part::Literal(first), rest)) = parts.split_first() else { return matches(uri, &parts) };
    uri.strip_prefix(first).is_some_and(|uri| matches(uri, rest))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part<'a> {
    Literal(&'a str),
    /// An expression, and whether a slash may come of it.
    Expression {
        slashes: bool,
    },
}

fn parts(template: &str) -> Option<Vec<Part<'_>>> {
    let (mut parts, mut rest, mut expressions) = (Vec::new(), template, 0);
    while let Some(open) = rest.find('{') {
        if open > 0 {
            parts.push(Part::Literal(&rest[..open]));
        }
        let close = open + rest[open..].find('}')?;
        let expression = &rest[open + 1..close];
        let slashes = expression.starts_with(['+', '/', '#', '?', '&']) || expression.contains('*');
        parts.push(Part::Expression { slashes });
        expressions += 1;
        if expressions > EXPRESSIONS_MAX {
            return None;
        }
        rest = &rest[close + 1..];
    }
    if !rest.is_empty() {
        parts.push(Part::Literal(rest));
    }
    Some(parts)
}

/// Matches from left to right with the shortest stretch for each expression, which is right wherever the literals between
/// them are found at all: time grows with the URI's length and not with what might be tried.
fn matches(mut uri: &str, parts: &[Part<'_>]) -> bool {
    let mut parts = parts.iter().peekable();
    let mut gap: Option<bool> = None;
    while let Some(part) = parts.next() {
        match part {
            // Two in a row are one that may have slashes if either may.
            Part::Expression { slashes } => gap = Some(gap.unwrap_or(false) || *slashes),
            Part::Literal(literal) => {
                let Some(slashes) = gap.take() else {
                    let Some(rest) = uri.strip_prefix(literal) else { return false };
                    uri = rest;
                    continue;
                };
                let last = parts.peek().is_none();
                let from = first_char(uri);
                let found = if last {
                    uri.len().checked_sub(literal.len()).filter(|at| *at >= from && uri.ends_with(literal))
                } else {
                    uri.get(from..).and_then(|tail| tail.find(literal)).map(|at| from + at)
                };
                let Some(at) = found.filter(|at| *at > 0) else { return false };
                if !slashes && uri[..at].contains('/') {
                    return false;
                }
                uri = &uri[at + literal.len()..];
            }
        }
    }
    match gap {
        Some(slashes) => !uri.is_empty() && (slashes || !uri.contains('/')),
        None => uri.is_empty(),
    }
}

/// The length of the first character: an expression stands for at least that much.
fn first_char(text: &str) -> usize {
    text.chars().next().map_or(1, char::len_utf8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_is_a_stretch_without_slashes() {
        assert!(follows("db:///users", "db:///{table}"));
        assert!(!follows("db:///users/7", "db:///{table}"));
        assert!(!follows("db:///", "db:///{table}"));
        assert!(follows("db:///users/7/name", "db:///{table}/{row}/name"));
        assert!(!follows("db:///users/7/age", "db:///{table}/{row}/name"));
        assert!(follows("file:///ä", "file:///{name}"));
    }

    #[test]
    fn operators_and_explosion_allow_slashes() {
        for template in ["file:///{+path}", "file://{/path*}", "file:///{path*}"] {
            assert!(follows("file:///a/b/c.txt", template), "{template}");
        }
        assert!(follows("x:y?q=a/b", "x:y{?q}"));
    }

    #[test]
    fn without_expressions_a_template_is_a_uri_and_a_broken_one_is_nothing() {
        assert!(follows("a:b", "a:b"));
        assert!(!follows("a:bc", "a:b"));
        assert!(!follows("a:{b", "a:{b"));
        let many = "{a}".repeat(EXPRESSIONS_MAX + 1);
        assert!(!follows("xxxx", &many));
    }

    #[test]
    fn the_end_of_a_uri_is_the_end_of_the_template() {
        assert!(follows("t:a.txt.txt", "t:{name}.txt"));
        assert!(!follows("t:a.txt.bak", "t:{name}.txt"));
        assert!(!follows("t:.txt", "t:{name}.txt"));
    }
}
