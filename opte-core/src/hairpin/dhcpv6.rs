//! DHCP for IPv6 (RFC 8415): the gateway leases the guest its one address.
//!
//! Like its sister for IPv4 the server remembers nothing (H2): the address is
//! the port's, so what there is to say follows from the message alone.
//!
//! Terms     IA      identity association: the client's box for addresses
//!           owner   the IA that the port's address goes in: the first that
//!                   names it, or else the first for addresses at all
//!
//! Rules     S1  A message has the identifiers that section 16 demands of its
//!               kind, and no others. Our own is made of the gateway's MAC
//!               address, so it stays the same wherever the port is.
//!           S2  Clients send to the group (sections 16 and 18.4). What may
//!               come by unicast elsewhere is answered "use multicast", since
//!               no server unicast option is ever given; the rest is dropped.
//!           S3  The owner gets the address. Any other IA is told that there is
//!               nothing for it; prefixes aren't delegated.
//!           S4  An address that isn't the port's is refused: "not on link" for
//!               a request (18.3.2) and a confirmation (18.3.3), lifetimes of
//!               zero beside the right address when it is to be kept (18.3.4,
//!               18.3.5), "no binding" when it is given back (18.3.7, 18.3.8).
//!           S5  A reply has what the protocol needs, then what the client's
//!               parameter list asks for, as long as it fits in a packet of the
//!               port's MTU; without a list, everything. A full name is told
//!               only to those who ask for it (RFC 4704 section 6).

use super::dhcp::{self, FOREVER, fixed, once};
use super::{Answer, Config};
use crate::DropReason;
use crate::api::port::Ipv6Config;
use crate::limits::{DHCP_LIST_MAX, DHCPV6_ADDRESSES_MAX};
use crate::wire::dhcpv6::{
    self, CLIENT_PORT, Header, Ia, IaKind, Kind, Lease, OptionWriter, Options, SERVER_PORT, Status,
    code,
};
use crate::wire::ip::{Datagram, Ends};
use crate::wire::{Writer, ipv6, name, udp};
use core::net::{IpAddr, Ipv6Addr};

/// The preference that ends a client's search at once: there is no other
/// server (section 18.2.1).
const PREFERENCE: u8 = 255;
/// Least seconds between two requests for information (IRT_MINIMUM, section
/// 7.6).
const REFRESH_S_MIN: u32 = 600;
/// What is given to those who ask for it, and to those without a list.
const EVERYTHING: [u16; 5] = [
    code::DNS,
    code::SEARCH,
    code::NTP,
    code::SNTP,
    code::REFRESH,
];

/// Answers a client's message.
pub(super) fn answer(config: &Config, datagram: &Datagram<'_>) -> Result<Answer, DropReason> {
    let data = dhcp::received(datagram)?;
    let ipv6 = config.ipv6.ok_or(DropReason::FamilyOff)?;
    config.check_source(&datagram.ends)?;
    let Ends::V6 {
        source,
        destination,
    } = datagram.ends
    else {
        return Err(DropReason::BadDhcp);
    };
    let request = Request::parse(data)?;
    let session = Session {
        config,
        ipv6,
        request: &request,
        duid: dhcpv6::duid_of(config.gateway_mac),
    };
    session.check(destination)?;
    let data = session.reply(destination)?;
    let from = if destination.is_multicast() {
        config.gateway_mac.link_local()
    } else {
        destination
    };
    let ends = Ends::V6 {
        source: from,
        destination: source,
    };
    let ports = [SERVER_PORT, CLIENT_PORT];
    Ok(Answer {
        frame: dhcp::send(config, config.mac, ends, ports, data.bytes()),
        declined: session.declined(destination).map(IpAddr::V6),
    })
}

/// A client's message.
struct Request<'p> {
    header: Header,
    options: Options<'p>,
    /// What it calls itself.
    client: Option<&'p [u8]>,
    /// The server that it means.
    server: Option<&'p [u8]>,
    /// Codes that it asks for, two bytes each.
    parameters: Option<&'p [u8]>,
    /// Flags and the name that it gives itself.
    fqdn: Option<&'p [u8]>,
    is_rapid: bool,
}

impl<'p> Request<'p> {
    fn parse(bytes: &'p [u8]) -> Result<Self, DropReason> {
        let (header, options) = Header::parse(bytes)?;
        let mut request = Self {
            header,
            options,
            client: None,
            server: None,
            parameters: None,
            fqdn: None,
            is_rapid: false,
        };
        for (code, data) in options.iter() {
            match code {
                code::CLIENT => once(&mut request.client, dhcpv6::check_duid(data)?)?,
                code::SERVER => once(&mut request.server, dhcpv6::check_duid(data)?)?,
                code::PARAMETERS if data.len() % 2 == 0 => once(&mut request.parameters, data)?,
                code::PARAMETERS => return Err(DropReason::BadDhcp),
                code::RAPID_COMMIT => {
                    let [] = fixed(data)?;
                    request.is_rapid = true;
                }
                code::FQDN => {
                    let is_name = matches!(data, [_, name @ ..] if name::is_wire(name));
                    let name = is_name.then_some(data).ok_or(DropReason::BadDhcp)?;
                    once(&mut request.fqdn, name)?;
                }
                // Nothing, when it is another option.
                _ => _ = Ia::parse(code, data)?,
            }
        }
        Ok(request)
    }

    /// Every IA, in the client's order.
    fn ias(&self) -> impl Iterator<Item = Ia<'p>> + use<'p> {
        let options = self.options.iter();
        // Parsing has seen to the errors.
        options.filter_map(|(code, data)| Ia::parse(code, data).ok()?)
    }

    /// Whether the client's list has `code`, if there is a list.
    fn lists(&self, code: u16) -> Option<bool> {
        let (pairs, _) = self.parameters?.as_chunks();
        Some(pairs.iter().any(|pair| u16::from_be_bytes(*pair) == code))
    }

    /// Whether the client has something, or wants to, rather than to know what
    /// there is.
    fn keeps(&self) -> bool {
        matches!(self.header.kind, Kind::RENEW | Kind::REBIND)
    }
}

/// A message, and who it came to.
struct Session<'a> {
    config: &'a Config,
    ipv6: Ipv6Config,
    request: &'a Request<'a>,
    /// Our own.
    duid: [u8; 10],
}

impl Session<'_> {
    /// Checks what sections 16.2 to 16.12 demand (S1), and S2.
    fn check(&self, destination: Ipv6Addr) -> Result<(), DropReason> {
        let request = self.request;
        let is_to_group = destination.is_multicast();
        let demand = |is_met: bool| {
            if is_met {
                Ok(())
            } else {
                Err(DropReason::BadDhcp)
            }
        };
        match request.header.kind {
            Kind::SOLICIT | Kind::CONFIRM | Kind::REBIND => {
                demand(request.client.is_some() && request.server.is_none())?;
                return is_to_group.then_some(()).ok_or(DropReason::DhcpNotAnswered);
            }
            Kind::REQUEST | Kind::RENEW | Kind::RELEASE | Kind::DECLINE => {
                demand(request.client.is_some() && request.server.is_some())?;
            }
            Kind::INFORMATION_REQUEST => {
                demand(request.ias().next().is_none())?;
                if !is_to_group {
                    return Err(DropReason::DhcpNotAnswered);
                }
            }
            // The rest are servers', or unknown.
            _ => return Err(DropReason::DhcpNotAnswered),
        }
        // Another server's business.
        match request.server {
            Some(server) if server != self.duid => Err(DropReason::DhcpNotAnswered),
            _ => Ok(()),
        }
    }

    /// The message that answers the client's.
    fn reply(&self, destination: Ipv6Addr) -> Result<Writer, DropReason> {
        let request = self.request;
        let has_box = || request.ias().any(|ia| ia.kind == IaKind::Address);
        let is_rapid = request.is_rapid && has_box();
        let kind = match request.header.kind {
            Kind::SOLICIT if !is_rapid => Kind::ADVERTISE,
            _ => Kind::REPLY,
        };
        let header = Header {
            kind,
            ..request.header
        };
        let headers = ipv6::HEADER_LEN.saturating_add(udp::HEADER_LEN);
        let len_max = usize::from(self.config.mtu).saturating_sub(headers);
        let mut data = Writer::default();
        let mut out = OptionWriter::new(&header, len_max, &mut data);
        out.put(code::SERVER, &self.duid);
        if let Some(client) = request.client {
            out.put(code::CLIENT, client);
        }
        if !destination.is_multicast() {
            put_status(Status::USE_MULTICAST, &mut out);
            return Ok(data);
        }
        match request.header.kind {
            Kind::CONFIRM => put_status(self.confirm()?, &mut out),
            Kind::RELEASE | Kind::DECLINE => self.put_given_back(&mut out),
            Kind::INFORMATION_REQUEST => self.put_wanted(&mut out),
            asked => {
                if asked == Kind::SOLICIT && is_rapid {
                    out.put(code::RAPID_COMMIT, &[]);
                } else if asked == Kind::SOLICIT {
                    out.put(code::PREFERENCE, &[PREFERENCE]);
                }
                self.put_leases(&mut out);
                self.put_wanted(&mut out);
            }
        }
        Ok(data)
    }

    /// Whether all addresses are of this link (section 18.3.3). A client that
    /// names none gets no answer.
    fn confirm(&self) -> Result<Status, DropReason> {
        let ias = self.request.ias();
        let mut addresses = ias.flat_map(|ia| ia.addresses()).peekable();
        if addresses.peek().is_none() {
            Err(DropReason::DhcpNotAnswered)
        } else if addresses.all(|address| self.is_ours(address)) {
            Ok(Status::SUCCESS)
        } else {
            Ok(Status::NOT_ON_LINK)
        }
    }

    /// Appends the answer to what the client gives back: all is well, but for
    /// boxes that the address isn't in (sections 18.3.7 and 18.3.8). The
    /// address stays the port's all the same.
    fn put_given_back(&self, out: &mut OptionWriter<'_>) {
        put_status(Status::SUCCESS, out);
        for ia in self.request.ias().filter(|ia| !self.has_ours(ia)) {
            put_refused(&ia, Status::NO_BINDING, out);
        }
    }

    /// The port's address, if the client has found it in use elsewhere.
    fn declined(&self, destination: Ipv6Addr) -> Option<Ipv6Addr> {
        let is_heard = destination.is_multicast();
        let declines = is_heard && self.request.header.kind == Kind::DECLINE;
        let names_it = || self.request.ias().any(|ia| self.has_ours(&ia));
        (declines && names_it()).then_some(self.ipv6.address)
    }

    /// Appends an answer for every IA (S3, S4).
    fn put_leases(&self, out: &mut OptionWriter<'_>) {
        let boxes = || self.request.ias().filter(|ia| ia.kind == IaKind::Address);
        let named = boxes().position(|ia| self.has_ours(&ia)).unwrap_or(0);
        let mut count = 0_usize;
        for ia in self.request.ias() {
            let is_box = ia.kind == IaKind::Address;
            if is_box && count == named {
                self.put_granted(&ia, out);
            } else {
                put_refused(&ia, self.refusal(&ia), out);
            }
            count = count.saturating_add(usize::from(is_box));
        }
    }

    /// Why an IA that isn't the owner gets nothing.
    fn refusal(&self, ia: &Ia<'_>) -> Status {
        let has_some = ia.kind == IaKind::Prefix || ia.addresses().next().is_some();
        if self.request.keeps() && has_some {
            Status::NO_BINDING
        } else if ia.kind == IaKind::Prefix {
            Status::NO_PREFIXES
        } else {
            Status::NO_ADDRESSES
        }
    }

    /// Appends the owner, with the port's address in it.
    fn put_granted(&self, ia: &Ia<'_>, out: &mut OptionWriter<'_>) {
        let wrong = || ia.addresses().filter(|address| !self.is_ours(*address));
        if self.request.header.kind == Kind::REQUEST && wrong().next().is_some() {
            put_refused(ia, Status::NOT_ON_LINK, out);
            return;
        }
        let lease_s = dhcp::lease_s(self.config);
        let mut leases = Writer::default();
        Lease {
            address: self.ipv6.address,
            preferred_s: lease_s,
            valid_s: lease_s,
        }
        .emit(&mut leases);
        if self.request.keeps() {
            for address in wrong().take(DHCPV6_ADDRESSES_MAX) {
                Lease {
                    address,
                    preferred_s: 0,
                    valid_s: 0,
                }
                .emit(&mut leases);
            }
        }
        let mut option = Writer::default();
        dhcpv6::emit_ia(ia.kind, ia.id, times(lease_s), leases.bytes(), &mut option);
        out.put_whole(&option);
    }

    /// Appends what the client asks for (S5).
    fn put_wanted(&self, out: &mut OptionWriter<'_>) {
        for code in EVERYTHING {
            if self.request.lists(code).unwrap_or(true) {
                self.put_information(code, out);
            }
        }
        let asks_name = self.request.lists(code::FQDN) == Some(true);
        if asks_name || self.request.fqdn.is_some() {
            self.put_name(out);
        }
    }

    /// Appends the options that `code` stands for, if there is anything to say.
    fn put_information(&self, code: u16, out: &mut OptionWriter<'_>) {
        let dhcp = &self.config.dhcp;
        let mut data = Writer::default();
        match code {
            code::DNS => put_addresses(&dhcp.dns6, &mut data),
            code::SNTP => put_addresses(&dhcp.ntp6, &mut data),
            code::SEARCH => {
                let search = dhcp.search.iter().take(DHCP_LIST_MAX);
                name::emit(search.map(|name| name.as_str()), &mut data);
            }
            // One server an option, as a suboption (RFC 5908 section 4).
            code::NTP => {
                for server in dhcp.ntp6.iter().take(DHCP_LIST_MAX) {
                    let mut option = Writer::default();
                    dhcpv6::emit_option(NTP_ADDRESS, &server.octets(), &mut option);
                    out.put(code::NTP, option.bytes());
                }
            }
            // For those who have no lease to renew (section 21.23).
            code::REFRESH if self.request.header.kind == Kind::INFORMATION_REQUEST => {
                data.put_u32(dhcp::lease_s(self.config).max(REFRESH_S_MIN));
            }
            _ => {}
        }
        if data.len() > 0 {
            out.put(code, data.bytes());
        }
    }

    /// Appends the client's full name: the configured one, or else its own
    /// idea. The server changes no DNS (RFC 4704 sections 4.1 and 6).
    fn put_name(&self, out: &mut OptionWriter<'_>) {
        let (flags, own) = match self.request.fqdn {
            Some([flags, own @ ..]) => (*flags, own),
            _ => (0, &[][..]),
        };
        let overrides = if flags & fqdn::SERVER != 0 {
            fqdn::OVERRIDE
        } else {
            0
        };
        let dhcp = &self.config.dhcp;
        let mut data = Writer::default();
        data.put_u8(fqdn::NO_UPDATE | overrides);
        match (&dhcp.hostname, &dhcp.domain) {
            (Some(host), Some(domain)) => name::emit_in(host, domain, &mut data),
            (Some(host), None) if name::is_valid(host) => name::emit_part(host, &mut data),
            _ => data.put(own),
        }
        if data.len() > 1 {
            out.put(code::FQDN, data.bytes());
        }
    }

    fn is_ours(&self, address: Ipv6Addr) -> bool {
        address == self.ipv6.address
    }

    fn has_ours(&self, ia: &Ia<'_>) -> bool {
        ia.kind == IaKind::Address && ia.addresses().any(|address| self.is_ours(address))
    }
}

/// The suboption of an NTP server's address (RFC 5908 section 4.1).
const NTP_ADDRESS: u16 = 1;

/// Flags of the full name (RFC 4704 section 4.1).
mod fqdn {
    /// The server is to change the forward entry.
    pub(super) const SERVER: u8 = 1;
    /// It is otherwise than the client wants it.
    pub(super) const OVERRIDE: u8 = 2;
    /// The server changes nothing.
    pub(super) const NO_UPDATE: u8 = 4;
}

/// Seconds until the client renews and until it asks any server: a half and
/// four fifths of the lifetime (section 21.4).
fn times(lease_s: u32) -> [u32; 2] {
    match lease_s {
        FOREVER => [FOREVER; 2],
        _ => [lease_s / 2, lease_s.saturating_sub(lease_s.div_ceil(5))],
    }
}

fn put_addresses(list: &[Ipv6Addr], data: &mut Writer) {
    let list = list.iter().take(DHCP_LIST_MAX);
    list.for_each(|address| data.put(&address.octets()));
}

fn put_status(status: Status, out: &mut OptionWriter<'_>) {
    let mut option = Writer::default();
    status.emit(&mut option);
    out.put_whole(&option);
}

/// Appends an IA with nothing in it but the reason.
fn put_refused(ia: &Ia<'_>, status: Status, out: &mut OptionWriter<'_>) {
    let (mut reason, mut option) = (Writer::default(), Writer::default());
    status.emit(&mut reason);
    dhcpv6::emit_ia(ia.kind, ia.id, [0; 2], reason.bytes(), &mut option);
    out.put_whole(&option);
}

#[cfg(test)]
mod tests;
