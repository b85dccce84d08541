//! Capabilities: what the driver needs, and giving up the rest.

use anyhow::{Context, bail};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, remove_capability_from_bounding_set,
    set_capabilities, set_no_new_privs,
};

/// TAP devices and hardware addresses; packet sockets.
const NEEDED: [(CapabilitySet, &str); 2] = [
    (CapabilitySet::NET_ADMIN, "CAP_NET_ADMIN"),
    (CapabilitySet::NET_RAW, "CAP_NET_RAW"),
];

/// Keeps the two capabilities that the driver needs and drops every other
/// one, for good. Call it before the first thread is started: capabilities
/// belong to threads.
pub(crate) fn reduce() -> anyhow::Result<()> {
    let have = capabilities(None).context("cannot read the capabilities of the process")?;
    let missing: Vec<_> = NEEDED
        .iter()
        .filter(|(capability, _)| !have.permitted.contains(*capability))
        .map(|(_, name)| *name)
        .collect();
    if !missing.is_empty() {
        bail!(
            "xded needs CAP_NET_ADMIN and CAP_NET_RAW in its user namespace; missing: {}",
            missing.join(", ")
        );
    }
    let needed = NEEDED
        .iter()
        .fold(CapabilitySet::empty(), |all, (one, _)| all | *one);
    // Without CAP_SETPCAP the bounding set stays; `no_new_privs` below keeps
    // anything from being regained through it.
    if have.effective.contains(CapabilitySet::SETPCAP) {
        for number in 0..u64::BITS {
            let Some(one) = CapabilitySet::from_bits(1 << number) else {
                continue;
            };
            if !needed.contains(one) {
                // EINVAL: a number that this kernel doesn't have.
                let _ = remove_capability_from_bounding_set(one);
            }
        }
    }
    set_capabilities(
        None,
        CapabilitySets {
            effective: needed,
            permitted: needed,
            inheritable: CapabilitySet::empty(),
        },
    )
    .context("cannot drop capabilities")?;
    set_no_new_privs(true).context("cannot set no_new_privs")
}
