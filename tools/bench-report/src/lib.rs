//! What benchmarks measured, in files, and the page that is made of them.
//!
//! The benchmarks write [`data::Report`]s; the program of this package has them run, merges them
//! into a [`book::Book`], and makes `docs/performance.md` of that and of the prose in `text/`. The
//! page follows from the book and the prose alone, so that a test can tell whether they drifted
//! apart.

pub mod book;
pub use bench_data as data;
mod losses;
pub mod page;
mod plot;
mod tables;
