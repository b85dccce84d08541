//! The control socket: stale, taken, slow and greedy.

use super::*;
use crate::device::Shared;
use crate::sys::probe::Probes;
use crate::testing::Folder;
use opte_core::host::HostConfig;
use opte_ioctl::client::{Client, ClientError, UnixClient};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::PathBuf;

/// An engine without devices.
fn control() -> Control {
    let config = HostConfig { seed: 1, lanes: 1 };
    let engine = Arc::new(Engine::new(config, Probes));
    let shared = Arc::new(Shared::default());
    let registry = Registry::new(Arc::clone(&shared), Vec::new(), BTreeMap::new());
    let lane = engine.lane(0).unwrap();
    Control::new(engine, lane, registry, shared.view(), Clock::start())
}

/// One behind a socket.
struct Bench {
    folder: Folder,
}

impl Bench {
    fn start() -> Self {
        let folder = Folder::new("control");
        let listener = Listener::bind(&folder.path().join("s")).unwrap();
        serve(Arc::new(listener), Arc::new(control())).unwrap();
        Self { folder }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("s")
    }

    fn client(&self) -> UnixClient {
        UnixClient::connect(&self.path(), CLIENT_PATIENCE).unwrap()
    }

    fn stream(&self) -> UnixStream {
        UnixStream::connect(self.path()).unwrap()
    }
}

/// What comes on the stream until it is closed.
fn rest(mut stream: &UnixStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    // A reset is as good as an end: the other side is gone.
    let _ = stream.read_to_end(&mut bytes);
    bytes
}

#[test]
fn clients_are_answered_beside_one_that_is_stuck() {
    let bench = Bench::start();
    let mut stuck = bench.stream();
    stuck.write_all(&100_u32.to_le_bytes()).unwrap();
    stuck.write_all(b"half a request").unwrap();
    let (mut one, mut two) = (bench.client(), bench.client());
    for client in [&mut one, &mut two, &mut bench.client()] {
        let hello = client.hello().unwrap();
        assert_eq!(hello.driver, "xded");
        let refused = client.call(Command::DeletePort("nobody".parse().unwrap()));
        assert!(
            matches!(refused, Err(ClientError::Refused(_))),
            "{refused:?}"
        );
    }
    assert!(one.hello().is_ok());
}

#[test]
fn an_oversize_request_is_refused_and_its_stream_closed() {
    let bench = Bench::start();
    let mut stream = bench.stream();
    let len = u32::try_from(REQUEST_BYTES_MAX + 1).unwrap();
    stream.write_all(&len.to_le_bytes()).unwrap();
    let mut answer = &rest(&stream)[..];
    let response = FrameReader::new(1 << 16).next_frame(&mut answer);
    let response = response.unwrap().unwrap();
    let (header, _) = opte_ioctl::envelope::Response::parse(&response).unwrap();
    let code = opte_core::ErrorCode::from(header.status);
    assert_eq!(code, opte_core::ErrorCode::RequestTooLarge);
    assert!(bench.client().hello().is_ok());
}

#[test]
fn noise_is_refused_and_the_stream_goes_on() {
    let bench = Bench::start();
    let mut stream = bench.stream();
    let noise = frame::emit(b"noise, not an envelope").unwrap();
    stream
        .write_all(&[&noise[..], &noise[..]].concat())
        .unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let answers = rest(&stream);
    let (mut answers, mut reader) = (&answers[..], FrameReader::new(1 << 16));
    for _ in 0..2 {
        let response = reader.next_frame(&mut answers).unwrap().unwrap();
        let (header, _) = opte_ioctl::envelope::Response::parse(&response).unwrap();
        assert_ne!(header.status, 0);
    }
    assert!(answers.is_empty());
}

#[test]
fn one_client_too_many_is_turned_away_until_there_is_room() {
    let bench = Bench::start();
    let mut clients: Vec<_> = (0..CLIENTS_MAX).map(|_| bench.client()).collect();
    // An answer shows that the client has its place.
    assert!(clients.iter_mut().all(|client| client.hello().is_ok()));
    let refused = bench.client().hello().unwrap_err();
    let ClientError::Refused(error) = &refused else {
        panic!("{refused:?}")
    };
    assert_eq!(error.code, ErrorCode::LimitReached);
    let text = error.to_string();
    assert!(text.contains("too many clients, 16 at most"), "{text}");
    clients.pop();
    // The place is given back when the client's thread sees the end; until
    // then new clients are turned away, which they can tell.
    while bench.client().hello().is_err() {}
}

#[test]
fn a_request_that_never_ends_is_given_up() {
    let (near, mut far) = UnixStream::pair().unwrap();
    let drip = thread::spawn(move || {
        let len = u32::try_from(REQUEST_BYTES_MAX).unwrap();
        let begun = far.write_all(&len.to_le_bytes());
        while begun.is_ok() && far.write_all(b".").is_ok() {}
    });
    let ended = client(&near, &control(), Duration::from_millis(50));
    assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::TimedOut);
    drop(near);
    drip.join().unwrap();
}
