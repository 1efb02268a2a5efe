//! An auditor without a certificate signs in at a provider, in a browser that talks to the console by itself; and what
//! somebody gains who has a part of that from elsewhere.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::looks;
use super::provider::Wrong;
use super::stage::{PERSON, Stage};
use crate::browser::Browser;
use crate::cluster::TENANT;

/// The journey: sign in, ask, find oneself in the ledger of questions, sign out; by the keyboard.
pub(super) async fn journey(stage: &Stage, browser: &Browser) -> Result<Value> {
    let home = stage.direct("/");
    browser.open(&home).await?;
    ensure!(browser.text("nav").await?.is_empty() && browser.text("#trust").await?.is_empty(), "a stranger sees pages");
    // While nobody is in, other pages say no, and no question is entered.
    browser.open(&stage.direct(&format!("/search?tenant={TENANT}"))).await?;
    ensure!(browser.text("#entries").await?.is_empty(), "a stranger sees entries");
    signs_in(stage, browser, PERSON).await?;
    ensure!(browser.look("location.href").await? == home.as_str(), "something of the sign-in stays in the address");
    ensure!(!browser.look("document.cookie").await?.to_string().contains("__Host"), "scripts can read the session");
    ensure!(browser.text("header .who").await? == stage.person, "{}", browser.text("header").await?);
    browser.enter("nav a[href='/search']").await?;
    browser.wait("location.pathname === '/search'", "location.href").await?;
    browser.write("#subject", &stage.subject).await?;
    browser.enter("#subject").await?;
    browser.wait("document.querySelector('#entries') !== null", "document.body.innerText").await?;
    let entries = browser.rows("#entries").await?.len();
    let expected = stage.ledger.iter().filter(|entry| entry.subject == stage.subject).count();
    ensure!(entries == expected, "{entries} entries shown, {expected} in the ledger");
    browser.enter("nav a[href='/questions']").await?;
    browser.wait("document.querySelector('#questions') !== null", "document.body.innerText").await?;
    let questions = browser.rows("#questions").await?;
    ensure!(questions.iter().any(|row| row.contains(&stage.person)), "{questions:?}");
    signs_out(browser).await?;
    browser.open(&home).await?;
    ensure!(browser.text("#trust").await?.is_empty(), "signed out, and still in");
    Ok(json!({ "entries": entries, "codes_exchanged": stage.provider.exchanged() }))
}

/// From the first page to the provider and back.
async fn signs_in(stage: &Stage, browser: &Browser, user: &str) -> Result<()> {
    goes_to_provider(stage, browser, user).await?;
    browser.wait("document.querySelector('#trust') !== null", "document.body.innerText").await
}

async fn goes_to_provider(stage: &Stage, browser: &Browser, user: &str) -> Result<()> {
    browser.open(&stage.direct("/")).await?;
    browser.enter("#sign-in").await?;
    browser.wait("document.querySelector('#user') !== null", "document.body.innerText").await?;
    browser.write("#user", user).await?;
    browser.enter("#go").await
}

async fn signs_out(browser: &Browser) -> Result<()> {
    browser.enter("form.sign-out button").await?;
    browser
        .wait("location.pathname === '/sign-out' && document.querySelector('#sign-in') !== null", "location.href")
        .await
}

/// Whether the browser shows that nobody was signed in, and has no session.
async fn kept_out(stage: &Stage, browser: &Browser) -> Result<bool> {
    let over = "document.querySelector('#trust') !== null || location.pathname === '/signed-in'";
    browser.wait(over, "location.href + document.body.innerText").await?;
    let refused = browser.look("document.querySelector('#trust') === null").await? == true;
    browser.open(&stage.direct("/")).await?;
    Ok(refused && browser.text("#trust").await?.is_empty())
}

/// Each control, and whether it was caught.
pub(super) async fn controls(stage: &Stage, browser: &Browser, checker: Option<&str>) -> Result<Value> {
    let mut caught = serde_json::Map::new();
    // A person of the provider who is no auditor.
    goes_to_provider(stage, browser, "sato").await?;
    caught.insert("stranger".to_owned(), json!(kept_out(stage, browser).await?));
    for (name, wrong) in [
        ("wrong_nonce", Wrong::Nonce),
        ("wrong_audience", Wrong::Audience),
        ("expired_token", Wrong::Expired),
        ("none_algorithm", Wrong::NoneAlgorithm),
        ("hs256_with_public_key", Wrong::PublicKeyAsSecret),
    ] {
        stage.provider.make(wrong);
        goes_to_provider(stage, browser, PERSON).await?;
        caught.insert(name.to_owned(), json!(kept_out(stage, browser).await?));
    }
    stage.provider.make(Wrong::Nothing);
    // The provider answers, but the browser holds the answer back: then its state is changed, and then it comes from a
    // browser that began nothing.
    stage.provider.send_back(false);
    goes_to_provider(stage, browser, PERSON).await?;
    browser.wait("document.querySelector('#held') !== null", "document.body.innerText").await?;
    let answer = stage.provider.last();
    let (before, state) = answer.split_once("&state=").context("the answer has a state")?;
    let (state, behind) = state.split_once('&').context("the answer has an issuer")?;
    let changed: String = state.chars().rev().collect();
    browser.open(&format!("{before}&state={changed}&{behind}")).await?;
    caught.insert("forged_state".to_owned(), json!(kept_out(stage, browser).await?));
    let exchanged = stage.provider.exchanged();
    browser.devtools("Network.clearBrowserCookies", json!({})).await?;
    browser.open(&answer).await?;
    caught.insert("stolen_answer".to_owned(), json!(kept_out(stage, browser).await?));
    ensure!(stage.provider.exchanged() == exchanged, "a code was exchanged for a state of nobody");
    // The whole answer once more, after it worked.
    stage.provider.send_back(true);
    signs_in(stage, browser, PERSON).await?;
    signs_out(browser).await?;
    browser.open(&stage.provider.last()).await?;
    caught.insert("answer_again".to_owned(), json!(kept_out(stage, browser).await?));
    // An honest sign-in still works, and the page that offers it is accessible.
    if let Some(checker) = checker {
        browser.run(checker).await?;
    }
    let page = looks::problems(browser).await?;
    signs_in(stage, browser, PERSON).await?;
    caught.insert("honest_again".to_owned(), json!(true));
    ensure!(page.is_empty(), "the page of sign-in: {page:?}");
    Ok(Value::Object(caught))
}
