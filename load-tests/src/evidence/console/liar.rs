//! A proxy that lies: whatever it changes about an entry fails in the browser, and whatever it plants does not run.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::journeys::verdict;
use super::stage::Stage;
use crate::browser::Browser;
use crate::forwarder::Doctor;

/// What came of the lies.
pub(super) struct Lies {
    /// By lie.
    pub(super) value: Value,
    /// Whether every one was caught.
    pub(super) caught: bool,
}

/// Name, what is changed, and the step that must fail.
type Lie = (&'static str, Doctor, &'static str);

pub(super) async fn all(stage: &Stage, browser: &Browser) -> Result<Lies> {
    let entry = stage.ledger.iter().rev().find(|entry| entry.subject == stage.subject).context("an entry")?;
    let address = stage.forwarder.url(&format!("/entry/{}", entry.sequence));
    let (mut value, mut caught) = (serde_json::Map::new(), true);
    for (name, doctor, step) in lies(&stage.subject) {
        stage.forwarder.doctor(Some(doctor));
        browser.open(&address).await?;
        let steps = verdict(browser).await?;
        let failed = steps.iter().any(|(found, class)| found == step && class == "fail");
        let loud = browser.look("document.querySelector('#verdict.fail[role=alert]') !== null").await? == true;
        caught &= failed && loud;
        value.insert(name.to_owned(), json!(failed && loud));
    }
    let _ = browser.complaints().await?;
    for (name, planted) in [
        ("inline_script", "<script>document.title = 'planted'</script>"),
        ("inline_handler", "<img src='/static/fuda.svg' onload=\"document.title = 'planted'\">"),
        ("foreign_image", "<img src='https://elsewhere.example/a.png'>"),
    ] {
        stage.forwarder.doctor(Some(at(".html", move |body| body.replace("</main>", &format!("{planted}</main>")))));
        browser.open(&address).await?;
        verdict(browser).await?;
        ensure!(browser.look(&format!("document.body.innerHTML.length > {}", planted.len())).await? == true, "no page");
        let silent = browser.look("document.title !== 'planted'").await? == true;
        let noticed = browser.complaints().await?.iter().any(|complaint| complaint.contains("Content Security Policy"));
        caught &= silent && noticed;
        value.insert(name.to_owned(), json!(silent && noticed));
    }
    stage.forwarder.doctor(None);
    browser.open(&address).await?;
    let honest = verdict(browser).await?.iter().all(|(_, class)| class == "pass");
    value.insert("honest_again".to_owned(), json!(honest));
    Ok(Lies { value: Value::Object(value), caught: caught && honest })
}

/// Changes text bodies of the page (`.html`) or of the proof (`/proof`).
fn at(place: &'static str, change: impl Fn(String) -> String + Send + Sync + 'static) -> Doctor {
    Arc::new(move |path, body| {
        let meant = if place == ".html" {
            !path.ends_with("/proof") && !path.contains("/static/")
        } else {
            path.ends_with(place)
        };
        match String::from_utf8(body) {
            Ok(text) if meant => change(text).into_bytes(),
            Ok(text) => text.into_bytes(),
            Err(error) => error.into_bytes(),
        }
    })
}

/// Changes one field of the proof.
fn proof(change: impl Fn(&mut Value) + Send + Sync + 'static) -> Doctor {
    at("/proof", move |text| {
        let Ok(mut bundle) = serde_json::from_str(&text) else { return text };
        change(&mut bundle);
        bundle.to_string()
    })
}

fn edit(value: &mut Value, change: impl Fn(&str) -> String) {
    if let Some(text) = value.as_str() {
        *value = Value::String(change(text));
    }
}

fn lies(subject: &str) -> Vec<Lie> {
    // The subject is in the bytes as it is in the page.
    let (shown, other) = (subject.to_owned(), format!("{}9", subject.strip_suffix('3').unwrap_or(subject)));
    let (from, to) = (hex::encode(&shown), hex::encode(&other));
    let (page_from, page_to) = (format!(">{shown}<"), format!(">{other}<"));
    let (both_from, both_to) = (shown, other);
    let flip = |text: &str, at: usize| {
        let flipped = |(place, letter): (usize, char)| match letter {
            _ if place != at => letter,
            'A' | 'a' | '0' => {
                if letter == '0' {
                    '1'
                } else {
                    'B'
                }
            }
            _ => {
                if letter.is_ascii_digit() {
                    '0'
                } else {
                    'A'
                }
            }
        };
        text.chars().enumerate().map(flipped).collect::<String>()
    };
    vec![
        ("page_says_somebody_else", at(".html", move |text| text.replace(&page_from, &page_to)), "bytes"),
        (
            "page_and_bytes_say_somebody_else",
            Arc::new(move |_, body| {
                let text = String::from_utf8_lossy(&body).into_owned();
                text.replace(&format!(">{both_from}<"), &format!(">{both_to}<")).replace(&from, &to).into_bytes()
            }),
            "path",
        ),
        (
            "another_path",
            proof(move |bundle| edit(&mut bundle["path"][0], |hash| flip(hash, 5).to_lowercase())),
            "path",
        ),
        (
            "another_root",
            proof(move |bundle| {
                edit(&mut bundle["checkpoint"], |note| {
                    let root = note.lines().nth(2).unwrap_or_default();
                    note.replacen(root, &flip(root, 3), 1)
                });
            }),
            "log",
        ),
        (
            "another_cosignature",
            proof(move |bundle| {
                edit(&mut bundle["checkpoint"], |note| {
                    let line = note.lines().last().unwrap_or_default();
                    note.replacen(line, &flip(line, line.chars().count() - 30), 1)
                });
            }),
            "witness",
        ),
    ]
}
