use std::time::Duration;

use object_store::memory::InMemory;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::super::record::tests::records;
use super::*;

/// The time of all sample entries.
const TIME: Timestamp = Timestamp(1_769_385_600_123);
const SPAN: Duration = Duration::from_secs(60);

fn sink(store: &Arc<InMemory>, object_bytes_max: usize) -> ObjectSink {
    let settings = r#"{"url": "s3://bucket/ledger"}"#;
    let settings = serde_json::from_str(settings).unwrap();
    let mut sink = ObjectSink::new(settings);
    (sink.object_bytes_max, sink.span, sink.store) = (object_bytes_max, SPAN, Some(Arc::clone(store) as _));
    sink
}

async fn objects(store: &InMemory) -> Vec<(String, u64, Vec<u64>)> {
    let mut names: Vec<Path> = store
        .list_with_delimiter(Some(&Path::from("ledger")))
        .await
        .unwrap()
        .objects
        .into_iter()
        .map(|it| it.location)
        .collect();
    names.sort();
    let mut objects = Vec::new();
    for name in names {
        let found = store.get(&name).await.unwrap().bytes().await.unwrap();
        let text = String::from_utf8(zstd::decode_all(found.as_ref()).unwrap()).unwrap();
        let sequence = |line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            line["attributes"]["fuda.sequence"].as_u64().unwrap()
        };
        objects.push((name.filename().unwrap().to_owned(), found.len() as u64, text.lines().map(sequence).collect()));
    }
    objects
}

fn names(objects: &[(String, u64, Vec<u64>)]) -> Vec<&str> {
    objects.iter().map(|(name, ..)| name.as_str()).collect()
}

#[tokio::test]
async fn objects_end_at_a_size_and_hold_every_entry_once() {
    let store = Arc::new(InMemory::new());
    let line = records(0..1)[0].line().len();
    let mut sink = sink(&store, line * 11 - 1);
    let mut cursor = Sequence(0);
    // As a line does it: batches of 7, and the cursor moves to what was put.
    for _ in 0..20 {
        let from = sink.reads_from(cursor).get();
        let batch = records(from..(from + 7).min(35));
        cursor = sink.deliver(&batch, TIME).await.unwrap();
    }
    assert_eq!(cursor, Sequence(30), "the last five are gathered, and not yet over");
    sink.reads_from(cursor);
    assert_eq!(
        sink.deliver(&[], TIME.saturating_add(SPAN)).await,
        Ok(cursor),
        "perhaps not all of that time are there"
    );
    let over = TIME.saturating_add(SPAN).saturating_add(SETTLES_WITHIN);
    assert_eq!(sink.deliver(&[], over).await, Ok(Sequence(35)));
    let objects = objects(&store).await;
    let expected = ["0-10", "10-10", "20-10", "30-5"].map(|it| {
        let (from, count) = it.split_once('-').unwrap();
        format!("entries-{from:0>20}-{count}.ndjson.zst")
    });
    assert_eq!(names(&objects), expected);
    let all: Vec<u64> = objects.iter().flat_map(|(_, _, sequences)| sequences.clone()).collect();
    assert_eq!(all, (0..35).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_object_holds_no_more_than_a_cursor_steps_over() {
    let store = Arc::new(InMemory::new());
    let mut sink = sink(&store, 1 << 30);
    let mut cursor = Sequence(0);
    while cursor == Sequence(0) {
        let from = sink.reads_from(cursor).get();
        cursor = sink.deliver(&records(from..from + 512), TIME).await.unwrap();
    }
    assert_eq!(cursor, Sequence(65_536));
    let expected = ["entries-00000000000000000000-65536.ndjson.zst"];
    assert_eq!(names(&objects(&store).await), expected);
}

#[tokio::test]
async fn objects_end_where_time_passed_whoever_gathers() {
    let store = Arc::new(InMemory::new());
    let mut late = records(4..6);
    late.iter_mut().for_each(|record| record.time = TIME.saturating_add(SPAN));
    let mut all = records(0..4);
    all.extend(late);
    for batch in [1, 2, 5] {
        let mut sink = sink(&store, 1 << 20);
        let mut cursor = Sequence(0);
        for _ in 0..10 {
            let from = usize::try_from(sink.reads_from(cursor).get()).unwrap();
            let records = &all[from..(from + batch).min(all.len())];
            cursor = sink.deliver(records, TIME).await.unwrap();
        }
        assert_eq!(cursor, Sequence(4));
    }
    assert_eq!(names(&objects(&store).await), ["entries-00000000000000000000-4.ndjson.zst"], "always the same one");
}

#[tokio::test]
async fn an_object_that_is_there_already_is_taken_when_it_holds_the_same() {
    let store = Arc::new(InMemory::new());
    let over = TIME.saturating_add(SPAN).saturating_add(SETTLES_WITHIN);
    let put = async |store: &Arc<InMemory>| {
        let mut sink = sink(store, 1 << 20);
        sink.reads_from(Sequence(3));
        sink.deliver(&records(3..9), over).await
    };
    // The answer to the first attempt was lost, and so was its leader.
    assert_eq!(put(&store).await, Ok(Sequence(9)));
    assert_eq!(put(&store).await, Ok(Sequence(9)));
    let name = Path::from("ledger/entries-00000000000000000003-6.ndjson.zst");
    let lines: String = records(3..9).iter().map(Record::line).collect();
    let other_level = zstd::encode_all(lines.as_bytes(), 19).unwrap();
    store.put(&name, other_level.into()).await.unwrap();
    assert_eq!(put(&store).await, Ok(Sequence(9)), "other bytes of the same lines");

    let fewer = zstd::encode_all(lines.replace("acme", "evil").as_bytes(), 3).unwrap();
    for foreign in [fewer, b"no zstd".to_vec(), vec![0; lines.len() + 100_000], Vec::new()] {
        store.put(&name, foreign.into()).await.unwrap();
        assert_eq!(put(&store).await, Err(DIFFERS));
    }
}

#[tokio::test]
async fn a_cursor_that_moved_elsewhere_begins_anew() {
    let store = Arc::new(InMemory::new());
    let mut sink = sink(&store, 1 << 20);
    assert_eq!(sink.reads_from(Sequence(0)), Sequence(0));
    assert_eq!(sink.deliver(&records(0..5), TIME).await, Ok(Sequence(0)));
    assert_eq!(sink.reads_from(Sequence(0)), Sequence(5));
    assert_eq!(sink.reads_from(Sequence(3)), Sequence(3), "another leader put three of them");
    sink.deliver(&records(3..5), TIME).await.unwrap();
    sink.forget();
    assert_eq!(sink.reads_from(Sequence(3)), Sequence(3));
}

/// Answers every request with `status`; without one, with nothing.
async fn serve(listener: TcpListener, status: Option<&'static str>) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        tokio::spawn(async move {
            let mut request = vec![0; 65_536];
            if stream.read(&mut request).await.unwrap_or(0) == 0 {
                return;
            }
            let Some(status) = status else { return std::future::pending().await };
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
        });
    }
}

#[tokio::test]
async fn what_a_store_answers_decides_whether_a_person_is_needed() {
    let cases = [
        (None, Answer::Later("it did not answer in time", None), true),
        (Some("503 Slow Down"), Answer::Later("putting failed", None), true),
        (Some("500 Internal Server Error"), Answer::Later("putting failed", None), true),
        (Some("404 Not Found"), Answer::Never("not_found"), true),
        (Some("403 Forbidden"), Answer::Never("permission_denied"), false),
        (Some("401 Unauthorized"), Answer::Never("permission_denied"), false),
    ];
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("credentials");
    std::fs::write(&file, "aws_access_key_id = a\naws_secret_access_key = b\n").unwrap();
    for (status, expected, keeps_credentials) in cases {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let serving = tokio::spawn(serve(listener, status));
        let settings = serde_json::json!({"url": "s3://bucket/ledger", "endpoint": endpoint, "deadline_ms": 700,
            "credentials_file": file});
        let mut sink = ObjectSink::new(serde_json::from_value(settings).unwrap());
        sink.reads_from(Sequence(0));
        let answer = sink.deliver(&records(0..2), TIME.saturating_add(SPAN * 10)).await;
        assert_eq!(answer, Err(expected), "{status:?}");
        assert_eq!(sink.store.is_some(), keeps_credentials, "{status:?}");
        serving.abort();
    }
}
