//! Freezes: what a person stopped at once, and how a decision sees it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use fuda_core::{CallerId, PurposeCode, ScopeId, TenantId};
use minicbor::{Decode, Encode};

use crate::{Action, DenyReason};

/// What can be frozen.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub enum FreezeTarget {
    /// The whole vault.
    #[n(0)]
    Cluster,
    /// One legal person.
    #[n(1)]
    Tenant(#[n(0)] TenantId),
    /// A consuming system of a tenant: its tokens.
    #[n(2)]
    Scope(#[n(0)] TenantId, #[n(1)] ScopeId),
    /// A purpose in a tenant.
    #[n(3)]
    Purpose(#[n(0)] TenantId, #[n(1)] PurposeCode),
    /// A caller, whatever it asks and for whichever tenant.
    #[n(4)]
    Caller(#[n(0)] CallerId),
}

impl FreezeTarget {
    /// The tenant it belongs to; `None` for the whole vault and for callers, which may reach several tenants.
    #[must_use]
    pub const fn tenant(&self) -> Option<&TenantId> {
        match self {
            Self::Tenant(tenant) | Self::Scope(tenant, _) | Self::Purpose(tenant, _) => Some(tenant),
            Self::Cluster | Self::Caller(_) => None,
        }
    }
}

/// `cluster`, `tenant acme`, `scope acme/payroll`, `purpose acme/tax.withholding_slip`, `caller spiffe://…`.
impl fmt::Display for FreezeTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cluster => f.write_str("cluster"),
            Self::Tenant(tenant) => write!(f, "tenant {tenant}"),
            Self::Scope(tenant, scope) => write!(f, "scope {tenant}/{scope}"),
            Self::Purpose(tenant, purpose) => write!(f, "purpose {tenant}/{purpose}"),
            Self::Caller(caller) => write!(f, "caller {caller}"),
        }
    }
}

/// All freezes in force, arranged so that a decision looks them up without copying a key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Frozen {
    cluster: bool,
    callers: BTreeSet<CallerId>,
    tenants: BTreeMap<TenantId, FrozenTenant>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct FrozenTenant {
    whole: bool,
    scopes: BTreeSet<ScopeId>,
    purposes: BTreeSet<PurposeCode>,
}

/// What a decision or a command is about, as far as freezes matter.
#[derive(Debug, Clone, Copy)]
pub struct Touched<'a> {
    /// What is asked.
    pub action: Action,
    /// Who asks.
    pub caller: &'a CallerId,
    /// For which tenant.
    pub tenant: Option<&'a TenantId>,
    /// In which scope, where it is known.
    pub scope: Option<&'a ScopeId>,
    /// For which purpose, where one is named.
    pub purpose: Option<&'a PurposeCode>,
}

impl Frozen {
    /// The freezes of these targets.
    #[must_use]
    pub fn of<'a>(targets: impl IntoIterator<Item = &'a FreezeTarget>) -> Self {
        let mut frozen = Self::default();
        for target in targets {
            frozen.add(target);
        }
        frozen
    }

    fn add(&mut self, target: &FreezeTarget) {
        match target {
            FreezeTarget::Cluster => self.cluster = true,
            FreezeTarget::Caller(caller) => {
                self.callers.insert(caller.clone());
            }
            FreezeTarget::Tenant(tenant) => self.tenants.entry(tenant.clone()).or_default().whole = true,
            FreezeTarget::Scope(tenant, scope) => {
                self.tenants.entry(tenant.clone()).or_default().scopes.insert(scope.clone());
            }
            FreezeTarget::Purpose(tenant, purpose) => {
                self.tenants.entry(tenant.clone()).or_default().purposes.insert(purpose.clone());
            }
        }
    }

    /// Why this is stopped; `None` when no freeze touches it.
    #[must_use]
    pub fn stops(&self, touched: &Touched<'_>) -> Option<DenyReason> {
        if self.callers.contains(touched.caller) {
            return Some(DenyReason::CallerFrozen);
        }
        if !touched.action.stopped_by_freeze() {
            return None;
        }
        let tenant = touched.tenant.and_then(|tenant| self.tenants.get(tenant));
        let in_tenant = tenant.is_some_and(|frozen| {
            frozen.whole
                || touched.scope.is_some_and(|scope| frozen.scopes.contains(scope))
                || touched.purpose.is_some_and(|purpose| frozen.purposes.contains(purpose))
        });
        (self.cluster || in_tenant).then_some(DenyReason::Frozen)
    }

    /// Whether the scope of the tenant is frozen by itself: asked per item, when the token's scope is known.
    #[must_use]
    pub fn scope(&self, tenant: &TenantId, scope: &ScopeId) -> bool {
        self.tenants.get(tenant).is_some_and(|frozen| frozen.scopes.contains(scope))
    }

    /// Whether the caller is frozen.
    #[must_use]
    pub fn caller(&self, caller: &CallerId) -> bool {
        self.callers.contains(caller)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    fn tenant(text: &str) -> TenantId {
        TenantId::parse(text).unwrap()
    }

    #[test]
    fn a_freeze_stops_what_it_names_and_nothing_else() {
        let (demo, other) = (tenant("demo"), tenant("other"));
        let (payroll, accounting) = (ScopeId::parse("payroll").unwrap(), ScopeId::parse("accounting").unwrap());
        let purpose = PurposeCode::parse(samples::PURPOSE).unwrap();
        let (caller, stranger) = (samples::caller("payroll").unwrap(), samples::caller("hr").unwrap());
        let touched =
            |tenant, scope, purpose| Touched { action: Action::Detokenize, caller: &caller, tenant, scope, purpose };
        let call = touched(Some(&demo), Some(&payroll), Some(&purpose));
        let stopped = |target: FreezeTarget, touched: &Touched<'_>| Frozen::of([&target]).stops(touched);

        for target in [
            FreezeTarget::Cluster,
            FreezeTarget::Tenant(demo.clone()),
            FreezeTarget::Scope(demo.clone(), payroll.clone()),
            FreezeTarget::Purpose(demo.clone(), purpose.clone()),
        ] {
            assert_eq!(stopped(target.clone(), &call), Some(DenyReason::Frozen), "{target}");
            // Seeing and mending go on.
            for action in
                [Action::ReadLedger, Action::ClusterStatus, Action::Thaw, Action::Freeze, Action::ApproveGrants]
            {
                assert_eq!(stopped(target.clone(), &Touched { action, ..call }), None, "{target} {action}");
            }
        }
        for target in [
            FreezeTarget::Tenant(other.clone()),
            FreezeTarget::Scope(other.clone(), payroll.clone()),
            FreezeTarget::Scope(demo.clone(), accounting),
            FreezeTarget::Purpose(other, purpose.clone()),
            FreezeTarget::Purpose(demo.clone(), PurposeCode::parse(samples::COLLECT_PURPOSE).unwrap()),
            FreezeTarget::Caller(stranger),
        ] {
            assert_eq!(stopped(target.clone(), &call), None, "{target}");
        }
        let of_caller = FreezeTarget::Caller(caller.clone());
        for action in Action::ALL {
            assert_eq!(stopped(of_caller.clone(), &Touched { action, ..call }), Some(DenyReason::CallerFrozen));
        }
    }

    #[test]
    fn targets_read_like_what_they_are() {
        let (demo, scope) = (tenant("demo"), ScopeId::parse("payroll").unwrap());
        assert_eq!(FreezeTarget::Scope(demo.clone(), scope).to_string(), "scope demo/payroll");
        assert_eq!(FreezeTarget::Tenant(demo.clone()).tenant(), Some(&demo));
        assert_eq!(FreezeTarget::Cluster.tenant(), None);
    }
}
