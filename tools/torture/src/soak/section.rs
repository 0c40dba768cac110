//! A read-side critical section with its checks.

use super::element::{Age, Look, POISON};
use super::evidence::{What, note};
use super::seat::{self, AGES, Tally, bump};
use super::world::{self, World};
use std::cell::Cell;
use std::sync::atomic::Ordering::Relaxed;
use stillpoint::rcu::{ReadGuard, SendGuard};

/// What a section is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Plain,
    Nested,
    Overlapping,
    Moved,
    Handler,
    Long,
    Sleeping,
    Polling,
    Deferring,
    Exiting,
    Destructor,
    Writing,
}

impl Kind {
    pub(crate) const ALL: [Kind; 12] = [
        Kind::Plain,
        Kind::Nested,
        Kind::Overlapping,
        Kind::Moved,
        Kind::Handler,
        Kind::Long,
        Kind::Sleeping,
        Kind::Polling,
        Kind::Deferring,
        Kind::Exiting,
        Kind::Destructor,
        Kind::Writing,
    ];
    pub(crate) const COUNT: usize = Kind::ALL.len();

    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Plain => "plain reader",
            Kind::Nested => "nested guards",
            Kind::Overlapping => "overlapping guards",
            Kind::Moved => "moved guard",
            Kind::Handler => "signal handler",
            Kind::Long => "long reader",
            Kind::Sleeping => "sleeping reader",
            Kind::Polling => "polling reader",
            Kind::Deferring => "deferring reader",
            Kind::Exiting => "exiting thread",
            Kind::Destructor => "destructor",
            Kind::Writing => "writer's section",
        }
    }
}

/// How many elements a section looks at.
const LOOKS: usize = 3;

/// A guard of either kind.
pub(crate) trait Held {
    fn guard(&self) -> &ReadGuard<'static>;
}

impl Held for ReadGuard<'static> {
    fn guard(&self) -> &ReadGuard<'static> {
        self
    }
}

impl Held for SendGuard<'static> {
    fn guard(&self) -> &ReadGuard<'static> {
        self
    }
}

/// A guard, and what was seen under it. Checks everything once more before the guard goes.
#[derive(Debug)]
pub(crate) struct Section<G> {
    // First: dropped before the guard.
    notes: Notes,
    guard: G,
}

#[derive(Debug)]
struct Notes {
    kind: Kind,
    /// How many grace periods had ended at the start.
    since: u64,
    looks: [Option<Look>; LOOKS],
    /// Something was wrong, and has been noted.
    told: Cell<bool>,
}

impl Section<ReadGuard<'static>> {
    #[inline(always)]
    pub(crate) fn begin(world: &World, kind: Kind) -> Section<ReadGuard<'static>> {
        let guard = world::read(world.domain);
        let since = world.domain.grace_periods();
        Section {
            notes: Notes { kind, since, looks: [None; LOOKS], told: Cell::new(false) },
            guard,
        }
    }

    pub(crate) fn into_send(self) -> Section<SendGuard<'static>> {
        Section { notes: self.notes, guard: self.guard.into_send() }
    }
}

impl<G: Held> Section<G> {
    /// Looks into a cell, and checks what it finds.
    #[inline(always)]
    pub(crate) fn look(&mut self, world: &World, cell: usize, sign: bool) {
        let kind = self.notes.kind;
        let Some(room) = self.notes.looks.iter_mut().find(|look| look.is_none()) else { return };
        let Some(id) = world.find(cell, self.guard.guard()) else {
            return note(What::Freed, kind.name(), [("memory of cell", cell as u64)]);
        };
        *room = Some(Look::at(id, sign));
        self.check();
    }

    /// Leaves mail in what it looked at first.
    pub(crate) fn send_mail(&self, reader: usize) {
        if let Some(look) = &self.notes.looks[0] {
            look.send_mail(reader);
        }
    }

    pub(crate) fn guard(&self) -> &ReadGuard<'static> {
        self.guard.guard()
    }

    /// Checks all it looked at.
    #[inline(always)]
    pub(crate) fn check(&self) {
        self.notes.check(|_| ());
    }

    /// Checks again and again.
    pub(crate) fn linger(&self, rounds: usize) {
        for _ in 0..rounds {
            self.check();
            std::hint::spin_loop();
        }
    }
}

impl Notes {
    #[inline(always)]
    fn check(&self, mut seen: impl FnMut(Age)) {
        for look in self.looks.iter().flatten() {
            let age = look.age();
            if !age.is_legal() {
                self.illegal(look, age);
            }
            seen(age);
        }
    }

    #[cold]
    fn illegal(&self, look: &Look, age: Age) {
        if self.told.replace(true) {
            return;
        }
        let freed = age.other || age.age == POISON;
        let facts = [
            ("element", look.id().into()),
            ("age", age.age),
            ("other generation", age.other.into()),
            ("periods at start", self.since),
            ("periods now", world::grace_periods()),
        ];
        note(if freed { What::Freed } else { What::TooOld }, self.kind.name(), facts);
    }
}

impl Drop for Notes {
    fn drop(&mut self) {
        let seat = seat::mine();
        let tally: &Tally = if self.kind == Kind::Handler { &seat.handler } else { &seat.main };
        let of_kind = &tally.seen[self.kind as usize];
        self.check(|age| {
            let age = if age.other { AGES } else { age.age as usize };
            bump(&of_kind[age.min(AGES - 1)]);
        });
        self.looks.iter().flatten().for_each(Look::end);
        // The number at the start may be an old one; even then, of two periods that ended since,
        // one began under the guard: had it begun earlier, its beginning, and the end of the one
        // before, would have been seen at the start.
        let now = world::grace_periods();
        let span = now.saturating_sub(self.since);
        bump(&tally.spans[span.min(2) as usize]);
        if span > 1 {
            let facts = [("periods at start", self.since), ("periods now", now)];
            note(What::TwoPeriods, self.kind.name(), facts);
        }
        if self.kind != Kind::Handler {
            seat.rounds.store(seat.rounds.load(Relaxed) + 1, Relaxed);
        }
    }
}
