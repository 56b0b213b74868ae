//! Every sampler held to k-diffusion, ComfyUI and diffusers, network call by network call
//! (`tests/reference/walks.py`), with the noise that they drew.
//!
//! The originals ran in f64. Ours, in f32, must give the network what theirs gave it at every
//! call, and end where they ended, within max(4 × the error of torch's own f32 run, 1e-5) of
//! each state's standard deviation, and never more than 5e-4. Each case has a sampler beside
//! it that is wrong by a little and must be told apart.

use std::cell::RefCell;
use std::ops::ControlFlow;

use burn::tensor::{Device, Tensor};
use ldm_models::prediction::{Both, Denoiser, Network, Prediction};
use ldm_models::sampler::*;
use ldm_models::schedule::{Level, NoiseSchedule, ScheduleConfig, SigmaSchedule, Spacing, ZeroSnr};

use crate::recorded::Recording;

/// The stand-in of `walks.py`, and what it was given.
#[derive(Default)]
struct StandIn {
    seen: RefCell<Vec<(Tensor<4>, f64)>>,
}

impl Network for StandIn {
    fn predict(&self, x: Tensor<4>, t: f64) -> Tensor<4> {
        self.seen.borrow_mut().push((x.clone(), t));
        x.clone() * 0.6 + (t / 90.0).sin() * 0.3 + (x * 2.0).cos() * 0.1
    }

    fn predict_both(&self, x: Tensor<4>, t: f64) -> Both {
        Both {
            negative: x.clone() * 0.4 + (t / 70.0).cos() * 0.3,
            guided: self.predict(x, t),
        }
    }

    fn ahead(&self, _: &[f64]) {}
}

/// What a recorded walk went over.
struct Way {
    levels: Vec<Level>,
    times: Vec<usize>,
    clean: Option<(Tensor<4>, Tensor<4>)>,
}

type Walker = fn(&mut Run<'_>, Tensor<4>, &Way) -> Result<Tensor<4>, SampleError>;

/// A recorded walk, the sampler that must follow it, and one that must not pass for it.
struct Case {
    name: &'static str,
    right: Walker,
    wrong: Walker,
}

macro_rules! cases {
    ($($name:literal: |$run:ident, $x:ident, $way:ident| $right:expr, not $wrong:expr;)+) => {
        vec![$(Case {
            name: $name,
            right: |$run, $x, $way| Ok($right?),
            wrong: |$run, $x, $way| Ok($wrong?),
        }),+]
    };
}

const OFF: Churn = Churn::Off;

/// The churn of the recordings; `s_churn` is theirs at 2.
fn churn(s_churn: f64, s_noise: f64) -> Churn {
    Churn::On {
        s_churn,
        s_tmin: 0.0,
        s_tmax: 1e6,
        s_noise,
    }
}

fn ends(way: &Way) -> (Level, Level) {
    let n = way.levels.len();
    (way.levels[0], way.levels[n - 2])
}

const ADAPTIVE: Adaptive = Adaptive {
    order: 3,
    rtol: 0.02,
    atol: 0.0078,
    h_init: 0.05,
    pcoeff: 0.0,
    icoeff: 1.0,
    dcoeff: 0.0,
    accept_safety: 0.81,
    eta: 0.0,
    s_noise: 1.0,
};

const PID: Adaptive = Adaptive {
    pcoeff: 0.2,
    icoeff: 0.7,
    dcoeff: 0.1,
    h_init: 0.9,
    ..ADAPTIVE
};

use Algorithm::{DpmSolver, DpmSolverPlusPlus, SdeDpmSolver, SdeDpmSolverPlusPlus};
use SolverType::{Heun, Midpoint};

fn dpm(algorithm: Algorithm, solver: SolverType, order: usize) -> Dpm {
    Dpm {
        algorithm,
        solver,
        order,
        lower_order_final: true,
        euler_at_final: false,
    }
}

fn sa(predictor_order: usize, corrector_order: usize, habits: SaHabits) -> SaSolver {
    SaSolver {
        predictor_order,
        corrector_order,
        eta: 1.0,
        s_noise: 1.0,
        pece: false,
        habits,
    }
}

const COMFY: SaHabits = SaHabits::ComfyUi;
const THEIRS: SaHabits = SaHabits::Diffusers;

fn of_k_diffusion() -> Vec<Case> {
    cases! {
        "k.euler": |r, x, w| euler(r, x, &w.levels, OFF), not heun(r, x, &w.levels, OFF);
        "k.euler.churn": |r, x, w| euler(r, x, &w.levels, churn(2.0, 1.01)),
            not euler(r, x, &w.levels, churn(2.02, 1.01));
        "k.heun": |r, x, w| heun(r, x, &w.levels, OFF), not heun_pp2(r, x, &w.levels, OFF);
        "k.heun.churn": |r, x, w| heun(r, x, &w.levels, churn(2.0, 1.01)),
            not heun(r, x, &w.levels, churn(2.0, 1.0));
        "k.dpm_2": |r, x, w| dpm_2(r, x, &w.levels, OFF), not heun(r, x, &w.levels, OFF);
        "k.dpm_2.churn": |r, x, w| dpm_2(r, x, &w.levels, churn(2.0, 1.01)),
            not dpm_2(r, x, &w.levels, churn(2.02, 1.01));
        "k.lms": |r, x, w| lms(r, x, &w.levels, 4, false), not lms(r, x, &w.levels, 4, true);
        "k.dpmpp_2m": |r, x, w| dpmpp_2m(r, x, &w.levels),
            not dpm_multistep(r, x, &w.levels, dpm(DpmSolverPlusPlus, Heun, 2));
        "k.dpm_fast.4": |r, x, w| dpm_fast(r, x, ends(w), 4, 0.0, 1.0),
            not dpm_fast(r, x, ends(w), 5, 0.0, 1.0);
        "k.dpm_fast.5": |r, x, w| dpm_fast(r, x, ends(w), 5, 0.0, 1.0),
            not dpm_fast(r, x, ends(w), 6, 0.0, 1.0);
        "k.dpm_fast.6": |r, x, w| dpm_fast(r, x, ends(w), 6, 0.0, 1.0),
            not dpm_fast(r, x, ends(w), 6, 0.01, 1.0);
        "k.dpm_fast.eta": |r, x, w| dpm_fast(r, x, ends(w), 6, 0.6, 1.0),
            not dpm_fast(r, x, ends(w), 6, 0.606, 1.0);
        "k.dpm_adaptive.2": |r, x, w|
            dpm_adaptive(r, x, ends(w), Adaptive { order: 2, ..ADAPTIVE }),
            not dpm_adaptive(r, x, ends(w), ADAPTIVE);
        "k.dpm_adaptive.3": |r, x, w| dpm_adaptive(r, x, ends(w), ADAPTIVE),
            not dpm_adaptive(r, x, ends(w), Adaptive { rtol: 0.0202, ..ADAPTIVE });
        "k.dpm_adaptive.pid": |r, x, w| dpm_adaptive(r, x, ends(w), PID),
            not dpm_adaptive(r, x, ends(w), Adaptive { dcoeff: 0.11, ..PID });
        "k.dpm_adaptive.eta": |r, x, w|
            dpm_adaptive(r, x, ends(w), Adaptive { eta: 0.4, rtol: 0.1, ..ADAPTIVE }),
            not dpm_adaptive(r, x, ends(w), Adaptive { eta: 0.404, rtol: 0.1, ..ADAPTIVE });
        "k.euler_ancestral.1.0": |r, x, w| euler_ancestral(r, x, &w.levels, 1.0, 1.02),
            not euler_ancestral(r, x, &w.levels, 1.0, 1.03);
        "k.euler_ancestral.0.5": |r, x, w| euler_ancestral(r, x, &w.levels, 0.5, 1.02),
            not euler_ancestral(r, x, &w.levels, 0.505, 1.02);
        "k.dpm_2_ancestral.1.0": |r, x, w| dpm_2_ancestral(r, x, &w.levels, 1.0, 1.02),
            not dpm_2_ancestral(r, x, &w.levels, 1.0, 1.03);
        "k.dpm_2_ancestral.0.5": |r, x, w| dpm_2_ancestral(r, x, &w.levels, 0.5, 1.02),
            not dpm_2_ancestral(r, x, &w.levels, 0.505, 1.02);
        "k.dpmpp_2s_ancestral.1.0": |r, x, w| dpmpp_2s_ancestral(r, x, &w.levels, 1.0, 1.02),
            not dpmpp_2s_ancestral(r, x, &w.levels, 1.0, 1.03);
        "k.dpmpp_2s_ancestral.0.5": |r, x, w| dpmpp_2s_ancestral(r, x, &w.levels, 0.5, 1.02),
            not dpmpp_2s_ancestral(r, x, &w.levels, 0.505, 1.02);
        "k.dpmpp_sde.1.0": |r, x, w| dpmpp_sde(r, x, &w.levels, 1.0, 1.02, 0.5),
            not dpmpp_sde(r, x, &w.levels, 1.0, 1.02, 0.505);
        "k.dpmpp_sde.0.5": |r, x, w| dpmpp_sde(r, x, &w.levels, 0.5, 1.02, 0.5),
            not dpmpp_sde(r, x, &w.levels, 0.505, 1.02, 0.5);
        "k.dpmpp_2m_sde.1.0": |r, x, w| dpmpp_2m_sde(r, x, &w.levels, 1.0, 1.02, Midpoint),
            not dpmpp_2m_sde(r, x, &w.levels, 1.0, 1.02, Heun);
        "k.dpmpp_2m_sde.0.5": |r, x, w| dpmpp_2m_sde(r, x, &w.levels, 0.5, 1.02, Midpoint),
            not dpmpp_2m_sde(r, x, &w.levels, 0.505, 1.02, Midpoint);
        "k.dpmpp_2m_sde.heun.1.0": |r, x, w| dpmpp_2m_sde(r, x, &w.levels, 1.0, 1.02, Heun),
            not dpmpp_2m_sde(r, x, &w.levels, 1.0, 1.03, Heun);
        "k.dpmpp_2m_sde.heun.0.5": |r, x, w| dpmpp_2m_sde(r, x, &w.levels, 0.5, 1.02, Heun),
            not dpmpp_2m_sde(r, x, &w.levels, 0.505, 1.02, Heun);
        "k.dpmpp_3m_sde.1.0": |r, x, w| dpmpp_3m_sde(r, x, &w.levels, 1.0, 1.02),
            not dpmpp_2m_sde(r, x, &w.levels, 1.0, 1.02, Heun);
        "k.dpmpp_3m_sde.0.5": |r, x, w| dpmpp_3m_sde(r, x, &w.levels, 0.5, 1.02),
            not dpmpp_3m_sde(r, x, &w.levels, 0.505, 1.02);
    }
}

fn of_comfyui() -> Vec<Case> {
    let pece = cases! {
        "c.sa_solver_pece.6": |r, x, w|
            sa_solver(r, x, &w.levels, SaSolver { pece: true, ..sa(3, 4, COMFY) }),
            not sa_solver(r, x, &w.levels, SaSolver { pece: true, ..sa(2, 4, COMFY) });
        "c.sa_solver_pece.8": |r, x, w|
            sa_solver(r, x, &w.levels, SaSolver { pece: true, ..sa(3, 4, COMFY) }),
            not sa_solver(r, x, &w.levels, SaSolver { pece: true, ..sa(3, 3, COMFY) });
        "c.sa_solver.6": |r, x, w|
            sa_solver(r, x, &w.levels, SaSolver { s_noise: 1.02, ..sa(3, 4, COMFY) }),
            not sa_solver(r, x, &w.levels, SaSolver { s_noise: 1.03, ..sa(3, 4, COMFY) });
        "c.sa_solver.8": |r, x, w|
            sa_solver(r, x, &w.levels, SaSolver { s_noise: 1.02, ..sa(3, 4, COMFY) }),
            not sa_solver(r, x, &w.levels, SaSolver { eta: 0.99, s_noise: 1.02, ..sa(3, 4, COMFY) });
    };
    let mut all = cases! {
        "c.heunpp2.churn": |r, x, w| heun_pp2(r, x, &w.levels, churn(2.0, 1.0)),
            not heun_pp2(r, x, &w.levels, churn(2.02, 1.0));
        "c.lms": |r, x, w| lms(r, x, &w.levels, 4, true), not lms(r, x, &w.levels, 3, true);
        "c.ddpm": |r, x, w| euler_ancestral(r, x, &w.levels, 1.0, 1.0),
            not euler_ancestral(r, x, &w.levels, 0.99, 1.0);
        "c.lcm": |r, x, w| lcm(r, x, &w.levels, None), not lcm(r, x, &w.levels, Some(10.0));
        "c.ipndm.2": |r, x, w| ipndm(r, x, &w.levels, 2, true), not ipndm_v(r, x, &w.levels, 2);
        "c.ipndm.3": |r, x, w| ipndm(r, x, &w.levels, 3, true), not ipndm(r, x, &w.levels, 2, true);
        "c.ipndm.4": |r, x, w| ipndm(r, x, &w.levels, 4, true), not ipndm(r, x, &w.levels, 3, true);
        "c.ipndm_v.2": |r, x, w| ipndm_v(r, x, &w.levels, 2), not ipndm(r, x, &w.levels, 2, true);
        "c.ipndm_v.3": |r, x, w| ipndm_v(r, x, &w.levels, 3), not ipndm_v(r, x, &w.levels, 2);
        "c.ipndm_v.4": |r, x, w| ipndm_v(r, x, &w.levels, 4), not ipndm_v(r, x, &w.levels, 3);
        "c.deis.2": |r, x, w| deis(r, x, &w.levels, (2, DeisTime::Tab), false),
            not deis(r, x, &w.levels, (2, DeisTime::LogRho), false);
        "c.deis.3": |r, x, w| deis(r, x, &w.levels, (3, DeisTime::Tab), false),
            not deis(r, x, &w.levels, (2, DeisTime::Tab), false);
        "c.deis.4": |r, x, w| deis(r, x, &w.levels, (4, DeisTime::Tab), false),
            not deis(r, x, &w.levels, (3, DeisTime::Tab), false);
        "c.euler_cfg_pp": |r, x, w| euler_cfg_pp(r, x, &w.levels, 0.0, 1.0),
            not euler(r, x, &w.levels, OFF);
        "c.euler_ancestral_cfg_pp": |r, x, w| euler_cfg_pp(r, x, &w.levels, 0.7, 1.02),
            not euler_cfg_pp(r, x, &w.levels, 0.707, 1.02);
        "c.dpmpp_2m_cfg_pp": |r, x, w| dpmpp_2m_cfg_pp(r, x, &w.levels),
            not dpmpp_2m(r, x, &w.levels);
        "c.dpmpp_2s_ancestral_cfg_pp": |r, x, w|
            dpmpp_2s_ancestral_cfg_pp(r, x, &w.levels, 0.7, 1.02),
            not dpmpp_2s_ancestral_cfg_pp(r, x, &w.levels, 0.7, 1.03);
        "c.gradient_estimation": |r, x, w| gradient_estimation(r, x, &w.levels, 2.0, false),
            not gradient_estimation(r, x, &w.levels, 2.01, false);
        "c.gradient_estimation_cfg_pp": |r, x, w| gradient_estimation(r, x, &w.levels, 2.0, true),
            not gradient_estimation(r, x, &w.levels, 2.01, true);
        "c.res_multistep": |r, x, w| res_multistep(r, x, &w.levels, (0.0, 1.0), false),
            not dpmpp_2m(r, x, &w.levels);
        "c.res_multistep_cfg_pp": |r, x, w| res_multistep(r, x, &w.levels, (0.0, 1.0), true),
            not res_multistep(r, x, &w.levels, (0.0, 1.0), false);
        "c.res_multistep_ancestral": |r, x, w| res_multistep(r, x, &w.levels, (1.0, 1.0), false),
            not res_multistep(r, x, &w.levels, (0.99, 1.0), false);
        "c.res_multistep_ancestral_cfg_pp": |r, x, w|
            res_multistep(r, x, &w.levels, (0.7, 1.02), true),
            not res_multistep(r, x, &w.levels, (0.7, 1.03), true);
        "c.er_sde.1": |r, x, w| er_sde(r, x, &w.levels, 1, 1.02),
            not er_sde(r, x, &w.levels, 1, 1.03);
        "c.er_sde.2": |r, x, w| er_sde(r, x, &w.levels, 2, 1.02),
            not er_sde(r, x, &w.levels, 1, 1.02);
        "c.er_sde.3": |r, x, w| er_sde(r, x, &w.levels, 3, 1.02),
            not er_sde(r, x, &w.levels, 2, 1.02);
        "c.seeds_2": |r, x, w| seeds_2(r, x, &w.levels, 0.7, 1.02, 0.5),
            not seeds_2(r, x, &w.levels, 0.707, 1.02, 0.5);
        "c.seeds_2.r": |r, x, w| seeds_2(r, x, &w.levels, 0.7, 1.02, 0.3),
            not seeds_2(r, x, &w.levels, 0.7, 1.02, 0.303);
        "c.seeds_3": |r, x, w| seeds_3(r, x, &w.levels, (0.7, 1.02), (1.0 / 3.0, 2.0 / 3.0)),
            not seeds_3(r, x, &w.levels, (0.7, 1.02), (0.33, 2.0 / 3.0));
        "c.uni_pc.6": |r, x, w| uni_pc(r, x, &w.levels, 3, Bh::Bh1),
            not uni_pc(r, x, &w.levels, 3, Bh::Bh2);
        "c.uni_pc.8": |r, x, w| uni_pc(r, x, &w.levels, 3, Bh::Bh1),
            not uni_pc(r, x, &w.levels, 2, Bh::Bh1);
        "c.uni_pc_bh2.6": |r, x, w| uni_pc(r, x, &w.levels, 3, Bh::Bh2),
            not uni_pc(r, x, &w.levels, 3, Bh::Bh1);
        "c.uni_pc_bh2.8": |r, x, w| uni_pc(r, x, &w.levels, 3, Bh::Bh2),
            not uni_pc(r, x, &w.levels, 4, Bh::Bh2);
    };
    all.extend(pece);
    all
}

fn of_diffusers() -> Vec<Case> {
    let mut all = dpm_family();
    all.extend(cases! {
        "d.heun": |r, x, w| heun(r, x, &w.levels, OFF), not heun_pp2(r, x, &w.levels, OFF);
        "d.dpm_2": |r, x, w| dpm_2(r, x, &w.levels, OFF), not heun(r, x, &w.levels, OFF);
        "d.dpm_2_ancestral": |r, x, w| dpm_2_ancestral(r, x, &w.levels, 1.0, 1.0),
            not dpm_2_ancestral(r, x, &w.levels, 1.0, 1.01);
        "d.lms": |r, x, w| lms(r, x, &w.levels, 4, false), not lms(r, x, &w.levels, 4, true);
        "d.dpmpp_sde": |r, x, w| dpmpp_sde(r, x, &w.levels, 1.0, 1.0, 0.5),
            not dpmpp_sde(r, x, &w.levels, 1.0, 1.0, 0.505);
        "d.euler.zero_snr.v": |r, x, w| euler(r, x, &w.levels, OFF), not heun(r, x, &w.levels, OFF);
        "p.ddim.zero_snr.v": |r, x, w| ddim(r, x, &w.times, 1.0, 0.0),
            not ddim(r, x, &w.times, 0.999, 0.0);
        "p.deis.1": |r, x, w| deis(r, x, &w.levels, (1, DeisTime::LogRho), true),
            not deis(r, x, &w.levels, (2, DeisTime::LogRho), true);
        "p.deis.2": |r, x, w| deis(r, x, &w.levels, (2, DeisTime::LogRho), true),
            not deis(r, x, &w.levels, (2, DeisTime::LogRho), false);
        "p.deis.3": |r, x, w| deis(r, x, &w.levels, (3, DeisTime::LogRho), true),
            not deis(r, x, &w.levels, (2, DeisTime::LogRho), true);
        "p.deis.3.long": |r, x, w| deis(r, x, &w.levels, (3, DeisTime::LogRho), true),
            not deis(r, x, &w.levels, (3, DeisTime::Tab), true);
        "p.uni_pc.bh1.1": |r, x, w| uni_pc(r, x, &w.levels, 1, Bh::Bh1),
            not uni_pc(r, x, &w.levels, 1, Bh::Bh2);
        "p.uni_pc.bh1.2": |r, x, w| uni_pc(r, x, &w.levels, 2, Bh::Bh1),
            not uni_pc(r, x, &w.levels, 3, Bh::Bh1);
        "p.uni_pc.bh1.3": |r, x, w| uni_pc(r, x, &w.levels, 3, Bh::Bh1),
            not uni_pc(r, x, &w.levels, 2, Bh::Bh1);
        "p.uni_pc.bh2.1": |r, x, w| uni_pc(r, x, &w.levels, 1, Bh::Bh2),
            not uni_pc(r, x, &w.levels, 1, Bh::Bh1);
        "p.uni_pc.bh2.2": |r, x, w| uni_pc(r, x, &w.levels, 2, Bh::Bh2),
            not uni_pc(r, x, &w.levels, 2, Bh::Bh1);
        "p.uni_pc.bh2.3": |r, x, w| uni_pc(r, x, &w.levels, 3, Bh::Bh2),
            not uni_pc(r, x, &w.levels, 2, Bh::Bh2);
        "p.sa_solver.22": |r, x, w| sa_solver(r, x, &w.levels, sa(2, 2, THEIRS)),
            not sa_solver(r, x, &w.levels, SaSolver { s_noise: 1.01, ..sa(2, 2, THEIRS) });
        "p.sa_solver.34": |r, x, w| sa_solver(r, x, &w.levels, sa(3, 4, THEIRS)),
            not sa_solver(r, x, &w.levels, sa(3, 3, THEIRS));
        "p.sa_solver.11": |r, x, w| sa_solver(r, x, &w.levels, sa(1, 1, THEIRS)),
            not sa_solver(r, x, &w.levels, sa(1, 2, THEIRS));
        "p.plms": |r, x, w| plms(r, x, &w.times, r.schedule().alpha_bar(0)),
            not plms(r, x, &w.times, 1.0);
        "p.plms.compvis": |r, x, w| plms(r, x, &w.times, r.schedule().alpha_bar(0)),
            not plms(r, x, &w.times, 1.0);
        "p.pndm": |r, x, w| pndm(r, x, &w.times, r.schedule().alpha_bar(0)),
            not pndm(r, x, &w.times, 1.0);
        "p.lcm": |r, x, w| lcm(r, x, &w.levels, Some(10.0)), not lcm(r, x, &w.levels, Some(0.1));
        "p.tcd.0.3": |r, x, w| tcd(r, x, &w.times, 0.3), not tcd(r, x, &w.times, 0.31);
        "p.tcd.0.0": |r, x, w| tcd(r, x, &w.times, 0.0), not tcd(r, x, &w.times, 0.01);
        "p.ddim_inverse.True": |r, x, w| ddim_inverse(r, x, &w.times, 1.0),
            not ddim_inverse(r, x, &w.times, r.schedule().alpha_bar(0));
        "p.ddim_inverse.False": |r, x, w| ddim_inverse(r, x, &w.times, r.schedule().alpha_bar(0)),
            not ddim_inverse(r, x, &w.times, 1.0);
        "p.repaint": |r, x, w| repaint(r, x, (&w.times, 166), pair(w), 0.7),
            not repaint(r, x, (&w.times, 166), pair(w), 0.707);
        "p.ipndm.v": |r, x, w| ipndm(r, x, &w.levels, 4, false),
            not ipndm(r, x, &w.levels, 3, false);
        "edm.euler": |r, x, w| euler(r, x, &w.levels, OFF),
            not euler(r, x, &w.levels, churn(0.01, 1.0));
        "edm.euler.churn": |r, x, w| euler(r, x, &w.levels, churn(2.0, 1.0)),
            not euler(r, x, &w.levels, churn(2.02, 1.0));
        "edm.dpm": |r, x, w| dpm_multistep(r, x, &w.levels, dpm(DpmSolverPlusPlus, Midpoint, 2)),
            not dpm_multistep(r, x, &w.levels, dpm(DpmSolverPlusPlus, Heun, 2));
        "edm.dpm.sde": |r, x, w|
            dpm_multistep(r, x, &w.levels, dpm(SdeDpmSolverPlusPlus, Midpoint, 2)),
            not dpm_multistep(r, x, &w.levels, dpm(SdeDpmSolverPlusPlus, Heun, 2));
    });
    all
}

fn pair(way: &Way) -> (&Tensor<4>, &Tensor<4>) {
    let (clean, mask) = way.clean.as_ref().unwrap();
    (clean, mask)
}

fn dpm_family() -> Vec<Case> {
    fn multi(r: &mut Run<'_>, x: Tensor<4>, w: &Way, how: Dpm) -> Result<Tensor<4>, Stopped> {
        dpm_multistep(r, x, &w.levels, how)
    }
    fn single(r: &mut Run<'_>, x: Tensor<4>, w: &Way, how: Dpm) -> Result<Tensor<4>, Stopped> {
        dpm_singlestep(r, x, &w.levels, how)
    }
    fn euler_at_final(how: Dpm) -> Dpm {
        Dpm {
            euler_at_final: true,
            ..how
        }
    }
    const PP: Algorithm = DpmSolverPlusPlus;
    const EPS: Algorithm = DpmSolver;
    const SDEPP: Algorithm = SdeDpmSolverPlusPlus;
    cases! {
        "p.dpm.++.1": |r, x, w| multi(r, x, w, dpm(PP, Midpoint, 1)),
            not multi(r, x, w, dpm(PP, Midpoint, 2));
        "p.dpm.++.3": |r, x, w| multi(r, x, w, dpm(PP, Midpoint, 3)),
            not multi(r, x, w, dpm(PP, Midpoint, 2));
        "p.dpm.++.3.long": |r, x, w| multi(r, x, w, dpm(PP, Midpoint, 3)),
            not multi(r, x, w, dpm(PP, Midpoint, 2));
        "p.dpm.++.2.euler_at_final": |r, x, w| multi(r, x, w, euler_at_final(dpm(PP, Midpoint, 2))),
            not multi(r, x, w, dpm(PP, Midpoint, 2));
        "p.dpm.++.2.trailing": |r, x, w| multi(r, x, w, dpm(PP, Midpoint, 2)),
            not multi(r, x, w, dpm(PP, Heun, 2));
        "p.dpm.++.2.v": |r, x, w| multi(r, x, w, dpm(PP, Midpoint, 2)),
            not multi(r, x, w, dpm(PP, Heun, 2));
        "p.dpm.++.2.midpoint": |r, x, w| multi(r, x, w, dpm(PP, Midpoint, 2)),
            not multi(r, x, w, dpm(PP, Heun, 2));
        "p.dpm.++.2.heun": |r, x, w| multi(r, x, w, dpm(PP, Heun, 2)),
            not multi(r, x, w, dpm(PP, Midpoint, 2));
        "p.dpm.eps.3": |r, x, w| multi(r, x, w, dpm(EPS, Midpoint, 3)),
            not multi(r, x, w, dpm(PP, Midpoint, 3));
        "p.dpm.eps.2.midpoint": |r, x, w| multi(r, x, w, dpm(EPS, Midpoint, 2)),
            not multi(r, x, w, dpm(EPS, Heun, 2));
        "p.dpm.eps.2.heun": |r, x, w| multi(r, x, w, dpm(EPS, Heun, 2)),
            not multi(r, x, w, dpm(EPS, Midpoint, 2));
        "p.dpm.sde++.3": |r, x, w| multi(r, x, w, dpm(SDEPP, Midpoint, 3)),
            not multi(r, x, w, dpm(SDEPP, Midpoint, 2));
        "p.dpm.sde++.2.midpoint": |r, x, w| multi(r, x, w, dpm(SDEPP, Midpoint, 2)),
            not multi(r, x, w, dpm(SDEPP, Heun, 2));
        "p.dpm.sde++.2.heun": |r, x, w| multi(r, x, w, dpm(SDEPP, Heun, 2)),
            not multi(r, x, w, dpm(SDEPP, Midpoint, 2));
        "p.dpm.sde.2.midpoint": |r, x, w| multi(r, x, w, dpm(SdeDpmSolver, Midpoint, 2)),
            not multi(r, x, w, dpm(SdeDpmSolver, Heun, 2));
        "p.dpm.sde.2.heun": |r, x, w| multi(r, x, w, dpm(SdeDpmSolver, Heun, 2)),
            not multi(r, x, w, dpm(SdeDpmSolver, Midpoint, 2));
        "p.single.++.2.midpoint": |r, x, w| single(r, x, w, dpm(PP, Midpoint, 2)),
            not single(r, x, w, dpm(PP, Heun, 2));
        "p.single.++.2.heun": |r, x, w| single(r, x, w, dpm(PP, Heun, 2)),
            not single(r, x, w, dpm(PP, Midpoint, 2));
        "p.single.++.3.midpoint": |r, x, w| single(r, x, w, dpm(PP, Midpoint, 3)),
            not single(r, x, w, dpm(PP, Heun, 3));
        "p.single.++.3.heun": |r, x, w| single(r, x, w, dpm(PP, Heun, 3)),
            not single(r, x, w, dpm(PP, Midpoint, 3));
        "p.single.eps.3.midpoint": |r, x, w| single(r, x, w, dpm(EPS, Midpoint, 3)),
            not single(r, x, w, dpm(EPS, Heun, 3));
        "p.single.eps.3.heun": |r, x, w| single(r, x, w, dpm(EPS, Heun, 3)),
            not single(r, x, w, dpm(EPS, Midpoint, 3));
        "p.single.sde++.3.midpoint": |r, x, w| single(r, x, w, dpm(SDEPP, Midpoint, 3)),
            not single(r, x, w, dpm(SDEPP, Heun, 3));
        "p.single.sde++.3.heun": |r, x, w| single(r, x, w, dpm(SDEPP, Heun, 3)),
            not single(r, x, w, dpm(SDEPP, Midpoint, 3));
    }
}

fn all() -> Vec<Case> {
    let mut all = of_k_diffusion();
    all.extend(of_comfyui());
    all.extend(of_diffusers());
    all
}

/// The schedule and the meaning of the network's output in a case.
fn model(name: &str) -> (NoiseSchedule, Prediction) {
    let mut config = ScheduleConfig::scaled_linear(0.00085, 0.012);
    if name.contains("zero_snr") {
        config.rescale_zero_snr = ZeroSnr::Diffusers;
    }
    if name.starts_with("edm.") {
        return (ScheduleConfig::edm().init().unwrap(), Prediction::Edm);
    }
    let prediction = match name.ends_with(".v") {
        true => Prediction::Velocity,
        false => Prediction::Epsilon,
    };
    (config.init().unwrap(), prediction)
}

impl Case {
    fn way(&self, file: &Recording, schedule: &NoiseSchedule) -> Way {
        let key = |what: &str| format!("{}.{what}", self.name);
        let list = |what: &str| match file.has(&key(what)) {
            true => file.get(&key(what)).to_vec(),
            false => Vec::new(),
        };
        let (sigmas, told) = (list("sigmas"), list("levels_t"));
        let levels = if self.name.starts_with("d.") {
            // diffusers lists a level twice where it calls the network twice.
            let mut once = sigmas;
            once.dedup();
            let way = match self.name.contains("zero_snr") {
                true => SigmaSchedule::Trailing,
                false => SigmaSchedule::Linspace,
            };
            let levels = way.levels(once.len() - 1, schedule).unwrap();
            for (level, sigma) in levels.iter().zip(once) {
                // diffusers cuts its σ to six decimals' worth of f32 on the way.
                assert!((level.sigma - sigma).abs() <= 2e-7 * sigma, "{}", self.name);
            }
            levels
        } else {
            let level = |(i, &sigma): (usize, &f64)| match told.get(i) {
                Some(&t) => Level { sigma, t },
                None => Level::of(sigma, schedule),
            };
            sigmas.iter().enumerate().map(level).collect()
        };
        let clean = file.has(&key("clean")).then(|| {
            let device = Device::flex();
            let kept: Tensor<4> = file.tensor(&key("mask"), &device);
            (file.tensor(&key("clean"), &device), 1.0 - kept)
        });
        // diffusers lists a timestep for each call, PNDM's half-way ones too.
        let mut times: Vec<usize> = list("times").iter().map(|t| *t as usize).collect();
        times.dedup();
        if self.name == "p.pndm" {
            times = Spacing::Leading { offset: 1 }.timesteps(8, 1000).unwrap();
        }
        Way {
            levels,
            times,
            clean,
        }
    }

    /// The worst error of any network call's state, or of the end, and of any timestep told;
    /// infinity where there are more or fewer calls.
    fn worst(&self, file: &Recording, walker: Walker) -> f64 {
        let (schedule, prediction) = model(self.name);
        let way = self.way(file, &schedule);
        let key = |what: &str| format!("{}.{what}", self.name);
        let network = StandIn::default();
        let model = Denoiser::new(&network, &schedule, prediction);
        let noise = match file.has(&key("noise")) {
            true => file.rows(&key("noise")),
            false => Vec::new(),
        };
        let mut noise = noise.into_iter();
        let mut draw = |x: &Tensor<4>| noise.next().unwrap_or_else(|| x.zeros_like());
        let mut go_on = |_: Step<'_>| ControlFlow::Continue(());
        let mut run = Run::new(&model, &mut draw, &mut go_on, 1);
        let start = file.tensor(&key("start"), &Device::flex());
        let end = walker(&mut run, start, &way).unwrap();
        let told = file.get(&key("t"));
        let mut states = network.seen.into_inner();
        if states.len() != told.len() {
            return f64::INFINITY;
        }
        let mut worst = 0.0f64;
        for ((_, t), want) in states.iter().zip(told) {
            worst = worst.max((t - want).abs() / (1.0 + want.abs()));
        }
        states.push((end, f64::NAN));
        for ((got, _), want) in states.into_iter().zip(file.rows(&key("x"))) {
            let off = (got - want.clone()).abs().max().into_scalar::<f32>();
            let mean = want.clone().mean().into_scalar::<f32>();
            let spread = (want - mean).square().mean().sqrt().into_scalar::<f32>();
            let off = f64::from(off / spread);
            worst = worst.max(if off.is_nan() { f64::INFINITY } else { off });
        }
        worst
    }

    fn tolerance(&self, file: &Recording) -> f64 {
        let own = file.number(&format!("{}.f32_error", self.name));
        (4.0 * own).clamp(1e-5, 5e-4)
    }
}

/// Each case with its worst error.
pub(crate) fn errors() -> Vec<(&'static str, f64)> {
    let file = Recording::open("walks");
    let each = all().into_iter();
    each.map(|case| (case.name, case.worst(&file, case.right)))
        .collect()
}

#[test]
fn every_sampler_follows_its_original_call_by_call() {
    let file = Recording::open("walks");
    let mut faults = Vec::new();
    for case in all() {
        let (worst, most) = (case.worst(&file, case.right), case.tolerance(&file));
        if worst > most {
            faults.push(format!("{}: {worst:.1e} > {most:.1e}", case.name));
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn a_sampler_that_is_wrong_by_a_little_does_not_pass_for_its_original() {
    let file = Recording::open("walks");
    let mut faults = Vec::new();
    for case in all() {
        let (worst, least) = (case.worst(&file, case.wrong), 2.0 * case.tolerance(&file));
        if worst <= least {
            faults.push(format!("{}: {worst:.1e} is within {least:.1e}", case.name));
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn every_recorded_walk_has_its_sampler() {
    let file = Recording::open("walks");
    let mut recorded: Vec<&str> = file
        .keys()
        .filter_map(|key| key.strip_suffix(".t"))
        .collect();
    let cases = all();
    let mut known: Vec<&str> = cases.iter().map(|case| case.name).collect();
    recorded.sort_unstable();
    known.sort_unstable();
    assert_eq!(recorded, known);
}
