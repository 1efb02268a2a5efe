//! What an entry says about grants that come into force or end: enough that whoever has only the ledger knows who may
//! do what on any day (担当者一覧・権限棚卸し).

use fuda_ledger::{Detail, DetailKey};
use fuda_policy::{Grant, GrantId};

/// Bytes of an entry that the facts of an order's grants may take. An order has at most 1,000 grants of some 300 bytes;
/// what is behind the limit is counted, so that the entry stays readable ([`fuda_ledger::Entry::BYTES_MAX`]).
const DETAIL_BYTES_MAX: usize = 384 * 1024;

/// The facts of the grants that an order adds and revokes.
pub(crate) fn changes(added: &[Grant], revoked: &[GrantId]) -> Vec<Detail> {
    let mut detail: Vec<Detail> =
        revoked.iter().map(|id| Detail::new(DetailKey::GrantRevoked, &id.to_string())).collect();
    let mut bytes = 0_usize;
    let mut unlisted = 0_usize;
    for grant in added {
        let facts = of_grant(grant);
        // Key and lengths take at most 8 bytes a fact.
        let more: usize = facts.iter().map(|fact| fact.value().len() + 8).sum();
        if unlisted > 0 || bytes + more > DETAIL_BYTES_MAX {
            unlisted += 1;
            continue;
        }
        bytes += more;
        detail.extend(facts);
    }
    detail.extend((unlisted > 0).then(|| Detail::new(DetailKey::GrantsUnlisted, &unlisted.to_string())));
    detail
}

/// The facts of one grant, its id first.
fn of_grant(grant: &Grant) -> Vec<Detail> {
    let mut detail = vec![
        Detail::new(DetailKey::Granted, &grant.id.to_string()),
        Detail::new(DetailKey::Caller, grant.caller.as_str()),
        Detail::new(DetailKey::Role, grant.role.code()),
    ];
    detail.extend(grant.tenant.as_ref().map(|tenant| Detail::new(DetailKey::GrantTenant, tenant.as_str())));
    detail.extend(listed(DetailKey::GrantActions, grant.actions.iter().map(|action| action.code())));
    detail.extend(listed(DetailKey::GrantKinds, grant.kinds.iter().map(|kind| kind.code())));
    detail.extend(listed(DetailKey::Purpose, grant.purposes.iter().map(|purpose| purpose.as_str())));
    detail.extend(listed(DetailKey::GrantScopes, grant.scopes.iter().map(|scope| scope.as_str())));
    let until = grant.window.not_after.map(|end| Detail::new(DetailKey::Until, &end.to_rfc3339()));
    let trained = grant.conditions.trained_until.map(|end| Detail::new(DetailKey::TrainedUntil, &end.to_rfc3339()));
    detail.extend(until.into_iter().chain(trained));
    if let Some(entrusted) = grant.entrusted() {
        detail.push(Detail::new(DetailKey::Party, entrusted.party.as_str()));
        detail.extend(entrusted.sub_of.as_ref().map(|party| Detail::new(DetailKey::SubOf, party.as_str())));
    }
    detail
}

/// Codes parted by spaces, in as many facts as they need: none is ever cut in two.
pub(crate) fn listed<'a>(key: DetailKey, codes: impl Iterator<Item = &'a str>) -> Vec<Detail> {
    let mut lines: Vec<String> = Vec::new();
    for code in codes {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + code.len() <= Detail::VALUE_BYTES_MAX => {
                line.push(' ');
                line.push_str(code);
            }
            _ => lines.push(code.to_owned()),
        }
    }
    lines.iter().map(|line| Detail::new(key, line)).collect()
}

#[cfg(test)]
mod tests {
    use fuda_core::Timestamp;
    use fuda_ledger::Entry;

    use super::*;
    use crate::testing::workload_grants;

    #[test]
    fn a_grant_is_told_in_full() {
        let mut grant = workload_grants().remove(0);
        grant.conditions.trained_until = Some(Timestamp(0));
        let detail = changes(std::slice::from_ref(&grant), &[GrantId([9; 16])]);
        let value = |key| detail.iter().find(|fact| fact.key() == key).map(|fact| fact.value().to_owned());
        assert_eq!(detail.first().map(Detail::key), Some(DetailKey::GrantRevoked));
        assert_eq!(value(DetailKey::GrantRevoked), Some("09".repeat(16)));
        assert_eq!(value(DetailKey::Granted), Some(grant.id.to_string()));
        assert_eq!(value(DetailKey::Caller).as_deref(), Some(grant.caller.as_str()));
        assert_eq!(value(DetailKey::Role).as_deref(), Some("workload"));
        assert_eq!(value(DetailKey::GrantTenant), grant.tenant.map(|tenant| tenant.to_string()));
        assert_eq!(value(DetailKey::TrainedUntil).as_deref(), Some("1970-01-01T00:00:00.000Z"));
        assert_eq!(value(DetailKey::GrantsUnlisted), None);
    }

    #[test]
    fn no_code_is_cut_and_an_entry_of_the_largest_order_stays_readable() {
        let codes: Vec<String> = (0..64).map(|n| format!("tax.{:0>60}", n)).collect();
        let facts = listed(DetailKey::Purpose, codes.iter().map(String::as_str));
        assert!(facts.iter().all(|fact| fact.value().len() <= Detail::VALUE_BYTES_MAX));
        let joined: Vec<&str> = facts.iter().flat_map(|fact| fact.value().split(' ')).collect();
        assert_eq!(joined, codes);

        let purposes = codes.iter().map(|code| fuda_core::PurposeCode::parse(code).unwrap()).collect();
        let grant = Grant { purposes, ..workload_grants().remove(0) };
        let detail = changes(&vec![grant; 1_000], &[]);
        let listed = detail.iter().filter(|fact| fact.key() == DetailKey::Granted).count();
        let unlisted = detail.last().filter(|fact| fact.key() == DetailKey::GrantsUnlisted).unwrap();
        assert!(listed > 50);
        assert_eq!(unlisted.value(), (1_000 - listed).to_string());
        let bytes: usize = detail.iter().map(|fact| minicbor::to_vec(fact).unwrap().len()).sum();
        assert!(bytes < Entry::BYTES_MAX / 2, "{bytes}");
    }
}
