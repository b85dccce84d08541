//! Multicast as programs use it: sockets that join, and one that sends.
//!
//! Joining makes the guest's stack send IGMP or MLD reports, and dropping the
//! socket makes it leave.

use super::Namespace;
use super::link::Links;
use anyhow::{Context, Result};
use rustix::net::sockopt;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

/// A member of a group.
#[derive(Debug)]
pub(crate) struct Member {
    socket: UdpSocket,
}

impl Member {
    /// Joins a group on a device of a namespace, for every source or, with
    /// IPv4, for one (RFC 3678 section 4.1).
    ///
    /// # Errors
    ///
    /// When the stack refuses.
    pub(crate) fn join(
        namespace: &Namespace,
        device: &str,
        group: SocketAddr,
        source: Option<Ipv4Addr>,
    ) -> Result<Self> {
        let index = Links::open(namespace)?.get(device)?.index;
        let join = || -> Result<UdpSocket> {
            // Bound to the group, it hears nothing that is sent elsewhere.
            let socket = UdpSocket::bind(group)?;
            match (group.ip(), source) {
                (IpAddr::V4(group), Some(source)) => {
                    let device = Ipv4Addr::UNSPECIFIED;
                    sockopt::set_ip_add_source_membership(&socket, &group, &device, &source)?;
                }
                (IpAddr::V4(group), None) => {
                    socket.join_multicast_v4(&group, &Ipv4Addr::UNSPECIFIED)?;
                }
                (IpAddr::V6(group), _) => socket.join_multicast_v6(&group, index)?,
            }
            Ok(socket)
        };
        let socket = namespace.run(join);
        let socket = socket.with_context(|| format!("{device} can't join {group}"))?;
        Ok(Self { socket })
    }

    /// What came from whom; none when nothing comes in time.
    ///
    /// # Errors
    ///
    /// When the socket fails.
    pub(crate) fn hear(&self, limit: Duration) -> Result<Option<(String, IpAddr)>> {
        self.socket.set_read_timeout(Some(limit))?;
        let mut buffer = [0; 2_048];
        match self.socket.recv_from(&mut buffer) {
            Ok((len, from)) => {
                let bytes = buffer.get(..len).unwrap_or_default();
                Ok(Some((
                    String::from_utf8_lossy(bytes).into_owned(),
                    from.ip(),
                )))
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Sends a text to a group from an address of a namespace.
///
/// # Errors
///
/// When the stack refuses.
pub(crate) fn send(
    namespace: &Namespace,
    from: IpAddr,
    group: SocketAddr,
    text: &str,
) -> Result<()> {
    let socket = namespace.run(|| Ok(UdpSocket::bind((from, 0))?))?;
    let sent = socket.send_to(text.as_bytes(), group);
    sent.with_context(|| format!("{from} can't send to {group}"))?;
    Ok(())
}
