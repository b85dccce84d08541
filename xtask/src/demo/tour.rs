//! What is shown, in chapters.

use super::Paths;
use super::rack::PLANS;
use super::report::Report;
use crate::lab::capture::Capture;
use crate::lab::ping::{self, Series};
use crate::lab::process::output;
use crate::lab::rack::{INTERNET_V4, INTERNET_V6, Rack, Sled, Tenant};
use crate::lab::tcp::{self, Connection, Server};
use crate::lab::{Namespace, review};
use anyhow::{Context, Result, bail, ensure};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

/// A port that every guest's firewall allows from the VPC.
const OPEN_PORT: u16 = 5_001;
/// A port that g2's firewall denies.
const CLOSED_PORT: u16 = 8_080;
/// A port that g3's firewall allows from everywhere.
const WEB_PORT: u16 = 80;
/// How long a connection that is allowed may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(30);
/// How long a connection is tried that should be denied: more than the second
/// after which Linux sends its SYN again, so that two are seen.
const DENIED_LIMIT: Duration = Duration::from_millis(1_500);
/// How long throughput is measured.
const LOAD_TIME: Duration = Duration::from_secs(3);
/// How long `opteadm` may take.
const COMMAND_LIMIT: Duration = Duration::from_secs(10);
/// Lines of a listing that are shown.
const LINES_MAX: usize = 40;

/// Builds the rack and shows it.
///
/// # Errors
///
/// When the rack can't be built. What goes wrong later is in the report.
pub(super) fn run(paths: &Paths, report: &mut Report) -> Result<()> {
    report.say("== The rack: two sleds, three guests, a boundary and an internet");
    let mut rack = Rack::wire(&PLANS, &paths.folder)?;
    let capture = rack.record(&paths.capture())?;
    rack.start(&paths.driver)?;
    let mut tour = Tour {
        paths,
        report,
        rack,
        capture: Some(capture),
    };
    let chapters: [Chapter<'_>; 9] = [
        Tour::introduce,
        Tour::addresses,
        Tour::same_sled,
        Tour::other_sled,
        Tour::internet,
        Tour::firewall,
        Tour::listings,
        // The recording ends before the throughput, which would fill the disk.
        Tour::underlay,
        Tour::throughput,
    ];
    for chapter in chapters {
        if let Err(error) = chapter(&mut tour) {
            tour.report.say(&format!("    WRONG {error:#}"));
        }
    }
    tour.farewell();
    Ok(())
}

/// Shows one thing.
type Chapter<'a> = fn(&mut Tour<'a>) -> Result<()>;

struct Tour<'a> {
    paths: &'a Paths,
    report: &'a mut Report,
    rack: Rack,
    /// The recording; none after it was finished.
    capture: Option<Capture>,
}

impl Tour<'_> {
    fn introduce(&mut self) -> Result<()> {
        for sled in &self.rack.sleds {
            self.report.say(&format!(
                "    [{}] $ {} {}",
                sled.namespace.name(),
                self.paths.driver.program(),
                self.paths.driver.arguments(sled).join(" ")
            ));
        }
        for sled in &self.rack.sleds {
            let what = opteadm(self.paths, self.report, sled, &["list-ports"]);
            self.report
                .note("opteadm reaches the driver", what.map(|_| sled.socket()));
        }
        Ok(())
    }

    fn addresses(&mut self) -> Result<()> {
        self.report.say(
            "\n== Addresses: DHCP for IPv4; router advertisements for IPv6.\n\
             \x20   The IPv6 address itself is set by the demo: its guests have no DHCPv6 client yet.",
        );
        // Each waits a second or more for its link-local address; together
        // they wait once.
        let results: Vec<_> = thread::scope(|scope| {
            let tenants = &self.rack.tenants;
            let threads: Vec<_> = tenants
                .iter()
                .map(|tenant| scope.spawn(|| (lease(tenant), router(tenant))))
                .collect();
            threads.into_iter().map(|thread| thread.join()).collect()
        });
        let (mut dhcp, mut routers) = (true, true);
        for (tenant, result) in self.rack.tenants.iter().zip(results) {
            let name = &tenant.guest.name;
            let Ok((leased, router)) = result else {
                (dhcp, routers) = (false, false);
                continue;
            };
            dhcp &= self.report.note(&format!("{name} DHCP"), leased);
            routers &= self.report.note(&format!("{name} IPv6"), router);
        }
        self.report.set("dhcp", dhcp);
        self.report.set("router_advertisement", routers);
        let pings = self.rack.tenant("g1").and_then(|g1| {
            let v4 = g1.port.ipv4.context("no IPv4")?.gateway;
            let v6 = g1.port.ipv6.context("no IPv6")?.gateway;
            let from = &g1.guest.namespace;
            let (four, six) = (echo(from, IpAddr::V4(v4))?, echo(from, IpAddr::V6(v6))?);
            Ok(format!("{v4}: {four}; {v6}: {six}"))
        });
        self.report
            .check("ping_gateway", "g1 pings its gateway", pings);
        Ok(())
    }

    fn same_sled(&mut self) -> Result<()> {
        self.report
            .say("\n== Same sled: g1 and g2, without a tunnel");
        self.pair("g1", "g2", "same_sled")
    }

    fn other_sled(&mut self) -> Result<()> {
        self.report
            .say("\n== Other sled: g1 and g3, through Geneve over the underlay");
        self.pair("g1", "g3", "other_sled")
    }

    /// Ping and TCP between two guests, both families.
    fn pair(&mut self, from: &str, to: &str, item: &str) -> Result<()> {
        let (client, server) = (self.rack.tenant(from)?, self.rack.tenant(to)?);
        for ipv6 in [false, true] {
            let family = if ipv6 { "6" } else { "" };
            let (here, there) = (client.address(ipv6)?, server.address(ipv6)?);
            let echoes = echo(&client.guest.namespace, there);
            let what = format!("ping {from} to {to} ({there})");
            self.report
                .check(&format!("ping{family}_{item}"), &what, echoes);
            let address = SocketAddr::new(there, OPEN_PORT);
            let seen = converse(
                &client.guest.namespace,
                (&server.guest.namespace, there),
                address,
            );
            let what = format!("TCP {from} to {to} ({address})");
            let seen = seen.and_then(|seen| {
                ensure!(seen.ip() == here, "the server saw {seen}, not {here}");
                Ok(format!("the server saw {seen}"))
            });
            self.report
                .check(&format!("tcp{family}_{item}"), &what, seen);
        }
        Ok(())
    }

    fn internet(&mut self) -> Result<()> {
        self.report
            .say("\n== Internet: shared and floating addresses, through the boundary");
        let (g1, g3) = (self.rack.tenant("g1")?, self.rack.tenant("g3")?);
        let outside = &self.rack.internet;
        for (host, suffix) in [
            (IpAddr::V4(INTERNET_V4), ""),
            (IpAddr::V6(INTERNET_V6), "6"),
        ] {
            let ipv6 = host.is_ipv6();
            let web = SocketAddr::new(host, WEB_PORT);
            let seen = converse(&g1.guest.namespace, (outside, host), web);
            let seen = seen.and_then(|seen| shared(g1, seen));
            let what = format!("TCP g1 to {web}");
            self.report.check(&format!("snat{suffix}_tcp"), &what, seen);

            let floating = floating(g3, ipv6)?;
            let to = SocketAddr::new(floating, WEB_PORT);
            let inner = g3.address(ipv6)?;
            let seen = converse(outside, (&g3.guest.namespace, inner), to).and_then(|seen| {
                ensure!(seen.ip() == host, "g3 saw {seen}, not {host}");
                Ok(format!("g3 saw {seen}"))
            });
            let what = format!("TCP internet to g3's {to}");
            self.report
                .check(&format!("floating{suffix}_in"), &what, seen);
        }
        let pings = echo(&g1.guest.namespace, IpAddr::V4(INTERNET_V4));
        let what = format!("ping g1 to {INTERNET_V4}");
        self.report.check("snat_ping", &what, pings);

        let web = SocketAddr::new(IpAddr::V4(INTERNET_V4), WEB_PORT);
        let own = floating(g3, false)?;
        let seen = converse(&g3.guest.namespace, (outside, web.ip()), web).and_then(|seen| {
            ensure!(seen.ip() == own, "the host saw {seen}, not {own}");
            Ok(format!("the host saw {seen}"))
        });
        self.report
            .check("floating_out", &format!("TCP g3 to {web}"), seen);

        let boundary = self.rack.boundary.as_ref().context("no boundary")?;
        let counters = boundary.counters();
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        self.report.say(&format!(
            "    The boundary let {} packets out and {} in, and refused {}.",
            count(&counters.outbound),
            count(&counters.inbound),
            count(&counters.refused)
        ));
        Ok(())
    }

    fn firewall(&mut self) -> Result<()> {
        self.report
            .say("\n== Firewall: a denied connection, why, and a rule added live");
        let (g1, g2) = (self.rack.tenant("g1")?, self.rack.tenant("g2")?);
        let sled = &self.rack.sleds[g2.sled];
        let there = g2.address(false)?;
        let to = SocketAddr::new(there, CLOSED_PORT);
        let _server = Server::start(&g2.guest.namespace, to)?;

        let denied = match tcp::exchange(&g1.guest.namespace, to, DENIED_LIMIT) {
            Ok(_) => Err(anyhow::anyhow!("it was allowed")),
            Err(error) => Ok(format!("{error:#}")),
        };
        let what = format!("TCP g1 to g2 ({to}) is denied");
        self.report.check("denied", &what, denied);
        let reason = opteadm(self.paths, self.report, sled, &["stats", "-p", "g2"]);
        let reason = reason.and_then(|text| {
            let line = text.lines().find(|line| line.contains("firewall_deny"));
            let line = line.context("no drop by `firewall_deny` is shown")?;
            Ok(line.split_whitespace().collect::<Vec<_>>().join(" "))
        });
        self.report.check("deny_reason_shown", "the reason", reason);

        let rule = "dir=in priority=50 action=allow hosts=vni=1001 protocols=tcp ports=8080";
        let added = opteadm(
            self.paths,
            self.report,
            sled,
            &["add-fw-rule", "-p", "g2", rule],
        );
        let works = added.and_then(|_| {
            let seen = tcp::exchange(&g1.guest.namespace, to, CONNECT_LIMIT)?.seen_as;
            Ok(format!("the server saw {seen}"))
        });
        let what = format!("TCP g1 to g2 ({to}) with the new rule");
        self.report.check("live_rule_change", &what, works);
        Ok(())
    }

    fn listings(&mut self) -> Result<()> {
        self.report
            .say("\n== Listings, while a connection from g1 to g3 is open");
        let (g1, g3) = (self.rack.tenant("g1")?, self.rack.tenant("g3")?);
        let to = SocketAddr::new(g3.address(false)?, OPEN_PORT);
        let _server = Server::start(&g3.guest.namespace, to)?;
        let connection = Connection::open(&g1.guest.namespace, to, CONNECT_LIMIT);
        let sled = &self.rack.sleds[g1.sled];
        let mut good = connection.is_ok();
        for (args, expected) in [
            (&["list-ports"][..], "g1"),
            (&["list-layers", "-p", "g2"], "firewall"),
            (&["dump-layer", "-p", "g2", "firewall"], "8080"),
            (&["dump-uft", "-p", "g1"], "10.0.0.13"),
            (&["dump-tcp-flows", "-p", "g1"], "10.0.0.13"),
            (&["dump-v2p"], "fd00:99::b"),
            (&["show-underlay"], "net0"),
        ] {
            let found = opteadm(self.paths, self.report, sled, args).and_then(|text| {
                ensure!(text.contains(expected), "`{expected}` isn't in it");
                Ok(format!("has {expected}"))
            });
            good &= self.report.note(args[0], found);
        }
        let closed = connection.and_then(|connection| connection.finish(Duration::ZERO));
        good &= self.report.note(
            "the connection survives being looked at",
            closed.map(|exchange| format!("{} bytes arrived", exchange.bytes)),
        );
        self.report.set("listings", good);
        Ok(())
    }

    /// Ends the recording and judges it.
    fn underlay(&mut self) -> Result<()> {
        self.report.say("\n== The underlay, as it was recorded");
        let capture = self.capture.take();
        let capture = capture.context("the recording ended already")?;
        let path = self.paths.capture();
        let reviewed = capture.finish().and_then(|recorded| {
            let review = review::review(&path)?;
            ensure!(
                review.tunnelled > 0,
                "no tunnel frame in {} frames",
                recorded.frames
            );
            ensure!(review.wrong.is_empty(), "{}", review.wrong.join("; "));
            Ok(format!(
                "{} frames, {} of them Geneve, all well-formed",
                recorded.frames, review.tunnelled
            ))
        });
        self.report
            .check("underlay_capture", "underlay.pcapng", reviewed);
        Ok(())
    }

    fn throughput(&mut self) -> Result<()> {
        self.report
            .say("\n== Throughput: one TCP connection from g1 to g3 (not recorded)");
        let (g1, g3) = (self.rack.tenant("g1")?, self.rack.tenant("g3")?);
        for (ipv6, item) in [
            (false, "tcp_other_sled_gbps"),
            (true, "tcp6_other_sled_gbps"),
        ] {
            let to = SocketAddr::new(g3.address(ipv6)?, OPEN_PORT);
            let _server = Server::start(&g3.guest.namespace, to)?;
            let load = Connection::open(&g1.guest.namespace, to, CONNECT_LIMIT)
                .and_then(|connection| connection.finish(LOAD_TIME));
            let gbps = load.as_ref().map_or(0.0, tcp::Exchange::gbps);
            self.report.note(
                &format!("TCP g1 to g3 ({to})"),
                load.map(|load| {
                    let mib = load.bytes >> 20;
                    format!("{gbps:.2} Gb/s: {mib} MiB in {:.1?}", load.time)
                }),
            );
            self.report.number(item, gbps);
        }
        Ok(())
    }

    fn farewell(&mut self) {
        let alive = self
            .rack
            .sleds
            .iter_mut()
            .try_for_each(Sled::end)
            .map(|()| "both run, and end when they are told to".into());
        self.report.say("\n== End");
        self.report.check("drivers_alive", "drivers", alive);
    }
}

/// Runs `opteadm` on a sled and shows the command and what it printed.
fn opteadm(paths: &Paths, report: &Report, sled: &Sled, args: &[&str]) -> Result<String> {
    let quoted: Vec<_> = args
        .iter()
        .map(|arg| match arg.contains(' ') {
            true => format!("\"{arg}\""),
            false => (*arg).to_owned(),
        })
        .collect();
    let line = quoted.join(" ");
    report.say(&format!("    $ opteadm --socket {} {line}", sled.socket()));
    let output = output(sled.opteadm(&paths.opteadm, args), COMMAND_LIMIT)?;
    let lines = output.text.lines().count();
    let shown: Vec<_> = output.text.lines().take(LINES_MAX).collect();
    report.quote(&shown.join("\n"));
    if lines > LINES_MAX {
        report.say(&format!("    | ... and {} lines more", lines - LINES_MAX));
    }
    if !output.success {
        bail!("opteadm failed");
    }
    Ok(output.text)
}

fn lease(tenant: &Tenant) -> Result<String> {
    let lease = tenant.guest.dhcp()?;
    let config = tenant.port.ipv4.context("no IPv4")?;
    ensure!(lease.address == config.address, "leased {}", lease.address);
    ensure!(lease.bits == 32, "a prefix of {} bits", lease.bits);
    let default = (Ipv4Addr::UNSPECIFIED, 0, config.gateway);
    ensure!(lease.routes.contains(&default), "routes {:?}", lease.routes);
    Ok(format!(
        "{}/{} by {}, gateway {}, MTU {}, name {}, DNS {:?}, {} s",
        lease.address,
        lease.bits,
        lease.server,
        config.gateway,
        lease.mtu.map_or("unsaid".into(), |mtu| mtu.to_string()),
        lease.hostname.as_deref().unwrap_or("unsaid"),
        lease.dns,
        lease.lease_s
    ))
}

fn router(tenant: &Tenant) -> Result<String> {
    let address: Ipv6Addr = tenant.port.ipv6.context("no IPv6")?.address;
    tenant.guest.set_ipv6(address)?;
    let (own, router) = tenant.guest.ipv6_router()?;
    Ok(format!(
        "own {own}, router {router}, and {address} set by hand"
    ))
}

/// Three echo requests, all answered.
fn echo(from: &Namespace, to: IpAddr) -> Result<String> {
    let echoes = ping::ping(from, to, &Series::of(3))?;
    ensure!(echoes.all(), "{echoes}");
    Ok(echoes.to_string())
}

/// One TCP connection from `client` to `to`, which a server in `server` at the
/// address `at` answers; returns as whom the server saw the client.
fn converse(
    client: &Namespace,
    (server, at): (&Namespace, IpAddr),
    to: SocketAddr,
) -> Result<SocketAddr> {
    let _server = Server::start(server, SocketAddr::new(at, to.port()))?;
    Ok(tcp::exchange(client, to, CONNECT_LIMIT)?.seen_as)
}

/// Whether `seen` is the guest's shared address and one of its ports.
fn shared(tenant: &Tenant, seen: SocketAddr) -> Result<String> {
    let snat = &tenant.port.external.snat;
    let own = snat
        .iter()
        .find(|snat| snat.address == seen.ip())
        .with_context(|| format!("the host saw {seen}, which isn't the shared address"))?;
    let ports = own.first_port..=own.last_port;
    ensure!(
        ports.contains(&seen.port()),
        "the host saw {seen}, not a port of {ports:?}"
    );
    Ok(format!("the host saw {seen}, a port of {ports:?}"))
}

fn floating(tenant: &Tenant, ipv6: bool) -> Result<IpAddr> {
    let floating = &tenant.port.external.floating;
    floating
        .iter()
        .map(|floating| floating.address)
        .find(|address| address.is_ipv6() == ipv6)
        .context("no floating address of this family")
}
