//! Who may call at all: a first, coarse gate in front of every grant.

use fuda_core::{CallerId, Invalid};

/// Rules in one list.
const RULES_MAX: usize = 1_024;

/// One caller, or all whose id begins with whole segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallerRule {
    /// This caller.
    Exact(CallerId),
    /// Every caller below: `spiffe://example.org/ns/payroll/*` means ids that begin `spiffe://example.org/ns/payroll/`,
    /// and so never `…/ns/payroll-test/…`.
    Below(String),
}

impl CallerRule {
    /// Reads `spiffe://domain/path`, `spiffe://domain/path/*`, `spiffe://domain/*`, `oidc:provider/subject` or
    /// `oidc:provider/*`. A star anywhere else is refused.
    ///
    /// # Errors
    /// [`Invalid`] when it is none of these.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        const INVALID: Invalid = Invalid::new("caller rule", "must be a caller id, or one that ends in /*");
        let Some(prefix) = text.strip_suffix('*') else { return CallerId::parse(text).map(Self::Exact) };
        if !prefix.ends_with('/') {
            return Err(INVALID);
        }
        // With a last segment, the prefix must be a caller's id.
        CallerId::parse(&format!("{prefix}x")).map_err(|_| INVALID)?;
        Ok(Self::Below(prefix.to_owned()))
    }

    fn covers(&self, caller: &CallerId) -> bool {
        match self {
            Self::Exact(one) => one == caller,
            Self::Below(prefix) => caller.as_str().starts_with(prefix.as_str()),
        }
    }
}

/// Who may call: everybody who proved who he is, or those on the list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallerRules(Option<Vec<CallerRule>>);

impl CallerRules {
    /// Everybody.
    #[must_use]
    pub const fn everybody() -> Self {
        Self(None)
    }

    /// Those whom a rule covers. An empty list is nobody.
    ///
    /// # Errors
    /// [`Invalid`] for a rule that is none, or more than 1,024 of them.
    pub fn parse(rules: &[String]) -> Result<Self, Invalid> {
        if rules.len() > RULES_MAX {
            return Err(Invalid::new("caller rules", "must be at most 1024"));
        }
        rules.iter().map(|rule| CallerRule::parse(rule)).collect::<Result<_, _>>().map(|rules| Self(Some(rules)))
    }

    /// Whether this caller may call.
    #[must_use]
    pub fn allow(&self, caller: &CallerId) -> bool {
        self.0.as_ref().is_none_or(|rules| rules.iter().any(|rule| rule.covers(caller)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(texts: &[&str]) -> CallerRules {
        CallerRules::parse(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    fn allows(rules: &CallerRules, caller: &str) -> bool {
        rules.allow(&CallerId::parse(caller).unwrap())
    }

    #[test]
    fn exact_rules_mean_one_and_prefix_rules_whole_segments() {
        let listed = rules(&["spiffe://a.example/workload/hr", "spiffe://a.example/ns/pay/*", "oidc:corp/*"]);
        for caller in ["spiffe://a.example/workload/hr", "spiffe://a.example/ns/pay/sa/batch", "oidc:corp/alice"] {
            assert!(allows(&listed, caller), "{caller}");
        }
        for caller in [
            "spiffe://a.example/workload/hr2",
            "spiffe://a.example/workload/hr/x",
            "spiffe://a.example/ns/pay",
            "spiffe://a.example/ns/payroll/sa/batch",
            "spiffe://b.example/workload/hr",
            "spiffe://a.example.evil/ns/pay/sa/x",
            "oidc:corp2/alice",
        ] {
            assert!(!allows(&listed, caller), "{caller}");
        }
        assert!(allows(&CallerRules::everybody(), "spiffe://x/y"));
        assert!(!allows(&rules(&[]), "spiffe://x/y"), "an empty list is nobody");
        assert!(allows(&rules(&["spiffe://a.example/*"]), "spiffe://a.example/x"));
    }

    #[test]
    fn rules_that_would_mean_more_than_they_seem_to_are_refused() {
        for wrong in
            ["*", "spiffe://*", "spiffe://a.example*", "spiffe://a.example/ns/*/sa", "spiffe://a.example/ns*", ""]
        {
            assert!(CallerRule::parse(wrong).is_err(), "{wrong}");
        }
        assert!(CallerRule::parse("spiffe://*/x").is_err());
        assert!(CallerRule::parse("oidc:*/x").is_err());
    }
}
