//! DHCP for IPv4 (RFC 2131): the gateway leases the guest its one address.
//!
//! The server remembers no leases (H2): the address is the port's, so what it
//! has to say follows from the message alone.
//!
//! Rules     L1  Only the guest itself is served: its MAC address, and no
//!               relay.
//!           L2  Which of the four states a REQUEST comes from shows in the
//!               fields that it fills (section 4.3.2). A request for any other
//!               address than the port's is refused with a NAK, since there is
//!               no other server here that could know better.
//!           L3  A reply has what the protocol needs, then what the client's
//!               parameter list asks for, in its order, as long as it fits in
//!               what the client takes; without a list, everything.
//!           L4  The lease is as long as is configured, or shorter where the
//!               client asks for that (section 4.3.1).
//!           L5  A client that may skip the offer gets its lease at once (RFC
//!               4039); there is no other server that it could choose.
//!           L6  An address that is declined (section 4.3.3) or given back
//!               (section 4.3.4) is still the port's, and there is no other to
//!               give. Neither message is answered; each is counted.

use super::Config;
use super::dhcp::{self, FOREVER, fixed, once};
use crate::DropReason;
use crate::api::port::Ipv4Config;
use crate::limits::{DHCP_LEASE_S_MIN, DHCP_LIST_MAX};
use crate::wire::dhcpv4::{
    CLIENT_PORT, Header, Kind, Op, OptionWriter, Options, SERVER_PORT, code,
};
use crate::wire::ip::{Datagram, Ends};
use crate::wire::{MacAddr, Writer, ipv4, name, udp};
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};

/// Why an address is refused, for people (RFC 2131 table 3).
const REFUSAL: &[u8] = b"not the address of this port";
/// Bytes of IP packet that every client takes (RFC 2131 section 2).
const PACKET_LEN_MIN: u16 = 576;

/// What a client that has no parameter list is told. Routes come first: who
/// knows them has to ignore the router (RFC 3442).
const EVERYTHING: &[u8] = &[
    code::ROUTES,
    code::ROUTER,
    code::DNS,
    code::HOST_NAME,
    code::DOMAIN,
    code::MTU,
    code::NTP,
    code::SEARCH,
];

/// Answers a client's message.
pub(super) fn answer(config: &Config, datagram: &Datagram<'_>) -> Result<Vec<u8>, DropReason> {
    let data = dhcp::received(datagram)?;
    let ipv4 = config.ipv4.ok_or(DropReason::FamilyOff)?;
    let request = Request::parse(data)?;
    let fixed = &request.header;
    // L1.
    if fixed.op != Op::Request || fixed.mac != config.mac || !fixed.relay.is_unspecified() {
        return Err(DropReason::DhcpNotAnswered);
    }
    check_source(config, datagram.ends.source(), &request)?;
    let reply = Reply::to(&request, &ipv4)?;
    Ok(reply.send(config, &ipv4, &request))
}

/// A client sends from no address, from its own, or, when it wants to keep one
/// that it hasn't any more, from that. The last must be heard to be refused.
fn check_source(config: &Config, source: IpAddr, request: &Request<'_>) -> Result<(), DropReason> {
    let keeps = request.kind == Kind::REQUEST
        && source == IpAddr::V4(request.header.client)
        && super::is_unicast(source)
        && !config.has_gateway(source);
    if source.is_unspecified() || keeps || config.may_send_from(source) {
        Ok(())
    } else {
        Err(DropReason::SpoofedIp)
    }
}

/// A client's message.
struct Request<'p> {
    header: Header,
    options: Options<'p>,
    kind: Kind,
    /// The address that it asks for.
    requested: Option<Ipv4Addr>,
    /// The server that it means.
    server: Option<Ipv4Addr>,
    /// What it calls itself.
    client: Option<&'p [u8]>,
    /// Seconds of lease that it asks for.
    lease_s: Option<u32>,
    /// Bytes of IP packet that it takes.
    packet_len_max: u16,
    /// Whether it takes a lease without an offer.
    is_rapid: bool,
    /// Whether there is a parameter list.
    has_list: bool,
}

impl<'p> Request<'p> {
    fn parse(bytes: &'p [u8]) -> Result<Self, DropReason> {
        let (header, options) = Header::parse(bytes)?;
        let mut kind = None;
        let mut request = Self {
            header,
            options,
            kind: Kind(0),
            requested: None,
            server: None,
            client: None,
            lease_s: None,
            packet_len_max: PACKET_LEN_MIN,
            is_rapid: false,
            has_list: false,
        };
        for (code, data) in options.iter() {
            match code {
                code::KIND => once(&mut kind, Kind(u8::from_be_bytes(fixed(data)?)))?,
                code::REQUESTED => once(&mut request.requested, address(data)?)?,
                code::SERVER => once(&mut request.server, address(data)?)?,
                // RFC 2132 section 9.14 wants a type and something behind it.
                code::CLIENT if data.len() >= 2 => once(&mut request.client, data)?,
                code::CLIENT => return Err(DropReason::BadDhcp),
                code::MESSAGE_LEN_MAX => {
                    request.packet_len_max = u16::from_be_bytes(fixed(data)?).max(PACKET_LEN_MIN);
                }
                code::LEASE => once(&mut request.lease_s, u32::from_be_bytes(fixed(data)?))?,
                code::RAPID_COMMIT => {
                    let [] = fixed(data)?;
                    request.is_rapid = true;
                }
                code::PARAMETERS => request.has_list = true,
                _ => {}
            }
        }
        // Without a kind this is BOOTP, which knows of no leases.
        request.kind = kind.ok_or(DropReason::DhcpNotAnswered)?;
        Ok(request)
    }

    /// The codes that the client asks for, in its order.
    fn wanted(&self) -> impl Iterator<Item = u8> {
        let everything = if self.has_list { &[] } else { EVERYTHING };
        self.options
            .iter()
            .filter(|(code, _)| *code == code::PARAMETERS)
            .flat_map(|(_, list)| list)
            .chain(everything)
            .copied()
    }
}

fn address(data: &[u8]) -> Result<Ipv4Addr, DropReason> {
    fixed(data).map(Ipv4Addr::from_octets)
}

/// What the client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reply {
    /// The address can be had.
    Offer,
    /// The address is the client's.
    Lease,
    /// The client has an address; it is told the rest.
    Inform,
    /// The address isn't the client's.
    Refuse,
}

impl Reply {
    fn to(request: &Request<'_>, ipv4: &Ipv4Config) -> Result<Self, DropReason> {
        let lease = |address| {
            if address == ipv4.address {
                Self::Lease
            } else {
                Self::Refuse
            }
        };
        let client = request.header.client;
        let has_client = !client.is_unspecified();
        let is_other_server = request.server.is_some_and(|server| server != ipv4.gateway);
        match request.kind {
            Kind::DISCOVER if request.is_rapid => Ok(Self::Lease),
            Kind::DISCOVER => Ok(Self::Offer),
            Kind::INFORM if has_client => Ok(Self::Inform),
            // L2: selecting, init-reboot, renewing or rebinding.
            Kind::REQUEST if is_other_server => Err(DropReason::DhcpNotAnswered),
            Kind::REQUEST => match request.requested {
                Some(address) => Ok(lease(address)),
                None if has_client => Ok(lease(client)),
                None => Err(DropReason::BadDhcp),
            },
            Kind::INFORM => Err(DropReason::BadDhcp),
            // L6.
            Kind::DECLINE if is_other_server => Err(DropReason::DhcpNotAnswered),
            Kind::DECLINE if request.requested == Some(ipv4.address) => {
                Err(DropReason::DhcpDeclined)
            }
            Kind::RELEASE if is_other_server => Err(DropReason::DhcpNotAnswered),
            Kind::RELEASE if client == ipv4.address => Err(DropReason::DhcpReleased),
            // The rest are for clients, unknown, or of addresses that were
            // never given.
            _ => Err(DropReason::DhcpNotAnswered),
        }
    }

    const fn kind(self) -> Kind {
        match self {
            Self::Offer => Kind::OFFER,
            Self::Lease | Self::Inform => Kind::ACK,
            Self::Refuse => Kind::NAK,
        }
    }

    /// The whole frame.
    fn send(self, config: &Config, ipv4: &Ipv4Config, request: &Request<'_>) -> Vec<u8> {
        let mut data = Writer::default();
        self.emit(config, ipv4, request, &mut data);
        let (destination, mac) = self.destination(config, ipv4, &request.header);
        let ends = Ends::V4 {
            source: ipv4.gateway,
            destination,
        };
        let ports = [SERVER_PORT, CLIENT_PORT];
        dhcp::send(config, mac, ends, ports, data.bytes())
    }

    /// Where a reply goes (RFC 2131 section 4.1).
    fn destination(
        self,
        config: &Config,
        ipv4: &Ipv4Config,
        request: &Header,
    ) -> (Ipv4Addr, MacAddr) {
        if self == Self::Refuse {
            (Ipv4Addr::BROADCAST, MacAddr::BROADCAST)
        } else if !request.client.is_unspecified() {
            (request.client, config.mac)
        } else if request.broadcast {
            (Ipv4Addr::BROADCAST, MacAddr::BROADCAST)
        } else {
            (ipv4.address, config.mac)
        }
    }

    /// Writes the message (RFC 2131 table 3).
    fn emit(self, config: &Config, ipv4: &Ipv4Config, request: &Request<'_>, out: &mut Writer) {
        let has_lease = matches!(self, Self::Offer | Self::Lease);
        let is_ack = matches!(self, Self::Lease | Self::Inform);
        let none = Ipv4Addr::UNSPECIFIED;
        let header = Header {
            op: Op::Reply,
            transaction: request.header.transaction,
            secs: 0,
            broadcast: request.header.broadcast,
            client: if is_ack { request.header.client } else { none },
            your: if has_lease { ipv4.address } else { none },
            next_server: none,
            relay: none,
            mac: request.header.mac,
        };
        let packet_len = request.packet_len_max.min(config.mtu.max(PACKET_LEN_MIN));
        let headers = ipv4::HEADER_LEN.saturating_add(udp::HEADER_LEN);
        let len_max = usize::from(packet_len).saturating_sub(headers);
        let mut options = OptionWriter::new(&header, len_max, out);
        options.put(code::KIND, &[self.kind().0]);
        options.put(code::SERVER, &ipv4.gateway.octets());
        if has_lease {
            let lease_s = lease_s(config, request);
            let [renew_s, rebind_s] = times(lease_s);
            options.put(code::LEASE, &lease_s.to_be_bytes());
            options.put(code::RENEW, &renew_s.to_be_bytes());
            options.put(code::REBIND, &rebind_s.to_be_bytes());
        }
        if let Some(client) = request.client {
            // RFC 6842.
            options.put(code::CLIENT, client);
        }
        if self == Self::Lease && request.kind == Kind::DISCOVER {
            // L5.
            options.put(code::RAPID_COMMIT, &[]);
        }
        if self == Self::Refuse {
            options.put(code::TEXT, REFUSAL);
        }
        if self != Self::Refuse {
            // Before the router (RFC 2132 section 3.3), asked for or not: the
            // class of the address would be a wrong guess.
            options.put(code::SUBNET_MASK, &Ipv4Addr::BROADCAST.octets());
            put_wanted(config, ipv4, request, &mut options);
        }
        options.finish();
    }
}

/// Seconds of the lease (L4).
fn lease_s(config: &Config, request: &Request<'_>) -> u32 {
    let lease_s = dhcp::lease_s(config);
    match request.lease_s {
        Some(wish_s) => lease_s.min(wish_s.max(DHCP_LEASE_S_MIN)),
        None => lease_s,
    }
}

/// Seconds until the client renews and until it asks any server: a half and
/// seven eighths of the lease (RFC 2131 section 4.4.5).
fn times(lease_s: u32) -> [u32; 2] {
    match lease_s {
        FOREVER => [FOREVER; 2],
        _ => [lease_s / 2, lease_s.saturating_sub(lease_s / 8)],
    }
}

/// Appends what the client asks for, each option once (L3).
fn put_wanted(
    config: &Config,
    ipv4: &Ipv4Config,
    request: &Request<'_>,
    options: &mut OptionWriter<'_>,
) {
    let mut is_done = [false; 256];
    for code in request.wanted() {
        let Some(is_done) = is_done.get_mut(usize::from(code)) else {
            continue;
        };
        if !core::mem::replace(is_done, true) {
            let mut data = Writer::default();
            put_data(config, ipv4, code, &mut data);
            if data.len() > 0 {
                options.put(code, data.bytes());
            }
        }
    }
}

/// Appends an option's data, if the gateway has any.
fn put_data(config: &Config, ipv4: &Ipv4Config, code: u8, data: &mut Writer) {
    let dhcp = &config.dhcp;
    let text = |text: &Option<alloc::string::String>, data: &mut Writer| {
        if let Some(text) = text.as_ref().filter(|text| name::is_valid(text)) {
            data.put(name::bare(text).as_bytes());
        }
    };
    let addresses = |list: &[Ipv4Addr], data: &mut Writer| {
        let list = list.iter().take(DHCP_LIST_MAX);
        list.for_each(|address| data.put(&address.octets()));
    };
    match code {
        code::ROUTER => data.put(&ipv4.gateway.octets()),
        code::ROUTES => put_routes(ipv4.gateway, data),
        code::DNS => addresses(&dhcp.dns4, data),
        code::NTP => addresses(&dhcp.ntp4, data),
        code::HOST_NAME => text(&dhcp.hostname, data),
        code::DOMAIN => text(&dhcp.domain, data),
        code::MTU => data.put_u16(config.mtu),
        code::SEARCH => {
            let search = dhcp.search.iter().take(DHCP_LIST_MAX);
            name::emit_compressed(search.map(|name| name.as_str()), data);
        }
        _ => {}
    }
}

/// Appends two routes: the gateway is on the link, everything else behind it
/// (RFC 3442). Without the first, the second leads nowhere from a /32.
fn put_routes(gateway: Ipv4Addr, data: &mut Writer) {
    data.put_u8(32);
    data.put(&gateway.octets());
    data.put(&Ipv4Addr::UNSPECIFIED.octets());
    data.put_u8(0);
    data.put(&gateway.octets());
}

#[cfg(test)]
mod tests;
