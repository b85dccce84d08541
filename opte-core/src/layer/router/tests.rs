//! Routes: choice among them, and planning changes.

use super::*;
use crate::Instant;
use std::format;
use std::vec;

fn spec(text: &str) -> RouteSpec {
    text.parse().unwrap()
}

fn table(specs: &[&str]) -> RouteTable {
    let specs = specs.iter().map(|text| spec(text)).collect();
    let (list, _) = plan_replace(&RouteTable::default(), specs, 1).unwrap();
    RouteTable::build(list)
}

fn target(table: &RouteTable, dest: &str, hash: u32) -> std::string::String {
    match table.find(&dest.parse().unwrap(), hash) {
        Some(route) => format!("{}", route.spec.target),
        None => "none".into(),
    }
}

#[test]
fn length_comes_before_class_and_class_before_order() {
    let table = table(&[
        "0.0.0.0/0 ig system",
        "10.0.0.0/8 sub4=10.0.0.0/8 system",
        "10.0.0.0/8 drop custom",
        "10.1.0.0/16 sub4=10.1.0.0/16 system",
        "fd00::/8 ip6=fd00::1 custom",
    ]);
    for (dest, want) in [
        ("8.8.8.8", "ig"),
        ("10.2.0.1", "drop"),
        ("10.1.0.1", "sub4=10.1.0.0/16"),
        ("fd00::9", "ip6=fd00::1"),
        ("2001:db8::1", "none"),
    ] {
        assert_eq!(target(&table, dest, 7), want, "{dest}");
    }
    assert_eq!(table.len(), 5);
}

#[test]
fn equal_targets_share_flows_and_one_that_goes_moves_only_its_own() {
    let four = [
        "10.0.0.0/8 ip4=10.0.0.1 custom",
        "10.0.0.0/8 ip4=10.0.0.2 custom",
        "10.0.0.0/8 ip4=10.0.0.3 custom",
        "10.0.0.0/8 ip4=10.0.0.4 custom",
    ];
    let (all, three) = (table(&four), table(&four[..3]));
    let flows = 40_000_u32;
    let mut counts = std::collections::BTreeMap::new();
    for hash in 0..flows {
        let to = target(&all, "10.9.9.9", hash);
        let then = target(&three, "10.9.9.9", hash);
        assert!(to == then || to == "ip4=10.0.0.4", "{hash}");
        *counts.entry(to).or_insert(0_u32) += 1;
    }
    for (to, count) in counts {
        assert!(count.abs_diff(flows / 4) < flows / 50, "{to}: {count}");
    }
}

#[test]
fn a_custom_route_hides_the_system_routes_of_its_prefix() {
    let table = table(&[
        "10.0.0.0/8 ip4=10.0.0.1 system",
        "10.0.0.0/8 ip4=10.0.0.2 custom",
    ]);
    for hash in 0..100 {
        assert_eq!(target(&table, "10.0.0.9", hash), "ip4=10.0.0.2");
    }
}

#[test]
fn routes_are_added_and_removed_one_by_one() {
    let mut table = RouteTable::default();
    for i in 0..40 {
        let route = spec(&format!("10.{}.0.0/16 drop system", i * 7 % 40));
        table = RouteTable::build(plan_add(&table, i + 1, route).unwrap());
    }
    let first = spec("10.0.0.0/16 drop system");
    assert_eq!(
        plan_add(&table, 99, first).unwrap_err().code,
        ErrorCode::Exists
    );
    let route = table.find(&"10.3.0.1".parse().unwrap(), 0).unwrap();
    route.stats.record(1, 60, Instant::ZERO);
    table = RouteTable::build(plan_remove(&table, &first).unwrap());
    assert_eq!(table.len(), 39);
    assert_eq!(target(&table, "10.0.0.1", 0), "none");
    let kept = table.find(&"10.3.0.1".parse().unwrap(), 0).unwrap();
    assert_eq!(kept.stats.packets(), 1);
    let error = plan_remove(&table, &first).unwrap_err();
    assert_eq!(error.code, ErrorCode::NotFound);
}

#[test]
fn replacing_keeps_what_stays() {
    let old = table(&["0.0.0.0/0 ig system", "10.0.0.0/8 drop system"]);
    let kept = old.find(&"8.8.8.8".parse().unwrap(), 0).unwrap();
    let specs = vec![spec("9.0.0.0/8 drop custom"), spec("0.0.0.0/0 ig system")];
    let (list, next) = plan_replace(&old, specs, 3).unwrap();
    assert_eq!(next, 4);
    let new = RouteTable::build(list);
    let now = new.find(&"8.8.8.8".parse().unwrap(), 0).unwrap();
    assert!(now.id == kept.id && Arc::ptr_eq(&now.stats, &kept.stats));
    assert_eq!(new.find(&"9.0.0.1".parse().unwrap(), 0).unwrap().id, 3);
}

#[test]
fn routes_that_make_no_sense_are_refused() {
    let there = table(&[
        "10.0.0.0/8 ip4=10.0.0.1 custom",
        "11.0.0.0/8 drop custom",
        "12.0.0.0/8 ig system",
    ]);
    for (text, code) in [
        ("10.0.0.0/8 ip6=fd00::1 custom", ErrorCode::FamilyMismatch),
        ("fd00::/8 sub4=10.0.0.0/8 custom", ErrorCode::FamilyMismatch),
        ("224.0.0.0/4 drop custom", ErrorCode::NotUnicast),
        ("239.1.0.0/16 ig custom", ErrorCode::NotUnicast),
        ("ff02::/16 drop custom", ErrorCode::NotUnicast),
        ("1.0.0.0/8 ip4=224.0.0.1 custom", ErrorCode::NotUnicast),
        ("1.0.0.0/8 ip4=0.0.0.0 custom", ErrorCode::NotUnicast),
        ("1.0.0.0/8 sub4=224.0.0.0/8 custom", ErrorCode::NotUnicast),
        ("10.0.0.0/8 ip4=10.0.0.1 custom", ErrorCode::Exists),
        ("10.0.0.0/8 drop custom", ErrorCode::Conflict),
        ("11.0.0.0/8 ip4=10.0.0.1 custom", ErrorCode::Conflict),
        (
            "12.0.0.0/8 ig=01234567-89ab-cdef-0123-456789abcdef system",
            ErrorCode::Conflict,
        ),
    ] {
        let one = plan_add(&there, 9, spec(text)).unwrap_err();
        assert_eq!(one.code, code, "{one}");
        // The same as a whole set.
        let mut specs: Vec<_> = there.iter().map(|route| route.spec).collect();
        specs.push(spec(text));
        let all = plan_replace(&there, specs, 9).unwrap_err();
        assert_eq!(all.code, code, "{all}");
    }
    for good in [
        "10.0.0.0/8 drop system",
        "10.0.0.0/8 ip4=10.0.0.2 custom",
        "224.0.0.0/3 drop custom",
        "::/0 ig custom",
    ] {
        plan_add(&there, 9, spec(good)).unwrap();
    }
}

#[test]
fn one_destination_has_so_many_targets_at_most() {
    let specs = |n: usize| -> Vec<_> {
        (1..=n)
            .map(|i| spec(&format!("10.0.0.0/8 ip4=10.0.0.{i} custom")))
            .collect()
    };
    let (list, next) = plan_replace(&RouteTable::default(), specs(ROUTE_TARGETS_MAX), 1).unwrap();
    let full = RouteTable::build(list);
    let more = spec("10.0.0.0/8 ip4=10.0.1.1 custom");
    let error = plan_add(&full, next, more).unwrap_err();
    assert_eq!(error.code, ErrorCode::LimitReached);
    let many = specs(ROUTE_TARGETS_MAX + 1);
    let error = plan_replace(&RouteTable::default(), many, 1).unwrap_err();
    assert_eq!(error.code, ErrorCode::LimitReached);
}
