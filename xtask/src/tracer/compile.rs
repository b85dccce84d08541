//! Every script compiled, with the types of both systems.
//!
//! Terms     system library  what a tracer knows of its system's types; for
//!                           illumos it is `illumos.d` instead of what Linux's
//!                           has about networks
//! Flow      check: scripts with either library -> what is wrong isn't taken

use super::text;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The types that illumos has and Linux has otherwise.
const ILLUMOS: &str = include_str!("illumos.d");
/// Files of Linux's library in which they are.
const NETWORKS: [&str; 4] = ["ip.d", "net.d", "tcp.d", "udp.d"];
/// A member that neither system has.
const WRONG: &str =
    "PROV::tcp-send { trace((xlate <tcpsinfo_t>((opte_packet_t *)arg1)).tcps_mood); }\n";
/// Members of the manuals' types that clauses of one's own may name.
const MEMBERS: &str = "pkt_addr cs_addr cs_cid cs_pid cs_zoneid if_name if_local if_ipstack if_addr \
    ip_ver ip_plength ip_saddr ip_daddr ipv4_ver ipv4_ihl ipv4_tos ipv4_length ipv4_ident ipv4_flags \
    ipv4_offset ipv4_ttl ipv4_protocol ipv4_protostr ipv4_checksum ipv4_src ipv4_dst ipv4_saddr \
    ipv4_daddr ipv6_ver ipv6_tclass ipv6_flow ipv6_plen ipv6_nexthdr ipv6_nextstr ipv6_hlim ipv6_src \
    ipv6_dst ipv6_saddr ipv6_daddr tcp_sport tcp_dport tcp_seq tcp_ack tcp_offset tcp_flags tcp_window \
    tcp_checksum tcp_urgent tcps_addr tcps_state tcps_lport tcps_rport tcps_laddr tcps_raddr udp_sport \
    udp_dport udp_length udp_checksum udps_addr udps_lport udps_rport udps_laddr udps_raddr";

/// Compiles all scripts for both systems.
pub(super) fn check(root: &Path, tracer: &Path) -> Result<()> {
    let mut scripts = scripts(root)?;
    let work = root.join("target/tracer/types");
    let _ = fs::remove_dir_all(&work);
    fs::create_dir_all(&work)?;
    let wrong = work.join("wrong.d");
    fs::write(&wrong, WRONG)?;
    let members = work.join("members.d");
    let traced = MEMBERS.split_whitespace();
    let traced = traced.map(|member| format!("PROV::tcp-send {{ trace(args[0]->{member}); }}\n"));
    fs::write(&members, traced.collect::<String>())?;
    scripts.push(members);
    let mut libraries = vec![None];
    // Somebody's own tracer has its library elsewhere.
    if let Some(linux) = library(tracer) {
        libraries.push(Some(for_illumos(&linux, &work.join("illumos"))?));
    }
    for library in libraries {
        let done = compile(root, tracer, library.as_deref(), &scripts)?;
        ensure!(done.status.success(), "{library:?}: {}", text(&done));
        let done = compile(
            root,
            tracer,
            library.as_deref(),
            std::slice::from_ref(&wrong),
        )?;
        let found = !done.status.success() && text(&done).contains("tcps_mood");
        ensure!(found, "{library:?}: nothing is checked: {}", text(&done));
    }
    Ok(())
}

/// All scripts.
pub(super) fn scripts(root: &Path) -> Result<Vec<PathBuf>> {
    let mut scripts = Vec::new();
    for entry in fs::read_dir(root.join("dtrace"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "d") {
            scripts.push(path);
        }
    }
    Ok(scripts)
}

/// Has the tracer compile scripts, all in one run.
fn compile(
    root: &Path,
    tracer: &Path,
    library: Option<&Path>,
    scripts: &[PathBuf],
) -> Result<Output> {
    let mut command = Command::new(tracer);
    if let Some(library) = library {
        command.arg(format!("-xsyslibdir={}", library.display()));
    }
    command.args(["-Z", "-e"]);
    options(&mut command, root, "/bin/true", scripts);
    command.output().context("can't run the tracer")
}

/// What a tracer is told, to run scripts on a program that ends.
pub(super) fn options(tracer: &mut Command, root: &Path, program: &str, scripts: &[PathBuf]) {
    tracer.args(["-q", "-C", "-DPROV=opte$target:*", "-Dargs=opte_args", "-L"]);
    tracer.arg(root.join("dtrace/lib")).args(["-c", program]);
    for script in scripts {
        tracer.arg("-s").arg(script);
    }
}

/// The system library of a tracer that `get-dtrace-linux.sh` has put somewhere.
fn library(tracer: &Path) -> Option<PathBuf> {
    let libraries = tracer.parent()?.join("usr/lib");
    let folders = fs::read_dir(libraries).ok()?.flatten();
    let mut folders = folders.map(|folder| folder.path().join("dtrace"));
    folders.find(|folder| folder.is_dir())
}

/// A copy of Linux's library with illumos' types.
fn for_illumos(linux: &Path, copy: &Path) -> Result<PathBuf> {
    let cp = Command::new("cp").arg("-r").args([linux, copy]).output()?;
    ensure!(cp.status.success(), "{}", text(&cp));
    // A folder for each kernel from which on it holds.
    for entry in fs::read_dir(copy)? {
        let folder = entry?.path();
        if folder.join("net.d").is_file() {
            for file in NETWORKS {
                fs::remove_file(folder.join(file))?;
            }
            fs::write(folder.join("illumos.d"), ILLUMOS)?;
        }
    }
    Ok(copy.to_owned())
}
