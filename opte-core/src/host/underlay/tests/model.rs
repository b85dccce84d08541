//! Anything that can happen, in any order; afterwards the books must balance.

use super::*;

const NODES: u64 = 4;

/// Frames of node 0: what became of them.
#[derive(Default)]
struct Books {
    sent: u64,
    refused: u64,
}

fn step(net: &mut Net, rng: &mut Rng, books: &mut Books) {
    let to = addr(rng.below(NODES - 1) as usize + 1);
    match rng.below(40) {
        0..24 => match net.send(0, &to, rng.below(8) as u32, 0) {
            Ok(_) => books.sent += 1,
            Err(_) => books.refused += 1,
        },
        24..32 => net.run(rng.below(20) * 100),
        32 => net.run(40_000),
        33 => drop(net.dead.insert(rng.below(NODES - 1) as usize + 1)),
        34 => net.dead.clear(),
        35 => {
            let node = rng.below(NODES - 1) as usize + 1;
            let mac = MacAddr([2, 1, 1, 1, rng.below(250) as u8, node as u8]);
            net.change_mac(node, 0, mac);
        }
        36 => {
            let links = rng.below(3) as usize + 1;
            let routes: Vec<_> = (0..links)
                .map(|l| route("fd00::/64", None, LINKS[l]))
                .collect();
            net.configure(0, Some(&net.spec(0, links, &routes)));
        }
        37 => net.configure(0, None),
        38 => net.loss = rng.below(60),
        _ => {
            let claimed = nd::announcement(MacAddr([2, 6, 6, 6, 6, 6]), &to);
            let link = LinkId(rng.below(3) as u16);
            let _: Accept = net.call(0, |n, now, out| {
                n.underlay.rx(link, &claimed, now, out, &n.seen)
            });
        }
    }
}

/// Numbers and indices of the tables agree with each other.
fn check(under: &Under) {
    let control = under.control.lock();
    let mut uses = std::collections::BTreeMap::<u16, u32>::new();
    for slot in control.paths.all() {
        let entry = control.paths.at(slot).unwrap();
        assert!(under.path(entry.id).is_some());
        assert!(control.links.contains_key(&entry.key.link));
        if let table::Via::Neighbour { chosen, current } = entry.via {
            for neighbour in BTreeSet::from([chosen, current]) {
                *uses.entry(neighbour).or_default() += 1;
                assert!(control.paths.user_of(neighbour, slot) == Some(slot));
            }
            let mac = control.neighbours.get(current).unwrap().mac();
            let mut header = [0; ENCAP_LEN];
            let link = under.path(entry.id).unwrap().write_header(&mut header);
            assert_eq!(
                link.is_some(),
                mac.is_some(),
                "a path shows what its neighbour is"
            );
            if let Some(mac) = mac {
                assert_eq!(header[..6], mac.0);
            }
        }
    }
    control.neighbours.check(&uses);
}

#[test]
fn the_books_balance_whatever_happens() {
    for seed in 0..if cfg!(miri) { 1 } else { 60 } {
        let mut rng = Rng::new(seed);
        let mut net = Net::new(NODES as usize, 3, &flat());
        net.rng = Rng::new(seed + 1_000);
        // Only what is on the links counts as arrived or lost: count frames
        // where they leave.
        let mut books = Books::default();
        for _ in 0..300 {
            step(&mut net, &mut rng, &mut books);
            check(&net.nodes[0].underlay);
        }
        // Let everything that waits be sent or given up.
        net.run(20_000);
        let under = &net.nodes[0].underlay;
        assert!(
            under.show().neighbours.iter().all(|n| n.queued == 0),
            "seed {seed}"
        );
        let dropped: u64 = under.drops().iter().map(|(_, n)| n).sum();
        let told = net.nodes[0].seen.drops.borrow().len() as u64;
        assert_eq!(dropped, told, "seed {seed}: each drop is told once");
        assert_eq!(
            books.sent,
            net.geneve + dropped,
            "seed {seed}: no frame is lost or doubled"
        );
        assert!(books.sent > 0 && books.refused > 0, "seed {seed}");
    }
}
