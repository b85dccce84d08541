//! The engine by itself: what the module is compared with.

use super::golden::{Event, Machine};
use anyhow::{Context as _, Result};
use opte_core::api::{
    Command, ConfigError, ErrorCode, LinkSpec, Name, ObjectKind, PortId, PortSpec, Response,
};
use opte_core::event::{Ending, FlowEnd, Observer, PacketView, Path, PortTag, Probe, Stale};
use opte_core::flow::Tuple;
use opte_core::frame::SliceFrame;
use opte_core::host::table::Source;
use opte_core::host::{Devices, Host, HostConfig, Lane, LinkDevice};
use opte_core::verdict::{LinkId, Output, Verdict};
use opte_core::wire::Vni;
use opte_core::{Direction, DropReason, Instant, LayerId};
use opte_ioctl::client::{Client, ClientError};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ffi::CStr;
use xde_loader::{Layout, Sent, Told};

type Lock = parking_lot::RawMutex;

/// Bytes in front of a frame.
const ROOM: usize = 128;

/// An engine with devices in memory.
pub(super) struct Engine {
    host: Host<Lock, Recorder>,
    lane: RefCell<Lane<Lock>>,
    devices: RefCell<Named>,
    sent: RefCell<Outbox>,
}

impl Engine {
    /// An engine as the module's: with the double's random number, and NICs of
    /// these names.
    pub(super) fn new(nics: BTreeMap<String, LinkDevice>) -> Result<Self> {
        let host = Host::new(HostConfig { seed: 1, lanes: 1 }, Recorder::default());
        Ok(Self {
            lane: RefCell::new(host.lane(0).context("the engine has no lane")?),
            host,
            devices: RefCell::new(Named {
                nics,
                ..Named::default()
            }),
            sent: RefCell::default(),
        })
    }

    fn now(&self) -> Instant {
        Instant::from_nanos(self.host.observer().time.get())
    }

    fn put_in(&self, source: Source, bytes: &[u8]) {
        let mut buffer = vec![0; ROOM];
        buffer.extend(bytes);
        let end = buffer.len();
        let mut frame = SliceFrame::new(&mut buffer, ROOM, end);
        let (lane, out) = (&mut *self.lane.borrow_mut(), &mut *self.sent.borrow_mut());
        let verdict = match source {
            Source::Port(port) => self.host.tx(lane, port, &mut frame, self.now(), out),
            Source::Link(link) => self.host.rx(lane, link, &mut frame, self.now(), out),
        };
        match verdict {
            Verdict::Link(link) => out.to_link(link, frame.bytes()),
            Verdict::Port(port) => out.to_port(port, frame.bytes()),
            Verdict::Consumed | Verdict::Held | Verdict::Dropped(_) => {}
        }
    }
}

impl Machine for Engine {
    fn command(&self, command: Command) -> Result<Response> {
        let done = Tool(self).call(command)?;
        self.host.refresh(&mut self.lane.borrow_mut());
        Ok(done)
    }

    fn set_time(&self, nanos: u64) {
        self.host.observer().time.set(nanos);
    }

    fn guest_sends(&self, port: &str, frame: &[u8], _: &Layout) -> Result<()> {
        let number = self.devices.borrow().number(port);
        self.put_in(number.with_context(|| format!("no port {port}"))?, frame);
        Ok(())
    }

    fn link_receives(&self, link: &str, frame: &[u8], _: &Layout) -> Result<()> {
        let number = self.devices.borrow().number(link);
        self.put_in(number.with_context(|| format!("no link {link}"))?, frame);
        Ok(())
    }

    fn tick(&self) -> Result<()> {
        let (lane, out) = (&mut *self.lane.borrow_mut(), &mut *self.sent.borrow_mut());
        self.host.tick(lane, self.now(), out);
        Ok(())
    }

    fn take_sent(&self) -> Vec<Sent> {
        let devices = self.devices.borrow();
        let sent = std::mem::take(&mut self.sent.borrow_mut().0);
        let named = sent
            .into_iter()
            .map(|(to, bytes)| (devices.name(to), bytes));
        named.collect()
    }

    fn take_events(&self) -> Vec<Event> {
        self.host.observer().events.take()
    }
}

/// The way of commands: as bytes, as they come to the module.
struct Tool<'e>(&'e Engine);

impl Client for Tool<'_> {
    fn exchange(&mut self, request: &[u8]) -> Result<Vec<u8>, ClientError> {
        const DRIVER: opte_ioctl::Driver = opte_ioctl::Driver {
            name: "xde",
            version: env!("CARGO_PKG_VERSION"),
        };
        let (host, now) = (&self.0.host, self.0.now());
        let carry_out = |command| {
            let devices = &mut *self.0.devices.borrow_mut();
            host.command(command, now, devices, &mut *self.0.sent.borrow_mut())
        };
        let observer = host.observer();
        Ok(opte_ioctl::serve_observed(
            request, carry_out, &DRIVER, observer,
        ))
    }
}

/// Devices that are always there.
#[derive(Default)]
struct Named {
    nics: BTreeMap<String, LinkDevice>,
    /// Also those that are closed, whose last frames may not be taken yet.
    known: Vec<(Source, String)>,
}

impl Named {
    fn number(&self, name: &str) -> Option<Source> {
        let mut known = self.known.iter().rev();
        known
            .find(|(_, other)| other == name)
            .map(|(source, _)| *source)
    }

    fn name(&self, source: Source) -> String {
        let mut known = self.known.iter().rev();
        let found = known.find(|(other, _)| *other == source);
        found.map_or_else(String::new, |(_, name)| name.clone())
    }
}

impl Devices for Named {
    fn open_port(&mut self, id: PortId, spec: &PortSpec) -> Result<(), ConfigError> {
        self.known.push((Source::Port(id), spec.name.to_string()));
        Ok(())
    }

    fn close_port(&mut self, _: PortId) {}

    fn open_link(&mut self, id: LinkId, spec: &LinkSpec) -> Result<LinkDevice, ConfigError> {
        let nic = self.nics.get(&spec.name);
        let missing = || ConfigError::new(ErrorCode::NotFound, ObjectKind::Link, &spec.name);
        let nic = *nic.ok_or_else(missing)?;
        self.known.push((Source::Link(id), spec.name.clone()));
        Ok(nic)
    }

    fn close_link(&mut self, _: LinkId) {}
}

/// What was sent, and where to.
#[derive(Default)]
struct Outbox(Vec<(Source, Vec<u8>)>);

impl Output for Outbox {
    fn to_port(&mut self, port: PortId, frame: &[u8]) {
        self.0.push((Source::Port(port), frame.to_vec()));
    }

    fn to_link(&mut self, link: LinkId, frame: &[u8]) {
        self.0.push((Source::Link(link), frame.to_vec()));
    }
}

/// Remembers all events, and has the time.
#[derive(Default)]
struct Recorder {
    events: RefCell<Vec<Event>>,
    time: Cell<u64>,
}

impl Observer for Recorder {
    fn enabled(&self, _: Probe) -> bool {
        true
    }

    fn clock_ns(&self) -> u64 {
        self.time.get()
    }

    fn event(&self, event: &opte_core::event::Event<'_>) {
        let name = event.probe().name().to_owned();
        self.events.borrow_mut().push((name, told(event)));
    }
}

macro_rules! tellers {
    ($($(#[doc = $doc:literal])+ $variant:ident = $probe:ident $name:literal { $($(#[doc = $fdoc:literal])+ $field:ident: $ty:ty,)* },)+) => {
        /// What a tracer is to find of an event, from its typed values.
        fn told(event: &opte_core::event::Event<'_>) -> Vec<Told> {
            use opte_core::event::Event;
            match event {
                $(Event::$variant { $($field,)* } => vec![$($field.tell(),)*],)+
            }
        }
    };
}

opte_core::each_probe!(tellers);

/// A value of an event, as a tracer finds it.
trait Tell {
    fn tell(&self) -> Told;
}

macro_rules! tell {
    ($($ty:ty => |$value:ident| $told:expr;)+) => {
        $(impl Tell for $ty {
            fn tell(&self) -> Told {
                let $value = self;
                $told
            }
        })+
    };
}

tell! {
    bool => |value| Told::Number((*value).into());
    u8 => |value| Told::Number((*value).into());
    u16 => |value| Told::Number((*value).into());
    u32 => |value| Told::Number((*value).into());
    u64 => |value| Told::Number(*value);
    Vni => |value| Told::Number(value.get().into());
    Direction => |value| Told::Number(value.number().into());
    LayerId => |value| Told::Number(value.number().into());
    Option<LayerId> => |value| Told::Number(value.map_or(0, LayerId::number).into());
    Path => |value| Told::Number(value.number().into());
    Stale => |value| Told::Number(value.number().into());
    FlowEnd => |value| Told::Number(value.number().into());
    &CStr => |value| Told::Text(value.to_string_lossy().into_owned());
    Name => |value| Told::Text(value.to_string());
    DropReason => |value| Told::Text(value.name().to_owned());
    [u8; 16] => |value| Told::Bytes(value.to_vec());
    &[u8] => |value| Told::Bytes(value.to_vec());
    &PortTag => |value| Told::Port(**value);
    &Tuple => |value| Told::Key(**value);
    &Ending => |value| Told::Ending(**value);
    &PacketView => |value| Told::of_packet(**value).expect("a frame that is there");
}

macro_rules! tell_option {
    ($($ty:ty)+) => {
        $(impl Tell for Option<$ty> {
            fn tell(&self) -> Told {
                self.as_ref().map_or(Told::Nothing, Tell::tell)
            }
        })+
    };
}

tell_option! { Name DropReason [u8; 16] &PortTag &Tuple }
