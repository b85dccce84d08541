//! `cargo bench`: the main cases of the packet path, with statistics, for
//! people. What is compared with goals is `cargo xtask bench`.

mod rig;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use opte_core::Direction;
use rig::flows::{Flows, Kind};
use rig::traffic::{BURST, Traffic};
use rig::{Rig, Shape};

fn hit(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("hit");
    group.throughput(Throughput::Elements(BURST as u64));
    for kind in [Kind::Udp4, Kind::Tcp4, Kind::Udp6, Kind::Tcp6] {
        for count in [1, 1_000, 100_000] {
            let (rig, mut lane) = Rig::new(Shape::for_flows(count));
            let flows = Flows::establish(&rig, &mut lane, kind, count);
            for (dir, name) in [(Direction::Out, "out"), (Direction::In, "in")] {
                let mut traffic = Traffic::of(&flows, dir, 64);
                let id = BenchmarkId::new(format!("{}/{name}/64B", kind.name()), count);
                group.bench_function(id, |bencher| {
                    bencher.iter_custom(|bursts| {
                        (0..bursts).map(|_| traffic.burst(&rig, &mut lane).0).sum()
                    });
                });
            }
        }
    }
}

criterion_group!(benches, hit);
criterion_main!(benches);
