//! An issuer of tokens and what its tokens may look like.

use fuda_core::limits::{JWT_LEEWAY_S_MAX, PROVIDER_BYTES_MAX};
use fuda_crypto::SignatureAlgorithm;

/// Longest issuer or audience, in bytes.
const NAME_BYTES_MAX: usize = 512;
/// Longest life of any token that is accepted: a day.
const LIFETIME_S_MAX: i64 = 86_400;

/// What is configured about one issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerSettings {
    /// Our short name of the issuer, `[a-z][a-z0-9-]{0,31}`; part of the ids of its people.
    pub alias: String,
    /// Exactly what its tokens say in `iss`.
    pub issuer: String,
    /// What its tokens for us say in `aud`.
    pub audience: String,
    /// The algorithms it may sign with; never empty.
    pub algorithms: Vec<SignatureAlgorithm>,
    /// Longest life of a token from `iat` to `exp`, in seconds.
    pub lifetime_s_max: i64,
    /// How far its clock may differ from ours, in seconds, at most 60.
    pub leeway_s: i64,
}

/// An issuer whose settings hold together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer(IssuerSettings);

/// Which setting of an issuer is wrong, and the rule it breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{key}` {rule}")]
pub struct IssuerError {
    /// The setting.
    pub key: &'static str,
    /// The rule, as a phrase that continues the setting's name.
    pub rule: &'static str,
}

impl Issuer {
    /// Checks the settings. `lifetime_s_max` is bounded by `lifetime_s_cap`, and that by a day.
    ///
    /// # Errors
    /// [`IssuerError`] names the setting.
    pub fn new(settings: IssuerSettings, lifetime_s_cap: i64) -> Result<Self, IssuerError> {
        let ensure = |holds: bool, key, rule| if holds { Ok(()) } else { Err(IssuerError { key, rule }) };
        let alias = settings.alias.as_str();
        let alias_fits = (1..=PROVIDER_BYTES_MAX).contains(&alias.len())
            && alias.starts_with(|first: char| first.is_ascii_lowercase())
            && alias.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        let name_fits = |name: &str| (1..=NAME_BYTES_MAX).contains(&name.len());
        ensure(alias_fits, "alias", "must match [a-z][a-z0-9-]{0,31}")?;
        ensure(name_fits(&settings.issuer), "issuer", "must have 1 to 512 bytes")?;
        ensure(name_fits(&settings.audience), "audience", "must have 1 to 512 bytes")?;
        ensure(!settings.algorithms.is_empty(), "algorithms", "must name at least one algorithm")?;
        let cap = lifetime_s_cap.min(LIFETIME_S_MAX);
        ensure(
            (1..=cap).contains(&settings.lifetime_s_max),
            "lifetime_s_max",
            "must be at least 1 and within its limit",
        )?;
        ensure((0..=JWT_LEEWAY_S_MAX).contains(&settings.leeway_s), "leeway_s", "must be in 0..=60")?;
        Ok(Self(settings))
    }

    /// Our short name of it.
    #[must_use]
    pub fn alias(&self) -> &str {
        &self.0.alias
    }

    /// What its tokens say in `iss`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.issuer
    }

    /// What its tokens for us say in `aud`.
    #[must_use]
    pub fn audience(&self) -> &str {
        &self.0.audience
    }

    /// How far its clock may differ from ours, in seconds.
    #[must_use]
    pub fn leeway_s(&self) -> i64 {
        self.0.leeway_s
    }

    pub(crate) fn settings(&self) -> &IssuerSettings {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_would_accept_too_much_are_refused() {
        let good = IssuerSettings {
            alias: "corp".to_owned(),
            issuer: "https://idp.example".to_owned(),
            audience: "fuda".to_owned(),
            algorithms: vec![SignatureAlgorithm::Es256],
            lifetime_s_max: 300,
            leeway_s: 60,
        };
        assert!(Issuer::new(good.clone(), 300).is_ok());
        let refused = |settings: IssuerSettings| Issuer::new(settings, 300).unwrap_err().key;
        assert_eq!(refused(IssuerSettings { alias: "Corp".to_owned(), ..good.clone() }), "alias");
        assert_eq!(refused(IssuerSettings { issuer: String::new(), ..good.clone() }), "issuer");
        assert_eq!(refused(IssuerSettings { audience: String::new(), ..good.clone() }), "audience");
        assert_eq!(refused(IssuerSettings { algorithms: Vec::new(), ..good.clone() }), "algorithms");
        assert_eq!(refused(IssuerSettings { lifetime_s_max: 301, ..good.clone() }), "lifetime_s_max");
        assert_eq!(refused(IssuerSettings { leeway_s: 61, ..good.clone() }), "leeway_s");
        assert!(Issuer::new(IssuerSettings { lifetime_s_max: 86_401, ..good }, i64::MAX).is_err());
    }
}
