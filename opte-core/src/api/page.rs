//! Pages: how a listing of any length crosses a boundary of fixed size.
//!
//! Terms     cursor   where a page starts. Zero is the start of the listing;
//!                    any other value comes from the page before and means
//!                    something only to the host that made it.
//!
//! Rules     P1  a page has at most `PAGE_ENTRIES_MAX` entries and weighs at
//!               most `PAGE_BYTES_MAX`, so it fits a response ([`Pager`]).
//!           P2  every page makes progress: it has an entry or it is the last,
//!               and its next cursor is not its own.
//!           P3  nothing is locked between pages. What changes while a listing
//!               is read may be missing or there twice; a reader that has to
//!               know compares the generations of the pages.

use super::dump::{
    AddressSetEntry, LayerDumpEntry, LayerFlow, PortEntry, RouteEntry, RuleEntry, RuleText,
    TcpEntry, UftEntry,
};
use super::port::{DhcpOptions, TransitPrefix};
use super::{ExternalIps, Floating, FwRule, HostFilter, PortRange, Prefix, ProtoFilter, Snat};
use super::{M2p, McastForward, McastHop, McastSub, SourceFilter};
use super::{TunnelEndpoint, UnderlayRoute, V2b, V2p};
use crate::limits::{PAGE_BYTES_MAX, PAGE_ENTRIES_MAX};
use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// One page of a listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page<T> {
    /// The entries.
    pub entries: Vec<T>,
    /// Where the next page starts; none when this is the last.
    pub next: Option<u64>,
    /// Generation of what is listed (the port's for a port's listing, else
    /// the host's) when this page was made.
    pub generation: u64,
}

/// Fills one page up to its limits.
#[derive(Debug)]
pub struct Pager<T> {
    entries: Vec<T>,
    bytes: usize,
}

impl<T: Weight> Pager<T> {
    /// An empty page.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            entries: Vec::new(),
            bytes: 0,
        }
    }

    /// Adds an entry.
    ///
    /// # Errors
    ///
    /// Gives the entry back when the page is full: the next page starts with it.
    pub fn push(&mut self, entry: T) -> Result<(), T> {
        let bytes = self.bytes.saturating_add(entry.weight());
        let entries_max = usize::try_from(PAGE_ENTRIES_MAX).unwrap_or(usize::MAX);
        // The first entry always fits: no single entry outweighs a page (P2).
        let full = self.entries.len() >= entries_max || bytes > PAGE_BYTES_MAX;
        if full && !self.entries.is_empty() {
            return Err(entry);
        }
        self.bytes = bytes;
        self.entries.push(entry);
        Ok(())
    }

    /// Whether no entry was added yet.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The page, with where the next one starts.
    #[must_use]
    pub fn finish(self, next: Option<u64>, generation: u64) -> Page<T> {
        Page {
            entries: self.entries,
            next,
            generation,
        }
    }
}

impl<T: Weight> Default for Pager<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// An upper bound of what an entry takes in a response.
///
/// Postcard never needs more than twice a value's size in memory (an integer
/// of eight bytes takes ten at most, an enum's tag one), so only what is on
/// the heap is counted one by one.
pub trait Weight: Sized {
    /// Bytes of what is on the heap.
    fn heap(&self) -> usize {
        0
    }

    /// Bytes in a response, at most.
    fn weight(&self) -> usize {
        size_of::<Self>()
            .saturating_mul(2)
            .saturating_add(self.heap())
    }
}

fn sum<T: Weight>(entries: &[T]) -> usize {
    entries
        .iter()
        .fold(0, |sum, entry| sum.saturating_add(entry.weight()))
}

impl Weight for String {
    fn heap(&self) -> usize {
        self.len()
    }
}

impl<T: Weight> Weight for Option<T> {
    fn heap(&self) -> usize {
        self.as_ref().map_or(0, Weight::heap)
    }
}

macro_rules! weights {
    ($($type:ty: $($list:ident)* $(, $value:ident)*;)+) => {
        $(impl Weight for $type {
            fn heap(&self) -> usize {
                let lists = [$(sum(&self.$list),)* $(self.$value.heap(),)*];
                lists.into_iter().fold(0, usize::saturating_add)
            }
        })+
    };
}

weights! {
    Prefix: ;
    Snat: ;
    Floating: ;
    TransitPrefix: ;
    HostFilter: ;
    ProtoFilter: ;
    PortRange: ;
    AddressSetEntry: ;
    TunnelEndpoint: ;
    V2p: ;
    RouteEntry: ;
    LayerFlow: ;
    UftEntry: ;
    core::net::IpAddr: ;
    core::net::Ipv4Addr: ;
    core::net::Ipv6Addr: ;
    UnderlayRoute: , link;
    TcpEntry: , state;
    V2b: endpoints;
    M2p: ;
    McastHop: ;
    McastForward: hops;
    SourceFilter: sources;
    McastSub: , filter;
    FwRule: hosts protocols ports source_ports;
    ExternalIps: snat ephemeral floating;
    DhcpOptions: search dns4 dns6 ntp4 ntp6, hostname, domain;
    PortEntry: attached_subnets transit, dhcp, external;
    RuleEntry: , predicates;
}

impl Weight for RuleText {
    fn heap(&self) -> usize {
        match self {
            Self::Firewall(rule) => rule.heap(),
            Self::Route(_) => 0,
            Self::BuiltIn(matches, does) => matches.len().saturating_add(does.len()),
        }
    }
}

impl Weight for LayerDumpEntry {
    fn heap(&self) -> usize {
        match self {
            Self::Rule(rule) => rule.heap(),
            Self::Flow(_) => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    #[test]
    fn a_page_is_full_at_its_number_of_entries() {
        let prefix = Prefix::V4_ANY;
        let mut pager = Pager::new();
        let pushed = (0..)
            .take_while(|_| pager.push(prefix).is_ok())
            .fold(0, |count: u32, _| count + 1);
        assert_eq!(pushed, PAGE_ENTRIES_MAX);
        let page = pager.finish(Some(7), 1);
        assert_eq!((page.entries.len(), page.next), (1_024, Some(7)));
    }

    #[test]
    fn a_page_is_full_at_its_weight_and_gives_the_entry_back() {
        let heavy = |byte: char| std::iter::repeat_n(byte, PAGE_BYTES_MAX / 2 - 100).collect();
        let mut pager: Pager<String> = Pager::new();
        assert!(pager.push(heavy('a')).is_ok());
        assert!(pager.push(heavy('b')).is_ok());
        assert_eq!(pager.push(heavy('c')), Err(heavy('c')));
        let mut pager = Pager::new();
        let monster: String = std::iter::repeat_n('m', PAGE_BYTES_MAX * 2).collect();
        assert!(pager.push(monster.clone()).is_ok(), "the first always fits");
        assert_eq!(pager.push(String::new()), Err(String::new()));
    }

    #[test]
    fn no_entry_is_heavier_on_the_wire_than_its_weight() {
        let endpoint = "ffff:ffff::ffff,16777215".parse().unwrap();
        let v2b = V2b {
            prefix: "ffff::/16".parse().unwrap(),
            endpoints: vec![endpoint; 64],
        };
        assert!(postcard::to_allocvec(&v2b).unwrap().len() <= v2b.weight());
        let text = "dir=in priority=65535 action=deny hosts=ffff:ffff::1,vni=16777215 \
                    protocols=icmp6:255/255,89 ports=65534-65535 source_ports=65535";
        let rule = RuleEntry {
            id: u32::MAX,
            dir: crate::Direction::In,
            priority: Some(u16::MAX),
            predicates: RuleText::Firewall(text.parse().unwrap()),
            packets: u64::MAX,
            bytes: u64::MAX,
            idle_ms: Some(u64::MAX),
        };
        assert!(postcard::to_allocvec(&rule).unwrap().len() <= rule.weight());
        let tcp = TcpEntry {
            key: super::super::dump::FlowKey {
                family: crate::flow::Family::V6,
                proto: crate::flow::Proto(255),
                local: "ffff::1".parse().unwrap(),
                local_port: u16::MAX,
                remote: "ffff::2".parse().unwrap(),
                remote_port: u16::MAX,
            },
            opened: crate::Direction::Out,
            state: "ESTABLISHED".into(),
            packets_out: u64::MAX,
            packets_in: u64::MAX,
            bytes_out: u64::MAX,
            bytes_in: u64::MAX,
            idle_ms: u64::MAX,
            expires_ms: u64::MAX,
        };
        assert!(postcard::to_allocvec(&tcp).unwrap().len() <= tcp.weight());
    }
}
