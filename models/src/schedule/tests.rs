//! Schedules against the papers' formulas and tables worked out apart.

use super::*;

fn paper(start: f64, end: f64) -> NoiseSchedule {
    ScheduleConfig::scaled_linear(start, end).init().unwrap()
}

/// Values by CompVis's formula in f64 (`make_beta_schedule("linear", 1000, …)`).
#[test]
fn the_five_schedules_of_the_paper_have_their_alphas_and_sigmas() {
    let table = [
        (
            0.0015,
            0.0195,
            0.9985,
            0.1149220009,
            0.0001423040,
            0.038759,
            83.8225,
        ),
        (
            0.0015,
            0.0155,
            0.9985,
            0.1500700509,
            0.0006686652,
            0.038759,
            38.6590,
        ),
        (
            0.0015,
            0.0205,
            0.9985,
            0.1076767539,
            0.0000969109,
            0.038759,
            101.5764,
        ),
        (
            0.0015,
            0.015,
            0.9985,
            0.1552905563,
            0.0008125185,
            0.038759,
            35.0677,
        ),
        (
            0.00085,
            0.012,
            0.99915,
            0.2763326838,
            0.0046600985,
            0.029167,
            14.6146,
        ),
    ];
    for (start, end, first, middle, last, low, high) in table {
        let s = paper(start, end);
        let close = |got: f64, want: f64, unit: f64| {
            assert!(
                (got - want).abs() <= 0.5001 * unit,
                "{start} {end}: {got} not {want}"
            );
        };
        close(s.alpha_bar(0), first, 1e-10);
        close(s.alpha_bar(500), middle, 1e-10);
        close(s.alpha_bar(999), last, 1e-10);
        close(s.sigma_min(), low, 1e-6);
        close(s.sigma_max(), high, 1e-4);
    }
}

#[test]
fn the_names_of_compvis_and_diffusers_are_told_apart() {
    let (a, b) = (0.001, 0.02);
    assert_eq!(
        Betas::from_compvis("linear", a, b),
        Betas::from_diffusers("scaled_linear", a, b)
    );
    assert_eq!(
        Betas::from_compvis("sqrt_linear", a, b),
        Betas::from_diffusers("linear", a, b)
    );
    assert_ne!(
        Betas::from_compvis("linear", a, b),
        Betas::from_diffusers("linear", a, b)
    );
    assert_eq!(Betas::from_compvis("scaled_linear", a, b), None);
    assert_eq!(Betas::from_diffusers("sqrt", a, b), None);
}

#[test]
fn the_curves_start_and_end_where_they_say() {
    let ends = |betas: Betas| {
        let v = betas.values(1000);
        (v[0], v[999])
    };
    let near = |got: (f64, f64), want: (f64, f64)| {
        assert!(
            (got.0 - want.0).abs() < 1e-12 && (got.1 - want.1).abs() < 1e-12,
            "{got:?}"
        );
    };
    near(
        ends(Betas::ScaledLinear {
            start: 0.001,
            end: 0.02,
        }),
        (0.001, 0.02),
    );
    near(
        ends(Betas::Linear {
            start: 0.001,
            end: 0.02,
        }),
        (0.001, 0.02),
    );
    near(
        ends(Betas::Sqrt {
            start: 0.0001,
            end: 0.04,
        }),
        (0.01, 0.2),
    );
    assert_eq!(ends(Betas::Cosine).1, 0.999);
    let middle = Betas::ScaledLinear {
        start: 0.01,
        end: 0.09,
    }
    .values(3)[1];
    assert!(
        (middle - 0.04).abs() < 1e-12,
        "the line is drawn between roots: {middle}"
    );
}

#[test]
fn compvis_spacing_gives_more_steps_than_asked_where_they_do_not_divide() {
    let of = |steps| Spacing::CompVis.timesteps(steps, 1000).unwrap();
    for (asked, given) in [(50, 50), (20, 20), (150, 167), (300, 334), (400, 500)] {
        let walk = of(asked);
        // 300 runs past the table at CompVis; the last timestep stands in.
        assert_eq!(walk.len(), given, "{asked}");
    }
    assert_eq!(of(50)[..3], [981, 961, 941]);
    assert_eq!(of(50)[49], 1);
    assert_eq!(of(3)[0], 999, "CompVis asks for timestep 1000 here");
}

#[test]
fn every_walk_falls_strictly_inside_the_table() {
    let spacings = [
        Spacing::CompVis,
        Spacing::Quad,
        Spacing::Leading { offset: 0 },
        Spacing::Leading { offset: 1 },
        Spacing::Leading { offset: 5000 },
        Spacing::Trailing,
        Spacing::Linspace,
    ];
    for total in [2, 7, 999, 1000] {
        for spacing in spacings {
            for steps in 1..=total {
                let walk = spacing.timesteps(steps, total).unwrap();
                assert!(walk[0] < total, "{spacing:?} {steps}");
                assert!(walk.windows(2).all(|w| w[0] > w[1]), "{spacing:?} {steps}");
            }
        }
    }
}

#[test]
fn leading_with_offset_one_is_compvis_where_steps_divide() {
    for steps in (1..=500).filter(|s| 1000 % s == 0) {
        let leading = Spacing::Leading { offset: 1 }.timesteps(steps, 1000);
        assert_eq!(leading, Spacing::CompVis.timesteps(steps, 1000));
    }
}

#[test]
fn trailing_ends_at_the_last_timestep_and_linspace_at_both_ends() {
    assert_eq!(
        Spacing::Trailing.timesteps(4, 1000).unwrap(),
        [999, 749, 499, 249]
    );
    assert_eq!(
        Spacing::Linspace.timesteps(4, 1000).unwrap(),
        [999, 666, 333, 0]
    );
    assert_eq!(
        Spacing::Leading { offset: 0 }.timesteps(4, 1000).unwrap(),
        [750, 500, 250, 0]
    );
}

#[test]
fn sigma_and_timestep_are_each_others_inverse() {
    let s = paper(0.0015, 0.0195);
    for t in [0.0, 0.25, 1.0, 17.5, 500.0, 998.9, 999.0] {
        assert!((s.timestep_of(s.sigma_between(t)) - t).abs() < 1e-9, "{t}");
    }
    assert!((s.sigma_between(500.0) - s.sigma(500)).abs() < 1e-12);
    assert_eq!(s.timestep_of(0.0), 0.0);
    assert_eq!(s.timestep_of(1e-9), 0.0);
    assert_eq!(s.timestep_of(1e9), 999.0);
    assert_eq!(s.sigma_between(-5.0), s.sigma_between(0.0));
}

#[test]
fn sigma_schedules_fall_from_the_models_sigma_to_zero() {
    let s = paper(0.00085, 0.012);
    for schedule in [
        SigmaSchedule::Normal,
        SigmaSchedule::Karras { rho: 7.0 },
        SigmaSchedule::Linspace,
    ] {
        for steps in [1, 2, 7, 20] {
            let levels = schedule.levels(steps, &s).unwrap();
            assert_eq!(levels.len(), steps + 1);
            let sigmas: Vec<f64> = levels.iter().map(|level| level.sigma).collect();
            assert!(sigmas.windows(2).all(|w| w[0] > w[1]));
            assert!((sigmas[0] / s.sigma_max() - 1.0).abs() < 1e-12);
            assert_eq!(sigmas[steps], 0.0);
            if steps > 1 {
                assert!((sigmas[steps - 1] / s.sigma_min() - 1.0).abs() < 1e-12);
            }
        }
    }
    // Eq. 5 at i = 1 of 3, by hand: ((a + b) / 2)^7 with a, b the seventh roots.
    let (a, b) = (s.sigma_max().powf(1.0 / 7.0), s.sigma_min().powf(1.0 / 7.0));
    let middle = SigmaSchedule::Karras { rho: 7.0 }.levels(3, &s).unwrap()[1].sigma;
    assert!((middle / ((a + b) / 2.0).powi(7) - 1.0).abs() < 1e-12);
}

#[test]
fn a_wrong_schedule_is_an_error_that_names_the_number() {
    let config = |start, end| ScheduleConfig::scaled_linear(start, end).check();
    for (start, end) in [
        (0.0, 0.1),
        (0.2, 0.1),
        (0.1, 1.0),
        (f64::NAN, 0.1),
        (0.1, f64::INFINITY),
    ] {
        assert!(
            matches!(config(start, end), Err(ScheduleError::Betas { .. })),
            "{start} {end}"
        );
    }
    let few = ScheduleConfig {
        betas: Betas::Cosine,
        timesteps: 1,
        rescale_zero_snr: ZeroSnr::No,
    };
    assert_eq!(few.init(), Err(ScheduleError::Timesteps(1)));
    let table = NoiseSchedule::from_alpha_bars(vec![0.9, 0.5, 0.5]);
    assert_eq!(table, Err(ScheduleError::Table { at: 2, value: 0.5 }));
    let steps = Spacing::CompVis.timesteps(0, 1000).unwrap_err().to_string();
    assert_eq!(
        steps,
        "0 steps do not fit 1000 timesteps: ask for 1 to 1000"
    );
    assert!(Spacing::Trailing.timesteps(1001, 1000).is_err());
    let s = paper(0.0015, 0.0195);
    assert!(
        SigmaSchedule::Karras { rho: f64::NAN }
            .levels(5, &s)
            .is_err()
    );
    assert!(SigmaSchedule::Normal.levels(0, &s).is_err());
    assert!(SigmaSchedule::Normal.levels(usize::MAX, &s).is_err());
}

#[test]
fn schedules_read_as_a_person_writes_them() {
    let config: ScheduleConfig =
        ron::from_str("(betas: ScaledLinear(start: 0.0015, end: 0.0195))").unwrap();
    assert_eq!(config, ScheduleConfig::scaled_linear(0.0015, 0.0195));
}
