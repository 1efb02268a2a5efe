//! Alarms: what an entry says so that somebody looks at it at once.
//!
//! An alarm is part of the entry of the very act that raised it, so that it is as durable and as provable as the act,
//! and apply decides on it alone. It names no person: caller, tenant and purpose stand in the entry.

use fuda_core::ScopeId;
use minicbor::{Decode, Encode};

/// Why an alarm was raised. The numbers are part of the canonical bytes and never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
#[repr(u8)]
pub enum AlarmCode {
    /// The caller's distinct persons reached the share of its budget at which somebody wants to know.
    #[n(1)]
    BudgetSoft = 1,
    /// The caller asked for more distinct persons than its budget allows and was stopped.
    #[n(2)]
    BudgetStopped = 2,
    /// Somebody presented a token that belongs to no number and was planted to be found.
    #[n(3)]
    Canary = 3,
    /// The caller named a purpose for the first time ever.
    #[n(4)]
    FirstPurpose = 4,
    /// Numbers were revealed outside working hours.
    #[n(5)]
    OffHours = 5,
    /// The caller was denied many times in a short time.
    #[n(6)]
    DenialBurst = 6,
    /// The caller presented many unknown tokens in a short time.
    #[n(7)]
    Enumeration = 7,
    /// Something was frozen.
    #[n(8)]
    Frozen = 8,
}

/// How soon somebody should look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// With the day's work.
    Notice,
    /// Soon.
    Warning,
    /// Now.
    Critical,
}

/// One alarm of one entry.
///
/// Persisted: array encoding, new fields only at the end and optional.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Alarm {
    /// Why.
    #[n(0)]
    pub code: AlarmCode,
    /// How many (persons, denials, unknown tokens) were counted when it was raised.
    #[n(1)]
    pub count: Option<u32>,
    /// The limit that was reached.
    #[n(2)]
    pub limit: Option<u32>,
    /// The scope that leaked a canary token.
    #[n(3)]
    pub scope: Option<ScopeId>,
}

impl AlarmCode {
    /// Every code, in the order of its number.
    pub const ALL: [Self; 8] = [
        Self::BudgetSoft,
        Self::BudgetStopped,
        Self::Canary,
        Self::FirstPurpose,
        Self::OffHours,
        Self::DenialBurst,
        Self::Enumeration,
        Self::Frozen,
    ];

    /// Stable code for exports, metrics and events.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::BudgetSoft => "budget_soft",
            Self::BudgetStopped => "budget_stopped",
            Self::Canary => "canary",
            Self::FirstPurpose => "first_purpose",
            Self::OffHours => "off_hours",
            Self::DenialBurst => "denial_burst",
            Self::Enumeration => "enumeration",
            Self::Frozen => "frozen",
        }
    }

    /// How soon somebody should look.
    #[must_use]
    pub const fn severity(self) -> Severity {
        match self {
            Self::FirstPurpose | Self::OffHours => Severity::Notice,
            Self::BudgetSoft | Self::DenialBurst | Self::Frozen => Severity::Warning,
            Self::BudgetStopped | Self::Canary | Self::Enumeration => Severity::Critical,
        }
    }
}

impl Severity {
    /// Stable code for exports and events.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

impl Alarm {
    /// An alarm without figures.
    #[must_use]
    pub const fn new(code: AlarmCode) -> Self {
        Self { code, count: None, limit: None, scope: None }
    }

    /// An alarm of a count that reached a limit.
    #[must_use]
    pub const fn counted(code: AlarmCode, count: u32, limit: u32) -> Self {
        Self { code, count: Some(count), limit: Some(limit), scope: None }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn codes_are_stable_and_unique() {
        let codes: BTreeSet<&str> = AlarmCode::ALL.into_iter().map(AlarmCode::code).collect();
        assert_eq!(codes.len(), AlarmCode::ALL.len());
        let alarm = Alarm { scope: Some(ScopeId::parse("hr").unwrap()), ..Alarm::counted(AlarmCode::Canary, 1, 2) };
        let bytes = minicbor::to_vec(&alarm).unwrap();
        assert_eq!(bytes, [0x84, 3, 1, 2, 0x62, b'h', b'r']);
        assert_eq!(minicbor::decode::<Alarm>(&bytes).unwrap(), alarm);
        assert_eq!(minicbor::to_vec(Alarm::new(AlarmCode::Frozen)).unwrap(), [0x81, 8]);
        assert!(AlarmCode::Canary.severity() > AlarmCode::BudgetSoft.severity());
    }
}
