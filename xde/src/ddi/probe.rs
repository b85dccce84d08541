//! SDT sites (rules T of `crate::probe`).

use core::net::{IpAddr, Ipv6Addr};
use opte_core::api::{Name, PortId};
use opte_core::event::{Event, FlowEnd, Path, Stale};
use opte_core::flow::Tuple;
use opte_core::wire::Vni;
use opte_core::{Direction, DropReason, LayerId};

/// Calls a function that isn't there, in a way that krtld knows (rule T1).
#[cfg(all(target_os = "illumos", target_arch = "x86_64"))]
macro_rules! probe {
    ($site:ident, $($argument:expr),+) => {{
        unsafe extern "C" {
            safe fn $site();
        }
        probe!(@registers $site, [$($argument),+], ["rdi", "rsi", "rdx", "rcx", "r8", "r9"], [])
    }};
    (@registers $site:ident, [$value:expr $(, $values:expr)*], [$register:tt $(, $registers:tt)*], [$($done:tt)*]) => {
        probe!(@registers $site, [$($values),*], [$($registers),*], [$($done)* in($register) Argument::word($value),])
    };
    (@registers $site:ident, [], [$($rest:tt),*], [$($operands:tt)*]) => {
        // SAFETY: five NOPs, or a trap that puts every register back; the
        // values are read at most.
        unsafe {
            core::arch::asm!(
                "call {site}",
                site = sym $site,
                $($operands)*
                options(nostack, preserves_flags, readonly)
            );
        }
    };
}

/// Nothing to fire.
#[cfg(not(all(target_os = "illumos", target_arch = "x86_64")))]
macro_rules! probe {
    ($site:ident, $($argument:expr),+) => {{
        $(let _ = Argument::word($argument);)+
    }};
}

/// Makes `fire` of the list of events, their arguments in order, and the
/// functions that aren't there.
macro_rules! sites {
    ($($event:ident { $($argument:ident),* } => $site:ident;)+) => {
        /// Fires the probe of an event.
        #[inline(always)]
        pub(crate) fn fire(event: &Event<'_>) {
            match event {
                $(Event::$event { $($argument),* } => probe!($site, $($argument),*),)+
            }
        }
    };
}

sites! {
    PortProcessEntry { port, dir, len } => __dtrace_probe_port__process__entry;
    PortProcessReturn { port, dir, before, after, path, drop } => __dtrace_probe_port__process__return;
    BadPacket { port, dir, reason, len } => __dtrace_probe_bad__packet;
    Drop { port, dir, layer, rule, reason, key } => __dtrace_probe_drop;
    LayerProcessEntry { port, layer, dir, key } => __dtrace_probe_layer__process__entry;
    LayerProcessReturn { port, layer, dir, key, drop } => __dtrace_probe_layer__process__return;
    RuleMatch { port, layer, dir, key, rule } => __dtrace_probe_rule__match;
    RuleDeny { port, layer, dir, key, rule } => __dtrace_probe_rule__deny;
    RuleNoMatch { port, layer, dir, key } => __dtrace_probe_rule__no__match;
    UftHit { port, dir, key } => __dtrace_probe_uft__hit;
    UftInvalidate { port, dir, key, cause } => __dtrace_probe_uft__invalidate;
    FlowExpire { port, key, why, lifetime_ms, packets, bytes } => __dtrace_probe_flow__expire;
    HtRun { port, dir, before, after } => __dtrace_probe_ht__run;
    GenDescFail { port, layer, key, reason } => __dtrace_probe_gen__desc__fail;
    GenHtFail { port, layer, key, reason } => __dtrace_probe_gen__ht__fail;
    GuestLoopback { from, to, key } => __dtrace_probe_guest__loopback;
    TcpFlowState { port, dir, key, old, new } => __dtrace_probe_tcp__flow__state;
    NatAlloc { port, key, outside } => __dtrace_probe_nat__alloc;
    NatFree { port, outside } => __dtrace_probe_nat__free;
    NatExhausted { port, key } => __dtrace_probe_nat__exhausted;
    NextHop { dst, gateway, link, resolved } => __dtrace_probe_next__hop;
    IoctlEntry { command, len } => __dtrace_probe_ioctl__entry;
    IoctlReturn { command, error } => __dtrace_probe_ioctl__return;
    ConfigChange { port, generation } => __dtrace_probe_config__change;
    McastTx { port, vni, underlay, key } => __dtrace_probe_mcast__tx;
    McastRx { link, vni, underlay, key } => __dtrace_probe_mcast__rx;
    McastDeliver { port, vni, group, source } => __dtrace_probe_mcast__deliver;
    McastMember { port, group, joined } => __dtrace_probe_mcast__member;
    McastMap { vni, group, underlay } => __dtrace_probe_mcast__map;
    Answer { port, dir, key, len } => __dtrace_probe_answer;
    DhcpDecline { port, address } => __dtrace_probe_dhcp__decline;
}

/// What a register can hold.
trait Argument {
    /// The value, or its address.
    fn word(self) -> usize;
}

macro_rules! arguments {
    ($($ty:ty: $value:ident => $word:expr,)+) => {
        $(impl Argument for &$ty {
            #[inline(always)]
            fn word(self) -> usize {
                let $value = self;
                $word
            }
        })+
    };
}

arguments! {
    bool: it => usize::from(*it),
    u8: it => usize::from(*it),
    u16: it => usize::from(*it),
    u32: it => usize::try_from(*it).unwrap_or(usize::MAX),
    u64: it => usize::try_from(*it).unwrap_or(usize::MAX),
    PortId: it => (&it.0).word(),
    Direction: it => usize::from(*it as u8),
    LayerId: it => usize::from(*it as u8),
    Path: it => usize::from(*it as u8),
    Stale: it => usize::from(*it as u8),
    FlowEnd: it => usize::from(*it as u8),
    // Its name, for `stringof`.
    DropReason: it => it.c_name().as_ptr().addr(),
    Option<DropReason>: it => it.as_ref().map_or(0, Argument::word),
    // No port, which no port's number is.
    Option<PortId>: it => it.as_ref().map_or(usize::MAX, Argument::word),
    // No layer, which no layer's number is.
    Option<LayerId>: it => it.as_ref().map_or(0, Argument::word),
    // Addresses.
    &Tuple: it => core::ptr::from_ref(*it).addr(),
    Option<&Tuple>: it => it.map_or(0, |it| core::ptr::from_ref(it).addr()),
    Option<Name>: it => it.as_ref().map_or(0, |it| core::ptr::from_ref(it).addr()),
    [u64; 2]: it => core::ptr::from_ref(it).addr(),
    Ipv6Addr: it => core::ptr::from_ref(it).addr(),
    IpAddr: it => core::ptr::from_ref(it).addr(),
    Option<Ipv6Addr>: it => it.as_ref().map_or(0, |it| core::ptr::from_ref(it).addr()),
    Vni: it => (&it.get()).word(),
}
