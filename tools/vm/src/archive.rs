//! Debian's archive: packages of other suites and architectures, beside the system's own.
//!
//! apt does the work, with lists, status and sources of a *world* of its own below the cache, so
//! that nothing of the system's configuration changes. Signatures are checked as usual.

use anyhow::{Context, Result, bail, ensure};
use regex_lite::Regex;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const SOURCES: &str = "/etc/apt/sources.list.d/debian.sources";
/// Lists older than that are fetched again.
const FRESH: Duration = Duration::from_secs(6 * 3600);

/// Why this machine cannot take packages at all, if so.
pub(crate) fn missing() -> Option<String> {
    let sources = fs::read_to_string(SOURCES).unwrap_or_default();
    // SAFETY: no memory is involved.
    let root = unsafe { libc::geteuid() } == 0;
    match () {
        () if !root => Some("not root".to_owned()),
        () if !cfg!(target_arch = "x86_64") => Some("not x86-64".to_owned()),
        () if !sources.contains("bookworm") => Some(format!("not Debian 12 ({SOURCES})")),
        () => None,
    }
}

/// Suites of one architecture.
#[derive(Debug)]
pub(crate) struct World {
    conf: PathBuf,
    packages: PathBuf,
}

impl World {
    /// Fetches its lists, unless those in `cache` are recent.
    pub(crate) fn open(cache: &Path, arch: &str, suites: &[&str]) -> Result<World> {
        let name = format!("{}-{arch}", suites[0]);
        let dir = cache.join("apt").join(&name);
        let world = World { conf: dir.join("apt.conf"), packages: dir.join("packages") };
        for part in ["lists/partial", "archives/partial", "packages"] {
            fs::create_dir_all(dir.join(part))?;
        }
        fs::write(dir.join("status"), "")?;
        fs::write(dir.join("world.sources"), sources(arch, suites)?)?;
        fs::write(&world.conf, configuration(&dir, arch))?;
        let stamp = dir.join("updated");
        let age = fs::metadata(&stamp).and_then(|m| m.modified()).ok();
        if age.and_then(|at| at.elapsed().ok()).is_none_or(|age| age > FRESH) {
            run(world.apt("apt-get").args(["update", "-qq"])).with_context(|| name.clone())?;
            fs::write(stamp, "")?;
        }
        Ok(world)
    }

    fn apt(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("APT_CONFIG", &self.conf).current_dir(&self.packages);
        command
    }

    /// The newest package whose whole name matches.
    pub(crate) fn newest(&self, name: &str) -> Result<String> {
        let pattern = Regex::new(&format!("^{name}$")).context("a pattern of ours")?;
        let prefix: String = name.chars().take_while(|c| c.is_alphabetic() || *c == '-').collect();
        let out = self.apt("apt-cache").arg("pkgnames").arg(prefix).output()?;
        let names = String::from_utf8(out.stdout)?;
        let matching = names.lines().filter(|name| pattern.is_match(name));
        match matching.max_by_key(|name| numbers(name)) {
            Some(newest) => Ok(newest.to_owned()),
            None => bail!("the archive has no {name}"),
        }
    }

    /// Downloads a package, unless it has it.
    pub(crate) fn download(&self, package: &str) -> Result<PathBuf> {
        let found = || -> Result<Option<PathBuf>> {
            let bare = package.split_once('=').map_or(package, |(name, _version)| name);
            let prefix = format!("{bare}_");
            let mut entries = fs::read_dir(&self.packages)?.collect::<std::io::Result<Vec<_>>>()?;
            entries.retain(|e| e.file_name().to_string_lossy().starts_with(&prefix));
            Ok(entries.first().map(fs::DirEntry::path))
        };
        if let Some(path) = found()? {
            return Ok(path);
        }
        run(self.apt("apt-get").args(["download", "-qq", package]))?;
        found()?.with_context(|| format!("no file of {package}"))
    }
}

/// The numbers in a package's name, by which versions compare.
fn numbers(name: &str) -> Vec<u64> {
    let digits = name.split(|c: char| !c.is_ascii_digit());
    digits.filter_map(|digits| digits.parse().ok()).collect()
}

fn sources(arch: &str, suites: &[&str]) -> Result<String> {
    let own = fs::read_to_string(SOURCES).with_context(|| SOURCES)?;
    let mut uris = own.lines().filter_map(|line| line.strip_prefix("URIs: "));
    let main = uris.clone().find(|uri| !uri.contains("security")).context("no archive")?;
    let security = uris.find(|uri| uri.contains("security")).unwrap_or(main);
    let stanza = |uri: &str, suites: &str| {
        format!(
            "Types: deb\nURIs: {uri}\nSuites: {suites}\nComponents: main\nArchitectures: {arch}\n\
             Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n\n"
        )
    };
    let part = |secure: bool| -> Vec<&str> {
        suites.iter().copied().filter(|suite| suite.ends_with("-security") == secure).collect()
    };
    let mut text = stanza(main, &part(false).join(" "));
    if !part(true).is_empty() {
        text += &stanza(security, &part(true).join(" "));
    }
    Ok(text)
}

fn configuration(dir: &Path, arch: &str) -> String {
    let dir = dir.display();
    format!(
        r#"Dir::Etc::sourcelist "{dir}/world.sources"; Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null"; Dir::Etc::preferencesparts "/dev/null";
Dir::State::lists "{dir}/lists"; Dir::State::status "{dir}/status";
Dir::Cache "{dir}"; Dir::Cache::archives "{dir}/archives";
#clear APT::Architectures;
APT::Architectures {{ "{arch}"; }}; APT::Architecture "{arch}"; APT::Sandbox::User "root";
Acquire::Retries "2";
"#
    )
}

/// Installs packages on this machine, from its own suites and backports.
pub(crate) fn install(cache: &Path, packages: &[&str]) -> Result<()> {
    let dir = cache.join("apt/host");
    fs::create_dir_all(dir.join("lists/partial"))?;
    let own = fs::read_to_string(SOURCES)?;
    let more = own.replace(
        "Suites: bookworm bookworm-updates\n",
        "Suites: bookworm bookworm-updates bookworm-backports\n",
    );
    fs::write(dir.join("host.sources"), more)?;
    let apt = || {
        let mut command = Command::new("apt-get");
        command
            .arg("-o")
            .arg(format!("Dir::Etc::sourcelist={}/host.sources", dir.display()))
            .args(["-o", "Dir::Etc::sourceparts=/dev/null", "-o", "DPkg::Lock::Timeout=300", "-o"])
            .arg(format!("Dir::State::lists={}/lists", dir.display()))
            .arg("-qq")
            .env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    run(apt().arg("update"))?;
    // From backports: the release's own emulator would remove newer disk tools.
    run(apt()
        .args(["-y", "install", "--no-install-recommends", "-t", "bookworm-backports"])
        .args(packages))
}

/// Unpacks those files of a package that match one of `patterns` (of tar) below `into`.
pub(crate) fn unpack(package: &Path, into: &Path, patterns: &[&str]) -> Result<()> {
    fs::create_dir_all(into)?;
    let mut files = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(package)
        .stdout(std::process::Stdio::piped())
        .spawn()?;
    let mut tar = Command::new("tar");
    tar.arg("-x").arg("-C").arg(into).arg("--wildcards").args(patterns);
    // A pattern without a file is no error: packages differ in where they keep things.
    tar.stdin(files.stdout.take().context("a pipe")?).stderr(std::process::Stdio::null());
    let _ = tar.status()?;
    ensure!(files.wait()?.success(), "cannot unpack {}", package.display());
    Ok(())
}

/// Where further emulators are: not installed, since few machines need them, but unpacked. Their
/// libraries are those of the installed one, which is of the same suite.
pub(crate) fn emulators(cache: &Path, packages: &[&str]) -> Result<PathBuf> {
    let world = World::open(cache, "amd64", &["bookworm-backports"])?;
    let root = cache.join("unpacked/emulators");
    for package in packages {
        unpack(&world.download(package)?, &root, &["./usr/*"])?;
    }
    Ok(root.join("usr"))
}

/// The command that runs herd7: only the newest suite has it.
pub(crate) fn herd7(cache: &Path) -> Result<Vec<String>> {
    let (root, mut command) =
        newest(cache, "herd7", &["herdtools7", "libc6", "libgmp10"], "bin/herd7")?;
    let share = root.join("usr/share/herdtools7/herd").display().to_string();
    command.extend(["-set-libdir".to_owned(), share]);
    Ok(command)
}

/// The command that runs CRIU: that of this release rejects newer kernels.
pub(crate) fn criu(cache: &Path) -> Result<Vec<String>> {
    const PACKAGES: &[&str] = &[
        "criu",
        "libbsd0",
        "libc6",
        "libffi8",
        "libgmp10",
        "libgnutls30t64",
        "libhogweed6t64",
        "libidn2-0",
        "libjansson4",
        "libmd0",
        "libmnl0",
        "libnet9",
        "libnettle8t64",
        "libnftables1",
        "libnftnl11",
        "libnl-3-200",
        "libp11-kit0",
        "libprotobuf-c1",
        "libtasn1-6",
        "libunistring5",
        "libuuid1",
        "libxtables12",
    ];
    let (_, command) = newest(cache, "criu", PACKAGES, "sbin/criu")?;
    Ok(command)
}

/// A program of the newest suite. It runs with that one's C library, by that one's loader.
fn newest(
    cache: &Path,
    name: &str,
    packages: &[&str],
    program: &str,
) -> Result<(PathBuf, Vec<String>)> {
    let world = World::open(cache, "amd64", &["sid"])?;
    let root = cache.join("unpacked").join(name);
    for package in packages {
        unpack(&world.download(package)?, &root, &["./usr/*"])?;
    }
    let at = |path: &str| root.join("usr").join(path).display().to_string();
    let libraries = at("lib/x86_64-linux-gnu");
    let loader = at("lib/x86_64-linux-gnu/ld-linux-x86-64.so.2");
    let command = vec![loader, "--library-path".to_owned(), libraries, at(program)];
    Ok((root, command))
}

/// Runs a command quietly; its words are in the error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let out = command.output().with_context(|| format!("{command:?}"))?;
    let words = String::from_utf8_lossy(&out.stderr);
    ensure!(out.status.success(), "{command:?}: {}\n{}", out.status, words.trim_end());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::numbers;

    #[test]
    fn versions_compare_by_number() {
        let newer = numbers("linux-image-6.12.117+deb12-cloud-amd64");
        assert!(newer > numbers("linux-image-6.12.9+deb12-cloud-amd64"));
    }
}
