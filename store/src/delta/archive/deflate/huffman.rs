//! Huffman codes exactly as zlib makes them: which of several equally good codes comes out depends on the order of its heap.

/// Longest code of literals, lengths and distances, bits.
pub(super) const CODE_BITS_MAX: usize = 15;
/// Nodes of the largest tree: 286 leaves, 285 inner ones.
const NODES_MAX: usize = 2 * super::tables::LITERALS - 1;

/// A prefix code: for each symbol its bits, reversed as they are written, and their count.
#[derive(Debug, Clone)]
pub(super) struct Code {
    pub(super) lens: Vec<u8>,
    pub(super) codes: Vec<u16>,
    /// The last symbol whose length is written: as a rule the last that has a code.
    pub(super) last: usize,
}

impl Code {
    /// Says whether codes of these lengths can be told apart.
    pub(super) fn fits(lens: &[u8]) -> bool {
        let used: u32 = lens.iter().filter(|&&len| len > 0).map(|&len| 1 << (CODE_BITS_MAX - usize::from(len))).sum();
        used <= 1 << CODE_BITS_MAX
    }

    /// Numbers the codes of the given lengths.
    pub(super) fn of_lens(lens: Vec<u8>, last: usize) -> Self {
        let mut next = [0_u16; CODE_BITS_MAX + 2];
        for &len in &lens {
            next[usize::from(len) + 1] += u16::from(len > 0);
        }
        for bits in 2..=CODE_BITS_MAX {
            next[bits] = (next[bits - 1] + next[bits]) << 1;
        }
        // `next[n]` now is the first code of n bits.
        let codes = lens.iter().map(|&len| {
            let len = usize::from(len);
            if len == 0 {
                return 0;
            }
            let code = next[len];
            next[len] += 1;
            code.reverse_bits() >> (16 - len)
        });
        let codes = codes.collect();
        Self { lens, codes, last }
    }

    /// Makes the code for the given frequencies with no code longer than `bits_max`.
    pub(super) fn of_frequencies(frequencies: &[u32], bits_max: usize) -> Self {
        let mut tree = Tree::of(frequencies);
        tree.join();
        let lens = tree.lens(bits_max);
        Self::of_lens(lens, tree.last)
    }
}

/// A Huffman tree while it grows.
struct Tree {
    frequencies: Vec<u32>,
    leaves: usize,
    last: usize,
    depth: Vec<u8>,
    parent: Vec<u16>,
    /// Nodes of the heap, from place 1 on.
    heap: Vec<u16>,
    /// Nodes in the order in which they were joined.
    joined: Vec<u16>,
}

impl Tree {
    fn of(frequencies: &[u32]) -> Self {
        let leaves = frequencies.len();
        let mut heap = vec![0];
        heap.extend((0..leaves as u16).filter(|&symbol| frequencies[usize::from(symbol)] > 0));
        let mut last = if heap.len() > 1 { usize::from(heap[heap.len() - 1]) } else { 0 };
        let mut frequencies = frequencies.to_vec();
        // A code has two symbols at least.
        let mut any = heap.len() > 1;
        while heap.len() < 3 {
            let symbol = if !any {
                any = true;
                0
            } else if last < 2 {
                last += 1;
                last
            } else {
                0
            };
            heap.push(symbol as u16);
            frequencies[symbol] = 1;
        }
        frequencies.resize(NODES_MAX, 0);
        let mut tree = Self {
            frequencies,
            leaves,
            last,
            depth: vec![0; NODES_MAX],
            parent: vec![0; NODES_MAX],
            heap,
            joined: Vec::with_capacity(NODES_MAX),
        };
        for place in (1..=(tree.heap.len() - 1) / 2).rev() {
            tree.sink(place);
        }
        tree
    }

    fn before(&self, one: u16, other: u16) -> bool {
        let (one, other) = (usize::from(one), usize::from(other));
        let (left, right) = (self.frequencies[one], self.frequencies[other]);
        left < right || left == right && self.depth[one] <= self.depth[other]
    }

    fn sink(&mut self, mut place: usize) {
        let node = self.heap[place];
        loop {
            let mut child = place * 2;
            if child >= self.heap.len() {
                break;
            }
            if child + 1 < self.heap.len() && self.before(self.heap[child + 1], self.heap[child]) {
                child += 1;
            }
            if self.before(node, self.heap[child]) {
                break;
            }
            self.heap[place] = self.heap[child];
            place = child;
        }
        self.heap[place] = node;
    }

    /// Joins the two rarest nodes until one is left.
    fn join(&mut self) {
        let mut next = self.leaves;
        while self.heap.len() > 2 {
            let one = self.heap[1];
            self.heap.swap_remove(1);
            self.sink(1);
            let other = self.heap[1];
            self.joined.extend([one, other]);
            let (first, second) = (usize::from(one), usize::from(other));
            self.frequencies[next] = self.frequencies[first] + self.frequencies[second];
            self.depth[next] = self.depth[first].max(self.depth[second]) + 1;
            self.parent[first] = next as u16;
            self.parent[second] = next as u16;
            self.heap[1] = next as u16;
            next += 1;
            self.sink(1);
        }
        self.joined.push(self.heap[1]);
    }

    /// Returns the length of each symbol's code, none longer than `bits_max`.
    fn lens(&self, bits_max: usize) -> Vec<u8> {
        let mut lens = vec![0_u8; NODES_MAX];
        let mut counts = [0_usize; CODE_BITS_MAX + 1];
        let mut over = 0_usize;
        for &node in self.joined.iter().rev().skip(1) {
            let node = usize::from(node);
            let mut bits = usize::from(lens[usize::from(self.parent[node])]) + 1;
            if bits > bits_max {
                bits = bits_max;
                over += 1;
            }
            lens[node] = bits as u8;
            if node < self.leaves {
                counts[bits] += 1;
            }
        }
        if over > 0 {
            self.shorten(&mut lens, &mut counts, over, bits_max);
        }
        lens.truncate(self.leaves);
        lens
    }

    /// Makes room for the codes that were cut to `bits_max`, by lengthening others, and gives the rarest symbols the longest codes.
    fn shorten(&self, lens: &mut [u8], counts: &mut [usize], over: usize, bits_max: usize) {
        let mut left = over.cast_signed();
        while left > 0 {
            let Some(bits) = (1..bits_max).rev().find(|&bits| counts[bits] > 0) else { return };
            counts[bits] -= 1;
            counts[bits + 1] += 2;
            counts[bits_max] -= 1;
            left -= 2;
        }
        let mut leaves = self.joined.iter().copied().map(usize::from).filter(|&node| node < self.leaves);
        for bits in (1..=bits_max).rev() {
            for node in leaves.by_ref().take(counts[bits]) {
                lens[node] = bits as u8;
            }
        }
    }
}
