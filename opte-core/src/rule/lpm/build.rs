//! Builds the table of one family, breadth first.
//!
//! A node's prefixes are one contiguous piece of the sorted entries. They are
//! spread over its slots: one that ends in this node fills the slots it
//! covers, a longer one goes to the child of its slot, whose own piece it
//! becomes part of. In sorted order a prefix comes before those inside it, so
//! the last one to fill a slot is the longest.
//!
//! Build time is linear in entries and levels after a sort.

use super::{Entry, Key, NODE_BITS, Node, Skip, Slot, Trie, index};
use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// Bits of the root at most: 262,144 slots.
const ROOT_BITS_MAX: u32 = 18;

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
        let mut trie = Self {
            root_bits: root_bits(entries.len()),
            root: Vec::new(),
            nodes: Vec::new(),
            skips: Vec::new(),
            leaves: alloc::vec![None],
            entries,
        };
        let mut cells = Vec::new();
        let mut jobs = VecDeque::new();
        trie.fill_root(&mut cells, &mut jobs);
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

    fn fill_root(&mut self, cells: &mut Vec<Cell>, jobs: &mut VecDeque<Job>) {
        let whole = Job {
            node: 0,
            depth: 0,
            owner: 0,
            start: 0,
            end: number(self.entries.len()),
        };
        self.spread(&whole, self.root_bits, cells);
        self.root.reserve_exact(cells.len());
        let (mut owner, mut leaf) = (0, 0);
        for cell in cells.iter() {
            if cell.start < cell.end {
                let node = self.add_child(cell, self.root_bits, jobs);
                self.root.push(Slot::Node(node));
            } else {
                if cell.owner != owner {
                    owner = cell.owner;
                    leaf = self.add_leaf(owner);
                }
                self.root.push(Slot::Leaf(leaf));
            }
        }
    }

    /// Makes a skip of the node if its prefixes have enough bits in common.
    fn fill_skip(&mut self, job: &Job, jobs: &mut VecDeque<Job>) -> bool {
        let piece = self.entries.get(index(job.start)..index(job.end));
        let Some((first, last)) = piece.and_then(|piece| piece.first().zip(piece.last())) else {
            return false;
        };
        // If any prefix is shorter than what the keys have in common, the
        // first one is the shortest. The child's prefixes stay longer than
        // its depth (T3).
        let bits = first
            .key
            .common(last.key)
            .min(u32::from(first.len).saturating_sub(1));
        if bits < job.depth.saturating_add(SKIP_BITS_MIN) {
            return false;
        }
        let key = first.key;
        let whole = Cell {
            owner: job.owner,
            start: job.start,
            end: job.end,
        };
        let skip = Skip {
            key,
            bits,
            child: self.add_child(&whole, bits, jobs),
            leaf: self.add_leaf(job.owner),
        };
        if let Some(node) = self.nodes.get_mut(index(job.node)) {
            node.leaf_base = number(self.skips.len());
        }
        self.skips.push(skip);
        true
    }

    fn fill_node(&mut self, job: &Job, cells: &mut Vec<Cell>, jobs: &mut VecDeque<Job>) {
        self.spread(job, NODE_BITS, cells);
        let depth = job.depth.saturating_add(NODE_BITS);
        let mut filled = Node {
            children: 0,
            runs: 0,
            child_base: number(self.nodes.len()),
            // Leaf 0 exists (T4), so this is exact.
            leaf_base: number(self.leaves.len()).saturating_sub(1),
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

    /// Adds an empty node for a cell's entries, to be filled later.
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

    /// The leaf of an owner, for a place that may share it.
    fn add_leaf(&mut self, owner: u32) -> u32 {
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

/// Bits of the root for so many entries: about four slots per entry.
fn root_bits(entries: usize) -> u32 {
    match entries.checked_ilog2() {
        Some(log) => log.saturating_add(2).min(ROOT_BITS_MAX),
        None => 0,
    }
}

/// A length as an index. A table with 2^32 nodes would not fit into memory.
fn number(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}
