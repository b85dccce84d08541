//! Coming and going: the module, ports, commands, privileges, failures.

use super::{Play, Tool, attached, command, end, frames, gone, prepare, setup, two_guests};
use anyhow::{Context as _, Result, ensure};
use opte_core::api::{Command, Setup};
use opte_core::limits::REQUEST_BYTES_MAX;
use opte_ioctl::client::Client;
use opte_ioctl::device::{COMMAND, TRANSFER_VERSION, Transfer};
use xde_loader::{Context, Layout, Sled};

/// What this file plays.
pub(super) const PLAYS: &[Play] = &[
    ("load and unload", load_and_unload),
    ("attach and detach, again and again", attach_again),
    ("privileges", privileges),
    ("hello", hello),
    ("ports come and go", ports),
    ("a port in use stays", port_in_use),
    ("detach with live ports is refused", detach_refused),
    ("a failure at each step of a setup", failing_setup),
    ("a failure at each step of attach", failing_attach),
    ("transfers that make no sense", hostile_transfers),
];

fn load_and_unload(module: &[u8]) -> Result<()> {
    let left = Sled::load(module)?.unload()?;
    ensure!(left.is_empty(), "{left:?}");
    Ok(())
}

fn attach_again(module: &[u8]) -> Result<()> {
    let sled = Sled::load(module)?;
    for _ in 0..3 {
        sled.attach()?;
        sled.tick()?;
        ensure!(sled.detach()?, "detach is refused");
    }
    sled.attach()?;
    gone(sled)
}

fn privileges(module: &[u8]) -> Result<()> {
    let sled = attached(module)?;
    sled.set_privileged(false);
    ensure!(sled.open()? == 1, "somebody without privileges opens it");
    ensure!(sled.raw_ioctl(COMMAND, 0)? == 1, "or sends commands");
    sled.set_privileged(true);
    gone(sled)
}

fn hello(module: &[u8]) -> Result<()> {
    let sled = attached(module)?;
    let hello = Tool(&sled).hello()?;
    ensure!(hello.driver == "xde", "{hello:?}");
    gone(sled)
}

fn ports(module: &[u8]) -> Result<()> {
    let sled = attached(module)?;
    let [_, before @ ..] = sled.holdings();
    let setup = setup()?;
    // Without a datalink id there is no port, and nothing of one.
    let refused = command(&sled, Command::Apply(setup.clone()));
    ensure!(refused.is_err(), "a setup without NICs and ids is taken");
    let [_, after @ ..] = sled.holdings();
    ensure!(before == after, "it left something: {after:?}");
    prepare(&sled, &setup);
    for _ in 0..3 {
        command(&sled, Command::Apply(setup.clone()))?;
        ensure!(
            sled.port_state("g1") == Some((true, 1_500)),
            "{:?}",
            sled.port_state("g1")
        );
        let name = "g2".parse().map_err(anyhow::Error::msg)?;
        command(&sled, Command::DeletePort(name))?;
        ensure!(sled.port_state("g2").is_none(), "a deleted port is there");
        command(&sled, Command::Apply(Setup::default()))?;
    }
    let [_, macs, clients, stats] = sled.holdings();
    ensure!((macs, clients, stats) == (0, 0, 1), "{:?}", sled.holdings());
    gone(sled)
}

fn port_in_use(module: &[u8]) -> Result<()> {
    let sled = two_guests(module)?;
    sled.use_port("g1", true)?;
    let name = "g1".parse().map_err(anyhow::Error::msg)?;
    let refused = command(&sled, Command::DeletePort(name));
    let refused = refused.err().context("a port in use is deleted")?;
    ensure!(refused.to_string().contains("in use"), "{refused}");
    ensure!(
        command(&sled, Command::Apply(Setup::default())).is_err(),
        "or all of them"
    );
    ensure!(
        sled.port_state("g1").is_some(),
        "it is gone in spite of that"
    );
    sled.use_port("g1", false)?;
    end(sled)
}

fn detach_refused(module: &[u8]) -> Result<()> {
    let sled = two_guests(module)?;
    ensure!(!sled.detach()?, "it is detached with live ports");
    let bytes = frames("0.0 tx g1 udp 10.0.0.1:1000 > 10.0.0.2:53 len 32")?;
    let packets: Vec<_> = bytes
        .iter()
        .map(|f| (f.as_slice(), Layout::default()))
        .collect();
    sled.guest_sends("g1", &packets, Context::Packet)?;
    ensure!(sled.take_sent().len() == 1, "and carries nothing any more");
    end(sled)
}

/// Fails after each number of steps that could fail, until all succeed.
fn failing_setup(module: &[u8]) -> Result<()> {
    let sled = attached(module)?;
    let setup = setup()?;
    prepare(&sled, &setup);
    let mut failures = 0;
    for count in 0.. {
        sled.fail_step_after(Some(count));
        let done = command(&sled, Command::Apply(setup.clone()));
        sled.fail_step_after(None);
        // A command that asks for nothing puts away what retires.
        command(&sled, Command::ListPorts(0))?;
        let [_, macs, clients, _] = sled.holdings();
        if done.is_ok() && sled.kstat("xde_layer:0:g2").is_ok() {
            break;
        }
        // All or nothing: also when only the answer couldn't be copied out.
        ensure!(
            matches!((macs, clients), (0, 0) | (2, 1)),
            "failing after {count} leaves {macs} MACs and {clients} clients"
        );
        command(&sled, Command::Apply(Setup::default()))?;
        failures += 1;
        ensure!(failures < 100, "it never succeeds");
    }
    ensure!(failures > 8, "only {failures} steps can fail");
    end(sled)
}

fn failing_attach(module: &[u8]) -> Result<()> {
    for count in 0..16 {
        let sled = Sled::load(module)?;
        sled.fail_step_after(Some(count));
        let attached = sled.attach();
        sled.fail_step_after(None);
        if attached.is_ok() {
            gone(sled)?;
            if count > 3 {
                return Ok(());
            }
            continue;
        }
        let left = sled.unload()?;
        ensure!(left.is_empty(), "failing after {count}: {left:?}");
    }
    anyhow::bail!("it never succeeds")
}

fn hostile_transfers(module: &[u8]) -> Result<()> {
    let sled = attached(module)?;
    let (fault, invalid, not_ours) = (14, 22, 25);
    ensure!(sled.raw_ioctl(1, 0)? == not_ours, "another command");
    ensure!(sled.raw_ioctl(COMMAND, 16)? == fault, "no address");
    let mut room = vec![0_u8; opte_core::limits::RESPONSE_BYTES_MAX];
    let good = Transfer {
        version: TRANSFER_VERSION,
        flags: 0,
        request: room.as_ptr().expose_provenance() as u64,
        request_len: 100,
        response: room.as_mut_ptr().expose_provenance() as u64,
        response_room: room.len() as u64,
        response_len: 0,
    };
    let wrong = |change: fn(&mut Transfer)| {
        let mut transfer = good;
        change(&mut transfer);
        sled.raw_ioctl(COMMAND, (&raw const transfer).expose_provenance() as u64)
    };
    ensure!(wrong(|t| t.version = 9)? == invalid, "version");
    ensure!(wrong(|t| t.flags = 1)? == invalid, "flags");
    ensure!(wrong(|t| t.request_len = u64::MAX)? == invalid, "length");
    ensure!(
        wrong(|t| t.request_len = REQUEST_BYTES_MAX as u64 + 1)? == invalid,
        "length"
    );
    ensure!(wrong(|t| t.response_room = 10)? == invalid, "room");
    ensure!(wrong(|t| t.request = 8)? == fault, "request");
    ensure!(wrong(|t| t.response = 8)? == fault, "response");
    // Bytes that are no envelope are answered with a refusal.
    ensure!(wrong(|_| ())? == 0, "an envelope of zeroes isn't answered");
    // Each copy that fails is a fault and nothing else.
    for count in 0..3 {
        sled.fail_step_after(Some(count));
        let errno = wrong(|_| ())?;
        sled.fail_step_after(None);
        ensure!(errno == fault, "copy {count}: error {errno}");
    }
    gone(sled)
}
