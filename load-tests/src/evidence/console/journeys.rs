//! What auditors come for, step by step, by nothing but Tab, Enter and the letters of the keyboard.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::stage::{FOREIGN_PURPOSE, Stage};
use crate::browser::{Browser, TAB};
use crate::cluster::TENANT;
use crate::evidence::{Ctx, progress};

/// Where screenshots are written, `ja-overview.png` and others; unset: none are taken.
const SCREENSHOTS_ENV: &str = "FUDA_CONSOLE_SCREENSHOTS";
/// Bytes of one screenshot.
const SCREENSHOT_BYTES_MAX: usize = 150 << 10;

/// All of them, in order; one that fails does not keep the others from being tried.
pub(super) async fn all(_: &Ctx, stage: &Stage, browser: &Browser) -> Result<Vec<(&'static str, Result<Value>)>> {
    let mut done = Vec::new();
    done.push(("who_saw_one_employee", Box::pin(who(stage, browser)).await));
    done.push(("explain_a_denial_burst", Box::pin(denials(stage, browser)).await));
    done.push(("print_the_annual_pack", Box::pin(annual_pack(stage, browser)).await));
    done.push(("verify_one_entry", Box::pin(verify(stage, browser)).await));
    done.push(("sign_off_a_month", Box::pin(sign_off(stage, browser)).await));
    for (name, journey) in &done {
        progress(&format!("{name}: {}", if journey.is_ok() { "done" } else { "FAILED" }));
    }
    Ok(done)
}

/// Starts at the first page and follows the menu.
async fn begin(stage: &Stage, browser: &Browser, place: &str) -> Result<()> {
    browser.open(&stage.forwarder.url("/")).await?;
    browser.wait("document.querySelector('#trust') !== null", "document.body.innerText").await?;
    browser.enter(&format!("nav a[href='{place}']")).await?;
    browser.wait(&format!("location.pathname === {place:?}"), "location.href").await
}

async fn who(stage: &Stage, browser: &Browser) -> Result<Value> {
    browser.open(&stage.forwarder.url("/")).await?;
    let trust = browser.text("#trust").await?;
    ensure!(browser.look("document.querySelector('#trust').classList.contains('good')").await? == true, "{trust}");
    // The first stop of the keyboard leads past the menu.
    browser.keys(TAB).await?;
    ensure!(browser.look("document.activeElement.className").await? == "skip", "the skip link is not first");
    begin(stage, browser, "/who").await?;
    browser.write("#tenant", TENANT).await?;
    browser.write("#subject", &stage.subject).await?;
    browser.enter("#subject").await?;
    browser.wait("document.querySelector('#who') !== null", "document.body.innerText").await?;
    let mut expected: Vec<Vec<String>> = stage
        .counted(
            |entry| entry.subject == stage.subject,
            |entry| [&entry.caller, &entry.purpose, &entry.action, &entry.decision].map(Clone::clone),
        )
        .into_iter()
        .map(|(names, entries)| names.into_iter().chain([entries.to_string()]).collect())
        .collect();
    let rows = browser.rows("#who").await?;
    let mut shown: Vec<Vec<String>> = rows
        .iter()
        .map(|row| [1, 3, 4, 5, 6].map(|cell| row.get(cell).cloned().unwrap_or_default()).to_vec())
        .collect();
    expected.sort_unstable();
    shown.sort_unstable();
    ensure!(shown == expected, "shown {shown:?}, in the ledger {expected:?}");
    Ok(json!({ "rows": rows.len(), "differences": 0 }))
}

async fn denials(stage: &Stage, browser: &Browser) -> Result<Value> {
    begin(stage, browser, "/denials").await?;
    browser.wait("document.querySelector('#bursts') !== null", "document.body.innerText").await?;
    let expected = stage.counted(
        |entry| entry.decision == "denied" && entry.purpose == FOREIGN_PURPOSE,
        |entry| (entry.caller.clone(), entry.reason.clone()),
    );
    let ((caller, reason), count) = expected.first_key_value().context("the ledger has denials")?;
    let rows = browser.rows("#bursts").await?;
    let of_caller = rows.iter().filter(|row| row.get(2) == Some(caller) && row.get(3) == Some(reason));
    let number = |cell: &String| cell.split_whitespace().next().and_then(|digits| digits.parse::<usize>().ok());
    let shown: usize = of_caller.filter_map(|row| row.get(4).and_then(number)).sum();
    ensure!(shown == *count, "shown {shown} denials of {caller} for {reason}, in the ledger {count}");
    let explained = browser.text("#reasons dd").await?;
    ensure!(explained.contains('→'), "the reason is not explained: {explained}");
    // From the burst to its entries.
    browser.enter("#bursts tbody td.number a").await?;
    browser.wait("document.querySelector('#entries') !== null", "document.body.innerText").await?;
    let entries = browser.rows("#entries").await?;
    ensure!(entries.len() == shown, "{} entries behind the burst of {shown}", entries.len());
    Ok(json!({ "denials": shown, "reason": reason, "explained": true }))
}

async fn verify(stage: &Stage, browser: &Browser) -> Result<Value> {
    begin(stage, browser, "/search").await?;
    browser.write("#subject", &stage.subject).await?;
    browser.write("#caller", &stage.payroll).await?;
    browser.enter("#caller").await?;
    browser.wait("document.querySelector('#entries') !== null", "document.body.innerText").await?;
    browser.enter("#entries tbody th a").await?;
    let steps = verdict(browser).await?;
    ensure!(steps.iter().all(|(_, class)| class == "pass"), "{steps:?}: {}", browser.text("#verdict").await?);
    // The same with the keys that an auditor pastes; a wrong one must not pass.
    let key = browser.look("document.querySelector('#witness-key').value").await?;
    let key = key.as_str().context("a key")?;
    let wrong = browser.look("document.querySelector('#log-key').value").await?;
    browser.write("#witness-key", wrong.as_str().context("a key")?).await?;
    browser.enter("#check").await?;
    ensure!(
        verdict(browser).await?.iter().any(|(step, class)| step == "witness" && class == "fail"),
        "a wrong key passes"
    );
    browser.write("#witness-key", key).await?;
    browser.enter("#check").await?;
    ensure!(verdict(browser).await?.iter().all(|(_, class)| class == "pass"), "the right key does not pass again");
    Ok(json!({ "steps": steps.len() }))
}

async fn annual_pack(stage: &Stage, browser: &Browser) -> Result<Value> {
    begin(stage, browser, "/reports").await?;
    browser.choose("#report", "review").await?;
    browser.write("#tenant", TENANT).await?;
    browser.enter("#tenant").await?;
    browser.wait("document.querySelector('#preview') !== null", "document.body.innerText").await?;
    browser.enter_frame(Some("#preview")).await?;
    let previewed = browser.text("body").await?;
    browser.enter_frame(None).await?;
    ensure!(previewed.contains(TENANT) && previewed.chars().count() > 500, "the preview shows: {previewed}");
    browser.enter("#open").await?;
    browser.wait("location.pathname === '/report'", "location.href").await?;
    let page = browser.text("body").await?;
    ensure!(page == previewed || page.chars().count() > 500, "the page to print differs from its preview");
    // Denials of the period stand in the pack, as the ledger has them.
    let denied = stage.ledger.iter().filter(|entry| entry.tenant == TENANT && entry.decision == "denied").count();
    ensure!(page.contains(&denied.to_string()), "{denied} denials are not in the pack: {page}");
    let pdf = browser.print().await?;
    ensure!(pdf.starts_with(b"%PDF-") && pdf.len() > 10_000, "what was printed has {} bytes", pdf.len());
    Ok(json!({ "pdf_bytes": pdf.len(), "denials": denied }))
}

async fn sign_off(stage: &Stage, browser: &Browser) -> Result<Value> {
    begin(stage, browser, "/sign-off").await?;
    browser.write("#tenant", TENANT).await?;
    browser.enter("#tenant").await?;
    browser.wait("document.querySelector('#note') !== null", "document.body.innerText").await?;
    browser.write("#note", "reviewed in the browser").await?;
    browser.enter("#note").await?;
    browser.wait("document.querySelector('#done') !== null", "document.body.innerText").await?;
    begin(stage, browser, "/sign-off").await?;
    browser.write("#tenant", TENANT).await?;
    browser.enter("#tenant").await?;
    browser.wait("document.querySelector('#signed') !== null", "document.body.innerText").await?;
    let kept = browser.rows("#signed").await?;
    let ours =
        kept.iter().find(|row| row.iter().any(|cell| cell == "reviewed in the browser")).context("the sign-off")?;
    ensure!(ours.iter().any(|cell| cell.contains("person/auditor")), "{ours:?}");
    // The sign-off is in the ledger of questions, and so is everything that was asked before it.
    begin(stage, browser, "/questions").await?;
    let questions = browser.rows("#questions").await?;
    ensure!(questions.iter().any(|row| row.iter().any(|cell| cell.contains("SignOffPeriod"))), "{questions:?}");
    Ok(json!({ "sign_offs": kept.len(), "questions": questions.len() }))
}

/// Waits for the verdict; what every step came to.
pub(super) async fn verdict(browser: &Browser) -> Result<Vec<(String, String)>> {
    let over = "/(pass|fail)$/.test((document.querySelector('#verdict') || {}).className || '')";
    browser.wait(over, "document.body.innerText").await?;
    let steps = "Array.from(document.querySelectorAll('#steps li'), step => [step.dataset.step, step.className])";
    Ok(serde_json::from_value(browser.look(steps).await?)?)
}

/// The pages in both languages, where somebody wants them.
pub(super) async fn screenshots(stage: &Stage, browser: &Browser) -> Result<usize> {
    let Some(dir) = std::env::var_os(SCREENSHOTS_ENV).map(PathBuf::from) else { return Ok(0) };
    let entry = stage.ledger.iter().rev().find(|entry| entry.subject == stage.subject).context("an entry")?.sequence;
    let pages = [
        ("overview", "/".to_owned()),
        ("search", format!("/search?tenant={TENANT}&decision=denied")),
        ("who", format!("/who?tenant={TENANT}&subject={}", stage.subject)),
        ("patterns", "/patterns".to_owned()),
        ("denials", "/denials".to_owned()),
        ("sign-off", format!("/sign-off?tenant={TENANT}")),
        ("reports", format!("/reports?report=review&tenant={TENANT}&from=2026-04-01&until=2027-03-31")),
        ("entry", format!("/entry/{entry}")),
    ];
    let mut taken = 0;
    for language in ["ja", "en"] {
        for (name, path) in &pages {
            let separator = if path.contains('?') { '&' } else { '?' };
            browser.open(&stage.forwarder.url(&format!("{path}{separator}lang={language}"))).await?;
            if *name == "entry" {
                verdict(browser).await?;
            }
            let picture = browser.screenshot().await?;
            ensure!(picture.len() <= SCREENSHOT_BYTES_MAX, "{name} has {} bytes", picture.len());
            std::fs::write(dir.join(format!("{language}-{name}.png")), picture)?;
            taken += 1;
        }
    }
    Ok(taken)
}
