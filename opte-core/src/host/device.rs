//! What the host needs of the shell's devices.

use crate::api::{ConfigError, LinkSpec, PortId, PortSpec};
use crate::verdict::LinkId;
use crate::wire::MacAddr;

/// What the shell knows of a link's device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkDevice {
    /// Its MAC address.
    pub mac: MacAddr,
    /// Bytes of IP packet that it can carry.
    pub mtu: u16,
}

/// The shell's side of creating and removing ports and links.
///
/// A command opens every device it needs before it commits anything, and
/// closes them again when a later one fails, so nothing is left half-made.
/// Closing cannot fail.
pub trait Devices {
    /// Makes the guest's side of a port: a TAP device, a datalink.
    ///
    /// A port that is to take the place of one of the same name is opened while
    /// that one is. It takes over what is there, and has it to itself as soon as
    /// the other is closed; nothing of it changes before.
    ///
    /// # Errors
    ///
    /// When the operating system refuses.
    fn open_port(&mut self, id: PortId, spec: &PortSpec) -> Result<(), ConfigError>;

    /// Whether the guest's side of a port can be removed. Asked before anything
    /// is changed; what says yes here can be closed right after.
    ///
    /// # Errors
    ///
    /// When somebody uses it and the operating system won't take it away.
    fn may_close_port(&mut self, id: PortId) -> Result<(), ConfigError> {
        let _ = id;
        Ok(())
    }

    /// Removes the guest's side of a port.
    fn close_port(&mut self, id: PortId);

    /// Tells the guest's side of a port that its MTU is another one now. What
    /// can't be done is left: the guest also learns it from the gateway.
    fn set_port_mtu(&mut self, id: PortId, mtu: u16) {
        let _ = (id, mtu);
    }

    /// Opens an underlay link.
    ///
    /// # Errors
    ///
    /// When the device isn't there or the operating system refuses.
    fn open_link(&mut self, id: LinkId, spec: &LinkSpec) -> Result<LinkDevice, ConfigError>;

    /// Closes an underlay link.
    fn close_link(&mut self, id: LinkId);
}
