//! What happens to the tokens of one record when they are rotated, and when it is disabled, enabled and superseded.

use anyhow::{Result, anyhow};
use fuda_core::Code;
use fuda_proto::vault::v1::{
    DetokenizeRequest, DisableRequest, EnableRequest, RecordName, RotateRequest, SupersedeRequest, Verification,
};
use tonic::Status;

use super::{PURPOSE, SCOPES, Stage, TENANT, item};
use crate::synthetic::People;
use crate::wire::{describe, is_code, new_request_id, new_retry_secret};

impl Stage {
    /// Leads the first record through the rest of its life; returns what should not have been.
    pub(super) async fn live_on(&self, nodes: usize) -> Result<Vec<String>> {
        let [first, ..] = self.persons.as_slice() else { return Ok(Vec::new()) };
        let mut wrong = Vec::new();
        let tenant = || TENANT.to_owned();
        let [scope, others @ ..] = SCOPES;
        let [token, other_tokens @ ..] = first.tokens.each_ref();

        // Rotated: the old token is dead, the retry gets the new one again, the others live.
        let request = RotateRequest {
            tenant: tenant(),
            scope: scope.to_owned(),
            token: token.clone(),
            request_id: new_request_id()?,
            retry_secret: new_retry_secret()?.to_vec(),
            ..RotateRequest::default()
        };
        let rotated = done("Rotate", self.hr.tokens(0).rotate(request.clone()).await)?;
        let again = done("Rotate", self.hr.tokens(1).rotate(request).await)?;
        if again.token != rotated.token || !again.replayed {
            wrong.push("a repeated rotation gave another token".to_owned());
        }
        let others = || others.iter().zip(other_tokens);
        let mut alive = vec![(scope, &rotated.token)];
        alive.extend(others().map(|(scope, token)| (*scope, token)));
        self.expect(nodes, "rotated", &[(scope, token)], false, &mut wrong).await;
        self.expect(nodes, "rotated", &alive, true, &mut wrong).await;

        // Disabled and enabled again, by one of its tokens and by subject.
        let subject = People::subject(first.index);
        let by_subject =
            || Some(RecordName { subject: subject.clone(), kind: "my_number".to_owned(), ..Default::default() });
        let by_token = Some(RecordName { token: rotated.token.clone(), ..Default::default() });
        let request =
            DisableRequest { tenant: tenant(), scope: scope.to_owned(), record: by_token, ..Default::default() };
        done("Disable", self.hr.tokens(1).disable(request).await)?;
        self.expect(nodes, "disabled", &alive, false, &mut wrong).await;
        let request = EnableRequest { tenant: tenant(), record: by_subject(), ..Default::default() };
        done("Enable", self.hr.tokens(2).enable(request).await)?;
        self.expect(nodes, "enabled", &alive, true, &mut wrong).await;

        // Superseded: dead for good, and the subject has a new record with a token of its own.
        let request = SupersedeRequest { tenant: tenant(), record: by_subject(), ..Default::default() };
        let old = done("Supersede", self.hr.tokens(0).supersede(request).await)?.record;
        self.expect(nodes, "superseded", &alive, false, &mut wrong).await;
        let mut request = item(self.people, first.index);
        if let Some(item) = &mut request.item {
            item.verification = Some(Verification {
                method: "individual_number_card".to_owned(),
                documents: vec!["individual_number_card".to_owned()],
                verifier: "hr/tanaka".to_owned(),
                verified_on: "2026-11-22".to_owned(),
                proxy: String::new(),
            });
        }
        let new = done("Tokenize", self.hr.tokens(1).tokenize(request).await)?;
        if new.record == old || first.tokens.contains(&new.token) {
            wrong.push("the new record is the old one".to_owned());
        }
        self.expect(nodes, "new", &[(scope, &new.token)], true, &mut wrong).await;
        let request = EnableRequest {
            tenant: tenant(),
            record: Some(RecordName { record: old, ..Default::default() }),
            ..Default::default()
        };
        match self.hr.tokens(2).enable(request).await {
            Err(status) if is_code(&status, Code::RecordSuperseded) => {}
            Err(status) => wrong.push(format!("enabling a superseded record: {}", describe(&status))),
            Ok(_) => wrong.push("a superseded record came back".to_owned()),
        }
        Ok(wrong)
    }

    /// Every token at every node: read, or refused like an unknown one.
    async fn expect(&self, nodes: usize, when: &str, tokens: &[(&str, &String)], reads: bool, wrong: &mut Vec<String>) {
        for node in 0..nodes {
            for (scope, token) in tokens {
                let request = DetokenizeRequest {
                    tenant: TENANT.to_owned(),
                    purpose: PURPOSE.to_owned(),
                    scope: (*scope).to_owned(),
                    token: (*token).clone(),
                    ..DetokenizeRequest::default()
                };
                let answer = self.payroll.tokens(node).detokenize(request).await;
                let fits = match &answer {
                    Ok(_) => reads,
                    Err(status) => !reads && is_code(status, Code::DeniedOrNotFound),
                };
                if !fits {
                    let answer = answer.map_or_else(|status| describe(&status), |_| "a number".to_owned());
                    wrong.push(format!("{when}: token of {scope} at node {node}: {answer}"));
                }
            }
        }
    }
}

fn done<T>(name: &str, answer: Result<tonic::Response<T>, Status>) -> Result<T> {
    answer.map(tonic::Response::into_inner).map_err(|status| anyhow!("{name}: {}", describe(&status)))
}
