//! Which sources a member hears.

use crate::api::{FilterMode, SourceFilter};
use crate::ordered::OrderedSet;
use core::net::IpAddr;

/// A source filter that can be asked (RFC 3376 section 3.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Filter {
    /// These and no others.
    Include(OrderedSet<IpAddr>),
    /// All but these.
    Exclude(OrderedSet<IpAddr>),
}

impl Filter {
    /// Whether frames from `source` are heard.
    pub(super) fn allows(&self, source: &IpAddr) -> bool {
        match self {
            Self::Include(sources) => sources.contains(source),
            Self::Exclude(sources) => !sources.contains(source),
        }
    }

    /// What two memberships of one port hear together (RFC 3376 section 3.2).
    pub(super) fn union(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Include(one), Self::Include(two)) => {
                Self::Include(one.iter().chain(two.iter()).copied().collect())
            }
            (Self::Exclude(one), Self::Exclude(two)) => {
                Self::Exclude(one.intersection(two).copied().collect())
            }
            (Self::Include(heard), Self::Exclude(not))
            | (Self::Exclude(not), Self::Include(heard)) => {
                Self::Exclude(not.difference(heard).copied().collect())
            }
        }
    }

    pub(super) fn to_api(&self) -> SourceFilter {
        let (mode, sources) = match self {
            Self::Include(sources) => (FilterMode::Include, sources),
            Self::Exclude(sources) => (FilterMode::Exclude, sources),
        };
        SourceFilter {
            mode,
            sources: sources.iter().copied().collect(),
        }
    }
}

impl From<&SourceFilter> for Filter {
    fn from(filter: &SourceFilter) -> Self {
        let sources = filter.sources.iter().copied().collect();
        match filter.mode {
            FilterMode::Include => Self::Include(sources),
            FilterMode::Exclude => Self::Exclude(sources),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use std::net::Ipv4Addr;

    fn random(rng: &mut Rng) -> Filter {
        let source = |at: usize| IpAddr::V4(Ipv4Addr::new(10, 0, 0, at as u8));
        let sources = (0..8).filter(|_| rng.below(2) == 0).map(source).collect();
        match rng.below(2) {
            0 => Filter::Include(sources),
            _ => Filter::Exclude(sources),
        }
    }

    /// A union hears what one or the other hears, and nothing else.
    #[test]
    fn a_union_hears_what_either_hears() {
        for seed in 0..2_000 {
            let mut rng = Rng(seed);
            let (one, two) = (random(&mut rng), random(&mut rng));
            let both = one.union(&two);
            // One source that no filter names is among them.
            for at in 0..9 {
                let source = IpAddr::V4(Ipv4Addr::new(10, 0, 0, at));
                let either = one.allows(&source) || two.allows(&source);
                assert_eq!(both.allows(&source), either, "seed {seed}: {source}");
            }
            assert_eq!(Filter::from(&both.to_api()), both);
        }
    }
}
