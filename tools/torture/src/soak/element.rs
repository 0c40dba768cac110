//! Elements: what cells hold, from publication to poison.
//!
//! # The rule of ages
//!
//! | age | when |
//! |---|---|
//! | 0 | current |
//! | 1 | unlinked by the writer |
//! | 1 + n | n grace periods, each begun after the unlinking, have ended |
//! | [`POISON`] | freed: at age [`PIPE`] |
//!
//! A reader may see ages 0 and 1 from the moment it finds an element until its guard is dropped,
//! and nothing else. It found the element, so it does not see the unlinking that comes before the
//! grace period; hence everything that it does comes before the end of that grace period, and age
//! 2 is stored after it. This holds for relaxed accesses: a load that happens before a store does
//! not see it.
//!
//! Elements stand in a static arena and are never unmapped, and rest for a while before they are
//! used again, under another generation. A late reader finds poison or a foreign generation.
//!
//! # Two more witnesses
//!
//! *The visitors' book.* Some readers count themselves in and out. When the grace period is over,
//! both counts must be equal: all arrivals and departures are visible by then.
//!
//! *The mailbox.* A reader leaves the round that another reader is in, as it sees it. When the
//! grace period is over, whoever looks must find that reader in this round or a later one. (This
//! is rcutorture's `mbchk`.) The letter is checked on the spot, and once more by some reader.

use super::evidence::{What, note};
use super::{seat, world};
use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::*};

const ELEMENTS: usize = 1 << 16;
/// Freed elements rest this long before they are used again.
const RESTING: usize = 1 << 14;
/// At this age an element is freed.
pub(crate) const PIPE: u64 = 10;
/// The age of what was freed.
pub(crate) const POISON: u64 = 0xdd;

/// One element.
#[derive(Debug)]
#[repr(align(64))]
struct Element {
    /// Generation, and in the lowest byte the age.
    state: AtomicU64,
    /// How many grace periods had ended before it was unlinked.
    unlinked_at: AtomicU64,
    arrivals: AtomicU32,
    departures: AtomicU32,
    /// A reader's number and a round it was seen in; 0 if none.
    mail: AtomicU64,
}

static ARENA: [Element; ELEMENTS] = [const {
    Element {
        state: AtomicU64::new(POISON),
        unlinked_at: AtomicU64::new(0),
        arrivals: AtomicU32::new(0),
        departures: AtomicU32::new(0),
        mail: AtomicU64::new(0),
    }
}; ELEMENTS];

/// Elements to be used, those that rested longest first.
static FREE: Mutex<VecDeque<u32>> = Mutex::new(VecDeque::new());
/// Elements of age 2 that the writer has not yet taken into its pipe.
static GRADUATES: Mutex<Vec<u32>> = Mutex::new(Vec::new());
/// Elements whose grace periods the writer counts.
static IN_PIPE: Mutex<Vec<u32>> = Mutex::new(Vec::new());
/// A letter on its way to a reader.
static LETTER: AtomicU64 = AtomicU64::new(0);

/// Owns an element until its grace period is over; to drop it is to say that it is.
#[derive(Debug)]
pub(crate) struct Token {
    id: u32,
    /// Tells a token from the memory of one.
    check: u32,
    generation: u64,
}

/// Fills the arena. To be called once.
pub(crate) fn fill() {
    FREE.lock().unwrap().extend(0..ELEMENTS as u32);
}

/// Elements that are in nobody's hands: free, or on their way there.
pub(crate) fn accounted() -> usize {
    FREE.lock().unwrap().len() + GRADUATES.lock().unwrap().len() + IN_PIPE.lock().unwrap().len()
}

/// Elements that are not: the rest.
pub(crate) fn in_use() -> usize {
    ELEMENTS - accounted()
}

impl Token {
    /// An element of age 0, or nothing: too many are on their way to be freed.
    pub(crate) fn fresh() -> Option<Token> {
        let id = {
            let mut free = FREE.lock().unwrap();
            if free.len() <= RESTING {
                return None;
            }
            free.pop_front()?
        };
        let element = &ARENA[id as usize];
        let generation = (element.state.load(Relaxed) >> 8) + 1;
        for counter in [&element.arrivals, &element.departures] {
            counter.store(0, Relaxed);
        }
        element.mail.store(0, Relaxed);
        // Release: what comes before belongs to this generation.
        element.state.store(generation << 8, Release);
        Some(Token { id, check: !id, generation })
    }

    /// The element's number; nothing if this is not a token any more.
    pub(crate) fn id(&self) -> Option<u32> {
        let whole = self.check == !self.id && (self.id as usize) < ELEMENTS;
        whole.then_some(self.id)
    }

    pub(crate) fn name(&self) -> Name {
        Name { id: self.id, generation: self.generation }
    }

    /// Gives back an element that no reader ever saw.
    pub(crate) fn never_published(self) {
        ARENA[self.id as usize].state.store(self.generation << 8 | POISON, Relaxed);
        FREE.lock().unwrap().push_back(self.id);
        std::mem::forget(self);
    }
}

/// An element of one generation, whoever owns it by now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Name {
    pub(crate) id: u32,
    generation: u64,
}

impl Name {
    /// To be called before it is unlinked.
    pub(crate) fn leaves(self) {
        ARENA[self.id as usize].unlinked_at.store(world::grace_periods(), Relaxed);
    }

    /// Ages it to 1, unless its grace period is over already: it was unlinked.
    pub(crate) fn left(self) {
        let state = self.generation << 8;
        let element = &ARENA[self.id as usize];
        let _ = element.state.compare_exchange(state, state | 1, Relaxed, Relaxed);
    }

    /// True if somebody has said that its grace period is over.
    pub(crate) fn is_over(self) -> bool {
        let state = ARENA[self.id as usize].state.load(Relaxed);
        state >> 8 != self.generation || state & 0xff > 1
    }
}

impl Drop for Token {
    /// The element's first grace period is over.
    fn drop(&mut self) {
        const BY: &str = "end of the first grace period";
        let Some(id) = self.id() else {
            return note(What::Twice, BY, [("memory of element", self.id.into())]);
        };
        let element = &ARENA[id as usize];
        let found = element.state.fetch_update(Relaxed, Relaxed, |state| {
            (state >> 8 == self.generation && state & 0xff <= 1).then_some(self.generation << 8 | 2)
        });
        if let Err(state) = found {
            let facts = [
                ("element", id.into()),
                ("generation", self.generation),
                ("found generation", state >> 8),
                ("found age", state & 0xff),
            ];
            return note(What::Twice, BY, facts);
        }
        let (before, now) = (element.unlinked_at.load(Relaxed), world::grace_periods());
        if now <= before {
            let facts = [("element", id.into()), ("unlinked at", before), ("ran at", now)];
            note(What::EarlyCallback, BY, facts);
        }
        element.check_visitors(BY, id);
        let mail = element.mail.swap(0, Relaxed);
        if mail != 0 {
            open_mail(mail, BY);
            LETTER.store(mail, Release);
        }
        GRADUATES.lock().unwrap().push(id);
    }
}

impl Element {
    fn check_visitors(&self, by: &'static str, id: u32) {
        let (came, went) = (self.arrivals.load(Relaxed), self.departures.load(Relaxed));
        if came != went {
            let facts = [("element", id.into()), ("came", came.into()), ("went", went.into())];
            note(What::StillVisited, by, facts);
        }
    }
}

/// Takes everything of age 2 into the pipe. By the writer, before a wait for a grace period.
pub(crate) fn enter_pipe() {
    let mut graduates = GRADUATES.lock().unwrap();
    IN_PIPE.lock().unwrap().append(&mut graduates);
}

/// Everything in the pipe is one grace period older. By the writer, after the wait.
pub(crate) fn age() {
    let mut in_pipe = IN_PIPE.lock().unwrap();
    let mut freed = Vec::new();
    in_pipe.retain(|&id| {
        let element = &ARENA[id as usize];
        let state = element.state.load(Relaxed) + 1;
        let lives = state & 0xff < PIPE;
        element.state.store(if lives { state } else { state & !0xff | POISON }, Relaxed);
        if !lives {
            element.check_visitors("end of the pipe", id);
            freed.push(id);
        }
        lives
    });
    FREE.lock().unwrap().extend(freed);
}

/// A reader's note of an element it found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    id: u32,
    signed: bool,
    generation: u64,
}

/// How old an element is to a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Age {
    pub(crate) age: u64,
    /// Not the generation that the reader found.
    pub(crate) other: bool,
}

impl Age {
    pub(crate) fn is_legal(self) -> bool {
        self.age <= 1 && !self.other
    }
}

impl Look {
    /// Finds an element under a guard; with `sign`, counts in the visitors' book.
    pub(crate) fn at(id: u32, sign: bool) -> Look {
        let element = &ARENA[id as usize];
        // Acquire: the book below is the one of this generation.
        let generation = element.state.load(Acquire) >> 8;
        if sign {
            element.arrivals.fetch_add(1, Relaxed);
        }
        Look { id, signed: sign, generation }
    }

    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    pub(crate) fn age(&self) -> Age {
        let state = ARENA[self.id as usize].state.load(Relaxed);
        Age { age: state & 0xff, other: state >> 8 != self.generation }
    }

    /// Leaves the round in which this thread sees `reader`, if there is no mail yet.
    pub(crate) fn send_mail(&self, reader: usize) {
        let round = seat::all()[reader].rounds.load(Relaxed);
        let mail = (reader as u64) << 48 | round;
        let _ = ARENA[self.id as usize].mail.compare_exchange(0, mail, Relaxed, Relaxed);
    }

    /// To be called before the guard is dropped.
    pub(crate) fn end(&self) {
        if self.signed {
            ARENA[self.id as usize].departures.fetch_add(1, Relaxed);
        }
    }
}

/// Reads the letter that is on its way, if there is one.
pub(crate) fn read_letter(by: &'static str) {
    // Acquire: partner is the release where the grace period ended.
    let mail = LETTER.swap(0, Acquire);
    if mail != 0 {
        open_mail(mail, by);
    }
}

fn open_mail(mail: u64, by: &'static str) {
    let (reader, then) = (mail >> 48, mail & ((1 << 48) - 1));
    let now = seat::all()[reader as usize % seat::SEATS].rounds.load(Relaxed);
    if now < then {
        note(What::MailFromTheFuture, by, [("of", reader), ("was in", then), ("is in", now)]);
    }
}
