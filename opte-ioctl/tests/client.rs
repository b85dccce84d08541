//! The client against a driver on a real socket.

use opte_core::api::{Command, ConfigError, ErrorCode, ObjectKind, Response};
use opte_core::limits::{REQUEST_BYTES_MAX, RESPONSE_BYTES_MAX};
use opte_ioctl::client::{Client, ClientError, UnixClient};
use opte_ioctl::frame::{self, FrameReader};
use opte_ioctl::{Driver, serve};
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

const DRIVER: Driver = Driver {
    name: "fake",
    version: "9.8.7",
};

/// A socket path of its own, removed at the end.
struct Socket(PathBuf);

impl Socket {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("opte-client-{}-{number}.sock", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    /// A driver that treats one connection with `talk`.
    fn driver(&self, talk: impl FnOnce(UnixStream) + Send + 'static) -> JoinHandle<()> {
        let listener = UnixListener::bind(&self.0).unwrap();
        std::thread::spawn(move || talk(listener.accept().unwrap().0))
    }

    fn client(&self) -> UnixClient {
        UnixClient::connect(&self.0, Duration::from_secs(20)).unwrap()
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Answers every request of a connection.
fn serve_all(
    mut stream: UnixStream,
    mut handler: impl FnMut(Command) -> Result<Response, ConfigError>,
) {
    let mut reader = FrameReader::new(REQUEST_BYTES_MAX);
    let mut piece = [0; 1_000];
    loop {
        let len = stream.read(&mut piece).unwrap();
        if len == 0 {
            return;
        }
        let mut input = &piece[..len];
        while let Some(request) = reader.next_frame(&mut input).unwrap() {
            let response = serve(&request, &mut handler, &DRIVER);
            stream.write_all(&frame::emit(&response).unwrap()).unwrap();
        }
    }
}

#[test]
fn commands_are_answered_one_after_the_other() {
    let socket = Socket::new();
    let driver = socket.driver(|stream| {
        let mut count = 0;
        serve_all(stream, |_| {
            count += 1;
            Ok(Response::Count(count))
        });
    });
    let mut client = socket.client();
    assert_eq!(client.hello().unwrap().driver_version, "9.8.7");
    for count in 1..=3 {
        let response = client.call(Command::ClearUnderlay).unwrap();
        assert_eq!(response, Response::Count(count));
    }
    drop(client);
    driver.join().unwrap();
}

#[test]
fn a_refusal_arrives_as_it_was_made() {
    let socket = Socket::new();
    let refusal = ConfigError::new(ErrorCode::NotFound, ObjectKind::Port, "g9");
    let made = refusal.clone();
    let driver = socket.driver(move |stream| serve_all(stream, |_| Err(made.clone())));
    let mut client = socket.client();
    match client.call(Command::ShowUnderlay) {
        Err(ClientError::Refused(error)) => assert_eq!(error, refusal),
        other => panic!("{other:?}"),
    }
    drop(client);
    driver.join().unwrap();
}

#[test]
fn a_missing_driver_is_named() {
    let socket = Socket::new();
    let error = UnixClient::connect(&socket.0, Duration::from_secs(1)).unwrap_err();
    assert!(matches!(error, ClientError::NoDriver { .. }));
    let text = error.to_string();
    assert!(text.starts_with("no driver listens on "), "{text}");
    // A socket that nobody listens on any more is the same to the operator.
    drop(UnixListener::bind(&socket.0).unwrap());
    let error = UnixClient::connect(&socket.0, Duration::from_secs(1)).unwrap_err();
    assert!(matches!(error, ClientError::NoDriver { .. }));
}

#[test]
fn a_silent_driver_runs_into_the_timeout_and_the_connection_is_done() {
    let socket = Socket::new();
    let listener = UnixListener::bind(&socket.0).unwrap();
    let mut client = UnixClient::connect(&socket.0, Duration::from_millis(20)).unwrap();
    let error = client.call(Command::ShowUnderlay).unwrap_err();
    assert!(matches!(error, ClientError::TimedOut { .. }), "{error}");
    // A late answer must not be taken for the next command's.
    let error = client.call(Command::ShowUnderlay).unwrap_err();
    assert!(matches!(error, ClientError::Closed { .. }), "{error}");
    drop(listener);
}

/// A driver that reads one request and sends `bytes`.
fn error_after(bytes: Vec<u8>) -> ClientError {
    let socket = Socket::new();
    let driver = socket.driver(move |mut stream| {
        let mut piece = [0; 100];
        assert!(stream.read(&mut piece).unwrap() > 0);
        stream.write_all(&bytes).unwrap();
    });
    let mut client = socket.client();
    let error = client.call(Command::ShowUnderlay).unwrap_err();
    driver.join().unwrap();
    error
}

#[test]
fn nonsense_is_not_taken_for_an_answer() {
    assert!(matches!(error_after(vec![]), ClientError::Closed { .. }));
    assert!(matches!(
        error_after(vec![9, 0]),
        ClientError::Closed { .. }
    ));
    let garbage = frame::emit(&[b'x'; 30]).unwrap();
    assert!(matches!(error_after(garbage), ClientError::Protocol(_)));
    let huge = u32::try_from(RESPONSE_BYTES_MAX + 1).unwrap();
    let error = error_after(huge.to_le_bytes().into());
    assert!(error.to_string().contains("too large"), "{error}");
    // A response to another request: the id is wrong.
    let header = opte_ioctl::envelope::Response {
        version: 1,
        status: 0,
        number: 1,
        flags: 0,
        id: 4_000,
    };
    let other = frame::emit(&header.emit(&[]).unwrap()).unwrap();
    assert!(matches!(error_after(other), ClientError::Protocol(_)));
    // A refusal without its sentence still has its code.
    let header = opte_ioctl::envelope::Response {
        status: 1,
        ..header
    };
    let bare = frame::emit(&header.emit(&[]).unwrap()).unwrap();
    match error_after(bare) {
        ClientError::Refused(error) => assert_eq!(error.code, ErrorCode::NotFound),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_request_that_is_too_large_is_not_sent() {
    let socket = Socket::new();
    let driver = socket.driver(|stream| serve_all(stream, |command| panic!("{command:?}")));
    let mut client = socket.client();
    let prefix = "10.0.0.0/8".parse().unwrap();
    let endpoint = "fd00::1".parse().unwrap();
    let endpoints = vec![endpoint; REQUEST_BYTES_MAX / 16];
    let error = client.call(Command::SetV2b(prefix, endpoints)).unwrap_err();
    assert!(matches!(error, ClientError::RequestTooLarge { .. }));
    drop(client);
    driver.join().unwrap();
}
