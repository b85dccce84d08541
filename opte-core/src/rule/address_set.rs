//! Named sets of addresses as rules are asked by.
//!
//! Terms     given   a set's prefixes as the operator listed them, in order
//!           cover   the same addresses in prefixes that don't overlap, in
//!                   order, so that membership is one binary search
//! Rules     A1  sets never change; a change makes another collection, which
//!               shares the sets that stayed.
//!           A2  rules remember the collection that they were compiled with,
//!               and are compiled anew when a set that they name is another.

use crate::api::{
    AddressSet, ConfigError, ErrorCode, FwRule, HostFilter, Name, ObjectKind, Prefix,
};
use crate::limits::{
    ADDRESS_SET_PREFIXES_ALL_MAX, ADDRESS_SET_PREFIXES_MAX, ADDRESS_SETS_MAX, FW_SET_PREFIXES_MAX,
};
use crate::ordered::OrderedMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

/// The address sets of a host at one moment.
#[derive(Clone, Debug, Default)]
pub struct AddressSets(Arc<OrderedMap<Name, Arc<Set>>>);

#[derive(Debug)]
struct Set {
    given: Vec<Prefix>,
    cover: Vec<Prefix>,
}

impl Set {
    fn new(mut given: Vec<Prefix>) -> Self {
        // A prefix comes before those inside of it.
        given.sort_unstable();
        given.dedup();
        let mut cover: Vec<Prefix> = Vec::with_capacity(given.len());
        for prefix in &given {
            if cover
                .last()
                .is_none_or(|last| !last.contains(&prefix.addr()))
            {
                cover.push(*prefix);
            }
        }
        Self { given, cover }
    }
}

impl AddressSets {
    /// The collection that `specs` describe.
    ///
    /// # Errors
    ///
    /// Too many sets or prefixes, or a name that is given twice.
    pub fn build(specs: &[AddressSet]) -> Result<Self, ConfigError> {
        let mut sets = OrderedMap::new();
        for spec in specs {
            let set = Arc::new(Set::new(spec.prefixes.clone()));
            if sets.insert(spec.name, set).is_some() {
                return Err(error(ErrorCode::Exists, &spec.name));
            }
            check_size(&spec.name, spec.prefixes.len())?;
        }
        Self(Arc::new(sets)).checked()
    }

    /// These sets and one more, or with another content of one.
    ///
    /// # Errors
    ///
    /// As [`AddressSets::build`].
    pub fn with(&self, name: Name, prefixes: Vec<Prefix>) -> Result<Self, ConfigError> {
        check_size(&name, prefixes.len())?;
        let mut sets = OrderedMap::clone(&self.0);
        sets.insert(name, Arc::new(Set::new(prefixes)));
        Self(Arc::new(sets)).checked()
    }

    /// These sets without one.
    ///
    /// # Errors
    ///
    /// When it isn't there.
    pub fn without(&self, name: &Name) -> Result<Self, ConfigError> {
        let mut sets = OrderedMap::clone(&self.0);
        match sets.remove(name) {
            Some(_) => Ok(Self(Arc::new(sets))),
            None => Err(error(ErrorCode::NotFound, name)),
        }
    }

    /// Names and prefixes of every set, as they were given, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&Name, &[Prefix])> {
        self.0
            .iter()
            .map(|(name, set)| (name, set.given.as_slice()))
    }

    /// The prefixes of a set as they were given.
    #[must_use]
    pub fn get(&self, name: &Name) -> Option<&[Prefix]> {
        self.0.get(name).map(|set| set.given.as_slice())
    }

    /// Prefixes that hold the addresses of a set and no others, none of them
    /// inside of another. Of a set that isn't there, none.
    pub(super) fn cover(&self, name: &Name) -> &[Prefix] {
        self.0.get(name).map_or(&[], |set| set.cover.as_slice())
    }

    /// Whether a set holds an address.
    pub(super) fn holds(&self, name: &Name, addr: &IpAddr) -> bool {
        let cover = self.cover(name);
        let after = cover.partition_point(|prefix| prefix.addr() <= *addr);
        let last = after.checked_sub(1).and_then(|at| cover.get(at));
        last.is_some_and(|prefix| prefix.contains(addr))
    }

    /// Whether a set has the same prefixes here and there.
    #[must_use]
    pub fn agree(&self, other: &Self, name: &Name) -> bool {
        match (self.0.get(name), other.0.get(name)) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other) || one.given == other.given,
            (one, other) => one.is_none() && other.is_none(),
        }
    }

    /// Checks the sets that rules name.
    ///
    /// # Errors
    ///
    /// A set that isn't there, or more prefixes than the rules of a port may
    /// name.
    pub fn check<'r>(&self, rules: impl Iterator<Item = &'r FwRule>) -> Result<(), ConfigError> {
        let mut total = 0_usize;
        for rule in rules {
            for name in names(rule) {
                let set = self.get(name);
                let refuse = |code| {
                    let FwRule {
                        dir,
                        priority,
                        action,
                        ..
                    } = rule;
                    let object = alloc::format!("dir={dir} priority={priority} action={action}");
                    ConfigError::new(code, ObjectKind::Rule, object)
                        .field("hosts", HostFilter::Set(*name))
                };
                let len = set.ok_or_else(|| refuse(ErrorCode::NotFound))?.len();
                total = total.saturating_add(len);
                if total > FW_SET_PREFIXES_MAX {
                    let hint = alloc::format!(
                        "{FW_SET_PREFIXES_MAX} prefixes by all rules of one port together"
                    );
                    return Err(refuse(ErrorCode::LimitReached).hint(hint));
                }
            }
        }
        Ok(())
    }

    fn checked(self) -> Result<Self, ConfigError> {
        let refuse = |field: &str, value: usize, max: usize| {
            Err(
                ConfigError::new(ErrorCode::LimitReached, ObjectKind::AddressSet, "")
                    .field(field, value)
                    .hint(alloc::format!("{max} of all sets together")),
            )
        };
        let sets = self.0.len();
        let given = self.0.values().map(|set| set.given.len());
        let prefixes = given.fold(0, usize::saturating_add);
        if sets > ADDRESS_SETS_MAX {
            refuse("number", sets, ADDRESS_SETS_MAX)
        } else if prefixes > ADDRESS_SET_PREFIXES_ALL_MAX {
            refuse("prefixes", prefixes, ADDRESS_SET_PREFIXES_ALL_MAX)
        } else {
            Ok(self)
        }
    }
}

/// The sets that a rule names.
pub fn names(rule: &FwRule) -> impl Iterator<Item = &Name> {
    rule.hosts.iter().filter_map(|host| match host {
        HostFilter::Set(name) => Some(name),
        HostFilter::Prefix(_) | HostFilter::Vni(_) => None,
    })
}

fn error(code: ErrorCode, name: &Name) -> ConfigError {
    ConfigError::new(code, ObjectKind::AddressSet, name)
}

fn check_size(name: &Name, prefixes: usize) -> Result<(), ConfigError> {
    if prefixes <= ADDRESS_SET_PREFIXES_MAX {
        return Ok(());
    }
    Err(error(ErrorCode::LimitReached, name)
        .field("prefixes", prefixes)
        .hint(alloc::format!("{ADDRESS_SET_PREFIXES_MAX} at most")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;
    use std::vec;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn prefixes(words: &str) -> Vec<Prefix> {
        let words = words.split_ascii_whitespace();
        words.map(|word| word.parse().unwrap()).collect()
    }

    #[test]
    fn a_set_holds_the_addresses_of_its_prefixes() {
        let given = "10.0.0.0/8 10.1.0.0/16 192.0.2.7 fd00::/16 10.0.0.0/8 9.255.255.255";
        let sets = AddressSets::default();
        let sets = sets.with(name("web"), prefixes(given)).unwrap();
        for (addr, held) in [
            ("10.255.255.255", true),
            ("10.1.2.3", true),
            ("9.255.255.255", true),
            ("9.255.255.254", false),
            ("11.0.0.0", false),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("fd00:ffff::", true),
            ("fd01::", false),
            ("0.0.0.0", false),
        ] {
            assert_eq!(sets.holds(&name("web"), &addr.parse().unwrap()), held);
            assert!(!sets.holds(&name("other"), &addr.parse().unwrap()));
        }
        assert_eq!(sets.cover(&name("web")).len(), 4);
        assert_eq!(sets.get(&name("web")).unwrap().len(), 5, "each once");
    }

    #[test]
    fn too_much_is_refused() {
        let one = |n: u32| Prefix::host(core::net::Ipv4Addr::from_bits(n).into());
        let full: Vec<Prefix> = (0..16_384).map(one).collect();
        let mut sets = AddressSets::default();
        let mut more = full.clone();
        more.push(one(16_384));
        let error = sets.with(name("a"), more).unwrap_err();
        assert_eq!(
            error.to_string(),
            "address set a: prefixes 16385 would be more than there may be (16384 at most)"
        );
        for n in 0..64 {
            sets = sets
                .with(name(&std::format!("a{n}")), full.clone())
                .unwrap();
        }
        let error = sets.with(name("b"), vec![one(1)]).unwrap_err();
        assert_eq!(error.code, ErrorCode::LimitReached);
        let rule: FwRule = "dir=in priority=1 action=deny hosts=set=a1"
            .parse()
            .unwrap();
        sets.check([&rule; 64].into_iter()).unwrap();
        let error = sets.check([&rule; 65].into_iter()).unwrap_err();
        assert_eq!(error.code, ErrorCode::LimitReached);
    }

    #[test]
    fn a_set_that_is_not_there_is_refused_by_name() {
        let rule: FwRule = "dir=in priority=1 action=deny hosts=10.0.0.1,set=web"
            .parse()
            .unwrap();
        let sets = AddressSets::default();
        let error = sets.check([&rule].into_iter()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "rule dir=in priority=1 action=deny: hosts set=web does not exist"
        );
        assert!(sets.without(&name("web")).is_err());
        let sets = sets.with(name("web"), vec![]).unwrap();
        sets.check([&rule].into_iter()).unwrap();
    }
}
