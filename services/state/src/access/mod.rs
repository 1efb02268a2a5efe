//! Requests for access, entrusted parties and the consents between them: rows, and the rules that several commands
//! share. They live in the `meta` table, behind a fact byte of their own.

pub(crate) mod request;

use fuda_core::{CallerId, PartyId, Sequence, TenantId, Timestamp, limits, time::DAY};
use fuda_ledger::Header;
use fuda_policy::{Budget, Entrusted, Grant, GrantId, Role};
use minicbor::{Decode, Encode};

pub use request::{AccessRow, AccessState, Closed, Review, request, requests};

use crate::machine::Applying;
use crate::row::{Act, Row};
use crate::{Refusal, Table, TableError, Txn, View, key, reader};

/// Grants given on request that one command sweeps away when their time is over.
const SWEEP_GRANTS_MAX: usize = 1_000;

/// That a tenant consented to entrusting on (再委託).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ConsentRow {
    /// The act that consented.
    #[n(0)]
    pub consented: Act,
    /// The act that withdrew the consent; consenting again begins a new row.
    #[n(1)]
    pub withdrawn: Option<Act>,
}

/// That a caller belongs to an entrusted party. Never deleted: its entries stay visible to the party's auditor.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct PartyCallerRow {
    /// The caller.
    #[n(0)]
    pub caller: CallerId,
    /// The entry that brought the first grant of the caller into force.
    #[n(1)]
    pub sequence: Sequence,
}

impl Row for ConsentRow {
    const TABLE: Table = Table::Meta;
}

impl Row for PartyCallerRow {
    const TABLE: Table = Table::Meta;
}

/// The callers that belong, or ever belonged, to an entrusted party.
///
/// # Errors
/// [`TableError`] if they cannot be read.
pub fn party_callers(view: &impl View, party: &PartyId) -> Result<Vec<CallerId>, TableError> {
    let from = key::party_callers(party);
    let to = key::prefix_end(&from);
    let rows = view.scan(Table::Meta, &from, to.as_deref(), usize::MAX)?;
    rows.iter().map(|(_, bytes)| Ok(PartyCallerRow::from_bytes(bytes)?.caller)).collect()
}

/// The consent of a tenant that `sub_of` entrusts on to `party`, withdrawn or not.
///
/// # Errors
/// [`TableError`] if it cannot be read.
pub fn consent(
    view: &impl View,
    tenant: &TenantId,
    sub_of: &PartyId,
    party: &PartyId,
) -> Result<Option<ConsentRow>, TableError> {
    let bytes = view.get(Table::Meta, &key::consent(tenant, sub_of, party))?;
    bytes.map(|bytes| ConsentRow::from_bytes(&bytes)).transpose()
}

/// The grant and the last moment of it, where a call's budget counts over the life of its grant.
pub(crate) fn life_of_budget(view: &impl View, header: &Header) -> Result<Option<(GrantId, Timestamp)>, TableError> {
    let counted = header.budget.is_some_and(|budget| budget.window_days == Budget::LIFE_OF_GRANT);
    let Some(grant) = header.grant.filter(|_| counted) else { return Ok(None) };
    let end = reader::grant(view, grant)?.and_then(|row| row.grant.window.not_after);
    Ok(Some((grant, end.unwrap_or(Timestamp::MAX))))
}

/// The last moment of an operator's grant that begins now.
pub(crate) fn operator_end(now: Timestamp) -> Timestamp {
    now.saturating_add(DAY * limits::OPERATOR_GRANT_DAYS_MAX)
}

/// Why grants of entrusted callers may not be added: a caller of two parties, or a party that was entrusted by another
/// one without the tenant's consent.
pub(crate) fn refuse_entrusted<T: Txn>(
    applying: &Applying<'_, T>,
    kept: &[Grant],
    add: &[Grant],
) -> Result<Option<Refusal>, TableError> {
    for (at, grant) in add.iter().enumerate() {
        let party = grant.entrusted().map(|entrusted| &entrusted.party);
        let others = kept.iter().chain(add.iter().take(at)).filter(|other| other.caller == grant.caller);
        for other in others {
            if other.entrusted().map(|entrusted| &entrusted.party) != party {
                return Ok(Some(Refusal::PartyConflict));
            }
        }
        let Some(Entrusted { party, sub_of: Some(sub_of) }) = grant.entrusted() else { continue };
        // Consent is the tenant's: a grant for the whole vault cannot have it.
        let Some(tenant) = &grant.tenant else { return Ok(Some(Refusal::ConsentMissing)) };
        let consent = consent(&*applying.txn, tenant, sub_of, party)?;
        if consent.is_none_or(|row| row.withdrawn.is_some()) {
            return Ok(Some(Refusal::ConsentMissing));
        }
    }
    Ok(None)
}

/// Remembers for ever to which entrusted party the caller of a new grant belongs.
pub(crate) fn remember_party<T: Txn>(applying: &mut Applying<'_, T>, grant: &Grant) {
    if let Some(entrusted) = grant.entrusted().filter(|_| grant.role != Role::Auditor) {
        let row = PartyCallerRow { caller: grant.caller.clone(), sequence: applying.next_sequence() };
        applying.put(key::party_caller(&entrusted.party, &grant.caller), &row);
    }
}

/// Deletes grants given on request whose time is over. Only together with a change of the policy version, so that
/// nodes and state agree on which grants there are.
pub(crate) fn sweep_spent<T: Txn>(applying: &mut Applying<'_, T>) -> Result<(), TableError> {
    let spent: Vec<_> =
        reader::grants(&*applying.txn)?.into_iter().filter(|row| row.grant.is_spent(applying.time)).collect();
    for row in spent.into_iter().take(SWEEP_GRANTS_MAX) {
        applying.txn.delete(Table::Grants, &key::grant(row.grant.id));
    }
    Ok(())
}
