//! Records what the engine says about one frame.

use crate::sys::probe::Probes;
use opte_core::api::PortId;
use opte_core::event::{Event, Observer, Path, PortTag, Probe};
use opte_core::flow::Tuple;
use opte_core::{Direction, DropReason, LayerId};
use std::cell::RefCell;
use std::rc::Rc;

/// Events kept for one frame: one frame that is replicated to many guests
/// makes many.
const EVENTS_MAX: usize = 1_024;

/// What was said since the last [`Recorder::take`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Record {
    /// Each port that dealt with the frame, in order.
    pub(super) passes: Vec<Pass>,
    /// The first drop.
    pub(super) drop: Option<Drop>,
    /// Rules that decided, in the order of the layers.
    pub(super) rules: Vec<(LayerId, u32)>,
}

/// A port that dealt with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pass {
    pub(super) port: PortId,
    pub(super) dir: Direction,
    pub(super) before: Option<Tuple>,
    pub(super) after: Option<Tuple>,
    pub(super) path: Path,
}

/// A dropped frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Drop {
    pub(super) port: Option<PortId>,
    pub(super) dir: Direction,
    pub(super) layer: Option<LayerId>,
    pub(super) rule: u32,
    pub(super) reason: DropReason,
}

/// An observer that remembers. Clones share the memory.
#[derive(Clone, Debug, Default)]
pub(super) struct Recorder(Rc<RefCell<Record>>);

impl Recorder {
    /// What was said since the last call.
    pub(super) fn take(&self) -> Record {
        self.0.take()
    }
}

impl Observer for Recorder {
    fn enabled(&self, probe: Probe) -> bool {
        let recorded = matches!(
            probe,
            Probe::PortProcessReturn | Probe::Drop | Probe::RuleMatch | Probe::RuleDeny
        );
        recorded || Probes.enabled(probe)
    }

    fn clock_ns(&self) -> u64 {
        Probes.clock_ns()
    }

    fn event(&self, event: &Event<'_>) {
        if Probes.enabled(event.probe()) {
            Probes.event(event);
        }
        let mut record = self.0.borrow_mut();
        match *event {
            Event::PortProcessReturn {
                port,
                dir,
                before,
                after,
                path,
                ..
            } if record.passes.len() < EVENTS_MAX => record.passes.push(Pass {
                port: port.id(),
                dir,
                before: before.copied(),
                after: after.copied(),
                path,
            }),
            Event::Drop {
                port,
                dir,
                layer,
                rule,
                reason,
                ..
            } if record.drop.is_none() => {
                record.drop = Some(Drop {
                    port: port.map(PortTag::id),
                    dir,
                    layer,
                    rule,
                    reason,
                });
            }
            Event::RuleMatch { layer, rule, .. } | Event::RuleDeny { layer, rule, .. }
                if record.rules.len() < EVENTS_MAX =>
            {
                record.rules.push((layer, rule));
            }
            _ => {}
        }
    }
}
