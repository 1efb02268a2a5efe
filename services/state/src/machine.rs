//! The machine: what apply keeps in memory beside the tables, and the one way a command changes either.
//!
//! Everything here is derived from the tables and rebuilt by [`Machine::load`]; a replica that restarts after any
//! command goes on exactly like one that did not.

use std::collections::BTreeMap;

use fuda_core::{
    BucketId, BucketVersion, Catalogue, KeyDomainId, PolicyVersion, Revision, Sequence, TenantId, Timestamp, Zone,
};
use fuda_ledger::tree::{Edge, TreeHead};
use fuda_ledger::{Block, Common, Detail, DetailKey, EntryItem, Header};
use fuda_policy::{Action, DenyReason, Grant, OfficeHours, PolicyData, Touched};

use crate::alarms::{Leaks, Untold};
use crate::assertions::Assertions;
use crate::budget::Budgets;
use crate::canaries::{self, Canaries, Hits};
use crate::command::{self, Body, Command, Inner};
use crate::explained::Explained;
use crate::folds::{Folds, Sort};
use crate::freezes::Freezes;
use crate::key::{self, Meta};
use crate::rates::Rates;
use crate::reader;
use crate::row::{Act, PolicyVersionRow, ProgressRow, Row, VaultRow};
use crate::watch::Watch;
use crate::{Outcome, Refusal, Table, TableError, Txn, View};

/// Rows read at once while loading.
const LOAD_ROWS: usize = 1_024;

/// What consensus knows about a command that the command does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context {
    /// Index of the log entry that carries the command.
    pub index: u64,
    /// The leader's stamp of the log entry. A stamp before the time of an earlier command counts as that time.
    pub time: Timestamp,
}

/// The in-memory side of the state machine.
#[derive(Debug, Clone, PartialEq)]
pub struct Machine {
    pub(crate) vault: Option<VaultRow>,
    pub(crate) progress: ProgressRow,
    pub(crate) policy_version: PolicyVersion,
    pub(crate) edge: Edge,
    pub(crate) tenants: BTreeMap<TenantId, TenantFacts>,
    pub(crate) buckets: BTreeMap<(KeyDomainId, BucketId), BucketVersion>,
    pub(crate) budgets: Budgets,
    pub(crate) freezes: Freezes,
    pub(crate) assertions: Assertions,
    pub(crate) untold: Untold,
    pub(crate) watch: Watch,
    pub(crate) canaries: Canaries,
    pub(crate) folds: Folds,
    pub(crate) rates: Rates,
    pub(crate) explained: Explained,
    pub(crate) checkpoint_size: u64,
}

/// What apply needs of a tenant on every command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TenantFacts {
    pub(crate) zone: Zone,
    pub(crate) office_hours: OfficeHours,
    pub(crate) domain: KeyDomainId,
}

impl Machine {
    /// Rebuilds the machine from the tables of `view`; empty tables give a machine that waits for its bootstrap.
    ///
    /// Reads every tenant, bucket and live budget addition once, and the right edge of the ledger's tree.
    ///
    /// # Errors
    /// [`TableError`] if the tables cannot be read or contradict each other.
    pub fn load(view: &impl View) -> Result<Self, TableError> {
        let progress = reader::meta::<ProgressRow>(view, Meta::Progress)?.unwrap_or_default();
        let version = reader::meta::<PolicyVersionRow>(view, Meta::PolicyVersion)?;
        let tenants =
            reader::tenants(view)?.into_iter().map(|row| (row.tenant.id.clone(), TenantFacts::of(&row.tenant)));
        let checkpoint = reader::latest_checkpoint(view)?;
        Ok(Self {
            vault: reader::vault(view)?,
            progress,
            policy_version: version.map_or(PolicyVersion::default(), |row| row.version),
            edge: reader::edge(view, progress.tree_size)?,
            tenants: tenants.collect(),
            buckets: load_buckets(view)?,
            budgets: Budgets::load(view, LOAD_ROWS)?,
            freezes: Freezes::load(view)?,
            assertions: Assertions::load(view)?,
            untold: Untold::load(view)?,
            watch: Watch::load(view)?,
            canaries: Canaries::load(view)?,
            folds: Folds::load(view)?,
            rates: Rates::load(view)?,
            explained: Explained::load(view)?,
            checkpoint_size: checkpoint.map_or(0, |checkpoint| checkpoint.size),
        })
    }

    /// Applies one command: writes rows, entries and tiles to `txn` and returns what came of it. A pure function of
    /// the state, the command and `ctx`.
    ///
    /// # Errors
    /// [`TableError`] if the tables cannot be read. The machine and `txn` are then undefined: drop both, and stop the
    /// replica, which could otherwise come to differ from the others.
    pub fn apply<T: Txn>(&mut self, txn: &mut T, command: &Command, ctx: Context) -> Result<Outcome, TableError> {
        let before = self.progress;
        self.progress.time = before.time.max(ctx.time);
        let time = self.progress.time;
        self.enter_folded(txn)?;
        let outcome = match command.inner() {
            Inner::Kept(step) => command::bookkeeping::apply(self, txn, step, time)?,
            Inner::Audited(header, body) => {
                Applying { machine: self, txn, header, time, hits: Hits::default() }.run(body)?
            }
        };
        self.folds.save(txn);
        if self.progress != before {
            txn.put(Table::Meta, key::meta(Meta::Progress), self.progress.to_bytes());
        }
        Ok(outcome)
    }

    /// Facts of the vault; `None` before bootstrap.
    pub fn vault(&self) -> Option<&VaultRow> {
        self.vault.as_ref()
    }

    /// The version of the policy in force; 0 before bootstrap.
    pub fn policy_version(&self) -> PolicyVersion {
        self.policy_version
    }

    /// The time of the last applied command.
    pub fn time(&self) -> Timestamp {
        self.progress.time
    }

    /// Size and root of the ledger's tree.
    pub fn tree_head(&self) -> TreeHead {
        self.edge.head()
    }

    /// The right edge of the ledger's tree, which serves proofs up to the newest entry.
    pub fn edge(&self) -> &Edge {
        &self.edge
    }

    /// The tree size of the newest stored checkpoint; 0 without one.
    pub fn checkpoint_size(&self) -> u64 {
        self.checkpoint_size
    }

    /// When counted denials are to be entered; any command from then on does it.
    pub fn fold_due(&self) -> Option<Timestamp> {
        self.folds.due()
    }

    /// Planted bug: forgets canary tokens and counted denials, as if they were no replicated state.
    #[cfg(feature = "failpoints")]
    pub fn forget_brakes(&mut self) {
        (self.canaries, self.folds) = (Canaries::default(), Folds::default());
    }

    /// Planted bug: forgets whom callers have seen, as if that were not replicated state.
    #[cfg(feature = "failpoints")]
    pub fn forget_budgets(&mut self) {
        self.budgets = Budgets::default();
    }

    /// The version of a bucket's key that sealing commands must carry.
    pub fn bucket_version(&self, domain: KeyDomainId, bucket: BucketId) -> Option<BucketVersion> {
        self.buckets.get(&(domain, bucket)).copied()
    }

    /// Everything a decision depends on, for [`fuda_policy::Policy::build`]; `None` before bootstrap.
    ///
    /// # Errors
    /// [`TableError`] if the tables cannot be read.
    pub fn policy_data(&self, view: &impl View) -> Result<Option<PolicyData>, TableError> {
        reader::policy_data(view)
    }

    /// Enters the denials that were counted in minutes that are over.
    fn enter_folded(&mut self, txn: &mut impl Txn) -> Result<(), TableError> {
        for fold in self.folds.close(txn, self.progress.time) {
            if let Some((common, item)) = fold.entry(self.next_sequence(), self.progress.time) {
                self.append_block(txn, common, vec![item], &Leaks::new())?;
            }
        }
        Ok(())
    }

    /// Appends the entries of one command: one row of `entries`, the tiles they fill, and the tree's new edge.
    fn append_block(
        &mut self,
        txn: &mut impl Txn,
        common: Common,
        items: Vec<EntryItem>,
        leaked: &Leaks,
    ) -> Result<Sequence, TableError> {
        let first = self.next_sequence();
        self.untold.remember(txn, &items, leaked);
        if items.iter().any(|item| item.decision == fuda_ledger::Decision::Denied) {
            self.explained.remember(txn, common.request_id, first)?;
        }
        let block = Block::new(first, common, items)
            .map_err(|_| TableError::corrupt(Table::Entries, "entries of a command do not count up"))?;
        for tile in self.edge.append(&block.leaf_hashes()) {
            txn.put(Table::Tiles, key::tile(tile.level, tile.index), tile.hashes);
        }
        txn.put(Table::Entries, key::entries(first), block.encode());
        self.progress.tree_size = self.edge.size();
        Ok(first)
    }

    /// The sequence of the next entry.
    pub(crate) fn next_sequence(&self) -> Sequence {
        Sequence(self.edge.size())
    }

    /// A revision no row has had before.
    pub(crate) fn next_revision(&mut self) -> Result<Revision, TableError> {
        let next = self.progress.revision.next().ok_or(TableError::Exhausted { what: "revision" })?;
        self.progress.revision = next;
        Ok(next)
    }
}

impl TenantFacts {
    pub(crate) fn of(tenant: &fuda_policy::Tenant) -> Self {
        Self { zone: tenant.time_zone.clone(), office_hours: tenant.office_hours.clone(), domain: tenant.key_domain }
    }
}

fn load_buckets(view: &impl View) -> Result<BTreeMap<(KeyDomainId, BucketId), BucketVersion>, TableError> {
    let mut buckets = BTreeMap::new();
    for (key, value) in view.scan(Table::Buckets, &[], None, usize::MAX)? {
        let bucket = key::bucket_of(&key).ok_or(TableError::corrupt(Table::Buckets, "key is not a bucket"))?;
        buckets.insert(bucket, crate::row::BucketRow::from_bytes(&value)?.bucket_version);
    }
    Ok(buckets)
}

/// One audited command while it is applied.
pub(crate) struct Applying<'a, T> {
    pub(crate) machine: &'a mut Machine,
    pub(crate) txn: &'a mut T,
    pub(crate) header: &'a Header,
    /// The time of the log entry, never before that of an earlier one.
    pub(crate) time: Timestamp,
    /// Canary tokens among what was presented, in the order of their entries.
    pub(crate) hits: Hits,
}

impl<T: Txn> Applying<'_, T> {
    /// The checks that every audited command passes, in this order: a command that came before returns its first
    /// outcome, whatever changed since; then the policy version, the decision's window, and that the body is what the
    /// header permits.
    fn run(mut self, body: &Body) -> Result<Outcome, TableError> {
        let bootstraps = matches!(body, Body::Bootstrap(_));
        if self.machine.vault.is_none() && !bootstraps {
            return Ok(Outcome::refused_silently(Refusal::NotBootstrapped));
        }
        if let Some(first) = self.first_outcome(body)? {
            return Ok(first);
        }
        if bootstraps && self.machine.vault.is_some() {
            return self.refuse(Refusal::AlreadyBootstrapped, Vec::new());
        }
        if self.header.policy_version != self.machine.policy_version {
            return Ok(Outcome::StalePolicy { version: self.machine.policy_version });
        }
        if !self.header.decided.contains(self.time) {
            return Ok(Outcome::Expired);
        }
        if !permits(self.header, body) {
            return self.refuse(Refusal::ActionMismatch, Vec::new());
        }
        // Policy said the same, under this very version; a defect there must not move what a person stopped.
        if self.is_frozen() {
            return self.refuse(Refusal::Frozen, Vec::new());
        }
        if let Err(refusal) = self.machine.rates.take(self.txn, self.header, self.time) {
            return self.refuse(refusal, Vec::new());
        }
        if let Err(refusal) = self.take_assertion() {
            return self.refuse(refusal, Vec::new());
        }
        match body {
            Body::Bootstrap(body) => command::bootstrap::apply(&mut self, body),
            Body::CreateTenant(body) => command::create_tenant::apply(&mut self, body),
            Body::ProposeGrants(body) => command::propose_grants::apply(&mut self, body),
            Body::ApproveGrants(body) => command::approve_grants::apply(&mut self, body),
            Body::AddMember(body) => command::add_member::apply(&mut self, body),
            Body::RemoveMember(body) => command::remove_member::apply(&mut self, body),
            Body::Tokenize(body) => command::tokenize::apply(&mut self, body),
            Body::Reveal(body) => command::reveal::apply(&mut self, body),
            Body::ReadRecords(body) => command::read_records::apply(&mut self, body),
            Body::Denied(body) => command::denied::apply(&mut self, body),
            Body::Mint(body) => command::mint::apply(&mut self, body),
            Body::UpdateNumber(body) => command::update_number::apply(&mut self, body),
            Body::Amend(body) => command::amend::apply(&mut self, body),
            Body::ProposePolicy(body) => command::propose_policy::apply(&mut self, body),
            Body::ApprovePolicy(body) => command::approve_policy::apply(&mut self, body),
            Body::ShadowPolicy(body) => command::shadow_policy::apply(&mut self, body),
            Body::Freeze(body) => command::freeze::apply(&mut self, body),
            Body::Thaw(body) => command::thaw::apply(&mut self, body),
            Body::CreateCanary(body) => command::create_canary::apply(&mut self, body),
            Body::RetireCanary(body) => command::retire_canary::apply(&mut self, body),
            Body::RequestAccess(body) => command::request_access::apply(&mut self, body),
            Body::ApproveAccess(body) => command::approve_access::apply(&mut self, body),
            Body::DenyAccess(body) => command::deny_access::apply(&mut self, body),
            Body::RevokeAccess(body) => command::revoke_access::apply(&mut self, body),
            Body::BreakGlass(body) => command::break_glass::apply(&mut self, body),
            Body::ReviewBreakGlass(body) => command::review_break_glass::apply(&mut self, body),
            Body::ConsentSubEntrust(body) => command::consent_sub_entrust::apply(&mut self, body),
            Body::ProposeCatalogueChange(body) => command::propose_catalogue_change::apply(&mut self, body),
            Body::SetTenantPurposes(body) => command::set_tenant_purposes::apply(&mut self, body),
            Body::SetTenantRecipients(body) => command::set_tenant_recipients::apply(&mut self, body),
            Body::ApprovePurposeOrder(body) => command::approve_purpose_order::apply(&mut self, body),
            Body::StartSuccession(body) => command::start_succession::apply(&mut self, body),
            Body::FinishSuccession(body) => command::finish_succession::apply(&mut self, body),
            Body::CancelSuccession(body) => command::cancel_succession::apply(&mut self, body),
            Body::OfferTransfer(body) => command::offer_transfer::apply(&mut self, body),
            Body::AcceptTransfer(body) => command::accept_transfer::apply(&mut self, body),
            Body::CancelTransfer(body) => command::cancel_transfer::apply(&mut self, body),
        }
    }

    /// Whether a freeze stops a permitted command as a whole; scopes are looked at per item.
    fn is_frozen(&self) -> bool {
        let touched = Touched {
            action: self.header.action,
            caller: &self.header.caller,
            tenant: self.header.tenant.as_ref(),
            scope: None,
            purpose: self.header.purpose.as_ref(),
        };
        self.header.denied.is_none() && self.machine.freezes.frozen().stops(&touched).is_some()
    }

    /// Uses up the end-user assertion of the call. A denial is entered whether or not its assertion was used before.
    fn take_assertion(&mut self) -> Result<(), Refusal> {
        let Some(assertion) = &self.header.assertion else { return Ok(()) };
        let taken = self.machine.assertions.take(self.txn, assertion, self.time);
        if self.header.denied.is_some() { Ok(()) } else { taken }
    }

    /// What the very same command came to when it was applied before; `None` if it was not, or if applying it again
    /// is harmless (reads are decided and entered again).
    fn first_outcome(&self, body: &Body) -> Result<Option<Outcome>, TableError> {
        match body {
            Body::Bootstrap(body) => Ok(command::bootstrap::first_outcome(self, body)),
            Body::CreateTenant(body) => command::create_tenant::first_outcome(self, body),
            Body::ProposeGrants(body) => command::propose_grants::first_outcome(self, body),
            Body::ApproveGrants(body) => command::approve_grants::first_outcome(self, body),
            Body::AddMember(body) => command::add_member::first_outcome(self, body),
            Body::RemoveMember(body) => command::remove_member::first_outcome(self, body),
            Body::Tokenize(body) => command::tokenize::first_outcome(self, body),
            Body::Mint(body) => command::mint::first_outcome(self, body),
            Body::UpdateNumber(body) => command::update_number::first_outcome(self, body),
            Body::ProposePolicy(body) => command::propose_policy::first_outcome(self, body),
            Body::ApprovePolicy(body) => command::approve_policy::first_outcome(self, body),
            Body::ShadowPolicy(body) => command::shadow_policy::first_outcome(self, body),
            Body::Freeze(body) => Ok(command::freeze::first_outcome(self, body)),
            Body::Thaw(body) => Ok(command::thaw::first_outcome(self, body)),
            Body::CreateCanary(body) => Ok(command::create_canary::first_outcome(self, body)),
            Body::RetireCanary(body) => Ok(command::retire_canary::first_outcome(self, body)),
            Body::RequestAccess(body) => command::request_access::first_outcome(self, body),
            Body::ApproveAccess(body) => command::approve_access::first_outcome(self, body),
            Body::DenyAccess(body) => command::deny_access::first_outcome(self, body),
            Body::RevokeAccess(body) => command::revoke_access::first_outcome(self, body),
            Body::BreakGlass(body) => command::break_glass::first_outcome(self, body),
            Body::ReviewBreakGlass(body) => command::review_break_glass::first_outcome(self, body),
            Body::ConsentSubEntrust(body) => command::consent_sub_entrust::first_outcome(self, body),
            Body::StartSuccession(body) => command::start_succession::first_outcome(self, body),
            Body::FinishSuccession(body) => command::finish_succession::first_outcome(self, body),
            Body::CancelSuccession(body) => command::cancel_succession::first_outcome(self, body),
            Body::OfferTransfer(body) => command::offer_transfer::first_outcome(self, body),
            Body::AcceptTransfer(body) => command::accept_transfer::first_outcome(self, body),
            Body::CancelTransfer(body) => command::cancel_transfer::first_outcome(self, body),
            Body::ProposeCatalogueChange(body) => command::propose_catalogue_change::first_outcome(self, body),
            Body::SetTenantPurposes(body) => command::set_tenant_purposes::first_outcome(self, body),
            Body::SetTenantRecipients(body) => command::set_tenant_recipients::first_outcome(self, body),
            Body::ApprovePurposeOrder(body) => command::approve_purpose_order::first_outcome(self, body),
            Body::Amend(_) | Body::Reveal(_) | Body::ReadRecords(_) | Body::Denied(_) => Ok(None),
        }
    }

    /// Counts a denial. Whether it makes no entry of its own.
    pub(crate) fn folds(&mut self, reason: DenyReason) -> bool {
        let known = self.tenant_is_known();
        self.machine.folds.takes(Sort::denied(self.header, known, reason), self.header, self.time)
    }

    fn tenant_is_known(&self) -> bool {
        self.header.tenant.as_ref().is_some_and(|tenant| self.machine.tenants.contains_key(tenant))
    }

    /// The sequence of the next entry.
    pub(crate) fn next_sequence(&self) -> Sequence {
        self.machine.next_sequence()
    }

    /// Appends the command's entries; their sequences count up from [`Applying::next_sequence`].
    pub(crate) fn append(&mut self, mut items: Vec<EntryItem>) -> Result<Sequence, TableError> {
        let leaked = canaries::report(self, &mut items)?;
        let machine = &mut *self.machine;
        let tenant = self.header.tenant.as_ref().and_then(|tenant| machine.tenants.get(tenant));
        machine.watch.look(self.txn, self.header, tenant, self.time, &mut items);
        let common = Common::from_header(self.header, self.time);
        self.machine.append_block(self.txn, common, items, &leaked)
    }

    /// Appends an entry of the command for another tenant than its own: who acted, for what, and nothing else that the
    /// caller said or proved.
    pub(crate) fn append_for(&mut self, tenant: &TenantId, item: EntryItem) -> Result<(), TableError> {
        let common = Common {
            tenant: Some(tenant.clone()),
            end_user: None,
            work_reference: None,
            policy_ids: Vec::new(),
            grant: None,
            job: None,
            credential: None,
            source_zone: None,
            ..Common::from_header(self.header, self.time)
        };
        self.machine.append_block(self.txn, common, vec![item], &Leaks::new())?;
        Ok(())
    }

    /// Appends the one entry of a carried-out command about one thing.
    pub(crate) fn append_allowed(&mut self, detail: Vec<Detail>) -> Result<Sequence, TableError> {
        let item = EntryItem { detail, ..EntryItem::allowed(self.next_sequence()) };
        self.append(vec![item])
    }

    /// Refuses the whole command with a denial entry that names the refusal beside `detail`; one of many is counted.
    pub(crate) fn refuse(&mut self, refusal: Refusal, mut detail: Vec<Detail>) -> Result<Outcome, TableError> {
        let sort = Sort::refused(self.header, self.tenant_is_known(), refusal);
        if self.machine.folds.takes(sort, self.header, self.time) {
            return Ok(Outcome::refused_silently(refusal));
        }
        detail.push(Detail::new(DetailKey::Refusal, refusal.code()));
        let denied = EntryItem::new(self.next_sequence(), fuda_ledger::Decision::Denied);
        let item = EntryItem { reason: refusal.deny_reason(), detail, ..denied };
        let sequence = self.append(vec![item])?;
        Ok(Outcome::Refused { refusal, sequence: Some(sequence) })
    }

    /// This act, as rows remember who made them; its entry is the next one.
    pub(crate) fn act(&self) -> Act {
        Act {
            caller: self.header.caller.clone(),
            request: self.header.request_id,
            sequence: self.next_sequence(),
            time: self.time,
        }
    }

    /// Whether `act` is of this command's caller and request.
    pub(crate) fn is_same_act(&self, act: &Act) -> bool {
        act.caller == self.header.caller && act.request == self.header.request_id
    }

    /// Writes a row.
    pub(crate) fn put<R: Row>(&mut self, key: Vec<u8>, row: &R) {
        self.txn.put(R::TABLE, key, row.to_bytes());
    }

    /// Raises the policy version: nodes decide anew, and commands decided before become stale.
    pub(crate) fn raise_policy_version(&mut self) -> Result<PolicyVersion, TableError> {
        let next = self.machine.policy_version.next().ok_or(TableError::Exhausted { what: "policy version" })?;
        self.machine.policy_version = next;
        self.put(key::meta(Meta::PolicyVersion), &PolicyVersionRow { version: next });
        Ok(next)
    }

    /// The grants in force, in the order of their ids.
    pub(crate) fn grants(&self) -> Result<Vec<Grant>, TableError> {
        Ok(reader::grants(&*self.txn)?.into_iter().map(|row| row.grant).collect())
    }

    /// The purpose catalogue in force.
    pub(crate) fn catalogue(&self) -> Result<Catalogue, TableError> {
        let row = reader::meta::<crate::row::CatalogueRow>(&*self.txn, Meta::Catalogue)?;
        row.map(|row| row.catalogue).ok_or(TableError::corrupt(Table::Meta, "no catalogue"))
    }
}

/// Whether the header's action is the body's, and a denial stays a denial.
fn permits(header: &Header, body: &Body) -> bool {
    let action = header.action;
    let fits = match body {
        Body::Denied(body) => return header.denied == Some(body.reason),
        Body::Bootstrap(_) => action == Action::Bootstrap,
        Body::CreateTenant(_) => action == Action::CreateTenant,
        Body::ProposeGrants(_) => action == Action::ProposeGrants,
        Body::ApproveGrants(_) => action == Action::ApproveGrants,
        Body::AddMember(_) => action == Action::AddMember,
        Body::RemoveMember(_) => action == Action::RemoveMember,
        Body::Tokenize(_) => action == Action::Tokenize,
        Body::ProposePolicy(_) => action == Action::ProposePolicy,
        Body::ApprovePolicy(_) => action == Action::ApprovePolicy,
        Body::ShadowPolicy(_) => action == Action::ShadowPolicy,
        Body::Freeze(_) => action == Action::Freeze,
        Body::Thaw(_) => action == Action::Thaw,
        Body::CreateCanary(_) => action == Action::CreateCanary,
        Body::RetireCanary(_) => action == Action::RetireCanary,
        Body::RequestAccess(_) => action == Action::RequestAccess,
        Body::ApproveAccess(_) => action == Action::ApproveAccess,
        Body::DenyAccess(_) => action == Action::DenyAccess,
        Body::RevokeAccess(_) => action == Action::RevokeAccess,
        Body::BreakGlass(_) => action == Action::BreakGlass,
        Body::ReviewBreakGlass(_) => action == Action::ReviewBreakGlass,
        Body::ConsentSubEntrust(_) => action == Action::ConsentSubEntrust,
        Body::ProposeCatalogueChange(_) => action == Action::ProposeCatalogueChange,
        Body::SetTenantPurposes(_) => action == Action::SetTenantPurposes,
        Body::SetTenantRecipients(_) => action == Action::SetTenantRecipients,
        Body::ApprovePurposeOrder(_) => action == Action::ApprovePurposeOrder,
        Body::StartSuccession(_) => action == Action::StartSuccession,
        Body::FinishSuccession(_) => action == Action::FinishSuccession,
        Body::CancelSuccession(_) => action == Action::CancelSuccession,
        Body::OfferTransfer(_) => action == Action::OfferTransfer,
        Body::AcceptTransfer(_) => action == Action::AcceptTransfer,
        Body::CancelTransfer(_) => action == Action::CancelTransfer,
        Body::Reveal(_) => {
            matches!(
                action,
                Action::Detokenize | Action::VerifyNumber | Action::DescribeToken | Action::RevealMasked | Action::Seal
            )
        }
        Body::Mint(_) => matches!(action, Action::Exchange | Action::Rotate),
        Body::UpdateNumber(_) => action == Action::UpdateNumber,
        Body::Amend(_) => {
            matches!(action, Action::Disable | Action::Enable | Action::Supersede | Action::AddNotice)
        }
        Body::ReadRecords(_) => matches!(
            action,
            Action::GetRecord
                | Action::ListRecords
                | Action::GetTenant
                | Action::ListGrants
                | Action::ReadLedger
                | Action::ClusterStatus
                | Action::ListFreezes
                | Action::ListCanaries
        ),
    };
    fits && header.denied.is_none()
}
