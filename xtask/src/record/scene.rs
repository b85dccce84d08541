//! The scenes: which program talks to whom.

use super::rack::{Addresses, Rack};
use super::serve;
use anyhow::Result;
use std::net::SocketAddr;

/// A golden case whose inputs are recorded.
pub(super) struct Scene {
    /// The case's folder.
    pub(super) name: &'static str,
    pub(super) addresses: Addresses,
    pub(super) run: fn(&Rack) -> Result<()>,
}

const fn scene(name: &'static str, run: fn(&Rack) -> Result<()>) -> Scene {
    Scene {
        name,
        addresses: Addresses::Given,
        run,
    }
}

/// All of them.
pub(super) const SCENES: &[Scene] = &[
    scene("real-ping", |rack| {
        for to in ["10.0.0.254", "10.0.0.2", "fd77::ff", "fd77::2"] {
            rack.program("g1", &format!("ping -c 2 -i 0.1 -W 2 {to}"))?;
        }
        Ok(())
    }),
    Scene {
        name: "real-dhclient",
        addresses: Addresses::Asked,
        run: dhclient,
    },
    scene("real-curl", |rack| {
        for (server, url) in [
            ("10.0.0.2:80", "http://10.0.0.2/"),
            ("[fd77::2]:80", "http://[fd77::2]/"),
        ] {
            serve::web(rack.namespace("g2")?, at(server)?)?;
            rack.program("g1", &format!("curl --silent --fail --max-time 10 {url}"))?;
        }
        Ok(())
    }),
    scene("real-iperf3", |rack| {
        let log = std::env::temp_dir().join(format!("iperf3-{}.log", std::process::id()));
        let mut server = rack.server("g2", "iperf3 --server --one-off --forceflush", &log)?;
        server.wait_for_line("Server listening", std::time::Duration::from_secs(5))?;
        rack.program("g1", "iperf3 --client 10.0.0.2 --bytes 16K --length 1K")?;
        std::fs::remove_file(log)?;
        Ok(())
    }),
    scene("real-internet", |rack| {
        let internet = rack.namespace("internet")?;
        serve::dns(internet, at("203.0.113.10:53")?)?;
        rack.program("g1", "dig +tries=1 +time=5 @203.0.113.10 www.example.com A")?;
        serve::web(internet, at("203.0.113.10:80")?)?;
        rack.program(
            "g1",
            "curl --silent --fail --max-time 10 http://203.0.113.10/",
        )?;
        rack.program("g1", "ping -c 2 -i 0.1 -W 2 203.0.113.10")
    }),
    scene("real-tunnel", |rack| {
        for to in ["10.0.0.3", "fd77::3"] {
            rack.program("g1", &format!("ping -c 2 -i 0.1 -W 2 {to}"))?;
        }
        serve::web(rack.namespace("g3")?, at("[fd77::3]:80")?)?;
        rack.program("g1", "curl --silent --fail --max-time 10 http://[fd77::3]/")?;
        // The far guest opens a connection, too.
        serve::web(rack.namespace("g1")?, at("10.0.0.1:80")?)?;
        rack.program("g3", "curl --silent --fail --max-time 10 http://10.0.0.1/")
    }),
];

/// ISC's client gets a lease and gives it back.
fn dhclient(rack: &Rack) -> Result<()> {
    let folder = std::env::temp_dir().join(format!("dhclient-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let files = format!(
        "-sf /bin/true -cf /dev/null -lf {0}/leases -pf {0}/pid",
        folder.display()
    );
    rack.program("g1", &format!("dhclient -4 -1 -v {files} g1"))?;
    // The client's script would do it, and change this machine's resolver.
    rack.give("g1")?;
    rack.program("g1", &format!("dhclient -4 -r -v {files} g1"))?;
    std::fs::remove_dir_all(folder)?;
    Ok(())
}

fn at(address: &str) -> Result<SocketAddr> {
    Ok(address.parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{case, workspace};

    #[test]
    fn every_scene_is_a_case_and_every_recorded_case_a_scene() {
        let folder = workspace::root().join(case::FOLDER);
        let mut recorded: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.starts_with("real-"))
            .collect();
        recorded.sort();
        let mut scenes: Vec<_> = SCENES.iter().map(|scene| scene.name).collect();
        scenes.sort_unstable();
        assert_eq!(recorded, scenes);
    }
}
