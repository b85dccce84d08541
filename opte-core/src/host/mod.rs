//! The host: ports, mappings, underlay and commands.

mod device;
pub mod mapping;
pub mod underlay;

use crate::api::{Command, ConfigError, ErrorCode, ObjectKind, PortId, Response};
use crate::event::Observer;
use crate::frame::Frame;
use crate::verdict::{LinkId, Output, Verdict};
use crate::{DropReason, Instant};
pub use device::{Devices, LinkDevice};
use lock_api::RawMutex;

/// What a host is started with.
#[derive(Clone, Copy, Debug)]
pub struct HostConfig {
    /// Secret of this boot: keys the flow tables' hash and every random choice.
    pub seed: u64,
    /// CPUs or threads that will have a [`Lane`].
    pub lanes: usize,
}

/// One CPU's or thread's private view of a host: cached configuration and
/// counters that nobody else writes. Needed for every frame, so that frames
/// on different CPUs share no written memory.
#[derive(Debug)]
pub struct Lane {
    _index: usize,
}

/// All of OPTE on one machine.
#[derive(Debug)]
pub struct Host<R, O> {
    _observer: O,
    _raw: core::marker::PhantomData<R>,
}

impl<R: RawMutex, O: Observer> Host<R, O> {
    /// A host without ports, mappings and underlay.
    pub fn new(_config: HostConfig, observer: O) -> Self {
        Self {
            _observer: observer,
            _raw: core::marker::PhantomData,
        }
    }

    /// The lane of CPU or thread `index`, once each; `None` beyond
    /// `HostConfig::lanes` or when it is taken.
    pub fn lane(&self, index: usize) -> Option<Lane> {
        Some(Lane { _index: index })
    }

    /// Decides about a frame from a guest.
    pub fn tx(
        &self,
        _lane: &mut Lane,
        _port: PortId,
        _frame: &mut impl Frame,
        _now: Instant,
        _out: &mut impl Output,
    ) -> Verdict {
        Verdict::Dropped(DropReason::PortDown)
    }

    /// Decides about a frame from an underlay link.
    pub fn rx(
        &self,
        _lane: &mut Lane,
        _link: LinkId,
        _frame: &mut impl Frame,
        _now: Instant,
        _out: &mut impl Output,
    ) -> Verdict {
        Verdict::Dropped(DropReason::NoLink)
    }

    /// Counts a frame that the shell could not deliver after a verdict.
    pub fn undelivered(&self, _lane: &mut Lane, _port: PortId, _reason: DropReason) {}

    /// Does what time asks for: expiry, neighbour discovery, router
    /// advertisements. Call it about every 100 ms; each call's work is bounded.
    pub fn tick(&self, _lane: &mut Lane, _now: Instant, _out: &mut impl Output) {}

    /// Carries out a command: all of it or, with an error, nothing.
    ///
    /// # Errors
    ///
    /// Which object, which field and why.
    pub fn command(
        &self,
        _command: Command,
        _now: Instant,
        _devices: &mut impl Devices,
        _out: &mut impl Output,
    ) -> Result<Response, ConfigError> {
        Err(ConfigError::new(
            ErrorCode::Unsupported,
            ObjectKind::Host,
            "",
        ))
    }
}
