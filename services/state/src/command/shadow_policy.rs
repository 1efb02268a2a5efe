//! ShadowPolicy: sets or clears the candidate text that every node evaluates beside the one in force. It answers nobody.

use fuda_ledger::{Detail, DetailKey};
use fuda_policy::Policy;
use minicbor::{Decode, Encode};

use super::propose_policy::digest;
use crate::key::{self, Meta};
use crate::machine::Applying;
use crate::row::PolicyCandidateRow;
use crate::{Outcome, Refusal, Table, TableError, Txn, reader};

/// Sets the candidate, or clears it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ShadowPolicy {
    /// The candidate text; `None` clears it.
    #[n(0)]
    pub text: Option<String>,
}

pub(crate) fn first_outcome<T: Txn>(
    applying: &Applying<'_, T>,
    _: &ShadowPolicy,
) -> Result<Option<Outcome>, TableError> {
    let row = reader::policy_candidate(&*applying.txn)?;
    let same = row.filter(|row| applying.is_same_act(&row.set));
    Ok(same.map(|row| Outcome::applied(row.set.sequence)))
}

pub(crate) fn apply<T: Txn>(applying: &mut Applying<'_, T>, body: &ShadowPolicy) -> Result<Outcome, TableError> {
    let named = body.text.as_deref().map_or_else(|| "none".to_owned(), digest);
    let mut detail = vec![Detail::new(DetailKey::PolicyCandidate, &named)];
    match &body.text {
        Some(text) if Policy::check_text(text).is_err() => {
            return applying.refuse(Refusal::PolicyTextInvalid, detail);
        }
        Some(text) => {
            let row = PolicyCandidateRow { text: text.clone(), set: applying.act() };
            applying.put(key::meta(Meta::PolicyCandidate), &row);
        }
        None => applying.txn.delete(Table::Meta, &key::meta(Meta::PolicyCandidate)),
    }
    // Nodes learn of it as they learn of every change of policy.
    let version = applying.raise_policy_version()?;
    detail.push(Detail::new(DetailKey::PolicyVersion, &version.to_string()));
    Ok(Outcome::applied(applying.append_allowed(detail)?))
}
