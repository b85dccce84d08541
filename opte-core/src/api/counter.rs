//! Names of the counters in [`Stats`](super::dump::Stats), as C strings for
//! shells that have to say which there are before there are values (kstat).

use core::ffi::CStr;

/// What hosts and ports have: packets, bytes, hits and misses of each direction,
/// and what the gateway answered.
pub const TRAFFIC: [&CStr; 9] = [
    c"in_packets",
    c"in_bytes",
    c"in_hits",
    c"in_misses",
    c"out_packets",
    c"out_bytes",
    c"out_hits",
    c"out_misses",
    c"hairpins",
];

/// What only hosts have: their ports, and their limit if it isn't the largest.
pub const HOST: [&CStr; 2] = [c"ports", c"flows_max"];

/// What only ports have: of each pool of a shared address, what is used and what
/// there is, in the order of [`Nat::usage`](crate::layer::nat::Nat::usage).
pub const POOLS: [[&CStr; 2]; 6] = [
    [c"snat_tcp4_used", c"snat_tcp4_ports"],
    [c"snat_udp4_used", c"snat_udp4_ports"],
    [c"snat_echo4_used", c"snat_echo4_ports"],
    [c"snat_tcp6_used", c"snat_tcp6_ports"],
    [c"snat_udp6_used", c"snat_udp6_ports"],
    [c"snat_echo6_used", c"snat_echo6_ports"],
];
