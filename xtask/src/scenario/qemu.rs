//! A virtual machine as a guest: another kernel, in QEMU, behind a port.
//!
//! Purpose   guests of other tests are this machine's own stack, which shares
//!           buffers with the driver. A virtual machine has nothing but frames.
//!
//! ```text
//!   QEMU ── macvtap mv1 ── TAP g1 ── xded
//!          `- namespace of g1 -'
//! ```
//!
//! Both QEMU and xded want to be the program behind a TAP, so that QEMU gets
//! another device on top of it, or behind a bridge (`qemu/attach.sh`).
//!
//! The kernel is Debian's (`install::kernel`); what runs on it is busybox, and
//! udhcpc6, with a script (`qemu/init.sh`) that tells what it sees. Where the
//! processor can't have virtual machines, QEMU plays one.

mod ramdisk;

use super::{Ctx, Scenario};
use crate::demo::rack::PLANS;
use crate::install;
use crate::lab::process::Process;
use crate::lab::rack::with_setups;
use anyhow::{Context, Result, bail, ensure};
use std::fs::OpenOptions;
use std::time::{Duration, Instant};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "qemu",
    about: "a virtual machine in QEMU gets its addresses and MTU by DHCP and advertisement, and talks to guests of both sleds.",
    programs: &[
        ("busybox", "busybox"),
        ("ip", "iproute2"),
        ("ldd", "libc-bin"),
        ("qemu-system-x86_64", "qemu-system-x86"),
        ("socat", "socat"),
        ("udhcpc6", "busybox's sources"),
        ("vmlinuz", "linux-image-cloud-amd64, unpacked"),
    ],
    run,
};

/// The MTU of the machine's port: not the usual one, so that it can only have
/// come from the port.
const MTU: u16 = 1_400;
/// How long the machine may take from power on to off. Played by a processor
/// that others use as well, it takes some fifteen seconds.
const LIMIT: Duration = Duration::from_secs(120);
/// Bytes that it sends to each server, and gets back.
const EXCHANGED: u32 = 524_288;
/// How QEMU comes to the port's device.
const ATTACH: &str = include_str!("qemu/attach.sh");

fn run(ctx: &mut Ctx) -> Result<()> {
    let name = "name = \"g1\"";
    let setups = PLANS.map(|plan| {
        plan.setup
            .replacen(name, &format!("{name}\nmtu = {MTU}"), 1)
    });
    ctx.build(&with_setups(&PLANS, &setups))?;
    for guest in ["g2", "g3"] {
        ctx.tenant(guest)?.give()?;
    }
    let echo = "socat -t 30 TCP6-LISTEN:5001,fork,reuseaddr EXEC:cat";
    let _servers = [ctx.start("g2", echo, "")?, ctx.start("g3", echo, "")?];
    let told = ctx.run("g1", ATTACH)?;
    let way = told.lines().find_map(|line| line.strip_prefix("use "));
    let way = way.context("no way to g1")?;
    ramdisk::write(&ctx.folder().join("g1/ramdisk"))?;
    let mut machine = power_on(ctx, way)?;
    let told = listen(&mut machine)?;
    judge(ctx, &told)?;
    counters(ctx, &told)
}

/// Starts QEMU, which comes to the port's device in this `way`.
fn power_on(ctx: &mut Ctx, way: &str) -> Result<Process> {
    let mac = ctx.tenant("g1")?.port.mac;
    let mut peers = vec!["10.0.0.1".to_owned(), "fd77:1::1".to_owned()];
    let mut echo = Vec::new();
    for guest in ["g2", "g3"] {
        for ipv6 in [false, true] {
            let address = ctx.tenant(guest)?.address(ipv6)?.to_string();
            peers.push(address.clone());
            echo.push(address);
        }
    }
    let kernel = install::find("vmlinuz").context("no kernel")?;
    // What the shell is told to open comes last.
    let (way, open) = way.split_once(' ').unwrap_or((way, ""));
    let line = format!(
        "qemu-system-x86_64 -machine pc -accel {} -m 128 \
         -nodefaults -display none -serial stdio -no-reboot \
         -kernel {} -initrd ramdisk \
         -append 'console=ttyS0 quiet panic=-1 bytes={EXCHANGED} peers=\"{}\" echo=\"{}\"' \
         -netdev tap,id=net,{way} \
         -device virtio-net-pci,netdev=net,mac={mac},romfile= {open}",
        accelerator(),
        kernel.display(),
        peers.join(" "),
        echo.join(" "),
    );
    ctx.start("g1", &line, "")
}

/// What plays the machine: the processor, if it can and this user may.
fn accelerator() -> &'static str {
    let processor = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let can = |word| word == "vmx" || word == "svm";
    let may = OpenOptions::new().read(true).write(true).open("/dev/kvm");
    match processor.split_whitespace().any(can) && may.is_ok() {
        true => "kvm",
        false => "tcg",
    }
}

/// Hears the machine out: what it tells, without the word `vm`.
fn listen(machine: &mut Process) -> Result<Vec<String>> {
    let start = Instant::now();
    let mut told = Vec::new();
    loop {
        let left = LIMIT.saturating_sub(start.elapsed());
        let line = machine.wait_for_line("vm ", left)?;
        // A console has both ends of a line, and the kernel may be in front.
        let Some((_, line)) = line.trim_end().split_once("vm ") else {
            continue;
        };
        println!("    | {line}");
        match line {
            "done" => break,
            _ if line.starts_with("failed") => bail!("the virtual machine {line}"),
            _ => told.push(line.to_owned()),
        }
    }
    println!(
        "the virtual machine lived for {:.1} s",
        start.elapsed().as_secs_f64()
    );
    Ok(told)
}

/// What the machine was leased is what its port has, and it reached everybody.
fn judge(ctx: &Ctx, told: &[String]) -> Result<()> {
    let tenant = ctx.tenant("g1")?;
    let (v4, v6) = (tenant.address(false)?, tenant.address(true)?);
    let lease = one(told, "leased")?;
    ensure!(
        lease == format!("{v4} of 10.0.0.1, host name g1"),
        "{lease}"
    );
    let lease = one(told, "leased6")?;
    // The client writes all of its digits.
    ensure!(lease.parse() == Ok(v6), "{lease}");
    for mtu in ["mtu", "mtu6"] {
        let has = one(told, mtu)?;
        ensure!(has == MTU.to_string(), "its {mtu} is {has}");
    }
    for clean in ["tx_errors", "tx_dropped", "rx_errors"] {
        ensure!(one(told, clean)? == "0", "{clean}: {}", one(told, clean)?);
    }
    for (what, count) in [("reached", 6), ("exchanged", 4)] {
        let lines = told.iter().filter(|line| line.starts_with(what)).count();
        ensure!(lines == count, "it {what} {lines} of {count}");
    }
    Ok(())
}

/// The value of the one line with this name.
fn one<'a>(told: &'a [String], name: &str) -> Result<&'a str> {
    let mut values = told
        .iter()
        .filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let value = values
        .next()
        .with_context(|| format!("it doesn't say `{name}`"))?;
    ensure!(values.next().is_none(), "it says `{name}` twice");
    Ok(value)
}

/// The engine has seen what the machine's device says, and the only drops are
/// those of a stack that begins.
fn counters(ctx: &Ctx, told: &[String]) -> Result<()> {
    let stats = ctx.opteadm("sled-a", &["stats", "-p", "g1"])?;
    let count = |name: &str| {
        let mut lines = stats.lines().map(str::split_whitespace);
        let value = lines.find_map(|mut words| (words.nth(1)? == name).then(|| words.next())?);
        value.unwrap_or("0").parse::<u64>().context("no number")
    };
    // The machine leaves it to others to cut large segments, so that they are
    // more when they come to the port.
    let sent: u64 = one(told, "tx_packets")?.parse()?;
    let came = count("out_packets")?;
    ensure!(
        sent < came,
        "the machine sent {sent} frames, and {came} came"
    );
    let least = 4 * u64::from(EXCHANGED) / u64::from(MTU);
    ensure!(
        came > least,
        "{came} frames came, which can't have been all"
    );
    ensure!(count("in_packets")? > least, "too few went back");
    for wrong in [
        "spoofed_mac",
        "spoofed_ip",
        "bad_checksum",
        "firewall_default",
        "no_v2p",
    ] {
        ensure!(count(wrong)? == 0, "some were dropped: {wrong}");
    }
    Ok(())
}
