//! Servers for clients to talk to: answers that are as short as can be.

use crate::lab::Namespace;
use anyhow::{Context, Result};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::thread;
use std::time::Duration;

/// How long a server waits for the rest of a request.
const READ_LIMIT: Duration = Duration::from_secs(5);
/// What a client of the web gets.
const PAGE: &str = "hello from the other side\n";
/// What a client of DNS gets for any name.
const ADDRESS: [u8; 4] = [192, 0, 2, 80];

/// Serves one request by HTTP (RFC 9112) on `address`.
pub(super) fn web(namespace: &Namespace, address: SocketAddr) -> Result<()> {
    let listener = namespace
        .run(|| TcpListener::bind(address).with_context(|| format!("can't listen on {address}")))?;
    thread::spawn(move || -> std::io::Result<()> {
        let (mut client, _) = listener.accept()?;
        client.set_read_timeout(Some(READ_LIMIT))?;
        let (mut request, mut buffer) = (Vec::new(), [0; 1024]);
        while !request.ends_with(b"\r\n\r\n") {
            match client.read(&mut buffer)? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                len => request.extend(buffer.get(..len).unwrap_or_default()),
            }
        }
        let len = PAGE.len();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {len}\r\nConnection: close\r\n\r\n");
        client.write_all(format!("{head}{PAGE}").as_bytes())
    });
    Ok(())
}

/// Answers one DNS query (RFC 1035) on `address`, with one A record.
pub(super) fn dns(namespace: &Namespace, address: SocketAddr) -> Result<()> {
    let socket = namespace
        .run(|| UdpSocket::bind(address).with_context(|| format!("can't listen on {address}")))?;
    thread::spawn(move || -> std::io::Result<()> {
        let mut buffer = [0; 512];
        let (len, from) = socket.recv_from(&mut buffer)?;
        let query = buffer.get(..len).unwrap_or_default();
        socket.send_to(&answer(query).ok_or(ErrorKind::InvalidData)?, from)?;
        Ok(())
    });
    Ok(())
}

/// The answer: the query's identifier and question, and the record.
fn answer(query: &[u8]) -> Option<Vec<u8>> {
    const HEADER_LEN: usize = 12;
    // A response, recursion desired and available; one question, one answer.
    const HEADER: [u8; 10] = [0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0];
    let rest = query.get(HEADER_LEN..)?;
    // The question ends after the root label, with type and class.
    let name = rest.iter().position(|byte| *byte == 0)?;
    let question = rest.get(..name + 5)?;
    let mut out = query.get(..2)?.to_vec();
    out.extend(HEADER);
    out.extend(question);
    // The name is that of the question; A, IN, a minute, four bytes.
    out.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
    out.extend(ADDRESS);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_repeats_the_question() {
        let query = b"\x12\x34\x01\x20\0\x01\0\0\0\0\0\x01\x01a\0\0\x01\0\x01\0\0\x29";
        let answer = answer(query).unwrap();
        assert_eq!(answer[..2], [0x12, 0x34]);
        assert_eq!(answer[12..19], *b"\x01a\0\0\x01\0\x01");
        assert_eq!(answer[answer.len() - 4..], ADDRESS);
        assert_eq!(super::answer(b"short"), None);
    }
}
