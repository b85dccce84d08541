//! Datalink ids on illumos: a port of the kernel module is a datalink, and a
//! datalink's id is given out by dlmgmtd before there is one.
//!
//! Flow      a command that makes ports: ids first, then the command; without
//!           success the ids that were made here go again
//!           a command that removes ports: the command, then their ids
//!
//! Failure   an id that can't be removed is left: it is gone at the next boot,
//!           and a port of the name may use it before.

use opte_core::api::{ChangeVerb, Command, PortSpec, Response, SetupPart};
use opte_ioctl::client::{Client, ClientError};
use std::io;

/// Who gives out ids.
pub(crate) trait Ids {
    /// Makes the id of a name; `false` when it is there already.
    fn create(&mut self, name: &str) -> io::Result<bool>;

    /// Removes the id of a name, if it can be.
    fn remove(&mut self, name: &str);
}

/// A way to the driver that takes care of ids.
#[derive(Debug)]
pub(crate) struct WithDatalinks<C, I> {
    /// The driver.
    pub(crate) client: C,
    /// dlmgmtd.
    pub(crate) ids: I,
}

impl<C: Client, I: Ids> Client for WithDatalinks<C, I> {
    fn exchange(&mut self, request: &[u8]) -> Result<Vec<u8>, ClientError> {
        self.client.exchange(request)
    }

    fn call(&mut self, command: Command) -> Result<Response, ClientError> {
        let removed = match &command {
            Command::DeletePort(name) => Some(name.to_string()),
            _ => None,
        };
        let mut made = Vec::new();
        for name in wanted(&command) {
            match self.ids.create(&name) {
                Ok(true) => made.push(name),
                Ok(false) => {}
                Err(source) => {
                    made.iter().for_each(|name| self.ids.remove(name));
                    let path = format!("the datalink id of {name}");
                    return Err(ClientError::Io { path, source });
                }
            }
        }
        let result = self.client.call(command);
        match &result {
            Ok(response) => {
                let gone = gone(response).into_iter().chain(removed);
                gone.for_each(|name| self.ids.remove(&name));
            }
            // Only a refusal says that there is no port of these names.
            Err(ClientError::Refused(_)) => made.iter().for_each(|name| self.ids.remove(name)),
            Err(_) => {}
        }
        result
    }
}

/// Names of the ports that there are after a command. Each command is named, so
/// that a new one which makes ports isn't forgotten here.
fn wanted(command: &Command) -> Vec<String> {
    let names = |ports: &[PortSpec]| ports.iter().map(|port| port.name.to_string()).collect();
    match command {
        Command::CreatePort(spec) => vec![spec.name.to_string()],
        Command::Apply(setup) => names(&setup.ports),
        Command::ApplyParts(parts) | Command::CreatePortParts(parts) => {
            parts.iter().flat_map(|it| names(ports_of(it))).collect()
        }
        Command::DeletePort(..)
        | Command::ListPorts(..)
        | Command::ListLayers(..)
        | Command::DumpLayer(..)
        | Command::DumpUft(..)
        | Command::ClearUft(..)
        | Command::ClearLft(..)
        | Command::DumpTcpFlows(..)
        | Command::AddFwRule(..)
        | Command::RmFwRule(..)
        | Command::SetFwRules(..)
        | Command::SetV2p(..)
        | Command::ClearV2p(..)
        | Command::DumpV2p(..)
        | Command::SetV2b(..)
        | Command::ClearV2b(..)
        | Command::DumpV2b(..)
        | Command::AddRoute(..)
        | Command::DelRoute(..)
        | Command::DumpRoutes(..)
        | Command::SetExternalIps(..)
        | Command::AllowCidr(..)
        | Command::RemoveCidr(..)
        | Command::AttachSubnet(..)
        | Command::DetachSubnet(..)
        | Command::SetUnderlay(..)
        | Command::ClearUnderlay
        | Command::ShowUnderlay
        | Command::DumpUnderlayRoutes(..)
        | Command::AddUnderlayRoute(..)
        | Command::DelUnderlayRoute(..)
        | Command::Stats(..)
        | Command::SetM2p(..)
        | Command::ClearM2p(..)
        | Command::DumpM2p(..)
        | Command::SetMcastFwd(..)
        | Command::ClearMcastFwd(..)
        | Command::DumpMcastFwd(..)
        | Command::McastSubscribe(..)
        | Command::McastUnsubscribe(..)
        | Command::McastUnsubscribeAll(..)
        | Command::DumpMcastSubs(..)
        | Command::SetMcastListen(..)
        | Command::SetMcastVni(..)
        | Command::SetPortOptions(..)
        | Command::SetAddressSet(..)
        | Command::DeleteAddressSet(..)
        | Command::ListAddressSets(..)
        | Command::DumpAddressSet(..)
        | Command::SetHostOptions(..)
        | Command::SetNat(..)
        | Command::ShowNat(..)
        | Command::SetExternalNat(..)
        | Command::ShowAdvertise(..)
        | Command::ShowPortOptions(..) => Vec::new(),
    }
}

/// The ports of a part of a setup.
const fn ports_of(part: &SetupPart) -> &[PortSpec] {
    match part {
        SetupPart::Ports(ports) => ports.as_slice(),
        SetupPart::Underlay(_)
        | SetupPart::V2p(_)
        | SetupPart::V2b(_)
        | SetupPart::Host(_)
        | SetupPart::AddressSets(_)
        | SetupPart::Nat(_)
        | SetupPart::Paths(_)
        | SetupPart::Advertise(_)
        | SetupPart::Multicast(_)
        | SetupPart::Fragments(_) => &[],
    }
}

/// Names of the ports that a setup has removed.
fn gone(response: &Response) -> Vec<String> {
    let Response::Applied(applied) = response else {
        return Vec::new();
    };
    let removed = applied.changes.iter();
    removed
        .filter(|change| change.verb == ChangeVerb::Remove)
        .filter_map(|change| change.object.strip_prefix("port ").map(String::from))
        .collect()
}

/// dlmgmtd, asked only when a command needs it: not every zone has one.
#[cfg(target_os = "illumos")]
#[derive(Debug, Default)]
pub(crate) struct OnDemand(Option<dladm_sys::Dladm>);

#[cfg(target_os = "illumos")]
impl OnDemand {
    fn open(&mut self) -> io::Result<&dladm_sys::Dladm> {
        let open = match self.0.take() {
            Some(open) => open,
            None => dladm_sys::Dladm::open().map_err(io::Error::other)?,
        };
        Ok(self.0.insert(open))
    }
}

#[cfg(target_os = "illumos")]
impl Ids for OnDemand {
    fn create(&mut self, name: &str) -> io::Result<bool> {
        match self.open()?.create_id(name) {
            Ok(_) => Ok(true),
            Err(error) if error.is_taken() => Ok(false),
            Err(error) => Err(io::Error::other(error)),
        }
    }

    fn remove(&mut self, name: &str) {
        // See the head of this file.
        let _ = self.open().map(|ids| ids.destroy_id(name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opte_core::api::{Applied, Change, ConfigError, ErrorCode, ObjectKind, Setup};
    use std::collections::BTreeSet;

    #[derive(Default)]
    struct Names(BTreeSet<String>);

    impl Ids for Names {
        fn create(&mut self, name: &str) -> io::Result<bool> {
            if name == "bad" {
                return Err(io::ErrorKind::PermissionDenied.into());
            }
            Ok(self.0.insert(name.into()))
        }

        fn remove(&mut self, name: &str) {
            self.0.remove(name);
        }
    }

    /// A driver that gives one answer.
    struct Answer(Option<Result<Response, ClientError>>);

    impl Client for Answer {
        fn exchange(&mut self, _: &[u8]) -> Result<Vec<u8>, ClientError> {
            unreachable!("commands only")
        }

        fn call(&mut self, _: Command) -> Result<Response, ClientError> {
            self.0.take().unwrap()
        }
    }

    fn after(before: &[&str], answer: Result<Response, ClientError>, command: Command) -> String {
        let mut client = WithDatalinks {
            client: Answer(Some(answer)),
            ids: Names(before.iter().map(|name| (*name).into()).collect()),
        };
        let _ = client.call(command);
        client.ids.0.into_iter().collect::<Vec<_>>().join(" ")
    }

    fn setup(names: &[&str]) -> Command {
        Command::Apply(parsed(names))
    }

    /// As `apply` sends what the founding form can't carry.
    fn parts(names: &[&str]) -> Command {
        let mut setup = parsed(names);
        setup.host.flows_max = 9_000;
        assert!(!setup.is_founding());
        Command::ApplyParts(setup.into_parts())
    }

    /// As `create-xde` sends what the founding form can't carry.
    fn port_parts(name: &str) -> Command {
        let [mut port] = <[PortSpec; 1]>::try_from(parsed(&[name]).ports).unwrap();
        port.options.mss_max = 1_360;
        assert!(!port.is_founding());
        Command::CreatePortParts(port.into_parts())
    }

    fn parsed(names: &[&str]) -> Setup {
        let port =
            |name| format!("[[port]]\nname = \"{name}\"\nmac = \"A8:40:25:F0:0:1\"\nvni = 1\n");
        let text: String = names.iter().map(port).collect();
        toml::from_str(&text.replace(":0:1", ":00:01")).unwrap()
    }

    fn applied(removed: &[&str]) -> Response {
        let change = |name: &&str| Change {
            verb: ChangeVerb::Remove,
            object: format!("port {name}"),
        };
        Response::Applied(Applied {
            generation: 1,
            changes: removed.iter().map(change).collect(),
            more: 0,
        })
    }

    #[test]
    fn ids_follow_the_ports() {
        let refused = || {
            let error = ConfigError::new(ErrorCode::InUse, ObjectKind::Port, "a");
            Err(ClientError::Refused(error))
        };
        let delete = || Command::DeletePort("a".parse().unwrap());
        for (before, answer, command, want) in [
            (&[][..], Ok(applied(&[])), setup(&["a", "b"]), "a b"),
            (&["c"], Ok(applied(&["c"])), setup(&["a"]), "a"),
            (&["c"], Ok(applied(&["c"])), parts(&["a", "b"]), "a b"),
            (&["a"], refused(), parts(&["a", "b"]), "a"),
            (&[], Ok(Response::Id(1)), port_parts("a"), "a"),
            (&["b"], refused(), port_parts("a"), "b"),
            // What was there before stays when the command is refused.
            (&["a"], refused(), setup(&["a", "b"]), "a"),
            // Nobody knows whether the driver did it.
            (&[], Err(ClientError::Protocol("?")), setup(&["a"]), "a"),
            (&[], Ok(applied(&[])), setup(&["a", "bad"]), ""),
            (&["a", "b"], Ok(Response::Done), delete(), "b"),
            (&["a"], refused(), delete(), "a"),
        ] {
            assert_eq!(after(before, answer, command), want);
        }
    }
}
