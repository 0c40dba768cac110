//! The default hasher: fast, keyed, not cryptographic.
//!
//! Each word is mixed into the state by a *folded multiplication*: the full 128-bit product of two
//! words, its halves combined by exclusive or. So a few bits of input change half of all bits. This
//! is the step of wyhash, and of foldhash after it; the composition here is our own. The keys are
//! random, of the process and of the map: nobody can tell from outside which keys share a bucket.
//! It is no defence against somebody who sees hashes, or measures time with patience: take std's
//! `RandomState` (SipHash) there.

use std::hash::{BuildHasher, Hasher};

/// Odd, with as many ones as zeros, and no pattern: digits of pi, from behind the point.
const PI: [u64; 4] =
    [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7345, 0xa409_3822_299f_31d1, 0x082e_fa98_ec4e_6c89];

#[inline(always)]
pub(super) fn folded(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

/// Makes hashers with keys of its own: the default of [`HashMap`](super::HashMap).
///
/// A clone has the same keys, and makes the same hashes.
///
/// # Cost
///
/// Hashing a word takes two multiplications; a string, one for each 16 bytes and two or three more.
/// It is several times as fast as std's SipHash. [`new`](RandomState::new) hashes two words with
/// that; the system is asked for random bytes once in a thread.
///
/// # Security
///
/// Keys are random and secret, so that collisions cannot be prepared. It is not a cryptographic
/// hash: against somebody who sees hashes or iterates in the map's order, take
/// [`std::hash::RandomState`].
///
/// # Examples
///
/// ```
/// use std::hash::BuildHasher;
/// use stillpoint::map::RandomState;
///
/// let state = RandomState::new();
/// assert_eq!(state.hash_one("key"), state.clone().hash_one("key"));
/// assert_ne!(state.hash_one("key"), RandomState::new().hash_one("key"));
/// ```
#[derive(Clone)]
pub struct RandomState {
    keys: [u64; 3],
}

impl RandomState {
    /// A state with new keys.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::map::{HashMap, RandomState};
    /// let map: HashMap<u32, u32> = HashMap::with_hasher(RandomState::new());
    /// ```
    #[must_use]
    pub fn new() -> RandomState {
        // The one source of random bytes that std gives; differs from call to call.
        let seeds = std::hash::RandomState::new();
        let keys = [0_u64, 1, 2].map(|n| seeds.hash_one(n));
        RandomState { keys: [keys[0], keys[1] | 1, keys[2] | 1] }
    }
}

impl Default for RandomState {
    fn default() -> RandomState {
        RandomState::new()
    }
}

impl std::fmt::Debug for RandomState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the keys.
        f.debug_struct("RandomState").finish_non_exhaustive()
    }
}

impl BuildHasher for RandomState {
    type Hasher = FoldHasher;

    #[inline(always)]
    fn build_hasher(&self) -> FoldHasher {
        FoldHasher { state: self.keys[0], word: self.keys[1], end: self.keys[2] }
    }
}

/// The hasher of [`RandomState`].
///
/// # Examples
///
/// ```
/// use std::hash::{BuildHasher, Hasher};
/// use stillpoint::map::RandomState;
///
/// let mut hasher = RandomState::new().build_hasher();
/// hasher.write_u64(42);
/// println!("{:x}", hasher.finish());
/// ```
#[derive(Clone)]
pub struct FoldHasher {
    state: u64,
    word: u64,
    end: u64,
}

impl std::fmt::Debug for FoldHasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FoldHasher").finish_non_exhaustive()
    }
}

impl FoldHasher {
    #[inline(always)]
    fn mix(&mut self, word: u64) {
        // The rotation tells the order of words: what a zero factor swallows does not stay zero.
        self.state = folded(self.state ^ word, self.word).rotate_left(23) ^ word;
    }

    #[inline(always)]
    fn mix_two(&mut self, a: u64, b: u64) {
        self.state = folded(self.state ^ a, self.word ^ b).rotate_left(23).wrapping_add(a ^ PI[0]);
    }
}

fn word(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

fn half(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes)).into()
}

macro_rules! words {
    ($($name:ident: $type:ty;)*) => {
        $(
            #[inline(always)]
            fn $name(&mut self, n: $type) {
                self.mix(n as u64);
            }
        )*
    };
}

impl Hasher for FoldHasher {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        let length = bytes.len();
        let mut rest = bytes;
        while rest.len() > 16 {
            self.mix_two(word(rest), word(&rest[8..]));
            rest = &rest[16..];
        }
        // The last up to 16, which may overlap each other: the length tells how.
        let (a, b) = match rest.len() {
            8.. => (word(rest), word(&rest[rest.len() - 8..])),
            4.. => (half(rest), half(&rest[rest.len() - 4..])),
            1.. => {
                let middle = u64::from(rest[rest.len() / 2]);
                (u64::from(rest[0]) | middle << 8, u64::from(rest[rest.len() - 1]))
            }
            0 => (0, 0),
        };
        self.mix_two(a, b ^ (length as u64).wrapping_mul(PI[3]));
    }

    words! {
        write_u8: u8;
        write_u16: u16;
        write_u32: u32;
        write_u64: u64;
        write_usize: usize;
        write_i8: i8;
        write_i16: i16;
        write_i32: i32;
        write_i64: i64;
        write_isize: isize;
    }

    #[inline(always)]
    fn write_u128(&mut self, n: u128) {
        self.mix_two(n as u64, (n >> 64) as u64);
    }

    #[inline(always)]
    fn write_i128(&mut self, n: i128) {
        self.write_u128(n.cast_unsigned());
    }

    #[inline(always)]
    fn finish(&self) -> u64 {
        folded(self.state ^ PI[1], self.end)
    }
}
