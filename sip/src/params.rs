//! The `;name=value` pairs behind a header's value (RFC 3261 section 7.3.1).
//!
//! Decides which of them are well-formed and what each is worth. Refuses to know which names a
//! header has.

use crate::header::Flaw;
use crate::lex::{Split, are_all, are_distinct, cut, is_token, kind, position, quoted_end, run, trim};

/// `;name=value` pairs behind a header's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Params<'a> {
    /// Empty, or beginning with `;`.
    text: &'a str,
}

impl<'a> Params<'a> {
    /// Takes `text`, which is empty or begins with `;`.
    pub(crate) fn parse(text: &'a str) -> Result<Params<'a>, Flaw> {
        let text = trim(text);
        let params = Params { text };
        let Some(all) = text.strip_prefix(';') else {
            return if text.is_empty() { Ok(params) } else { Err(Flaw::Parameter) };
        };
        // Most values have one parameter, and that is distinct.
        let fits = match position(all.as_bytes(), b';') {
            None => is_well_formed(trim(all)),
            Some(_) => {
                params.parts().all(is_well_formed) && are_distinct(params.iter().map(|(name, _)| name))
            }
        };
        if fits { Ok(params) } else { Err(Flaw::Parameter) }
    }

    /// What nearly all parameters are: the value of the one in front of `text`, `;name=token`, and what is behind it.
    pub(crate) fn read_token(text: &'a str, name: &str) -> Option<(&'a str, &'a str)> {
        let rest = text.strip_prefix(';')?.strip_prefix(name)?.strip_prefix('=')?;
        let (value, rest) = rest.split_at(run(rest, kind::TOKEN));
        (!value.is_empty()).then_some((value, rest))
    }

    /// Takes `text`, which its reader knows to be right.
    pub(crate) const fn known(text: &'a str) -> Params<'a> {
        Params { text }
    }

    /// The parts between the semicolons as written, trimmed.
    pub(crate) fn parts(&self) -> impl Iterator<Item = &'a str> + Clone + use<'a> {
        self.text.strip_prefix(';').map(|text| Split::new(text, b';')).into_iter().flatten()
    }

    /// Names and values in order. A value loses its quotes, if it has any; escapes within it stay.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, Option<&'a str>)> + Clone + use<'a> {
        self.parts().map(|part| match cut(part, b'=') {
            Some((name, value)) => (trim(name), Some(unquote(trim(value)))),
            None => (part, None),
        })
    }

    /// The value of the first parameter `name` (in any case); empty where it stands without one.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.unwrap_or(""))
    }

    /// The parameters as written, with the `;` in front; empty if there are none.
    #[must_use]
    pub const fn as_str(&self) -> &'a str {
        self.text
    }
}

/// Whether `part` is `token` or `token = value`, with a token, a host or a quoted string for a value.
fn is_well_formed(part: &str) -> bool {
    let Some((name, value)) = cut(part, b'=') else {
        return is_token(part);
    };
    let value = trim(value);
    let value_fits = if value.starts_with('"') {
        quoted_end(value) == Some(value.len())
    } else {
        !value.is_empty() && are_all(value, kind::VALUE)
    };
    is_token(trim(name)) && value_fits
}

/// `text` without the quotes around it, if it has them.
pub(crate) fn unquote(text: &str) -> &str {
    text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_lose_their_quotes_and_keep_their_order() {
        let params = Params::parse(r#" ;a ; B = "x;\"y" ;c=[::1]"#).unwrap();
        let all: Vec<_> = params.iter().collect();
        assert_eq!(all, [("a", None), ("B", Some(r#"x;\"y"#)), ("c", Some("[::1]"))]);
        assert_eq!((params.get("A"), params.get("b"), params.get("d")), (Some(""), Some(r#"x;\"y"#), None));
        assert_eq!(Params::parse("").unwrap().iter().count(), 0);
    }

    #[test]
    fn a_parameter_is_a_token_with_one_value_and_stands_once() {
        for text in [
            "a",
            ";",
            ";;a",
            ";a;",
            ";a=",
            ";=a",
            ";a b",
            ";a=b c",
            ";a=\"b",
            ";a=\"b\"c",
            ";a=\0",
            ";a;A=1",
            ";a=b=c",
        ] {
            assert_eq!(Params::parse(text), Err(Flaw::Parameter), "{text:?}");
        }
    }

    #[test]
    fn at_most_32_parameters_are_read() {
        let many = |count: usize| (0..count).map(|index| format!(";p{index}")).collect::<String>();
        assert!(Params::parse(&many(32)).is_ok());
        assert_eq!(Params::parse(&many(33)), Err(Flaw::Parameter));
    }
}
