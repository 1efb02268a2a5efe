//! Reviewing: that what is stored still is what was verified, and that a person has looked through a period (責任者確認).
//!
//! A sign-off is an entry of the ledger of questions, behind the question that began it. It says who signed off which
//! period of which tenant, and what the ledger said about it then; that ledger's checkpoints are signed by this process.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::time::{SystemTime, UNIX_EPOCH};

use fuda_core::{Code, Invalid, TenantId, Timestamp, text};
use fuda_crypto::digest::sha256;
use fuda_ledger::tree::TreeHead;
use fuda_ledger::{Checkpoint, Detail, DetailKey, Entry, SignedNote, VerifierKey, WitnessKey};
use fuda_proto::audit::v1 as pb;
use fuda_wire::timestamp_to_wire;

use crate::ask::{Asker, Failure};
use crate::auditors::Auditor;
use crate::filter::Filter;
use crate::finding::Kind;
use crate::queries::{Entered, Words};
use crate::question::{group_to_wire, moment};
use crate::retention;
use crate::store::{self, Cosigned, Counting, Field, Reader};

/// Entries that one call hashes anew.
const VERIFIED_MAX: u64 = 2_000_000;
/// Groups that the counts of a sign-off may have.
const GROUPS_MAX: usize = 10_000;
/// Sign-offs of one answer.
const SIGN_OFFS_MAX: usize = 1_000;
/// Characters of a note.
const NOTE_CHARS_MAX: usize = 128;
/// How long after a period its last entry may be cosigned: until then it may not be known.
const SETTLED_MS: i64 = 60_000;

/// Checks what is stored, and keeps who has reviewed it.
#[derive(Clone)]
pub(crate) struct Review {
    pub(crate) asker: Asker,
    pub(crate) log: VerifierKey,
    pub(crate) witness: WitnessKey,
}

/// A tenant's entries of a span of time.
struct Period {
    tenant: TenantId,
    from: Timestamp,
    until: Timestamp,
    note: String,
}

impl Review {
    /// Verify. Blocks for an fsync and for as long as hashing takes.
    pub(crate) fn verify(&self, auditor: &Auditor, message: &pb::VerifyRequest) -> Result<pb::VerifyResponse, Failure> {
        let over = self.asker.over(&message.origin).map(|asker| Self { asker, ..self.clone() });
        let read = over.and_then(|review| Ok((review.range(message)?, review, self.asker.turn()?)));
        let (from, until) = (message.from_sequence, message.until_sequence);
        let words = Words { method: "Verify", question: String::new(), shape: format!("sequence {from} to {until}") };
        let _entered = self.asker.enter(auditor, &words.of_log(&message.origin, &read), &read)?;
        let ((newest, from, until), review, _turn) = read?;
        let stated = self.stated(&message.origin)?;
        let Hashed { head, removed, problem } = review.hashed(&newest, from, until, stated)?;
        let signed = review.signed(&newest, stated);
        Ok(pb::VerifyResponse {
            from_sequence: from,
            until_sequence: until,
            entries_signed: newest.size,
            verified: problem.is_empty(),
            root_signed: signed.map_or(Vec::new(), |signed| signed.root.to_vec()),
            root_found: head.map_or(Vec::new(), |head| head.root.to_vec()),
            problem,
            checkpoint: newest.note,
            entries_removed: removed,
        })
    }

    /// SignOffPeriod. Blocks as [`Review::verify`].
    pub(crate) fn sign_off(
        &self,
        auditor: &Auditor,
        message: &pb::SignOffPeriodRequest,
    ) -> Result<pb::SignOffPeriodResponse, Failure> {
        let read = self.period(auditor, message).and_then(|period| Ok((period, self.asker.turn()?)));
        let question = read.as_ref().map(|((period, _), _)| period.words()).unwrap_or_default();
        let words = Words { method: "SignOffPeriod", question, shape: String::new() };
        let entered = self.asker.enter(auditor, &words, &read)?;
        let ((period, newest), _turn) = read?;
        let (reviewed, counts) = self.reviewed(&entered, &period, &newest)?;
        let details = vec![
            Detail::new(DetailKey::SignedOffPeriod, &period.interval()),
            Detail::new(DetailKey::SignedOff, &reviewed),
            Detail::new(DetailKey::SignOffNote, &period.note),
        ];
        let kept = self.asker.queries().enter_sign_off(auditor, period.tenant, details)?;
        Ok(pb::SignOffPeriodResponse {
            sign_off: sign_off(&kept.entry),
            counts,
            canonical: kept.entry.canonical(),
            path: kept.path.into_iter().map(|hash| hash.to_vec()).collect(),
            checkpoint: kept.checkpoint,
        })
    }

    /// ListSignOffs. Blocks for an fsync.
    pub(crate) fn list(
        &self,
        auditor: &Auditor,
        message: &pb::ListSignOffsRequest,
    ) -> Result<pb::ListSignOffsResponse, Failure> {
        let read = whole_tenant(auditor, &message.tenant);
        let question = read.as_ref().map(|tenant| format!("tenant = \"{tenant}\"")).unwrap_or_default();
        let words = Words { method: "ListSignOffs", question, shape: String::new() };
        let entered = self.asker.enter(auditor, &words, &read)?;
        let filter = Filter::ALL.and(Field::Tenant, read?.as_str());
        let mut sign_offs = Vec::new();
        self.asker.queries().read_with(|reader| {
            reader.scan(&entered, &filter, 0, &mut |row| {
                sign_offs.extend(sign_off(&row.entry));
                if sign_offs.len() < SIGN_OFFS_MAX { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })
        })?;
        Ok(pb::ListSignOffsResponse { sign_offs })
    }

    fn range(&self, message: &pb::VerifyRequest) -> Result<(Cosigned, u64, u64), Failure> {
        let newest = self.newest()?;
        let until = if message.until_sequence == 0 { newest.size } else { message.until_sequence };
        let from = message.from_sequence;
        if from > until || until > newest.size {
            return Err(Invalid::new("until_sequence", "must be behind the first and within what is cosigned").into());
        }
        if until - from > VERIFIED_MAX {
            let broken = Invalid::new("until_sequence", "must not be more than 2,000,000 entries behind the first");
            return Err(Failure::Refused(Code::TooManyItems, Some(broken)));
        }
        Ok((newest, from, until))
    }

    fn period(&self, auditor: &Auditor, message: &pb::SignOffPeriodRequest) -> Result<(Period, Cosigned), Failure> {
        let tenant = whole_tenant(auditor, &message.tenant)?;
        let time = |field, time: &Option<prost_types::Timestamp>| {
            moment(field, time.as_ref().ok_or(Invalid::new(field, "must be set"))?)
        };
        let (from, until) = (time("from_time", &message.from_time)?, time("until_time", &message.until_time)?);
        if from >= until {
            return Err(Invalid::new("until_time", "must be later than from_time").into());
        }
        if !message.note.is_empty() {
            text::check_short("note", &message.note, NOTE_CHARS_MAX, "must have at most 128 characters")?;
        }
        let newest = self.newest()?;
        let cosigned_ms = i64::try_from(newest.time_s.saturating_mul(1_000)).unwrap_or(i64::MAX);
        let open = self.asker.store().read(|reader| reader.open_alarms())?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let over = i128::from(until.as_millis()) <= now.cast_signed();
        let settled = until.as_millis().saturating_add(SETTLED_MS) <= cosigned_ms;
        if !over || !settled || open.iter().any(|alarm| Kind::halts(&alarm.kind)) {
            return Err(unverified());
        }
        Ok((Period { tenant, from, until, note: message.note.clone() }, newest))
    }

    /// The newest checkpoint, with the signatures of the log and of this witness checked.
    fn newest(&self) -> Result<Cosigned, Failure> {
        Ok(self.asker.store().live().cosigned.clone().ok_or(Code::NotFound)?)
    }

    /// The last head of an earlier log, as two people stated it.
    fn stated(&self, origin: &str) -> Result<Option<TreeHead>, Failure> {
        let predecessors = self.asker.store().read(|reader| reader.predecessors())?;
        let earlier = predecessors.into_iter().rfind(|it| it.statement.old_origin == origin);
        Ok(earlier.map(|it| it.statement.cosigned))
    }

    /// The head that the checkpoint signs, which must bear our cosignature and the log's signature; of an earlier log, whose
    /// key nobody has configured any more, it must be the head that two people `stated`.
    fn signed(&self, newest: &Cosigned, stated: Option<TreeHead>) -> Result<TreeHead, String> {
        let told = |error: fuda_ledger::Error| format!("the checkpoint: {error}");
        let note = SignedNote::parse(newest.note.as_bytes()).map_err(told)?;
        self.witness.cosigned_at(&note).map_err(told)?;
        let Some(stated) = stated else {
            return Checkpoint::open(newest.note.as_bytes(), &self.log).map(|it| it.head).map_err(told);
        };
        match Checkpoint::parse(note.unverified_text()).map_err(told)?.head {
            head if head == stated => Ok(head),
            _ => Err("the checkpoint is not the head that the succession states".to_owned()),
        }
    }

    /// The head over what is stored, and what is wrong with it.
    fn hashed(&self, newest: &Cosigned, from: u64, until: u64, stated: Option<TreeHead>) -> Result<Hashed, Failure> {
        let signed = match self.signed(newest, stated) {
            Ok(signed) => signed,
            Err(problem) => return Ok(Hashed::wrong(None, &problem)),
        };
        let rehashed = self.asker.store().read(|reader: &Reader<'_>| {
            let (head, removed) = reader.rehash(from, until, newest.size)?;
            Ok((head, removed, reader.removed_bundles(from, until)?, reader.bundles_in_order(from, until)?))
        });
        let (head, removed, bundles, in_order) = match rehashed {
            Ok(rehashed) => rehashed,
            Err(error @ (store::Error::Sqlite(_) | store::Error::Io(_))) => return Err(error.into()),
            Err(error) => return Ok(Hashed::wrong(None, &error.to_string())),
        };
        if head != signed {
            return Ok(Hashed::wrong(Some(head), "what is stored does not hash to the signed root"));
        }
        if !in_order {
            return Ok(Hashed::wrong(Some(head), "the times of bundles do not follow each other"));
        }
        for bundle in &bundles {
            match retention::is_entered(self.asker.queries(), bundle) {
                Ok(true) => {}
                Err(error @ (store::Error::Sqlite(_) | store::Error::Io(_))) => return Err(error.into()),
                Ok(false) | Err(_) => {
                    return Ok(Hashed::wrong(Some(head), "entries are missing, and nothing says that they were due"));
                }
            }
        }
        Ok(Hashed { head: Some(head), removed, problem: String::new() })
    }

    /// What the ledger says about a period, in one line, and its counts.
    fn reviewed(
        &self,
        entered: &Entered,
        period: &Period,
        newest: &Cosigned,
    ) -> Result<(String, Vec<pb::Group>), Failure> {
        let store = self.asker.store();
        let (from, until) = store.read(|reader| reader.sequences_of(period.from, period.until, newest.size))?;
        let hashed = self.hashed(newest, from, until, None)?;
        let Some(head) = hashed.head.filter(|_| hashed.problem.is_empty()) else { return Err(unverified()) };
        // Nobody reviews what is not there any more.
        if store.read(|reader| reader.removed_within(period.from, period.until))?.is_some() {
            return Err(Code::EntryRemoved.into());
        }
        let mut filter = Filter::ALL.and(Field::Tenant, period.tenant.as_str());
        (filter.from, filter.until) = (period.from, period.until);
        let fields = [Field::Decision, Field::Purpose];
        let counting = Counting { fields: &fields, span: None, persons: true, groups_max: GROUPS_MAX };
        let groups = store.read(|reader| reader.count(entered, &filter, &counting))?;
        let groups = groups.ok_or(Failure::Refused(Code::TooManyItems, None))?;
        let persons: HashSet<u64> = groups.values().flat_map(|group| &group.persons).copied().collect();
        let of = |decision: &str| -> u64 {
            let meant = groups.iter().filter(|(key, _)| key.values.first().is_some_and(|value| value == decision));
            meant.map(|(_, group)| group.entries).sum()
        };
        let all: u64 = groups.values().map(|group| group.entries).sum();
        let lines: String =
            groups.iter().map(|(key, it)| format!("{} {}\n", key.values.join(" "), it.entries)).collect();
        let reviewed = format!(
            "entries={all} allowed={} denied={} replayed={} persons={} ledger={} root={} counts={}",
            of("allowed"),
            of("denied"),
            of("replayed"),
            persons.len(),
            head.size,
            hex::encode(head.root),
            hex::encode(sha256(&[lines.as_bytes()]))
        );
        let counts = groups.into_iter().map(|(key, group)| group_to_wire(key, &group, false)).collect();
        Ok((reviewed, counts))
    }
}

impl Period {
    fn interval(&self) -> String {
        format!("{}/{}", self.from.to_rfc3339(), self.until.to_rfc3339())
    }

    fn words(&self) -> String {
        let Self { tenant, from, until, .. } = self;
        format!("tenant = \"{tenant}\" AND time >= {} AND time < {}", from.to_rfc3339(), until.to_rfc3339())
    }
}

/// A tenant of which the auditor sees everything: nobody signs off what he cannot see.
fn whole_tenant(auditor: &Auditor, tenant: &str) -> Result<TenantId, Failure> {
    let tenant = TenantId::parse(tenant)?;
    let sees = auditor.sight.tenant.as_ref().is_none_or(|own| *own == tenant) && auditor.sight.callers.is_none();
    if sees { Ok(tenant) } else { Err(Code::DeniedOrNotFound.into()) }
}

fn unverified() -> Failure {
    let broken = Invalid::new("until_time", "must end a period that is over, cosigned as a whole and verifies");
    Failure::Refused(Code::PreconditionFailed, Some(broken))
}

/// What came of hashing what is stored.
struct Hashed {
    head: Option<TreeHead>,
    /// Entries of the range that were removed because they were due.
    removed: u64,
    /// What is wrong; empty: nothing.
    problem: String,
}

impl Hashed {
    fn wrong(head: Option<TreeHead>, problem: &str) -> Self {
        Self { head, removed: 0, problem: told(problem) }
    }
}

/// A store that is not what was verified is something to look at now.
fn told(problem: &str) -> String {
    tracing::error!(problem, "the store is not what was verified when it came in");
    problem.to_owned()
}

/// The sign-off that an entry of the ledger of questions keeps.
fn sign_off(entry: &Entry) -> Option<pb::SignOff> {
    let detail = |key| entry.item.detail.iter().find(|detail| detail.key() == key).map(Detail::value);
    let (from, until) = detail(DetailKey::SignedOffPeriod)?.split_once('/')?;
    let time = |text: &str| {
        let time: jiff::Timestamp = text.parse().ok()?;
        Some(timestamp_to_wire(Timestamp::from_millis(time.as_millisecond())))
    };
    Some(pb::SignOff {
        tenant: entry.common.tenant.as_ref().map(ToString::to_string).unwrap_or_default(),
        from_time: time(from),
        until_time: time(until),
        reviewer: entry.common.caller.to_string(),
        time: Some(timestamp_to_wire(entry.common.time)),
        note: detail(DetailKey::SignOffNote).unwrap_or_default().to_owned(),
        reviewed: detail(DetailKey::SignedOff).unwrap_or_default().to_owned(),
        sequence: entry.item.sequence.get(),
    })
}

#[cfg(test)]
#[path = "review_tests.rs"]
mod tests;
