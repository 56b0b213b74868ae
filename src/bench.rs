//! `ldm-graph bench`: how fast the CPU's kernels are here.
//!
//! Not here: what is measured and how (`ldm_nodes::bench`).

use std::io;

use ldm_nodes::bench::{self, Case, Ceiling, Measured, Pass, Sizes, Unit};
use ldm_nodes::{DeviceChoice, Machine, Precision};
use serde::Serialize;

use crate::args::BenchArgs;
use crate::terminal::{Palette, Terminal};
use crate::{Exit, json, pool, settings};

/// Measures every case and prints each as it is done.
///
/// # Errors
/// When stdout is closed or full.
pub(crate) fn bench(args: &BenchArgs, terminal: &mut Terminal) -> io::Result<Exit> {
    if let Err(message) = prepare(args) {
        terminal.error(&message, None);
        return Ok(Exit::Misused);
    }
    let sizes = match (args.quick, args.training) {
        (true, _) => Sizes::Few,
        (_, true) => Sizes::Training,
        _ => Sizes::StableDiffusion,
    };
    let (threads, ceiling) = pool::inside(|| (bench::threads(), bench::ceiling()));
    let host = Host::of(threads, ceiling);
    let most = Most::of(ceiling, args.dtype);
    let mut table = Table {
        most,
        palette: terminal.stdout(),
        group: "",
    };
    match args.json {
        true => json::print(&host)?,
        false => terminal.print(&host.words())?,
    }
    for case in bench::cases(sizes) {
        let measured = pool::inside(|| case.measure(args.dtype.dtype()));
        match args.json {
            true => json::print(&Line::new(&case, &measured, most))?,
            false => terminal.print(&table.rows(&case, &measured))?,
        }
    }
    if let Some(warning) = unrest(ceiling, pool::inside(bench::ceiling)) {
        terminal.say(&warning);
    }
    Ok(Exit::Done)
}

/// Words for a machine that did something else as well, seen by what it could do at most.
fn unrest(before: Ceiling, after: Ceiling) -> Option<String> {
    let (before, after) = (before.gflops, after.gflops);
    let moved = (after / before).max(before / after);
    (moved > 1.1).then(|| {
        format!(
            "warning: the machine was busy with something else: it could do {before:.0} GFLOP/s \
             before and {after:.0} after; shares of the most mean little"
        )
    })
}

/// Builds the pool and has the kernels use the instruction set asked for.
fn prepare(args: &BenchArgs) -> Result<(), String> {
    let threads = settings::threads(args.threads);
    pool::build(threads).map_err(|e| format!("cannot start the threads: {e}"))?;
    let opened = Machine::open(DeviceChoice::Cpu, args.cpu_isa, None, 0, None);
    opened.map(drop).map_err(|error| error.to_string())
}

/// The machine, and what it can do at most.
#[derive(Debug, Serialize)]
struct Host {
    event: &'static str,
    cpu: String,
    threads: usize,
    isa: &'static str,
    memory: Option<u64>,
    program: &'static str,
    ceiling_gflops: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    ceiling_gflops_bf16: Option<f64>,
    ceiling_gbytes: f64,
}

impl Host {
    fn of(threads: usize, ceiling: Ceiling) -> Self {
        Self {
            event: "machine",
            cpu: cpu_name(),
            threads,
            isa: bench::isa(),
            memory: settings::machine_memory(),
            program: env!("CARGO_PKG_VERSION"),
            ceiling_gflops: ceiling.gflops,
            ceiling_gflops_bf16: ceiling.gflops_bf16,
            ceiling_gbytes: ceiling.gbytes,
        }
    }

    fn words(&self) -> String {
        let Self {
            cpu, threads, isa, ..
        } = self;
        let memory = self.memory.map_or_else(String::new, |bytes| {
            format!(", {:.1} GiB of memory", bytes as f64 / f64::from(1 << 30))
        });
        let word = if *threads == 1 { "thread" } else { "threads" };
        let (gflops, gbytes) = (self.ceiling_gflops, self.ceiling_gbytes);
        let bf16 = self.ceiling_gflops_bf16;
        let bf16 = bf16.map_or_else(String::new, |gflops| format!(", {gflops:.0} of bf16"));
        format!(
            "{cpu}, {threads} {word}, {isa}{memory}\n\
             at most {gflops:.0} GFLOP/s (multiply-adds in registers{bf16}), {gbytes:.1} GB/s \
             (copying 64 MiB)\n"
        )
    }
}

/// As the system names it; the architecture where it does not.
fn cpu_name() -> String {
    let told = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = told
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    let name = name.and_then(|rest| rest.split_once(':'));
    name.map_or_else(
        || std::env::consts::ARCH.to_owned(),
        |(_, name)| name.trim().to_owned(),
    )
}

/// A case as one JSON object.
#[derive(Debug, Serialize)]
struct Line {
    event: &'static str,
    group: &'static str,
    name: String,
    unit: &'static str,
    forward: PassLine,
    #[serde(skip_serializing_if = "Option::is_none")]
    backward: Option<PassLine>,
}

/// Times in seconds.
#[derive(Debug, Serialize)]
struct PassLine {
    ours: f64,
    reference: f64,
    ratio: f64,
    rate: f64,
    share: f64,
}

impl Line {
    fn new(case: &Case, measured: &Measured, most: Most) -> Self {
        let line = |pass: &Pass| PassLine {
            ours: pass.ours,
            reference: pass.reference,
            ratio: pass.ratio(),
            rate: pass.rate,
            share: most.share(pass, case.unit()),
        };
        Self {
            event: "case",
            group: case.group(),
            name: case.name(),
            unit: case.unit().name(),
            forward: line(&measured.forward),
            backward: measured.backward.as_ref().map(line),
        }
    }
}

/// What cases are held to.
#[derive(Clone, Copy)]
struct Most {
    gflops: f64,
    gbytes: f64,
}

impl Most {
    /// With weights of this type.
    fn of(ceiling: Ceiling, weights: Precision) -> Self {
        let gflops = match weights {
            Precision::Bf16 => ceiling.gflops_bf16.unwrap_or(ceiling.gflops),
            Precision::F32 | Precision::F16 => ceiling.gflops,
        };
        let gbytes = ceiling.gbytes;
        Self { gflops, gbytes }
    }

    /// How much of it was reached, of 1. What fits into a cache may pass the memory's.
    fn share(self, pass: &Pass, unit: Unit) -> f64 {
        pass.rate
            / match unit {
                Unit::GflopPerSecond => self.gflops,
                Unit::GbytePerSecond => self.gbytes,
            }
    }
}

/// The rows of people.
struct Table {
    most: Most,
    palette: Palette,
    /// The heading that was printed last.
    group: &'static str,
}

impl Table {
    fn rows(&mut self, case: &Case, measured: &Measured) -> String {
        let mut text = String::new();
        if self.group != case.group() {
            self.group = case.group();
            text = self.heading();
        }
        text += &self.row(&case.name(), &measured.forward, case.unit());
        if let Some(pass) = &measured.backward {
            text += &self.row("  backward", pass, case.unit());
        }
        text
    }

    fn heading(&self) -> String {
        let (strong, group) = (self.palette.strong, self.group);
        let [ours, burn, times, rate] = ["ours", "burn", "times", "ours achieves"];
        format!(
            "\n{strong}{group:<44}{strong:#} {ours:>10} {burn:>10} {times:>6} {rate:>15} \
             of the most\n"
        )
    }

    fn row(&self, name: &str, pass: &Pass, unit: Unit) -> String {
        let [ours, burn] = [pass.ours, pass.reference].map(|seconds| seconds * 1e3);
        let (times, rate, name_of) = (pass.ratio(), pass.rate, unit.name());
        let share = 100.0 * self.most.share(pass, unit);
        format!(
            "{name:<44} {ours:>7.2} ms {burn:>7.2} ms {times:>6.1} {rate:>7.1} {name_of:<7} \
             {share:>8.0} %\n"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_slows_down_is_told_of() {
        let at = |gflops| Ceiling {
            gflops,
            gflops_bf16: None,
            gbytes: 10.0,
        };
        assert_eq!(unrest(at(200.0), at(190.0)), None);
        for after in [100.0, 300.0] {
            assert!(
                unrest(at(200.0), at(after)).is_some_and(|words| words.contains("200 GFLOP/s"))
            );
        }
    }
}
