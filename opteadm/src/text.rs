//! Text forms that only the command line has: several fields in one word.

use opte_core::api::{
    Floating, GatewayId, LinkSpec, PortOptions, PortRange, Prefix, Snat, TransitPrefix,
    UnderlayRoute,
};
use opte_core::flow::Proto;
use std::fmt::Display;
use std::net::IpAddr;

/// `ADDRESS,FIRST-LAST`
pub(crate) fn snat(text: &str) -> Result<Snat, String> {
    const WHY: &str = "a shared address is ADDRESS,FIRST-LAST, as 192.0.2.1,1024-2047";
    let (address, range) = text.split_once(',').ok_or(WHY)?;
    let range: PortRange = range.parse()?;
    Ok(Snat {
        address: address.parse().map_err(|_| WHY)?,
        first_port: range.first,
        last_port: range.last,
    })
}

/// What [`snat`] reads.
pub(crate) fn snat_text(snat: &Snat) -> String {
    let Snat {
        address,
        first_port,
        last_port,
    } = snat;
    format!("{address},{first_port}-{last_port}")
}

/// `ADDRESS` or `ADDRESS,GATEWAY`
pub(crate) fn floating(text: &str) -> Result<Floating, String> {
    const WHY: &str = "a floating address is ADDRESS or ADDRESS,UUID";
    let (address, gateway) = match text.split_once(',') {
        Some((address, gateway)) => (address, Some(gateway.parse::<GatewayId>()?)),
        None => (text, None),
    };
    let address = address.parse().map_err(|_| WHY)?;
    Ok(Floating { address, gateway })
}

/// What [`floating`] reads.
pub(crate) fn floating_text(floating: &Floating) -> String {
    match floating.gateway {
        Some(gateway) => format!("{},{gateway}", floating.address),
        None => floating.address.to_string(),
    }
}

/// `PREFIX`, `PREFIX,in` or `PREFIX,out`
pub(crate) fn transit(text: &str) -> Result<TransitPrefix, String> {
    let (prefix, way) = text.split_once(',').unwrap_or((text, "both"));
    let prefix: Prefix = prefix.parse()?;
    let (inbound, outbound) = match way {
        "both" => (true, true),
        "in" => (true, false),
        "out" => (false, true),
        _ => return Err("a transit prefix is PREFIX, PREFIX,in or PREFIX,out".into()),
    };
    Ok(TransitPrefix {
        prefix,
        inbound,
        outbound,
    })
}

/// What [`transit`] reads.
pub(crate) fn transit_text(transit: &TransitPrefix) -> String {
    match (transit.inbound, transit.outbound) {
        (true, true) => transit.prefix.to_string(),
        (true, false) => format!("{},in", transit.prefix),
        (false, true) => format!("{},out", transit.prefix),
        (false, false) => format!("{},none", transit.prefix),
    }
}

/// `LINK` or `LINK,MTU`
pub(crate) fn link(text: &str) -> Result<LinkSpec, String> {
    let (name, mtu) = text.split_once(',').unwrap_or((text, "9000"));
    let mtu = mtu
        .parse()
        .map_err(|_| "a link is NAME or NAME,MTU, as eth1,9000")?;
    Ok(LinkSpec {
        name: name.into(),
        mtu,
    })
}

/// `DEST,LINK` or `DEST,LINK,VIA`
pub(crate) fn underlay_route(text: &str) -> Result<UnderlayRoute, String> {
    const WHY: &str = "an underlay route is DEST,LINK or DEST,LINK,VIA";
    let mut words = text.split(',');
    let dest: Prefix = words.next().ok_or(WHY)?.parse()?;
    let link = words.next().ok_or(WHY)?.into();
    let via = match words.next() {
        Some(via) => Some(via.parse().map_err(|_| WHY)?),
        None => None,
    };
    match words.next() {
        None => Ok(UnderlayRoute { dest, via, link }),
        Some(_) => Err(WHY.into()),
    }
}

/// `NAME=NUMBER` settings, as the setup file names them.
pub(crate) fn port_options(settings: &[String]) -> Result<PortOptions, String> {
    let file = settings.join("\n");
    toml::from_str(&file).map_err(|error| format!("--option: {}", error.message()))
}

/// An address with a port, or what there is instead of one; IPv6 in brackets.
/// Without it for a protocol that has none.
pub(crate) fn end(proto: Proto, address: IpAddr, port: impl Display) -> String {
    if !(proto.has_ports() || proto.is_icmp()) {
        return address.to_string();
    }
    match address {
        IpAddr::V4(v4) => format!("{v4}:{port}"),
        IpAddr::V6(v6) => format!("[{v6}]:{port}"),
    }
}

/// Type and code of an ICMP message, as firewall rules have them.
pub(crate) fn icmp_kind(kind_code: u16) -> String {
    let [kind, code] = kind_code.to_be_bytes();
    format!("{kind}/{code}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_has_a_port_if_there_is_one() {
        let (v4, v6) = ("192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap());
        assert_eq!(end(Proto::TCP, v6, 22), "[2001:db8::1]:22");
        assert_eq!(end(Proto::ICMP, v4, icmp_kind(0x0301)), "192.0.2.1:3/1");
        assert_eq!(end(Proto(47), v4, 0), "192.0.2.1");
    }

    #[test]
    fn what_is_printed_can_be_read() {
        for text in ["192.0.2.1,1024-2047", "2001:db8::1,0-65535"] {
            assert_eq!(snat_text(&snat(text).unwrap()), text);
        }
        for text in [
            "192.0.2.1",
            "2001:db8::1,01234567-89ab-cdef-0123-456789abcdef",
        ] {
            assert_eq!(floating_text(&floating(text).unwrap()), text);
        }
        for text in ["10.0.0.0/8", "10.0.0.0/8,in", "fd00::/16,out"] {
            assert_eq!(transit_text(&transit(text).unwrap()), text);
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_the_form_that_does() {
        for (error, form) in [
            (snat("192.0.2.1").unwrap_err(), "FIRST-LAST"),
            (snat("x,1-2").unwrap_err(), "ADDRESS"),
            (snat("192.0.2.1,2-1").unwrap_err(), "FIRST-LAST"),
            (floating("192.0.2.1,7").unwrap_err(), "UUID"),
            (transit("10.0.0.0/8,up").unwrap_err(), "PREFIX,in"),
            (link("eth0,big").unwrap_err(), "NAME,MTU"),
            (underlay_route("fd00::/64").unwrap_err(), "DEST,LINK"),
            (underlay_route("fd00::/64,a,::1,b").unwrap_err(), "VIA"),
            (port_options(&["colour=1".into()]).unwrap_err(), "udp_s"),
            (
                port_options(&["udp_s=often".into()]).unwrap_err(),
                "--option",
            ),
        ] {
            assert!(error.contains(form), "{error}");
        }
    }

    #[test]
    fn options_that_are_not_named_keep_their_defaults() {
        let options = port_options(&["udp_s=60".into(), "tcp_mid_stream=false".into()]).unwrap();
        let expected = PortOptions {
            udp_s: 60,
            tcp_mid_stream: false,
            ..PortOptions::default()
        };
        assert_eq!(options, expected);
    }
}
