//! A DHCP client (RFC 2131): just enough to get a lease and to check it.

use super::ip::Datagram;
use super::packet::PacketSocket;
use anyhow::{Context, Result, bail};
use dhcproto::v4::{DhcpOption, Flags, Message, MessageType, OptionCode};
use dhcproto::{Decodable, Decoder, Encodable};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

const CLIENT_PORT: u16 = 68;
const SERVER_PORT: u16 = 67;
/// How long an answer may take before the question is asked again.
const RETRY: Duration = Duration::from_millis(500);
/// Bytes of the largest frame that is looked at.
const FRAME_LEN_MAX: usize = 2_048;

/// What a server leased.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    /// The client's address.
    pub(crate) address: Ipv4Addr,
    /// Length of its prefix.
    pub(crate) bits: u8,
    /// The server.
    pub(crate) server: Ipv4Addr,
    /// Seconds that the lease is good for.
    pub(crate) lease_s: u32,
    /// Routes: destination, prefix length and next hop, which is unspecified
    /// for what is on the link (RFC 3442).
    pub(crate) routes: Vec<(Ipv4Addr, u8, Ipv4Addr)>,
    /// DNS servers.
    pub(crate) dns: Vec<Ipv4Addr>,
    /// The client's name.
    pub(crate) hostname: Option<String>,
    /// Bytes of IP packet that the client shall send at most.
    pub(crate) mtu: Option<u16>,
}

/// Gets a lease for the device behind `socket`: discover, offer, request,
/// acknowledge.
///
/// # Errors
///
/// When no server answers within `limit`, one refuses, or an answer is
/// malformed.
pub(crate) fn acquire(socket: &PacketSocket, mac: [u8; 6], limit: Duration) -> Result<Lease> {
    let end = Instant::now() + limit;
    let client = Client { socket, mac };
    let offer = client.ask(
        &client.message(MessageType::Discover),
        MessageType::Offer,
        end,
    )?;
    let mut request = client.message(MessageType::Request);
    let options = request.opts_mut();
    options.insert(DhcpOption::RequestedIpAddress(offer.yiaddr()));
    options.insert(DhcpOption::ServerIdentifier(server(&offer)?));
    let ack = client.ask(&request, MessageType::Ack, end)?;
    Lease::of(&ack)
}

impl Lease {
    fn of(ack: &Message) -> Result<Self> {
        let option = |code| ack.opts().get(code);
        let Some(DhcpOption::SubnetMask(mask)) = option(OptionCode::SubnetMask) else {
            bail!("the lease has no subnet mask");
        };
        let Some(DhcpOption::AddressLeaseTime(lease_s)) = option(OptionCode::AddressLeaseTime)
        else {
            bail!("the lease has no time");
        };
        let routes = match (
            option(OptionCode::ClasslessStaticRoute),
            option(OptionCode::Router),
        ) {
            // RFC 3442: a client ignores the router option when it has this one.
            (Some(DhcpOption::ClasslessStaticRoute(routes)), _) => routes
                .iter()
                .map(|(to, via)| (to.addr(), to.prefix_len(), *via))
                .collect(),
            (_, Some(DhcpOption::Router(routers))) => routers
                .iter()
                .map(|via| (Ipv4Addr::UNSPECIFIED, 0, *via))
                .collect(),
            _ => Vec::new(),
        };
        Ok(Self {
            address: ack.yiaddr(),
            bits: u8::try_from(mask.to_bits().leading_ones())?,
            server: server(ack)?,
            lease_s: *lease_s,
            routes,
            dns: match option(OptionCode::DomainNameServer) {
                Some(DhcpOption::DomainNameServer(servers)) => servers.clone(),
                _ => Vec::new(),
            },
            hostname: match option(OptionCode::Hostname) {
                Some(DhcpOption::Hostname(name)) => Some(name.clone()),
                _ => None,
            },
            mtu: match option(OptionCode::InterfaceMtu) {
                Some(DhcpOption::InterfaceMtu(mtu)) => Some(*mtu),
                _ => None,
            },
        })
    }
}

struct Client<'a> {
    socket: &'a PacketSocket,
    mac: [u8; 6],
}

impl Client<'_> {
    fn message(&self, kind: MessageType) -> Message {
        let mut message = Message::default();
        let [_, _, a, b, c, d] = self.mac;
        message
            .set_xid(u32::from_be_bytes([a, b, c, d]))
            .set_chaddr(&self.mac)
            .set_flags(Flags::default().set_broadcast());
        let options = message.opts_mut();
        options.insert(DhcpOption::MessageType(kind));
        options.insert(DhcpOption::ParameterRequestList(vec![
            OptionCode::SubnetMask,
            OptionCode::Router,
            OptionCode::ClasslessStaticRoute,
            OptionCode::DomainNameServer,
            OptionCode::Hostname,
            OptionCode::InterfaceMtu,
        ]));
        message
    }

    /// Sends `question` until an answer of the kind `want` comes.
    fn ask(&self, question: &Message, want: MessageType, end: Instant) -> Result<Message> {
        let frame = Datagram {
            source: (Ipv4Addr::UNSPECIFIED, CLIENT_PORT),
            destination: (Ipv4Addr::BROADCAST, SERVER_PORT),
            payload: &question.to_vec()?,
        }
        .emit([0xff; 6], self.mac);
        while Instant::now() < end {
            self.socket.send(&frame)?;
            if let Some(answer) = self.listen(question.xid(), want)? {
                return Ok(answer);
            }
        }
        bail!("no DHCP server answers: waited for {want:?}")
    }

    fn listen(&self, xid: u32, want: MessageType) -> Result<Option<Message>> {
        let end = Instant::now() + RETRY;
        let mut buffer = [0; FRAME_LEN_MAX];
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            let Some(received) = self.socket.receive(&mut buffer, left)? else {
                return Ok(None);
            };
            if received.outgoing {
                continue;
            }
            let frame = buffer.get(..received.len).unwrap_or(&buffer);
            let datagram = Datagram::parse(frame)
                .map_err(anyhow::Error::msg)
                .context("a frame from the server has")?;
            let Some(datagram) = datagram.filter(|d| d.destination.1 == CLIENT_PORT) else {
                continue;
            };
            let answer = Message::decode(&mut Decoder::new(datagram.payload))
                .context("a malformed DHCP message")?;
            if answer.xid() != xid || answer.chaddr() != self.mac {
                continue;
            }
            match answer.opts().msg_type() {
                Some(kind) if kind == want => return Ok(Some(answer)),
                Some(MessageType::Nak) => bail!("the DHCP server refuses"),
                _ => {}
            }
        }
    }
}

fn server(message: &Message) -> Result<Ipv4Addr> {
    match message.opts().get(OptionCode::ServerIdentifier) {
        Some(DhcpOption::ServerIdentifier(server)) => Ok(*server),
        _ => bail!("the DHCP server doesn't identify itself"),
    }
}
