//! Why a frame went nowhere: every reason, declared once.
//!
//! One table makes the enum, [`DropReason::ALL`] (statistics and tools iterate
//! it), the name (a C string, so that a probe formats nothing) and the
//! explanation a tool prints. The list is append-only: the numbers and names
//! are part of the contract.

use core::ffi::CStr;

macro_rules! drop_reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident => $name:literal,)+) => {
        /// Why a frame was dropped. Each drop has exactly one reason.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum DropReason { $($(#[doc = $doc])+ $variant,)+ }

        impl DropReason {
            /// Every reason, in numeric order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// How many reasons there are.
            pub const COUNT: usize = Self::ALL.len();

            /// The reason's one spelling, in counters, probes and tools.
            #[must_use]
            pub const fn c_name(self) -> &'static CStr {
                match self { $(Self::$variant => $name,)+ }
            }

            /// One sentence for people.
            #[must_use]
            pub const fn explanation(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc,)+).trim_ascii(),)+ }
            }
        }
    };
}

drop_reasons! {
    /// The frame ends before its headers do.
    Truncated => c"truncated",
    /// The IP header has an impossible version, length or total length.
    BadIp => c"bad_ip",
    /// The transport header has an impossible length.
    BadTransport => c"bad_transport",
    /// IPv6 extension headers are malformed or more than the engine walks.
    BadExtension => c"bad_extension",
    /// An IPv4 header, TCP or ICMP checksum of a frame meant for the engine is wrong.
    BadChecksum => c"bad_checksum",
    /// Neither IPv4, IPv6 nor ARP.
    UnknownEthertype => c"unknown_ethertype",
    /// A VLAN-tagged frame from or to a guest.
    VlanTagged => c"vlan_tagged",
    /// A fragment whose first fragment was refused, or whose flow is gone.
    Fragment => c"fragment",
    /// The frame is larger than the port's MTU or the path allows.
    TooBig => c"too_big",
    /// The source MAC address isn't the port's.
    SpoofedMac => c"spoofed_mac",
    /// The source IP address isn't one that the port may use.
    SpoofedIp => c"spoofed_ip",
    /// The frame is not addressed to the gateway, a peer or a group that the port may reach.
    BadDestinationMac => c"bad_destination_mac",
    /// The destination IP address isn't one of the port's.
    NotForPort => c"not_for_port",
    /// The port has no address of this family.
    FamilyOff => c"family_off",
    /// An ARP frame that the gateway doesn't answer.
    ArpNotAnswered => c"arp_not_answered",
    /// A malformed ARP frame.
    BadArp => c"bad_arp",
    /// A neighbour discovery message that the gateway doesn't answer.
    NdpNotAnswered => c"ndp_not_answered",
    /// A malformed neighbour discovery message, or one with a hop limit below 255.
    BadNdp => c"bad_ndp",
    /// A DHCP message that the gateway doesn't answer.
    DhcpNotAnswered => c"dhcp_not_answered",
    /// A malformed DHCP message.
    BadDhcp => c"bad_dhcp",
    /// An ICMP message to the gateway that isn't an echo request.
    IcmpNotAnswered => c"icmp_not_answered",
    /// A firewall rule denies it.
    FirewallDeny => c"firewall_deny",
    /// No firewall rule matches and the layer's default is deny.
    FirewallDefault => c"firewall_default",
    /// No route matches the destination.
    NoRoute => c"no_route",
    /// The matching route's target is drop.
    RouteDrop => c"route_drop",
    /// The port has no external address that fits the destination.
    NoExternalAddress => c"no_external_address",
    /// Every external port of the pool is in use.
    SnatExhausted => c"snat_exhausted",
    /// The frame came from outside and no external address or mapping takes it.
    NoMapping => c"no_mapping",
    /// No virtual to physical mapping for the destination.
    NoV2p => c"no_v2p",
    /// No boundary tunnel end point for the destination.
    NoV2b => c"no_v2b",
    /// The underlay has no route to the tunnel end point.
    NoUnderlayRoute => c"no_underlay_route",
    /// The next hop on the underlay didn't answer neighbour discovery.
    NextHopUnresolved => c"next_hop_unresolved",
    /// Too many frames wait for this next hop already.
    NextHopQueueFull => c"next_hop_queue_full",
    /// The underlay link isn't configured.
    NoLink => c"no_link",
    /// A frame on the underlay that isn't addressed to this host.
    UnderlayNotForUs => c"underlay_not_for_us",
    /// A frame on the underlay that is neither Geneve nor neighbour discovery.
    UnderlayNotGeneve => c"underlay_not_geneve",
    /// A malformed outer header on the underlay.
    BadUnderlay => c"bad_underlay",
    /// A Geneve header with an impossible length.
    BadGeneve => c"bad_geneve",
    /// A Geneve option that is unknown and marked critical.
    GeneveCriticalOption => c"geneve_critical_option",
    /// No port of this host has the VNI and MAC address.
    NoPort => c"no_port",
    /// The port has as many flows as it may have.
    PortFlowsFull => c"port_flows_full",
    /// The host has as many flows as it may have.
    HostFlowsFull => c"host_flows_full",
    /// A TCP segment that neither opens a connection nor belongs to one.
    TcpNoFlow => c"tcp_no_flow",
    /// A TCP segment outside of the connection's window.
    TcpOutOfWindow => c"tcp_out_of_window",
    /// A TCP segment with an impossible combination of flags.
    TcpBadFlags => c"tcp_bad_flags",
    /// A multicast destination that nothing is subscribed to.
    NoMulticast => c"no_multicast",
    /// There is no room for the outer headers in the frame's buffer.
    NoHeadroom => c"no_headroom",
    /// The guest's device can't take the frame now.
    DeviceFull => c"device_full",
    /// The port is being removed or was never started.
    PortDown => c"port_down",
    /// The underlay keeps as many paths or next hops as it may.
    UnderlayFull => c"underlay_full",
    /// Traffic to the gateway's own address for a service that it doesn't have.
    GatewayNotAnswered => c"gateway_not_answered",
    /// An underlay link's device can't take the frame now.
    LinkFull => c"link_full",
    /// An address that no other host beyond the gateway can have: unspecified, loopback, link-local, or the port's own.
    Martian => c"martian",
    /// A Geneve header of a version above zero.
    GeneveVersion => c"geneve_version",
    /// A guest's MAC address on the underlay with the VNI of another VPC.
    WrongVni => c"wrong_vni",
    /// The external port is mapped, but its filtering doesn't let this sender in.
    NatFiltered => c"nat_filtered",
    /// A firewall rule rejects it, and its sender is told.
    FirewallReject => c"firewall_reject",
    /// An ICMP error that quotes no packet of a flow of the port.
    IcmpUnrelated => c"icmp_unrelated",
    /// An ICMP redirect or source quench, which no router forwards or heeds.
    IcmpNotForwarded => c"icmp_not_forwarded",
    /// The packet's hops are used up, and the port counts them.
    TtlExceeded => c"ttl_exceeded",
    /// A fragment that overlaps with another one of its packet, or follows such a one.
    FragmentOverlap => c"fragment_overlap",
    /// A fragment without its first, while as many are waiting as the port may have.
    FragmentsFull => c"fragments_full",
    /// A fragment whose first one didn't come in time.
    FragmentTimeout => c"fragment_timeout",
    /// An SCTP packet that neither opens an association nor belongs to one.
    SctpNoFlow => c"sctp_no_flow",
    /// An SCTP packet whose verification tag isn't that of its receiver.
    SctpBadTag => c"sctp_bad_tag",
    /// The guest says that another host uses the address that DHCP gave it.
    DhcpDeclined => c"dhcp_declined",
    /// The guest gives back the address that DHCP gave it, which asks for no answer.
    DhcpReleased => c"dhcp_released",
    /// An unasked DHCP server's message from another host: the gateway is the guest's only server.
    DhcpCrossing => c"dhcp_crossing",
    /// A neighbour discovery message from another host: none crosses a port.
    NdpCrossing => c"ndp_crossing",
    /// A group that no mapping takes to the underlay.
    NoM2p => c"no_m2p",
    /// A group that doesn't leave its link or its host.
    GroupScope => c"group_scope",
    /// A TCP segment to a group.
    TcpToGroup => c"tcp_to_group",
    /// A multicast frame on the underlay that is for receivers outside of the fleet only.
    ReplicatedElsewhere => c"replicated_elsewhere",
    /// A multicast frame on the underlay that a guest of this host sent.
    MulticastLoop => c"multicast_loop",
    /// A malformed IGMP or MLD message, or one that isn't from the link.
    BadMembership => c"bad_membership",
    /// An IGMP or MLD message that the gateway doesn't take: no report, or the guest may not join groups.
    MembershipNotHeard => c"membership_not_heard",
    /// The guest is in as many groups, or names as many sources, as it may.
    MembershipFull => c"membership_full",
    /// The guest sends more IGMP and MLD reports than it may.
    MembershipRate => c"membership_rate",
    /// The guest's frames for groups make more copies than they may.
    MulticastRate => c"multicast_rate",
    /// The guest has a live flow with this far end by another of its addresses.
    OtherAddress => c"other_address",
    /// There is no memory for what the packet would be remembered by.
    NoMemory => c"out_of_memory",
}

impl DropReason {
    /// The reason's number, which is its position in [`Self::ALL`].
    #[must_use]
    pub const fn number(self) -> usize {
        self as usize
    }

    /// The reason's one spelling as a string.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.c_name().to_str().unwrap_or("?")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_and_in_one_style() {
        let names: BTreeSet<_> = DropReason::ALL.iter().map(|r| r.name()).collect();
        assert_eq!(names.len(), DropReason::COUNT);
        for name in names {
            assert!(
                name.chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
            );
        }
    }

    #[test]
    fn numbers_are_positions() {
        for (i, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(i, *reason as usize);
            assert!(reason.explanation().ends_with('.'));
        }
    }
}
