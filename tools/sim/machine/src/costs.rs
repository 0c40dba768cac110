//! What the machine is like.

/// CPUs, and what they share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// In all; at most 512.
    pub cpus: usize,
    /// Memory nodes, of as many CPUs each.
    pub nodes: usize,
    /// Last-level caches in each node.
    pub caches_per_node: usize,
}

impl Shape {
    /// The node of a CPU.
    pub fn node(&self, cpu: usize) -> usize {
        cpu * self.nodes / self.cpus
    }

    /// The last-level cache of a CPU.
    pub fn cache(&self, cpu: usize) -> usize {
        cpu * self.nodes * self.caches_per_node / self.cpus
    }
}

/// What things take, in nanoseconds.
///
/// "perfbook" is McKenney, "Is Parallel Programming Hard", the tables of the chapter on hardware
/// and its habits, as of 2026-07: the time of a compare-and-swap on a line that another CPU wrote
/// last.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Costs {
    /// A plain access to a line that is there. perfbook takes a cycle of the clock for it.
    pub hit: u64,
    /// An atomic read-modify-write of a line that is there. perfbook: 7.0, 8-socket Xeon 8176.
    pub atomic: u64,
    /// A line from another CPU that shares the last-level cache, if a node has several of these.
    /// perfbook: 53.6 between cores of an i7-8750H.
    pub same_cache: u64,
    /// A line from another CPU of the node. perfbook: 101.9, 8-socket Xeon 8176.
    pub same_node: u64,
    /// A line from another node. perfbook: 442.9, 8-socket Xeon 8176, other socket.
    pub other_node: u64,
    /// For how long a line cannot serve others when one CPU gets a copy to read. Our assumption: a
    /// few cycles of the agent that owns the directory.
    pub occupied: u64,
    /// One turn of a spinning loop: a PAUSE of 140 cycles at 3 GHz (Intel, since Skylake).
    pub pause: u64,
    /// Reading the clock through the vDSO. Measured where this was written: 20 to 25.
    pub clock: u64,
    /// A system call that parks or wakes, for who calls it. Our assumption, as the next two: the
    /// facts we have say 1 to 3 µs for a park in all, and more from a CPU that sleeps deeply.
    pub call: u64,
    /// From a wake-up to when the thread is runnable.
    pub wake: u64,
    /// From one thread to another on a CPU.
    pub switch: u64,
    /// A `membarrier`, for its caller, besides the call: so much for each CPU that it interrupts.
    /// Folly's benchmark of hazard pointers took some 5 µs for one with 8 busy cores.
    pub send: u64,
    /// An interrupt by another CPU, for whoever runs there. Our assumption.
    pub interrupt: u64,
    /// How long a thread runs before another has its turn. Linux, EEVDF: a base slice of 2.8 ms on
    /// machines of 8 CPUs and more.
    pub quantum: u64,
}

impl Default for Costs {
    fn default() -> Costs {
        Costs {
            hit: 1,
            atomic: 7,
            same_cache: 54,
            same_node: 102,
            other_node: 443,
            occupied: 16,
            pause: 47,
            clock: 22,
            call: 1_000,
            wake: 5_000,
            switch: 1_500,
            send: 500,
            interrupt: 1_000,
            quantum: 2_800_000,
        }
    }
}
