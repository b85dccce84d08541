//! Networks made of Linux namespaces, for demos and tests.
//!
//! Purpose   a laptop becomes a rack: guests, sleds, the network between them
//!           and the internet are network namespaces inside one user
//!           namespace, so nothing here needs root, and nothing of it touches
//!           the host's own network.
//!
//! Terms     sandbox    this program, run again as root of a new user
//!                      namespace; everything else happens inside of it
//!           namespace  one network stack, held by a file descriptor
//!           guest      a namespace with one device, which is a driver's TAP
//!           boundary   the tunnel end point between the underlay and a
//!                      namespace that plays the internet
//!           rack       all of it, built from setup files
//!           home       folders of their own for a guest's programs
//!
//! Flow      sandbox::run -> rack: Namespace::new -> Links (netlink) -> Process
//!           guest: dhcp, ping, tcp      boundary: geneve <-> tun
//!
//! Rules     N1  a socket belongs for ever to the namespace that it was made
//!               in, so sockets are made by `Namespace::run` and used anywhere.
//!           N2  a child is spawned by a thread that lives as long as the
//!               program: the parent-death signal goes by thread.
//!           N3  every wait has an end.
//!
//! Failure   namespaces die with the processes and descriptors that hold them,
//!           and children die with their parent. Nothing is left to clean up,
//!           whether the program returns, fails or is killed.

pub(crate) mod boundary;
pub(crate) mod capture;
pub(crate) mod crowd;
pub(crate) mod dhcp;
pub(crate) mod fabric;
pub(crate) mod geneve;
pub(crate) mod group;
pub(crate) mod guest;
pub(crate) mod home;
pub(crate) mod ip;
pub(crate) mod link;
pub(crate) mod namespace;
pub(crate) mod netlink;
pub(crate) mod packet;
pub(crate) mod ping;
pub(crate) mod process;
pub(crate) mod rack;
pub(crate) mod review;
pub(crate) mod sandbox;
pub(crate) mod tcp;
pub(crate) mod tun;
pub(crate) mod weather;

pub(crate) use namespace::Namespace;

#[cfg(test)]
mod tests;
