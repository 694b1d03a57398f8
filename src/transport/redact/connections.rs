//! The passwords in connection strings that stand neither behind a name alone nor in the user info of a URL.

use super::names::names_secret;
use crate::secret::Secret;

/// The password in a URL of Oracle's driver, which has it behind a slash: `jdbc:oracle:thin:user/password@…`.
pub(super) fn of_oracle(value: &str) -> Option<&str> {
    let (_, rest) = value.split_once("jdbc:oracle:")?;
    let (user, _) = rest.split(['?', '(']).next()?.split_whitespace().next()?.rsplit_once('@')?;
    let (_, password) = user.split_once('/')?;
    Some(password.trim_matches('"'))
}

/// The password in what Go's driver for MySQL takes: `user:password@tcp(…)/…`.
pub(super) fn of_go(value: &str) -> Option<&str> {
    let (user, _) = ["@tcp(", "@unix("].iter().find_map(|network| value.split_once(network))?;
    Some(user.split_once(':')?.1)
}

/// Passwords in quotes, which may have a semicolon in them: in braces for ODBC (`PWD={…}`), else in those of ADO. A quote that is a part
/// of one stands there twice.
pub(super) fn in_quotes(value: &str) -> Vec<Secret> {
    let mut found = Vec::new();
    let mut rest = value;
    while let Some((before, behind)) = rest.split_once('=') {
        rest = behind;
        let Some(quote) = behind.trim_start().chars().next() else { break };
        let end = match quote {
            '{' => '}',
            '"' | '\'' => quote,
            _ => continue,
        };
        let quoted = &behind.trim_start()[1..];
        let twice = format!("{end}{end}");
        let mut at = 0;
        // The first that does not stand twice.
        while let Some(next) = quoted[at..].find(end) {
            at += next;
            if !quoted[at..].starts_with(&twice) {
                break;
            }
            at += twice.len();
        }
        let Some(password) = quoted.get(..at).filter(|_| quoted[at..].starts_with(end)) else { break };
        rest = &quoted[at..];
        let name = before.rsplit([';', '?', '&', ',']).next().unwrap_or_default().trim();
        if names_secret(name) {
            found.extend([Secret::from(password), password.replace(&twice, &end.to_string()).into()]);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::find::secret_parts;
    use super::super::mask::Mask;

    #[test]
    fn a_password_in_quotes_is_taken_out_with_the_semicolon_in_it_and_other_parts_stay() {
        for (value, password) in [
            ("Driver={SQL Server};Server=h;PWD={s3cret;value}", "s3cret;value"),
            ("Driver={SQL Server};PWD={s3cret}};value};Server=h", "s3cret};value"),
            ("Server=h;Password='s3cret;value';Database=x", "s3cret;value"),
            ("Server=h;Password = \"s3cret\"\";value\";Database=x", "s3cret\";value"),
            ("jdbc:oracle:thin:scott/s3cret-value@h:1521/x?u=a@b", "s3cret-value"),
            ("bob:s3cret@value@tcp(h:3306)/db", "s3cret@value"),
            ("bob:s3cret-value@unix(/tmp/mysql.sock)/db", "s3cret-value"),
        ] {
            let mask = Mask::of(&secret_parts(value));
            assert_eq!(mask.text(format!("bad {password}, SQL Server")), "bad ***, SQL Server", "{value}");
        }
    }

    #[test]
    fn quotes_that_do_not_end_cost_one_reading() {
        let value = "PWD={".repeat(100_000);
        assert!(super::in_quotes(&value).is_empty());
        assert!(super::in_quotes(&"PWD={}}".repeat(100_000)).is_empty());
    }
}
