//! DHCPv4 messages: options, overload, and truncation at every byte.

use super::*;
use crate::wire::testing::{refuses_truncation, survives_anything};
use std::vec::Vec;

fn header() -> Header {
    Header {
        op: Op::Request,
        transaction: 0x0102_0304,
        secs: 0x0506,
        broadcast: true,
        client: Ipv4Addr::new(10, 0, 0, 1),
        your: Ipv4Addr::new(10, 0, 0, 2),
        next_server: Ipv4Addr::new(10, 0, 0, 3),
        relay: Ipv4Addr::new(10, 0, 0, 4),
        mac: MacAddr([1, 2, 3, 4, 5, 6]),
    }
}

fn written(header: &Header, options: &[(u8, &[u8])]) -> Vec<u8> {
    let mut out = Writer::default();
    let mut writer = OptionWriter::new(header, 1_472, &mut out);
    for (code, data) in options {
        assert!(writer.put(*code, data));
    }
    writer.finish();
    out.into_bytes()
}

fn read(bytes: &[u8]) -> Result<Vec<(u8, Vec<u8>)>, Error> {
    let (_, options) = Header::parse(bytes)?;
    Ok(options.iter().map(|(c, data)| (c, data.to_vec())).collect())
}

/// A message whose options field is `options` as it is.
fn with_options(options: &[u8]) -> Vec<u8> {
    let mut out = Writer::default();
    header().emit(&mut out);
    out.put(options);
    out.into_bytes()
}

#[test]
fn a_message_on_the_wire() {
    let bytes = written(&header(), &[(53, &[1]), (12, b"ab")]);
    assert_eq!(bytes.len(), MESSAGE_LEN_MIN);
    assert_eq!(
        bytes[..34],
        [
            1, 1, 6, 0, 1, 2, 3, 4, 5, 6, 0x80, 0, 10, 0, 0, 1, 10, 0, 0, 2, 10, 0, 0, 3, 10, 0, 0,
            4, 1, 2, 3, 4, 5, 6
        ]
    );
    assert!(bytes[34..236].iter().all(|byte| *byte == 0));
    assert_eq!(
        bytes[236..248],
        [99, 130, 83, 99, 53, 1, 1, 12, 2, b'a', b'b', 255]
    );
}

#[test]
fn a_message_reads_as_it_was_written() {
    let reply = Header {
        op: Op::Reply,
        broadcast: false,
        ..header()
    };
    for header in [header(), reply] {
        let bytes = written(&header, &[(53, &[1]), (80, &[]), (55, &[1, 3, 6])]);
        let (read, options) = Header::parse(&bytes).unwrap();
        assert_eq!(read, header);
        let options: Vec<_> = options.iter().collect();
        assert_eq!(options, [(53, &[1][..]), (80, &[]), (55, &[1, 3, 6])]);
    }
}

#[test]
fn long_data_takes_several_options() {
    let data: Vec<u8> = (0..600).map(|i| i as u8).collect();
    let bytes = written(&header(), &[(119, &data)]);
    let options = read(&bytes).unwrap();
    let lens: Vec<_> = options.iter().map(|(code, d)| (*code, d.len())).collect();
    assert_eq!(lens, [(119, 255), (119, 255), (119, 90)]);
    let joined: Vec<u8> = options.into_iter().flat_map(|(_, data)| data).collect();
    assert_eq!(joined, data);
}

#[test]
fn what_does_not_fit_is_left_out() {
    let mut out = Writer::default();
    out.put(b"in front");
    let mut writer = OptionWriter::new(&header(), FIXED_LEN + 8, &mut out);
    assert!(!writer.put(1, &[0; 6]));
    assert!(writer.put(2, &[0; 5]));
    assert!(!writer.put(3, &[]));
    writer.finish();
    let bytes = out.into_bytes().split_off(8);
    assert_eq!(read(&bytes), Ok(std::vec![(2, std::vec![0; 5])]));
    assert_eq!(bytes[FIXED_LEN + 7], code::END);
}

#[test]
fn options_go_on_in_other_fields() {
    let mut bytes = with_options(&[0, 52, 1, 3, 0, 7, 1, 70, 255, 9, 9]);
    let (server_name, file) = (44, 44 + 64);
    bytes[file..file + 4].copy_from_slice(&[8, 1, 80, 255]);
    bytes[server_name..server_name + 6].copy_from_slice(&[0, 0, 9, 1, 90, 255]);
    let found = |bytes: &[u8]| {
        let options = read(bytes)?;
        Ok(options
            .into_iter()
            .map(|(code, _)| code)
            .collect::<Vec<_>>())
    };
    assert_eq!(found(&bytes), Ok(std::vec![52, 7, 8, 9]));
    bytes[FIXED_LEN + 3] = 1;
    assert_eq!(found(&bytes), Ok(std::vec![52, 7, 8]));
    bytes[FIXED_LEN + 3] = 2;
    assert_eq!(found(&bytes), Ok(std::vec![52, 7, 9]));
    // No end in the server name.
    bytes[server_name + 5] = 0;
    assert_eq!(found(&bytes), Err(Error::OptionLen));
    for bad in [0, 4, 255] {
        bytes[FIXED_LEN + 3] = bad;
        assert_eq!(found(&bytes), Err(Error::Overload));
    }
}

#[test]
fn malformed_messages_are_refused() {
    let good = written(&header(), &[(53, &[1])]);
    let changed = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[at] = value;
        read(&bytes).unwrap_err()
    };
    assert_eq!(changed(0, 3), Error::Op);
    assert_eq!(changed(1, 6), Error::Hardware);
    assert_eq!(changed(2, 8), Error::Hardware);
    assert_eq!(changed(236, 0), Error::Magic);
    assert_eq!(changed(FIXED_LEN + 1, 200), Error::OptionLen);
    assert_eq!(changed(FIXED_LEN + 3, 0), Error::OptionLen);
    let most = [[7, 0].repeat(DHCP_OPTIONS_MAX), std::vec![255]].concat();
    assert_eq!(read(&with_options(&most)).unwrap().len(), DHCP_OPTIONS_MAX);
    let more = [[7, 0].repeat(DHCP_OPTIONS_MAX + 1), std::vec![255]].concat();
    assert_eq!(read(&with_options(&more)), Err(Error::OptionLimit));
    for bad in [
        &[][..],
        &[0],
        &[53],
        &[53, 1],
        &[53, 1, 1],
        &[0, 0, 53, 2, 1],
    ] {
        assert_eq!(read(&with_options(bad)), Err(Error::OptionLen), "{bad:?}");
    }
}

#[test]
fn short_and_random_messages_are_refused() {
    let good = with_options(&[53, 1, 1, 52, 1, 3, 55, 3, 1, 2, 3, 255]);
    let mut bytes = good.clone();
    bytes[44] = code::END;
    bytes[44 + 64] = code::END;
    refuses_truncation(&bytes, read);
    survives_anything(&bytes, |bytes| _ = read(bytes));
    // Random bytes in the options alone reach further.
    survives_anything(&bytes[FIXED_LEN..], |options| {
        _ = read(&with_options(options));
    });
}
