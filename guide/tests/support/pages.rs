//! The repository's Markdown.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn markdown(folder: &str, found: &mut BTreeMap<PathBuf, String>) {
    let mut folders = vec![PathBuf::from(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(root().join(&folder)).unwrap() {
            let entry = entry.unwrap();
            let path = folder.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "md") {
                let text = std::fs::read_to_string(root().join(&path)).unwrap();
                found.insert(path, text);
            }
        }
    }
}

/// What is below `docs/`, and what stands at the root, by path.
pub(crate) fn all() -> BTreeMap<PathBuf, String> {
    let mut pages = BTreeMap::new();
    markdown("docs", &mut pages);
    for name in ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"] {
        pages.insert(name.into(), std::fs::read_to_string(root().join(name)).unwrap());
    }
    pages
}
