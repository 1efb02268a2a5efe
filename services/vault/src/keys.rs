//! The keys of this node: sealed until a custodian opened the root, unsealed afterwards.
//!
//! ```text
//! state: bucket table, sealed ledger key ──┐
//! custodian: root E_v ─────────────────────┴─▶ arena: root, bucket keys      signing key of the ledger
//! ```

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use fuda_core::{Code, KeyDomainId, RootVersion, TokenClass, VaultId};
use fuda_crypto::{
    KeyArena, Keyring, OsRandom, Pool, RootContext, RootKey, SealedBucketRow, SigningKey, new_bucket_table,
    open_secret, seal_secret,
};
use fuda_custodian::Custodian;
use fuda_state::reader;
use fuda_storage::Store;
use tokio::sync::watch;
use zeroize::Zeroizing;

use crate::refusal::Refusal;

/// Buckets of the shared key domain.
pub(crate) use fuda_core::limits::SHARED_BUCKETS;
/// Room for two bucket tables (a shred holds the old and the new one) and a handful of roots.
const ARENA_SLOTS: usize = 2 * SHARED_BUCKETS as usize + 64;
const FIRST_ROOT: RootVersion = RootVersion(1);
/// Name under which the ledger's signing key is sealed beneath the root.
const LEDGER_KEY: &str = "ledger-signing-key";

/// What an unsealed node can do.
pub(crate) struct Unsealed {
    pub(crate) vault: VaultId,
    pub(crate) class: TokenClass,
    pub(crate) origin: String,
    pub(crate) ring: Keyring,
    pub(crate) buckets: u16,
    pub(crate) ledger_key: SigningKey,
}

/// The keys of this node.
pub(crate) struct Keys {
    custodian: Arc<dyn Custodian>,
    arena: Arc<KeyArena>,
    unsealed: ArcSwapOption<Unsealed>,
    changed: watch::Sender<bool>,
}

/// What a new vault starts with; the root itself is at the custodian already.
pub(crate) struct FreshVault {
    pub(crate) vault: VaultId,
    pub(crate) root_version: RootVersion,
    pub(crate) ledger_public_key: [u8; 32],
    pub(crate) sealed_ledger_key: Vec<u8>,
    pub(crate) buckets: Vec<SealedBucketRow>,
}

impl Keys {
    /// Sealed keys over a custodian. Fails when the key arena cannot be locked in memory, naming the limit to raise.
    pub(crate) fn new(custodian: Arc<dyn Custodian>) -> anyhow::Result<Self> {
        Ok(Self {
            custodian,
            arena: Arc::new(KeyArena::new(ARENA_SLOTS)?),
            unsealed: ArcSwapOption::empty(),
            changed: watch::Sender::new(false),
        })
    }

    /// The keys, when this node has them.
    pub(crate) fn unsealed(&self) -> Option<Arc<Unsealed>> {
        self.unsealed.load_full()
    }

    /// Tells when the node is unsealed.
    pub(crate) fn watch(&self) -> watch::Receiver<bool> {
        self.changed.subscribe()
    }

    /// Draws everything a new vault starts with and gives its root to the custodian.
    pub(crate) async fn draw_vault(&self) -> anyhow::Result<FreshVault> {
        let random = OsRandom::new();
        let (fresh, root) = {
            let mut rng = Pool::new(&random);
            let vault = VaultId::from_bytes(rng.take()?);
            let root = RootKey::generate(&mut rng)?;
            let domain = KeyDomainId::SHARED;
            let buckets = new_bucket_table(&mut rng, &root, vault, domain, FIRST_ROOT, SHARED_BUCKETS)?;
            let ledger_key = SigningKey::generate(&mut rng)?;
            let context = RootContext { vault, domain, root_version: FIRST_ROOT };
            let sealed_ledger_key = seal_secret(&mut rng, &root, LEDGER_KEY, ledger_key.expose_seed(), &context)?;
            let fresh = FreshVault {
                vault,
                root_version: FIRST_ROOT,
                ledger_public_key: ledger_key.public_key(),
                sealed_ledger_key,
                buckets,
            };
            (fresh, root)
        };
        self.custodian.create_root(KeyDomainId::SHARED, FIRST_ROOT, &root).await?;
        Ok(fresh)
    }

    /// Opens the root at the custodian and everything under it. Does nothing when unsealed or not yet bootstrapped.
    pub(crate) async fn unseal(&self, store: &Store) -> anyhow::Result<()> {
        if self.unsealed().is_some() {
            return Ok(());
        }
        let Some(vault) = reader::vault(store)? else { return Ok(()) };
        let root = self.custodian.open_root(vault.domain, vault.root_version).await?;
        let context = RootContext { vault: vault.vault, domain: vault.domain, root_version: vault.root_version };
        let seed: Zeroizing<Vec<u8>> = open_secret(&root, LEDGER_KEY, &vault.sealed_checkpoint_key, &context)?;
        let seed: Zeroizing<[u8; 32]> =
            Zeroizing::new(seed.as_slice().try_into().map_err(|_| anyhow::anyhow!("ledger key has a wrong length"))?);
        let rows = bucket_rows(store, vault.domain)?;
        let ring = Keyring::new(Arc::clone(&self.arena), vault.vault, vault.domain);
        ring.add_root(vault.root_version, root)?;
        ring.load_table(&rows)?;
        self.unsealed.store(Some(Arc::new(Unsealed {
            vault: vault.vault,
            class: vault.class,
            origin: vault.origin,
            buckets: u16::try_from(rows.len())?,
            ledger_key: SigningKey::from_seed(&seed)?,
            ring,
        })));
        tracing::info!(vault = %vault.vault, buckets = rows.len(), "unsealed");
        self.changed.send_replace(true);
        Ok(())
    }

    /// Loads bucket keys that appeared in the state since.
    pub(crate) fn refresh(&self, store: &Store) -> Result<(), Refusal> {
        let keys = self.unsealed().ok_or(Refusal::new(Code::Sealed))?;
        let attempt = || -> anyhow::Result<()> {
            keys.ring.load_table(&bucket_rows(store, KeyDomainId::SHARED)?)?;
            Ok(())
        };
        attempt().map_err(|error| {
            tracing::error!(%error, "the bucket table cannot be loaded");
            Refusal::new(Code::Internal)
        })
    }
}

fn bucket_rows(store: &Store, domain: KeyDomainId) -> anyhow::Result<Vec<SealedBucketRow>> {
    let rows = reader::buckets(store, domain)?;
    Ok(rows
        .into_iter()
        .map(|(bucket, row)| SealedBucketRow {
            bucket,
            bucket_version: row.bucket_version,
            root_version: row.root_version,
            sealed: row.sealed,
        })
        .collect())
}
