use std::collections::BTreeSet;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use fuda_core::{CallerId, TenantId};
use fuda_crypto::digest::sha256;
use fuda_ledger::tree::Subtree;
use fuda_ledger::{Piece, Trust};
use serde_json::Value as Json;

use super::*;
use crate::queries::Queries;
use crate::samples::{self, LOG};

const ENTRIES: u64 = 5_000;
const LIMITS: Limits = Limits {
    keep: Duration::from_secs(3_600),
    file_bytes_max: 64 << 20,
    total_bytes_max: 4 << 30,
    part_bytes: 32 << 10,
};
const WHOLE: Sight = Sight { tenant: None, callers: None };

fn acme() -> Sight {
    Sight { tenant: Some(TenantId::parse("acme").unwrap()), callers: None }
}

fn exports(dir: &Path, limits: Limits) -> Arc<Exports> {
    let (store, ..) = samples::cosigned_store(dir, ENTRIES, 1_767_600_000);
    let asker = Asker::new(Arc::new(store), Arc::new(Queries::open(dir, "audit.test/one").unwrap()));
    Exports::open(dir, asker, limits, CancellationToken::new()).unwrap()
}

fn request(filter: &str, format: pb::ExportFormat) -> pb::StartExportRequest {
    pb::StartExportRequest { filter: filter.to_owned(), format: format.into(), ..Default::default() }
}

async fn ended(exports: &Exports, who: &Auditor, id: &str) -> pb::Export {
    for _ in 0..2_000 {
        let export = exports.get(who, id).unwrap().export.unwrap();
        if matches!(export.state(), pb::ExportState::Done | pb::ExportState::Failed) {
            return export;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the export does not end");
}

async fn exported(exports: &Arc<Exports>, who: &Auditor, filter: &str, format: pb::ExportFormat) -> pb::Export {
    let started = exports.start(who, &request(filter, format)).unwrap().export.unwrap();
    ended(exports, who, &started.id).await
}

/// The whole file, read from `offset` on.
fn fetched(exports: &Exports, who: &Auditor, id: &str, mut offset: u64) -> Vec<u8> {
    let mut file = Vec::new();
    loop {
        let data = exports.read(who, &pb::ReadExportRequest { id: id.to_owned(), offset }).unwrap().data;
        if data.is_empty() {
            return file;
        }
        offset += data.len() as u64;
        file.extend(data);
    }
}

fn code(failure: &Failure) -> Code {
    match failure {
        Failure::Refused(code, _) => *code,
        other => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_is_entered_written_within_sight_and_read_from_anywhere() {
    let dir = tempfile::tempdir().unwrap();
    let exports = exports(dir.path(), LIMITS);
    let who = samples::auditor("acme", acme());
    let expected: Vec<u64> = (0..ENTRIES)
        .filter(|place| {
            let entry = samples::entry(*place);
            entry.common.tenant.as_ref().is_some_and(|it| it.as_str() == "acme")
                && entry.common.action.code() == "tokenize"
        })
        .collect();
    let formats = [pb::ExportFormat::Csv, pb::ExportFormat::Ndjson, pb::ExportFormat::Parquet, pb::ExportFormat::Ocsf];
    for (asked, format) in (1..).zip(formats) {
        let done = exported(&exports, &who, "action = tokenize", format).await;
        assert_eq!((done.state(), done.entries), (pb::ExportState::Done, expected.len() as u64), "{format:?}");
        assert_eq!((done.ledger_entries, done.entries_passed), (ENTRIES, ENTRIES));
        let file = fetched(&exports, &who, &done.id, 0);
        assert_eq!((done.bytes, done.sha256.as_slice()), (file.len() as u64, sha256(&[&file]).as_slice()));
        assert_eq!(fetched(&exports, &who, &done.id, 1_000), file[1_000..]);
        assert_eq!(exports.asker.queries().head().0, asked, "one entry for every question");
        if format == pb::ExportFormat::Ndjson {
            let text = String::from_utf8(file).unwrap();
            let read: Vec<Json> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            assert!(read.iter().all(|line| line["tenant"] == "acme" && line["action"] == "tokenize"));
            assert_eq!(read.iter().map(|line| line["sequence"].as_u64().unwrap()).collect::<Vec<_>>(), expected);
        }
    }
    let mode = |name: &str| {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::metadata(dir.path().join(name)).unwrap().permissions().mode() & 0o777
    };
    assert_eq!(mode("exports"), 0o700);
    for file in std::fs::read_dir(dir.path().join("exports")).unwrap() {
        assert_eq!(mode(&format!("exports/{}", file.unwrap().file_name().display())), 0o600);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_export_verifies_offline_and_only_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let exports = exports(dir.path(), LIMITS);
    let who = samples::auditor("acme", acme());
    let done = exported(&exports, &who, "decision = denied", pb::ExportFormat::Ledger).await;
    assert_eq!(done.state(), pb::ExportState::Done, "{}", done.problem);
    let file = String::from_utf8(fetched(&exports, &who, &done.id, 0)).unwrap();
    let mut lines = file.lines().map(|line| serde_json::from_str::<Json>(line).unwrap());
    let head = lines.next().unwrap();
    assert_eq!(head["format"], "fuda-ledger");
    let pieces: Vec<Piece> = lines
        .map(|line| match line.get("canonical") {
            Some(bytes) => Piece::Entry(STANDARD.decode(bytes.as_str().unwrap()).unwrap()),
            None => Piece::LeftOut(Subtree {
                first: line["sequence"].as_u64().unwrap(),
                height: line["left_out"].as_u64().unwrap().ilog2() as u8,
                root: STANDARD.decode(line["root"].as_str().unwrap()).unwrap().try_into().unwrap(),
            }),
        })
        .collect();
    let (_, log, witness) = samples::cosigned_store(tempfile::tempdir().unwrap().path(), 1, 1_767_600_000);
    let witnesses = [witness];
    let trust = Trust { log: &log, witnesses: &witnesses };
    let note = head["checkpoint"].as_str().unwrap().as_bytes();
    let report = trust.verify(pieces.clone(), note).unwrap();
    assert_eq!((report.entries, report.size, report.origin.as_str()), (done.entries, ENTRIES, LOG));
    assert!(report.entries > 10);
    for place in [0, pieces.len() / 2, pieces.len() - 1] {
        let mut dropped = pieces.clone();
        dropped.remove(place);
        assert!(trust.verify(dropped, note).is_err());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_gets_a_file_nor_the_same_auditor_with_another_sight() {
    let dir = tempfile::tempdir().unwrap();
    let exports = exports(dir.path(), LIMITS);
    let who = samples::auditor("one", WHOLE);
    let done = exported(&exports, &who, "", pb::ExportFormat::Ndjson).await;
    let callers = BTreeSet::from([CallerId::parse("spiffe://fuda.test/workload/payroll-1").unwrap()]);
    let narrowed = Sight { tenant: None, callers: Some(callers) };
    for other in [samples::auditor("two", WHOLE), samples::auditor("one", acme()), samples::auditor("one", narrowed)] {
        let read = exports.read(&other, &pb::ReadExportRequest { id: done.id.clone(), offset: 0 });
        assert_eq!(code(&read.unwrap_err()), Code::DeniedOrNotFound);
        assert_eq!(code(&exports.get(&other, &done.id).unwrap_err()), Code::DeniedOrNotFound);
        assert_eq!(code(&exports.delete(&other, &done.id).unwrap_err()), Code::DeniedOrNotFound);
        assert!(exports.list(&other).exports.is_empty());
    }
    assert_eq!(code(&exports.get(&who, "ffff").unwrap_err()), Code::DeniedOrNotFound);
    assert_eq!(exports.list(&who).exports, std::slice::from_ref(&done));
    let behind = pb::ReadExportRequest { id: done.id.clone(), offset: done.bytes + 1 };
    assert_eq!(code(&exports.read(&who, &behind).unwrap_err()), Code::InvalidField);
    exports.delete(&who, &done.id).unwrap();
    assert_eq!(std::fs::read_dir(dir.path().join("exports")).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_is_entered_and_what_is_too_much_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let small = Limits { file_bytes_max: 10_000, ..LIMITS };
    let exports = exports(dir.path(), small);
    let who = samples::auditor("one", WHOLE);
    let start = |filter: &str, format| exports.start(&who, &request(filter, format));
    assert_eq!(code(&start("caller", pb::ExportFormat::Csv).unwrap_err()), Code::InvalidField);
    assert_eq!(code(&start("", pb::ExportFormat::Unspecified).unwrap_err()), Code::InvalidField);
    let mut failed = pb::Export::default();
    for format in [pb::ExportFormat::Csv, pb::ExportFormat::Parquet, pb::ExportFormat::Ledger, pb::ExportFormat::Ndjson]
    {
        failed = exported(&exports, &who, "", format).await;
        assert_eq!((failed.state(), failed.problem.as_str()), (pb::ExportState::Failed, "too_large"), "{format:?}");
    }
    let read = exports.read(&who, &pb::ReadExportRequest { id: failed.id.clone(), offset: 0 });
    assert_eq!(code(&read.unwrap_err()), Code::PreconditionFailed);
    assert!(!exports.data(&failed.id).exists());
    for _ in 4..PER_AUDITOR_MAX {
        start("caller = nobody", pb::ExportFormat::Csv).unwrap();
    }
    assert_eq!(code(&start("", pb::ExportFormat::Csv).unwrap_err()), Code::Overloaded);
    let asked = exports.asker.queries().head().0;
    assert_eq!(asked, 2 + PER_AUDITOR_MAX as u64 + 1, "refused questions are entries, too");
    drop(exports);

    let full = tempfile::tempdir().unwrap();
    let exports = self::exports(full.path(), Limits { total_bytes_max: 15_000, ..small });
    let done = exported(&exports, &who, "caller = nobody", pb::ExportFormat::Csv).await;
    assert_eq!(done.state(), pb::ExportState::Done);
    exports.update(&done.id, |job| job.bytes = 6_000);
    let refused = exports.start(&who, &request("", pb::ExportFormat::Csv));
    assert_eq!(code(&refused.unwrap_err()), Code::Overloaded, "another file may not fit any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn exports_survive_a_restart_and_end_with_their_time() {
    let dir = tempfile::tempdir().unwrap();
    let who = samples::auditor("one", WHOLE);
    let first = exports(dir.path(), LIMITS);
    let done = exported(&first, &who, "decision = denied", pb::ExportFormat::Ndjson).await;
    let file = fetched(&first, &who, &done.id, 0);
    std::fs::write(first.dir.join("stray.new"), "x").unwrap();
    drop(first);

    let second = exports(dir.path(), LIMITS);
    assert_eq!(fetched(&second, &who, &done.id, 0), file);
    assert!(!second.dir.join("stray.new").exists());
    second.update(&done.id, |job| job.expires_ms = 0);
    second.expire();
    assert_eq!(code(&second.get(&who, &done.id).unwrap_err()), Code::DeniedOrNotFound);
    assert!(!second.data(&done.id).exists());
}

/// Entries of a file's part.
const PART_ENTRIES: u64 = 400;

/// A file that a kill cut off behind a part of it, with something torn there; the part, and the whole export.
async fn killed(dir: &Path, who: &Auditor, format: pb::ExportFormat) -> (pb::Export, Part) {
    let first = exports(dir, LIMITS);
    let done = exported(&first, who, "action = detokenize", format).await;
    let file = fetched(&first, who, &done.id, 0);
    let (mut part, mut text) = (Part::default(), Vec::new());
    let meant = (0..ENTRIES).map(samples::entry).filter(|entry| {
        entry.common.tenant.as_ref().is_some_and(|it| it.as_str() == "acme")
            && entry.common.action.code() == "detokenize"
    });
    let mut meant = meant.map(|entry| entry.item.sequence.get());
    let is_entry = |line: &[u8]| match format {
        pb::ExportFormat::Csv => !line.starts_with(&[0xef, 0xbb, 0xbf]),
        pb::ExportFormat::Ledger => line.windows(11).any(|word| word == b"\"canonical\""),
        _ => true,
    };
    for line in file.split_inclusive(|byte| *byte == b'\n') {
        text.extend_from_slice(line);
        if is_entry(line) {
            (part.entries, part.next) = (part.entries + 1, meant.next().unwrap() + 1);
        }
        if part.entries == PART_ENTRIES {
            break;
        }
    }
    (part.bytes, part.sha256) = (text.len() as u64, hex::encode(sha256(&[&text])));
    let job = first.update(&done.id, |job| {
        (job.state, job.part, job.bytes) = (State::Running, Some(part.clone()), 0);
        job.sha256.clear();
    });
    job.unwrap().keep(&first.dir).unwrap();
    text.extend_from_slice(b"{torn");
    std::fs::write(first.data(&done.id), text).unwrap();
    (done, part)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_that_a_restart_interrupts_becomes_the_file_it_would_have_been() {
    let who = samples::auditor("acme", acme());
    let formats = [pb::ExportFormat::Csv, pb::ExportFormat::Ndjson, pb::ExportFormat::Ocsf, pb::ExportFormat::Ledger];
    for format in formats {
        let dir = tempfile::tempdir().unwrap();
        let (whole, part) = killed(dir.path(), &who, format).await;
        assert!(part.entries == PART_ENTRIES && whole.entries > PART_ENTRIES && part.bytes < whole.bytes, "{format:?}");
        let second = exports(dir.path(), LIMITS);
        let asked = second.asker.queries().head().0;
        let found = second.get(&who, &whole.id).unwrap().export.unwrap();
        assert_eq!((found.state(), found.bytes), (pb::ExportState::Running, 0));
        second.resume();
        assert!(second.jobs.lock().get(&whole.id).unwrap().job.entries >= PART_ENTRIES, "{format:?} begins anew");
        let done = ended(&second, &who, &whole.id).await;
        assert_eq!((done.state(), done.problem.as_str()), (pb::ExportState::Done, ""), "{format:?}");
        assert_eq!((done.entries, done.bytes, &done.sha256), (whole.entries, whole.bytes, &whole.sha256), "{format:?}");
        let file = fetched(&second, &who, &whole.id, 0);
        assert_eq!(sha256(&[&file]).as_slice(), whole.sha256, "{format:?}");
        assert_eq!(second.asker.queries().head().0, asked, "its question is entered once");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_beginning_is_begun_anew_and_what_was_not_asked_is_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let who = samples::auditor("acme", acme());
    let (whole, _) = killed(dir.path(), &who, pb::ExportFormat::Ndjson).await;
    let second = exports(dir.path(), LIMITS);
    std::fs::write(second.data(&whole.id), b"somebody was here").unwrap();
    second.resume();
    let done = ended(&second, &who, &whole.id).await;
    assert_eq!((done.state(), &done.sha256), (pb::ExportState::Done, &whole.sha256));

    // Parquet has no parts. Whoever writes another question, auditor, sight or place into a description gets nothing.
    let parquet = exported(&second, &who, "action = detokenize", pb::ExportFormat::Parquet).await;
    second.update(&parquet.id, |job| job.state = State::Running).unwrap().keep(&second.dir).unwrap();
    let job = second.jobs.lock().get(&whole.id).unwrap().job.clone();
    let changes: [fn(&mut Job); 6] = [
        |job| job.filter = "action = tokenize".to_owned(),
        |job| job.format = pb::ExportFormat::Csv.into(),
        |job| job.caller = "spiffe://fuda.test/person/other".to_owned(),
        |job| job.tenant = None,
        |job| job.asked = Some(1),
        |job| job.asked = None,
    ];
    let ids: Vec<String> = (0..changes.len()).map(|place| format!("{place:032x}")).collect();
    for (id, change) in ids.iter().zip(changes) {
        let mut job = Job { id: id.clone(), state: State::Running, ..job.clone() };
        change(&mut job);
        job.keep(&second.dir).unwrap();
    }
    drop(second);
    let third = exports(dir.path(), LIMITS);
    third.resume();
    for id in &ids {
        let job = third.jobs.lock().get(id).unwrap().job.clone();
        assert_eq!((job.state, job.problem.as_str()), (State::Failed, "interrupted"), "{id}");
        assert!(!third.data(id).exists());
    }
    let done = ended(&third, &who, &parquet.id).await;
    assert_eq!((done.state(), done.sha256), (pb::ExportState::Done, parquet.sha256));
}
