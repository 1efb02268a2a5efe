//! In which language a page is shown.

use http::HeaderMap;
use http::header::ACCEPT_LANGUAGE;

use super::sign_in::cookie;

/// Name of the cookie that keeps the choice.
pub(super) const COOKIE_NAME: &str = "fuda-lang";

/// The languages of the console.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Language {
    /// 日本語; the default, since the practice that the console serves is Japanese.
    Japanese,
    /// English.
    English,
}

impl Language {
    /// Both of them.
    pub(super) const ALL: [Self; 2] = [Self::Japanese, Self::English];

    /// The code of RFC 5646.
    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::Japanese => "ja",
            Self::English => "en",
        }
    }

    /// Its name in itself.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Japanese => "日本語",
            Self::English => "English",
        }
    }

    pub(super) fn parse(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|language| language.code() == code)
    }

    /// What the address asks for, else what was chosen before, else what the browser prefers.
    pub(super) fn of(query: Option<&str>, headers: &HeaderMap) -> Self {
        asked(query).or_else(|| chosen(headers)).or_else(|| preferred(headers)).unwrap_or(Self::Japanese)
    }
}

/// The language that a query string names.
pub(super) fn asked(query: Option<&str>) -> Option<Language> {
    query?.split('&').find_map(|pair| pair.strip_prefix("lang=")).and_then(Language::parse)
}

fn chosen(headers: &HeaderMap) -> Option<Language> {
    cookie(headers, COOKIE_NAME).and_then(Language::parse)
}

fn preferred(headers: &HeaderMap) -> Option<Language> {
    let accepted = headers.get(ACCEPT_LANGUAGE)?.to_str().ok()?;
    let weighed = accepted.split(',').filter_map(|range| {
        let mut parts = range.split(';').map(str::trim);
        let primary = parts.next()?.split('-').next()?.to_ascii_lowercase();
        let weight = parts.find_map(|part| part.strip_prefix("q=")).map_or(1.0, |q| q.parse().unwrap_or(0.0_f32));
        Some((Language::parse(&primary)?, weight))
    });
    // The first of equals wins, as browsers list them.
    weighed.reduce(|best, next| if next.1 > best.1 { next } else { best }).map(|(language, _)| language)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse::<http::HeaderName>().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn address_then_cookie_then_browser_decide() {
        let both = headers(&[("cookie", "a=b; fuda-lang=ja"), ("accept-language", "en")]);
        assert_eq!(Language::of(Some("x=1&lang=en"), &both), Language::English);
        assert_eq!(Language::of(Some("x=1"), &both), Language::Japanese);
        assert_eq!(Language::of(None, &headers(&[("accept-language", "fr, en;q=0.5, ja;q=0.8")])), Language::Japanese);
        assert_eq!(Language::of(None, &headers(&[("accept-language", "en-GB,ja;q=0.9")])), Language::English);
        for unknown in [None, Some("lang=xx"), Some("lang=")] {
            assert_eq!(Language::of(unknown, &headers(&[("cookie", "fuda-lang=<script>")])), Language::Japanese);
        }
    }
}
