//! Examples of the network providers' manuals, with our provider's name.

use super::{Ctx, LIMIT, PINGS, TCP_PORT, Told, connection, exactly, families, ping, watch};
use anyhow::{Context, Result, ensure};
use std::net::{SocketAddr, TcpStream};

/// What each example is told, and prints after its first line.
const EXAMPLES: [&str; 8] = [
    // Packets by host.
    "PROV::ip-send { @[args[2]->ip_saddr] = count(); }",
    // Packets by port.
    "PROV::tcp-receive { @[args[4]->tcp_dport] = count(); }",
    // Who connects to my server?
    "PROV::tcp-accept-established /args[3]->tcps_lport == 5001/ { @[args[3]->tcps_raddr] = count(); }",
    // Which ports are dialled?
    "PROV::tcp-connect-request { @[args[3]->tcps_rport] = count(); }",
    // Sizes that are sent, by destination.
    "PROV::ip-send { @[args[2]->ip_daddr] = quantize(args[2]->ip_plength); }",
    // How long connections take.
    "PROV::tcp-connect-request { start[args[1]->cs_cid] = timestamp; } \
     PROV::tcp-connect-established /start[args[1]->cs_cid]/ { \
     @ns[args[3]->tcps_raddr] = quantize(timestamp - start[args[1]->cs_cid]); start[args[1]->cs_cid] = 0; }",
    // How long the first byte takes.
    "PROV::tcp-connect-established { born[args[1]->cs_cid] = timestamp; } \
     PROV::tcp-receive /born[args[1]->cs_cid] && args[2]->ip_plength > args[4]->tcp_offset/ { \
     @ns[args[3]->tcps_raddr] = quantize(timestamp - born[args[1]->cs_cid]); born[args[1]->cs_cid] = 0; }",
    // Who is scanned?
    "PROV::tcp-accept-refused { @[args[2]->ip_daddr, args[4]->tcp_sport] = count(); }",
];

pub(super) fn play(ctx: &mut Ctx) -> Result<()> {
    let families = families(ctx)?;
    let lines = EXAMPLES
        .map(|clauses| format!("-n\tdtrace:::BEGIN {{ printf(\"watching\\n\"); }} {clauses}"));
    let told = watch(ctx, lines.each_ref().map(String::as_str), |ctx| {
        for (_, b, _) in families {
            let server = SocketAddr::new(b, TCP_PORT);
            connection(ctx, server)?;
            refused_connection(ctx, server)?;
            ping(ctx, b)?;
        }
        Ok(())
    })?;
    let [
        senders,
        ports,
        clients,
        dialled,
        sizes,
        latency,
        first,
        scanned,
    ] = told;
    let at = TCP_PORT.to_string();
    let number = |told: &Told, word: &str| -> Result<usize> {
        let pattern = [word];
        let line = told
            .like(&pattern)
            .next()
            .with_context(|| format!("nothing about {word}"))?;
        Ok(line.last().context("an empty line")?.parse()?)
    };
    for (a, b, _) in families {
        let (a, b) = (a.to_string(), b.to_string());
        for address in [&a, &b] {
            let packets = number(&senders, address)?;
            // And those of the connection.
            ensure!(
                (PINGS + 4..PINGS + 12).contains(&packets),
                "{packets} from {address}"
            );
            let others = if *address == a { &b } else { &a };
            let (sent, sizes) = (number(&senders, others)?, sizes.values(&[address]));
            // It sends to the gateway too.
            ensure!(
                (PINGS + 4..=sent).contains(&sizes),
                "{sizes} packets to {address} of {sent}"
            );
        }
        ensure!(number(&clients, &a)? == 1, "{a} connected once");
        exactly("scans", &scanned, &[&a, &at, "1"], 1)?;
        for told in [&latency, &first] {
            ensure!(told.values(&[&b]) == 1, "a duration for {b}");
        }
    }
    ensure!(number(&dialled, &at)? == 4, "four connections to {at}");
    ensure!(number(&ports, &at)? >= 8, "segments to {at}");
    Ok(())
}

/// A connection from g1 where nobody listens.
fn refused_connection(ctx: &Ctx, to: SocketAddr) -> Result<()> {
    let connect = || Ok(TcpStream::connect_timeout(&to, LIMIT));
    let connected = ctx.tenant("g1")?.guest.namespace.run(connect)?;
    ensure!(connected.is_err(), "somebody listens at {to}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::EXAMPLES;
    use crate::workspace;

    #[test]
    fn the_readme_has_every_example() {
        let readme = std::fs::read_to_string(workspace::root().join("dtrace/README")).unwrap();
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let readme = words(&readme).replace("== 80/", "== 5001/");
        for example in EXAMPLES {
            let command = format!("opte-trace -n '{}'", words(example));
            assert!(readme.contains(&command), "{command}");
        }
    }
}
