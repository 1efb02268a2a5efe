//! Reads for nodes: what they need to decide a call, to answer it, and to serve the ledger, over any [`View`].
//!
//! Nothing here decides. A node decides on what it reads, the command carries the revisions it read, and apply checks
//! them: so reads need not be of one moment, except where one row holds all that belongs together.

use std::cell::RefCell;

use fuda_core::{KeyDomainId, Kind, LookupKey, RecordId, RecordVersion, Sequence, SubjectRef, TenantId};
use fuda_ledger::tree::{Edge, Hash, StoredTiles, TILE_WIDTH, TileReader};
use fuda_ledger::{Block, Entry, tree};
use fuda_policy::{GrantId, PolicyData};

use crate::canaries::CanaryRow;
use crate::freezes::FreezesRow;
use crate::key::{self, Meta};
use crate::row::{
    BucketRow, CatalogueRow, DenialRow, GrantRow, MembersRow, OrderRow, PolicyCandidateRow, PolicyOrderRow,
    PolicyTextRow, PolicyTextVersionRow, PolicyVersionRow, ProgressRow, PurposeOrderPlaceRow, PurposeOrderRow,
    RecordRow, Row, SubjectRow, TenantRow, TokenRow, TokenWrapRow, VaultRow, VersionRow,
};
use crate::{NodeId, OrderId, Table, TableError, TextVersion, View, retention};

/// Blocks read at once when entries are streamed.
const BLOCKS_AT_ONCE: usize = 64;

/// A fact of the `meta` table.
///
/// # Errors
/// [`TableError`] if it cannot be read.
pub fn meta<R: Row>(view: &impl View, fact: Meta) -> Result<Option<R>, TableError> {
    row(view, &key::meta(fact))
}

/// Facts of the vault; `None` before bootstrap.
///
/// # Errors
/// [`TableError`] if they cannot be read.
pub fn vault(view: &impl View) -> Result<Option<VaultRow>, TableError> {
    meta(view, Meta::Vault)
}

/// The time of the last applied command and the size of the ledger.
///
/// # Errors
/// [`TableError`] if they cannot be read.
pub fn progress(view: &impl View) -> Result<ProgressRow, TableError> {
    Ok(meta(view, Meta::Progress)?.unwrap_or_default())
}

/// All members, past ones included; none before bootstrap.
///
/// # Errors
/// [`TableError`] if they cannot be read.
pub fn members(view: &impl View) -> Result<MembersRow, TableError> {
    let none = MembersRow { next_node_id: NodeId::FIRST, members: Vec::new() };
    Ok(meta(view, Meta::Members)?.unwrap_or(none))
}

/// Everything a decision depends on, for [`fuda_policy::Policy::build`]; `None` before bootstrap.
///
/// The version is read first and last: over a live store a commit in between makes it read again.
///
/// # Errors
/// [`TableError`] if the tables cannot be read.
pub fn policy_data(view: &impl View) -> Result<Option<PolicyData>, TableError> {
    loop {
        let Some(PolicyVersionRow { version }) = meta(view, Meta::PolicyVersion)? else {
            return Ok(None);
        };
        let text = meta::<PolicyTextRow>(view, Meta::PolicyText)?;
        let text = text.ok_or(TableError::corrupt(Table::Meta, "no policy text"))?.text;
        let catalogue = meta::<CatalogueRow>(view, Meta::Catalogue)?;
        let catalogue = catalogue.ok_or(TableError::corrupt(Table::Meta, "no catalogue"))?.catalogue;
        let tenants = tenants(view)?.into_iter().map(|row| row.tenant).collect();
        let grants = grants(view)?.into_iter().map(|row| row.grant).collect();
        let freezes = freezes(view)?.freezes.into_iter().map(|freeze| freeze.target).collect();
        let after = meta::<PolicyVersionRow>(view, Meta::PolicyVersion)?;
        if after.is_some_and(|after| after.version == version) {
            return Ok(Some(PolicyData { version, text, tenants, grants, catalogue, freezes }));
        }
    }
}

/// What is frozen, and the last thaws.
///
/// # Errors
/// [`TableError`] if it cannot be read.
pub fn freezes(view: &impl View) -> Result<FreezesRow, TableError> {
    Ok(meta(view, Meta::Freezes)?.unwrap_or_default())
}

/// All canary tokens that are kept, retired ones included, in the order in which they were planted. At most
/// [`fuda_core::limits::CANARIES_PER_VAULT_MAX`].
///
/// # Errors
/// [`TableError`] if they cannot be read.
pub fn canaries(view: &impl View) -> Result<Vec<CanaryRow>, TableError> {
    let (from, to) = key::canary_range();
    let mut found: Vec<CanaryRow> = rows(view, &from, Some(&to), usize::MAX)?;
    found.sort_by_key(|row| row.planted.sequence);
    Ok(found)
}

/// The canary tokens among these, in their order. One batched read.
///
/// # Errors
/// [`TableError`] if they cannot be read.
pub fn canaries_among(view: &impl View, lookups: &[LookupKey]) -> Result<Vec<LookupKey>, TableError> {
    if lookups.is_empty() {
        return Ok(Vec::new());
    }
    let keys: Vec<Vec<u8>> = lookups.iter().map(key::canary).collect();
    let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
    let found = multi::<CanaryRow>(view, &keys)?;
    Ok(lookups.iter().zip(found).filter(|(_, found)| found.is_some()).map(|(lookup, _)| *lookup).collect())
}

/// The version of the policy text in force; [`TextVersion::FIRST`] before any change.
///
/// # Errors
/// [`TableError`] if it cannot be read.
pub fn policy_text_version(view: &impl View) -> Result<TextVersion, TableError> {
    Ok(policy_texts(view)?.last().map_or(TextVersion::FIRST, |row| row.version))
}

/// The kept versions of the policy text, in their order. At most
/// [`crate::command::approve_policy::POLICY_TEXTS_KEPT_MAX`].
///
/// # Errors
/// [`TableError`] if they cannot be read.
pub fn policy_texts(view: &impl View) -> Result<Vec<PolicyTextVersionRow>, TableError> {
    let from = key::meta(Meta::PolicyTexts);
    rows(view, &from, key::prefix_end(&from).as_deref(), usize::MAX)
}

/// One kept version of the policy text.
///
/// # Errors
/// [`TableError`] if it cannot be read.
pub fn policy_text(view: &impl View, version: TextVersion) -> Result<Option<PolicyTextVersionRow>, TableError> {
    row(view, &key::policy_text(version))
}

/// The proposed policy texts, approved ones included, by id.
///
/// # Errors
/// [`TableError`] if they cannot be read.
pub fn policy_orders(view: &impl View) -> Result<Vec<PolicyOrderRow>, TableError> {
    let from = key::meta(Meta::PolicyOrders);
    rows(view, &from, key::prefix_end(&from).as_deref(), usize::MAX)
}

/// A proposed policy text.
///
/// # Errors
/// [`TableError`] if it cannot be read.
pub fn policy_order(view: &impl View, order: OrderId) -> Result<Option<PolicyOrderRow>, TableError> {
    row(view, &key::policy_order(order))
}

/// The first entry of the newest command that denied anything of a request; `None` when nothing of it was denied.
///
/// # Errors
/// [`TableError`] if it cannot be read.
pub fn denial(view: &impl View, request: fuda_core::RequestId) -> Result<Option<Sequence>, TableError> {
    Ok(row::<DenialRow>(view, &key::denial(request))?.map(|row| row.first))
}

/// The candidate policy text, if one is set.
///
/// # Errors
/// [`TableError`] if it cannot be read.
pub fn policy_candidate(view: &impl View) -> Result<Option<PolicyCandidateRow>, TableError> {
    meta(view, Meta::PolicyCandidate)
}

/// All tenants, by id. At most [`fuda_core::limits::TENANTS_PER_VAULT_MAX`].
///
/// # Errors
/// [`TableError`] if they cannot be read.
pub fn tenants(view: &impl View) -> Result<Vec<TenantRow>, TableError> {
    rows(view, &[], None, usize::MAX)
}

/// A tenant.
///
/// # Errors
/// [`TableError`] if it cannot be read.
pub fn tenant(view: &impl View, tenant: &TenantId) -> Result<Option<TenantRow>, TableError> {
    row(view, &key::tenant(tenant))
}

/// All grants in force, by id. At most [`crate::command::propose_grants::GRANTS_PER_VAULT_MAX`].
///
/// # Errors
/// [`TableError`] if they cannot be read.
pub fn grants(view: &impl View) -> Result<Vec<GrantRow>, TableError> {
    rows(view, &[], None, usize::MAX)
}

/// A grant.
///
/// # Errors
/// [`TableError`] if it cannot be read.
pub fn grant(view: &impl View, grant: GrantId) -> Result<Option<GrantRow>, TableError> {
    row(view, &key::grant(grant))
}

/// An order.
///
/// # Errors
/// [`TableError`] if it cannot be read.
pub fn order(view: &impl View, order: OrderId) -> Result<Option<OrderRow>, TableError> {
    row(view, &key::order(order))
}

/// Up to `limit` orders behind `after`, by id.
///
/// # Errors
/// [`TableError`] if they cannot be read.
pub fn orders(view: &impl View, after: Option<OrderId>, limit: usize) -> Result<Vec<OrderRow>, TableError> {
    let from = after.map_or(Vec::new(), |order| behind(key::order(order)));
    rows(view, &from, None, limit)
}

/// A change of purposes.
///
/// # Errors
/// [`TableError`] if it cannot be read.
pub fn purpose_order(view: &impl View, order: OrderId) -> Result<Option<PurposeOrderRow>, TableError> {
    match row::<PurposeOrderPlaceRow>(view, &key::purpose_order_place(order))? {
        Some(place) => row(view, &key::purpose_order(place.proposed)),
        None => Ok(None),
    }
}

/// Up to `limit` changes of purposes proposed behind `after`, oldest first.
///
/// # Errors
/// [`TableError`] if they cannot be read.
pub fn purpose_orders(
    view: &impl View,
    after: Option<Sequence>,
    limit: usize,
) -> Result<Vec<PurposeOrderRow>, TableError> {
    let from = after.map_or(key::meta(Meta::PurposeOrders), |after| behind(key::purpose_order(after)));
    rows(view, &from, Some(&key::meta(Meta::PurposeOrderPlaces)), limit)
}

/// All buckets of a key domain, by number.
///
/// # Errors
/// [`TableError`] if they cannot be read.
pub fn buckets(view: &impl View, domain: KeyDomainId) -> Result<Vec<(fuda_core::BucketId, BucketRow)>, TableError> {
    let from = domain.get().to_be_bytes();
    let to = domain.next().map(|next| next.get().to_be_bytes());
    let rows = view.scan(Table::Buckets, &from, to.as_ref().map(<[u8; 4]>::as_slice), usize::MAX)?;
    let read = |(key, value): (Vec<u8>, Vec<u8>)| {
        let (_, bucket) = key::bucket_of(&key).ok_or(TableError::corrupt(Table::Buckets, "key is not a bucket"))?;
        Ok((bucket, BucketRow::from_bytes(&value)?))
    };
    rows.into_iter().map(read).collect()
}

/// What a node decides about a token on.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenFacts {
    /// The token's row, whose revision the command must carry.
    pub token: TokenRow,
    /// The record's row.
    pub record: RecordRow,
}

/// The facts of each token, in order; `None` where no token has the lookup key. Two batched reads.
///
/// A record that moved between the two reads shows another revision; its facts are left out then (`None` of the
/// record would look like an unknown token, which apply answers with Stale).
///
/// # Errors
/// [`TableError`] if they cannot be read.
pub fn token_facts(view: &impl View, lookups: &[LookupKey]) -> Result<Vec<Option<TokenFacts>>, TableError> {
    let keys: Vec<&[u8]> = lookups.iter().map(|lookup| lookup.as_bytes().as_slice()).collect();
    let tokens: Vec<Option<TokenRow>> = multi(view, &keys)?;
    let keys: Vec<_> = tokens.iter().flatten().map(|token| key::record(&token.tenant, token.record)).collect();
    let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
    let mut records = multi::<RecordRow>(view, &keys)?.into_iter();
    let facts = tokens.into_iter().map(|token| {
        let token = token?;
        let record = records.next().flatten()?;
        (record.revision == token.revision).then_some(TokenFacts { token, record })
    });
    Ok(facts.collect())
}

/// The sealed rows that open one record with one token.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedRows {
    /// The record key under the token.
    pub token: TokenWrapRow,
    /// The version's key under the record key, and the number under it.
    pub version: VersionRow,
}

/// Names the sealed rows of a token: its lookup key, its tenant and record, and the version to read.
#[derive(Clone, Copy)]
pub struct SealedKey<'a> {
    /// The token.
    pub lookup: &'a LookupKey,
    /// The record's tenant.
    pub tenant: &'a TenantId,
    /// The record.
    pub record: RecordId,
    /// The version of its number.
    pub version: RecordVersion,
}

/// The sealed rows of each token, in order; `None` where one of them is gone. Two batched reads.
///
/// # Errors
/// [`TableError`] if they cannot be read.
pub fn sealed_rows(view: &impl View, keys: &[SealedKey<'_>]) -> Result<Vec<Option<SealedRows>>, TableError> {
    let lookups: Vec<&[u8]> = keys.iter().map(|key| key.lookup.as_bytes().as_slice()).collect();
    let tokens = multi::<TokenWrapRow>(view, &lookups)?;
    let versions: Vec<_> = keys.iter().map(|key| key::version(key.tenant, key.record, key.version)).collect();
    let versions: Vec<&[u8]> = versions.iter().map(Vec::as_slice).collect();
    let versions = multi::<VersionRow>(view, &versions)?;
    let both = tokens.into_iter().zip(versions);
    Ok(both.map(|(token, version)| Some(SealedRows { token: token?, version: version? })).collect())
}

/// One version of a record's number, sealed.
///
/// # Errors
/// [`TableError`] if it cannot be read.
pub fn version(
    view: &impl View,
    tenant: &TenantId,
    record: RecordId,
    version: RecordVersion,
) -> Result<Option<VersionRow>, TableError> {
    row(view, &key::version(tenant, record, version))
}

/// The record key under each token, in order; `None` where the token is gone. One batched read.
///
/// # Errors
/// [`TableError`] if they cannot be read.
pub fn token_wraps(view: &impl View, lookups: &[LookupKey]) -> Result<Vec<Option<TokenWrapRow>>, TableError> {
    let keys: Vec<&[u8]> = lookups.iter().map(|lookup| lookup.as_bytes().as_slice()).collect();
    multi(view, &keys)
}

/// A record.
///
/// # Errors
/// [`TableError`] if it cannot be read.
pub fn record(view: &impl View, tenant: &TenantId, record: RecordId) -> Result<Option<RecordRow>, TableError> {
    row(view, &key::record(tenant, record))
}

/// The live record of a subject and kind.
///
/// # Errors
/// [`TableError`] if it cannot be read.
pub fn record_of(
    view: &impl View,
    tenant: &TenantId,
    subject: &SubjectRef,
    kind: Kind,
) -> Result<Option<RecordRow>, TableError> {
    let Some(found) = row::<SubjectRow>(view, &key::subject(tenant, subject, kind))? else {
        return Ok(None);
    };
    record(view, tenant, found.record)
}

/// The live records of a subject, one per kind.
///
/// # Errors
/// [`TableError`] if they cannot be read.
pub fn records_of(view: &impl View, tenant: &TenantId, subject: &SubjectRef) -> Result<Vec<RecordRow>, TableError> {
    let (from, to) = key::subject_range(tenant, subject);
    records_in(view, tenant, &from, Some(&to), usize::MAX)
}

/// Up to `limit` live records of the tenant whose subject begins with `prefix` (which may be empty), by subject and
/// kind, behind the record of `after`.
///
/// # Errors
/// [`TableError`] if they cannot be read.
pub fn list_records(
    view: &impl View,
    tenant: &TenantId,
    prefix: &str,
    after: Option<(&SubjectRef, Kind)>,
    limit: usize,
) -> Result<Vec<RecordRow>, TableError> {
    let first = key::subject_prefix(tenant, prefix);
    let to = key::prefix_end(&first);
    let from = match after {
        Some((subject, kind)) => behind(key::subject(tenant, subject, kind)).max(first),
        None => first,
    };
    records_in(view, tenant, &from, to.as_deref(), limit)
}

fn records_in(
    view: &impl View,
    tenant: &TenantId,
    from: &[u8],
    to: Option<&[u8]>,
    limit: usize,
) -> Result<Vec<RecordRow>, TableError> {
    let found: Vec<SubjectRow> = rows(view, from, to, limit)?;
    let keys: Vec<_> = found.iter().map(|row| key::record(tenant, row.record)).collect();
    let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
    Ok(multi(view, &keys)?.into_iter().flatten().collect())
}

/// The block that holds the entry at `sequence`; `None` behind the end of the ledger, and in front of
/// [`retention::first_kept`].
///
/// # Errors
/// [`TableError`] if it cannot be read.
pub fn block_containing(view: &impl View, sequence: Sequence) -> Result<Option<Block>, TableError> {
    let exact = view.get(Table::Entries, &key::entries(sequence))?;
    let value = match exact {
        Some(value) => Some(value),
        // Where everything was removed, the nearest row before it would be looked for among all the removed ones.
        None if sequence < retention::first_kept(view)? => None,
        None => view.last_before(Table::Entries, &key::entries(sequence))?.map(|(_, value)| value),
    };
    let block = value.map(|bytes| block(&bytes)).transpose()?;
    Ok(block.filter(|block| sequence.get() - block.first().get() < block.len() as u64))
}

/// The entry at `sequence`; `None` behind the end of the ledger, and in front of [`retention::first_kept`].
///
/// # Errors
/// [`TableError`] if it cannot be read.
pub fn entry(view: &impl View, sequence: Sequence) -> Result<Option<Entry>, TableError> {
    let block = block_containing(view, sequence)?;
    Ok(block.and_then(|block| {
        let place = sequence.get().checked_sub(block.first().get())?;
        block.entry(usize::try_from(place).ok()?)
    }))
}

/// Whole blocks from the one that holds `sequence`, until their stored bytes reach `bytes_max` or the ledger ends. At
/// least one block if there is any; never any behind a gap, also while entries are pruned.
///
/// # Errors
/// [`TableError`] if they cannot be read.
pub fn blocks_from(view: &impl View, sequence: Sequence, bytes_max: usize) -> Result<Vec<Block>, TableError> {
    let Some(first) = block_containing(view, sequence)? else {
        return Ok(Vec::new());
    };
    let mut blocks = Vec::new();
    let mut bytes = 0_usize;
    let mut next = first.first();
    let mut from = key::entries(next);
    loop {
        let rows = view.scan(Table::Entries, &from, None, BLOCKS_AT_ONCE)?;
        let Some((last, _)) = rows.last() else { return Ok(blocks) };
        from = behind(last.clone());
        for (_, value) in &rows {
            bytes = bytes.saturating_add(value.len());
            if bytes > bytes_max && !blocks.is_empty() {
                return Ok(blocks);
            }
            let block = block(value)?;
            if block.first() != next {
                return Ok(blocks);
            }
            next = Sequence(next.get().saturating_add(block.len() as u64));
            blocks.push(block);
        }
    }
}

/// A stored checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredCheckpoint {
    /// The tree size it signs.
    pub size: u64,
    /// The signed note.
    pub note: Vec<u8>,
}

/// The newest checkpoint.
///
/// # Errors
/// [`TableError`] if it cannot be read.
pub fn latest_checkpoint(view: &impl View) -> Result<Option<StoredCheckpoint>, TableError> {
    checkpoint_before(view, u64::MAX)
}

/// The newest checkpoint of a size below `size`.
///
/// # Errors
/// [`TableError`] if it cannot be read.
pub fn checkpoint_before(view: &impl View, size: u64) -> Result<Option<StoredCheckpoint>, TableError> {
    checkpoint(view.last_before(Table::Checkpoints, &key::checkpoint(size))?)
}

/// The oldest checkpoint that covers the entry at `sequence`.
///
/// # Errors
/// [`TableError`] if it cannot be read.
pub fn checkpoint_covering(view: &impl View, sequence: Sequence) -> Result<Option<StoredCheckpoint>, TableError> {
    let from = key::checkpoint(sequence.get().saturating_add(1));
    checkpoint(view.scan(Table::Checkpoints, &from, None, 1)?.into_iter().next())
}

fn checkpoint(pair: Option<(Vec<u8>, Vec<u8>)>) -> Result<Option<StoredCheckpoint>, TableError> {
    let stored = |(key, note): (Vec<u8>, Vec<u8>)| {
        let size = key::number_of(&key).ok_or(TableError::corrupt(Table::Checkpoints, "key is not a size"))?;
        Ok(StoredCheckpoint { size, note })
    };
    pair.map(stored).transpose()
}

/// Serves the full tiles of the `tiles` table. A failed read looks like a missing tile to the tree;
/// [`StoredFullTiles::checked`] then brings the failure back.
pub struct StoredFullTiles<'a, V: ?Sized> {
    view: &'a V,
    failed: RefCell<Option<TableError>>,
}

impl<'a, V: View + ?Sized> StoredFullTiles<'a, V> {
    /// The full tiles of `view`.
    pub fn new(view: &'a V) -> Self {
        Self { view, failed: RefCell::new(None) }
    }

    /// What the tree computed from these tiles, or the reason why it could not.
    ///
    /// # Errors
    /// The failed read, or [`TableError::Corrupt`] if a tile that must exist does not.
    pub fn checked<T>(self, computed: Result<T, fuda_ledger::Error>) -> Result<T, TableError> {
        let failed = self.failed.into_inner();
        computed.map_err(|_| failed.unwrap_or(TableError::corrupt(Table::Tiles, "the tree lacks a tile")))
    }
}

impl<V: View + ?Sized> TileReader for StoredFullTiles<'_, V> {
    fn tile(&self, level: u8, index: u64, width: u16) -> Option<Vec<u8>> {
        debug_assert!(width <= TILE_WIDTH);
        match self.view.get(Table::Tiles, &key::tile(level, index)) {
            Ok(tile) => tile,
            Err(error) => {
                self.failed.borrow_mut().get_or_insert(error);
                None
            }
        }
    }
}

/// The right edge of the tree over the first `size` entries.
///
/// # Errors
/// [`TableError`] if tiles or entries cannot be read or are missing.
pub fn edge(view: &impl View, size: u64) -> Result<Edge, TableError> {
    let tail = tail(view, size)?;
    let full = StoredFullTiles::new(view);
    let edge = Edge::restore(size, &full, &tail);
    full.checked(edge)
}

/// The leaf hash of the entry at `sequence`, also when the entry was pruned; `None` behind the end of the ledger.
///
/// # Errors
/// [`TableError`] if tiles or entries cannot be read.
pub fn leaf_hash(view: &impl View, sequence: Sequence) -> Result<Option<Hash>, TableError> {
    let width = u64::from(TILE_WIDTH);
    let place = usize::try_from(sequence.get() % width).unwrap_or(usize::MAX);
    match view.get(Table::Tiles, &key::tile(0, sequence.get() / width))? {
        Some(tile) => Ok(tile.as_chunks().0.get(place).copied()),
        None => Ok(entry(view, sequence)?.map(|entry| entry.leaf_hash())),
    }
}

/// Proves that the entry at `sequence` is in the tree of the first `size` entries.
///
/// # Errors
/// [`TableError`] if tiles or entries cannot be read, or the tree is not that large.
pub fn inclusion_proof(view: &impl View, sequence: Sequence, size: u64) -> Result<Vec<Hash>, TableError> {
    let tail = tail(view, size)?;
    let full = StoredFullTiles::new(view);
    let proof = tree::inclusion_proof(sequence.get(), size, &StoredTiles::new(size, &full, &tail));
    full.checked(proof)
}

/// Proves that the tree of the first `new` entries extends that of the first `old`.
///
/// # Errors
/// [`TableError`] if tiles or entries cannot be read, or the tree is not that large.
pub fn consistency_proof(view: &impl View, old: u64, new: u64) -> Result<Vec<Hash>, TableError> {
    let tail = tail(view, new)?;
    let full = StoredFullTiles::new(view);
    let proof = tree::consistency_proof(old, new, &StoredTiles::new(new, &full, &tail));
    full.checked(proof)
}

/// The leaf hashes behind the last full tile of a tree of `size`.
fn tail(view: &impl View, size: u64) -> Result<Vec<Hash>, TableError> {
    const MISSING: TableError = TableError::corrupt(Table::Entries, "the ledger lacks an entry");
    let width = size % u64::from(TILE_WIDTH);
    // The ledger may have filled this tile since.
    if let Some(tile) = view.get(Table::Tiles, &key::tile(0, size / u64::from(TILE_WIDTH)))? {
        return Ok(tile.as_chunks().0.iter().copied().take(usize::try_from(width).unwrap_or_default()).collect());
    }
    let mut next = size - width;
    let mut tail = Vec::with_capacity(usize::from(TILE_WIDTH));
    while next < size {
        let block = block_containing(view, Sequence(next))?.ok_or(MISSING)?;
        let skip = usize::try_from(next - block.first().get()).map_err(|_| MISSING)?;
        let take = usize::try_from(size - next).map_err(|_| MISSING)?;
        tail.extend(block.leaf_hashes().into_iter().skip(skip).take(take));
        next = block.first().get() + block.len() as u64;
    }
    Ok(tail)
}

fn block(bytes: &[u8]) -> Result<Block, TableError> {
    Block::decode(bytes).map_err(|_| TableError::corrupt(Table::Entries, "value is not a block of entries"))
}

fn row<R: Row>(view: &impl View, key: &[u8]) -> Result<Option<R>, TableError> {
    view.get(R::TABLE, key)?.map(|bytes| R::from_bytes(&bytes)).transpose()
}

fn rows<R: Row>(view: &impl View, from: &[u8], to: Option<&[u8]>, limit: usize) -> Result<Vec<R>, TableError> {
    let pairs = view.scan(R::TABLE, from, to, limit)?;
    pairs.iter().map(|(_, bytes)| R::from_bytes(bytes)).collect()
}

fn multi<R: Row>(view: &impl View, keys: &[&[u8]]) -> Result<Vec<Option<R>>, TableError> {
    let values = view.multi_get(R::TABLE, keys)?;
    values.into_iter().map(|value| value.map(|bytes| R::from_bytes(&bytes)).transpose()).collect()
}

/// The smallest key behind `key`.
fn behind(mut key: Vec<u8>) -> Vec<u8> {
    key.push(0);
    key
}
