//! A template's tests: `BROADCAST` and `IPI` written out.
//!
//! An interrupt is what the kernel's handler does: it loads the request, runs a full barrier,
//! and stores that it has. The broadcast is a full barrier, the request, a look at what each
//! interrupted program stored, and a full barrier; only runs in which it finds all of them, and
//! each of those found the request, are asked about.

use super::template::Template;
use std::io;

const BROADCAST: &str = "BROADCAST";
const INTERRUPT: &str = "IPI";

impl Template {
    /// For each interrupted program its number, and how many places there are.
    fn interrupted(&self) -> Vec<(usize, usize)> {
        if !self.columns.iter().flatten().any(|cell| cell == BROADCAST) {
            return Vec::new();
        }
        let places = |column: &Vec<String>| column.iter().filter(|c| *c == INTERRUPT).count();
        self.columns.iter().map(places).enumerate().filter(|(_, places)| *places != 0).collect()
    }

    /// Every choice of one place in each interrupted program; one empty choice if there is none.
    pub(super) fn places(&self) -> Vec<Vec<usize>> {
        self.interrupted().iter().fold(vec![Vec::new()], |choices, &(_, places)| {
            let extend = |choice: &Vec<usize>, place| [&choice[..], &[place]].concat();
            choices.iter().flat_map(|c| (0..places).map(move |place| extend(c, place))).collect()
        })
    }

    /// The test with the interrupts at these places.
    pub(super) fn interrupted_at(&self, places: &[usize]) -> io::Result<String> {
        let interrupted = self.interrupted();
        let arch = Arch::named(&self.arch)?;
        let mut init = self.init.clone();
        let mut conditions = Vec::new();
        let mut columns = Vec::new();
        for (n, column) in self.columns.iter().enumerate() {
            let mut program = Vec::new();
            let mut passed = 0;
            let at = interrupted.iter().position(|(of, _)| *of == n).map(|i| places[i]);
            for cell in column {
                if cell == BROADCAST {
                    program.extend(arch.broadcast(&interrupted));
                    init += " uint64_t request=0;";
                    let programs = || interrupted.iter().map(|(of, _)| *of);
                    init += &arch.addresses(n, programs());
                    conditions.extend(programs().map(|of| format!("{n}:{}=1", arch.seen(of))));
                } else if cell == INTERRUPT {
                    if at == Some(passed) {
                        program.extend(arch.interrupt(n));
                        conditions.push(format!("{n}:{}=1", arch.requested()));
                        init += &arch.addresses(n, std::iter::once(n));
                        init += &format!(" uint64_t done{n}=0;");
                    }
                    passed += 1;
                } else {
                    program.push(cell.clone());
                }
            }
            columns.push(program);
        }
        conditions.push(self.condition.clone());
        let programs: Vec<String> = (0..columns.len()).map(|n| format!("P{n}")).collect();
        let mut text = format!("{} T\n{{ {init} }}\n {} ;\n", self.arch, programs.join(" | "));
        for row in 0..columns.iter().map(Vec::len).max().unwrap_or(0) {
            let cell = |column: &Vec<String>| column.get(row).cloned().unwrap_or_default();
            let cells: Vec<String> = columns.iter().map(cell).collect();
            text += &format!(" {} ;\n", cells.join(" | "));
        }
        Ok(text + &format!("exists ({})\n", conditions.join(" /\\ ")))
    }
}

/// How each architecture writes an interrupt. Registers from 20 on (x86-64: from r11 on) are
/// for this.
enum Arch {
    Aarch64,
    X86_64,
}

impl Arch {
    fn named(name: &str) -> io::Result<Arch> {
        match name {
            "AArch64" => Ok(Arch::Aarch64),
            "X86_64" => Ok(Arch::X86_64),
            other => Err(io::Error::other(format!("no interrupts for {other}"))),
        }
    }

    /// Where program `n` finds the request, and what the programs `of` store.
    fn addresses(&self, n: usize, of: impl Iterator<Item = usize>) -> String {
        match self {
            Arch::Aarch64 => of.fold(format!(" {n}:X20=request;"), |text, of| {
                text + &format!(" {n}:X{}=done{of};", 21 + of)
            }),
            Arch::X86_64 => String::new(),
        }
    }

    /// The register with which the interrupted program found the request.
    fn requested(&self) -> &'static str {
        match self {
            Arch::Aarch64 => "X29",
            Arch::X86_64 => "r11",
        }
    }

    /// The register with which the broadcast found that program `of` was interrupted.
    fn seen(&self, of: usize) -> String {
        match self {
            Arch::Aarch64 => format!("X{}", 25 + of),
            Arch::X86_64 => format!("r{}", 12 + of),
        }
    }

    fn interrupt(&self, n: usize) -> Vec<String> {
        match self {
            Arch::Aarch64 => vec![
                "LDR X29,[X20]".to_owned(),
                "DMB ISH".to_owned(),
                format!("STR X29,[X{}]", 21 + n),
            ],
            Arch::X86_64 => vec![
                "movq (request),%r11".to_owned(),
                "mfence".to_owned(),
                format!("movq %r11,(done{n})"),
            ],
        }
    }

    fn broadcast(&self, interrupted: &[(usize, usize)]) -> Vec<String> {
        let programs = interrupted.iter().map(|(of, _)| *of);
        let [before, after]: [&[&str]; 2] = match self {
            Arch::Aarch64 => [&["DMB ISH", "MOV X29,#1", "STR X29,[X20]"], &["DMB ISH"]],
            Arch::X86_64 => [&["mfence", "movq $1,(request)"], &["mfence"]],
        };
        let look = |of| match self {
            Arch::Aarch64 => format!("LDR {},[X{}]", self.seen(of), 21 + of),
            Arch::X86_64 => format!("movq (done{of}),%{}", self.seen(of)),
        };
        let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        [owned(before), programs.map(look).collect(), owned(after)].concat()
    }
}
