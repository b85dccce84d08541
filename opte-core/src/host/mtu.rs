//! Port MTUs against what the underlay carries.
//!
//! Rules     M1  a port may have [`PORT_MTU_ALWAYS`] whatever the links carry:
//!               its guest is told where a path has less. A larger MTU is a
//!               promise, so every link must carry it with the outer headers.
//!           M2  M1 holds after every command: a port's, the underlay's, and a
//!               whole setup's.
//!           M3  a host without links has nothing that could be too small.

use crate::api::{ConfigError, ErrorCode, LinkSpec, ObjectKind, PortSpec, UnderlaySpec};
use crate::limits::{ENCAP_LEN, PORT_MTU_ALWAYS};

/// Whether the underlay carries what a port promises its guest (M1).
///
/// # Errors
///
/// Names the port, its MTU, and the link with the least room.
pub(super) fn check_port(
    port: &PortSpec,
    underlay: Option<&UnderlaySpec>,
) -> Result<(), ConfigError> {
    match narrow_link(port.mtu, underlay) {
        None => Ok(()),
        Some(link) => {
            let room = usize::from(link.mtu).saturating_sub(ENCAP_LEN);
            let most = room.max(usize::from(PORT_MTU_ALWAYS));
            let error = ConfigError::new(ErrorCode::OutOfRange, ObjectKind::Port, port.name);
            Err(error.field("mtu", port.mtu).hint(alloc::format!(
                "{most} at most, as link {} carries {} with {ENCAP_LEN} bytes of outer headers",
                link.name,
                link.mtu
            )))
        }
    }
}

/// Whether an underlay carries what a port has promised its guest.
///
/// # Errors
///
/// Names the link that is too small, and the port.
pub(super) fn check_underlay(port: &PortSpec, underlay: &UnderlaySpec) -> Result<(), ConfigError> {
    match narrow_link(port.mtu, Some(underlay)) {
        None => Ok(()),
        Some(link) => {
            let needed = usize::from(port.mtu).saturating_add(ENCAP_LEN);
            let error = ConfigError::new(ErrorCode::Conflict, ObjectKind::Link, &link.name);
            Err(error.field("mtu", link.mtu).hint(alloc::format!(
                "port {} has {}, which takes {needed}",
                port.name,
                port.mtu
            )))
        }
    }
}

/// The link with the least room, if that is too little for a port's MTU.
fn narrow_link(mtu: u16, underlay: Option<&UnderlaySpec>) -> Option<&LinkSpec> {
    let least = underlay?.links.iter().min_by_key(|link| link.mtu)?;
    let needed = usize::from(mtu).saturating_add(ENCAP_LEN);
    (mtu > PORT_MTU_ALWAYS && needed > usize::from(least.mtu)).then_some(least)
}
