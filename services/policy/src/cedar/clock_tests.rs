use super::*;

fn clock(condition: &str) -> Clock {
    let text = format!("forbid (principal, action, resource) when {{ {condition} }};");
    let policy = cedar_policy::Policy::parse(None, text).unwrap().to_pst().unwrap();
    let mut clock = Clock::UNSEEN;
    clock.see(&policy);
    clock
}

#[test]
fn what_is_compared_with_the_clock_is_found() {
    let compared = |moments: &[i64]| Clock::Compared(moments.iter().copied().collect());
    assert_eq!(clock("context has purpose && context.purpose_reveals"), compared(&[]));
    assert_eq!(
        clock("context.grant.not_before <= context.now && context.now <= context.grant.not_after"),
        compared(&[])
    );
    assert_eq!(clock("context.now < 5 || 7 >= context.now || context.now != 9"), compared(&[5, 7, 9]));
    assert_eq!(clock("context has now && !(context[\"now\"] == 3)"), compared(&[3]));
    assert_eq!(clock("if principal.role == \"owner\" then 5 > context.now else [1].contains(2)"), compared(&[5]));
}

#[test]
fn whoever_does_more_with_the_clock_sees_every_moment() {
    for condition in [
        "context.now + 0 < 5",
        "context.now - context.grant.not_before < 5",
        "context.now < context.purpose_persons_max",
        "context.now < (if context.job_open then 5 else 6)",
        "[context.now].contains(5)",
        "{ at: context.now }.at < 5",
        "context.now == context.now",
        "[context].contains(context)",
        "(if true then context else context).now < 5",
        "context.grant.actions.contains(\"x\") && -context.now < 5",
        "context.other.now < context.now",
    ] {
        assert_eq!(clock(condition), Clock::Exact, "{condition}");
    }
    assert_eq!(Clock::Exact.span(Timestamp(5), Window::ALWAYS), None);
}

#[test]
fn no_comparison_tells_the_moments_of_a_span_apart() {
    let clock = Clock::Compared(BTreeSet::from([10, 11, 20, i64::MAX]));
    let bounds = Window { not_before: Some(Timestamp(15)), not_after: Some(Timestamp(25)) };
    let mut firsts = BTreeSet::new();
    for now in [i64::MIN, i64::MAX].into_iter().chain(0..40) {
        let span = clock.span(Timestamp(now), bounds).unwrap();
        assert!(span.contains(Timestamp(now)));
        let first = span.not_before.map_or(i64::MIN, |it| it.0);
        let last = span.not_after.map_or(i64::MAX, |it| it.0);
        for moment in [10, 11, 15, 20, 25, i64::MAX] {
            for other in [first, last] {
                assert_eq!(now.cmp(&moment), other.cmp(&moment), "{now} and {other} at {moment}");
            }
        }
        let behind = last.checked_add(1).and_then(|next| clock.span(Timestamp(next), bounds));
        assert!(
            behind.is_none_or(|behind| behind.not_before == Some(Timestamp(last + 1))),
            "the next span begins there"
        );
        firsts.insert(first);
    }
    assert_eq!(firsts.into_iter().collect::<Vec<_>>(), [i64::MIN, 10, 11, 12, 15, 16, 20, 21, 25, 26, i64::MAX]);
}
