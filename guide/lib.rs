//! The guide's examples as tests: `cargo test -p guide`. Each chapter is the documentation of an
//! empty module, so rustdoc compiles and runs what it shows.
//!
//! The chapters are in `docs/guide/`; `book.toml` makes a book of them, and of the other pages
//! below `docs/`. `tests/links.rs` checks that all of it hangs together, and that no chapter is
//! missing here; `tests/commands.rs` that the commands name what there is; `tests/listings.rs` that
//! what is shown in C compiles.

macro_rules! chapters {
    ($($name:ident: $path:literal,)*) => {
        $(
            #[cfg(doctest)]
            #[doc = include_str!($path)]
            mod $name {}
        )*
    };
}

chapters! {
    index: "../docs/guide/index.md",
    choosing: "../docs/guide/choosing.md",
    rcu: "../docs/guide/rcu.md",
    from_rwlock: "../docs/guide/from-rwlock.md",
    from_arc_swap: "../docs/guide/from-arc-swap.md",
    from_crossbeam_epoch: "../docs/guide/from-crossbeam-epoch.md",
    from_left_right: "../docs/guide/from-left-right.md",
    from_liburcu: "../docs/guide/from-liburcu.md",
    asynchronous: "../docs/guide/async.md",
    guards: "../docs/guide/guards.md",
    grace_periods: "../docs/guide/grace-periods.md",
    observability: "../docs/guide/observability.md",
    deployment: "../docs/guide/deployment.md",
    ordering: "../docs/guide/ordering.md",
    proof: "../docs/guide/proof.md",
    architectures: "../docs/guide/architectures.md",
}
