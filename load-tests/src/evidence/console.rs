//! Auditors do their work in a real browser: five journeys, what the pages load, and what a proxy that lies can do.

mod journeys;
mod liar;
mod stage;

use anyhow::Result;
use serde_json::json;

use super::{Ctx, Evidence, Outcome, progress};
use crate::browser::{self, Browser};
use stage::Stage;

/// See the module.
pub(super) const EVIDENCE: Evidence = Evidence {
    name: "console",
    proves: "auditors find who saw one employee, explain a burst of denials, print the annual pack, verify an entry and sign \
             off a month in a real browser, which runs nothing inline and asks nobody else",
    target: "journeys done 5 of 5; figures shown that differ from the ledger 0; complaints of the browser 0; requests to \
             elsewhere 0; controls: five doctored proofs fail, a planted script and a foreign image are blocked and noticed",
    mutants: &[],
    run: |ctx| Box::pin(run(ctx)),
};

async fn run(ctx: Ctx) -> Result<Outcome> {
    if !browser::installed().await {
        return Ok(Outcome::skipped(browser::MISSING.to_owned()));
    }
    let stage = Box::pin(Stage::set(&ctx)).await?;
    progress("the cluster has a history; the console shows it");
    let browser = Browser::start(&ctx.work_dir.join("browser"), "ja").await?;
    // What a browser asks for while it starts is its own.
    browser.open(&stage.forwarder.url("/")).await?;
    drop(browser.requests().await?);
    let journeys = Box::pin(journeys::all(&ctx, &stage, &browser)).await?;
    let complaints = browser.complaints().await?;
    let requests = browser.requests().await?;
    let own = stage.forwarder.url("/");
    // The browser draws its own controls from `data:`; a page may not, and none of it leaves.
    let here = |address: &String| address.starts_with(&own) || address.starts_with("data:");
    let elsewhere: Vec<&String> = requests.iter().filter(|address| !here(address)).collect();
    let lies = Box::pin(liar::all(&stage, &browser)).await?;
    let screenshots = Box::pin(journeys::screenshots(&stage, &browser)).await?;
    let pass = journeys.iter().all(|(_, done)| done.is_ok()) && complaints.is_empty() && elsewhere.is_empty();
    let told = |done: &Result<serde_json::Value>| match done {
        Ok(value) => value.clone(),
        Err(error) => json!({ "failed": format!("{error:#}") }),
    };
    let journeys: serde_json::Map<_, _> =
        journeys.iter().map(|(name, done)| ((*name).to_owned(), told(done))).collect();
    Ok(Outcome {
        value: json!({
            "journeys": journeys,
            "complaints": complaints,
            "requests": requests.len(),
            "elsewhere": elsewhere,
            "lies": lies.value,
            "screenshots": screenshots,
        }),
        pass: pass && journeys.len() == 5 && !requests.is_empty(),
        mutant_caught: Some(lies.caught),
        skipped: None,
    })
}
