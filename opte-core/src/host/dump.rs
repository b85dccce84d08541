//! What the host tells about itself, page by page.

use super::Host;
use super::built_in::built_in;
use crate::api::dump::UnderlayEntry;
use crate::api::dump::{
    Counter, DefaultAction, DirStats, FlowKey, LayerDumpEntry, LayerEntry, LayerFlow, PortEntry,
    PortStats, RouteEntry, RuleEntry, RuleText, Stats, TcpEntry, UftAction, UftEntry,
};
use crate::api::page::{Page, Pager, Weight};
use crate::api::{FwRule, Name, PortId, Response, UnderlayRoute, V2b, V2p, counter};
use crate::event::Observer;
use crate::flow::record::{Flow, NatKind, Next};
use crate::flow::tcp::State;
use crate::flow::{Proto, Tuple};
use crate::limits::{HOST_FLOWS_MAX, PAGE_ENTRIES_MAX};
use crate::port::{Policy, Port};
use crate::rule::RuleStats;
use crate::stats::Totals;
use crate::verdict::LinkId;
use crate::{Direction, DropReason, Instant, LayerId};
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ffi::CStr;
use core::net::Ipv6Addr;
use lock_api::RawMutex;

/// Cursors from here on count flows; below, rules.
const FLOWS: u64 = 1 << 40;

impl<R: RawMutex, O: Observer> Host<R, O> {
    pub(super) fn list_ports(&self, cursor: u64) -> Page<PortEntry> {
        let view = self.view();
        let ports = view.ports().filter(|port| u64::from(port.id.0) >= cursor);
        let entries = ports.map(|port| (u64::from(port.id.0), self.port_entry(port)));
        page(entries, self.host_generation())
    }

    fn port_entry(&self, port: &Port<R>) -> PortEntry {
        let policy = port.policy();
        let spec = &policy.spec;
        PortEntry {
            id: port.id,
            name: port.name,
            mac: port.mac,
            vni: port.vni,
            ipv4: spec.ipv4,
            ipv6: spec.ipv6,
            mtu: spec.mtu,
            gateway_mac: port.gateway_mac,
            dhcp: spec.dhcp.clone(),
            options: spec.options,
            external: spec.external.clone(),
            attached_subnets: spec.attached_subnets.clone(),
            transit: spec.transit.clone(),
            generation: policy.revision,
            flows: port.table.len(),
            stats: PortStats {
                inbound: port.stats.total(Direction::In),
                outbound: port.stats.total(Direction::Out),
            },
        }
    }

    pub(super) fn list_layers(&self, port: &Port<R>, _now: Instant) -> Response {
        let policy = port.policy();
        let own = |layer, dir| {
            let rules = built_in(&policy, layer);
            rules.filter(|(d, ..)| *d == dir).count()
        };
        Response::Layers(self.layers(port, own).into())
    }

    /// What a port's layers have and did; `None` when there is no such port. As
    /// the answer to `ListLayers`, for shells that show it in their own way, but
    /// without the rules that a layer has by itself. Walks over the port's
    /// flows.
    pub fn counted_layers(&self, port: &Name) -> Option<[LayerEntry; LayerId::ALL.len()]> {
        let view = self.view();
        let port = view.port_by_name(port)?;
        Some(self.layers(port, |_, _| 0))
    }

    /// The layers; `own` counts the rules that one has by itself.
    fn layers(
        &self,
        port: &Port<R>,
        own: impl Fn(LayerId, Direction) -> usize,
    ) -> [LayerEntry; LayerId::ALL.len()] {
        let policy = port.policy();
        let mut translated = 0_u32;
        port.table.scan(0, |flow| {
            translated = translated.saturating_add(u32::from(flow.nat != NatKind::None));
            // The defaults' counters are brought up to date with their flows'.
            port.fold(flow);
            true
        });
        let entry = |layer| {
            use DefaultAction::{Allow, Deny, StatefulAllow};
            let (default_in, default_out) = match layer {
                LayerId::Gateway | LayerId::Overlay => (Deny, Deny),
                LayerId::Firewall => (Deny, StatefulAllow),
                LayerId::Router => (Allow, Deny),
                LayerId::Nat => (Allow, Allow),
            };
            let rules = |dir| match layer {
                LayerId::Firewall => policy.rules.len(dir),
                LayerId::Router if dir == Direction::Out => policy.routes.len(),
                LayerId::Router => 0,
                _ => own(layer, dir),
            };
            let number = |dir| u32::try_from(rules(dir)).unwrap_or(u32::MAX);
            let hits = |dir| match layer {
                LayerId::Firewall => policy.defaults.of(dir).packets(),
                _ => 0,
            };
            LayerEntry {
                layer,
                default_in,
                default_out,
                rules_in: number(Direction::In),
                rules_out: number(Direction::Out),
                flows: match layer {
                    LayerId::Firewall => port.table.len(),
                    LayerId::Nat => translated,
                    _ => 0,
                },
                default_hits_in: hits(Direction::In),
                default_hits_out: hits(Direction::Out),
            }
        };
        LayerId::ALL.map(entry)
    }

    pub(super) fn dump_layer(
        &self,
        port: &Port<R>,
        layer: LayerId,
        cursor: u64,
        now: Instant,
    ) -> Response {
        if cursor == 0 {
            // The rules' counters are brought up to date with their flows'.
            port.table.scan(0, |flow| {
                port.fold(flow);
                true
            });
        }
        let policy = port.policy();
        if cursor >= FLOWS {
            return Response::Layer(layer_flows(port, layer, cursor, now));
        }
        let skip = usize::try_from(cursor).unwrap_or(usize::MAX);
        let rules = layer_rules(&policy, layer, now).enumerate().skip(skip);
        let rules =
            rules.map(|(at, rule)| (u64::try_from(at).unwrap_or(0), LayerDumpEntry::Rule(rule)));
        let mut page = page(rules, policy.revision);
        if page.next.is_none() && matches!(layer, LayerId::Firewall | LayerId::Nat) {
            page.next = Some(FLOWS);
        }
        Response::Layer(page)
    }

    pub(super) fn dump_uft(&self, port: &Port<R>, cursor: u64, now: Instant) -> Response {
        let policy = port.policy();
        // A flow makes two entries at most.
        Response::Uft(flow_page(
            port,
            cursor,
            PAGE_ENTRIES_MAX / 2,
            |flow, entries| {
                for dir in [Direction::Out, Direction::In] {
                    if let Some(made_from) = flow.rewrite(dir) {
                        let current = made_from == policy.generation && self.is_current(flow, dir);
                        entries.push(self.uft_entry(flow, dir, current, now));
                    }
                }
            },
        ))
    }

    fn is_current(&self, flow: &Flow, dir: Direction) -> bool {
        let forward = &flow.forward;
        dir == Direction::In
            || (forward.underlay == self.underlay.generation()
                && self.mappings.current(forward.mapping))
    }

    fn uft_entry(&self, flow: &Flow, dir: Direction, current: bool, now: Instant) -> UftEntry {
        let (inside, outside) = (FlowKey::from(&flow.inside), FlowKey::from(&flow.outside()));
        let (before, after, action) = match dir {
            Direction::In => (outside, inside, UftAction::Deliver),
            Direction::Out => (inside, outside, self.uft_action(flow)),
        };
        let (packets, bytes) = flow.counts(dir);
        UftEntry {
            dir,
            before,
            after,
            action,
            packets,
            bytes,
            idle_ms: now.millis_since(flow.last.into()),
            current,
        }
    }

    fn uft_action(&self, flow: &Flow) -> UftAction {
        match flow.forward.to {
            Next::Port(id) | Next::Outside(id) => UftAction::Local(PortId(id)),
            Next::Path(path, vni) => UftAction::Encapsulate {
                sled: self.underlay.sled(path).unwrap_or(Ipv6Addr::UNSPECIFIED),
                vni,
                mac: flow.forward.mac,
                source_port: flow.forward.source_port,
            },
        }
    }

    pub(super) fn dump_tcp(&self, port: &Port<R>, cursor: u64, now: Instant) -> Response {
        let policy = port.policy();
        Response::Tcp(flow_page(
            port,
            cursor,
            PAGE_ENTRIES_MAX,
            |flow, entries| {
                if matches!(flow.inside.proto, Proto::TCP | Proto::SCTP) {
                    entries.push(tcp_entry(flow, &policy, now));
                }
            },
        ))
    }

    pub(super) fn dump_routes(&self, port: &Port<R>, cursor: u64) -> Response {
        let policy = port.policy();
        let skip = usize::try_from(cursor).unwrap_or(usize::MAX);
        let routes = policy
            .routes
            .iter()
            .enumerate()
            .skip(skip)
            .map(|(at, route)| {
                let entry = RouteEntry {
                    id: route.id,
                    route: route.spec,
                };
                (u64::try_from(at).unwrap_or(0), entry)
            });
        Response::Routes(page(routes, policy.revision))
    }

    pub(super) fn dump_v2p(&self, cursor: u64) -> Page<V2p> {
        let (entries, next) = self.mappings.dump_v2p(cursor, PAGE_ENTRIES_MAX);
        Page {
            entries,
            next,
            generation: self.host_generation(),
        }
    }

    /// One page of a short listing of the host, from entry `cursor` on.
    pub(super) fn list_page<T: Weight>(
        &self,
        entries: impl Iterator<Item = T>,
        cursor: u64,
    ) -> Page<T> {
        let skip = usize::try_from(cursor).unwrap_or(usize::MAX);
        page((0_u64..).zip(entries).skip(skip), self.host_generation())
    }

    pub(super) fn dump_v2b(&self, cursor: u64) -> Page<V2b> {
        page(
            numbered(self.mappings.dump_v2b(), cursor),
            self.host_generation(),
        )
    }

    pub(super) fn dump_underlay_routes(&self, cursor: u64) -> Page<UnderlayRoute> {
        let routes = self
            .underlay
            .spec()
            .map(|spec| spec.routes)
            .unwrap_or_default();
        page(
            numbered(routes, cursor),
            u64::from(self.underlay.generation()),
        )
    }

    /// Counts the host's commits.
    pub(super) fn host_generation(&self) -> u64 {
        self.generation.load(core::sync::atomic::Ordering::Relaxed)
    }

    /// What was counted: all in all, or for a port; `None` when there is no such
    /// port. As the answer to `Stats`, for shells that show it in their own way.
    pub fn counted(&self, port: Option<&Name>) -> Option<Stats> {
        match port {
            None => Some(self.stats()),
            Some(name) => {
                let view = self.view();
                view.port_by_name(name).map(|port| self.port_stats(port))
            }
        }
    }

    pub(super) fn stats(&self) -> Stats {
        let view = self.view();
        let ports = view.totals();
        let (inbound, outbound) = (ports.dir(Direction::In), ports.dir(Direction::Out));
        // Where it isn't as large as it can be.
        let budget = Some(self.budget.max()).filter(|max| *max < HOST_FLOWS_MAX);
        let count = u64::try_from(view.ports().count()).unwrap_or(0);
        let [ports_name, budget_name] = counter::HOST;
        let budget = budget.map(|max| told(budget_name, u64::from(max)));
        Stats {
            generation: self.host_generation(),
            flows: self.budget.used(),
            counters: core::iter::once(told(ports_name, count))
                .chain(traffic(&inbound, &outbound))
                .chain(budget)
                .collect(),
            drops: self.drops(&ports),
        }
    }

    /// Drops of all ports and of the host.
    // A kernel's stack is small: what is needed here isn't below who calls it.
    #[inline(never)]
    fn drops(&self, ports: &Totals) -> Vec<Counter> {
        drop_counters(|reason| {
            let host = self.counters.iter().map(|lane| lane.drops(reason));
            let held = self.underlay.drops().into_iter();
            let underlay = held.filter(|(r, _)| *r == reason).map(|(_, count)| count);
            host.chain(underlay)
                .fold(ports.drops(reason), u64::wrapping_add)
        })
    }

    /// The underlay with the frames of guests in its counters.
    pub(super) fn show_underlay(&self) -> UnderlayEntry {
        let mut entry = self.underlay.show();
        for link in &mut entry.links {
            let Some(id) = self.underlay.link(&link.name) else {
                continue;
            };
            let (rx, tx) = (
                self.link_total(id, Direction::In),
                self.link_total(id, Direction::Out),
            );
            link.rx_packets = link.rx_packets.saturating_add(rx.0);
            link.rx_bytes = link.rx_bytes.saturating_add(rx.1);
            link.tx_packets = link.tx_packets.saturating_add(tx.0);
            link.tx_bytes = link.tx_bytes.saturating_add(tx.1);
        }
        entry
    }

    /// Guests' packets and bytes on a link, all lanes together.
    fn link_total(&self, link: LinkId, dir: Direction) -> (u64, u64) {
        let lanes = self.counters.iter().map(|lane| lane.link_total(link, dir));
        lanes.fold((0, 0), |a, b| {
            (a.0.wrapping_add(b.0), a.1.wrapping_add(b.1))
        })
    }

    pub(super) fn port_stats(&self, port: &Port<R>) -> Stats {
        let (inbound, outbound) = (
            port.stats.total(Direction::In),
            port.stats.total(Direction::Out),
        );
        Stats {
            generation: port.policy().revision,
            flows: port.table.len(),
            counters: traffic(&inbound, &outbound).chain(pools(port)).collect(),
            drops: drop_counters(|reason| port_drops(port, reason)),
        }
    }
}

fn told(name: &CStr, value: u64) -> Counter {
    Counter {
        name: String::from(name.to_str().unwrap_or("?")),
        value,
    }
}

/// What ports count of both directions.
fn traffic(inbound: &DirStats, outbound: &DirStats) -> impl Iterator<Item = Counter> {
    let values = [
        inbound.packets,
        inbound.bytes,
        inbound.hits,
        inbound.misses,
        outbound.packets,
        outbound.bytes,
        outbound.hits,
        outbound.misses,
        outbound.hairpins,
    ];
    let named = counter::TRAFFIC.into_iter().zip(values);
    named.map(|(name, value)| told(name, value))
}

/// What there is of a port's shared addresses, and what of it is used. Apart from
/// its caller for the sake of a kernel's stack.
#[inline(never)]
fn pools<R: RawMutex>(port: &Port<R>) -> Vec<Counter> {
    let number = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    let pools = port.nat.usage().into_iter().zip(counter::POOLS);
    let pools = pools.flat_map(|(pool, [used, ports])| {
        [(used, number(pool.used)), (ports, number(pool.capacity))]
    });
    let pools = pools.filter(|(_, value)| *value > 0);
    pools.map(|(name, value)| told(name, value)).collect()
}

fn port_drops<R: RawMutex>(port: &Port<R>, reason: DropReason) -> u64 {
    let of = |dir| port.stats.drops(dir, reason);
    of(Direction::In).wrapping_add(of(Direction::Out))
}

fn drop_counters(value: impl Fn(DropReason) -> u64) -> Vec<Counter> {
    let counters = DropReason::ALL
        .iter()
        .map(|reason| (reason.c_name(), value(*reason)));
    counters
        .filter(|(_, value)| *value > 0)
        .map(|(name, value)| told(name, value))
        .collect()
}

/// Entries from the one with number `cursor` on, with their numbers.
fn numbered<T>(entries: Vec<T>, cursor: u64) -> impl Iterator<Item = (u64, T)> {
    let skip = usize::try_from(cursor).unwrap_or(usize::MAX);
    (0_u64..).zip(entries).skip(skip)
}

/// One page of numbered entries; the next one starts with the first that
/// doesn't fit.
fn page<T: Weight>(entries: impl Iterator<Item = (u64, T)>, generation: u64) -> Page<T> {
    let mut pager = Pager::new();
    for (number, entry) in entries {
        if pager.push(entry).is_err() {
            return pager.finish(Some(number), generation);
        }
    }
    pager.finish(None, generation)
}

/// One page made from flows, whose entries are small: as many as there may be
/// never weigh more than a page.
fn flow_page<R: RawMutex, T>(
    port: &Port<R>,
    cursor: u64,
    flows: u32,
    mut add: impl FnMut(&Flow, &mut Vec<T>),
) -> Page<T> {
    let (mut entries, mut left) = (Vec::new(), flows);
    let next = port.table.scan(cursor, |flow| {
        if left == 0 {
            return false;
        }
        let before = entries.len();
        add(flow, &mut entries);
        left = left.saturating_sub(u32::from(entries.len() > before));
        true
    });
    let generation = port.policy().revision;
    Page {
        entries,
        next,
        generation,
    }
}

fn layer_flows<R: RawMutex>(
    port: &Port<R>,
    layer: LayerId,
    cursor: u64,
    now: Instant,
) -> Page<LayerDumpEntry> {
    let flows = cursor.saturating_sub(FLOWS);
    let mut page = flow_page(port, flows, PAGE_ENTRIES_MAX, |flow, entries| {
        let translated = flow.nat != NatKind::None;
        let is_there = match layer {
            LayerId::Nat => translated,
            // What policy has cut is remembered, but nothing of it passes.
            _ => !flow.revoked,
        };
        if !is_there {
            return;
        }
        let outside: Option<Tuple> = translated.then(|| flow.outside());
        entries.push(LayerDumpEntry::Flow(LayerFlow {
            key: FlowKey::from(&flow.inside),
            outside: outside.as_ref().map(FlowKey::from),
            opened: flow.opened,
            rule: if layer == LayerId::Firewall {
                flow.fw_rule
            } else {
                0
            },
            idle_ms: now.millis_since(flow.last.into()),
        }));
    });
    page.next = page.next.map(|next| next.saturating_add(FLOWS));
    page
}

fn tcp_entry(flow: &Flow, policy: &Policy, now: Instant) -> TcpEntry {
    let idle_ms = now.millis_since(flow.last.into());
    let timeout_ms = u64::from(flow.timeout_s(&policy.spec.options)).saturating_mul(1_000);
    let [packets_in, packets_out] = flow.packets;
    let [bytes_in, bytes_out] = flow.bytes;
    TcpEntry {
        key: FlowKey::from(&flow.inside),
        opened: flow.opened,
        state: state_name(flow).to_string(),
        packets_out,
        packets_in,
        bytes_out,
        bytes_in,
        idle_ms,
        expires_ms: timeout_ms.saturating_sub(idle_ms),
    }
}

/// A connection's state by RFC 9293, or an association's by RFC 9260 section 4,
/// for which the states of TCP stand that mean the same (`flow::sctp`). Who
/// asked to shut an association down isn't remembered. What policy has cut has a
/// state of its own.
const fn state_name(flow: &Flow) -> &'static str {
    if flow.revoked {
        return "REVOKED";
    }
    let state = flow.tcp.state();
    match (flow.inside.proto, state) {
        (Proto::SCTP, State::SynSent | State::Listen) => "COOKIE_WAIT",
        (Proto::SCTP, State::SynReceived) => "COOKIE_ECHOED",
        (Proto::SCTP, State::FinWait1) => "SHUTDOWN",
        (Proto::SCTP, State::TimeWait) => "CLOSED",
        (Proto::SCTP, State::Reset) => "ABORTED",
        _ => state.name(),
    }
}

/// A layer's rules, in the order in which they are asked.
fn layer_rules(policy: &Policy, layer: LayerId, now: Instant) -> impl Iterator<Item = RuleEntry> {
    let firewall = policy
        .rules
        .iter()
        .filter(move |_| layer == LayerId::Firewall);
    let firewall = firewall.map(move |rule| {
        let (dir, priority) = (rule.spec.dir, Some(rule.spec.priority));
        entry(
            rule.id,
            dir,
            priority,
            RuleText::Firewall(FwRule::clone(&rule.spec)),
            Some(&rule.stats),
            now,
        )
    });
    let router = policy
        .routes
        .iter()
        .filter(move |_| layer == LayerId::Router);
    let router = router.map(move |route| {
        let text = RuleText::Route(route.spec);
        entry(
            route.id,
            Direction::Out,
            None,
            text,
            Some(&route.stats),
            now,
        )
    });
    let built_in = built_in(policy, layer).map(move |(dir, what, action)| {
        entry(0, dir, None, RuleText::BuiltIn(what, action), None, now)
    });
    firewall.chain(router).chain(built_in)
}

fn entry(
    id: u32,
    dir: Direction,
    priority: Option<u16>,
    predicates: RuleText,
    stats: Option<&Arc<RuleStats>>,
    now: Instant,
) -> RuleEntry {
    RuleEntry {
        id,
        dir,
        priority,
        predicates,
        packets: stats.map_or(0, |stats| stats.packets()),
        bytes: stats.map_or(0, |stats| stats.bytes()),
        idle_ms: stats
            .and_then(|stats| stats.last_hit_ms())
            .map(|last| now.as_millis().saturating_sub(last)),
    }
}
