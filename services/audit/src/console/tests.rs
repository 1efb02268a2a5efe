//! The console as a browser sees it, over a store of synthetic entries.

use std::time::{Duration, SystemTime};

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use fuda_core::CallerId;
use fuda_runtime::listener::PeerInfo;
use fuda_runtime::tls::PeerIdentity;
use http::header::{CONTENT_SECURITY_POLICY, SET_COOKIE};
use tower::ServiceExt as _;

use super::*;
use crate::samples;

const AUDITOR: &str = "spiffe://fuda.test/person/auditor";

fn peer(caller: &str, serial: u8) -> PeerInfo {
    let identity = PeerIdentity {
        caller: CallerId::parse(caller).unwrap(),
        not_after: SystemTime::now() + Duration::from_secs(60),
        issuer: vec![1],
        serial: vec![serial],
    };
    PeerInfo { certificate: Some(Arc::new(identity)), remote_addr: ([127, 0, 0, 1], 1).into() }
}

async fn answer(console: &Arc<Console>, who: Option<PeerInfo>, request: Request) -> (StatusCode, HeaderMap, String) {
    let mut request = request;
    if let Some(who) = who {
        request.extensions_mut().insert(who);
    }
    let response = router(console).oneshot(request).await.unwrap();
    let (head, body) = response.into_parts();
    let body = to_bytes(body, 1 << 22).await.unwrap();
    (head.status, head.headers, String::from_utf8(body.to_vec()).unwrap())
}

fn get_page(path: &str) -> Request {
    Request::builder().uri(path).header("host", "audit.test").body(Body::empty()).unwrap()
}

async fn shown(console: &Arc<Console>, path: &str) -> String {
    let (status, _, text) = answer(console, Some(peer(AUDITOR, 1)), get_page(path)).await;
    assert_eq!(status, StatusCode::OK, "{path}: {text}");
    text
}

#[tokio::test]
async fn only_auditors_see_anything_and_every_answer_is_guarded() {
    let (_dir, console) = samples::console(300);
    for path in ["/", "/alarms", "/entry/7", "/entry/7/proof", "/static/console.css", "/nowhere"] {
        for who in [None, Some(peer("spiffe://fuda.test/person/somebody", 1))] {
            let (status, headers, text) = answer(&console, who, get_page(path)).await;
            assert_eq!(status, StatusCode::FORBIDDEN, "{path}");
            assert!(!text.contains("fuda.test") && !text.contains("nav"), "{path}: {text}");
            assert_eq!(headers[CONTENT_SECURITY_POLICY], guard::CONTENT_POLICY);
        }
        let (_, headers, _) = answer(&console, Some(peer(AUDITOR, 1)), get_page(path)).await;
        for name in ["content-security-policy", "cache-control", "referrer-policy", "x-content-type-options"] {
            assert!(headers.contains_key(name), "{path}: {name}");
        }
        for name in ["cross-origin-opener-policy", "cross-origin-resource-policy"] {
            assert_eq!(headers[name], "same-origin", "{path}");
        }
    }
}

#[tokio::test]
async fn no_page_holds_anything_inline() {
    let (_dir, console) = samples::console(300);
    for path in [
        "/",
        "/alarms",
        "/search",
        "/who",
        "/patterns",
        "/denials",
        "/questions",
        "/reports",
        "/sign-off",
        "/exports",
        "/predecessors",
        "/entry/7",
        "/nowhere",
    ] {
        let (_, _, text) = answer(&console, Some(peer(AUDITOR, 1)), get_page(path)).await;
        for inline in ["<style", " style=", " onclick=", " onload=", "javascript:", "<script>", "https://", "http://"] {
            assert!(!text.contains(inline), "{path}: {inline}");
        }
        for script in text.split("<script").skip(1) {
            assert!(script.starts_with(" src=\"/static/"), "{path}");
        }
    }
}

#[tokio::test]
async fn pages_speak_the_language_asked_for_and_keep_it() {
    let (_dir, console) = samples::console(10);
    assert!(shown(&console, "/").await.contains("検証済みの記録"));
    let (_, headers, text) = answer(&console, Some(peer(AUDITOR, 1)), get_page("/alarms?lang=en")).await;
    assert!(text.contains("<html lang=\"en\">") && text.contains("There are no alarms."));
    let cookie = headers[SET_COOKIE].to_str().unwrap();
    assert!(cookie.starts_with("fuda-lang=en;") && cookie.contains("Secure") && cookie.contains("HttpOnly"));
    assert!(text.contains("href=\"/alarms?lang=ja\""), "the other language is one link away");
}

#[tokio::test]
async fn every_question_of_a_page_is_entered_before_its_answer_leaves() {
    let (_dir, console) = samples::console(300);
    let asked = || console.audit.asker.queries().head().0;
    for (path, questions) in [
        ("/", 0),
        ("/search", 0),
        ("/search?tenant=acme&decision=denied", 1),
        ("/who?tenant=acme&subject=e-1", 1),
        ("/patterns?from=2026-01-01&until=2026-01-31", 2),
        ("/denials?from=2026-01-01&until=2026-01-31", 1),
        ("/entry/7", 1),
        ("/entry/7/proof", 1),
        ("/questions", 1),
        ("/exports", 0),
        ("/predecessors", 0),
        ("/sign-off?tenant=acme&month=2025-12", 2),
        ("/report?report=review&tenant=acme&from=2026-01-01&until=2026-01-31", 1),
    ] {
        let before = asked();
        shown(&console, path).await;
        assert_eq!(asked() - before, questions, "{path}");
    }
    // Refused ones too.
    let before = asked();
    let (status, _, text) = answer(&console, Some(peer(AUDITOR, 1)), get_page("/search?filter=nonsense")).await;
    assert_eq!((status, asked() - before), (StatusCode::BAD_REQUEST, 1), "{text}");
}

async fn post(console: &Arc<Console>, serial: u8, fields: &str, site: &str) -> (StatusCode, HeaderMap, String) {
    post_to(console, "/sign-off", serial, fields, site).await
}

async fn post_to(
    console: &Arc<Console>,
    path: &str,
    serial: u8,
    fields: &str,
    site: &str,
) -> (StatusCode, HeaderMap, String) {
    let request = Request::builder()
        .method("POST")
        .uri(path)
        .header("host", "audit.test")
        .header("sec-fetch-site", site)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Body::from(fields.to_owned()));
    answer(console, Some(peer(AUDITOR, serial)), request.unwrap()).await
}

/// The token of the form on a page.
fn form_of(page: &str) -> &str {
    page.split("name=\"form\" value=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap()
}

#[tokio::test]
async fn only_a_form_of_ours_for_this_very_certificate_changes_anything() {
    let (_dir, console) = samples::console(300);
    let page = shown(&console, "/sign-off?tenant=acme&month=2025-12").await;
    let form = form_of(&page);
    let fields = |form: &str| format!("form={form}&tenant=acme&month=2025-12&note=seen");
    let asked = || console.audit.asker.queries().head().0;
    let before = asked();
    for (serial, fields, site) in [
        (1, fields(""), "same-origin"),
        (1, fields(&form.replace(|c: char| c.is_ascii_digit(), "0")), "same-origin"),
        (2, fields(form), "same-origin"),
        (1, fields(form), "cross-site"),
        (1, fields(form), "none"),
    ] {
        let (status, ..) = post(&console, serial, &fields, site).await;
        assert_eq!((status, asked()), (StatusCode::FORBIDDEN, before), "{fields} {site}");
    }
    // The samples begin in January: nothing happened in December, and that can be signed off.
    let (status, _, text) = post(&console, 1, &fields(form), "same-origin").await;
    assert_eq!(status, StatusCode::OK, "{text}");
    assert!(text.contains("id=\"done\"") && text.contains("seen"), "{text}");
    assert!(shown(&console, "/sign-off?tenant=acme&month=2025-12").await.contains("id=\"signed\""));
}

#[tokio::test]
async fn a_document_is_framed_by_our_own_page_only() {
    let (_dir, console) = samples::console(300);
    let query = "report=review&tenant=acme&from=2026-01-01&until=2026-01-31";
    let page = shown(&console, &format!("/reports?{query}&lang=en")).await;
    assert!(page.contains("sandbox=\"\"") && page.contains("<iframe"), "{page}");
    let (status, headers, text) = answer(&console, Some(peer(AUDITOR, 1)), get_page(&format!("/report?{query}"))).await;
    assert_eq!(status, StatusCode::OK, "{text}");
    let policy = headers[CONTENT_SECURITY_POLICY].to_str().unwrap();
    assert!(policy.contains("frame-ancestors 'self'") && policy.contains("sandbox"), "{policy}");
    let (_, headers, _) =
        answer(&console, Some(peer(AUDITOR, 1)), get_page(&format!("/report?{query}&format=csv"))).await;
    assert!(headers["content-disposition"].to_str().unwrap().starts_with("attachment; filename="));
    let (status, ..) = answer(&console, Some(peer(AUDITOR, 1)), get_page("/report?report=no&tenant=acme")).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn pages_show_what_the_store_counts() {
    let (_dir, console) = samples::console(3_000);
    let all: Vec<_> = (0..3_000).map(samples::entry).collect();
    let denied = all.iter().filter(|entry| entry.item.decision == fuda_ledger::Decision::Denied).count();
    let text = shown(&console, "/denials?from=2026-01-01&until=2026-12-31&lang=en").await;
    assert!(text.contains(&format!("<code>budget_exhausted</code> ({denied})")), "{denied} in {text}");
    assert!(text.contains("The grant's budget of distinct persons is used up"));
    let one = &all[4];
    let (tenant, subject) = (one.common.tenant.as_ref().unwrap(), one.item.subject.as_ref().unwrap());
    let text = shown(&console, &format!("/who?tenant={tenant}&subject={subject}")).await;
    assert!(text.contains(one.common.caller.as_str()), "{text}");
    let text = shown(&console, "/patterns?from=2026-01-01&until=2026-12-31&lang=en").await;
    assert!(text.contains("<svg") && text.contains("Monday × 10: ") && !text.contains(" style="), "{text}");
    let first = shown(&console, &format!("/search?tenant={tenant}&lang=en")).await;
    let next = first.split("rel=\"next\" href=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    let second = shown(&console, &next.replace("&amp;", "&")).await;
    assert!(second.contains("id=\"entries\"") && first != second);
}

#[tokio::test]
async fn what_somebody_wrote_is_never_markup() {
    let (_dir, console) = samples::console(10);
    let text = shown(&console, "/search?from=&subject=%3Cscript%3Ealert(1)%3C%2Fscript%3E&lang=en").await;
    assert!(text.contains("&lt;script&gt;alert(1)") && !text.contains("<script>"), "{text}");
}

#[tokio::test]
async fn an_entry_is_shown_with_what_proves_it() {
    let (_dir, console) = samples::console(300);
    let entry = samples::entry(7);
    let text = shown(&console, "/entry/7?lang=en").await;
    let subject = entry.item.subject.unwrap().to_string();
    assert!(text.contains(&format!("data-field=\"subject\">{subject}<")), "{text}");
    let proof: serde_json::Value = serde_json::from_str(&shown(&console, "/entry/7/proof").await).unwrap();
    assert_eq!(proof["canonical"], hex::encode(samples::row(7).canonical));
    assert_eq!(proof["path"].as_array().unwrap().len(), 9, "of 300 entries");
    for path in ["/entry/300", "/entry/18446744073709551615"] {
        let (status, _, text) = answer(&console, Some(peer(AUDITOR, 1)), get_page(path)).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{text}");
    }
}

#[tokio::test]
async fn foreign_pages_cannot_ask_in_an_auditors_name() {
    let (_dir, console) = samples::console(10);
    for (path, expected) in [("/", StatusCode::OK), ("/alarms", StatusCode::FORBIDDEN)] {
        let mut request = get_page(path);
        request.headers_mut().insert("sec-fetch-site", "cross-site".parse().unwrap());
        assert_eq!(answer(&console, Some(peer(AUDITOR, 1)), request).await.0, expected, "{path}");
    }
}

#[tokio::test]
async fn a_file_is_started_downloaded_whole_and_removed() {
    let (_dir, console) = samples::console(3_000);
    let asked = || console.audit.asker.queries().head().0;
    let page = shown(&console, "/exports?lang=en").await;
    let form = form_of(&page).to_owned();
    let start = format!("form={form}&tenant=acme&decision=denied&format=ndjson&from=&until=");
    for (fields, site, status) in [
        (start.replace(&form, "00"), "same-origin", StatusCode::FORBIDDEN),
        (start.clone(), "cross-site", StatusCode::FORBIDDEN),
        (start.replace("ndjson", "exe"), "same-origin", StatusCode::BAD_REQUEST),
    ] {
        let before = asked();
        let (found, ..) = post_to(&console, "/exports", 1, &fields, site).await;
        assert_eq!((found, asked()), (status, before), "{fields}");
    }
    let before = asked();
    let (status, headers, text) = post_to(&console, "/exports", 1, &start, "same-origin").await;
    assert_eq!((status, asked() - before), (StatusCode::SEE_OTHER, 1), "{text}");
    assert_eq!(headers["location"], "/exports");
    let until = std::time::Instant::now() + Duration::from_secs(30);
    let page = loop {
        let page = shown(&console, "/exports?lang=en").await;
        if page.contains(" download>Download</a>") {
            break page;
        }
        assert!(std::time::Instant::now() < until, "{page}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(page.contains("tenant = &quot;acme&quot; AND decision = &quot;denied&quot;"), "{page}");
    let address = page.split("href=\"/export/").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    let address = format!("/export/{address}");
    let (status, headers, text) = answer(&console, Some(peer(AUDITOR, 1)), get_page(&address)).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(headers["content-length"].to_str().unwrap(), text.len().to_string());
    assert!(headers["content-disposition"].to_str().unwrap().ends_with(".ndjson\""));
    let denied = (0..3_000).map(samples::entry).filter(|entry| {
        entry.item.decision == fuda_ledger::Decision::Denied && entry.common.tenant.as_ref().unwrap().as_str() == "acme"
    });
    assert_eq!(text.lines().count(), denied.count());
    let digest = fuda_crypto::digest::sha256(&[text.as_bytes()]);
    assert!(page.contains(&hex::encode(digest)), "the digest shown is that of the file");
    // Others do not get it, and a request that is no form of ours does not remove it.
    let tanaka = peer("oidc:corp/tanaka", 2);
    assert_eq!(answer(&console, Some(tanaka), get_page(&address)).await.0, StatusCode::NOT_FOUND);
    let remove = format!("{address}/remove");
    assert_eq!(post_to(&console, &remove, 1, "form=", "same-origin").await.0, StatusCode::FORBIDDEN);
    assert_eq!(post_to(&console, &remove, 1, &format!("form={form}"), "same-origin").await.0, StatusCode::SEE_OTHER);
    assert_eq!(answer(&console, Some(peer(AUDITOR, 1)), get_page(&address)).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn codes_stand_beside_their_names() {
    let (_dir, console) = samples::console(300);
    let japanese = shown(&console, "/search?tenant=acme&lang=ja").await;
    assert!(japanese.contains("番号の表示 <code class=\"quiet\">detokenize</code>"), "{japanese}");
    assert!(japanese.contains("許可 <code class=\"quiet\">allowed</code>"));
    assert!(japanese.contains("<option value=\"freeze\">凍結 – freeze</option>"));
    let english = shown(&console, "/search?tenant=acme&lang=en").await;
    assert!(english.contains("reveal <code class=\"quiet\">detokenize</code>"), "{english}");
    assert!(english.contains("<code>allowed</code>"), "no name where the code says as much");
    let denied = (0..300).find(|place| samples::entry(*place).item.reason.is_some()).unwrap();
    let entry = shown(&console, &format!("/entry/{denied}?lang=ja")).await;
    assert!(entry.contains("<span data-field=\"decision\">denied</span> <span class=\"quiet\">拒否</span>"), "{entry}");
}

#[tokio::test]
async fn an_earlier_ledger_is_one_link_away_and_never_forgotten() {
    let (_dir, console) = samples::succeeded_console(300);
    let page = shown(&console, "/predecessors?lang=en").await;
    let address = page.split("href=\"/search?origin=").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    assert_eq!(address, "fuda.test%2Flog");
    assert!(shown(&console, "/search?tenant=acme&lang=en").await.contains("Nothing was found."));
    let page = shown(&console, &format!("/search?origin={address}&tenant=acme&lang=en")).await;
    assert!(page.contains("This is an earlier ledger:") && page.contains("name=\"origin\" value=\"fuda.test/log\""));
    let entry = page.split("href=\"/entry/").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    let page = shown(&console, &format!("/entry/{}&lang=en", entry.replace("&amp;", "&"))).await;
    assert!(page.contains("data-pending=\"Paste the public key"), "{page}");
    assert!(page.contains("/proof?origin=fuda.test%2Flog\"") && page.contains("id=\"log-key\" value=\"\""), "{page}");
    let (sequence, query) = entry.split_once('?').unwrap();
    let proof: serde_json::Value =
        serde_json::from_str(&shown(&console, &format!("/entry/{sequence}/proof?{query}")).await).unwrap();
    assert!(proof["checkpoint"].as_str().unwrap().starts_with("fuda.test/log\n"), "{proof}");
    let subject = samples::entry(sequence.parse().unwrap()).item.subject.unwrap();
    let who = shown(&console, &format!("/who?tenant=acme&subject={subject}&lang=en")).await;
    assert!(who.contains("id=\"unread\"") && who.contains("/who?origin=fuda.test%2Flog"), "{who}");
    let who = shown(&console, &format!("/who?tenant=acme&subject={subject}&origin={address}&lang=en")).await;
    assert!(!who.contains("id=\"unread\"") && who.contains("id=\"who\""), "{who}");
    let (status, ..) = answer(&console, Some(peer(AUDITOR, 1)), get_page("/search?origin=elsewhere")).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}
