//! The state that a host is to be in.
//!
//! A setup crosses the control socket in one of two forms. The founding one
//! (the command `apply`) is four fields one after the other and can't grow; it
//! is what serde makes of a [`Setup`] for machines. The other one (the command
//! `apply-parts`) is a list of [`SetupPart`]s.

use super::list::at_most;
use super::setting::Range;
use super::{
    AddressSet, Advertise, MulticastSpec, Name, NatOptions, PortFragments, PortNat, PortOptions,
    PortPath, PortSpec, UnderlaySpec, V2b, V2p,
};
use crate::limits::{ADDRESS_SETS_MAX, HOST_FLOWS_MAX, PORTS_MAX, V2B_MAX, V2P_MAX};
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// All of a host's configuration: the setup file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, remote = "Self")]
pub struct Setup {
    /// Limits of the host as a whole.
    pub host: HostOptions,
    /// Named sets of addresses.
    #[serde(
        rename = "address_set",
        deserialize_with = "at_most::<_, _, ADDRESS_SETS_MAX>"
    )]
    pub address_sets: Vec<AddressSet>,
    /// The physical network; none for a host without one.
    pub underlay: Option<UnderlaySpec>,
    /// Virtual to physical mappings.
    #[serde(deserialize_with = "at_most::<_, _, V2P_MAX>")]
    pub v2p: Vec<V2p>,
    /// Virtual to boundary mappings.
    #[serde(deserialize_with = "at_most::<_, _, V2B_MAX>")]
    pub v2b: Vec<V2b>,
    /// Groups, their members and where their frames go.
    pub multicast: MulticastSpec,
    /// Ports.
    #[serde(rename = "port", deserialize_with = "at_most::<_, _, PORTS_MAX>")]
    pub ports: Vec<PortSpec>,
}

/// Limits of a host as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HostOptions {
    /// Flows that all ports together may have.
    pub flows_max: u32,
}

impl HostOptions {
    /// The options that have a range.
    pub(crate) const fn ranges(&self) -> [Range; 1] {
        [("flows_max", self.flows_max, HOST_FLOWS_MAX)]
    }
}

impl Default for HostOptions {
    fn default() -> Self {
        Self {
            flows_max: HOST_FLOWS_MAX,
        }
    }
}

/// A part of a setup on the wire. Append-only; a part that isn't sent is empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SetupPart {
    /// The physical network.
    Underlay(UnderlaySpec),
    /// Virtual to physical mappings.
    V2p(#[serde(deserialize_with = "at_most::<_, _, V2P_MAX>")] Vec<V2p>),
    /// Virtual to boundary mappings.
    V2b(#[serde(deserialize_with = "at_most::<_, _, V2B_MAX>")] Vec<V2b>),
    /// Ports.
    Ports(#[serde(deserialize_with = "at_most::<_, _, PORTS_MAX>")] Vec<PortSpec>),
    /// Limits of the host as a whole.
    Host(HostOptions),
    /// Named sets of addresses.
    AddressSets(#[serde(deserialize_with = "at_most::<_, _, ADDRESS_SETS_MAX>")] Vec<AddressSet>),
    /// How the ports' external addresses are used, where not as ever.
    Nat(#[serde(deserialize_with = "at_most::<_, _, PORTS_MAX>")] Vec<PortNat>),
    /// What the ports do to packets on their way, where anything.
    Paths(#[serde(deserialize_with = "at_most::<_, _, PORTS_MAX>")] Vec<PortPath>),
    /// What ports' router advertisements say, where it isn't the usual.
    Advertise(#[serde(deserialize_with = "at_most::<_, _, PORTS_MAX>")] Vec<(Name, Advertise)>),
    /// Groups, their members and where their frames go.
    Multicast(MulticastSpec),
    /// What the ports do with fragments, where it isn't the usual.
    Fragments(#[serde(deserialize_with = "at_most::<_, _, PORTS_MAX>")] Vec<PortFragments>),
}

impl Setup {
    /// Whether the founding form can carry it.
    #[must_use]
    pub fn is_founding(&self) -> bool {
        self.host == HostOptions::default()
            && self.address_sets.is_empty()
            && self.multicast == MulticastSpec::default()
            && self.ports.iter().all(PortSpec::is_founding)
    }

    /// Ports whose router advertisements aren't the usual.
    fn advertised(&self) -> impl Iterator<Item = (Name, Advertise)> {
        let ports = self.ports.iter().map(|port| (port.name, port.advertise));
        ports.filter(|(_, advertise)| *advertise != Advertise::default())
    }

    /// The setup in parts.
    #[must_use]
    pub fn into_parts(mut self) -> Vec<SetupPart> {
        let mut parts = Vec::new();
        let nat: Vec<_> = self.ports.iter().filter_map(PortNat::of).collect();
        let paths: Vec<_> = self.ports.iter().filter_map(PortPath::of).collect();
        let fragments: Vec<_> = self.ports.iter().filter_map(PortFragments::of).collect();
        let advertised: Vec<_> = self.advertised().collect();
        let usual = PortOptions::default();
        // What has a part of its own isn't in the ports' as well.
        for port in &mut self.ports {
            port.external.nat = NatOptions::default();
            port.options = PortOptions {
                decrement_ttl: usual.decrement_ttl,
                mss_max: usual.mss_max,
                fragment_s: usual.fragment_s,
                fragments_max: usual.fragments_max,
                ..port.options
            };
            port.advertise = Advertise::default();
        }
        parts.extend(self.underlay.map(SetupPart::Underlay));
        parts.extend([
            SetupPart::Host(self.host),
            SetupPart::AddressSets(self.address_sets),
            SetupPart::V2p(self.v2p),
            SetupPart::V2b(self.v2b),
            SetupPart::Ports(self.ports),
        ]);
        // Not for an older driver, unless it has to be.
        parts.extend((!nat.is_empty()).then_some(SetupPart::Nat(nat)));
        parts.extend((!paths.is_empty()).then_some(SetupPart::Paths(paths)));
        parts.extend((!fragments.is_empty()).then_some(SetupPart::Fragments(fragments)));
        parts.extend((!advertised.is_empty()).then_some(SetupPart::Advertise(advertised)));
        if self.multicast != MulticastSpec::default() {
            parts.push(SetupPart::Multicast(self.multicast));
        }
        parts
    }

    /// The setup that consists of these parts. The last one of a kind counts.
    #[must_use]
    pub fn from_parts(parts: Vec<SetupPart>) -> Self {
        let mut setup = Self::default();
        let (mut nat, mut paths, mut advertised) = (Vec::new(), Vec::new(), Vec::new());
        let mut fragments = Vec::new();
        for part in parts {
            match part {
                SetupPart::Underlay(underlay) => setup.underlay = Some(underlay),
                SetupPart::V2p(v2p) => setup.v2p = v2p,
                SetupPart::V2b(v2b) => setup.v2b = v2b,
                SetupPart::Ports(ports) => setup.ports = ports,
                SetupPart::Host(host) => setup.host = host,
                SetupPart::AddressSets(sets) => setup.address_sets = sets,
                SetupPart::Multicast(multicast) => setup.multicast = multicast,
                SetupPart::Nat(of_ports) => nat = of_ports,
                SetupPart::Paths(of_ports) => paths = of_ports,
                SetupPart::Fragments(of_ports) => fragments = of_ports,
                SetupPart::Advertise(list) => advertised = list,
            }
        }
        let nat: BTreeMap<_, _> = nat.iter().map(|nat| (nat.port, nat.options)).collect();
        let paths: BTreeMap<_, _> = paths.iter().map(|path| (path.port, path)).collect();
        let fragments: BTreeMap<_, _> = fragments.iter().map(|of| (of.port, of)).collect();
        let advertised: BTreeMap<_, _> = advertised.into_iter().collect();
        for port in &mut setup.ports {
            port.advertise = advertised.get(&port.name).copied().unwrap_or_default();
            port.external.nat = nat.get(&port.name).copied().unwrap_or_default();
            if let Some(path) = paths.get(&port.name) {
                port.options.decrement_ttl = path.decrement_ttl;
                port.options.mss_max = path.mss_max;
            }
            if let Some(of_port) = fragments.get(&port.name) {
                port.options.fragment_s = of_port.fragment_s;
                port.options.fragments_max = of_port.fragments_max;
            }
        }
        setup
    }
}

impl SetupPart {
    /// Whether it says something of ports.
    const fn is_of_ports(&self) -> bool {
        match self {
            Self::Ports(_)
            | Self::Nat(_)
            | Self::Paths(_)
            | Self::Advertise(_)
            | Self::Fragments(_) => true,
            Self::Underlay(_)
            | Self::V2p(_)
            | Self::V2b(_)
            | Self::Host(_)
            | Self::AddressSets(_)
            | Self::Multicast(_) => false,
        }
    }
}

impl PortSpec {
    /// Whether its own message can carry all of it.
    #[must_use]
    pub fn is_founding(&self) -> bool {
        self.external.nat == NatOptions::default()
            && PortPath::of(self).is_none()
            && PortFragments::of(self).is_none()
            && self.advertise == Advertise::default()
    }

    /// The port in parts.
    #[must_use]
    pub fn into_parts(self) -> Vec<SetupPart> {
        let setup = Setup {
            ports: Vec::from([self]),
            ..Setup::default()
        };
        let mut parts = setup.into_parts();
        parts.retain(SetupPart::is_of_ports);
        parts
    }

    /// The port that consists of these parts; `None` when they aren't of one
    /// port and of nothing else.
    #[must_use]
    pub fn from_parts(parts: Vec<SetupPart>) -> Option<Self> {
        if !parts.iter().all(SetupPart::is_of_ports) {
            return None;
        }
        let ports = Setup::from_parts(parts).ports;
        let [port] = <[Self; 1]>::try_from(ports).ok()?;
        Some(port)
    }
}

/// The founding form.
#[derive(Deserialize)]
struct Founding {
    underlay: Option<UnderlaySpec>,
    #[serde(deserialize_with = "at_most::<_, _, V2P_MAX>")]
    v2p: Vec<V2p>,
    #[serde(deserialize_with = "at_most::<_, _, V2B_MAX>")]
    v2b: Vec<V2b>,
    #[serde(deserialize_with = "at_most::<_, _, PORTS_MAX>")]
    ports: Vec<PortSpec>,
}

impl Serialize for Setup {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return Self::serialize(self, serializer);
        }
        (&self.underlay, &self.v2p, &self.v2b, &self.ports).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Setup {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            return Self::deserialize(deserializer);
        }
        let Founding {
            underlay,
            v2p,
            v2b,
            ports,
        } = <Founding as Deserialize>::deserialize(deserializer)?;
        Ok(Self {
            underlay,
            v2p,
            v2b,
            ports,
            ..Self::default()
        })
    }
}

/// What applying a setup changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// The host's configuration generation afterwards.
    pub generation: u64,
    /// What changed, in the order in which it was done; the first
    /// [`crate::limits::CHANGES_MAX`] of it. Empty when nothing had to.
    pub changes: Vec<Change>,
    /// How many changes more there were.
    pub more: u64,
}

/// One thing that applying a setup changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// What was done.
    pub verb: ChangeVerb,
    /// To what, as `port guest0` or `v2p 7 10.0.0.1`.
    pub object: String,
}

/// What was done to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeVerb {
    /// It is new.
    Add,
    /// It is gone.
    Remove,
    /// It is different.
    Change,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setup() -> Setup {
        let text = r#"
            host = { flows_max = 1000 }
            [underlay]
            address = "fd00::1"
            link = [{ name = "u0" }]
            [[address_set]]
            name = "web"
            prefixes = ["10.0.0.0/8", "fd00::1"]
            [multicast]
            m2p = [{ group = "239.1.1.1", underlay = "ff04::1" }]
            forward = [{ underlay = "ff04::1", hops = ["fd00::2", "ff04::1,both"] }]
            member = [{ port = "g1", group = "239.1.1.1", filter = "exclude=10.0.0.9" }]
            listen = ["g1"]
            [[port]]
            name = "g1"
            mac = "A8:40:25:F0:00:01"
            vni = 7
            [port.external.nat]
            filtering = "address-dependent"
            [port.options]
            decrement_ttl = true
            mss_max = 1360
            fragment_s = 10
            fragments_max = 128
            [[port]]
            name = "g2"
            mac = "A8:40:25:F0:00:02"
            vni = 7
            advertise = { interval_s = 30, prefix = { prefix = "fd00::/64" } }
        "#;
        toml::from_str(text).unwrap()
    }

    #[test]
    fn parts_make_the_whole() {
        let setup = setup();
        let parts = setup.clone().into_parts();
        let bytes = postcard::to_allocvec(&parts).unwrap();
        let parts: Vec<SetupPart> = postcard::from_bytes(&bytes).unwrap();
        assert_eq!(Setup::from_parts(parts), setup);
        assert_eq!(Setup::from_parts(Vec::new()), Setup::default());
    }

    #[test]
    fn a_port_and_nothing_else_is_made_of_parts() {
        for port in setup().ports {
            assert!(!port.is_founding());
            let parts = port.clone().into_parts();
            let bytes = postcard::to_allocvec(&parts).unwrap();
            let parts: Vec<SetupPart> = postcard::from_bytes(&bytes).unwrap();
            assert_eq!(PortSpec::from_parts(parts), Some(port));
        }
        let [one, two] = setup().ports.try_into().unwrap();
        let host = SetupPart::Host(HostOptions::default());
        let more = SetupPart::Ports([one.clone(), two].into());
        for parts in [
            Vec::new(),
            Vec::from([more]),
            [one.into_parts(), Vec::from([host])].concat(),
        ] {
            assert_eq!(PortSpec::from_parts(parts), None);
        }
    }

    #[test]
    fn the_founding_form_has_what_it_always_had() {
        let setup = setup();
        assert!(!setup.is_founding());
        let bytes = postcard::to_allocvec(&setup).unwrap();
        let founding: Setup = postcard::from_bytes(&bytes).unwrap();
        assert!(founding.is_founding());
        let mut whole = Setup {
            host: setup.host,
            address_sets: setup.address_sets.clone(),
            multicast: setup.multicast.clone(),
            ports: founding
                .ports
                .iter()
                .zip(&setup.ports)
                .map(|(port, whole)| PortSpec {
                    advertise: whole.advertise,
                    ..port.clone()
                })
                .collect(),
            ..founding
        };
        whole.ports[0].external.nat = setup.ports[0].external.nat;
        whole.ports[0].options = setup.ports[0].options;
        assert_eq!(whole, setup);
    }
}
