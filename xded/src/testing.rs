//! Helpers of the tests.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// Two guests of one VPC on this host and a third one on another host.
pub(crate) const SETUP: &str = r#"
v2p = [
    { vni = 7, address = "10.0.0.1", mac = "A8:40:25:F0:00:01", sled = "fd00:1::1" },
    { vni = 7, address = "10.0.0.2", mac = "A8:40:25:F0:00:02", sled = "fd00:1::1" },
    { vni = 7, address = "10.0.0.3", mac = "A8:40:25:F0:00:03", sled = "fd00:2::1" },
]

[underlay]
address = "fd00:1::1"
link = [{ name = "net0", mtu = 9000 }]
route = [{ dest = "fd00::/16", via = "fe80::99", link = "net0" }]

[[port]]
name = "guest0"
mac = "A8:40:25:F0:00:01"
vni = 7
ipv4 = { address = "10.0.0.1", gateway = "10.0.0.254" }
routes = ["10.0.0.0/24 sub4=10.0.0.0/24 system"]

[[port]]
name = "guest1"
mac = "A8:40:25:F0:00:02"
vni = 7
ipv4 = { address = "10.0.0.2", gateway = "10.0.0.254" }
rules = ["dir=in priority=10 action=allow protocols=udp"]
routes = ["10.0.0.0/24 sub4=10.0.0.0/24 system"]
"#;

/// A folder of its own for a test, removed with what is in it.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// A new, empty folder with `name` in its name.
    pub(crate) fn new(name: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("xded-{name}-{}-{count}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// A file in it.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, content).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A UDP datagram from guest `from` to guest `to` of the subnet, through the
/// gateway.
pub(crate) fn udp(from: u8, to: u8) -> Vec<u8> {
    let mut ip = vec![0x45, 0, 0, 32, 0, 1, 0, 0, 64, 17, 0, 0];
    ip.extend([10, 0, 0, from, 10, 0, 0, to]);
    let sum: u32 = ip
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]))
        .sum();
    let sum = !u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    // Ports 1000 to 2000, no checksum.
    ip.extend([3, 0xe8, 7, 0xd0, 0, 12, 0, 0, 1, 2, 3, 4]);
    let macs = [
        0xa8, 0x40, 0x25, 0xff, 0x77, 0x77, 0xa8, 0x40, 0x25, 0xf0, 0, from,
    ];
    [&macs[..], &[8, 0], &ip].concat()
}
