//! What the layers say about a flow.
//!
//! Outbound: gateway, firewall, router, nat, overlay. Inbound: overlay, nat,
//! router, firewall, gateway. The flow carries what one layer tells the next.

use super::{Dropped, Env, Policy, Port};
use crate::api::{FwAction, RouteTarget};
use crate::event::{Observer, observe};
use crate::flow::Tuple;
use crate::flow::record::{Difference, Flow, NatKind};
use crate::layer::nat::{Outside, Via};
use crate::layer::{firewall, gateway, overlay};
use crate::rule::Query;
use crate::{Direction, DropReason, LayerId};
use lock_api::RawMutex;

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
        let asks_vni = policy.asks_vni && flow.opened == Direction::Out;
        let vpc = asks_vni.then(|| overlay::vpc_stamps(env, self.vni, &flow.inside.remote_ip()));
        let judged = flow.rewrite(flow.opened) == Some(policy.generation)
            && (vpc.is_none() || env.mappings.current(flow.forward.mapping));
        if !judged {
            self.layer(env, flow, LayerId::Gateway, |flow| {
                gateway::admit(&policy.spec, &policy.routes, flow.opened, &flow.inside)
                    .map_err(|reason| Dropped::by(LayerId::Gateway, reason))
            })?;
            self.layer(env, flow, LayerId::Firewall, |flow| {
                self.firewall(env, policy, flow)
            })?;
        }
        if flow.opened == Direction::Out || dir == Direction::Out {
            self.forward(env, policy, flow)?;
            if let Some(vpc) = vpc {
                flow.forward.mapping = vpc.covering(flow.forward.mapping);
            }
            flow.set_rewrites(policy.generation);
        } else {
            self.layer(env, flow, LayerId::Nat, |flow| self.entrance(flow))?;
            flow.set_rewrite(Direction::In, policy.generation);
        }
        Ok(())
    }

    /// Whether the external address that a flow came in by is still the port's.
    fn entrance(&self, flow: &Flow) -> Result<(), Dropped> {
        match flow.held() {
            Some(held) if !self.nat.still_valid(&flow.inside, &held, Via::Arrival) => {
                Err(Dropped::by(LayerId::Nat, DropReason::NoMapping))
            }
            _ => Ok(()),
        }
    }

    /// Runs one layer between its probes.
    pub(super) fn layer<O: Observer, T>(
        &self,
        env: &Env<'_, R, O>,
        flow: &mut Flow,
        layer: LayerId,
        decide: impl FnOnce(&mut Flow) -> Result<T, Dropped>,
    ) -> Result<T, Dropped> {
        let (port, dir) = (&self.tag, flow.opened);
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

    /// Asks the firewall in the direction in which the flow was opened.
    pub(super) fn firewall<O: Observer>(
        &self,
        env: &Env<'_, R, O>,
        policy: &Policy,
        flow: &mut Flow,
    ) -> Result<(), Dropped> {
        let query = self.query(env, policy, flow);
        let decision = firewall::decide(&policy.rules, &query);
        let rule = decision.rule.map_or(0, |rule| rule.id);
        let (port, layer, dir, key) = (&self.tag, LayerId::Firewall, flow.opened, &flow.inside);
        let allow = decision.action == FwAction::Allow;
        match (decision.rule.is_some(), allow) {
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
        if allow {
            flow.fw_rule = rule;
            return Ok(());
        }
        let reason = match (decision.action, rule) {
            (FwAction::Reject, _) => DropReason::FirewallReject,
            (_, 0) => DropReason::FirewallDefault,
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
        let is_peer = match flow.opened {
            // The tunnel said which VPC it is from: this port's own.
            Direction::In => !flow.external,
            Direction::Out => policy.asks_vni && overlay::is_peer(env, self.vni, &remote),
        };
        let remote_vni = is_peer.then_some(self.vni);
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
        let choice = overlay::choice(env.choice, &flow.inside);
        let target = self.layer(env, flow, LayerId::Router, |flow| {
            self.route(env, policy, flow, choice)
        })?;
        let forward = self.layer(env, flow, LayerId::Overlay, |flow| {
            overlay::forward(env, self.vni, target, &flow.inside, choice).map_err(|reason| {
                let (port, layer, dir) = (&self.tag, LayerId::Overlay, flow.opened);
                let key = &flow.inside;
                observe!(
                    env.observer,
                    GenHtFail {
                        port,
                        layer,
                        dir,
                        key,
                        reason
                    }
                );
                Dropped::by(layer, reason)
            })
        })?;
        // Last, for it may take an external port (rule P3).
        self.layer(env, flow, LayerId::Nat, |flow| {
            self.nat(env, policy, flow, target)
        })?;
        if flow.opened == Direction::Out {
            flow.external = matches!(target, RouteTarget::Gateway(_));
        }
        flow.forward = forward;
        observe!(
            env.observer,
            HtRun {
                port: &self.tag,
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
    ) -> Result<RouteTarget, Dropped> {
        let (port, layer, dir) = (&self.tag, LayerId::Router, flow.opened);
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
        if route.spec.target == RouteTarget::Drop {
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

    /// Translates the near end of a flow that leaves the VPC.
    fn nat<O: Observer>(
        &self,
        env: &Env<'_, R, O>,
        policy: &Policy,
        flow: &mut Flow,
        target: RouteTarget,
    ) -> Result<(), Dropped> {
        let layer = LayerId::Nat;
        let RouteTarget::Gateway(gateway) = target else {
            // A flow that came in by an external address can't answer inside.
            return match flow.nat {
                NatKind::None => Ok(()),
                _ => Err(Dropped::by(layer, DropReason::NoRoute)),
            };
        };
        if let Some(held) = flow.held() {
            let via = match flow.opened {
                Direction::In => Via::Arrival,
                Direction::Out => Via::Gateway(gateway),
            };
            return match self.nat.still_valid(&flow.inside, &held, via) {
                true => Ok(()),
                false => Err(Dropped::by(layer, DropReason::NoExternalAddress)),
            };
        }
        if gateway::is_attached(&policy.spec, &flow.inside.local_ip()) {
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
                let (port, dir, key) = (&self.tag, flow.opened, &flow.inside);
                if reason == DropReason::SnatExhausted {
                    observe!(env.observer, NatExhausted { port, key });
                }
                observe!(
                    env.observer,
                    GenDescFail {
                        port,
                        layer,
                        dir,
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
                port: &self.tag,
                key: &flow.inside,
                outside: &flow.outside()
            }
        );
        Ok(())
    }
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
