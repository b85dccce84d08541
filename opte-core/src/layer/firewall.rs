//! The firewall: which flows may be opened, and by whom.
//!
//! Purpose   the first rule that matches decides; without one, inbound flows
//!           are denied and outbound ones allowed. An allowed flow's replies
//!           pass without being asked about, so only a flow's first packet
//!           comes here.
//! Failure   a rule that could never match is refused when it is added,
//!           because whoever wrote it meant something else.

use crate::Direction;
use crate::api::{ConfigError, ErrorCode, FwAction, FwRule, HostFilter, ObjectKind, ProtoFilter};
use crate::flow::{Family, Proto};
use crate::limits::{FW_RULES_MAX, PREDICATE_LIST_MAX};
use crate::rule::{Query, Rule, RuleSet, RuleStats};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// What the firewall says about a new flow.
#[derive(Clone, Copy, Debug)]
pub struct Decision<'r> {
    /// The rule that decided; none when it was the default.
    pub rule: Option<&'r Rule>,
    /// What it says.
    pub action: FwAction,
}

/// Decides about a flow that `query` would open.
#[must_use]
pub fn decide<'r>(rules: &'r RuleSet, query: &Query) -> Decision<'r> {
    let rule = rules.find(query);
    let action = match rule {
        Some(rule) => rule.spec.action,
        None => default_action(query.dir),
    };
    Decision { rule, action }
}

/// What happens to a flow that no rule matches.
#[must_use]
pub const fn default_action(dir: Direction) -> FwAction {
    match dir {
        Direction::In => FwAction::Deny,
        Direction::Out => FwAction::Allow,
    }
}

/// What is counted for flows that no rule matched. A port has one for its
/// whole life.
#[derive(Debug, Default)]
pub struct DefaultStats {
    inbound: RuleStats,
    outbound: RuleStats,
}

impl DefaultStats {
    /// The counters of one direction.
    #[must_use]
    pub const fn of(&self, dir: Direction) -> &RuleStats {
        match dir {
            Direction::In => &self.inbound,
            Direction::Out => &self.outbound,
        }
    }
}

/// The rules with one more, which gets `id`.
///
/// # Errors
///
/// When there are too many rules or the new one makes no sense.
pub fn plan_add(rules: &RuleSet, id: u32, spec: FwRule) -> Result<Vec<Rule>, ConfigError> {
    check(&spec)?;
    let mut list: Vec<Rule> = rules.iter().cloned().collect();
    check_count(list.len().saturating_add(1))?;
    list.push(Rule::new(id, spec));
    Ok(list)
}

/// The rules without the one that has `id`.
///
/// # Errors
///
/// When no rule of this direction has the id.
pub fn plan_remove(rules: &RuleSet, dir: Direction, id: u32) -> Result<Vec<Rule>, ConfigError> {
    if rules.get(id).is_none_or(|rule| rule.spec.dir != dir) {
        let error = ConfigError::new(ErrorCode::NotFound, ObjectKind::Rule, id);
        return Err(error.hint(alloc::format!("direction {dir}")));
    }
    Ok(rules.iter().filter(|rule| rule.id != id).cloned().collect())
}

/// The rules that `specs` ask for, and the next id. A rule that is there
/// already keeps its id and its counters; others get ids from `next_id` on.
///
/// # Errors
///
/// When there are too many rules or one makes no sense.
pub fn plan_replace(
    rules: &RuleSet,
    specs: Vec<FwRule>,
    mut next_id: u32,
) -> Result<(Vec<Rule>, u32), ConfigError> {
    check_count(specs.len())?;
    specs.iter().try_for_each(check)?;
    // Several rules may be the same; they are taken in their order.
    let mut kept: BTreeMap<_, Vec<&Rule>> = BTreeMap::new();
    for rule in rules.iter() {
        kept.entry(identity(&rule.spec)).or_default().push(rule);
    }
    kept.values_mut().for_each(|rules| rules.reverse());
    let same: Vec<Option<&Rule>> = specs
        .iter()
        .map(|spec| kept.get_mut(&identity(spec))?.pop())
        .collect();
    drop(kept);
    let mut list = Vec::with_capacity(specs.len());
    for (spec, same) in specs.into_iter().zip(same) {
        list.push(match same {
            Some(rule) => rule.clone(),
            None => {
                let id = next_id;
                next_id = next_id.checked_add(1).ok_or_else(|| {
                    ConfigError::new(ErrorCode::LimitReached, ObjectKind::Rule, "").field("id", id)
                })?;
                Rule::new(id, spec)
            }
        });
    }
    Ok((list, next_id))
}

/// All of a rule's content, as something that has an order.
fn identity(rule: &FwRule) -> impl Ord + use<'_> {
    (
        (rule.dir, rule.priority, rule.action),
        (&rule.hosts, &rule.protocols),
        (&rule.ports, &rule.source_ports),
    )
}

fn check_count(count: usize) -> Result<(), ConfigError> {
    if count <= FW_RULES_MAX {
        return Ok(());
    }
    let error = ConfigError::new(ErrorCode::LimitReached, ObjectKind::Rule, "");
    Err(error
        .field("rules", count)
        .hint(alloc::format!("{FW_RULES_MAX} for one port")))
}

/// Whether a rule makes sense.
fn check(rule: &FwRule) -> Result<(), ConfigError> {
    // A rule's text may be long; its first words say which one it is.
    let refuse = |code| {
        let words = (rule.dir, rule.priority, rule.action);
        let (dir, priority, action) = words;
        let object = alloc::format!("dir={dir} priority={priority} action={action}");
        ConfigError::new(code, ObjectKind::Rule, object)
    };
    for (field, len) in [
        ("hosts", rule.hosts.len()),
        ("protocols", rule.protocols.len()),
        ("ports", rule.ports.len()),
        ("source_ports", rule.source_ports.len()),
    ] {
        if len > PREDICATE_LIST_MAX {
            let hint = alloc::format!("{PREDICATE_LIST_MAX} entries");
            return Err(refuse(ErrorCode::LimitReached).field(field, len).hint(hint));
        }
    }
    for (field, ranges) in [("ports", &rule.ports), ("source_ports", &rule.source_ports)] {
        if let Some(bad) = ranges.iter().find(|range| range.first > range.last) {
            return Err(refuse(ErrorCode::Malformed).field(field, bad));
        }
        let ported = |filter: &ProtoFilter| filter.proto.has_ports();
        let never = !rule.protocols.is_empty() && !rule.protocols.iter().any(ported);
        if never && let Some(range) = ranges.first() {
            let error = refuse(ErrorCode::Conflict).field(field, range);
            return Err(error.hint("none of the protocols has ports"));
        }
    }
    if let Some(bad) = rule.protocols.iter().find(|filter| !is_sound(filter)) {
        let error = refuse(ErrorCode::Malformed).field("protocols", bad);
        return Err(error.hint("only icmp and icmp6 have a type, and a code needs one"));
    }
    match families_apart(rule) {
        None => Ok(()),
        Some(filter) => {
            let error = refuse(ErrorCode::FamilyMismatch).field("protocols", filter);
            Err(error.hint("the hosts are all of the other family"))
        }
    }
}

fn is_sound(filter: &ProtoFilter) -> bool {
    (filter.icmp_type.is_none() || filter.proto.is_icmp())
        && (filter.icmp_code.is_none() || filter.icmp_type.is_some())
}

/// A protocol of a rule whose protocols belong to one family each, and none
/// of them to the family of a host.
fn families_apart(rule: &FwRule) -> Option<&ProtoFilter> {
    let apart = |filter: &ProtoFilter| {
        let family = match filter.proto {
            Proto::ICMP => Family::V4,
            Proto::ICMPV6 => Family::V6,
            _ => return false,
        };
        rule.hosts.iter().all(|host| match host {
            HostFilter::Prefix(prefix) => prefix.family() != family,
            HostFilter::Vni(_) | HostFilter::Set(_) => false,
        })
    };
    let apart = !rule.hosts.is_empty() && rule.protocols.iter().all(apart);
    rule.protocols.first().filter(|_| apart)
}

#[cfg(test)]
mod tests;
