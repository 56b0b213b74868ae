//! `docs/samplers.md`: the table of samplers, with what each was held to and how well.
//!
//! The page is made from the recordings and compared with the one in the repository.
//! `UPDATE_EXPECT=1 cargo test --release --workspace --test golden -- page` writes it anew.

use std::fmt::Write;
use std::path::PathBuf;

use ldm_models::choice::Choice;
use ldm_models::sampler::{Sampler, SamplerName, SchedulerName, Walk};
use ldm_models::schedule::ScheduleConfig;

use crate::{samplers, walks};

/// A line of the table: a method, and the cases that hold it.
struct Row {
    method: &'static str,
    /// The sampler in a graph.
    ours: &'static str,
    /// Its names elsewhere.
    comfyui: &'static str,
    diffusers: &'static str,
    /// `none`, `each step`, `Brownian`.
    noise: &'static str,
    /// Recorded cases: their names, or beginnings of them that end in `.` or `*`.
    cases: &'static [&'static str],
}

macro_rules! rows {
    ($($method:literal, $ours:literal, $comfyui:literal, $diffusers:literal, $noise:literal,
        [$($case:literal),+];)+) => {
        [$(Row {
            method: $method,
            ours: $ours,
            comfyui: $comfyui,
            diffusers: $diffusers,
            noise: $noise,
            cases: &[$($case),+],
        }),+]
    };
}

fn rows() -> Vec<Row> {
    let rows = rows! {
        "DDPM", "Ddpm", "", "DDPM", "each step", ["samplers:ddpm"];
        "DDPM over noise levels", "EulerAncestral", "ddpm", "", "each step", ["c.ddpm"];
        "DDIM", "Ddim", "", "DDIM", "with `eta`", ["samplers:ddim", "p.ddim.zero_snr.v"];
        "DDIM backwards", "DdimInverse", "", "DDIMInverse", "none", ["p.ddim_inverse.*"];
        "PLMS", "Plms", "", "PNDM (skip_prk_steps)", "none", ["p.plms*"];
        "PNDM", "Pndm", "", "PNDM", "none", ["p.pndm"];
        "Euler", "Euler", "euler, ddim", "EulerDiscrete", "with churn",
            ["samplers:euler", "k.euler", "k.euler.churn"];
        "Euler, from σ 4096 (zero-terminal SNR)", "Euler(schedule: Trailing)", "", "EulerDiscrete",
            "with churn", ["d.euler.zero_snr.v"];
        "Euler ancestral", "EulerAncestral", "euler_ancestral", "EulerAncestralDiscrete",
            "each step",
            ["samplers:euler_ancestral", "k.euler_ancestral.*"];
        "Heun", "Heun", "heun", "HeunDiscrete", "with churn", ["k.heun*", "d.heun"];
        "Heun++", "HeunPp2", "heunpp2", "", "with churn", ["c.heunpp2*"];
        "DPM-Solver-2", "Dpm2", "dpm_2", "KDPM2Discrete", "with churn",
            ["k.dpm_2", "k.dpm_2.churn", "d.dpm_2"];
        "DPM-Solver-2 ancestral", "Dpm2Ancestral", "dpm_2_ancestral", "KDPM2AncestralDiscrete",
            "each step",
            ["k.dpm_2_ancestral.*", "d.dpm_2_ancestral"];
        "Linear multistep", "Lms", "lms", "LMSDiscrete", "none", ["k.lms", "c.lms", "d.lms"];
        "DPM fast", "DpmFast", "dpm_fast", "", "with `eta`", ["k.dpm_fast.*"];
        "DPM adaptive", "DpmAdaptive", "dpm_adaptive", "", "with `eta`", ["k.dpm_adaptive.*"];
        "DPM-Solver++(2S) ancestral", "DpmPlusPlus2SAncestral", "dpmpp_2s_ancestral", "",
            "each step",
            ["k.dpmpp_2s_ancestral.*"];
        "DPM-Solver++ SDE", "DpmPlusPlusSde", "dpmpp_sde, dpmpp_sde_gpu", "DPMSolverSDE",
            "Brownian",
            ["k.dpmpp_sde.*", "d.dpmpp_sde"];
        "DPM-Solver++(2M)", "DpmPlusPlus2M", "dpmpp_2m", "", "none", ["k.dpmpp_2m"];
        "DPM-Solver++(2M) SDE", "DpmPlusPlus2MSde", "dpmpp_2m_sde, dpmpp_2m_sde_gpu", "",
            "Brownian",
            ["k.dpmpp_2m_sde.1.0", "k.dpmpp_2m_sde.0.5"];
        "DPM-Solver++(2M) SDE Heun", "DpmPlusPlus2MSde(solver_type: Heun)",
            "dpmpp_2m_sde_heun, dpmpp_2m_sde_heun_gpu", "", "Brownian", ["k.dpmpp_2m_sde.heun.*"];
        "DPM-Solver++(3M) SDE", "DpmPlusPlus3MSde", "dpmpp_3m_sde, dpmpp_3m_sde_gpu", "",
            "Brownian",
            ["k.dpmpp_3m_sde.*"];
        "DPM-Solver multistep, 1 to 3", "DpmMultistep", "", "DPMSolverMultistep",
            "`sde` ones, each step",
            ["p.dpm.*"];
        "DPM-Solver singlestep, 1 to 3", "DpmSinglestep", "", "DPMSolverSinglestep",
            "`sde` ones, each step",
            ["p.single.*"];
        "DEIS, time of a process", "Deis", "deis", "", "none", ["c.deis.*"];
        "DEIS, logarithm of the noise", "Deis(time: LogRho)", "", "DEISMultistep", "none",
            ["p.deis.*"];
        "UniPC, B(h) = h", "UniPc(bh: Bh1)", "uni_pc", "UniPCMultistep (bh1)", "none",
            ["c.uni_pc.*", "p.uni_pc.bh1.*"];
        "UniPC, B(h) = eʰ − 1", "UniPc", "uni_pc_bh2", "UniPCMultistep", "none",
            ["c.uni_pc_bh2.*", "p.uni_pc.bh2.*"];
        "iPNDM", "Ipndm", "ipndm", "IPNDM", "none", ["c.ipndm.*", "p.ipndm.v"];
        "iPNDM, variable steps", "IpndmV", "ipndm_v", "", "none", ["c.ipndm_v.*"];
        "LCM", "Lcm", "lcm", "LCM", "each step", ["c.lcm", "p.lcm"];
        "TCD", "Tcd", "", "TCD", "with `eta`", ["p.tcd.*"];
        "SA-Solver", "SaSolver", "sa_solver", "SASolver", "in the middle", ["c.sa_solver.*",
            "p.sa_solver.*"];
        "SA-Solver PECE", "SaSolver(pece: true)", "sa_solver_pece", "", "in the middle",
            ["c.sa_solver_pece.*"];
        "RES multistep", "ResMultistep", "res_multistep", "", "none", ["c.res_multistep"];
        "RES multistep ancestral", "ResMultistep(eta: 1.0)", "res_multistep_ancestral", "",
            "each step",
            ["c.res_multistep_ancestral"];
        "Gradient estimation", "GradientEstimation", "gradient_estimation", "", "none",
            ["c.gradient_estimation"];
        "ER-SDE, 1 to 3", "ErSde", "er_sde", "", "each step", ["c.er_sde.*"];
        "SEEDS-2", "Seeds2", "seeds_2", "", "each step", ["c.seeds_2*"];
        "SEEDS-3", "Seeds3", "seeds_3", "", "each step", ["c.seeds_3"];
        "Euler CFG++", "EulerCfgPp", "euler_cfg_pp", "", "none", ["c.euler_cfg_pp"];
        "Euler ancestral CFG++", "EulerCfgPp(eta: 1.0)", "euler_ancestral_cfg_pp", "", "each step",
            ["c.euler_ancestral_cfg_pp"];
        "DPM-Solver++(2M) CFG++", "DpmPlusPlus2MCfgPp", "dpmpp_2m_cfg_pp", "", "none",
            ["c.dpmpp_2m_cfg_pp"];
        "DPM-Solver++(2S) ancestral CFG++", "DpmPlusPlus2SAncestralCfgPp",
            "dpmpp_2s_ancestral_cfg_pp", "",
            "each step", ["c.dpmpp_2s_ancestral_cfg_pp"];
        "RES multistep CFG++", "ResMultistep(cfg_pp: true)", "res_multistep_cfg_pp", "", "none",
            ["c.res_multistep_cfg_pp"];
        "RES multistep ancestral CFG++", "ResMultistep(eta: 1.0, cfg_pp: true)",
            "res_multistep_ancestral_cfg_pp", "", "each step", ["c.res_multistep_ancestral_cfg_pp"];
        "Gradient estimation CFG++", "GradientEstimation(cfg_pp: true)",
            "gradient_estimation_cfg_pp", "",
            "none", ["c.gradient_estimation_cfg_pp"];
        "RePaint", "RePaint", "", "RePaint", "each call", ["p.repaint"];
        "EDM Euler", "Euler(schedule: Karras)", "", "EDMEuler", "with churn", ["edm.euler*"];
        "EDM DPM-Solver++", "DpmMultistep(schedule: Karras)", "", "EDMDPMSolverMultistep",
            "`sde` ones, each step", ["edm.dpm*"];
    };
    rows.into_iter().collect()
}

/// Whether a recorded case is one of those a row names.
fn belongs(case: &str, named: &str) -> bool {
    match named.strip_suffix('*') {
        Some(start) => case.starts_with(start),
        None => case == named,
    }
}

impl Row {
    /// Network calls a step, from walks of ten and of twenty.
    fn calls(&self) -> String {
        let name = self.ours.split('(').next().unwrap();
        let mut sampler = Sampler::usual(name).unwrap();
        if self.ours.contains("pece") {
            sampler = sampler.with("pece", true).unwrap();
        }
        let schedule = ScheduleConfig::scaled_linear(0.00085, 0.012)
            .init()
            .unwrap();
        let calls = |steps| sampler.calls(Walk::whole(steps), &schedule).unwrap();
        match name {
            "DpmAdaptive" => "its own".to_owned(),
            "RePaint" => "with its jumps".to_owned(),
            "Pndm" => "1, the first three 4".to_owned(),
            _ => ((calls(20) - calls(10)) / 10).to_string(),
        }
    }

    /// The files of its cases, how many there are, and their worst error.
    fn held(&self, errors: &[(&str, f64)]) -> (String, usize, f64) {
        let (mut files, mut count, mut worst) = (Vec::new(), 0, 0.0f64);
        for named in self.cases {
            if let Some(family) = named.strip_prefix("samplers:") {
                let (runs, off) = samplers::worst_of(family);
                (count, worst) = (count + runs, worst.max(off));
                files.push("samplers");
                continue;
            }
            for (_, off) in errors.iter().filter(|(case, _)| belongs(case, named)) {
                (count, worst) = (count + 1, worst.max(*off));
                files.push("walks");
            }
        }
        files.dedup();
        (files.join(", "), count, worst)
    }
}

/// The least power of ten that is not smaller.
fn rounded_up(error: f64) -> String {
    format!("1e{}", error.log10().ceil() as i32)
}

fn either(text: &str) -> String {
    match text {
        "" => "–".to_owned(),
        _ => text
            .split(", ")
            .map(|name| format!("`{name}`"))
            .collect::<Vec<_>>()
            .join(" "),
    }
}

const HEAD: &str = "# Samplers

Every method, its name in a graph, in ComfyUI and in diffusers (without the word `Scheduler`), the
network calls a step, where noise is added, the recordings that hold it, and the worst error of any
state that the network got and of the end, in units of that state's standard deviation, rounded up
to a power of ten. The originals ran in float64 with the same noise (`tests/reference`); a sampler
wrong by a little in one setting is told apart from each (`models/tests/golden`). This page is
written by `UPDATE_EXPECT=1 cargo test --release --workspace --test golden -- page`.

| method | in a graph | ComfyUI | diffusers | calls | noise | recorded | cases | error |
|---|---|---|---|---|---|---|---|---|
";

fn page() -> String {
    let errors = walks::errors();
    let mut page = HEAD.to_owned();
    for row in rows() {
        let (files, count, worst) = row.held(&errors);
        assert!(count > 0, "{} is held by nothing", row.method);
        let (comfyui, diffusers) = (either(row.comfyui), either(row.diffusers));
        let (calls, error) = (row.calls(), rounded_up(worst));
        writeln!(
            page,
            "| {} | `{}` | {comfyui} | {diffusers} | {calls} | {} | {files} | {count} | {error} |",
            row.method, row.ours, row.noise
        )
        .unwrap();
    }
    page.push_str(NAMED);
    let names = SchedulerName::all()
        .into_iter()
        .map(|name| format!("`{name}`"));
    page.push_str(&names.collect::<Vec<_>>().join(", "));
    page.push_str(".\n\n");
    page.push_str(NOISE);
    page
}

const NAMED: &str = "
The names of ComfyUI (at commit a125cd8, October 2025) work in a graph:
`Named(sampler: \"dpmpp_2m\", scheduler: \"karras\")`. Known schedulers: ";

const NOISE: &str = "## Whose noise

The start noise is PyTorch's CPU noise for the seed. The noise of steps has three sources:

- `Continue`: the same stream goes on, as in diffusers.
- `Fresh(plus: 1)`: a stream of its own from seed + 1, as ComfyUI draws on the CPU since November
  2025; `plus: 0` before. A `Named` sampler has this. (On a GPU, ComfyUI draws steps there, which no
  CPU repeats.)
- `Brownian`: a Brownian motion over the noise levels with the values of torchsde for the seed, to
  2e-5: the way of the SDE samplers in k-diffusion and ComfyUI. The `_gpu` names stand for the same
  motion here.

## Where tools differ

- A `Named` sampler tells the network the nearest whole timestep, as ComfyUI does, and so do the
  samplers of diffusers' DPM-Solver family (`DpmMultistep`, `DpmSinglestep`, `Deis`, `UniPc`,
  `SaSolver`); the others tell it the timestep between two, as k-diffusion and diffusers' Euler do.
- `dpm_2`, `dpm_2_ancestral` and both `uni_pc` leave out the last level above 0 under their ComfyUI
  names (`discard_penultimate`).
- A walk from nothing starts from noise of variance σ² + 1; on `Trailing` and `Linspace` from σ², as
  in diffusers' Euler; and under ComfyUI's names from σ² where the first level is below the model's
  greatest.
- Zero-terminal SNR, `rescale_zero_snr` in a model's schedule, has a `Diffusers` and a `ComfyUi`
  form.
";

#[test]
fn the_page_of_samplers_is_what_the_recordings_say() {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/samplers.md"));
    let page = page();
    if std::env::var_os("UPDATE_EXPECT").is_some_and(|value| value == "1") {
        std::fs::write(&path, &page).unwrap();
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    // The last bits, and with them an error near a power of ten, may differ on another CPU.
    let same = page.lines().count() == there.lines().count()
        && page
            .lines()
            .zip(there.lines())
            .all(|(now, then)| near(now, then));
    assert!(
        same,
        "docs/samplers.md is not what the recordings say; \
         UPDATE_EXPECT=1 cargo test --release --workspace --test golden -- page"
    );
}

/// Whether two lines are equal but for one power of ten in a last column.
fn near(now: &str, then: &str) -> bool {
    let parts = |line: &str| {
        let (row, error) = line.strip_suffix(" |")?.rsplit_once("| 1e")?;
        Some((row.to_owned(), error.parse::<i32>().ok()?))
    };
    match (parts(now), parts(then)) {
        (Some((row, error)), Some((kept, figure))) => row == kept && (error - figure).abs() <= 1,
        _ => now == then,
    }
}

#[test]
fn every_name_of_comfyui_and_every_recorded_case_has_a_row() {
    let rows = rows();
    let listed: Vec<&str> = rows
        .iter()
        .flat_map(|row| row.comfyui.split(", "))
        .collect();
    for name in SamplerName::comfy_ui() {
        assert!(listed.contains(&name), "{name}");
    }
    for (case, _) in walks::errors() {
        let held = |row: &Row| row.cases.iter().any(|named| belongs(case, named));
        assert!(rows.iter().any(held), "{case}");
    }
    for row in &rows {
        let variant = row.ours.split('(').next().unwrap();
        assert!(Sampler::usual(variant).is_some(), "{}", row.ours);
        for name in row.comfyui.split(", ").filter(|name| !name.is_empty()) {
            let known = Sampler::named(name).unwrap();
            let known = format!("{known:?}");
            let same = known.split(' ').next() == Some(variant);
            assert!(same, "{name} is {known}, not {variant}");
        }
    }
}
