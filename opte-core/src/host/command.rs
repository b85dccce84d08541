//! Commands: what each one does, and to whom it goes.

use super::device::Devices;
use super::{Control, Host};
use crate::Instant;
use crate::api::{Command, ConfigError, ErrorCode, Name, ObjectKind, PortSpec, Response, Setup};
use crate::event::{Observer, observe};
use crate::port::Port;
use crate::verdict::Output;
use alloc::sync::Arc;
use lock_api::RawMutex;

impl<R: RawMutex, O: Observer> Host<R, O> {
    /// Carries out a command: all of it or, with an error, nothing.
    ///
    /// # Errors
    ///
    /// Which object, which field and why.
    pub fn command(
        &self,
        command: Command,
        now: Instant,
        devices: &mut impl Devices,
        out: &mut impl Output,
    ) -> Result<Response, ConfigError> {
        self.watch.look(&self.observer);
        if let Some(answer) = self.query(&command, now) {
            return answer;
        }
        let mut control = self.control.lock();
        let changed = self.change(&mut control, command, now, devices, out);
        changed.inspect_err(|why| {
            observe!(
                &self.observer,
                ConfigChange {
                    port: None,
                    generation: control.generation,
                    error: why.code.into(),
                }
            );
        })
    }

    /// Commands that change nothing; they don't wait for those that do.
    fn query(&self, command: &Command, now: Instant) -> Option<Result<Response, ConfigError>> {
        Some(match command {
            Command::ListPorts(cursor) => Ok(Response::Ports(self.list_ports(*cursor))),
            Command::ListLayers(port) => self.named(port).map(|p| self.list_layers(&p, now)),
            Command::DumpLayer(port, layer, cursor) => self
                .named(port)
                .map(|p| self.dump_layer(&p, *layer, *cursor, now)),
            Command::DumpUft(port, cursor) => {
                self.named(port).map(|p| self.dump_uft(&p, *cursor, now))
            }
            Command::DumpTcpFlows(port, cursor) => {
                self.named(port).map(|p| self.dump_tcp(&p, *cursor, now))
            }
            Command::DumpV2p(cursor) => Ok(Response::V2p(self.dump_v2p(*cursor))),
            Command::DumpV2b(cursor) => Ok(Response::V2b(self.dump_v2b(*cursor))),
            Command::DumpUnderlayRoutes(cursor) => {
                Ok(Response::UnderlayRoutes(self.dump_underlay_routes(*cursor)))
            }
            Command::DumpRoutes(port, cursor) => {
                self.named(port).map(|p| self.dump_routes(&p, *cursor))
            }
            Command::DumpM2p(cursor) => Ok(Response::M2p(self.dump_m2p(*cursor))),
            Command::DumpMcastFwd(cursor) => Ok(Response::McastFwd(self.dump_mcast_fwd(*cursor))),
            Command::DumpMcastSubs(cursor) => {
                Ok(Response::McastSubs(self.dump_mcast_subs(*cursor, now)))
            }
            Command::ShowUnderlay => Ok(Response::Underlay(self.show_underlay())),
            Command::ListAddressSets(cursor) => {
                Ok(Response::AddressSets(self.list_address_sets(*cursor)))
            }
            Command::DumpAddressSet(name, cursor) => self.dump_address_set(name, *cursor),
            Command::ShowNat(port) => self.named(port).map(|p| self.show_nat(&p)),
            Command::ShowPortOptions(port) => {
                let port = self.named(port);
                port.map(|port| Response::Settings(port.policy().spec.settings()))
            }
            Command::ShowAdvertise(port) => {
                let port = self.named(port);
                port.map(|port| Response::Advertise(port.policy().spec.advertise))
            }
            Command::Stats(None) => Ok(Response::Stats(self.stats())),
            Command::Stats(Some(port)) => self
                .named(port)
                .map(|p| Response::Stats(self.port_stats(&p))),
            _ => return None,
        })
    }

    fn change(
        &self,
        control: &mut Control,
        command: Command,
        now: Instant,
        devices: &mut impl Devices,
        out: &mut impl Output,
    ) -> Result<Response, ConfigError> {
        let command = match command {
            Command::CreatePortParts(parts) => {
                Command::CreatePort(PortSpec::from_parts(parts).ok_or_else(not_one_port)?)
            }
            command => command,
        };
        let (port, response) = match command {
            Command::CreatePort(spec) => (
                Some(spec.name),
                self.create_port(control, spec, now, devices)?,
            ),
            Command::DeletePort(name) => (Some(name), self.delete_port(&name, now, devices)?),
            Command::ClearUft(name) => return self.clear_uft(&name),
            Command::ClearLft(name, layer) => return self.clear_lft(&name, layer, now),
            Command::AddFwRule(name, rule) => (Some(name), self.add_rule(&name, rule)?),
            Command::RmFwRule(name, dir, id) => (Some(name), self.remove_rule(&name, dir, id)?),
            Command::SetFwRules(name, rules) => (Some(name), self.set_rules(&name, rules)?),
            Command::AddRoute(name, route) => (Some(name), self.add_route(&name, route)?),
            Command::DelRoute(name, route) => (Some(name), self.remove_route(&name, &route)?),
            Command::SetExternalIps(name, ips) => (Some(name), self.set_external(&name, ips)?),
            Command::SetExternalNat(name, ips, nat) => {
                (Some(name), self.set_external_nat(&name, ips, nat)?)
            }
            Command::SetNat(name, nat) => (Some(name), self.set_nat(&name, nat)?),
            Command::AllowCidr(name, transit) => (Some(name), self.allow_transit(&name, transit)?),
            Command::RemoveCidr(name, transit) => {
                (Some(name), self.remove_transit(&name, transit)?)
            }
            Command::AttachSubnet(name, prefix) => (Some(name), self.attach(&name, prefix)?),
            Command::DetachSubnet(name, prefix) => (Some(name), self.detach(&name, prefix)?),
            Command::SetPortOptions(name, settings) => (
                Some(name),
                self.set_port_options(&name, &settings, devices)?,
            ),
            command => (None, self.change_host(command, now, devices, out)?),
        };
        if matches!(&response, Response::Applied(applied) if applied.changes.is_empty()) {
            return Ok(response);
        }
        control.generation = control.generation.wrapping_add(1);
        self.generation
            .store(control.generation, core::sync::atomic::Ordering::Relaxed);
        observe!(
            &self.observer,
            ConfigChange {
                port,
                generation: control.generation,
                error: 0,
            }
        );
        Ok(response)
    }

    /// Commands about mappings, the underlay and everything at once.
    fn change_host(
        &self,
        command: Command,
        now: Instant,
        devices: &mut impl Devices,
        out: &mut impl Output,
    ) -> Result<Response, ConfigError> {
        match command {
            Command::SetV2p(mappings) => self.mappings.set_v2p(&mappings).map(count),
            Command::ClearV2p(vni, addr) => done(self.mappings.clear_v2p(vni, addr)),
            Command::SetV2b(prefix, ends) => self.mappings.set_v2b(prefix, &ends).map(count),
            Command::ClearV2b(prefix, ends) => self.mappings.clear_v2b(prefix, &ends).map(count),
            Command::SetUnderlay(spec) => self.set_underlay(Some(&spec), now, devices, out),
            Command::ClearUnderlay => self.set_underlay(None, now, devices, out),
            Command::AddUnderlayRoute(route) => {
                done(self.underlay.add_route(&route, now, out, &self.observer))
            }
            Command::DelUnderlayRoute(route) => {
                done(self.underlay.del_route(&route, now, out, &self.observer))
            }
            Command::Apply(setup) => self.apply(setup, now, devices, out),
            Command::ApplyParts(parts) => self.apply(Setup::from_parts(parts), now, devices, out),
            Command::SetAddressSet(name, prefixes) => self.set_address_set(name, prefixes),
            Command::DeleteAddressSet(name) => self.delete_address_set(&name),
            Command::SetHostOptions(settings) => self.set_host_options(&settings),
            command => self.change_multicast(command),
        }
    }

    /// The port with this name.
    pub(super) fn named(&self, name: &Name) -> Result<Arc<Port<R>>, ConfigError> {
        self.view()
            .port_by_name(name)
            .map(Arc::clone)
            .ok_or_else(|| ConfigError::new(ErrorCode::NotFound, ObjectKind::Port, name))
    }
}

fn not_one_port() -> ConfigError {
    let error = ConfigError::new(ErrorCode::Malformed, ObjectKind::Request, "");
    error
        .field("parts", "")
        .hint("of one port and nothing else")
}

fn done(result: Result<(), ConfigError>) -> Result<Response, ConfigError> {
    result.map(|()| Response::Done)
}

fn count(changed: usize) -> Response {
    Response::Count(u64::try_from(changed).unwrap_or(u64::MAX))
}
