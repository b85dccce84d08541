//! Ports as MAC and those who use their datalinks see them.

use crate::context::{self, Context};
use crate::kernel::callback::{Called, GROUP, Mac, PROPERTIES};
use crate::kernel::mac::Provider;
use crate::sled::Sled;
use anyhow::{Context as _, Result, anyhow, ensure};
use std::collections::BTreeMap;

impl Sled {
    /// Somebody starts or stops using a port's datalink: MAC starts it, gives it
    /// its own address and has it hear a group, or the other way round.
    ///
    /// # Errors
    ///
    /// When there is no such port.
    pub fn use_port(&self, name: &str, start: bool) -> Result<()> {
        let (address, _) = self
            .port_address(name)
            .with_context(|| format!("no port {name}"))?;
        let kernel = &self.kernel;
        let errnos = self.change_port(name, |mac| {
            if start {
                let started = mac.start(kernel)?;
                let addressed = mac.set_address(kernel, address)?;
                Ok([started, addressed, mac.set_group(kernel, GROUP, true)?])
            } else {
                let left = mac.set_group(kernel, GROUP, false)?;
                mac.stop(kernel)?;
                Ok([left, 0, 0])
            }
        })?;
        ensure!(errnos == [0; 3], "starting or stopping it: {errnos:?}");
        self.with_provider(name, |provider| provider.in_use = start)
    }

    /// Somebody has a port's datalink without using it, so that it can't be
    /// taken away and the module isn't told; or lets go of it.
    ///
    /// # Errors
    ///
    /// When there is no such port.
    pub fn hold_port(&self, name: &str, held: bool) -> Result<()> {
        self.with_provider(name, |provider| provider.held = held)
    }

    /// Gives a port's datalink an address, as `dladm set-linkprop` does; the
    /// errno.
    ///
    /// # Errors
    ///
    /// When there is no such port, or the module panics.
    pub fn set_port_address(&self, name: &str, address: [u8; 6]) -> Result<u64> {
        self.change_port(name, |mac| mac.set_address(&self.kernel, address))
    }

    /// Somebody wants to see all that a port's datalink carries, or doesn't any
    /// more, as `snoop` does; the errno.
    ///
    /// # Errors
    ///
    /// When there is no such port, or the module panics.
    pub fn set_port_promiscuous(&self, name: &str, on: bool) -> Result<u64> {
        self.change_port(name, |mac| mac.set_promiscuous(&self.kernel, on))
    }

    /// Has a port's datalink hear a group, or not any more; the errno.
    ///
    /// # Errors
    ///
    /// When there is no such port, or the module panics.
    pub fn set_port_group(&self, name: &str, group: [u8; 6], on: bool) -> Result<u64> {
        self.change_port(name, |mac| mac.set_group(&self.kernel, group, on))
    }

    /// What a port's datalink says of each property, by MAC's number, as `dladm
    /// show-linkprop` asks: the least and the most.
    ///
    /// # Errors
    ///
    /// When there is no such port, or the module panics.
    pub fn port_properties(&self, name: &str) -> Result<BTreeMap<i32, [u32; 2]>> {
        let kernel = &self.kernel;
        self.change_port(name, |mac| {
            let ask = |number| {
                let range = mac.property(kernel, number).transpose()?;
                Some(range.map(|range| (number, range)))
            };
            PROPERTIES.filter_map(ask).collect()
        })
    }

    /// Whether a port is a datalink that is up, and its MTU.
    #[must_use]
    pub fn port_state(&self, name: &str) -> Option<(bool, u32)> {
        let state = self.kernel.state();
        let (_, provider) = state.net.provider(name)?;
        Some((provider.up, provider.mtu))
    }

    /// The hardware address of a port's datalink, and MAC's handle of it.
    #[must_use]
    pub fn port_address(&self, name: &str) -> Option<([u8; 6], u64)> {
        let state = self.kernel.state();
        let (handle, provider) = state.net.provider(name)?;
        Some((provider.address, handle))
    }

    /// What a port's datalink says of a capability: the words that it writes, of
    /// those that are there.
    ///
    /// # Errors
    ///
    /// When there is no such port, or the module panics.
    pub fn port_capability(&self, name: &str, capability: i32) -> Result<Option<Vec<u32>>> {
        let kernel = &self.kernel;
        self.call_port(name, Context::Interrupt, |mac| {
            mac.capability(kernel, capability)
        })
    }

    /// A statistic of a port, by MAC's number.
    ///
    /// # Errors
    ///
    /// When the module doesn't have it.
    pub fn port_statistic(&self, name: &str, number: u32) -> Result<u64> {
        let kernel = &self.kernel;
        let value = self.call_port(name, Context::Interrupt, |mac| {
            mac.statistic(kernel, number)
        })?;
        value.with_context(|| format!("no statistic {number}"))
    }

    pub(crate) fn with_provider<T>(
        &self,
        name: &str,
        work: impl FnOnce(&mut Provider) -> T,
    ) -> Result<T> {
        let mut state = self.kernel.state();
        let handle = state.net.provider(name).map(|(handle, _)| handle);
        let provider = handle.and_then(|handle| state.net.providers.get_mut(&handle));
        provider
            .map(work)
            .with_context(|| format!("no port {name}"))
    }

    /// Calls a port back, in a context.
    pub(crate) fn call_port<T>(
        &self,
        name: &str,
        context: Context,
        work: impl FnOnce(Mac) -> Called<T>,
    ) -> Result<T> {
        let handle = self.port_address(name).map(|(_, handle)| handle);
        let call = |handle| self.call_mac(handle, context, work);
        handle
            .and_then(call)
            .with_context(|| format!("no port {name}"))?
    }

    /// Calls a MAC of the module back, in a context; `None` when it is gone.
    fn call_mac<T>(
        &self,
        handle: u64,
        context: Context,
        work: impl FnOnce(Mac) -> Called<T>,
    ) -> Option<Result<T>> {
        let call = || self.kernel.calling_back(handle, work);
        let called = context::within(&self.kernel, context, call)?;
        Some(called.map_err(|panic| anyhow!("the module panicked: {panic}")))
    }

    /// Calls a port back in its perimeter.
    fn change_port<T>(&self, name: &str, work: impl FnOnce(Mac) -> Called<T>) -> Result<T> {
        let (_, handle) = self
            .port_address(name)
            .with_context(|| format!("no port {name}"))?;
        let kernel = &self.kernel;
        let call = || {
            kernel.in_perimeter(handle, "mac_perim_enter_by_macname", || {
                // Of this MAC: another may have the name by now.
                self.call_mac(handle, Context::Thread, work)
            })
        };
        let called = context::within(kernel, Context::Thread, call);
        called.with_context(|| format!("no port {name}"))?
    }
}
