//! What auditors asked, in a ledger of its own: same entries, same tree, every head signed by a key of this process. An
//! answer leaves only after the entry of its question is on disk, and a refused question is an entry too.

use std::fs::DirBuilder;
use std::ops::ControlFlow;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use fuda_core::{Code, PolicyVersion, RequestId, Sequence, TenantId, Timestamp};
use fuda_crypto::digest::SigningKey;
use fuda_crypto::{OsRandom, Random as _};
use fuda_ledger::tree::{Hash, leaf_hash, verify_inclusion};
use fuda_ledger::{Checkpoint, Common, Decision, Detail, DetailKey, Entry, EntryItem, VerifierKey};
use fuda_policy::{Action, DenyReason};
use fuda_wire::Sight;
use parking_lot::Mutex;

use crate::auditors::Auditor;
use crate::filter::Filter;
use crate::keyfile::{self, Use};
use crate::store::{self, Cosigned, Field, Reader, Row, Store};

/// The ledger of questions.
pub(crate) struct Queries {
    store: Store,
    key: SigningKey,
    origin: String,
    /// One question is entered at a time: each follows the one before.
    turn: Mutex<()>,
}

/// A question in words, as the ledger of questions keeps it. Texts with a number or a token are withheld there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Words {
    /// The method asked.
    pub(crate) method: &'static str,
    /// Which entries it is about, in the language of filters; at most 512 bytes are kept.
    pub(crate) question: String,
    /// What else it says: groups, the beginning of the page, the format; at most 512 bytes are kept.
    pub(crate) shape: String,
}

impl Words {
    /// With the log that it is about, where it names one that there is: any other text is withheld.
    pub(crate) fn of_log<T, E>(&self, origin: &str, read: &Result<T, E>) -> Self {
        match origin {
            "" => self.clone(),
            _ if read.is_err() => self.clone(),
            origin => Self { shape: format!("log {origin} {}", self.shape).trim_end().to_owned(), ..self.clone() },
        }
    }
}

/// The proof that a question was entered, and how far who asked it sees. Only the ledger of questions makes it, and nothing
/// of the store is read without it.
#[derive(Debug)]
#[must_use]
pub(crate) struct Entered {
    sight: Arc<Sight>,
    sequence: u64,
}

/// An entry of this ledger with what proves it.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) entry: Entry,
    /// Path from its leaf to the root that the checkpoint signs.
    pub(crate) path: Vec<Hash>,
    /// A signed note.
    pub(crate) checkpoint: String,
}

impl Entered {
    /// How far the asking auditor sees.
    pub(crate) fn sight(&self) -> &Sight {
        &self.sight
    }

    /// Its place in the ledger of questions.
    pub(crate) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// As if a question had been entered.
    #[cfg(test)]
    pub(crate) fn pretended(sight: Sight) -> Self {
        Self { sight: Arc::new(sight), sequence: 0 }
    }
}

impl Queries {
    /// Opens the ledger in `data_dir`, with the key that signs its checkpoints; both are made the first time. A ledger
    /// whose key is lost is not continued under another one.
    pub(crate) fn open(data_dir: &Path, witness_name: &str) -> anyhow::Result<Self> {
        let (dir, path) = (data_dir.join("queries"), data_dir.join("queries.key"));
        let origin = format!("{witness_name}/queries");
        let key = match dir.exists() || path.exists() {
            true => keyfile::load(&path, &origin, Use::Sign)?,
            false => keyfile::make(&path, &origin, Use::Sign)?,
        };
        DirBuilder::new().recursive(true).mode(0o700).create(&dir).with_context(|| format!("`{}`", dir.display()))?;
        let store = Store::open(&dir, &origin)?;
        Ok(Self { store, key, origin, turn: Mutex::new(()) })
    }

    /// The key that checks its checkpoints.
    pub(crate) fn verifier_key(&self) -> anyhow::Result<VerifierKey> {
        Ok(VerifierKey::new(&self.origin, self.key.public_key())?)
    }

    /// Entries and the newest signed checkpoint; `None` while nobody asked anything.
    pub(crate) fn head(&self) -> (u64, Option<Cosigned>) {
        let live = self.store.live();
        (live.head().size, live.cosigned.clone())
    }

    /// Identity of this ledger.
    pub(crate) fn origin(&self) -> &str {
        &self.origin
    }

    /// Reads what was asked.
    pub(crate) fn read_with<T, E: From<store::Error>>(
        &self,
        work: impl FnOnce(&Reader<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.store.read_with(work)
    }

    /// Enters a question, or with `refused` that it was not answered and why. On disk when this returns; blocks for an
    /// fsync.
    pub(crate) fn enter(&self, auditor: &Auditor, words: &Words, refused: Option<Code>) -> anyhow::Result<Entered> {
        Ok(self.enter_with(auditor, words, refused, Vec::new())?.0)
    }

    /// That this question was entered at this place by this auditor, and not refused, for going on with its answer after a
    /// restart; `None` when something else stands there.
    pub(crate) fn entered(
        &self,
        sequence: u64,
        auditor: &Auditor,
        words: &Words,
    ) -> Result<Option<Entered>, store::Error> {
        let whole = Entered { sight: Arc::new(Sight { tenant: None, callers: None }), sequence };
        let found = self.store.read(|reader| reader.entry(&whole, sequence))?;
        let same = found.is_some_and(|row| {
            let (common, asked) = (&row.entry.common, item(Sequence(sequence), words, None));
            common.caller == auditor.caller && common.tenant == auditor.sight.tenant && row.entry.item == asked
        });
        Ok(same.then(|| Entered { sight: Arc::clone(&auditor.sight), sequence }))
    }

    /// As [`Queries::enter`], with more facts; also returns the entry.
    pub(crate) fn enter_with(
        &self,
        auditor: &Auditor,
        words: &Words,
        refused: Option<Code>,
        details: Vec<Detail>,
    ) -> anyhow::Result<(Entered, Entry)> {
        let (entry, _) = self.append(common(auditor)?, |sequence| {
            let mut item = item(sequence, words, refused);
            item.detail.extend(details);
            item
        })?;
        let sequence = entry.item.sequence.get();
        Ok((Entered { sight: Arc::clone(&auditor.sight), sequence }, entry))
    }

    /// Visits the entries of these methods in their order: what this process itself has to know of its own ledger.
    pub(crate) fn visit_methods(
        &self,
        methods: &[&'static str],
        visit: &mut dyn FnMut(&Entry),
    ) -> Result<(), store::Error> {
        let methods = methods.iter().map(|method| (*method).to_owned()).collect();
        let filter = Filter { clauses: vec![[(Field::Method, methods)].into()], ..Filter::ALL };
        let own = Entered { sight: Arc::new(Sight { tenant: None, callers: None }), sequence: 0 };
        self.store.read(|reader| {
            reader.scan(&own, &filter, 0, &mut |row| {
                visit(&row.entry);
                ControlFlow::Continue(())
            })
        })
    }

    /// The entry at a place, which the newest signed root covers; `None` when there is none, or when what lies there is not
    /// what was signed.
    pub(crate) fn entry_at(&self, sequence: u64) -> Result<Option<Entry>, store::Error> {
        let own = Entered { sight: Arc::new(Sight { tenant: None, callers: None }), sequence };
        self.store.read(|reader| {
            let head = reader.live().head();
            let Some(row) = reader.entry(&own, sequence)? else { return Ok(None) };
            let path = reader.inclusion(sequence, head.size)?;
            let proven = verify_inclusion(&leaf_hash(&row.canonical), sequence, &head, &path).is_ok();
            Ok(proven.then(|| row.entry.clone()))
        })
    }

    /// Enters that an auditor has signed off a period of a tenant. On disk when this returns; blocks for an fsync.
    pub(crate) fn enter_sign_off(
        &self,
        auditor: &Auditor,
        tenant: TenantId,
        detail: Vec<Detail>,
    ) -> anyhow::Result<Kept> {
        let common = Common { tenant: Some(tenant), ..common(auditor)? };
        let (entry, checkpoint) =
            self.append(common, |sequence| EntryItem { detail, ..EntryItem::allowed(sequence) })?;
        let sequence = entry.item.sequence.get();
        let path = self.store.read(|reader| reader.inclusion(sequence, sequence + 1))?;
        Ok(Kept { entry, path, checkpoint })
    }

    /// Appends an entry and signs the tree with it; returns the entry and that checkpoint.
    fn append(&self, common: Common, item: impl FnOnce(Sequence) -> EntryItem) -> anyhow::Result<(Entry, String)> {
        let _turn = self.turn.lock();
        let live = self.store.live();
        let entry = Entry { common, item: item(Sequence(live.edge.size())) };
        let row = Row { canonical: entry.canonical(), entry: entry.clone() };
        let mut edge = live.edge.clone();
        let full = edge.append(&[leaf_hash(&row.canonical)]);
        let checkpoint = Checkpoint { origin: self.origin.clone(), head: edge.head() };
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        // A clock that was put back does not make checkpoints go back.
        let time_s = now_s.max(live.cosigned.as_ref().map_or(0, |newest| newest.time_s));
        let note = checkpoint.sign(&self.key)?.to_string();
        let signed = Cosigned { size: checkpoint.head.size, time_s, note: note.clone() };
        self.store.append(vec![row], edge, &full, Some(&signed))?;
        Ok((entry, note))
    }
}

/// A question that cannot be read is denied as one that no right covers; the code of its refusal says which it was.
fn item(sequence: Sequence, words: &Words, refused: Option<Code>) -> EntryItem {
    let mut detail = vec![Detail::new(DetailKey::AuditMethod, words.method)];
    let texts = [(DetailKey::AuditQuestion, &words.question), (DetailKey::AuditShape, &words.shape)];
    detail.extend(texts.into_iter().filter(|(_, text)| !text.is_empty()).map(|(key, text)| Detail::new(key, text)));
    detail.extend(refused.map(|code| Detail::new(DetailKey::Refusal, code.id())));
    let decision = if refused.is_some() { Decision::Denied } else { Decision::Allowed };
    EntryItem { detail, reason: refused.map(|_| DenyReason::NoGrant), ..EntryItem::new(sequence, decision) }
}

fn common(auditor: &Auditor) -> anyhow::Result<Common> {
    let mut request_id = [0; 16];
    OsRandom::new().fill(&mut request_id)?;
    let millis = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    Ok(Common {
        time: Timestamp::from_millis(i64::try_from(millis)?),
        tenant: auditor.sight.tenant.clone(),
        action: Action::ReadLedger,
        caller: auditor.caller.clone(),
        end_user: None,
        purpose: None,
        work_reference: None,
        policy_version: PolicyVersion(0),
        policy_ids: Vec::new(),
        grant: None,
        request_id: RequestId::from_bytes(request_id),
        trace_id: None,
        job: None,
        credential: auditor.credential.clone(),
        source_zone: None,
        recipient: None,
    })
}

#[cfg(test)]
#[path = "queries_tests.rs"]
mod tests;
