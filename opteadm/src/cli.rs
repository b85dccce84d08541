//! The command line.
//!
//! Every command's `--help` has examples; a test reads each of them as a
//! command line.

use crate::failure::Failure;
use crate::session::{Connection, Session};
use crate::{
    address_set, completion, external, firewall, flow, host, layer, mapping, multicast, nat,
    option, port, port_list, router, setup, underlay,
};
use clap::{Parser, Subcommand};

/// Administers OPTE: ports, their rules, routes and addresses, and the underlay
#[derive(Parser, Debug)]
#[command(name = "opteadm", version, max_term_width = 100, after_help = NOTES)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) connection: Connection,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

const NOTES: &str = "\
Listings take --json, or -o FIELD,... -p for scripts: no header, a colon between fields.
Where a command has a port, -p PORT names it, and a -p without a value is --parsable.

Exit codes: 0 done, 1 refused by the driver, 2 wrong usage, 3 no driver or no answer,
4 done but the output can't be written.";

/// A command.
#[derive(Subcommand, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one value of this in a run"
)]
pub(crate) enum Verb {
    // Ports
    /// Create a port: IPv4, IPv6 or both
    #[command(after_help = "Examples:\n\
\x20 opteadm create-xde g1 --mac A8:40:25:F0:00:01 --vni 100 --ipv4 10.0.0.1 --ipv4-gateway 10.0.0.254\n\
\x20 opteadm create-xde g2 --mac A8:40:25:F0:00:02 --vni 100 --ipv4 10.0.0.2 --ipv4-gateway 10.0.0.254 --ipv6 fd00::2 --ipv6-gateway fd00::fe --rule \"dir=in priority=10 action=allow protocols=tcp ports=22\"")]
    CreateXde(port::Create),
    /// Delete a port with its flows
    #[command(after_help = "Example:\n\
\x20 opteadm delete-xde g1")]
    DeleteXde(port::Delete),
    /// List ports
    #[command(after_help = "Examples:\n\
\x20 opteadm list-ports\n\
\x20 opteadm list-ports -v\n\
\x20 opteadm list-ports -o name,in_drops,out_drops -p")]
    ListPorts(port_list::List),
    /// Change timeouts, limits or the MTU of a live port
    ///
    /// Flows stay, keep what was decided about them, and end by the new
    /// timeouts.
    #[command(after_help = "Examples:\n\
\x20 opteadm set-port-options -p g1 udp_s=300 tcp_established_s=86400\n\
\x20 opteadm set-port-options -p g1 mtu=8930 flows_max=16384 tcp_mid_stream=false")]
    SetPortOptions(option::Port),
    // Layers and flows
    /// List the layers of a port
    #[command(after_help = "Example:\n\
\x20 opteadm list-layers -p g1")]
    ListLayers(layer::List),
    /// Show the rules and flows of a layer
    #[command(after_help = "Examples:\n\
\x20 opteadm dump-layer -p g1 firewall\n\
\x20 opteadm dump-layer -p g1 firewall --rules\n\
\x20 opteadm dump-layer -p g1 firewall -o kind,id,rule -p")]
    DumpLayer(layer::Dump),
    /// Forget what a layer remembers of flows
    #[command(after_help = "Example:\n\
\x20 opteadm clear-lft -p g1 firewall")]
    ClearLft(layer::ClearLft),
    /// Show cached decisions
    #[command(after_help = "Example:\n\
\x20 opteadm dump-uft -p g1")]
    DumpUft(flow::DumpUft),
    /// Forget cached decisions; no connection is lost
    #[command(after_help = "Example:\n\
\x20 opteadm clear-uft -p g1")]
    ClearUft(flow::ClearUft),
    /// Show TCP connections and SCTP associations
    #[command(after_help = "Example:\n\
\x20 opteadm dump-tcp-flows -p g1 --json")]
    DumpTcpFlows(flow::DumpTcp),
    // Firewall
    /// Add a firewall rule and print its id
    #[command(after_help = "Example:\n\
\x20 opteadm add-fw-rule -p g1 dir=in priority=10 action=allow hosts=10.0.0.0/8,vni=7 protocols=tcp ports=22,8000-8100")]
    AddFwRule(firewall::Add),
    /// Remove a firewall rule
    #[command(after_help = "Example:\n\
\x20 opteadm rm-fw-rule -p g1 in 3")]
    RmFwRule(firewall::Remove),
    /// Replace all firewall rules of a port at once
    #[command(after_help = "Examples:\n\
\x20 opteadm set-fw-rules -p g1 rules.txt\n\
\x20 opteadm set-fw-rules -p g1")]
    SetFwRules(firewall::Set),
    /// Make a named set of addresses, or replace all that it holds at once
    ///
    /// Firewall rules of every port ask for it as hosts=set=NAME. Live flows
    /// are judged by what it holds now.
    #[command(after_help = "Examples:\n\
\x20 opteadm set-address-set web 192.0.2.7 198.51.100.0/24 2001:db8::/64\n\
\x20 opteadm set-address-set blocked --file blocked.txt")]
    SetAddressSet(address_set::Set),
    /// Delete a set of addresses that no rule names
    #[command(after_help = "Example:\n\
\x20 opteadm delete-address-set web")]
    DeleteAddressSet(address_set::Delete),
    /// List sets of addresses
    #[command(after_help = "Example:\n\
\x20 opteadm list-address-sets")]
    ListAddressSets(address_set::List),
    /// Show what a set of addresses holds
    #[command(after_help = "Example:\n\
\x20 opteadm dump-address-set web -o prefix -p")]
    DumpAddressSet(address_set::Dump),
    // Mappings
    /// Say on which host a guest is
    #[command(after_help = "Example:\n\
\x20 opteadm set-v2p 100 10.0.0.2 A8:40:25:F0:00:02 fd00:2::1")]
    SetV2p(mapping::SetV2p),
    /// Forget on which host a guest is
    #[command(after_help = "Example:\n\
\x20 opteadm clear-v2p 100 10.0.0.2")]
    ClearV2p(mapping::ClearV2p),
    /// List where guests are
    #[command(after_help = "Example:\n\
\x20 opteadm dump-v2p -o address,sled -p")]
    DumpV2p(mapping::DumpV2p),
    /// Add boundary tunnel end points to a prefix
    #[command(after_help = "Example:\n\
\x20 opteadm set-v2b 0.0.0.0/0 fd00:99::1 fd00:99::2,99")]
    SetV2b(mapping::SetV2b),
    /// Remove boundary tunnel end points from a prefix
    #[command(after_help = "Examples:\n\
\x20 opteadm clear-v2b 0.0.0.0/0 fd00:99::2\n\
\x20 opteadm clear-v2b 0.0.0.0/0")]
    ClearV2b(mapping::ClearV2b),
    /// List boundary tunnel end points
    #[command(after_help = "Example:\n\
\x20 opteadm dump-v2b")]
    DumpV2b(mapping::DumpV2b),
    // Multicast
    /// Map a group to its underlay group
    ///
    /// A group is the whole fleet's, and guests of every VPC may send to it and
    /// join it; with --vni it is that VPC's own.
    #[command(after_help = "Examples:\n\
\x20 opteadm set-m2p 239.1.1.1 ff04::e001:101\n\
\x20 opteadm set-m2p ff0e::101 ff04::101 --vni 100")]
    SetM2p(multicast::SetM2p),
    /// Forget the underlay group of a group
    #[command(after_help = "Examples:\n\
\x20 opteadm clear-m2p 239.1.1.1\n\
\x20 opteadm clear-m2p ff0e::101 --vni 100")]
    ClearM2p(multicast::ClearM2p),
    /// List groups with their underlay groups
    #[command(after_help = "Example:\n\
\x20 opteadm dump-m2p -o group,underlay -p")]
    DumpM2p(multicast::DumpM2p),
    /// Add or change next hops of an underlay group
    ///
    /// Copies go to the underlay group itself, once on each link that leads to
    /// a next hop. MODE says who is to have them: `underlay` (the default) for
    /// hosts, `external` for receivers outside of the fleet, or `both`.
    #[command(after_help = "Examples:\n\
\x20 opteadm set-mcast-fwd ff04::e001:101 ff04::e001:101\n\
\x20 opteadm set-mcast-fwd ff04::e001:101 fd00:2::1 fd00:99::1,external")]
    SetMcastFwd(multicast::SetForward),
    /// Remove next hops of an underlay group
    #[command(after_help = "Examples:\n\
\x20 opteadm clear-mcast-fwd ff04::e001:101 fd00:2::1\n\
\x20 opteadm clear-mcast-fwd ff04::e001:101")]
    ClearMcastFwd(multicast::ClearForward),
    /// List underlay groups with their next hops
    #[command(after_help = "Example:\n\
\x20 opteadm dump-mcast-fwd")]
    DumpMcastFwd(multicast::DumpForward),
    /// Put a port in a group, or change from which sources it hears it
    #[command(after_help = "Examples:\n\
\x20 opteadm mcast-subscribe -p g1 239.1.1.1\n\
\x20 opteadm mcast-subscribe -p g1 232.1.1.1 include=10.0.0.2,10.0.0.3")]
    McastSubscribe(multicast::Subscribe),
    /// Take a port out of a group
    #[command(after_help = "Example:\n\
\x20 opteadm mcast-unsubscribe -p g1 239.1.1.1")]
    McastUnsubscribe(multicast::Unsubscribe),
    /// Take a port out of all groups, or all ports out of a group
    ///
    /// What guests have joined themselves stays.
    #[command(after_help = "Examples:\n\
\x20 opteadm mcast-unsubscribe-all -p g1\n\
\x20 opteadm mcast-unsubscribe-all 239.1.1.1")]
    McastUnsubscribeAll(multicast::UnsubscribeAll),
    /// List memberships, the operator's and the guests'
    #[command(after_help = "Example:\n\
\x20 opteadm dump-mcast-subs -o port,group,filter -p")]
    DumpMcastSubs(multicast::DumpSubscriptions),
    /// Let a guest join groups itself, by IGMP and MLD
    #[command(after_help = "Examples:\n\
\x20 opteadm set-mcast-listen -p g1 on\n\
\x20 opteadm set-mcast-listen -p g1 off")]
    SetMcastListen(multicast::Listen),
    /// Change the VNI of the fleet's groups, while there are none
    #[command(after_help = "Example:\n\
\x20 opteadm set-mcast-vni 77")]
    SetMcastVni(multicast::SetVni),
    // Routes
    /// Add a route to a port and print its id
    #[command(after_help = "Examples:\n\
\x20 opteadm add-router-entry -p g1 0.0.0.0/0 ig system\n\
\x20 opteadm add-router-entry -p g1 10.0.0.0/16 sub4=10.0.0.0/16 system")]
    AddRouterEntry(router::Entry),
    /// Remove a route from a port
    #[command(after_help = "Example:\n\
\x20 opteadm del-router-entry -p g1 0.0.0.0/0 ig system")]
    DelRouterEntry(router::Entry),
    /// List the routes of a port
    #[command(after_help = "Examples:\n\
\x20 opteadm dump-router -p g1\n\
\x20 opteadm dump-router -p g1 --routes")]
    DumpRouter(router::Dump),
    // External
    /// Replace the external addresses of a port
    #[command(after_help = "Examples:\n\
\x20 opteadm set-external-ips -p g1 --snat 192.0.2.1,1024-2047 --floating 192.0.2.9\n\
\x20 opteadm set-external-ips -p g1 --snat 192.0.2.1,1024-2047 --mapping address-and-port-dependent\n\
\x20 opteadm set-external-ips -p g1 --none")]
    SetExternalIps(external::SetExternalIps),
    /// Change how the external addresses of a port are used
    #[command(after_help = "Examples:\n\
\x20 opteadm set-nat -p g1 --mapping address-and-port-dependent\n\
\x20 opteadm set-nat -p g1 --filtering address-dependent --pooling arbitrary")]
    SetNat(nat::Set),
    /// Show how the external addresses of a port are used, and how much
    #[command(after_help = "Examples:\n\
\x20 opteadm show-nat -p g1\n\
\x20 opteadm show-nat -p g1 -o transport,mappings,ports -P")]
    ShowNat(nat::Show),
    /// Let a guest forward traffic for a prefix
    #[command(after_help = "Examples:\n\
\x20 opteadm allow-cidr -p g1 172.16.0.0/12\n\
\x20 opteadm allow-cidr -p g1 172.16.0.0/12 in")]
    AllowCidr(external::Cidr),
    /// No longer let a guest forward traffic for a prefix
    #[command(after_help = "Example:\n\
\x20 opteadm remove-cidr -p g1 172.16.0.0/12 out")]
    RemoveCidr(external::Cidr),
    /// Attach an external subnet
    #[command(after_help = "Example:\n\
\x20 opteadm attach-subnet -p g1 198.51.100.0/24")]
    AttachSubnet(external::Subnet),
    /// Detach an external subnet
    #[command(after_help = "Example:\n\
\x20 opteadm detach-subnet -p g1 198.51.100.0/24")]
    DetachSubnet(external::Subnet),
    // Underlay
    /// Set the links and the tunnel address of the host
    #[command(after_help = "Example:\n\
\x20 opteadm set-xde-underlay eth1 eth2,1500 --address fd00:1::1 --route fd00::/16,eth1,fe80::1")]
    SetXdeUnderlay(underlay::Set),
    /// Remove the underlay
    #[command(after_help = "Example:\n\
\x20 opteadm clear-xde-underlay")]
    ClearXdeUnderlay(underlay::Clear),
    /// Show links, routes and neighbours
    #[command(after_help = "Examples:\n\
\x20 opteadm show-underlay\n\
\x20 opteadm show-underlay links -o link,rx_bytes,tx_bytes -p")]
    ShowUnderlay(underlay::Show),
    /// Add an underlay route
    #[command(after_help = "Example:\n\
\x20 opteadm add-underlay-route fd00:2::/64 eth1 fe80::1")]
    AddUnderlayRoute(underlay::Route),
    /// Remove an underlay route
    #[command(after_help = "Example:\n\
\x20 opteadm del-underlay-route fd00:2::/64 eth1 fe80::1")]
    DelUnderlayRoute(underlay::Route),
    // Host
    /// Show counters of the host or of a port
    #[command(after_help = "Examples:\n\
\x20 opteadm stats\n\
\x20 opteadm stats -p g1 -o name,value -p")]
    Stats(host::Stats),
    /// Change limits of the host as a whole
    #[command(after_help = "Example:\n\
\x20 opteadm set-host-options flows_max=1000000")]
    SetHostOptions(option::Host),
    /// Show versions of the tool, the driver and the contract
    #[command(after_help = "Example:\n\
\x20 opteadm version")]
    Version(host::Version),
    /// Bring the host to the state that a setup file describes
    #[command(after_help = "Examples:\n\
\x20 opteadm apply SETUP.toml\n\
\x20 opteadm apply --check SETUP.toml")]
    Apply(setup::Apply),
    /// Print the completion script of a shell
    #[command(after_help = "Example:\n\
\x20 opteadm completions bash")]
    Completions(completion::Completions),
}

impl Verb {
    /// Carries the command out.
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        match self {
            Self::CreateXde(args) => args.run(session),
            Self::DeleteXde(args) => args.run(session),
            Self::ListPorts(args) => args.run(session),
            Self::SetPortOptions(args) => args.run(session),
            Self::ListLayers(args) => args.run(session),
            Self::DumpLayer(args) => args.run(session),
            Self::ClearLft(args) => args.run(session),
            Self::DumpUft(args) => args.run(session),
            Self::ClearUft(args) => args.run(session),
            Self::DumpTcpFlows(args) => args.run(session),
            Self::AddFwRule(args) => args.run(session),
            Self::RmFwRule(args) => args.run(session),
            Self::SetFwRules(args) => args.run(session),
            Self::SetAddressSet(args) => args.run(session),
            Self::DeleteAddressSet(args) => args.run(session),
            Self::ListAddressSets(args) => args.run(session),
            Self::DumpAddressSet(args) => args.run(session),
            Self::SetV2p(args) => args.run(session),
            Self::ClearV2p(args) => args.run(session),
            Self::DumpV2p(args) => args.run(session),
            Self::SetV2b(args) => args.run(session),
            Self::ClearV2b(args) => args.run(session),
            Self::DumpV2b(args) => args.run(session),
            Self::SetM2p(args) => args.run(session),
            Self::ClearM2p(args) => args.run(session),
            Self::DumpM2p(args) => args.run(session),
            Self::SetMcastFwd(args) => args.run(session),
            Self::ClearMcastFwd(args) => args.run(session),
            Self::DumpMcastFwd(args) => args.run(session),
            Self::McastSubscribe(args) => args.run(session),
            Self::McastUnsubscribe(args) => args.run(session),
            Self::McastUnsubscribeAll(args) => args.run(session),
            Self::DumpMcastSubs(args) => args.run(session),
            Self::SetMcastListen(args) => args.run(session),
            Self::SetMcastVni(args) => args.run(session),
            Self::AddRouterEntry(args) => args.add(session),
            Self::DelRouterEntry(args) => args.delete(session),
            Self::DumpRouter(args) => args.run(session),
            Self::SetExternalIps(args) => args.run(session),
            Self::SetNat(args) => args.run(session),
            Self::ShowNat(args) => args.run(session),
            Self::AllowCidr(args) => args.allow(session),
            Self::RemoveCidr(args) => args.remove(session),
            Self::AttachSubnet(args) => args.attach(session),
            Self::DetachSubnet(args) => args.detach(session),
            Self::SetXdeUnderlay(args) => args.run(session),
            Self::ClearXdeUnderlay(args) => args.run(session),
            Self::ShowUnderlay(args) => args.run(session),
            Self::AddUnderlayRoute(args) => args.add(session),
            Self::DelUnderlayRoute(args) => args.delete(session),
            Self::Stats(args) => args.run(session),
            Self::SetHostOptions(args) => args.run(session),
            Self::Version(args) => args.run(session),
            Self::Apply(args) => args.run(session),
            Self::Completions(args) => args.run(session),
        }
    }
}

#[cfg(test)]
mod tests;
