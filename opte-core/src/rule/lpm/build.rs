//! Builds the table of one family, breadth first.
//!
//! A node's prefixes are one contiguous piece of the sorted entries. They are
//! spread over its slots: one that ends in this node fills the slots it
//! covers, a longer one goes to the child of its slot, whose own piece it
//! becomes part of. In sorted order a prefix comes before those inside it, so
//! the last one to fill a slot is the longest.
//!
//! Build time is linear in entries and levels after a sort.

use super::{Below, Entry, Key, NODE_BITS, Node, Skip, Trie, index};
use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// Bits of the root at most: 262,144 nodes, 6 MiB.
const ROOT_BITS_MAX: u32 = 18;

/// Logarithm of the number of entries that make a table large.
const ROOT_LARGE: u32 = 16;

/// Bits that a skip must save to be worth its own look-up.
const SKIP_BITS_MIN: u32 = 12;

/// A slot that is being filled.
#[derive(Clone, Copy)]
struct Cell {
    /// The longest prefix so far that covers the slot: its entry plus one, or zero.
    owner: u32,
    /// Entries of the slot's child, `start..end`; empty when it has none.
    start: u32,
    end: u32,
}

/// A node that waits to be filled.
struct Job {
    node: u32,
    depth: u32,
    /// What covers the whole node: an entry plus one, or zero.
    owner: u32,
    start: u32,
    end: u32,
}

impl<K: Key, T: Clone> Trie<K, T> {
    pub(super) fn build(mut entries: Vec<Entry<K, T>>) -> Self {
        entries.sort_by_key(|entry| (entry.key, entry.len));
        entries.dedup_by(|later, kept| {
            let same = (later.key, later.len) == (kept.key, kept.len);
            if same {
                core::mem::swap(later, kept);
            }
            same
        });
        entries.shrink_to_fit();
        let Some(first) = entries.first() else {
            return Self::default();
        };
        let owner = u32::from(first.len == 0);
        let whole = Job {
            node: 0,
            depth: 0,
            owner,
            start: owner,
            end: number(entries.len()),
        };
        let mut trie = Self {
            entries,
            ..Self::default()
        };
        let mut cells = Vec::new();
        let mut jobs = VecDeque::new();
        trie.fill_root(whole, &mut cells, &mut jobs);
        while let Some(job) = jobs.pop_front() {
            if !trie.fill_skip(&job, &mut jobs) {
                trie.fill_node(&job, &mut cells, &mut jobs);
            }
        }
        trie.nodes.shrink_to_fit();
        trie.skips.shrink_to_fit();
        trie.leaves.shrink_to_fit();
        trie
    }

    fn fill_root(&mut self, mut job: Job, cells: &mut Vec<Cell>, jobs: &mut VecDeque<Job>) {
        if let Some((key, bits)) = self.common(&job) {
            (self.common, self.common_bits) = (key, bits);
            self.common_mask = K::mask(bits);
        }
        self.nodes.clear();
        self.default = self.leaf_of(job.owner);
        self.root_bits = root_bits(job.end.saturating_sub(job.start));
        job.depth = self.common_bits;
        self.spread(&job, self.root_bits, cells);
        let depth = job.depth.saturating_add(self.root_bits);
        let (mut owner, mut leaf) = (job.owner, self.default);
        for cell in cells.iter() {
            if cell.start < cell.end {
                self.add_child(cell, depth, jobs);
                continue;
            }
            if cell.owner != owner {
                owner = cell.owner;
                leaf = self.leaf_of(owner);
            }
            self.nodes.push(Node {
                children: 0,
                runs: 1,
                child_base: 0,
                leaf_base: leaf.wrapping_sub(1),
            });
        }
    }

    /// The bits that all of a job's prefixes have in common and that are
    /// less than the shortest of them (T3).
    fn common(&self, job: &Job) -> Option<(K, u32)> {
        let piece = self.entries.get(index(job.start)..index(job.end))?;
        let (first, last) = piece.first().zip(piece.last())?;
        // If any prefix is shorter than what the first and the last key have
        // in common, the first one is the shortest.
        let shorter = u32::from(first.len).saturating_sub(1);
        Some((first.key, first.key.common(last.key).min(shorter)))
    }

    /// Makes a skip of the node if its prefixes have enough bits in common,
    /// or if it is just one that doesn't end here.
    fn fill_skip(&mut self, job: &Job, jobs: &mut VecDeque<Job>) -> bool {
        let Some((key, common)) = self.common(job) else {
            return false;
        };
        let only = job.end.saturating_sub(job.start) == 1;
        let least = if only { NODE_BITS } else { SKIP_BITS_MIN };
        if common < job.depth.saturating_add(least) {
            return false;
        }
        let (bits, child) = if only {
            let leaf = self.leaf_of(job.end);
            (common.saturating_add(1), Below::Leaf(leaf))
        } else {
            let whole = Cell {
                owner: job.owner,
                start: job.start,
                end: job.end,
            };
            (common, Below::Node(self.add_child(&whole, common, jobs)))
        };
        let leaf = self.leaf_of(job.owner);
        if let Some(node) = self.nodes.get_mut(index(job.node)) {
            node.leaf_base = number(self.skips.len());
        }
        self.skips.push(Skip {
            key,
            bits,
            child,
            leaf,
        });
        true
    }

    fn fill_node(&mut self, job: &Job, cells: &mut Vec<Cell>, jobs: &mut VecDeque<Job>) {
        self.spread(job, NODE_BITS, cells);
        let depth = job.depth.saturating_add(NODE_BITS);
        let mut filled = Node {
            children: 0,
            runs: 0,
            child_base: number(self.nodes.len()),
            leaf_base: number(self.leaves.len()).wrapping_sub(1),
        };
        let mut run = None;
        let mut bit = 1_u64;
        for cell in cells.iter() {
            if cell.start < cell.end {
                filled.children |= bit;
                self.add_child(cell, depth, jobs);
            } else if run != Some(cell.owner) {
                run = Some(cell.owner);
                filled.runs |= bit;
                // A run needs its own copy, "no prefix" included: the leaves
                // of a node lie side by side.
                self.push_leaf(cell.owner);
            }
            bit = bit.unbounded_shl(1);
        }
        if let Some(node) = self.nodes.get_mut(index(job.node)) {
            *node = filled;
        }
    }

    /// Spreads the job's entries over `1 << bits` cells.
    fn spread(&self, job: &Job, bits: u32, cells: &mut Vec<Cell>) {
        let empty = Cell {
            owner: job.owner,
            start: 0,
            end: 0,
        };
        cells.clear();
        cells.resize(1_usize.unbounded_shl(bits), empty);
        let end_depth = job.depth.saturating_add(bits);
        let piece = self.entries.get(index(job.start)..index(job.end));
        for (position, entry) in (job.start..).zip(piece.unwrap_or_default()) {
            let at = entry.key.chunk(job.depth, bits);
            let next = position.saturating_add(1);
            match end_depth.checked_sub(u32::from(entry.len)) {
                Some(spare) => {
                    let end = at.saturating_add(1_usize.unbounded_shl(spare));
                    for cell in cells.get_mut(at..end).unwrap_or_default() {
                        cell.owner = next;
                    }
                }
                None => {
                    if let Some(cell) = cells.get_mut(at) {
                        if cell.end == 0 {
                            cell.start = position;
                        }
                        cell.end = next;
                    }
                }
            }
        }
    }

    /// Adds a node for a cell's entries, to be filled later.
    fn add_child(&mut self, cell: &Cell, depth: u32, jobs: &mut VecDeque<Job>) -> u32 {
        let node = number(self.nodes.len());
        self.nodes.push(Node {
            children: 0,
            runs: 0,
            child_base: 0,
            leaf_base: 0,
        });
        jobs.push_back(Job {
            node,
            depth,
            owner: cell.owner,
            start: cell.start,
            end: cell.end,
        });
        node
    }

    /// A leaf for an owner, in no particular place.
    fn leaf_of(&mut self, owner: u32) -> u32 {
        if owner == 0 {
            return 0;
        }
        self.push_leaf(owner)
    }

    fn push_leaf(&mut self, owner: u32) -> u32 {
        let leaf = number(self.leaves.len());
        let entry = owner
            .checked_sub(1)
            .and_then(|at| self.entries.get(index(at)));
        self.leaves.push(entry.map(|entry| entry.value.clone()));
        leaf
    }
}

impl<K: Key, T> Default for Trie<K, T> {
    /// Without a prefix: one node, all of which is covered by leaf 0.
    fn default() -> Self {
        Self {
            common: K::ZERO,
            common_mask: K::ZERO,
            common_bits: 0,
            root_bits: 0,
            nodes: alloc::vec![Node {
                children: 0,
                runs: 1,
                child_base: 0,
                leaf_base: u32::MAX,
            }],
            skips: Vec::new(),
            leaves: alloc::vec![None],
            default: 0,
            entries: Vec::new(),
        }
    }
}

/// Bits of the root for so many entries: a node per entry, or a little less.
/// Large tables get all that there may be, so that an IPv4 prefix of up to 24
/// bits ends in the root.
fn root_bits(entries: u32) -> u32 {
    match entries.checked_ilog2() {
        Some(ROOT_LARGE..) => ROOT_BITS_MAX,
        Some(log) => log,
        None => 0,
    }
}

/// A length as an index. A table with 2^32 nodes would not fit into memory.
fn number(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}
