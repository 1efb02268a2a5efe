//! How pages look to others than the eye on a bright screen: to assistive technology (axe-core), on paper, and in the dark.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use fuda_crypto::digest::sha256;
use serde_json::{Value, json};

use super::stage::Stage;
use crate::browser::Browser;
use crate::cluster::TENANT;
use crate::evidence::progress;

/// The checker, from the registry of Node, pinned.
const AXE: &str = "axe-core@4.11.0";
/// SHA-256 of its `axe.min.js`.
const AXE_SHA256: &str = "e9e5863c33a874f09bc01acd9234b7e3c871479f5eef8802fa582544465e6d01";
/// Width of what is printed on A4 within our margins, in CSS pixels.
const PAPER_PX: u32 = 680;
/// What sticks out of the page.
const BEYOND: &str = "Array.from(document.querySelectorAll('body *')).filter(place => { \
    const box = place.getBoundingClientRect(); \
    return box.width > 0 && box.height > 0 && !place.closest('.skip') \
        && box.right > document.documentElement.clientWidth + 1; \
    }).map(place => `${place.tagName}.${place.className.baseVal ?? place.className}`).slice(0, 5).concat( \
    document.documentElement.scrollWidth > document.documentElement.clientWidth + 1 ? ['text'] : [])";

/// What came of it.
pub(super) struct Looks {
    pub(super) value: Value,
    /// Whether nothing was found on any page.
    pub(super) clean: bool,
    /// Whether every planted fault was.
    pub(super) caught: bool,
}

/// Gets the checker; nothing where it cannot be had.
pub(super) async fn checker(dir: &Path) -> Result<Option<String>> {
    progress(&format!("getting {AXE} with npm"));
    let mut npm = tokio::process::Command::new("npm");
    npm.args(["install", "--silent", "--no-save", "--no-audit", "--no-fund", "--prefix"]).arg(dir).arg(AXE);
    let ended = npm.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true).status().await;
    let file: PathBuf = dir.join("node_modules/axe-core/axe.min.js");
    if !ended.is_ok_and(|status| status.success()) || !file.is_file() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(file)?;
    ensure!(hex::encode(sha256(&[text.as_bytes()])) == AXE_SHA256, "{AXE} is not what was pinned");
    Ok(Some(text))
}

/// Everything on every page, then what was planted.
pub(super) async fn all(stage: &Stage, browser: &Browser, checker: Option<&str>) -> Result<Looks> {
    let (mut found, mut pages) = (Vec::new(), 0);
    for path in paths(stage)? {
        browser.open(&stage.forwarder.url(&path)).await?;
        pages += 1;
        let mut note = |what: &str, problems: Vec<String>| {
            found.extend(problems.into_iter().map(|problem| format!("{path} {what}: {problem}")));
        };
        if let Some(checker) = checker {
            browser.run(checker).await?;
            note("light", problems(browser).await?);
            dark(browser, true).await?;
            note("dark", problems(browser).await?);
            dark(browser, false).await?;
        }
        note("on paper", beyond_paper(browser).await?);
        let pdf = browser.print().await?;
        if !pdf.starts_with(b"%PDF-") || pdf.len() < 5_000 {
            note("on paper", vec![format!("{} bytes", pdf.len())]);
        }
    }
    let controls = controls(stage, browser, checker).await?;
    let caught = controls.values().all(|caught| *caught == json!(true));
    let checked = if checker.is_some() { json!(AXE) } else { json!({"skipped": "npm could not get it"}) };
    Ok(Looks {
        value: json!({ "pages": pages, "checker": checked, "problems": found, "controls": controls }),
        clean: found.is_empty(),
        caught,
    })
}

/// Every sort of page, with something on it.
fn paths(stage: &Stage) -> Result<Vec<String>> {
    let entry = stage.ledger.iter().rev().find(|entry| entry.decision == "denied").context("a denial")?.sequence;
    Ok(vec![
        "/".to_owned(),
        "/alarms".to_owned(),
        format!("/search?tenant={TENANT}"),
        format!("/who?tenant={TENANT}&subject={}", stage.subject),
        "/patterns".to_owned(),
        "/denials".to_owned(),
        format!("/sign-off?tenant={TENANT}"),
        "/exports".to_owned(),
        "/predecessors".to_owned(),
        "/questions".to_owned(),
        "/reports".to_owned(),
        format!("/entry/{entry}"),
        "/nowhere".to_owned(),
    ])
}

/// What the checker finds: the rule and where. Nothing where it was not brought.
pub(super) async fn problems(browser: &Browser) -> Result<Vec<String>> {
    if browser.look("typeof axe === 'undefined'").await? == true {
        return Ok(Vec::new());
    }
    let run = "axe.run(document, { resultTypes: ['violations'], runOnly: \
        ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] }).then(found => \
        found.violations.map(rule => `${rule.id}: ${rule.nodes.slice(0, 3).map(node => node.target.join(' ')).join(', ')}`))";
    Ok(serde_json::from_value(browser.promised(run).await?)?)
}

async fn dark(browser: &Browser, dark: bool) -> Result<()> {
    let value = if dark { "dark" } else { "light" };
    let scheme = json!({ "features": [{ "name": "prefers-color-scheme", "value": value }] });
    browser.devtools("Emulation.setEmulatedMedia", scheme).await.map(drop)
}

/// What does not fit on A4.
async fn beyond_paper(browser: &Browser) -> Result<Vec<String>> {
    let paper = json!({ "width": PAPER_PX, "height": 1_000, "deviceScaleFactor": 1, "mobile": false });
    browser.devtools("Emulation.setDeviceMetricsOverride", paper).await?;
    browser.devtools("Emulation.setEmulatedMedia", json!({ "media": "print" })).await?;
    let beyond = browser.look(BEYOND).await;
    browser.devtools("Emulation.setEmulatedMedia", json!({ "media": "" })).await?;
    browser.devtools("Emulation.clearDeviceMetricsOverride", json!({})).await?;
    Ok(serde_json::from_value(beyond?)?)
}

/// Faults that are planted, and whether they were found.
async fn controls(stage: &Stage, browser: &Browser, checker: Option<&str>) -> Result<serde_json::Map<String, Value>> {
    let mut caught = serde_json::Map::new();
    let plant = |planted: &'static str| -> crate::forwarder::Doctor {
        Arc::new(move |_, body| match String::from_utf8(body) {
            Ok(text) => text.replace("</main>", &format!("{planted}</main>")).into_bytes(),
            Err(error) => error.into_bytes(),
        })
    };
    let address = stage.forwarder.url("/predecessors");
    let wide =
        "<b>0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000</b>";
    stage.forwarder.doctor(Some(plant(wide)));
    browser.open(&address).await?;
    caught.insert("too_wide_for_paper".to_owned(), json!(!beyond_paper(browser).await?.is_empty()));
    if let Some(checker) = checker {
        stage.forwarder.doctor(Some(plant("<input name=\"unlabelled\">")));
        browser.open(&address).await?;
        browser.run(checker).await?;
        let named = problems(browser).await?.iter().any(|problem| problem.starts_with("label:"));
        caught.insert("field_without_label".to_owned(), json!(named));
        stage.forwarder.doctor(None);
        browser.open(&address).await?;
        browser.run(checker).await?;
        dark(browser, true).await?;
        browser.run("document.documentElement.style.setProperty('--text', '#3a444d')").await?;
        let pale = problems(browser).await?.iter().any(|problem| problem.starts_with("color-contrast:"));
        caught.insert("pale_in_the_dark".to_owned(), json!(pale));
        dark(browser, false).await?;
    }
    stage.forwarder.doctor(None);
    Ok(caught)
}
