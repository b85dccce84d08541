//! The table of responses.
//!
//! Append-only, like the table of commands. Which response a command gets
//! follows from the command's number.

use crate::table::{PayloadError, messages, whole};
use alloc::vec::Vec;
use opte_core::api::dump::{
    AddressSetEntry, LayerDumpEntry, LayerEntry, PortEntry, RouteEntry, Stats, TcpEntry, UftEntry,
    UnderlayEntry,
};
use opte_core::api::{
    Advertise, Applied, M2p, McastForward, McastSub, NatEntry, Page, Prefix, Response, Setting,
    UnderlayRoute, V2b, V2p,
};

/// The number of the answer to hello, and of a refusal, which has no other
/// payload than its `ConfigError`.
pub const HELLO: u16 = 0;

messages! { Response:
    1 "done" Done,
    2 "id" Id(id: u32),
    3 "count" Count(count: u64),
    4 "ports" Ports(page: Page<PortEntry>),
    5 "layers" Layers(layers: Vec<LayerEntry>),
    6 "layer" Layer(page: Page<LayerDumpEntry>),
    7 "uft" Uft(page: Page<UftEntry>),
    8 "tcp" Tcp(page: Page<TcpEntry>),
    9 "v2p" V2p(page: Page<V2p>),
    10 "v2b" V2b(page: Page<V2b>),
    11 "routes" Routes(page: Page<RouteEntry>),
    12 "underlay" Underlay(underlay: UnderlayEntry),
    13 "underlay-routes" UnderlayRoutes(page: Page<UnderlayRoute>),
    14 "stats" Stats(stats: Stats),
    15 "applied" Applied(applied: Applied),
    40 "address-sets" AddressSets(page: Page<AddressSetEntry>),
    41 "prefixes" Prefixes(page: Page<Prefix>),
    42 "settings" Settings(settings: Vec<Setting>),
    43 "advertise" Advertise(advertise: Advertise),
    50 "m2p" M2p(page: Page<M2p>),
    51 "mcast-fwd" McastFwd(page: Page<McastForward>),
    52 "mcast-subs" McastSubs(page: Page<McastSub>),
    70 "nat" Nat(nat: NatEntry),
}
