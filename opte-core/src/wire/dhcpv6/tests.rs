//! DHCPv6 messages: options, what nests in them, and truncation at every byte.

use super::*;
use crate::wire::testing::survives_anything;
use std::vec::Vec;

const ADDRESS: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 5);
const LEASE: Lease = Lease {
    address: ADDRESS,
    preferred_s: 0x0102_0304,
    valid_s: 0x0506_0708,
};

fn header() -> Header {
    Header {
        kind: Kind::REQUEST,
        transaction: 0x0001_0203,
    }
}

fn written(options: &[(u16, &[u8])]) -> Vec<u8> {
    let mut out = Writer::default();
    let mut writer = OptionWriter::new(&header(), 1_232, &mut out);
    for (code, data) in options {
        writer.put(*code, data);
    }
    out.into_bytes()
}

fn lease() -> Vec<u8> {
    let mut out = Writer::default();
    LEASE.emit(&mut out);
    out.into_bytes()
}

/// Reads everything in a message that can be read, and counts it.
fn read(bytes: &[u8]) -> Result<usize, Error> {
    let (_, options) = Header::parse(bytes)?;
    let mut count = 0;
    for (code, data) in options.iter() {
        count += 1;
        if let Some(ia) = Ia::parse(code, data)? {
            count += ia.addresses().count();
        }
    }
    Ok(count)
}

#[test]
fn a_message_on_the_wire() {
    let bytes = written(&[(1, &[0xaa, 0xbb]), (14, &[])]);
    assert_eq!(
        bytes,
        [3, 1, 2, 3, 0, 1, 0, 2, 0xaa, 0xbb, 0, 14, 0, 0],
        "kind, transaction, two options"
    );
    let (read, options) = Header::parse(&bytes).unwrap();
    assert_eq!(read, header());
    let options: Vec<_> = options.iter().collect();
    assert_eq!(options, [(1, &[0xaa, 0xbb][..]), (14, &[])]);
}

#[test]
fn an_ia_reads_as_it_was_written() {
    for (kind, fixed_len) in [
        (IaKind::Address, 12),
        (IaKind::Temporary, 4),
        (IaKind::Prefix, 12),
    ] {
        let mut out = Writer::default();
        emit_ia(kind, 0x0a0b_0c0d, [7, 8], &lease(), &mut out);
        let bytes = out.into_bytes();
        let (code, data, rest) = split(&bytes).unwrap();
        assert_eq!((code, rest), (kind.code(), &[][..]));
        assert_eq!(data[..4], [0x0a, 0x0b, 0x0c, 0x0d]);
        if fixed_len == 12 {
            assert_eq!(data[4..12], [0, 0, 0, 7, 0, 0, 0, 8]);
        }
        let address = &data[fixed_len..];
        assert_eq!(address[..4], [0, 5, 0, 24]);
        assert_eq!(address[4..20], ADDRESS.octets());
        assert_eq!(address[20..], [1, 2, 3, 4, 5, 6, 7, 8]);
        let ia = Ia::parse(code, data).unwrap().unwrap();
        assert_eq!((ia.kind, ia.id), (kind, 0x0a0b_0c0d));
        assert_eq!(ia.addresses().collect::<Vec<_>>(), [ADDRESS]);
        for len in 0..data.len() {
            let cut = Ia::parse(code, &data[..len]);
            assert_eq!(cut.is_ok(), len == fixed_len, "the first {len} bytes");
        }
    }
    assert_eq!(Ia::parse(code::DNS, &[]), Ok(None));
}

#[test]
fn an_address_has_options_of_its_own() {
    let mut data = lease()[4..].to_vec();
    assert_eq!(Lease::parse(&data), Ok(LEASE));
    data.extend([0, 13, 0, 2, 0, 0]);
    assert_eq!(Lease::parse(&data), Ok(LEASE));
    data.pop();
    assert_eq!(Lease::parse(&data), Err(Error::OptionLen));
    // A prefix that is to be delegated, cut and whole.
    for (len, is_whole) in [(0, false), (24, false), (25, true), (28, false)] {
        let prefix = [&[0, 26, 0, len][..], &std::vec![0; usize::from(len)]].concat();
        let data = [&[0; 12][..], &prefix].concat();
        let ia = Ia::parse(code::IA_PD, &data);
        assert_eq!(ia.is_ok(), is_whole, "{len}");
    }
}

#[test]
fn a_status_on_the_wire() {
    for status in (0..8).map(Status) {
        let mut out = Writer::default();
        status.emit(&mut out);
        let bytes = out.into_bytes();
        let (code, data, rest) = split(&bytes).unwrap();
        assert_eq!((code, rest), (code::STATUS, &[][..]));
        assert_eq!(data[..2], status.0.to_be_bytes());
        assert!(str::from_utf8(&data[2..]).is_ok());
    }
}

#[test]
fn a_duid_has_its_bounds() {
    for (len, is_good) in [(0, false), (2, false), (3, true), (130, true), (131, false)] {
        assert_eq!(check_duid(&std::vec![1; len]).is_ok(), is_good, "{len}");
    }
    let mac = MacAddr([1, 2, 3, 4, 5, 6]);
    assert_eq!(duid_of(mac), [0, 3, 0, 1, 1, 2, 3, 4, 5, 6]);
}

#[test]
fn what_does_not_fit_is_left_out() {
    let mut out = Writer::default();
    out.put(b"in front");
    let mut writer = OptionWriter::new(&header(), HEADER_LEN + 12, &mut out);
    writer.put(1, &[0; 9]);
    writer.put(2, &[0; 3]);
    writer.put(3, &[0; 2]);
    writer.put(4, &[0; 1]);
    let bytes = out.into_bytes().split_off(8);
    let (_, options) = Header::parse(&bytes).unwrap();
    let codes: Vec<_> = options.iter().map(|(code, _)| code).collect();
    assert_eq!(codes, [2, 4]);
    let mut out = Writer::default();
    emit_option(1, &std::vec![0; 65_536], &mut out);
    assert_eq!(out.len(), 0);
}

#[test]
fn malformed_messages_are_refused() {
    for kind in [Kind::RELAY_FORWARD, Kind::RELAY_REPLY] {
        assert_eq!(read(&[kind.0, 0, 0, 0]), Err(Error::Relayed));
    }
    let options = |count: usize| [&[1, 0, 0, 0][..], &[0, 7, 0, 0].repeat(count)].concat();
    assert_eq!(read(&options(DHCPV6_OPTIONS_MAX)), Ok(DHCPV6_OPTIONS_MAX));
    let more = read(&options(DHCPV6_OPTIONS_MAX + 1));
    assert_eq!(more, Err(Error::OptionLimit));
    // As many in an IA, and one more.
    let ia = |count: usize| [&[0; 12][..], &[0, 7, 0, 0].repeat(count)].concat();
    for (count, is_good) in [(DHCPV6_OPTIONS_MAX, true), (DHCPV6_OPTIONS_MAX + 1, false)] {
        assert_eq!(
            read(&written(&[(code::IA_NA, &ia(count))])).is_ok(),
            is_good
        );
    }
    // IAs in IAs, as deep as they go: what is in one isn't looked for there.
    let mut nested = Vec::new();
    for _ in 0..60 {
        let mut out = Writer::default();
        emit_ia(IaKind::Address, 1, [0; 2], &nested, &mut out);
        nested = out.into_bytes();
    }
    let bytes = [&[1, 0, 0, 0][..], &nested].concat();
    assert_eq!(read(&bytes), Ok(1));
}

#[test]
fn short_and_random_messages_are_refused() {
    let ia = [&[0; 12][..], &lease(), &lease()].concat();
    let bytes = written(&[(1, &[0; 10]), (code::IA_NA, &ia), (6, &[0, 23, 0, 24])]);
    let ends = [4, 18, 18 + 4 + ia.len(), bytes.len()];
    assert_eq!(read(&bytes), Ok(5));
    for len in 0..bytes.len() {
        let cut = read(&bytes[..len]);
        assert_eq!(cut.is_ok(), ends.contains(&len), "{len} bytes: {cut:?}");
    }
    survives_anything(&bytes, |bytes| _ = read(bytes));
    // Random bytes in the IA alone reach further.
    survives_anything(&ia, |ia| _ = read(&written(&[(code::IA_NA, ia)])));
}
