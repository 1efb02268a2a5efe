//! No combination of roles that one caller can hold changes policy alone and reveals, and none changes policy alone.

use fuda_policy::{Action, Grant, GrantId, Role, roles_conflict, samples};

/// Which halves of a change of policy an action is.
fn proposes(action: Action) -> bool {
    matches!(action, Action::ProposeGrants | Action::RequestAccess)
}

fn approves(action: Action) -> bool {
    matches!(action, Action::ApproveGrants | Action::ApproveAccess)
}

fn any(roles: &[Role], property: impl Fn(Action) -> bool) -> bool {
    roles.iter().flat_map(|role| role.actions()).any(|action| property(*action))
}

#[test]
fn every_role_is_on_one_side_only() {
    for role in Role::ALL {
        let (governs, reveals) = (any(&[role], Action::governs), any(&[role], Action::reveals));
        assert!(!(governs && reveals), "{role} governs and reveals");
        assert_eq!(role.handles_numbers(), reveals, "{role}");
        assert!(!(any(&[role], proposes) && any(&[role], approves)), "{role} approves what it proposes");
        for action in role.actions() {
            assert!(*action != Action::Bootstrap, "{role}");
            // Who touches tokens reads no ledger: nobody watches himself.
            assert!(!(reveals && *action == Action::ReadLedger), "{role}");
        }
    }
    // Every action but the bootstrap belongs to somebody.
    let owned = |action: &Action| Role::ALL.iter().any(|role| role.allows(*action));
    assert!(Action::ALL.iter().filter(|action| **action != Action::Bootstrap).all(owned));
}

/// A caller holds the actions of several grants, but one role. So the most one caller can do is one role's actions,
/// and every pair of different roles is refused.
#[test]
fn no_caller_gets_a_second_role_whatever_the_pair() {
    let grant = |role: Role, id: u8| Grant {
        id: GrantId([id; 16]),
        role,
        actions: role.actions().to_vec(),
        ..samples::grants().unwrap().remove(0)
    };
    for one in Role::ALL {
        for other in Role::ALL {
            let conflict = roles_conflict(&[grant(one, 1)], &[grant(other, 2)]);
            assert_eq!(conflict.is_some(), one != other, "{one} and {other}");
        }
    }
}

/// What the callers of some roles can do together: bring a grant into force, and then reveal by it.
fn can_grant(roles: &[Role]) -> bool {
    any(roles, |action| action == Action::ProposeGrants) && any(roles, |action| action == Action::ApproveGrants)
        || any(roles, |action| action == Action::RequestAccess) && any(roles, |action| action == Action::ApproveAccess)
}

#[test]
fn two_people_are_the_least_that_change_policy_and_they_still_reveal_nothing_themselves() {
    let mut pairs = Vec::new();
    for (at, one) in Role::ALL.into_iter().enumerate() {
        assert!(!can_grant(&[one]), "{one} changes policy alone");
        pairs.extend(Role::ALL.into_iter().skip(at + 1).map(|other| [one, other]));
    }
    let able: Vec<[Role; 2]> = pairs.into_iter().filter(|pair| can_grant(pair)).collect();
    assert_eq!(able, [[Role::Owner, Role::Approver], [Role::Approver, Role::Handler]]);
    // The owner and an approver who conspire need a third identity that reveals; a handler and an approver are the
    // ordinary way to access: two people, one entry each, counted and short.
    assert!(!any(&[Role::Owner, Role::Approver], Action::reveals));
}
