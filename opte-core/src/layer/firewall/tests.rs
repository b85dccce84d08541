//! Planning changes of a rule set.

use super::*;
use crate::Instant;
use alloc::sync::Arc;
use std::string::ToString;
use std::vec;

fn spec(text: &str) -> FwRule {
    text.parse().unwrap()
}

fn ids(rules: &[Rule]) -> Vec<u32> {
    rules.iter().map(|rule| rule.id).collect()
}

#[test]
fn without_a_rule_inbound_is_denied_and_outbound_allowed() {
    let rules = RuleSet::default();
    let query = |dir| Query {
        dir,
        remote: "10.0.0.1".parse().unwrap(),
        remote_vni: None,
        proto: Proto::TCP,
        icmp: None,
        source_port: 1,
        dest_port: 2,
    };
    let inbound = decide(&rules, &query(Direction::In));
    assert!(inbound.action == FwAction::Deny && inbound.rule.is_none());
    assert_eq!(
        decide(&rules, &query(Direction::Out)).action,
        FwAction::Allow
    );
    let list = plan_add(&rules, 1, spec("dir=out priority=1 action=deny")).unwrap();
    let rules = RuleSet::build(list);
    let outbound = decide(&rules, &query(Direction::Out));
    assert_eq!(outbound.action, FwAction::Deny);
    assert_eq!(outbound.rule.unwrap().id, 1);
}

#[test]
fn rules_are_added_and_removed() {
    let any = spec("dir=in priority=1 action=allow");
    let rules = RuleSet::build(plan_add(&RuleSet::default(), 1, any.clone()).unwrap());
    let rules = RuleSet::build(plan_add(&rules, 2, any).unwrap());
    assert_eq!(ids(&plan_remove(&rules, Direction::In, 1).unwrap()), [2]);
    for (dir, id) in [(Direction::Out, 1), (Direction::In, 3)] {
        let error = plan_remove(&rules, dir, id).unwrap_err();
        assert_eq!(error.code, ErrorCode::NotFound);
    }
}

#[test]
fn replacing_keeps_what_stays() {
    let a = spec("dir=in priority=1 action=allow ports=80");
    let b = spec("dir=in priority=1 action=allow ports=443");
    let c = spec("dir=out priority=1 action=deny");
    let (list, next) = plan_replace(&RuleSet::default(), vec![a.clone(), b, a.clone()], 1).unwrap();
    assert_eq!((ids(&list), next), (vec![1, 2, 3], 4));
    let rules = RuleSet::build(list);
    rules.get(1).unwrap().stats.record(1, 60, Instant::ZERO);
    // The same set again changes nothing.
    let same: Vec<_> = rules.iter().map(|rule| (*rule.spec).clone()).collect();
    let (list, next) = plan_replace(&rules, same, next).unwrap();
    assert_eq!((ids(&list), next), (vec![1, 2, 3], 4));
    assert!(Arc::ptr_eq(&list[0].stats, &rules.get(1).unwrap().stats));
    // One of two equal rules stays, another comes.
    let (list, next) = plan_replace(&rules, vec![c, a], next).unwrap();
    assert_eq!((ids(&list), next), (vec![4, 1], 5));
    assert_eq!(list[1].stats.packets(), 1);
    assert_eq!(list[0].stats.packets(), 0);
}

#[test]
fn rules_that_make_no_sense_are_refused() {
    let hosts = |n: usize| {
        let mut rule = spec("dir=in priority=1 action=deny hosts=10.0.0.1");
        rule.hosts = vec![rule.hosts[0]; n];
        rule
    };
    let mut backwards = spec("dir=in priority=1 action=deny ports=1-2");
    backwards.ports[0].last = 0;
    let mut typed = spec("dir=in priority=1 action=deny protocols=tcp");
    typed.protocols[0].icmp_type = Some(1);
    for (rule, code) in [
        (hosts(257), ErrorCode::LimitReached),
        (backwards, ErrorCode::Malformed),
        (typed, ErrorCode::Malformed),
        (
            spec("dir=in priority=1 action=deny protocols=icmp,gre ports=1"),
            ErrorCode::Conflict,
        ),
        (
            spec("dir=in priority=1 action=deny protocols=icmp6 hosts=10.0.0.0/8"),
            ErrorCode::FamilyMismatch,
        ),
    ] {
        let error = plan_add(&RuleSet::default(), 1, rule).unwrap_err();
        assert_eq!(error.code, code, "{error}");
        assert!(error.to_string().contains("dir=in priority=1 action=deny"));
    }
    for good in [
        hosts(256),
        spec("dir=in priority=1 action=deny protocols=icmp6,tcp hosts=10.0.0.0/8"),
        spec("dir=in priority=1 action=deny protocols=icmp6 hosts=10.0.0.0/8,vni=1"),
        spec("dir=in priority=1 action=deny protocols=icmp,tcp ports=1"),
    ] {
        plan_add(&RuleSet::default(), 1, good).unwrap();
    }
    let many = vec![spec("dir=in priority=1 action=deny"); FW_RULES_MAX + 1];
    let error = plan_replace(&RuleSet::default(), many, 1).unwrap_err();
    assert_eq!(error.code, ErrorCode::LimitReached);
}

#[test]
fn ids_never_wrap() {
    let any = spec("dir=in priority=1 action=deny");
    let error = plan_replace(&RuleSet::default(), vec![any], u32::MAX).unwrap_err();
    assert_eq!(error.code, ErrorCode::LimitReached);
}
