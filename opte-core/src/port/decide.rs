//! What the layers say about a flow.
//!
//! Outbound: gateway, firewall, router, nat, overlay. Inbound: overlay, nat,
//! router, firewall, gateway. The flow carries what one layer tells the next.

use super::{Dropped, Env, Policy, Port};
use crate::event::{Observer, observe};
use crate::flow::Tuple;
use crate::flow::record::{Difference, Flow, Forward, NatKind, Next, side};
use crate::host::mapping::Stamp;
use crate::layer::firewall;
use crate::layer::nat::Outside;
use crate::rule::Query;
use crate::wire::{MacAddr, Vni};
use crate::{Direction, DropReason, LayerId};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use lock_api::RawMutex;

/// UDP source ports of tunnels: the dynamic range (RFC 6335), as RFC 8926
/// section 3.3 recommends.
const SOURCE_PORT_FIRST: u16 = 49_152;

/// Where an outbound flow goes, before it is translated.
struct Way {
    forward: Forward,
    /// The internet gateway that it goes through, if it does.
    gateway: Option<Option<crate::api::GatewayId>>,
}

impl<R: RawMutex> Port<R> {
    /// Decides about `flow` for packets going `dir` and writes the decision
    /// into it. What the flow remembers already is used again where policy
    /// still allows it.
    ///
    /// On an error the flow must not be used; a NAT reference that it holds
    /// is the caller's to give back.
    pub(super) fn decide<O: Observer>(
        &self,
        env: &Env<'_, R, O>,
        policy: &Policy,
        flow: &mut Flow,
        dir: Direction,
    ) -> Result<(), Dropped> {
        let judged = flow.policy.get(side(flow.opened)) == Some(&policy.generation);
        if !judged {
            self.layer(env, flow, LayerId::Gateway, |flow| {
                self.gateway(policy, flow)
            })?;
            self.layer(env, flow, LayerId::Firewall, |flow| {
                self.firewall(env, policy, flow)
            })?;
        }
        if flow.opened == Direction::Out || dir == Direction::Out {
            self.forward(env, policy, flow)?;
            flow.policy = [policy.generation; 2];
        } else {
            self.layer(env, flow, LayerId::Nat, |flow| self.entrance(flow))?;
            let [inbound, _] = &mut flow.policy;
            *inbound = policy.generation;
        }
        Ok(())
    }

    /// Whether the external address that a flow came in by is still the port's.
    fn entrance(&self, flow: &Flow) -> Result<(), Dropped> {
        match flow.held() {
            Some(held) if !self.nat.still_valid(&held, None) => {
                Err(Dropped::by(LayerId::Nat, DropReason::NoMapping))
            }
            _ => Ok(()),
        }
    }

    /// Runs one layer between its probes.
    fn layer<O: Observer, T>(
        &self,
        env: &Env<'_, R, O>,
        flow: &mut Flow,
        layer: LayerId,
        decide: impl FnOnce(&mut Flow) -> Result<T, Dropped>,
    ) -> Result<T, Dropped> {
        let (port, dir) = (self.id, flow.opened);
        observe!(
            env.observer,
            LayerProcessEntry {
                port,
                layer,
                dir,
                key: &flow.inside
            }
        );
        let result = decide(flow);
        let drop = result.as_ref().err().map(|dropped| dropped.reason);
        observe!(
            env.observer,
            LayerProcessReturn {
                port,
                layer,
                dir,
                key: &flow.outside(),
                drop
            }
        );
        result
    }

    /// Whether the near end is the guest's to use, and the far end another host's.
    fn gateway(&self, policy: &Policy, flow: &Flow) -> Result<(), Dropped> {
        let (local, remote) = (flow.inside.local_ip(), flow.inside.remote_ip());
        let destination = match flow.opened {
            Direction::Out => remote,
            Direction::In => local,
        };
        if is_group(&destination) {
            return Err(Dropped::by(LayerId::Gateway, DropReason::NoMulticast));
        }
        if !self.has_family(policy, flow.inside.family) {
            return Err(Dropped::by(LayerId::Gateway, DropReason::FamilyOff));
        }
        let reason = if policy.may_use(&local, flow.opened) {
            // RFC 1812 section 5.3.7. A wide transit prefix allows no such end.
            if is_routable(&local) && is_routable(&remote) && !policy.is_on_link(&remote) {
                return Ok(());
            }
            DropReason::Martian
        } else if flow.opened == Direction::Out {
            DropReason::SpoofedIp
        } else {
            DropReason::NotForPort
        };
        Err(Dropped::by(LayerId::Gateway, reason))
    }

    /// Asks the firewall in the direction in which the flow was opened.
    fn firewall<O: Observer>(
        &self,
        env: &Env<'_, R, O>,
        policy: &Policy,
        flow: &mut Flow,
    ) -> Result<(), Dropped> {
        let query = self.query(env, policy, flow);
        let decision = firewall::decide(&policy.rules, &query);
        let rule = decision.rule.map_or(0, |rule| rule.id);
        let (port, layer, dir, key) = (self.id, LayerId::Firewall, flow.opened, &flow.inside);
        match (decision.rule.is_some(), decision.allow) {
            (true, true) => observe!(
                env.observer,
                RuleMatch {
                    port,
                    layer,
                    dir,
                    key,
                    rule
                }
            ),
            (true, false) => observe!(
                env.observer,
                RuleDeny {
                    port,
                    layer,
                    dir,
                    key,
                    rule
                }
            ),
            (false, _) => observe!(
                env.observer,
                RuleNoMatch {
                    port,
                    layer,
                    dir,
                    key
                }
            ),
        }
        if decision.allow {
            flow.fw_rule = rule;
            return Ok(());
        }
        let reason = match rule {
            0 => DropReason::FirewallDefault,
            _ => DropReason::FirewallDeny,
        };
        Err(Dropped {
            rule,
            ..Dropped::by(layer, reason)
        })
    }

    fn query<O>(&self, env: &Env<'_, R, O>, policy: &Policy, flow: &Flow) -> Query {
        let key = &flow.inside;
        let remote = key.remote_ip();
        let remote_vni = (policy.asks_vni && !flow.external)
            .then(|| match flow.opened {
                // The tunnel said which VPC it is from: this port's own.
                Direction::In => Some(self.vni),
                Direction::Out => self.find_peer(env, &remote).map(|_| self.vni),
            })
            .flatten();
        let (source_port, dest_port) = match flow.opened {
            Direction::Out => (key.local_port, key.remote_port),
            Direction::In => (key.remote_port, key.local_port),
        };
        Query {
            dir: flow.opened,
            remote,
            remote_vni,
            proto: key.proto,
            icmp: key.proto.is_icmp().then_some(flow.icmp),
            source_port,
            dest_port,
        }
    }

    /// Router, overlay and nat, for packets from the guest.
    fn forward<O: Observer>(
        &self,
        env: &Env<'_, R, O>,
        policy: &Policy,
        flow: &mut Flow,
    ) -> Result<(), Dropped> {
        // 32 bits choose among equals; the tunnel's source port takes 14 of them.
        let choice = env.choice.hash(flow.inside);
        let choice = u32::try_from(choice >> 32).unwrap_or(0);
        let target = self.layer(env, flow, LayerId::Router, |flow| {
            self.route(env, policy, flow, choice)
        })?;
        let way = self.layer(env, flow, LayerId::Overlay, |flow| {
            self.overlay(env, flow, target, choice)
        })?;
        // Last, for it may take an external port (rule P3).
        self.layer(env, flow, LayerId::Nat, |flow| {
            self.nat(env, policy, flow, &way)
        })?;
        if flow.opened == Direction::Out {
            flow.external = way.gateway.is_some();
        }
        flow.forward = way.forward;
        observe!(
            env.observer,
            HtRun {
                port: self.id,
                dir: Direction::Out,
                before: &flow.inside,
                after: &flow.outside()
            }
        );
        Ok(())
    }

    fn route<O: Observer>(
        &self,
        env: &Env<'_, R, O>,
        policy: &Policy,
        flow: &mut Flow,
        choice: u32,
    ) -> Result<crate::api::RouteTarget, Dropped> {
        let (port, layer, dir) = (self.id, LayerId::Router, flow.opened);
        let Some(route) = policy.routes.find(&flow.inside.remote_ip(), choice) else {
            observe!(
                env.observer,
                RuleNoMatch {
                    port,
                    layer,
                    dir,
                    key: &flow.inside
                }
            );
            return Err(Dropped::by(layer, DropReason::NoRoute));
        };
        let (rule, key) = (route.id, &flow.inside);
        if route.spec.target == crate::api::RouteTarget::Drop {
            observe!(
                env.observer,
                RuleDeny {
                    port,
                    layer,
                    dir,
                    key,
                    rule
                }
            );
            return Err(Dropped {
                rule,
                ..Dropped::by(layer, DropReason::RouteDrop)
            });
        }
        observe!(
            env.observer,
            RuleMatch {
                port,
                layer,
                dir,
                key,
                rule
            }
        );
        flow.route = rule;
        Ok(route.spec.target)
    }

    /// Finds who the inner frame goes to, and the way there.
    fn overlay<O: Observer>(
        &self,
        env: &Env<'_, R, O>,
        flow: &Flow,
        target: crate::api::RouteTarget,
        choice: u32,
    ) -> Result<Way, Dropped> {
        use crate::api::RouteTarget;
        let remote = flow.inside.remote_ip();
        let peer = match target {
            RouteTarget::Ip(next) => next,
            RouteTarget::Subnet(_) => remote,
            RouteTarget::Gateway(gateway) => {
                let (endpoint, stamp) = env
                    .mappings
                    .boundary(&remote, choice)
                    .ok_or(Dropped::by(LayerId::Overlay, DropReason::NoV2b))?;
                let sled = (endpoint.address, endpoint.vni, MacAddr::BOUNDARY);
                let forward = self.tunnel(env, sled, stamp, choice)?;
                return Ok(Way {
                    forward,
                    gateway: Some(gateway),
                });
            }
            RouteTarget::Drop => return Err(Dropped::by(LayerId::Router, DropReason::RouteDrop)),
        };
        let forward = match self.find_peer(env, &peer) {
            Some(Peer {
                place: Place::Sled(sled),
                mac,
                stamp,
            }) => self.tunnel(env, (sled, self.vni, mac), stamp, choice)?,
            Some(Peer {
                place: Place::Port(to),
                mac,
                stamp,
            }) => self.forward_to(env, Next::Port(to), mac, stamp, choice),
            None => return Err(Dropped::by(LayerId::Overlay, DropReason::NoV2p)),
        };
        Ok(Way {
            forward,
            gateway: None,
        })
    }

    /// The way through a tunnel.
    fn tunnel<O: Observer>(
        &self,
        env: &Env<'_, R, O>,
        (sled, vni, mac): (Ipv6Addr, Vni, MacAddr),
        stamp: Stamp,
        choice: u32,
    ) -> Result<Forward, Dropped> {
        let path = env
            .underlay
            .path_for(&sled, choice, env.now, env.observer)
            .map_err(|reason| Dropped::by(LayerId::Overlay, reason))?;
        Ok(self.forward_to(env, Next::Path(path, vni), mac, stamp, choice))
    }

    fn forward_to<O>(
        &self,
        env: &Env<'_, R, O>,
        to: Next,
        mac: MacAddr,
        mapping: Stamp,
        choice: u32,
    ) -> Forward {
        let [low, high, ..] = choice.to_le_bytes();
        Forward {
            to,
            mac,
            source_port: SOURCE_PORT_FIRST | (u16::from_le_bytes([low, high]) & 0x3fff),
            mapping,
            underlay: env.underlay.generation(),
        }
    }

    /// Who has an address of the VPC: by the mappings, or a port of this host.
    fn find_peer<O>(&self, env: &Env<'_, R, O>, addr: &IpAddr) -> Option<Peer> {
        // Taken before the look-up, so that it is never newer than the answer.
        let stamp = env.mappings.stamp(self.vni, addr);
        match env.mappings.resolve(self.vni, addr) {
            Some(resolved) if Some(resolved.sled) == env.underlay.address() => {
                let to = env.view.port_by_mac(resolved.mac, self.vni)?;
                Some(Peer {
                    place: Place::Port(to.id.0),
                    mac: resolved.mac,
                    stamp,
                })
            }
            Some(resolved) => Some(Peer {
                place: Place::Sled(resolved.sled),
                mac: resolved.mac,
                stamp,
            }),
            None => {
                let to = env.view.port_by_addr(addr, self.vni)?;
                Some(Peer {
                    place: Place::Port(to.id.0),
                    mac: to.mac,
                    stamp,
                })
            }
        }
    }

    /// Translates the near end of a flow that leaves the VPC.
    fn nat<O: Observer>(
        &self,
        env: &Env<'_, R, O>,
        policy: &Policy,
        flow: &mut Flow,
        way: &Way,
    ) -> Result<(), Dropped> {
        let layer = LayerId::Nat;
        let Some(gateway) = way.gateway else {
            // A flow that came in by an external address can't answer inside.
            return match flow.nat {
                NatKind::None => Ok(()),
                _ => Err(Dropped::by(layer, DropReason::NoRoute)),
            };
        };
        if let Some(held) = flow.held() {
            return match self.nat.still_valid(&held, gateway) {
                true => Ok(()),
                false => Err(Dropped::by(layer, DropReason::NoExternalAddress)),
            };
        }
        if policy.is_attached(&flow.inside.local_ip()) {
            return Ok(());
        }
        if flow.opened == Direction::In {
            // Who called from inside of the VPC can't be answered from outside.
            return Err(Dropped::by(layer, DropReason::NoRoute));
        }
        let outside = self
            .nat
            .outbound(&flow.inside, gateway, env.now)
            .map_err(|reason| {
                let (port, key) = (self.id, &flow.inside);
                if reason == DropReason::SnatExhausted {
                    observe!(env.observer, NatExhausted { port, key });
                }
                observe!(
                    env.observer,
                    GenDescFail {
                        port,
                        layer,
                        key,
                        reason
                    }
                );
                Dropped::by(layer, reason)
            })?;
        flow.hold(&outside);
        observe!(
            env.observer,
            NatAlloc {
                port: self.id,
                key: &flow.inside,
                outside: &flow.outside()
            }
        );
        Ok(())
    }
}

/// Whether an address stands for more than one host. What is a subnet's own
/// broadcast address isn't known here.
pub(super) fn is_group(addr: &IpAddr) -> bool {
    addr.is_multicast() || *addr == IpAddr::V4(Ipv4Addr::BROADCAST)
}

/// Whether an address can be that of a host beyond a router (RFC 6890).
fn is_routable(addr: &IpAddr) -> bool {
    let on_link_only = match addr {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local() || v6.to_ipv4_mapped().is_some(),
    };
    !(on_link_only || is_group(addr) || addr.is_unspecified() || addr.is_loopback())
}

/// Where a guest of the VPC is.
struct Peer {
    place: Place,
    mac: MacAddr,
    stamp: Stamp,
}

enum Place {
    Sled(Ipv6Addr),
    Port(u32),
}

impl Flow {
    /// Takes on an external end.
    pub(crate) fn hold(&mut self, outside: &Outside) {
        let from = self.inside;
        let to: Tuple = from.with_local(outside.addr, outside.port);
        (self.outside_local, self.outside_port) = (to.local, to.local_port);
        self.nat = NatKind::from(outside.kind);
        self.nat_stamp = outside.stamp();
        self.diff = Difference::between(&from, &to);
    }

    /// The external end that the flow holds a reference to.
    pub(crate) fn held(&self) -> Option<Outside> {
        let kind = self.nat.kind()?;
        Some(Outside::held(&self.outside(), kind, self.nat_stamp))
    }
}
