//! The listings in C are C: a compiler accepts them, with the headers of the library that they are
//! written for. Where that library is not, it says so and is well.

#[path = "support/code.rs"]
mod code;
#[path = "support/pages.rs"]
mod pages;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// What the listings use, and do not name.
const HEADERS: &str =
    "#include <pthread.h>\n#include <stdlib.h>\n#include <urcu.h>\n#include <urcu/rculist.h>\n";

/// What the compiler says of a source; nothing if it accepts it.
fn complaints(source: &str) -> io::Result<Option<String>> {
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    let mut child = Command::new(&compiler)
        .args(["-fsyntax-only", "-Wall", "-Werror", "-x", "c", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| io::Error::new(error.kind(), format!("{compiler}: {error}")))?;
    child.stdin.take().unwrap().write_all(source.as_bytes())?;
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok((!output.status.success()).then_some(said))
}

/// The listings in C of all pages.
fn listings() -> Vec<(PathBuf, String)> {
    let mut listings = Vec::new();
    for (path, page) in pages::all() {
        let of_c =
            code::pieces(&page).into_iter().filter(|piece| piece.language.as_deref() == Some("c"));
        listings.extend(of_c.map(|piece| (path.clone(), piece.text)));
    }
    listings
}

#[test]
fn listings_in_c_compile() {
    let listings = listings();
    assert!(listings.len() >= 2, "only {} listings", listings.len());
    match complaints("#include <urcu.h>\n") {
        Ok(None) => {}
        Ok(Some(_)) => {
            return println!("SKIPPED {} listings in C: no <urcu.h> (liburcu-dev)", listings.len());
        }
        Err(error) => return println!("SKIPPED {} listings in C: {error}", listings.len()),
    }
    for (path, text) in &listings {
        let said = complaints(&format!("{HEADERS}{text}")).unwrap();
        assert_eq!(said, None, "{}: {text}", path.display());
        // A slip in the name of a function is noticed.
        let slip = text.replacen("rcu_read_lock()", "rcu_red_lock()", 1);
        assert_ne!(&slip, text, "{}: a listing without a reader: {text}", path.display());
        let said = complaints(&format!("{HEADERS}{slip}")).unwrap();
        assert!(said.is_some_and(|said| said.contains("rcu_red_lock")), "{}", path.display());
    }
    println!("{} listings in C", listings.len());
}
