//! Auditors do their work in a real browser: six journeys by the keyboard, what the pages load and how they look to others,
//! and what a proxy that lies, or somebody with a part of a sign-in, can do.

mod journeys;
mod liar;
mod looks;
mod provider;
mod sign_in;
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
             off a month in a real browser by the keyboard alone, which runs nothing inline and asks nobody else; one of them \
             signs in at an OpenID provider; every page is accessible, also in the dark, and fits on paper",
    target: "journeys done 6 of 6; figures shown that differ from the ledger 0; complaints of the browser 0; requests to \
             elsewhere 0; problems of access, contrast or paper 0; controls: five doctored proofs fail, a planted script and \
             a foreign image are blocked and noticed, forged, stolen and used sign-ins and five false tokens sign nobody in, \
             a field without a label, pale text and a page too wide for paper are found",
    mutants: &[],
    run: |ctx| Box::pin(run(ctx)),
};

async fn run(ctx: Ctx) -> Result<Outcome> {
    if !browser::installed().await {
        return Ok(Outcome::skipped(browser::MISSING.to_owned()));
    }
    let stage = Box::pin(Stage::set(&ctx)).await?;
    progress("the cluster has a history; the console shows it");
    let browser = Browser::start(&ctx.work_dir.join("browser"), "ja", false).await?;
    // What a browser asks for while it starts is its own.
    browser.open(&stage.forwarder.url("/")).await?;
    drop(browser.requests().await?);
    let mut journeys = Box::pin(journeys::all(&ctx, &stage, &browser)).await?;
    let complaints = browser.complaints().await?;
    let requests = browser.requests().await?;
    let own = stage.forwarder.url("/");
    // The browser draws its own controls from `data:`; a page may not, and none of it leaves.
    let here = |address: &String| address.starts_with(&own) || address.starts_with("data:");
    let elsewhere: Vec<&String> = requests.iter().filter(|address| !here(address)).collect();
    let lies = Box::pin(liar::all(&stage, &browser)).await?;
    let checker = looks::checker(&ctx.work_dir.join("checker")).await?;
    let looks = Box::pin(looks::all(&stage, &browser, checker.as_deref())).await?;
    progress("the pages were looked at in the light, in the dark and on paper");
    let screenshots = Box::pin(journeys::screenshots(&stage, &browser)).await?;
    drop(browser);
    let browser = Browser::start(&ctx.work_dir.join("another-browser"), "en", true).await?;
    journeys.push(("sign_in_at_a_provider", Box::pin(sign_in::journey(&stage, &browser)).await));
    let controls = Box::pin(sign_in::controls(&stage, &browser, checker.as_deref())).await?;
    let kept_out = controls.as_object().is_some_and(|all| all.values().all(|caught| *caught == json!(true)));
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
            "sign_ins_refused": controls,
            "looks": looks.value,
            "screenshots": screenshots,
        }),
        pass: pass && looks.clean && journeys.len() == 6 && !requests.is_empty(),
        mutant_caught: Some(lies.caught && kept_out && looks.caught),
        skipped: None,
    })
}
