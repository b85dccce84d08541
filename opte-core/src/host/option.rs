//! Commands that change limits and timeouts of live ports and of the host.

use super::device::Devices;
use super::{Host, mtu};
use crate::api::setting::check_ranges;
use crate::api::{
    ConfigError, ErrorCode, HostOptions, Name, ObjectKind, PortSpec, Response, Setting,
};
use crate::event::Observer;
use crate::limits::SETTINGS_MAX;
use crate::port::{Policy, Port};
use lock_api::RawMutex;

impl<R: RawMutex, O: Observer> Host<R, O> {
    /// Changes settings of a port. Flows keep what was decided about them and
    /// end by the new timeouts.
    pub(super) fn set_port_options(
        &self,
        name: &Name,
        settings: &[Setting],
        devices: &mut impl Devices,
    ) -> Result<Response, ConfigError> {
        let port = self.named(name)?;
        check_count(settings, ObjectKind::Port, name.as_str())?;
        let old = port.policy();
        let mut spec = old.spec.clone();
        for setting in settings {
            spec.set(*setting)?;
        }
        let policy = self.plan_limits(&port, &old, spec)?;
        self.commit_policy(&port, policy);
        self.tell_mtu(&port, old.spec.mtu, devices);
        Ok(Response::Done)
    }

    /// Checks other limits of a port that stays.
    pub(super) fn plan_limits(
        &self,
        port: &Port<R>,
        old: &Policy,
        spec: PortSpec,
    ) -> Result<Policy, ConfigError> {
        check_room(port, &spec)?;
        mtu::check_port(&spec, self.underlay.spec().ok().as_ref())?;
        old.with_limits(spec)
    }

    /// Puts another policy into force; flows come due by its timeouts. Cannot
    /// fail.
    pub(super) fn commit_policy(&self, port: &Port<R>, policy: Policy) {
        let options = policy.spec.options;
        let new_timeouts = options != port.policy().spec.options;
        port.commit(policy);
        if new_timeouts {
            port.table.reschedule_all(&options);
        }
    }

    /// Changes settings of the host as a whole.
    pub(super) fn set_host_options(&self, settings: &[Setting]) -> Result<Response, ConfigError> {
        check_count(settings, ObjectKind::Host, "")?;
        let mut options = self.host_options();
        for setting in settings {
            options.set(*setting)?;
        }
        check_host(&options)?;
        self.commit_host_options(options);
        Ok(Response::Done)
    }

    /// The host's options now.
    pub(super) fn host_options(&self) -> HostOptions {
        HostOptions {
            flows_max: self.budget.max(),
        }
    }

    /// Puts other options of the host into force. Cannot fail.
    pub(super) fn commit_host_options(&self, options: HostOptions) {
        self.budget.set_max(options.flows_max);
    }
}

/// Whether a live port's table has room for what its options say.
pub(super) fn check_room<R: RawMutex>(port: &Port<R>, spec: &PortSpec) -> Result<(), ConfigError> {
    let (flows_max, room) = (spec.options.flows_max, port.table.room());
    if flows_max <= room {
        return Ok(());
    }
    let error = ConfigError::new(ErrorCode::OutOfRange, ObjectKind::Port, spec.name);
    Err(error
        .field("options.flows_max", flows_max)
        .hint(alloc::format!(
            "{room} at most while the port lives: its table was made for them"
        )))
}

/// Whether options of a host make sense.
pub(super) fn check_host(options: &HostOptions) -> Result<(), ConfigError> {
    let error = |code| ConfigError::new(code, ObjectKind::Host, "");
    check_ranges(&options.ranges(), "", error)
}

fn check_count(settings: &[Setting], kind: ObjectKind, object: &str) -> Result<(), ConfigError> {
    if settings.len() <= SETTINGS_MAX {
        return Ok(());
    }
    Err(ConfigError::new(ErrorCode::LimitReached, kind, object)
        .field("settings", settings.len())
        .hint(alloc::format!("{SETTINGS_MAX} at most")))
}
