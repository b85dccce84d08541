//! Commands about named address sets.
//!
//! Flow      the sets to come -> a policy for each port whose rules name one
//!           that changes (may fail: nothing has changed) -> swap the sets,
//!           then the policies, which can't fail
//! Rules     S1  a port's policy has the sets that its rules were compiled
//!               with, so a packet sees one content of a set throughout.
//!           S2  a set that a rule names is there: rules are checked when they
//!               are added, sets when they are deleted.

use super::Host;
use crate::api::dump::AddressSetEntry;
use crate::api::page::Page;
use crate::api::setup::{Change, ChangeVerb};
use crate::api::{AddressSet, ConfigError, ErrorCode, Name, ObjectKind, Prefix, Response};
use crate::event::Observer;
use crate::port::{Policy, Port};
use crate::rule::AddressSets;
use crate::rule::address_set::names;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use lock_api::RawMutex;

/// Policies to come, each with its port.
pub(super) type Policies<R> = Vec<(Arc<Port<R>>, Policy)>;

impl<R: RawMutex, O: Observer> Host<R, O> {
    /// The sets now.
    pub(super) fn address_sets(&self) -> AddressSets {
        self.address_sets.lock().clone()
    }

    pub(super) fn set_address_set(
        &self,
        name: Name,
        prefixes: Vec<Prefix>,
    ) -> Result<Response, ConfigError> {
        let sets = self.address_sets().with(name, prefixes)?;
        let policies = self.plan_sets(&sets)?;
        self.commit_sets(sets, policies);
        Ok(Response::Done)
    }

    pub(super) fn delete_address_set(&self, name: &Name) -> Result<Response, ConfigError> {
        let sets = self.address_sets().without(name)?;
        let view = self.view();
        if let Some(port) = view.ports().find(|port| has_named(&port.policy(), name)) {
            let error = ConfigError::new(ErrorCode::InUse, ObjectKind::AddressSet, name);
            return Err(error.hint(alloc::format!("by rules of port {}", port.name)));
        }
        self.commit_sets(sets, Vec::new());
        Ok(Response::Done)
    }

    /// Policies of the ports whose rules name a set that is another one in
    /// `sets`.
    fn plan_sets(&self, sets: &AddressSets) -> Result<Policies<R>, ConfigError> {
        let mut policies = Vec::new();
        for port in self.view().ports() {
            if let Some(policy) = port.policy().with_sets(sets)? {
                policies.push((Arc::clone(port), policy));
            }
        }
        Ok(policies)
    }

    /// Puts sets and the policies made with them into force. Cannot fail.
    pub(super) fn commit_sets(&self, sets: AddressSets, policies: Policies<R>) {
        let old = core::mem::replace(&mut *self.address_sets.lock(), sets);
        for (port, policy) in policies {
            port.commit(policy);
        }
        drop(old);
    }

    pub(super) fn list_address_sets(&self, cursor: u64) -> Page<AddressSetEntry> {
        let mut rules: BTreeMap<Name, u32> = BTreeMap::new();
        for port in self.view().ports() {
            for name in port
                .policy()
                .rules
                .iter()
                .flat_map(|rule| names(&rule.spec))
            {
                let count = rules.entry(*name).or_default();
                *count = count.saturating_add(1);
            }
        }
        let sets = self.address_sets();
        let entries = sets.iter().map(|(name, prefixes)| AddressSetEntry {
            name: *name,
            prefixes: u32::try_from(prefixes.len()).unwrap_or(u32::MAX),
            rules: rules.get(name).copied().unwrap_or(0),
        });
        self.list_page(entries, cursor)
    }

    pub(super) fn dump_address_set(
        &self,
        name: &Name,
        cursor: u64,
    ) -> Result<Response, ConfigError> {
        let sets = self.address_sets();
        let prefixes = sets
            .get(name)
            .ok_or_else(|| ConfigError::new(ErrorCode::NotFound, ObjectKind::AddressSet, name))?;
        let prefixes = prefixes.iter().copied();
        Ok(Response::Prefixes(self.list_page(prefixes, cursor)))
    }
}

/// The sets that a setup asks for, and what will be different.
pub(super) fn plan_replace(
    old: &AddressSets,
    specs: &[AddressSet],
) -> Result<(AddressSets, Vec<Change>), ConfigError> {
    let new = AddressSets::build(specs)?;
    let change = |verb, name: &Name| Change {
        verb,
        object: alloc::format!("address set {name}"),
    };
    let gone = old.iter().filter(|(name, _)| new.get(name).is_none());
    let gone = gone.map(|(name, _)| change(ChangeVerb::Remove, name));
    let others = new.iter().filter_map(|(name, prefixes)| {
        let verb = match old.get(name) {
            None => ChangeVerb::Add,
            Some(old) if old != prefixes => ChangeVerb::Change,
            Some(_) => return None,
        };
        Some(change(verb, name))
    });
    let changes = gone.chain(others).collect();
    Ok((new, changes))
}

/// Whether a rule of a port names a set.
fn has_named(policy: &Policy, name: &Name) -> bool {
    let mut named = policy.rules.iter().flat_map(|rule| names(&rule.spec));
    named.any(|other| other == name)
}
