//! The page of who may do what is what both locks decide: it is generated, and this test fails when the page differs.
//!
//! To write it anew: `FUDA_REGENERATE=1 cargo test --release -p fuda-policy --test role_matrix`.
#![allow(clippy::unwrap_used, reason = "test code")]

use std::fmt::Write as _;
use std::path::Path;

use fuda_core::{
    Catalogue, Fingerprint, Kind, PartyId, PurposeCode, ScopeId, TenantId, Timestamp, Window, WorkReference,
};
use fuda_policy::{
    Action, ApprovedJob, Budget, Circumstances, Conditions, EndUserRule, Entrusted, Grant, GrantId, Policy, PolicyData,
    Recipient, Request, Role, samples,
};

const PAGE: &str = "../../docs/src/reference/role-matrix.md";
const NOW: Timestamp = Timestamp(1_795_322_700_000);
const RECIPIENT: Fingerprint = Fingerprint::from_bytes([7; 32]);
const HEAD: &str = "# Role matrix

Generated from the schema, the default policy text and the code by
`FUDA_REGENERATE=1 cargo test --release -p fuda-policy --test role_matrix`; CI fails when this page differs. Each cell is
what a caller of the role gets who holds a grant with that one action under the default policy:

- **T** allowed, for a tenant of the grant
- **V** allowed, for the whole vault
- **VT** allowed for either
- · denied, whatever the grant says

What the roles mean is on the page [Roles and actions](roles.md).

";

/// A grant of the role with that one action, as wide as its shape allows.
fn grant(role: Role, action: Action, tenant: Option<TenantId>) -> Grant {
    let handles = role.handles_numbers();
    // A My Number is never shown in part, whatever the grant says.
    let kind = if action == Action::RevealMasked { Kind::BankAccount } else { Kind::MyNumber };
    let party = Entrusted { party: PartyId::parse("bureau").unwrap(), sub_of: None };
    let circumstances = Circumstances { entrusted: Some(party), ..Circumstances::default() };
    Grant {
        id: GrantId([1; 16]),
        caller: samples::caller("somebody").unwrap(),
        role,
        tenant,
        actions: vec![action],
        kinds: if handles { vec![kind] } else { Vec::new() },
        purposes: if handles { vec![purpose(action)] } else { Vec::new() },
        scopes: if handles { vec![ScopeId::parse(samples::PAYROLL_SCOPE).unwrap()] } else { Vec::new() },
        window: if action.moves() { Window { not_before: Some(NOW), not_after: Some(NOW) } } else { Window::ALWAYS },
        budget: (handles && action.moves()).then_some(Budget::new(1, Budget::LIFE_OF_GRANT)),
        conditions: Conditions {
            destination: (action == Action::OfferTransfer).then(destination),
            ..Conditions::default()
        },
        end_user: (action.reveals() && handles && role != Role::Handler).then_some(EndUserRule::ApprovedJob(
            ApprovedJob {
                job: WorkReference::parse("job").unwrap(),
                handler: samples::caller("taro").unwrap(),
                window: Window::ALWAYS,
            },
        )),
        verify_guesses_per_day: u16::from(handles && action == Action::VerifyNumber),
        circumstances: (role == Role::EntrustedParty).then_some(circumstances),
    }
}

/// The one purpose that moves numbers for what moves them.
fn purpose(action: Action) -> PurposeCode {
    PurposeCode::parse(if action.moves() { fuda_core::purpose::TRANSFER } else { samples::PURPOSE }).unwrap()
}

fn destination() -> TenantId {
    TenantId::parse("next").unwrap()
}

/// The demo tenant with a recipient to whom everything may be sealed, and with the purpose that moves numbers.
fn with_recipient(mut data: PolicyData) -> PolicyData {
    let recipient = Recipient {
        fingerprint: RECIPIENT,
        key: [7; 32],
        name: "next".to_owned(),
        purposes: vec![PurposeCode::parse(samples::PURPOSE).unwrap()],
        not_after: Timestamp::MAX,
    };
    data.tenants.iter_mut().for_each(|tenant| tenant.recipients = vec![recipient.clone()]);
    data.tenants.iter_mut().for_each(|tenant| tenant.purposes.push(purpose(Action::OfferTransfer)));
    data
}

/// Whether policy permits the action under such a grant; a grant of a shape that cannot exist permits nothing.
fn permits(base: &Policy, data: &PolicyData, role: Role, action: Action, tenant: Option<TenantId>) -> bool {
    let grant = grant(role, action, tenant.clone());
    let request = match &tenant {
        Some(tenant) => Request::tenant(action, grant.caller.clone(), tenant.clone()),
        None => Request::vault(action, grant.caller.clone()),
    };
    let request = match action.reveals() || action.moves() {
        true => request.purpose(purpose(action)),
        false => request,
    };
    let request = match action {
        Action::Seal => request.recipient(Some(RECIPIENT)),
        Action::OfferTransfer => request.destination(Some(destination())),
        _ => request,
    };
    match base.rebuild(PolicyData { grants: vec![grant], ..data.clone() }) {
        Ok(policy) => policy.decide(&request, NOW).is_ok(),
        Err(_) => false,
    }
}

fn page() -> String {
    let catalogue = Catalogue::from_toml(Catalogue::default_text()).unwrap();
    let data = with_recipient(samples::policy_data(catalogue, Timestamp::EPOCH).unwrap());
    let base = Policy::build(data.clone()).unwrap();
    let tenant = TenantId::parse(samples::TENANT).unwrap();
    let mut page = HEAD.to_owned();
    page.push_str("| action |");
    for role in Role::ALL {
        write!(page, " {role} |").unwrap();
    }
    page.push_str("\n|---|");
    page.push_str(&"---|".repeat(Role::ALL.len()));
    for action in Action::ALL {
        write!(page, "\n| `{action}` |").unwrap();
        for role in Role::ALL {
            // An action on the whole vault has no tenant, even if its request names one.
            let of_tenant = !action.whole_vault() && permits(&base, &data, role, action, Some(tenant.clone()));
            let of_vault = permits(&base, &data, role, action, None);
            let cell = match (of_vault, of_tenant) {
                (true, true) => "**VT**",
                (true, false) => "**V**",
                (false, true) => "**T**",
                (false, false) => "·",
            };
            write!(page, " {cell} |").unwrap();
        }
    }
    page.push('\n');
    page
}

#[test]
fn the_page_is_what_policy_decides() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
    let page = page();
    if std::env::var_os("FUDA_REGENERATE").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == page, "{PAGE} is not what policy decides; write it anew as its head says");
}

/// A role never gets less by the text than its actions say, and never more.
#[test]
fn every_action_of_a_role_is_really_permitted_and_no_other() {
    let catalogue = Catalogue::from_toml(Catalogue::default_text()).unwrap();
    let data = with_recipient(samples::policy_data(catalogue, Timestamp::EPOCH).unwrap());
    let base = Policy::build(data.clone()).unwrap();
    let tenant = TenantId::parse(samples::TENANT).unwrap();
    for role in Role::ALL {
        for action in Action::ALL {
            let permitted =
                permits(&base, &data, role, action, Some(tenant.clone())) || permits(&base, &data, role, action, None);
            assert_eq!(permitted, role.allows(action), "{role} {action}");
        }
    }
}
