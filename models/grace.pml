/*
 * The grace period of an RCU domain: src/rcu/domain.rs and src/rcu/grace.rs, with the sequences of
 * src/rseq/reader.rs, over a small machine.  docs/model.md says what this covers and what not;
 * `cargo run -p models` runs it in all its configurations.
 *
 * Reading guide.  MACHINE is the kernel's and the processor's share, READER and CALLER are ours.
 * Names are those of the source.  What a macro selects is said where it has its default.
 *
 * Sums, not counters.  A scan adds up words that move, and asks one thing: is E - L zero?  So the
 * model keeps, for each phase, the true difference of all that is visible (`diff`), and for the
 * scan in progress what its result would be (`acc`): `diff` when it began, and each count since
 * then that reaches a word which the scan has not read yet.  That is exactly what adding up the
 * words would yield, and leaves a finite number of states, however many sections and grace periods
 * there were: no run below is bounded, unless it says so.
 */

/* ---- the configuration ------------------------------------------------------------------- */

#ifndef READERS
#define READERS 2
#endif
#ifndef CPUS            /* which readers run on; callers have CPUs of their own */
#define CPUS 2
#endif
#ifndef CALLERS         /* of synchronize() */
#define CALLERS 1
#endif
#ifndef TIER
#define TIER RSEQ
#endif
#ifndef WEAK            /* 0: x86-TSO.  1: stores of a CPU come out in any order, except releases */
#define WEAK 0
#endif
#ifndef MOVES           /* threads move to other CPUs, wherever they are */
#define MOVES 0
#endif
#ifndef SIGNALS         /* sections are aborted for no reason that we see */
#define SIGNALS 0
#endif
#ifndef UNREGISTERED    /* so many readers have no rseq */
#define UNREGISTERED 0
#endif
#ifndef LOSES_ABORTS    /* a broadcast may fail to abort a section: kernels before 6.18 */
#define LOSES_ABORTS 0
#endif
#ifndef CAPACITY        /* of a CPU's store buffer */
#define CAPACITY 2
#endif

#define RSEQ       0
#define MEMBARRIER 1
#define FENCE      2

/*
 * What can be broken, by its macro.  Ours: NO_BROADCAST, NO_FLIP, SKIP_OTHER_PHASE,
 * PHASE_OUTSIDE_SECTION, ENTERS_BEFORE_LEAVES, ENTERS_BEFORE_BROADCAST, PLAIN_LEAVE,
 * NO_LIGHT_FENCE, NO_ROUND_UP, NO_FALLBACK.  The kernel's: NO_ABORT.
 *
 * FLIP_FIRST is another algorithm, the one we started from: flip, broadcast, drain the old phase
 * alone.  Its fallback looks at the phase a second time; NO_SECOND_LOOK leaves that out.
 */

/* Which line counts atomically: the first one, below tier rseq shards. */
#if TIER == RSEQ
#define SHARD(i) 0
#else
#define SHARD(i) (i & 1)
#endif
#ifdef NO_FALLBACK
#define MAY_RETRY true
#else
#define MAY_RETRY !retried
#endif
#if defined(NO_LIGHT_FENCE)
#define LIGHT_IS_FENCE false
#elif defined(FLIP_FIRST)
#define LIGHT_IS_FENCE true
#else
#define LIGHT_IS_FENCE (TIER == FENCE)
#endif

/* ---- MACHINE ----------------------------------------------------------------------------- */

/* A word of a line: the line (0: atomic counts, CPU n has n + 1), entered or left, the phase. */
#define LINES       (CPUS + 1)
#define ENTERED(line, p) ((line) * 4 + (p))
#define LEFT(line, p)    ((line) * 4 + 2 + (p))
#define MOST 7          /* see `emerge` */

byte cpu[READERS];      /* where each thread runs */
bit  section[READERS];  /* it is inside a section that nothing has aborted */
bit  leaving[READERS];  /* which section: of enter, of leave */
bit  mark[READERS];     /* the phase that the section loaded, and, later, counted in */
bit  torn[READERS];     /* NO_ABORT: another thread has stored to the word that it loaded */

chan buffer[CPUS] = [CAPACITY] of { byte };  /* stores that nobody else sees yet */

short diff[2];          /* sum of entered - sum of left, as visible */
short acc[2];           /* what the scan of a phase would find, if nothing moved any more */
byte  seen[2];          /* the words it has read: 1 << line is left, 16 << line entered */

bit current;            /* gate.phase as its writer has it */
bit gate;               /* gate.phase as readers see it */

byte pointer[CALLERS];  /* the object that each caller has published */
bit  valid[2 * CALLERS];/* memory that is not freed */
byte object[READERS];   /* what each reader found */
bit  early[READERS];    /* WEAK: it was loaded before the section, ahead of its turn */
bit  belated[READERS];  /* PLAIN_LEAVE: the last access has yet to happen, behind the count */

byte late[CPUS];        /* sections that counted in the old phase since the flip */
#ifdef NO_ABORT
#define MOST_LATE READERS   /* it is about lost counts */
#else
#define MOST_LATE 1
#endif

hidden byte w;
hidden byte j;
hidden byte sum;

/* The store w becomes visible.  With so few readers no sum goes beyond MOST and comes back. */
#define RAISE(x) x = (x < MOST -> x + 1 : x)
#define LOWER(x) x = (x > -MOST -> x - 1 : x)
inline emerge() {
    if
    :: !(w & 2) ->
        RAISE(diff[w & 1]);
        if
        :: !(seen[w & 1] & (16 << (w >> 2))) -> RAISE(acc[w & 1])
        :: else
        fi
    :: else ->
        LOWER(diff[w & 1]);
        if
        :: !(seen[w & 1] & (1 << (w >> 2))) -> LOWER(acc[w & 1])
        :: else
        fi
    fi
}

inline drain(c) {
    do
    :: nempty(buffer[c]) -> buffer[c]?w; emerge()
    :: empty(buffer[c]) -> break
    od
}

#ifdef NO_ABORT
#define preempted(j) skip
#else
#define preempted(j) section[j] = 0
#endif

/* Thread i executes something: another one inside a section on that CPU was preempted. */
inline runs(i) {
    for (j : 0 .. READERS - 1) {
        if
        :: j != i && cpu[j] == cpu[i] -> preempted(j)
        :: else
        fi
    }
}

/* Thread i stores to a word of its CPU's line. */
inline commit(i, word) {
    if
    :: torn[i]              /* what it stores is there already */
    :: else -> buffer[cpu[i]]!word
    fi;
#ifdef NO_ABORT
    for (j : 0 .. READERS - 1) {
        if
        :: j != i && section[j] && cpu[j] == cpu[i] &&
                leaving[j] == leaving[i] && mark[j] == mark[i] ->
            torn[j] = 1
        :: else
        fi
    }
#endif
    torn[i] = 0;
    section[i] = 0
}

/* An access that was put off happens. */
inline perform(i) {
    if
    :: belated[i] -> assert(valid[object[i]]); belated[i] = 0
    :: else
    fi
}

/* A full fence of thread i. */
inline barrier(i) {
    drain(cpu[i]);
    early[i] = 0;
    perform(i)
}

/* Thread i moves to the other CPU, by way of the scheduler, which fences, and is aborted. */
inline move(i) {
    barrier(i);
    cpu[i] = 1 - cpu[i];
    section[i] = 0
}

/* An atomic addition of thread i, to the word `sum`: fences on x86-64; elsewhere it is a store
 * like others. */
#if WEAK
#define MAY_ADD nfull(buffer[cpu[i]])
inline add(i) { buffer[cpu[i]]!sum }
#else
#define MAY_ADD true
inline add(i) { barrier(i); w = sum; emerge() }
#endif

/* The broadcast reaches CPU c: a full barrier between two instructions of whoever runs there, and
 * the abort of the section. */
inline interrupt(c, aborts) {
    drain(c);
    for (j : 0 .. READERS - 1) {
        if
        :: cpu[j] == c ->
            early[j] = 0;
            perform(j);
            if
            :: aborts -> preempted(j)
            :: else
            fi
        :: else
        fi
    }
}

/* Store buffers empty themselves, in order. */
proctype drainer(byte c) {
    do
    :: d_step { nempty(buffer[c]) -> buffer[c]?w; emerge() }
    od
}

#if WEAK
/* And out of order: a plain store overtakes what it likes, except those to its own word. */
#define OVERTAKES(word) \
    d_step { buffer[c]??[eval(word)] -> w = word; buffer[c]??eval(word); emerge() }

proctype overtaker(byte c) {
    do
    :: OVERTAKES(ENTERED(0, 0))
    :: OVERTAKES(ENTERED(0, 1))
    :: OVERTAKES(ENTERED(c + 1, 0))
    :: OVERTAKES(ENTERED(c + 1, 1))
#ifdef PLAIN_LEAVE
    :: OVERTAKES(LEFT(0, 0))
    :: OVERTAKES(LEFT(0, 1))
    :: OVERTAKES(LEFT(c + 1, 0))
    :: OVERTAKES(LEFT(c + 1, 1))
#endif
    od
}
#endif

/* The flip becomes visible: at some time before its writer's next fence or unlocking. */
inline publish_flip() {
    if
    :: gate != current ->
        gate = current;
        for (j : 0 .. CPUS - 1) { late[j] = 0 }
    :: else
    fi
}

proctype flipper() {
    do
    :: d_step { gate != current -> publish_flip() }
    od
}

/* ---- READER ------------------------------------------------------------------------------- */

/* Where a reader is. */
#define OUTSIDE  0
#define ENTERING 1      /* in the sequence reader_enter, its loads done */
#define COUNTING 2      /* in Engine::enter, the phase loaded */
#define FENCING  3      /* before the light fence */
#define HAS_ENTERED 4      /* `Domain::read` has returned */
#define READING  5      /* an object was found */
#define LEAVING  6      /* in one of the sequences reader_leave, its loads done */
#define UNCOUNTING 7    /* in Engine::leave */
#define ACCESSING 8     /* PLAIN_LEAVE: the last access is yet to come */

#define LOADED 9        /* PHASE_OUTSIDE_SECTION: the phase is loaded, and no section begun */

#define SEQUENCES  (TIER == RSEQ && i >= UNREGISTERED)
#define MAY_COMMIT (section[i] && nfull(buffer[cpu[i]]))
#define ABORTED    (!section[i])

#define FINDS(it) runs(i); object[i] = it; moved = 0; at = READING
/* With the loads of the next sequence: asm/.../reader_leave_here.s or reader_leave.s. */
#define BEGINS_TO_LEAVE \
    runs(i); \
    section[i] = !atomically; \
    leaving[i] = !atomically; \
    moved = 0; \
    at = (atomically -> UNCOUNTING : LEAVING)

/* `Domain::read`, an access to what was found, `drop` of the guard; again and again. */
proctype reader(byte i) {
    byte at;
    bit retried;        /* RETRIES is 1 */
    bit atomically;     /* the mark has NO_CPU */
    bit moved;          /* threads move once, then get on with it */

    do
#if WEAK
    /* The load of the object may run ahead of everything, up to the last fence. */
    :: d_step { at == OUTSIDE && !early[i] -> runs(i); object[i] = pointer[0]; early[i] = 1 }
#if CALLERS == 2
    :: d_step { at == OUTSIDE && !early[i] -> runs(i); object[i] = pointer[1]; early[i] = 1 }
#endif
#endif
#if MOVES
    :: d_step { !moved -> move(i); moved = 1 }
#endif
#if SIGNALS
    :: d_step { section[i] && !retried -> section[i] = 0 }
#endif

    /* asm/.../reader_enter.s: the phase is loaded in the section that counts. */
#ifdef PHASE_OUTSIDE_SECTION
    :: d_step { at == OUTSIDE && SEQUENCES -> runs(i); mark[i] = gate; at = LOADED }
    :: d_step { at == LOADED -> runs(i); section[i] = 1; at = ENTERING }
#else
    :: d_step {
            at == OUTSIDE && SEQUENCES ->
            runs(i);
            section[i] = 1;
            mark[i] = gate;
            at = ENTERING
        }
#endif
    :: d_step {
            at == ENTERING && MAY_COMMIT ->
            runs(i);
            if
            :: mark[i] != gate ->
                /* So at most one section for each CPU comes to the old phase after the flip. */
                late[cpu[i]]++;
                assert(late[cpu[i]] <= MOST_LATE)
            :: else
            fi;
            commit(i, ENTERED(cpu[i] + 1, mark[i]));
            retried = 0;
            moved = 0;
            at = HAS_ENTERED
        }
    :: d_step {
            at == ENTERING && ABORTED ->
            runs(i);
            mark[i] = 0;
            if
            :: MAY_RETRY -> retried = 1; at = OUTSIDE
            :: else -> retried = 0; moved = 0; mark[i] = gate; at = COUNTING
            fi
        }

    /* `Engine::enter`, the fallback. */
    :: d_step { at == OUTSIDE && !SEQUENCES -> runs(i); moved = 0; mark[i] = gate; at = COUNTING }
    :: d_step {
            at == COUNTING && MAY_ADD ->
            runs(i);
            sum = ENTERED(SHARD(i), mark[i]);
            add(i);
            atomically = 1;
            moved = 0;
            at = (LIGHT_IS_FENCE -> FENCING : HAS_ENTERED)
        }
    :: d_step {
            at == FENCING && MAY_ADD ->
            runs(i);
            barrier(i);
            moved = 0;
            at = HAS_ENTERED;
#if defined(FLIP_FIRST) && !defined(NO_SECOND_LOOK)
            if
            :: mark[i] != gate ->
                sum = LEFT(SHARD(i), mark[i]);
                add(i);
                mark[i] = gate;
                at = COUNTING
            :: else
            fi
#endif
        }

    /* The read-side critical section. */
    :: d_step { at == HAS_ENTERED && early[i] -> runs(i); early[i] = 0; moved = 0; at = READING }
    :: d_step { at == HAS_ENTERED && !early[i] -> FINDS(pointer[0]) }
#if CALLERS == 2
    :: d_step { at == HAS_ENTERED && !early[i] -> FINDS(pointer[1]) }
#endif
    :: d_step { at == READING -> assert(valid[object[i]]); object[i] = 0; BEGINS_TO_LEAVE }
#if WEAK && defined(PLAIN_LEAVE)
    :: d_step { at == READING -> belated[i] = 1; BEGINS_TO_LEAVE }
#endif

    /* Leaving: the word is that of the CPU at hand. */
    :: d_step {
            at == LEAVING && MAY_COMMIT ->
            runs(i);
            commit(i, LEFT(cpu[i] + 1, mark[i]));
            mark[i] = 0;
            leaving[i] = 0;
            retried = 0;
            moved = 0;
            at = (belated[i] -> ACCESSING : OUTSIDE)
        }
    :: d_step {
            at == LEAVING && ABORTED ->
            runs(i);
            if
            :: MAY_RETRY -> retried = 1; section[i] = 1
            :: else -> leaving[i] = 0; retried = 0; moved = 0; at = UNCOUNTING
            fi
        }
    /* `Engine::leave`. */
    :: d_step {
            at == UNCOUNTING && MAY_ADD ->
            runs(i);
            sum = LEFT((atomically -> SHARD(i) : 0), mark[i]);
            add(i);
            mark[i] = 0;
            atomically = 0;
            moved = 0;
            at = (belated[i] -> ACCESSING : OUTSIDE)
        }
    :: d_step { at == ACCESSING -> runs(i); perform(i); at = OUTSIDE }
    od
}

/* ---- CALLER ------------------------------------------------------------------------------- */

byte number;            /* grace.number, modulo 4: nobody waits for more than the third from here */
byte target[CALLERS];   /* what each caller waits for */
bit  has_reached[CALLERS];
bit  calling[CALLERS];  /* it waits for a grace period */
bit  lock;
bit  leads[CALLERS];    /* it holds the lock */
byte stage;             /* grace.stage, if the number is odd */
byte interrupted;           /* so many CPUs, by the broadcast in progress */

#define BEGUN   0
#define FENCED  1
#define FLIPPED 2

#define IN_PROGRESS (number & 1)
#define OTHER       (1 - current)
#define ALL_LEFT    ((1 << LINES) - 1)
#define ALL_ENTERED (ALL_LEFT << 4)
#ifdef NO_ROUND_UP
#define ROUND_UP 2
#else
#define ROUND_UP 3
#endif
#ifdef SKIP_OTHER_PHASE
#define SKIPS (stage == FENCED)
#else
#define SKIPS false
#endif
#ifdef NO_FLIP
#define FLIP skip
#else
#define FLIP current = OTHER
#endif
#if defined(FLIP_FIRST)
#define AFTER_BROADCAST FLIPPED
#else
#define AFTER_BROADCAST FENCED
#endif
#ifdef ENTERS_BEFORE_BROADCAST
/* Of the old phase, `entered` is known from before; then `left` is read again and again. */
#define SCAN_IS_DONE (stage == FLIPPED || seen[SCANNED] == (ALL_LEFT | ALL_ENTERED))
#define RESCANS (stage == FENCED)
#else
#define SCAN_IS_DONE (seen[SCANNED] == (ALL_LEFT | ALL_ENTERED))
#define RESCANS true
#endif

/* Which phase a scan is about. */
#ifdef NO_FLIP
#define SCANNED ((current + (stage == FENCED)) & 1)
#else
#define SCANNED OTHER
#endif
#define SCANS (leads[u] && IN_PROGRESS && stage != BEGUN)

/* The sum of `left` comes first: its loads acquire.  Those of `entered` are ordered behind them,
 * but not among themselves. */
#ifdef ENTERS_BEFORE_LEAVES
#define BEFORE_LEFT    ALL_ENTERED
#define BEFORE_ENTERED 0
#else
#define BEFORE_LEFT    0
#define BEFORE_ENTERED ALL_LEFT
#endif
#if WEAK
#define IN_ORDER(word) 0
#else
#define IN_ORDER(word) word
#endif

/* The scan reads a word, if it has read those before it. */
#define READ(word, before) \
    d_step { \
        SCANS && !(seen[SCANNED] & (word)) && (seen[SCANNED] & (before)) == (before) -> \
        seen[SCANNED] = seen[SCANNED] | (word) \
    }

inline advance() {
    number = (number + 1) & 3;
    for (j : 0 .. CALLERS - 1) {
        if
        :: calling[j] && target[j] == number -> has_reached[j] = 1
        :: else
        fi
    }
}

inline begin_scan(p) { seen[p] = 0; acc[p] = diff[p] }

#define BROADCASTS(c) leads[u] && IN_PROGRESS && stage == BEGUN && interrupted == (c)
#if CPUS == 2
#define REACHED_CPU_0 interrupted = 1
#else
#define REACHED_CPU_0 stage = AFTER_BROADCAST
#endif

/* Unlink, `Domain::synchronize`, free; again and again. */
proctype caller(byte u) {
    do
    /* An object takes the other one's place.  Then `Grace::snapshot`. */
    :: d_step {
            !calling[u] ->
            calling[u] = 1;
            pointer[u] = 4 * u + 1 - pointer[u];    /* the other one of 2u and 2u + 1 */
            assert(!valid[pointer[u]]);
            valid[pointer[u]] = 1;
            target[u] = (number + ROUND_UP) & 2
        }
    :: d_step {
            calling[u] && !leads[u] && has_reached[u] ->
            valid[4 * u + 1 - pointer[u]] = 0;
            has_reached[u] = 0;
            target[u] = 0;
            calling[u] = 0
        }

    /* `Grace::try_lead`, and `Lead::drop`. */
    :: d_step { calling[u] && !leads[u] && !has_reached[u] && !lock -> lock = 1; leads[u] = 1 }
    :: d_step { leads[u] && has_reached[u] -> publish_flip(); leads[u] = 0; lock = 0 }

    /* `Grace::step`. */
    :: d_step {
            leads[u] && !has_reached[u] && !IN_PROGRESS ->
            advance();
            stage = BEGUN;
#ifdef ENTERS_BEFORE_BROADCAST
            seen[current] = ALL_ENTERED;
#endif
#ifdef FLIP_FIRST
            current = OTHER
#endif
        }
#ifdef NO_BROADCAST
    :: d_step {
            leads[u] && IN_PROGRESS && stage == BEGUN ->
            publish_flip();
            stage = AFTER_BROADCAST
        }
#else
    /* `heavy`, of src/machine/fence.rs. */
#if TIER == FENCE
    :: d_step { BROADCASTS(0) -> publish_flip(); stage = AFTER_BROADCAST }
#else
    :: d_step { BROADCASTS(0) -> publish_flip(); interrupt(0, 1); REACHED_CPU_0 }
    :: d_step { BROADCASTS(1) -> interrupt(1, 1); interrupted = 0; stage = AFTER_BROADCAST }
#if LOSES_ABORTS
    :: d_step { BROADCASTS(0) -> publish_flip(); interrupt(0, 0); REACHED_CPU_0 }
    :: d_step { BROADCASTS(1) -> interrupt(1, 0); interrupted = 0; stage = AFTER_BROADCAST }
#endif
#endif
#endif

    /* `Engine::is_drained`, of the other phase, then of the old one. */
    :: READ(1, BEFORE_LEFT)
    :: READ(2, BEFORE_LEFT | 1)
    :: READ(16, BEFORE_ENTERED)
    :: READ(32, BEFORE_ENTERED | IN_ORDER(16))
#if CPUS == 2
    :: READ(4, BEFORE_LEFT | 2)
    :: READ(64, BEFORE_ENTERED | IN_ORDER(32))
#endif
    :: d_step {
            SCANS && SCAN_IS_DONE && (acc[SCANNED] == 0 || SKIPS) ->
            begin_scan(SCANNED);
            if
            :: stage == FENCED -> stage = FLIPPED; FLIP
            :: else -> stage = BEGUN; advance()
            fi
        }
    :: d_step { SCANS && SCAN_IS_DONE && acc[SCANNED] != 0 && RESCANS -> begin_scan(SCANNED) }
#if CALLERS == 2
    /* Whoever would have to wait for readers may give up the lead, as `Grace::advance` does. */
    :: d_step {
            SCANS && SCAN_IS_DONE && acc[SCANNED] != 0 && RESCANS ->
            begin_scan(SCANNED);
            publish_flip();
            leads[u] = 0;
            lock = 0
        }
#endif
    od
}

init {
    byte k;
    atomic {
        for (k : 0 .. CALLERS - 1) {
            pointer[k] = 2 * k;
            valid[2 * k] = 1;
            run caller(k)
        }
        for (k : 0 .. READERS - 1) {
            cpu[k] = k % CPUS;
            run reader(k)
        }
        for (k : 0 .. CPUS - 1) {
            run drainer(k);
#if WEAK
            run overtaker(k)
#endif
        }
        run flipper()
    }
}

/* Each grace period ends, if readers do, as those above. */
ltl ends { ([]<> !calling[0]) && ([]<> !calling[CALLERS - 1]) }
