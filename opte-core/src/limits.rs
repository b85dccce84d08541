//! Every bound of the engine, in one place. Reaching one has a `DropReason`
//! (packets) or a `ConfigError` (configuration).

/// Ports on one host.
pub const PORTS_MAX: usize = 4_096;
/// Bytes of a port's or link's name.
pub const NAME_LEN_MAX: usize = 31;
/// Smallest MTU of a port: what every IPv4 host takes (RFC 791).
pub const PORT_MTU_MIN: u16 = 576;
/// Smallest MTU of a port with IPv6 (RFC 8200 section 5).
pub const PORT_MTU_V6_MIN: u16 = 1_280;
/// Smallest segment size, but for none, that SYNs from and to a port may be
/// made to offer: every host takes segments of it (RFC 9293 section 3.7.1).
pub const PORT_MSS_MIN: u16 = 536;
/// Largest MTU of a port.
pub const PORT_MTU_MAX: u16 = 65_000;
/// Smallest `interval_s` of a port's router advertisements (RFC 4861 section 6.2.1).
pub const ADVERTISE_INTERVAL_S_MIN: u16 = 4;
/// Largest `interval_s` of a port's router advertisements.
pub const ADVERTISE_INTERVAL_S_MAX: u16 = 1_800;
/// Flows of one port unless its configuration says otherwise.
pub const PORT_FLOWS_DEFAULT: u32 = 65_536;
/// Most flows that one port may be given.
pub const PORT_FLOWS_MAX: u32 = 4_194_304;
/// Flows of a host, all ports together.
pub const HOST_FLOWS_MAX: u32 = 8_388_608;
/// Firewall rules of one port.
pub const FW_RULES_MAX: usize = 16_384;
/// Entries of one list inside a predicate (hosts, ports, protocols).
pub const PREDICATE_LIST_MAX: usize = 256;
/// Routes of one port.
pub const ROUTES_MAX: usize = 1_048_576;
/// Equal-cost targets of one route.
pub const ROUTE_TARGETS_MAX: usize = 16;
/// Floating addresses of one port.
pub const FLOATING_MAX: usize = 64;
/// Attached subnets and allowed transit prefixes of one port, each.
pub const PORT_PREFIXES_MAX: usize = 256;
/// Virtual to physical mappings of a host.
pub const V2P_MAX: usize = 1_048_576;
/// Virtual to boundary prefixes of a host.
pub const V2B_MAX: usize = 65_536;
/// Tunnel end points of one virtual to boundary prefix.
pub const V2B_ENDPOINTS_MAX: usize = 64;
/// Underlay links.
pub const LINKS_MAX: usize = 16;
/// Underlay routes.
pub const UNDERLAY_ROUTES_MAX: usize = 65_536;
/// Next hops (neighbours) that the underlay keeps.
pub const NEIGHBOURS_MAX: usize = 4_096;
/// Frames that wait for one next hop.
pub const NEIGHBOUR_QUEUE_MAX: usize = 16;
/// Bytes of all frames that wait for next hops.
pub const NEIGHBOUR_QUEUE_BYTES_MAX: usize = 1_048_576;
/// IPv6 extension headers that are walked.
pub const IPV6_EXTENSIONS_MAX: usize = 8;
/// Bytes of IPv6 extension headers that are walked.
pub const IPV6_EXTENSION_BYTES_MAX: usize = 256;
/// Geneve options that are walked.
pub const GENEVE_OPTIONS_MAX: usize = 16;
/// Bytes that the engine puts in front of a frame: Ethernet, IPv6, UDP, Geneve.
pub const ENCAP_LEN: usize = 70;
/// DNS servers, NTP servers and search domains of a port's DHCP, each.
pub const DHCP_LIST_MAX: usize = 8;
/// Bytes of a host or domain name (RFC 1035).
pub const DOMAIN_LEN_MAX: usize = 253;
/// Entries of one page of a dump.
pub const PAGE_ENTRIES_MAX: u32 = 1_024;
/// Bytes that the entries of one page may weigh: a response with room to spare.
pub const PAGE_BYTES_MAX: usize = 2 << 20;
/// Changes that the answer to a setup lists one by one.
pub const CHANGES_MAX: usize = 4_096;
/// CPUs or threads with a private view of the host.
pub const LANES_MAX: usize = 256;
/// Bytes of a request on the control socket or ioctl.
pub const REQUEST_BYTES_MAX: usize = 16 << 20;
/// Bytes of a response on the control socket or ioctl.
pub const RESPONSE_BYTES_MAX: usize = 4 << 20;
/// Neighbour discovery options that are walked.
pub const NDP_OPTIONS_MAX: usize = 16;
/// DHCPv4 options that are walked.
pub const DHCP_OPTIONS_MAX: usize = 128;
/// Milliseconds that an external port rests after its last flow while others are free.
pub const SNAT_REST_MS: u64 = 60_000;
/// Milliseconds that an external port rests at least, even if no other is free.
pub const SNAT_REST_MS_MIN: u64 = 1_000;
/// Paths on the underlay: pairs of a tunnel end point and a next hop.
pub const UNDERLAY_PATHS_MAX: usize = 65_536;
/// Equal-cost next hops of one underlay destination.
pub const UNDERLAY_NEXT_HOPS_MAX: usize = 64;
/// Smallest MTU of an underlay link: an IPv6 packet of the smallest MTU in an
/// Ethernet frame (14 bytes) inside Geneve (8), UDP (8) and IPv6 (40).
pub const LINK_MTU_MIN: u16 = PORT_MTU_V6_MIN + 70;
/// Multicast groups of a host.
pub const M2P_MAX: usize = 16_384;
/// Underlay groups with next hops.
pub const MCAST_FORWARD_MAX: usize = 16_384;
/// Next hops of one underlay group: copies of one frame that leave the host.
pub const MCAST_HOPS_MAX: usize = 16;
/// Memberships that the operator gives, all ports together.
pub const MCAST_MEMBERS_MAX: usize = 65_536;
/// Groups that one port is in by the operator, and again by its guest.
pub const PORT_GROUPS_MAX: usize = 64;
/// Sources of one membership.
pub const MCAST_SOURCES_MAX: usize = 64;
/// Group records of one IGMP or MLD report that are looked at.
pub const MCAST_RECORDS_MAX: usize = 256;
/// Ports whose queries and expiry one tick looks after.
pub const MCAST_LISTENERS_PER_TICK: usize = 64;
/// Copies a second that a guest's frames for groups may make, links and members
/// together.
pub const MCAST_COPIES_PER_S: u64 = 250_000;
/// Copies that they may make at once after a quiet while. A frame with more of
/// them passes, and the next ones wait the longer.
pub const MCAST_COPIES_AT_ONCE: u64 = 50_000;
/// Bytes of memory that the lists of one request may take up together.
pub const REQUEST_MEMORY_MAX: usize = 4 * REQUEST_BYTES_MAX;
/// MTU of a port that is allowed whatever the underlay carries: guests expect
/// it, and are told when a path has less.
pub const PORT_MTU_ALWAYS: u16 = 1_500;
/// Named address sets of a host.
pub const ADDRESS_SETS_MAX: usize = 1_024;
/// Prefixes of one address set.
pub const ADDRESS_SET_PREFIXES_MAX: usize = 16_384;
/// Prefixes of all address sets of a host.
pub const ADDRESS_SET_PREFIXES_ALL_MAX: usize = 1_048_576;
/// Prefixes that the rules of one port ask for by naming sets, counted once
/// for each rule that names them.
pub const FW_SET_PREFIXES_MAX: usize = 1_048_576;
/// Settings of one command.
pub const SETTINGS_MAX: usize = 64;
/// Fragmented packets of a port of which something is remembered.
pub const FRAGMENTED_PACKETS_MAX: usize = 256;
/// Fragments of a port that wait for the first of their packet, unless its
/// configuration says otherwise.
pub const FRAGMENTS_HELD_DEFAULT: u32 = 64;
/// Most fragments that a port may be let have waiting.
pub const FRAGMENTS_HELD_MAX: u32 = 1_024;
/// Bytes that the fragments of a port that wait may have, for each that may.
pub const FRAGMENT_BYTES_EACH: usize = 2_048;
/// Seconds that a fragmented packet is remembered, unless the port's
/// configuration says otherwise.
pub const FRAGMENT_S_DEFAULT: u32 = 30;
/// Most seconds that a port may be made to remember one: twice what IPv6 gives
/// a packet to come together (RFC 8200 section 4.5).
pub const FRAGMENT_S_MAX: u32 = 120;
/// Separate runs of bytes of one fragmented packet that have come.
pub const FRAGMENT_RANGES_MAX: usize = 16;
/// ICMP errors and resets that a port sends in a second, each way (RFC 4443
/// section 2.4 (f)).
pub const ANSWERS_PER_S: u64 = 100;
/// ICMP errors and resets that a port sends at once after a quiet while, each way.
pub const ANSWERS_AT_ONCE: u64 = 100;
/// DHCPv6 options in a row that are walked.
pub const DHCPV6_OPTIONS_MAX: usize = 64;
/// Addresses in one DHCPv6 identity association that are answered for.
pub const DHCPV6_ADDRESSES_MAX: usize = 8;
/// Shortest DHCP lease, in seconds. Clients take no less than about this.
pub const DHCP_LEASE_S_MIN: u32 = 20;
