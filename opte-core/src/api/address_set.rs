//! Named sets of addresses, which firewall rules of any port may ask for.

use super::list::at_most;
use super::{Name, Prefix};
use crate::limits::ADDRESS_SET_PREFIXES_MAX;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// A set of addresses under a name; rules ask for it as `hosts=set=NAME`. In
/// the setup file, an `[[address_set]]` table.
///
/// Replacing a set changes what every rule that names it means, at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddressSet {
    /// Its name.
    pub name: Name,
    /// Addresses and prefixes of both families. An empty set holds nobody.
    #[serde(
        default,
        deserialize_with = "at_most::<_, _, ADDRESS_SET_PREFIXES_MAX>"
    )]
    pub prefixes: Vec<Prefix>,
}
