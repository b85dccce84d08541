//! Multicast as programs use it: sockets that join, and one that sends.
//!
//! Joining makes the guest's stack send IGMP or MLD reports, and dropping the
//! socket makes it leave.

use super::Namespace;
use super::link::Links;
use anyhow::{Context, Result};
use nix::libc;
use std::io::ErrorKind;
use std::mem::offset_of;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

/// A member of a group.
#[derive(Debug)]
pub(crate) struct Member {
    socket: UdpSocket,
}

impl Member {
    /// Joins a group on a device of a namespace, for every source or for one
    /// (RFC 3678 section 5.1.2).
    ///
    /// # Errors
    ///
    /// When the stack refuses.
    pub(crate) fn join(
        namespace: &Namespace,
        device: &str,
        group: SocketAddr,
        source: Option<IpAddr>,
    ) -> Result<Self> {
        let index = Links::open(namespace)?.get(device)?.index;
        let join = || -> Result<UdpSocket> {
            // Bound to the group, it hears nothing that is sent elsewhere.
            let socket = UdpSocket::bind(group)?;
            match (group.ip(), source) {
                (group, Some(source)) => join_source(&socket, index, group, source)?,
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
        let mut buffer = vec![0; 65_536];
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

/// Joins a group on the device of this number for one source.
fn join_source(socket: &UdpSocket, device: u32, group: IpAddr, source: IpAddr) -> Result<()> {
    let level = match group {
        IpAddr::V4(_) => libc::IPPROTO_IP,
        IpAddr::V6(_) => libc::IPPROTO_IPV6,
    };
    let mut request = [0_u8; size_of::<libc::group_source_req>()];
    let mut put = |at: usize, bytes: &[u8]| {
        if let Some(room) = request.get_mut(at..at + bytes.len()) {
            room.copy_from_slice(bytes);
        }
    };
    put(0, &device.to_ne_bytes());
    put(
        offset_of!(libc::group_source_req, gsr_group),
        &sockaddr(group)?,
    );
    put(
        offset_of!(libc::group_source_req, gsr_source),
        &sockaddr(source)?,
    );
    let len = libc::socklen_t::try_from(request.len())?;
    // SAFETY: the socket is open, and the kernel reads `len` bytes of a request
    // that lives until the call returns.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            libc::MCAST_JOIN_SOURCE_GROUP,
            request.as_ptr().cast(),
            len,
        )
    };
    nix::errno::Errno::result(result).context("can't join for one source")?;
    Ok(())
}

/// A `sockaddr_in` or `sockaddr_in6` with this address.
fn sockaddr(address: IpAddr) -> Result<Vec<u8>> {
    let (family, before, octets) = match address {
        // The port comes before the address.
        IpAddr::V4(address) => (libc::AF_INET, 2, address.octets().to_vec()),
        // Port and flow label.
        IpAddr::V6(address) => (libc::AF_INET6, 6, address.octets().to_vec()),
    };
    let family = libc::sa_family_t::try_from(family)?;
    Ok([&family.to_ne_bytes()[..], &vec![0; before], &octets].concat())
}
