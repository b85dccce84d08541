//! A port's firewall rules as a packet meets them.

use super::address_set::{AddressSets, names};
use super::classifier::Classifier;
use super::dimension::Bounds;
use super::predicate::{self, Query};
use super::stats::RuleStats;
use crate::Direction;
use crate::api::FwRule;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

/// A rule of a port.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Stable for the rule's life and unique in its port.
    pub id: u32,
    /// What it matches and what it does.
    pub spec: Arc<FwRule>,
    /// Its counters.
    pub stats: Arc<RuleStats>,
}

impl Rule {
    /// A rule that nothing has matched yet.
    #[must_use]
    pub fn new(id: u32, spec: FwRule) -> Self {
        Self {
            id,
            spec: Arc::new(spec),
            stats: Arc::default(),
        }
    }
}

/// An immutable set of rules.
///
/// Rules are evaluated by priority, lower numbers first; at equal priority
/// deny comes before allow; then the order in which they were given counts.
pub struct RuleSet {
    /// Inbound rules, then outbound ones, each in order of evaluation.
    rules: Vec<Rule>,
    /// How many of them are inbound.
    inbound: usize,
    /// Id and position of each rule, by id.
    ids: Vec<(u32, usize)>,
    classify_in: Classifier,
    classify_out: Classifier,
    /// What `hosts=set=NAME` stood for when they were compiled.
    sets: AddressSets,
}

impl RuleSet {
    /// The set of `rules`, in order of insertion.
    ///
    /// At most [`FW_RULES_MAX`](crate::limits::FW_RULES_MAX) rules of each
    /// direction are evaluated.
    #[must_use]
    pub fn build(rules: Vec<Rule>) -> Self {
        Self::build_with(rules, &AddressSets::default())
    }

    /// As [`RuleSet::build`], for rules that name address sets. A set that
    /// isn't there holds nobody.
    #[must_use]
    pub fn build_with(rules: Vec<Rule>, sets: &AddressSets) -> Self {
        Self::build_within(rules, sets, Bounds::PORT)
    }

    /// As [`RuleSet::build`], with other bounds.
    pub(super) fn build_within(mut rules: Vec<Rule>, sets: &AddressSets, bounds: Bounds) -> Self {
        rules.sort_by_key(|rule| (rule.spec.dir, rule.spec.priority, rule.spec.action));
        let inbound = rules.partition_point(|rule| rule.spec.dir == Direction::In);
        let mut ids: Vec<_> = rules.iter().map(|rule| rule.id).zip(0..).collect();
        ids.sort_unstable();
        let classifier = |rules: Option<&[Rule]>| {
            let rules = rules.unwrap_or_default();
            Classifier::build(rules.iter().map(|rule| &*rule.spec), sets, bounds)
        };
        Self {
            classify_in: classifier(rules.get(..inbound)),
            classify_out: classifier(rules.get(inbound..)),
            sets: sets.clone(),
            ids,
            inbound,
            rules,
        }
    }

    /// The first rule that matches.
    #[must_use]
    pub fn find(&self, query: &Query) -> Option<&Rule> {
        let classifier = match query.dir {
            Direction::In => &self.classify_in,
            Direction::Out => &self.classify_out,
        };
        let rules = self.side(query.dir);
        let number = classifier.find(query, |number| {
            let rule = rules.get(usize::from(number));
            rule.is_some_and(|rule| predicate::matches(&rule.spec, &self.sets, query))
        })?;
        rules.get(usize::from(number))
    }

    /// The rule with this id.
    #[must_use]
    pub fn get(&self, id: u32) -> Option<&Rule> {
        let at = self.ids.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        let (_, position) = self.ids.get(at)?;
        self.rules.get(*position)
    }

    /// Whether a rule names an address set that is another one in `sets`.
    #[must_use]
    pub fn is_outdated(&self, sets: &AddressSets) -> bool {
        let mut names = self.rules.iter().flat_map(|rule| names(&rule.spec));
        names.any(|name| !self.sets.agree(sets, name))
    }

    /// Every rule in order of evaluation, inbound ones first.
    pub fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter()
    }

    /// How many rules there are for a direction.
    #[must_use]
    pub fn len(&self, dir: Direction) -> usize {
        self.side(dir).len()
    }

    /// Whether there is no rule at all.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    fn side(&self, dir: Direction) -> &[Rule] {
        let rules = match dir {
            Direction::In => self.rules.get(..self.inbound),
            Direction::Out => self.rules.get(self.inbound..),
        };
        rules.unwrap_or_default()
    }
}

impl Default for RuleSet {
    fn default() -> Self {
        Self::build(Vec::new())
    }
}

impl fmt::Debug for RuleSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
