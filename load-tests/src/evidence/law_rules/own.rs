//! 開示請求: one's own number, disclosed to the person whose assertion names him.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Result, anyhow, ensure};
use fuda_policy::DenyReason;
use fuda_proto::tenant::v1::{EndUserRule, Grant};
use fuda_proto::vault::v1::DetokenizeRequest;
use fuda_runtime::dev_issuer::DevIssuer;
use serde_json::json;
use tonic::{Request, Status};

use super::stage::{DISCLOSE_SELF, Stage, Stored};
use crate::cluster::{PURPOSE, SCOPES, TENANT};
use crate::wire::{describe, new_request_id};

const ISSUER: &str = "https://sts.test";
const AUDIENCE: &str = "fuda-end-user";
/// The claim that names the subject of the end user's own records.
const CLAIM: &str = "employee_number";
const LIFETIME_S: u64 = 300;

/// The settings of a node that believes `issuer` about end users.
pub(super) fn settings(dir: &Path, issuer: &DevIssuer) -> Result<String> {
    let keys = dir.join("end-users-jwks.json");
    std::fs::write(&keys, issuer.jwks()?)?;
    let keys = keys.display().to_string();
    Ok(format!(
        "\n[[identity.end_user]]\nalias = \"sts\"\nissuer = \"{ISSUER}\"\naudience = \"{AUDIENCE}\"\n\
         algorithms = [\"EdDSA\"]\nown_subject_claim = \"{CLAIM}\"\nkeys = {{ file = {keys:?} }}\n"
    ))
}

pub(super) async fn the_own_number_is_the_end_users(stage: &Stage) -> Result<()> {
    let required = |grant: Grant| Grant { end_user: EndUserRule::Required.into(), approved_job: None, ..grant };
    let disclosure = required(stage.occasion(&stage.portal, DISCLOSE_SELF, 1)?);
    let duty = required(stage.grant(&stage.portal, TENANT, &[PURPOSE]));
    stage.give(vec![disclosure, duty]).await?;

    let [mine, other] = [&stage.employees[0], &stage.employees[1]];
    shown(stage, DISCLOSE_SELF, mine, mine).await?;
    not_shown(stage, DISCLOSE_SELF, mine, other, DenyReason::NotOwnNumber).await?;
    not_shown(stage, DISCLOSE_SELF, other, mine, DenyReason::NotOwnNumber).await?;
    // Nor the number of a dependant, whose own it is.
    not_shown(stage, DISCLOSE_SELF, mine, &stage.spouse, DenyReason::RelationNotRevealable).await?;
    // A duty is done for others.
    shown(stage, PURPOSE, mine, &stage.newcomer).await
}

async fn shown(stage: &Stage, purpose: &str, end_user: &Stored, stored: &Stored) -> Result<()> {
    let number = ask(stage, purpose, end_user, stored, &new_request_id()?).await?;
    let number = number.map_err(|status| anyhow!("`{purpose}`: {}", describe(&status)))?;
    ensure!(number == stored.number, "another number came back");
    Ok(())
}

async fn not_shown(stage: &Stage, purpose: &str, end_user: &Stored, stored: &Stored, reason: DenyReason) -> Result<()> {
    let request_id = new_request_id()?;
    let answer = ask(stage, purpose, end_user, stored, &request_id).await?;
    stage.denied_for(answer, &request_id, purpose, reason).await
}

/// The portal asks in the name of an end user, whose employee number the assertion holds.
async fn ask(
    stage: &Stage,
    purpose: &str,
    end_user: &Stored,
    stored: &Stored,
    request_id: &str,
) -> Result<Result<String, Status>> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let claims = json!({"iss": ISSUER, "aud": AUDIENCE, "sub": "suzuki", "iat": now, "exp": now + LIFETIME_S,
        "jti": new_request_id()?, "azp": stage.portal.spiffe(), CLAIM: end_user.subject});
    let mut request = Request::new(DetokenizeRequest {
        tenant: TENANT.to_owned(),
        purpose: purpose.to_owned(),
        scope: SCOPES[0].to_owned(),
        token: stored.token.clone(),
        request_id: request_id.to_owned(),
        ..DetokenizeRequest::default()
    });
    request.metadata_mut().insert("fuda-end-user-assertion", stage.end_users.sign(&claims)?.parse()?);
    Ok(stage.portal.tokens(0).detokenize(request).await.map(|answer| answer.into_inner().number))
}
