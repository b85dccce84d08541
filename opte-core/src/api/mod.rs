//! Plain data that a host is asked for and answers with.
//!
//! These types are the contract: `opte-ioctl` carries them as postcard, the
//! setup file spells them as TOML, `opteadm` prints and reads their text form.
//! Fields and variants are append-only. Nothing here is trusted: a value that
//! exists is well-formed (a prefix length fits its family, a name is a name),
//! whether it makes sense is checked when a command is planned.

pub mod address_set;
pub mod advertise;
mod beside;
pub mod command;
pub mod counter;
pub mod dump;
pub mod error;
pub mod external;
pub mod list;
pub mod mapping;
pub mod multicast;
pub mod name;
pub mod nat;
pub mod page;
pub mod port;
pub mod prefix;
pub mod route;
pub mod rule;
pub mod setting;
pub mod setup;
mod text;
pub mod underlay;

pub use address_set::AddressSet;
pub use advertise::{Advertise, AdvertisedPrefix};
pub use command::{Command, Response};
pub use error::{ConfigError, ErrorCode, ObjectKind};
pub use external::{ExternalIps, Floating, Snat};
pub use mapping::{TunnelEndpoint, V2b, V2p};
pub use multicast::{
    FilterMode, M2p, McastForward, McastHop, McastMember, McastOrigin, McastSub, MulticastSpec,
    SourceFilter,
};
pub use name::{Name, PortId};
pub use nat::{Behaviour, NatChange, NatEntry, NatOptions, Pooling, PortNat};
pub use page::{Page, Pager, Weight};
pub use port::{
    DhcpOptions, Ipv4Config, Ipv6Config, PortFragments, PortOptions, PortPath, PortSpec,
    TransitPrefix,
};
pub use prefix::Prefix;
pub use route::{GatewayId, RouteClass, RouteSpec, RouteTarget};
pub use rule::{FwAction, FwRule, HostFilter, PortRange, ProtoFilter};
pub use setting::{Setting, range_of};
pub use setup::{Applied, Change, ChangeVerb, HostOptions, Setup, SetupPart};
pub use underlay::{LinkSpec, UnderlayRoute, UnderlaySpec};
