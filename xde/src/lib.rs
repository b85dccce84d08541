//! `xde`: the OPTE driver in the illumos kernel.
//!
//! Purpose   the shell around the engine on illumos. Each port is a datalink
//!           that this driver provides to MAC; each underlay link is a
//!           datalink that it is a client of; `opteadm` talks to `/dev/xde`.
//!
//! Terms     port       a MAC provider of ours, and the datalink of its name
//!           link       a datalink of somebody else's that we are a client of
//!           message    one packet: a list of mblks (`b_cont`)
//!           chain      several packets: a list of messages (`b_next`)
//!           lane       the engine's view of one CPU, behind a lock
//!           outbox     what a call into the engine wants to have sent
//!
//! Flow      guest:  mc_tx -> `packet::from_guest` -> `Host::tx`
//!           link:   promiscuous callback -> `packet::from_link` -> `Host::rx`
//!           both:   -> outbox -> lane is let go -> mac_rx or mac_tx
//!           full:   mac_tx -> `room`: mc_tx gives packets back until there is
//!                   room again
//!           time:   periodic handler -> `driver::Driver::tick` -> `Host::tick`
//!           tool:   ioctl -> `control` -> `opte_ioctl::serve` -> `Host::command`
//!                   -> `registry::Registry` -> mac_register, mac_open ..
//!
//! Contexts  entry points and MAC's configuration callbacks run in threads
//!           that may sleep. `mc_tx`, `mc_getstat` and the receive callback
//!           may run in an interrupt thread (below LOCK_LEVEL): they don't
//!           sleep, and wait for adaptive mutexes only.
//!
//! Rules     L1  MAC is never called with a lane of packets or ticks held: what
//!               it is given comes back at once as another call of `mc_tx`.
//!               Packets and news of room are given to it with no lock at all;
//!               commands open and close devices with theirs (rule I2 of
//!               `control`).
//!           L2  lock order: `Control`'s parts; a lane; the locks of the
//!               engine (rule H4 in `opte_core::host`). The table of devices
//!               and the reserve of memory are leaves.
//!           L3  whoever holds a lane of packets or that of ticks doesn't
//!               sleep, so that an interrupt thread that waits for it, or for
//!               a lock of the engine behind it, gets it soon; memory comes
//!               from a reserve then (`ddi::kmem`). Commands may sleep for
//!               memory, also with a leaf of the engine held.
//!           L4  a device is destroyed when nobody can find it any more
//!               (it is in no table and no lane's view) and whoever found it
//!               has let go (its count). The pointer that MAC has ends with
//!               the registration, or with the callbacks of the client.
//!           L5  configuration callbacks of MAC run with the perimeter of the
//!               port held. They take no lock of ours, and call neither MAC
//!               nor the engine's commands that change something.
//!           L6  an entry point is unsafe: it says what its caller promises,
//!               converts each argument once and calls a safe function. Only
//!               `ddi` and `entry` have unsafe code.
//!           L7  user memory is an address and a length; it is copied in whole,
//!               within a limit, before anybody looks at it.
//!
//! Life      _init -> attach -> (ports and links come and go) -> detach -> _fini.
//!           Detach is refused while there is a port or a link.
//!
//! Failure   a frame that can't be worked on is freed and counted. A refused
//!           command is an answer; `ioctl` itself fails only when the transfer
//!           makes no sense. A panic of the engine is a panic of the kernel
//!           that names file and line.
#![no_std]
#![deny(unsafe_code)]

extern crate alloc;

mod control;
#[expect(unsafe_code, reason = "calls of the kernel, wrapped (rule L6)")]
mod ddi;
mod device;
mod driver;
#[expect(unsafe_code, reason = "calls from the kernel (rule L6)")]
mod entry;
mod finish;
mod lane;
mod outbox;
mod packet;
mod probe;
mod registry;
mod room;
mod stat;

pub use ddi::kmem::{KMEM, Kmem};
use ddi::mutex::KernelMutex;
pub use entry::{_fini, _info, _init};

/// The engine of this driver.
type Engine = opte_core::host::Host<KernelMutex, probe::Probes>;

/// A lock as the driver uses it.
type Mutex<T> = lock_api::Mutex<KernelMutex, T>;
