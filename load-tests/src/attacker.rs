//! Someone who stole everything: all files of a node, the custodian's roots, the ledger, request ids and traces. Only
//! the tokens are missing. Opens whatever it can, the way the formats really are, and counts the records whose number it
//! got.
//!
//! ```text
//! root ─▶ bucket keys ─▶ outer wraps          always: it has the root
//!         token wrap ◀── token secret?         every 20-byte window of everything it holds
//!         reply ◀── retry secret?              every key it holds, and what a careless client might derive from ids
//!         version wrap, number row ◀── key?    every key it holds
//! ```

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use fuda_core::{
    BucketId, BucketVersion, CallerId, KeyDomainId, Kind, LookupKey, RecordId, RecordVersion, RequestId, ScopeId,
    Sequence, TenantId, Token, TokenClass, VaultId,
};
use fuda_crypto::{
    BucketContext, BucketKey, DataKey, RecordContext, RecordKey, ReplyContext, RetrySecret, RootKey, lookup_key,
    open_bucket, open_number, open_outer, open_reply, sha256, unwrap_version, unwrap_with_token,
};
use fuda_custodian::{Custodian as _, FileCustodian};
use fuda_state::row::{RecordRow, ReplyRow, Row};
use fuda_state::{Table, View, reader};
use fuda_storage::{Options as StoreOptions, Store};

use crate::scanner::files_below;

/// Bytes of a token's secret.
const TOKEN_SECRET_BYTES: usize = 20;
/// Characters of a token's secret in hexadecimal.
const TOKEN_SECRET_HEX: usize = 2 * TOKEN_SECRET_BYTES;
/// Rows and bytes of entries read at once.
const ROWS_AT_ONCE: usize = 1_000;
const BLOCK_BYTES_AT_ONCE: usize = 8 << 20;
/// How a token starts in text, by class.
const PREFIXES: [&str; 2] = ["fuda_test_", "fuda_live_"];
const TOKEN_CHARS: usize = 48;

/// What was stolen.
#[derive(Clone, Debug)]
pub struct Loot {
    /// A copy of a node's state: the directory [`Store::open`] takes.
    pub state_dir: PathBuf,
    /// A copy of the file custodian's directory.
    pub custodian_dir: PathBuf,
    /// Directories searched for secrets byte by byte: logs, Raft logs, traces, other nodes' files.
    pub dirs: Vec<PathBuf>,
    /// Request ids seen elsewhere (UUID text).
    pub request_ids: Vec<String>,
}

/// A record without its outermost layer.
struct Target {
    tenant: TenantId,
    record: RecordId,
    kind: Kind,
    domain: KeyDomainId,
    scope: ScopeId,
    lookup: [u8; 32],
    version: RecordVersion,
    token_wrap: Vec<u8>,
    version_wrap: Vec<u8>,
    number_row: Vec<u8>,
}

/// A sealed reply without its outermost layer.
struct Reply {
    tenant: TenantId,
    caller: String,
    request: RequestId,
    item: u32,
    record: RecordId,
    sealed: Vec<u8>,
}

/// The attacker, with every outer layer off.
pub struct Attacker {
    vault: VaultId,
    class: TokenClass,
    targets: Vec<Target>,
    replies: Vec<Reply>,
    by_lookup: HashMap<[u8; 32], usize>,
    keys: Vec<[u8; 32]>,
    ids: Vec<[u8; 16]>,
    rows: Vec<u8>,
    dirs: Vec<PathBuf>,
}

/// What the attack came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Records whose number was read, with the number.
    pub opened: BTreeMap<RecordId, Vec<u8>>,
    /// Secrets tried as a token.
    pub token_guesses: u64,
    /// Keys tried on inner blobs.
    pub key_guesses: u64,
    /// Secrets tried on replies.
    pub reply_guesses: u64,
}

impl Report {
    fn add(&mut self, other: Self) {
        self.opened.extend(other.opened);
        self.token_guesses += other.token_guesses;
        self.key_guesses += other.key_guesses;
        self.reply_guesses += other.reply_guesses;
    }
}

impl Attacker {
    /// Reads the loot and takes off every outer layer.
    ///
    /// # Errors
    /// When the files are not what a node leaves behind: an attack on nothing proves nothing.
    pub async fn new(loot: &Loot) -> Result<Self> {
        let store = Store::open(&loot.state_dir, StoreOptions::default())?;
        let vault = reader::vault(&store)?.context("the state holds no vault")?;
        let custodian = FileCustodian::open(&loot.custodian_dir)?;
        let root = custodian.open_root(vault.domain, vault.root_version).await?;
        let mut attacker = Self {
            vault: vault.vault,
            class: vault.class,
            targets: Vec::new(),
            replies: Vec::new(),
            by_lookup: HashMap::new(),
            keys: vec![*root.expose()],
            ids: Vec::new(),
            rows: Vec::new(),
            dirs: loot.dirs.clone(),
        };
        let buckets = attacker.open_buckets(&store, vault.domain, &root)?;
        attacker.strip_records(&store, &buckets)?;
        attacker.strip_replies(&store, vault.domain, &buckets)?;
        attacker.collect_rows(&store)?;
        attacker.collect_ids(&store, &loot.request_ids)?;
        Ok(attacker)
    }

    /// Number of records it attacks.
    pub fn records(&self) -> usize {
        self.targets.iter().map(|target| target.record).collect::<BTreeSet<_>>().len()
    }

    /// Number of sealed replies it attacks.
    pub fn replies(&self) -> usize {
        self.replies.len()
    }

    /// Everything it can do without a token.
    ///
    /// # Errors
    /// When the loot cannot be read.
    pub fn attack(&self) -> Result<Report> {
        let mut report = self.search_bytes(&self.rows);
        report.add(self.search_bytes(self.stripped().as_slice()));
        for dir in &self.dirs {
            report.add(self.search_dir(dir)?);
        }
        report.add(self.try_keys());
        report.add(self.try_replies());
        Ok(report)
    }

    /// Searches every file below a directory for token secrets.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn search_dir(&self, dir: &Path) -> Result<Report> {
        let mut report = Report::default();
        for path in files_below(dir)? {
            let bytes = fs::read(&path).with_context(|| format!("reading `{}`", path.display()))?;
            report.add(self.search_bytes(&bytes));
        }
        Ok(report)
    }

    /// Opens what one token opens.
    pub fn open_with(&self, token: &Token) -> Option<(RecordId, Vec<u8>)> {
        let target = self.targets.get(*self.by_lookup.get(lookup_key(token).as_bytes())?)?;
        let context = self.context(target);
        let record_key = unwrap_with_token(token, &target.token_wrap, &context, &target.scope).ok()?;
        let data_key = unwrap_version(&record_key, &target.version_wrap, &context, target.version).ok()?;
        let number = open_number(&data_key, &target.number_row, &context, target.version).ok()?;
        Some((target.record, number.expose().to_vec()))
    }

    fn context<'a>(&self, target: &'a Target) -> RecordContext<'a> {
        let Target { tenant, record, kind, domain, .. } = target;
        RecordContext { vault: self.vault, domain: *domain, tenant, kind: *kind, record: *record }
    }

    fn open_buckets(&mut self, store: &Store, domain: KeyDomainId, root: &RootKey) -> Result<Buckets> {
        let mut buckets = Buckets { vault: self.vault, keys: BTreeMap::new() };
        for (bucket, row) in reader::buckets(store, domain)? {
            let bucket_version = row.bucket_version;
            let context = BucketContext { vault: self.vault, domain, bucket, bucket_version };
            let key = open_bucket(root, &row.sealed, &context, row.root_version);
            let key = key.map_err(|_| anyhow::anyhow!("the stolen root does not open bucket {}", bucket.get()))?;
            self.keys.push(*key.expose());
            buckets.keys.insert((bucket.get(), bucket_version.get()), key);
        }
        ensure!(!buckets.keys.is_empty(), "the state holds no bucket keys");
        Ok(buckets)
    }

    fn strip_records(&mut self, store: &Store, buckets: &Buckets) -> Result<()> {
        for (_, value) in all_rows(store, Table::Records)? {
            let row = RecordRow::from_bytes(&value)?;
            for token in &row.tokens {
                let target = strip(store, buckets, &row, &token.scope, &token.lookup)?;
                self.by_lookup.insert(target.lookup, self.targets.len());
                self.targets.push(target);
            }
        }
        Ok(())
    }

    fn strip_replies(&mut self, store: &Store, domain: KeyDomainId, buckets: &Buckets) -> Result<()> {
        for (key, value) in all_rows(store, Table::Replies)? {
            let row = ReplyRow::from_bytes(&value)?;
            let sealed = buckets.open(domain, row.bucket, row.bucket_version, &row.sealed)?;
            let (tenant, caller, request, item) = reply_key(&key).context("a key of `replies` cannot be read")?;
            self.replies.push(Reply { tenant, caller, request, item, record: row.record, sealed });
        }
        Ok(())
    }

    /// Keys and values of all tables, as they are before the store compresses them.
    fn collect_rows(&mut self, store: &Store) -> Result<()> {
        for table in Table::ALL {
            for (key, value) in all_rows(store, table)? {
                self.rows.extend_from_slice(&key);
                self.rows.extend_from_slice(&value);
            }
        }
        Ok(())
    }

    fn collect_ids(&mut self, store: &Store, request_ids: &[String]) -> Result<()> {
        let mut ids: BTreeSet<[u8; 16]> = [*self.vault.as_bytes()].into();
        let seen = request_ids.iter().filter_map(|text| RequestId::parse(text).ok());
        ids.extend(seen.map(|id| *id.as_bytes()));
        let mut next = Sequence(0);
        loop {
            let blocks = reader::blocks_from(store, next, BLOCK_BYTES_AT_ONCE)?;
            let Some(last) = blocks.last() else { break };
            next = Sequence(last.first().get() + last.len() as u64);
            for block in &blocks {
                ids.insert(*block.common().request_id.as_bytes());
                ids.extend(block.common().trace_id.map(|id| *id.as_bytes()));
            }
        }
        self.ids = ids.into_iter().collect();
        Ok(())
    }

    /// Keys and inner blobs in one piece, to be searched like a file.
    fn stripped(&self) -> Vec<u8> {
        let keys = self.keys.iter().map(<[u8; 32]>::as_slice);
        let blobs = self.targets.iter().flat_map(|target| {
            [target.token_wrap.as_slice(), &target.version_wrap, &target.number_row, &target.lookup]
        });
        let replies = self.replies.iter().map(|reply| reply.sealed.as_slice());
        keys.chain(blobs).chain(replies).collect::<Vec<_>>().concat()
    }

    /// Every window of 20 bytes as a token secret, every text that looks like a token, every run of 40 hexadecimal
    /// digits. A secret is right exactly when its lookup key is in the store.
    fn search_bytes(&self, bytes: &[u8]) -> Report {
        let mut report = Report::default();
        for (offset, window) in bytes.windows(TOKEN_SECRET_BYTES).enumerate() {
            if let Ok(secret) = window.try_into() {
                self.guess(secret, &mut report);
            }
            let rest = bytes.get(offset..).unwrap_or_default();
            if window.first() == Some(&b'f') && PREFIXES.iter().any(|prefix| window.starts_with(prefix.as_bytes())) {
                let text = rest.get(..TOKEN_CHARS).and_then(|text| std::str::from_utf8(text).ok());
                if let Some(token) = text.and_then(|text| Token::parse(text).ok()) {
                    self.guess(*token.secret(), &mut report);
                }
            }
            if window.iter().all(u8::is_ascii_hexdigit) {
                let digits = rest.get(..TOKEN_SECRET_HEX).and_then(|digits| hex::decode(digits).ok());
                if let Some(secret) = digits.and_then(|secret| secret.try_into().ok()) {
                    self.guess(secret, &mut report);
                }
            }
        }
        report
    }

    fn guess(&self, secret: [u8; TOKEN_SECRET_BYTES], report: &mut Report) {
        report.token_guesses += 1;
        report.opened.extend(self.open_with(&Token::from_secret(secret, self.class)));
    }

    /// Every key it holds as a record key and as a data key of every record; and what belongs to the record itself.
    fn try_keys(&self) -> Report {
        let mut report = Report::default();
        for target in &self.targets {
            let context = self.context(target);
            let own = [target.lookup, sha256(&[target.record.as_bytes()]), doubled(target.record.as_bytes())];
            for key in self.keys.iter().chain(&own) {
                report.key_guesses += 2;
                let as_data_key = DataKey::from_bytes(*key);
                let unwrapped =
                    unwrap_version(&RecordKey::from_bytes(*key), &target.version_wrap, &context, target.version);
                for data_key in unwrapped.iter().chain([&as_data_key]) {
                    if let Ok(number) = open_number(data_key, &target.number_row, &context, target.version) {
                        report.opened.insert(target.record, number.expose().to_vec());
                    }
                }
            }
        }
        report
    }

    /// Keys, ids and what a careless client might make of ids, as retry secrets. An opened reply holds the token.
    fn try_replies(&self) -> Report {
        let mut report = Report::default();
        let shared: Vec<[u8; 32]> = self.keys.iter().copied().chain(self.ids.iter().flat_map(derived)).collect();
        for reply in &self.replies {
            let context = ReplyContext {
                vault: self.vault,
                tenant: &reply.tenant,
                caller: &reply.caller,
                request: reply.request,
                item: reply.item,
            };
            let own = derived(reply.request.as_bytes()).into_iter().chain(derived(reply.record.as_bytes()));
            for secret in own.chain(shared.iter().copied()) {
                report.reply_guesses += 1;
                let Ok(opened) = open_reply(&RetrySecret::from_bytes(secret), &reply.sealed, &context) else {
                    continue;
                };
                // The reply ends with the token's secret; whatever the layout, a search finds it.
                report.opened.extend(self.search_bytes(&opened).opened);
            }
        }
        report
    }
}

/// The opened bucket keys.
struct Buckets {
    vault: VaultId,
    keys: BTreeMap<(u16, u32), BucketKey>,
}

impl Buckets {
    fn open(&self, domain: KeyDomainId, bucket: BucketId, version: BucketVersion, sealed: &[u8]) -> Result<Vec<u8>> {
        let key =
            self.keys.get(&(bucket.get(), version.get())).context("a row names a bucket key that is not there")?;
        let context = BucketContext { vault: self.vault, domain, bucket, bucket_version: version };
        open_outer(key, sealed, &context).map_err(|_| anyhow::anyhow!("a bucket key does not open its row"))
    }
}

fn strip(store: &Store, buckets: &Buckets, row: &RecordRow, scope: &ScopeId, lookup: &LookupKey) -> Result<Target> {
    let key = reader::SealedKey { lookup, tenant: &row.tenant, record: row.record, version: row.current };
    let rows =
        reader::sealed_rows(store, &[key])?.into_iter().next().flatten().context("a record lacks a sealed row")?;
    let (token, version) = (rows.token, rows.version);
    Ok(Target {
        tenant: row.tenant.clone(),
        record: row.record,
        kind: row.kind,
        domain: row.domain,
        scope: scope.clone(),
        lookup: *lookup.as_bytes(),
        version: row.current,
        token_wrap: buckets.open(row.domain, token.bucket, token.bucket_version, &token.wrap)?,
        version_wrap: buckets.open(row.domain, version.bucket, version.bucket_version, &version.wrap)?,
        number_row: version.number_row,
    })
}

fn all_rows(store: &Store, table: Table) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let (mut all, mut from) = (Vec::new(), Vec::new());
    loop {
        let rows = store.scan(table, &from, None, ROWS_AT_ONCE)?;
        let Some((last, _)) = rows.last() else { return Ok(all) };
        from = last.clone();
        from.push(0);
        all.extend(rows);
    }
}

/// tenant ‖ 0 ‖ caller ‖ 0 ‖ request (16) ‖ item (4).
fn reply_key(key: &[u8]) -> Option<(TenantId, String, RequestId, u32)> {
    let mut parts = key.splitn(3, |byte| *byte == 0);
    let mut text = || std::str::from_utf8(parts.next()?).ok();
    let (tenant, caller) = (TenantId::parse(text()?).ok()?, CallerId::parse(text()?).ok()?);
    let (request, item) = parts.next()?.split_first_chunk::<16>()?;
    let item = u32::from_be_bytes(item.try_into().ok()?);
    Some((tenant, caller.as_str().to_owned(), RequestId::from_bytes(*request), item))
}

/// What a careless client might take for 32 random bytes.
fn derived(id: &[u8; 16]) -> [[u8; 32]; 5] {
    let (mut front, mut back, mut text) = ([0; 32], [0; 32], [0; 32]);
    front.iter_mut().zip(id).for_each(|(to, from)| *to = *from);
    back.iter_mut().skip(16).zip(id).for_each(|(to, from)| *to = *from);
    text.iter_mut().zip(hex::encode(id).into_bytes()).for_each(|(to, from)| *to = from);
    [front, back, text, doubled(id), sha256(&[id])]
}

fn doubled(id: &[u8; 16]) -> [u8; 32] {
    let mut twice = [0; 32];
    twice.iter_mut().zip(id.iter().chain(id)).for_each(|(to, from)| *to = *from);
    twice
}

#[cfg(test)]
mod tests {
    use fuda_state::key;

    use super::*;

    #[test]
    fn the_key_of_a_reply_is_read_as_the_state_writes_it() {
        let tenant = TenantId::parse("acme").unwrap();
        let caller = CallerId::parse("spiffe://fuda.test/workload/hr").unwrap();
        // An id with zero bytes: only the first two zeros end texts.
        let request = RequestId::from_bytes([0, 7, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 0, 1]);
        let (read_tenant, read_caller, read_request, item) =
            reply_key(&key::reply(&tenant, &caller, request, 258)).unwrap();
        assert_eq!((read_tenant, read_caller.as_str()), (tenant, caller.as_str()));
        assert_eq!((read_request, item), (request, 258));
        assert!(reply_key(b"acme\0spiffe").is_none());
    }

    #[test]
    fn careless_secrets_are_distinct_and_made_of_the_id() {
        let id = [0xab; 16];
        let secrets: BTreeSet<[u8; 32]> = derived(&id).into_iter().collect();
        assert_eq!(secrets.len(), 5);
        assert!(secrets.contains(&[0xab; 32]));
        assert!(secrets.contains(b"abababababababababababababababab"));
    }
}
