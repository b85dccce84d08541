//! Where frames go in a replay: one capture file for each port and link.

use super::neighbour;
use super::results::{self, CaptureFile, Folder};
use anyhow::{Context, bail};
use opte_core::api::{ConfigError, LinkSpec, PortId, PortSpec};
use opte_core::host::{Devices, LinkDevice};
use opte_core::verdict::{LinkId, Output};
use opte_core::wire::MacAddr;
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};
use std::io;

/// Neighbours' answers that wait to be put in.
const ANSWERS_MAX: usize = 64;

/// Numbers and names of ports and links, as the engine gives them out.
#[derive(Debug, Default)]
pub(super) struct Names {
    pub(super) ports: BTreeMap<PortId, String>,
    pub(super) links: BTreeMap<LinkId, String>,
    /// Hardware addresses that captures tell, by link name.
    pub(super) recorded: BTreeMap<String, MacAddr>,
}

impl Devices for Names {
    fn open_port(&mut self, id: PortId, spec: &PortSpec) -> Result<(), ConfigError> {
        self.ports.insert(id, spec.name.to_string());
        Ok(())
    }

    fn close_port(&mut self, id: PortId) {
        self.ports.remove(&id);
    }

    fn open_link(&mut self, id: LinkId, spec: &LinkSpec) -> Result<LinkDevice, ConfigError> {
        self.links.insert(id, spec.name.clone());
        Ok(LinkDevice {
            mac: self
                .recorded
                .get(&spec.name)
                .copied()
                .unwrap_or_else(|| link_mac(id)),
            mtu: spec.mtu,
        })
    }

    fn close_link(&mut self, id: LinkId) {
        self.links.remove(&id);
    }
}

/// The hardware address of a link in a replay whose captures don't tell it:
/// 02:58:44:45 ("XDE") and the link's number.
fn link_mac(id: LinkId) -> MacAddr {
    let [high, low] = id.0.to_be_bytes();
    MacAddr([0x02, 0x58, 0x44, 0x45, high, low])
}

/// A frame in a result file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Place {
    file: String,
    index: u64,
}

/// One result file.
struct Sink {
    /// The port's or link's name.
    name: String,
    file_name: String,
    file: CaptureFile,
}

/// All result files, and what became of the frame that is being replayed.
pub(super) struct Sinks {
    ports: BTreeMap<PortId, Sink>,
    links: BTreeMap<LinkId, Sink>,
    /// The time that frames are written with.
    time_ns: u64,
    written: Vec<Place>,
    /// Whether neighbours answer, and answers that wait to be put in.
    neighbours: bool,
    answers: VecDeque<(LinkId, Vec<u8>)>,
    /// The first write that failed.
    error: Option<(String, io::Error)>,
}

impl Sinks {
    /// A file for each port and link.
    pub(super) fn create(
        folder: &mut Folder,
        names: Names,
        neighbours: bool,
    ) -> anyhow::Result<Self> {
        let mut open = |kind: &str, name: String| -> anyhow::Result<Sink> {
            if name.contains(['/', '\0']) {
                bail!("{kind} {name:?}: the name cannot be part of a file name");
            }
            let file_name = format!("{kind}-{name}.pcapng");
            let file = folder.create_capture(&file_name, &name)?;
            Ok(Sink {
                name,
                file_name,
                file,
            })
        };
        let ports = names.ports.into_iter();
        let ports = ports.map(|(id, name)| Ok((id, open("port", name)?)));
        let ports = ports.collect::<anyhow::Result<_>>()?;
        let links = names.links.into_iter();
        let links = links.map(|(id, name)| Ok((id, open("link", name)?)));
        let links = links.collect::<anyhow::Result<_>>()?;
        Ok(Self {
            ports,
            links,
            time_ns: 0,
            written: Vec::new(),
            neighbours,
            answers: VecDeque::new(),
            error: None,
        })
    }

    /// Frames are written with this time from now on, and counted anew.
    pub(super) fn begin(&mut self, time_ns: u64) {
        self.time_ns = time_ns;
        self.written.clear();
    }

    /// Frames that were written since [`Sinks::begin`].
    pub(super) fn written(&self) -> &[Place] {
        &self.written
    }

    /// The next answer of a neighbour and the link that it comes in on.
    pub(super) fn next_answer(&mut self) -> Option<(LinkId, Vec<u8>)> {
        self.answers.pop_front()
    }

    /// The name of a port.
    pub(super) fn port_name(&self, id: PortId) -> Option<&str> {
        self.ports.get(&id).map(|sink| sink.name.as_str())
    }

    /// The names of all ports.
    pub(super) fn port_names(&self) -> Vec<String> {
        self.ports.values().map(|sink| sink.name.clone()).collect()
    }

    /// The name of a link.
    pub(super) fn link_name(&self, id: LinkId) -> Option<&str> {
        self.links.get(&id).map(|sink| sink.name.as_str())
    }

    /// Ends all files.
    pub(super) fn finish(self) -> anyhow::Result<()> {
        if let Some((file, error)) = self.error {
            return Err(error).context(format!("--out: {file}"));
        }
        for sink in self.ports.into_values().chain(self.links.into_values()) {
            let name = sink.file_name;
            results::finish(sink.file).with_context(|| format!("--out: {name}"))?;
        }
        Ok(())
    }
}

/// Writes a frame to a sink. A frame for a port or link that isn't there is
/// the engine's mistake and has no file to go to.
fn write(
    sink: Option<&mut Sink>,
    time_ns: u64,
    frame: &[u8],
    written: &mut Vec<Place>,
    error: &mut Option<(String, io::Error)>,
) {
    debug_assert!(sink.is_some(), "a frame for nobody");
    let Some(sink) = sink else { return };
    match sink.file.write(time_ns, frame) {
        Ok(index) => written.push(Place {
            file: sink.file_name.clone(),
            index,
        }),
        Err(why) => {
            error.get_or_insert((sink.file_name.clone(), why));
        }
    }
}

impl Output for Sinks {
    fn to_port(&mut self, port: PortId, frame: &[u8]) {
        let sink = self.ports.get_mut(&port);
        write(
            sink,
            self.time_ns,
            frame,
            &mut self.written,
            &mut self.error,
        );
    }

    fn to_link(&mut self, link: LinkId, frame: &[u8]) {
        let sink = self.links.get_mut(&link);
        write(
            sink,
            self.time_ns,
            frame,
            &mut self.written,
            &mut self.error,
        );
        if self.neighbours
            && self.answers.len() < ANSWERS_MAX
            && let Some(answer) = neighbour::answer(frame)
        {
            self.answers.push_back((link, answer));
        }
    }
}
