//! Acts about access: authorize, commit, and wait until this node knows what came of them.

use fuda_core::{Code, Sequence, limits};
use fuda_policy::{GrantId, Permit, Request, Wish};
use fuda_state::access::AccessRow;
use fuda_state::{Body, access, reader};

use super::{Call, Gate, Round};
use crate::refusal::Refusal;

impl Gate {
    /// Commits an act and waits until this node has applied it, so that its answer can tell what it brought about.
    pub(crate) async fn act_and_see(
        &self,
        call: &Call,
        request: Request,
        mut body: impl FnMut(&Permit) -> Result<Body, Refusal>,
    ) -> Result<Sequence, Refusal> {
        for _ in 0..limits::PROPOSAL_ROUNDS_MAX {
            let permit = self.authorize(call, request.clone(), 1).await?;
            let committed = self.commit(call, &permit, body(&permit)?).await?;
            let index = committed.index;
            if let Round::Applied { first, .. } = self.round(committed).await? {
                self.caught_up(index).await?;
                return first.ok_or(Refusal::new(Code::Internal));
            }
        }
        Err(Refusal::new(Code::StaleRoundsExhausted))
    }

    /// A request as this node knows it.
    pub(crate) fn access(&self, id: GrantId) -> Result<AccessRow, Refusal> {
        Self::read(access::request(&self.store, id))?.ok_or(Refusal::new(Code::DeniedOrNotFound))
    }

    /// Fills in the role of the caller who shall hold the grant: apply checks it against the grants that caller holds.
    pub(crate) fn with_role_of_holder(&self, permit: &Permit, wish: Wish) -> Result<Wish, Refusal> {
        if wish.caller == *permit.caller() {
            return Ok(Wish { role: permit.role(), ..wish });
        }
        let grants = Self::read(reader::grants(&self.store))?;
        let held = grants.into_iter().find(|row| row.grant.caller == wish.caller);
        Ok(Wish { role: held.map_or(wish.role, |row| row.grant.role), ..wish })
    }
}
