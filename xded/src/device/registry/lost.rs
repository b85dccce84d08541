//! Devices that went away under the driver, and those of their names that came
//! in their place.
//!
//! A TAP is made again at once. A link's device is somebody else's: when there
//! is one again, the engine has to know its address and what it carries, so the
//! engine is who opens it (`control::lost`).

use super::{Device, Kind, OpenLink, Registry, Source, set_mtu};
use crate::sys::{self, netdev};
use opte_core::api::PortId;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

impl Registry {
    /// Looks after the TAPs that the driver made.
    pub(crate) fn make_lost_taps(&mut self) {
        let gone = self.made.iter().filter(|(_, made)| made.device.is_gone());
        let gone: Vec<PortId> = gone.map(|(id, _)| *id).collect();
        for id in gone {
            match self.make_again(id) {
                Ok(()) => tracing::info!(%id, "the TAP is back"),
                // The worker said that the device is gone.
                Err(error) => tracing::debug!(%id, %error, "the TAP can't be made again yet"),
            }
        }
    }

    /// Makes a port's TAP anew.
    fn make_again(&mut self, id: PortId) -> io::Result<()> {
        let Some(made) = self.made.get(&id) else {
            return Ok(());
        };
        let name = made.name;
        let fd = sys::tap::open(name.as_str())?;
        sys::tap::set_mac(fd.as_fd(), made.mac.0)?;
        set_mtu(name.as_str(), fd.as_fd(), made.mtu);
        let device = Arc::new(Device::new(Kind::Tap, fd, name.as_str()));
        self.open(Source::Port(id), Arc::clone(&device))?;
        if let Some(made) = self.made.get_mut(&id) {
            made.device = device;
            made.dressed = true;
        }
        Ok(())
    }

    /// Names of links whose device went away and that have a device of this
    /// name again. Says once of each that it is gone.
    pub(crate) fn links_to_open(&mut self) -> Vec<String> {
        let mut names = Vec::new();
        for link in self.links.values_mut().filter(|link| link.device.is_gone()) {
            if !std::mem::replace(&mut link.gone, true) {
                let link = &link.spec.name;
                tracing::warn!(
                    link,
                    "the device is gone; waiting for one of its name and MTU"
                );
            }
            if fits(link) {
                names.push(link.spec.name.clone());
            }
        }
        names
    }
}

/// Whether there is a device that the link can be opened on.
fn fits(link: &OpenLink) -> bool {
    netdev::attributes(&link.spec.name).is_ok_and(|device| {
        device.hardware == libc::ARPHRD_ETHER && device.mtu >= u32::from(link.spec.mtu)
    })
}
