//! Callbacks that no packet causes: what MAC, `dladm` and specfs ask and change,
//! ioctls of the kernel, and addresses that aren't the caller's.

use super::storm::packets;
use super::{Play, Tool, attached, command, end, frames, gone, prepare, setup, two_guests};
use anyhow::{Context as _, Result, ensure};
use illumos_sys_hdrs as sys;
use opte_core::api::{Command, Name, Setup};
use opte_ioctl::client::{Client, ClientError};
use opte_ioctl::device::{COMMAND, Transfer};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use xde_loader::{Context, DIP, MAC_INSTANCE, Sled};

/// What this file plays.
pub(super) const PLAYS: &[Play] = &[
    ("what MAC and dladm ask of a port", asked),
    ("what specfs asks of the node", node),
    ("those who ask come at any time", any_time),
    ("a failure at each step of a port's end", failing_end),
    ("a link's callbacks come while it goes", link_goes),
    ("an ioctl of the kernel", kernel_ioctl),
    ("addresses that aren't the caller's", bad_addresses),
];

const GUEST: [u8; 6] = [0xa8, 0x40, 0x25, 0xf0, 0, 1];
const STRANGER: [u8; 6] = [0xa8, 0x40, 0x25, 0xf0, 0, 0x77];
const GROUP: [u8; 6] = [0x01, 0, 0x5e, 0, 0, 9];

fn asked(module: &[u8]) -> Result<()> {
    let sled = two_guests(module)?;
    let frames = frames("0.0 tx g1 udp 10.0.0.1:1000 > 10.0.0.2:53 len 32")?;
    let passes = || -> Result<bool> {
        let _ = sled.take_sent();
        sled.guest_sends("g1", &packets(&frames), Context::Packet)?;
        Ok(sled.take_sent().len() == 1)
    };
    for used in [false, true] {
        if used {
            sled.use_port("g1", true)?;
        }
        // The MTU is the port's to change, and all else MAC's or nobody's.
        let properties = sled.port_properties("g1")?;
        let want = [(sys::MAC_PROP_MTU, [1_500, 1_500])].into();
        ensure!(properties == want, "{properties:?}");
        for on in [true, true, false] {
            ensure!(sled.set_port_promiscuous("g1", on)? == 0, "mc_setpromisc");
            ensure!(sled.set_port_group("g1", GROUP, on)? == 0, "mc_multicst");
            ensure!(passes()?, "nothing passes");
        }
        ensure!(sled.set_port_address("g1", GUEST)? == 0, "its own address");
        let errno = sled.set_port_address("g1", STRANGER)?;
        ensure!(errno == u64::from(sys::ENOTSUP.cast_unsigned()), "{errno}");
        let address = sled.port_address("g1").context("no g1")?.0;
        ensure!(address == GUEST && passes()?, "the address has changed");
    }
    sled.use_port("g1", false)?;
    end(sled)
}

fn node(module: &[u8]) -> Result<()> {
    const OWN: u64 = 0x2_0000;
    let (device, instance) = (sys::DDI_INFO_DEVT2DEVINFO, sys::DDI_INFO_DEVT2INSTANCE);
    let sled = Sled::load(module)?;
    // Before there is an instance its number is known, and nothing of it.
    ensure!(sled.node_answer(OWN, instance)? == Some(0), "its number");
    ensure!(sled.node_answer(OWN, device)?.is_none(), "no instance yet");
    sled.attach()?;
    ensure!(sled.node_answer(OWN, instance)? == Some(0), "its number");
    ensure!(sled.node_answer(OWN, device)? == Some(DIP), "its device");
    ensure!(sled.node_answer(OWN, 9)?.is_none(), "another question");
    // Of links' nodes MAC knows.
    for minor in [1, 1_001, OWN - 1] {
        let answer = sled.node_answer(minor, instance)?;
        ensure!(answer == Some(MAC_INSTANCE), "{minor}: {answer:?}");
    }
    for _ in 0..3 {
        ensure!(sled.open()? == 0 && sled.open()? == 0, "open");
        ensure!(sled.close()? == 0, "close");
    }
    ensure!(sled.open()? == 0, "it can't be opened again");
    gone(sled)
}

/// Ports come, are replaced and go while others read statistics, ask what they
/// can do and listen to everything.
fn any_time(module: &[u8]) -> Result<()> {
    const ROUNDS: usize = 20;
    let whole = attached(module)?;
    let sled = &whole;
    let mut replaced = setup()?;
    for port in &mut replaced.ports {
        port.mac.0[5] |= 0x70;
    }
    let [first, second] = [setup()?, replaced];
    prepare(sled, &first);
    let over = AtomicBool::new(false);
    // A port that isn't there at the moment can't be asked.
    let asks: [fn(&Sled) -> Option<()>; 6] = [
        |sled| sled.port_statistic("g1", 1_012).ok().map(drop),
        |sled| sled.port_capability("g1", 1).ok().map(drop),
        |sled| sled.port_properties("g1").ok().map(drop),
        |sled| sled.set_port_promiscuous("g1", true).ok().map(drop),
        |sled| sled.kstat("xde:0:g1").ok().map(drop),
        |sled| sled.node_answer(0x2_0000, 0).ok().flatten().map(drop),
    ];
    let answered = thread::scope(|scope| {
        let over = &over;
        let ask = |ask: fn(&Sled) -> Option<()>| {
            move || {
                let mut answered = 0_usize;
                while !over.load(Ordering::Relaxed) || answered == 0 {
                    answered += usize::from(ask(sled).is_some());
                }
                answered
            }
        };
        let askers = asks.map(|it| scope.spawn(ask(it)));
        let come_and_go = || -> Result<()> {
            for _ in 0..ROUNDS {
                command(sled, Command::Apply(first.clone()))?;
                command(sled, Command::Apply(second.clone()))?;
                sled.tick()?;
                command(sled, Command::Apply(Setup::default()))?;
            }
            command(sled, Command::Apply(first.clone()))?;
            Ok(())
        };
        let done = come_and_go();
        over.store(true, Ordering::Relaxed);
        let answered = askers.map(thread::ScopedJoinHandle::join);
        done.map(|()| answered)
    })?;
    for answered in answered {
        let answered = answered.map_err(|_| anyhow::anyhow!("a thread panicked"))?;
        ensure!(answered > 0, "somebody was never answered");
    }
    ensure!(sled.violations().is_empty(), "{:?}", sled.violations());
    end(whole)
}

/// A datalink that can't be taken away at once is later, and its port is gone.
fn failing_end(module: &[u8]) -> Result<()> {
    let sled = attached(module)?;
    let setup = setup()?;
    prepare(&sled, &setup);
    let g1: Name = "g1".parse().map_err(anyhow::Error::msg)?;
    let mut stayed = 0;
    for count in 0..12 {
        command(&sled, Command::Apply(setup.clone()))?;
        sled.fail_step_after(Some(count));
        let deleted = command(&sled, Command::DeletePort(g1));
        sled.fail_step_after(None);
        let [_, before, ..] = sled.holdings();
        sled.tick()?;
        let [_, macs, _, stats] = sled.holdings();
        // Its own statistics, and those of the host and of g2.
        let whole = (macs, stats) == (2, 5) && sled.port_state("g1") == Some((true, 1_500));
        let none = (macs, stats) == (1, 3) && sled.port_state("g1").is_none();
        ensure!(whole || none, "failing after {count}: {macs} MACs, {stats}");
        ensure!(none || deleted.is_err(), "failing after {count}: it stays");
        stayed += usize::from(none && before == 2);
    }
    // As DLS has it still, and as MAC has.
    ensure!(stayed == 2, "{stayed} times it stayed");
    end(sled)
}

/// Packets come in and room comes back while commands open and close the link.
fn link_goes(module: &[u8]) -> Result<()> {
    const ROUNDS: usize = 20;
    let whole = attached(module)?;
    let sled = &whole;
    let setup = setup()?;
    prepare(sled, &setup);
    let link = setup.underlay.as_ref().and_then(|it| it.links.first());
    let link = &link.context("no link")?.name;
    let over = AtomicBool::new(false);
    let received = thread::scope(|scope| {
        let receive = || {
            let frame = [0xff_u8; 64];
            let mut received = 0_usize;
            while !over.load(Ordering::Relaxed) || received == 0 {
                let packet = [(frame.as_slice(), xde_loader::Layout::default())];
                let taken = sled.link_receives(link, &packet, Context::Interrupt);
                received += usize::from(taken.is_ok());
            }
            received
        };
        let receiver = scope.spawn(receive);
        let come_and_go = || -> Result<()> {
            for _ in 0..ROUNDS {
                command(sled, Command::Apply(setup.clone()))?;
                command(sled, Command::Apply(Setup::default()))?;
            }
            command(sled, Command::Apply(setup.clone()))?;
            Ok(())
        };
        let done = come_and_go();
        over.store(true, Ordering::Relaxed);
        let received = receiver.join();
        done.map(|()| received)
    })?;
    let received = received.map_err(|_| anyhow::anyhow!("a thread panicked"))?;
    ensure!(received > 0, "nothing was received");
    ensure!(sled.violations().is_empty(), "{:?}", sled.violations());
    end(whole)
}

/// `opteadm`'s way to a sled, from inside of the kernel.
struct KernelTool<'s>(&'s Sled);

impl Client for KernelTool<'_> {
    fn exchange(&mut self, request: &[u8]) -> Result<Vec<u8>, ClientError> {
        let answer = self.0.kernel_ioctl(request);
        answer.map_err(|error| ClientError::Io {
            path: "/dev/xde".to_owned(),
            source: std::io::Error::other(format!("{error:#}")),
        })
    }
}

fn kernel_ioctl(module: &[u8]) -> Result<()> {
    let sled = two_guests(module)?;
    let by_kernel = KernelTool(&sled).call(Command::ListPorts(0))?;
    let by_process = Tool(&sled).call(Command::ListPorts(0))?;
    ensure!(by_kernel == by_process, "{by_kernel:?}");
    let transfer = nothing_asked(&[]);
    let place = (&raw const transfer).expose_provenance() as u64;
    // With FKIOCTL a process's memory is none, and without it the kernel's.
    let fault = u64::from(sys::EFAULT.cast_unsigned());
    ensure!(sled.raw_kernel_ioctl(COMMAND, place)? == fault, "a process");
    let lent = sled.lend(place, size_of::<Transfer>());
    ensure!(sled.raw_ioctl(COMMAND, place)? == fault, "the kernel's");
    drop(lent);
    end(sled)
}

/// A transfer that makes sense, with a request that doesn't; the response goes
/// to `room`, or nowhere.
fn nothing_asked(room: &[u8]) -> Transfer {
    Transfer {
        version: opte_ioctl::device::TRANSFER_VERSION,
        flags: 0,
        request: room.as_ptr().expose_provenance() as u64,
        request_len: 4,
        response: room.as_ptr().expose_provenance() as u64,
        response_room: opte_core::limits::RESPONSE_BYTES_MAX as u64,
        response_len: 0,
    }
}

/// Where nothing is, where nothing can be, and where the kernel's memory is: in
/// each place that an ioctl has for an address.
fn bad_addresses(module: &[u8]) -> Result<()> {
    let sled = attached(module)?;
    let fault = u64::from(sys::EFAULT.cast_unsigned());
    let room = vec![0_u8; opte_core::limits::RESPONSE_BYTES_MAX];
    let kernels = [0_u8; 64];
    let kernels = kernels.as_ptr().expose_provenance() as u64;
    let lent = sled.lend(kernels, 64);
    let send = |transfer: &Transfer| {
        let place = std::ptr::from_ref(transfer).expose_provenance() as u64;
        sled.raw_ioctl(COMMAND, place)
    };
    let good = nothing_asked(&room);
    ensure!(send(&good)? == 0, "a good transfer is refused");
    for bad in [0, 8, 0x8000, 1 << 47, 1 << 63, u64::MAX - 3, kernels] {
        ensure!(sled.raw_ioctl(COMMAND, bad)? == fault, "{bad:#x}: transfer");
        let request = Transfer {
            request: bad,
            ..good
        };
        ensure!(send(&request)? == fault, "{bad:#x}: request");
        let response = Transfer {
            response: bad,
            ..good
        };
        ensure!(send(&response)? == fault, "{bad:#x}: response");
    }
    drop(lent);
    gone(sled)
}
