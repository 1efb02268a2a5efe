//! The stage: a tenant with a family, grants that are too wide on purpose, and the questions that tests ask.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, anyhow, ensure};
use fuda_core::Code;
use fuda_policy::DenyReason;
use fuda_proto::ledger::v1::{Entry, ReadEntriesRequest};
use fuda_proto::purpose::v1::{
    ApprovePurposeOrderRequest, ListPurposesRequest, ListPurposesResponse, ProposeCatalogueChangeRequest, Purpose,
    SetTenantPurposesRequest,
};
use fuda_proto::tenant::v1::{
    ApproveGrantsRequest, ApprovedJob, Budget, EndUserRule, Grant, ProposeGrantsRequest, Role, VerificationDemand,
};
use fuda_proto::vault::v1::{
    BatchDetokenizeRequest, BatchDetokenizeResponse, DetokenizeRequest, NotifiedPurpose, Relation, TokenizeItem,
    TokenizeRequest,
};
use fuda_runtime::dev_issuer::DevIssuer;
use prost_types::Timestamp;
use tonic::Status;
use tonic_types::StatusExt as _;

use crate::cluster::{CALL_DEADLINE, LocalCluster, OTHER_TENANT, PURPOSE, SCOPES, TENANT, bounded};
use crate::synthetic::People;
use crate::wire::{Caller, describe, is_code, new_request_id};

/// Granted to payroll and enabled by the tenant.
pub(super) const SALARY_REPORT: &str = "tax.salary_report";
/// Granted to payroll, and not enabled.
pub(super) const FEE_RECORD: &str = "tax.fee_record";
/// Enabled, and not granted.
pub(super) const RETIREMENT_SLIP: &str = "tax.retirement_slip";
/// The year-end form.
pub(super) const YEAREND: &str = "tax.yearend_decl";
/// The copy of the slip that the person gets.
pub(super) const COPY: &str = "tax.withholding_slip.copy_to_person";
/// One's own number.
pub(super) const DISCLOSE_SELF: &str = "op.disclose_self";
/// An authority asks.
pub(super) const AUTHORITY: &str = "op.authority";
/// Out into another system.
pub(super) const MIGRATE: &str = "op.migrate";
/// To the next employer.
pub(super) const TRANSFER: &str = "op.transfer_19_4";
/// Employees notified of an authority's request.
pub(super) const EMPLOYEES: u64 = 4;
/// Who answers for what the workloads of this evidence reveal.
const HANDLER: &str = "spiffe://fuda.test/person/handler";
const DAY: Duration = Duration::from_secs(86_400);
const ENTRIES_PER_PAGE: i32 = 1_000;

/// A stored number.
#[derive(Clone)]
pub(super) struct Stored {
    pub(super) token: String,
    pub(super) number: String,
    pub(super) subject: String,
}

/// Everything the tests need.
pub(super) struct Stage {
    pub(super) owner: Caller,
    pub(super) approver: Caller,
    pub(super) other_approver: Caller,
    pub(super) operator: Caller,
    pub(super) auditor: Caller,
    pub(super) hr: Caller,
    pub(super) payroll: Caller,
    pub(super) accounting: Caller,
    /// 担当者: a person.
    pub(super) handler: Caller,
    /// A system of a party that the tenant entrusts.
    pub(super) bureau: Caller,
    /// A system of a party that the entrusted party entrusts on.
    pub(super) sub_bureau: Caller,
    /// Where people see what is held of them; asks in their names.
    pub(super) portal: Caller,
    /// Says who they are.
    pub(super) end_users: DevIssuer,
    /// Notified of everything that is enabled.
    pub(super) employee: Stored,
    /// Of the employee, notified of the year-end form.
    pub(super) spouse: Stored,
    /// Notified of the withholding slip only.
    pub(super) newcomer: Stored,
    /// Notified of the withholding slip until yesterday.
    pub(super) leaver: Stored,
    /// Notified of an authority's request.
    pub(super) employees: Vec<Stored>,
    /// Where nodes write their logs.
    pub(super) run_dir: PathBuf,
    people: People,
}

impl Stage {
    pub(super) async fn build(cluster: &LocalCluster, end_users: DevIssuer, seed: u64) -> Result<Self> {
        let people = People::new(seed);
        let nobody = Stored { token: String::new(), number: String::new(), subject: String::new() };
        let mut stage = Self {
            owner: cluster.caller("owner")?,
            approver: cluster.caller("approver1")?,
            other_approver: cluster.caller("approver2")?,
            operator: cluster.caller("operator")?,
            auditor: cluster.caller("auditor")?,
            hr: cluster.caller("hr")?,
            payroll: cluster.caller("payroll")?,
            accounting: cluster.caller("accounting")?,
            handler: outsider(cluster, "taro")?,
            bureau: outsider(cluster, "bureau")?,
            sub_bureau: outsider(cluster, "sub-bureau")?,
            portal: outsider(cluster, "portal")?,
            end_users,
            employee: nobody.clone(),
            spouse: nobody.clone(),
            newcomer: nobody.clone(),
            leaver: nobody,
            employees: Vec::new(),
            run_dir: cluster.options().work_dir.join("run"),
            people,
        };
        let enabled = [SALARY_REPORT, RETIREMENT_SLIP, YEAREND, COPY, DISCLOSE_SELF, AUTHORITY, MIGRATE, TRANSFER];
        stage.enable(TENANT, &enabled).await?;
        cluster.found(OTHER_TENANT).await?;
        stage.give(vec![stage.grant(&stage.accounting, OTHER_TENANT, &[PURPOSE])]).await?;
        let wide = stage.grant(&stage.payroll, TENANT, &[SALARY_REPORT, FEE_RECORD, YEAREND, COPY]);
        stage.give(vec![wide]).await?;
        stage.allow_moves().await?;
        stage.hire(&enabled).await?;
        Ok(stage)
    }

    /// Stores the numbers of everybody.
    async fn hire(&mut self, enabled: &[&str]) -> Result<()> {
        let everything: Vec<&str> = enabled.iter().copied().chain([PURPOSE]).collect();
        self.employee = self.store(1, None, &everything, None).await?;
        self.spouse = self.store(2, Some(1), &[YEAREND, PURPOSE], None).await?;
        self.newcomer = self.store(3, None, &[PURPOSE], None).await?;
        self.leaver = self.store(4, None, &[PURPOSE], Some(at(-1)?)).await?;
        for person in 0..EMPLOYEES {
            let stored = self.store(10 + person, None, &[AUTHORITY, DISCLOSE_SELF, MIGRATE], None).await?;
            self.employees.push(stored);
        }
        Ok(())
    }

    /// Stores the number of `person`, who is the spouse of `of`, notified of `purposes` until `until`.
    async fn store(&self, person: u64, of: Option<u64>, purposes: &[&str], until: Option<Timestamp>) -> Result<Stored> {
        let item = self.item(person, of, purposes, until);
        let (number, subject) = (item.number.clone(), item.subject.clone());
        let stored = self.tokenize(item).await.map_err(|status| anyhow!("Tokenize: {}", describe(&status)))?;
        Ok(Stored { token: stored, number, subject })
    }

    /// A number to store.
    pub(super) fn item(
        &self,
        person: u64,
        of: Option<u64>,
        purposes: &[&str],
        until: Option<Timestamp>,
    ) -> TokenizeItem {
        let notified = |purpose: &&str| NotifiedPurpose {
            purpose: (*purpose).to_owned(),
            not_after: until,
            ..NotifiedPurpose::default()
        };
        TokenizeItem {
            kind: "my_number".to_owned(),
            number: self.people.my_number(person),
            subject: People::subject(person),
            principal_subject: of.map(People::subject).unwrap_or_default(),
            relation: if of.is_some() { Relation::Spouse } else { Relation::Self_ }.into(),
            scope: SCOPES[0].to_owned(),
            notified_purposes: purposes.iter().map(notified).collect(),
            ..TokenizeItem::default()
        }
    }

    /// The number of a person.
    pub(super) fn number(&self, person: u64) -> String {
        self.people.my_number(person)
    }

    /// Stores a number and returns its token.
    pub(super) async fn tokenize(&self, item: TokenizeItem) -> Result<String, Status> {
        let request = TokenizeRequest { tenant: TENANT.to_owned(), item: Some(item), ..TokenizeRequest::default() };
        Ok(self.hr.tokens(0).tokenize(request).await?.into_inner().token)
    }

    /// Asks for a number.
    pub(super) async fn detokenize(
        &self,
        caller: &Caller,
        tenant: &str,
        purpose: &str,
        token: &str,
        request_id: &str,
    ) -> Result<String, Status> {
        let request = DetokenizeRequest {
            tenant: tenant.to_owned(),
            purpose: purpose.to_owned(),
            scope: SCOPES[0].to_owned(),
            token: token.to_owned(),
            request_id: request_id.to_owned(),
            work_reference: String::new(),
        };
        Ok(caller.tokens(0).detokenize(request).await?.into_inner().number)
    }

    /// Asks for several numbers.
    pub(super) async fn batch(&self, purpose: &str, tokens: &[&Stored]) -> Result<BatchDetokenizeResponse, Status> {
        let request = BatchDetokenizeRequest {
            tenant: TENANT.to_owned(),
            purpose: purpose.to_owned(),
            scope: SCOPES[0].to_owned(),
            tokens: tokens.iter().map(|stored| stored.token.clone()).collect(),
            ..BatchDetokenizeRequest::default()
        };
        Ok(self.payroll.tokens(0).batch_detokenize(request).await?.into_inner())
    }

    /// The caller gets the number.
    pub(super) async fn revealed(&self, caller: &Caller, purpose: &str, stored: &Stored) -> Result<()> {
        let number = self.detokenize(caller, TENANT, purpose, &stored.token, "").await;
        let number = number.map_err(|status| anyhow!("`{purpose}`: {}", describe(&status)))?;
        ensure!(number == stored.number, "another number came back");
        Ok(())
    }

    /// The caller is denied without a reason, and the ledger knows the reason.
    pub(super) async fn denied(
        &self,
        caller: &Caller,
        tenant: &str,
        purpose: &str,
        stored: &Stored,
        reason: DenyReason,
    ) -> Result<()> {
        let request_id = new_request_id()?;
        let answer = self.detokenize(caller, tenant, purpose, &stored.token, &request_id).await;
        self.denied_for(answer, &request_id, purpose, reason).await
    }

    /// The answer says nothing, and the ledger knows the reason.
    pub(super) async fn denied_for(
        &self,
        answer: Result<String, Status>,
        request_id: &str,
        purpose: &str,
        reason: DenyReason,
    ) -> Result<()> {
        let status = answer.err().with_context(|| format!("`{purpose}` revealed a number"))?;
        ensure!(is_code(&status, Code::DeniedOrNotFound), "`{purpose}`: {}", describe(&status));
        let entries = self.entries(|entry| entry.request_id == request_id).await?;
        let reasons: Vec<&str> = entries.iter().map(|entry| entry.reason.as_str()).collect();
        ensure!(reasons == [reason.code()], "the entries say {reasons:?}, not `{reason}`");
        Ok(())
    }

    /// Entries of the whole ledger.
    pub(super) async fn entries(&self, wanted: impl Fn(&Entry) -> bool) -> Result<Vec<Entry>> {
        self.entries_of("", wanted).await
    }

    /// What who audits one tenant sees of the ledger; everything for no tenant.
    pub(super) async fn entries_of(&self, tenant: &str, wanted: impl Fn(&Entry) -> bool) -> Result<Vec<Entry>> {
        let (mut found, mut from) = (Vec::new(), 0);
        loop {
            let request =
                ReadEntriesRequest { tenant: tenant.to_owned(), from_sequence: from, page_size: ENTRIES_PER_PAGE };
            let page = self.auditor.ledger(0).read_entries(request).await;
            let page = page.map_err(|status| anyhow!("ReadEntries: {}", describe(&status)))?.into_inner();
            found.extend(page.entries.into_iter().filter(&wanted));
            if page.next_sequence <= from || page.next_sequence >= page.ledger_size {
                return Ok(found);
            }
            from = page.next_sequence;
        }
    }

    /// The catalogue in force.
    pub(super) async fn catalogue(&self) -> Result<ListPurposesResponse> {
        let request = ListPurposesRequest { tenant: TENANT.to_owned() };
        let answer = self.auditor.purposes(0).list_purposes(request).await;
        Ok(answer.map_err(|status| anyhow!("ListPurposes: {}", describe(&status)))?.into_inner())
    }

    /// A row of the catalogue in force.
    pub(super) async fn row(&self, code: &str) -> Result<Purpose> {
        let found = self.catalogue().await?.purposes.into_iter().find(|row| row.code == code);
        found.with_context(|| format!("the catalogue has no `{code}`"))
    }

    /// A row that was just approved: a read of the node that answers may be a moment behind the commit.
    pub(super) async fn row_soon(&self, code: &str) -> Result<Purpose> {
        for _ in 0..100 {
            if let Ok(row) = self.row(code).await {
                return Ok(row);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.row(code).await
    }

    /// Proposes rows as the owner, for the catalogue in force.
    pub(super) async fn propose(&self, put: Vec<Purpose>, reason: &str) -> Result<Result<String, Status>> {
        let request = ProposeCatalogueChangeRequest {
            base_version: self.catalogue().await?.version,
            put,
            override_reason: reason.to_owned(),
            ..ProposeCatalogueChangeRequest::default()
        };
        let answer = self.owner.purposes(0).propose_catalogue_change(request).await;
        Ok(answer.map(|answer| answer.into_inner().order))
    }

    /// Approves an order about purposes.
    pub(super) async fn approve(&self, approver: &Caller, order: &str) -> Result<u64, Status> {
        let request = ApprovePurposeOrderRequest { order: order.to_owned(), ..ApprovePurposeOrderRequest::default() };
        Ok(approver.purposes(0).approve_purpose_order(request).await?.into_inner().entry_sequence)
    }

    /// An approver agrees to an order about purposes.
    pub(super) async fn agree(&self, order: &str) -> Result<()> {
        let approved = self.approve(&self.approver, order).await;
        approved.map(|_| ()).map_err(|status| anyhow!("ApprovePurposeOrder: {}", describe(&status)))
    }

    /// Proposes to demand the record of an identity check.
    pub(super) async fn demand(&self, demand: VerificationDemand) -> Result<String> {
        self.set(TENANT, SetTenantPurposesRequest { verification_demand: Some(demand), ..Default::default() }).await
    }

    async fn set(&self, tenant: &str, request: SetTenantPurposesRequest) -> Result<String> {
        let request = SetTenantPurposesRequest { tenant: tenant.to_owned(), ..request };
        let order = self.owner.purposes(0).set_tenant_purposes(request).await;
        Ok(order.map_err(|status| anyhow!("SetTenantPurposes: {}", describe(&status)))?.into_inner().order)
    }

    /// Two people have a tenant use these purposes.
    pub(super) async fn enable(&self, tenant: &str, codes: &[&str]) -> Result<()> {
        let enable = codes.iter().map(|code| (*code).to_owned()).collect();
        let order = self.set(tenant, SetTenantPurposesRequest { enable, ..Default::default() }).await?;
        self.agree(&order).await
    }

    /// A grant that reveals for these purposes, everybody and for most of a year.
    pub(super) fn grant(&self, caller: &Caller, tenant: &str, purposes: &[&str]) -> Grant {
        bounded(Grant {
            caller: caller.spiffe().to_owned(),
            role: Role::Workload.into(),
            tenant: tenant.to_owned(),
            actions: vec!["detokenize".to_owned()],
            kinds: vec!["my_number".to_owned()],
            purposes: purposes.iter().map(|code| (*code).to_owned()).collect(),
            scopes: vec![SCOPES[0].to_owned()],
            // Nobody reveals without a person who answers for it: here the handler of a job.
            end_user: EndUserRule::ApprovedJob.into(),
            approved_job: Some(ApprovedJob {
                job: "law-rules".to_owned(),
                handler: HANDLER.to_owned(),
                ..ApprovedJob::default()
            }),
            ..Grant::default()
        })
    }

    /// A grant made for one occasion: since yesterday, for two more days, for so many persons.
    pub(super) fn occasion(&self, caller: &Caller, purpose: &str, persons_max: u32) -> Result<Grant> {
        Ok(Grant {
            not_before: Some(at(-1)?),
            not_after: Some(at(2)?),
            budget: Some(Budget { persons_max, window_days: 0, ..Budget::default() }),
            ..self.grant(caller, TENANT, &[purpose])
        })
    }

    /// Whether the owner may propose the grants; a proposal alone changes nothing.
    pub(super) async fn proposes(&self, grants: Vec<Grant>) -> Result<String, Status> {
        let request = ProposeGrantsRequest { grants, ..ProposeGrantsRequest::default() };
        Ok(self.owner.tenants(0).propose_grants(request).await?.into_inner().order)
    }

    /// Proposes and approves grants.
    pub(super) async fn give(&self, grants: Vec<Grant>) -> Result<()> {
        let order = self.proposes(grants).await.map_err(|status| anyhow!("ProposeGrants: {}", describe(&status)))?;
        let request = ApproveGrantsRequest { order, ..ApproveGrantsRequest::default() };
        let approved = self.approver.tenants(0).approve_grants(request).await;
        approved.map_err(|status| anyhow!("ApproveGrants: {}", describe(&status)))?;
        Ok(())
    }

    /// Numbers that were stored.
    pub(super) fn numbers(&self) -> impl Iterator<Item = &str> {
        let few = [&self.employee, &self.spouse, &self.newcomer, &self.leaver];
        few.into_iter().chain(&self.employees).map(|stored| stored.number.as_str())
    }
}

/// A caller beside the cluster's own.
fn outsider(cluster: &LocalCluster, name: &str) -> Result<Caller> {
    let path = format!("workload/{name}");
    let pems = cluster.ca().issue_identity(name, &path)?;
    Caller::new(&pems, &cluster.ca().spiffe_id(&path), &cluster.client_addresses(), CALL_DEADLINE)
}

/// So many days from now.
pub(super) fn at(days: i64) -> Result<Timestamp> {
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?;
    let day = i64::try_from(DAY.as_secs())?;
    Ok(Timestamp { seconds: now + days * day, nanos: 0 })
}

/// The call was refused as invalid for this field.
pub(super) fn refused_for<T>(answer: Result<T, Status>, field: &str) -> Result<()> {
    let status = refused(answer, Code::InvalidField)?;
    let details = status.get_error_details();
    let named: Vec<&str> =
        details.bad_request().into_iter().flat_map(|bad| &bad.field_violations).map(|bad| bad.field.as_str()).collect();
    ensure!(named == [field], "refused for {named:?}, not for `{field}`");
    Ok(())
}

/// The call was refused with this code.
pub(super) fn refused<T>(answer: Result<T, Status>, code: Code) -> Result<Status> {
    let status = answer.err().with_context(|| format!("nothing was refused; expected {}", code.id()))?;
    ensure!(is_code(&status, code), "expected {}: {}", code.id(), describe(&status));
    Ok(status)
}
