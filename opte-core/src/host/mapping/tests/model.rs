//! Random commands against plain maps and linear search.

use super::*;
use crate::rng::Rng;

fn random_v2p(rng: &mut Rng) -> V2p {
    let host = 1 + rng.below(12);
    let address = match rng.below(2) {
        0 => format!("10.0.0.{host}"),
        _ => format!("fd00::{host}"),
    };
    v2p(rng.pick(&[7, 8]), &address, rng.pick(&[1, 2, 3]))
}

fn random_prefix(rng: &mut Rng) -> Prefix {
    prefix(rng.pick(&[
        "0.0.0.0/0",
        "128.0.0.0/1",
        "128.0.0.0/2",
        "128.7.0.0/16",
        "128.7.7.7/32",
        "::/0",
        "8000::/1",
        "8000::/64",
        "8000::7/128",
    ]))
}

fn random_endpoints(rng: &mut Rng) -> BTreeSet<TunnelEndpoint> {
    let len = rng.pick(&[1, 2, 3]);
    (0..len)
        .map(|_| endpoint(rng.pick(&[1, 2, 3, 4])))
        .collect()
}

#[derive(Clone, Default)]
struct Model {
    v2p: BTreeMap<(Vni, IpAddr), V2p>,
    v2b: BTreeMap<Prefix, BTreeSet<TunnelEndpoint>>,
}

impl Model {
    fn group(&self, addr: &IpAddr) -> Option<(&Prefix, &BTreeSet<TunnelEndpoint>)> {
        let holding = self.v2b.iter().filter(|(prefix, _)| prefix.contains(addr));
        holding.max_by_key(|(prefix, _)| prefix.bits())
    }

    fn v2b(&self) -> Vec<V2b> {
        let pairs = self.v2b.iter();
        pairs
            .map(|(prefix, endpoints)| V2b {
                prefix: *prefix,
                endpoints: endpoints.iter().copied().collect(),
            })
            .collect()
    }
}

/// One random command, to both.
fn step(mappings: &Sut, model: &mut Model, rng: &mut Rng) {
    match rng.below(8) {
        0..3 => {
            let new = random_v2p(rng);
            let differs = model.v2p.insert((new.vni, new.address), new) != Some(new);
            assert_eq!(mappings.set_v2p(&[new]), Ok(usize::from(differs)));
        }
        3 => {
            let V2p { vni, address, .. } = random_v2p(rng);
            let had = model.v2p.remove(&(vni, address)).is_some();
            assert_eq!(mappings.clear_v2p(vni, address).is_ok(), had);
        }
        4..6 => {
            let (prefix, endpoints) = (random_prefix(rng), random_endpoints(rng));
            let list: Vec<_> = endpoints.iter().copied().collect();
            let group = model.v2b.entry(prefix).or_default();
            let added = endpoints.difference(group).count();
            group.extend(endpoints);
            assert_eq!(mappings.set_v2b(prefix, &list), Ok(added));
        }
        6 => {
            let (prefix, endpoints) = (random_prefix(rng), random_endpoints(rng));
            let list: Vec<_> = endpoints.iter().copied().collect();
            let list = if rng.below(2) == 0 { &list[..] } else { &[] };
            let got = mappings.clear_v2b(prefix, list);
            let Some(group) = model.v2b.get_mut(&prefix) else {
                return assert!(got.is_err());
            };
            if !list.iter().all(|e| group.contains(e)) {
                return assert!(got.is_err());
            }
            let had = group.len();
            group.retain(|e| !list.is_empty() && !list.contains(e));
            assert_eq!(got, Ok(had - group.len()));
            model.v2b.retain(|_, group| !group.is_empty());
        }
        _ => {
            let mut new = model.clone();
            let mapping = random_v2p(rng);
            new.v2p.insert((mapping.vni, mapping.address), mapping);
            let keep = rng.below(4);
            new.v2p.retain(|_, _| keep == 0 || rng.below(3) > 0);
            new.v2b.retain(|_, _| keep == 0 || rng.below(3) > 0);
            new.v2b.insert(random_prefix(rng), random_endpoints(rng));
            let v2p: Vec<_> = new.v2p.values().copied().collect();
            let plan = mappings.plan_replace(&v2p, &new.v2b()).unwrap();
            mappings.commit(plan);
            *model = new;
        }
    }
}

#[test]
fn mappings_agree_with_the_model() {
    let outside = [
        "1.1.1.1",
        "128.0.0.1",
        "192.0.0.1",
        "128.7.1.1",
        "128.7.7.7",
    ];
    let outside6 = ["::9", "8000::1", "8000:1::", "8000::7"];
    let outside: Vec<_> = outside.iter().chain(&outside6).map(|a| ip(a)).collect();
    for seed in 0..if cfg!(miri) { 1 } else { 100 } {
        std::println!("seed {seed}");
        let (mappings, mut model, mut rng) = (Sut::new(seed), Model::default(), Rng(seed));
        for _ in 0..100 {
            let answers: Vec<_> = outside.iter().map(|a| mappings.boundary(a, 5)).collect();
            let was = model.clone();
            step(&mappings, &mut model, &mut rng);
            // What a stamp still vouches for is what the model says now.
            for (addr, answer) in outside.iter().zip(answers) {
                let now = mappings.boundary(addr, 5);
                let group = model.group(addr);
                assert_eq!(now.is_some(), group.is_some());
                assert!(now.is_none_or(|(e, _)| group.unwrap().1.contains(&e)));
                if let Some((chosen, stamp)) = answer {
                    let same = was.group(addr) == group;
                    assert!(!mappings.current(stamp) || (same && now.unwrap().0 == chosen));
                }
            }
            let listed = mappings.dump_v2p(0, 1_000).0;
            assert_eq!(listed.len(), model.v2p.len());
            for mapping in listed {
                let key = (mapping.vni, mapping.address);
                assert_eq!(model.v2p.get(&key), Some(&mapping));
                let found = mappings.resolve(key.0, &key.1).unwrap();
                assert_eq!((found.mac, found.sled), (mapping.mac, mapping.sled));
                let before = was.v2p.get(&key);
                assert!(before.is_none_or(|m| *m == mapping) || found.stamp.generation > 0);
            }
            assert_eq!(mappings.dump_v2b(), model.v2b());
        }
    }
}
