//! Samplers as a graph writes them: read, run, and refused at their place.

use ldm_models::choice::{Choice, Kind, Part, Value};
use ldm_models::sampler::{Sampler, SamplerName, SchedulerName};

use super::{Lab, MODEL};
use crate::values::Latent;

fn denoise(sampler: &str) -> String {
    format!(
        r#"{MODEL}"latent": Denoise(
            unet: "model", latent: "noise", positive: "wanted", negative: "empty",
            sampler: {sampler}, steps: 4, cfg: 1.5, seed: 7,
        ),"#
    )
}

#[test]
fn samplers_and_schedules_read_as_a_person_writes_them() {
    let lab = Lab::new();
    for sampler in [
        "Ddim",
        "Ddim(eta: 0)",
        "Ddim(spacing: Leading(offset: 1), end: One)",
        "Euler(schedule: Karras(rho: 7.0))",
        "Euler(churn: On(s_churn: 40, s_tmax: 50.5))",
        "Euler(schedule: Sigmas(sigmas: [14.6, 7.0, 2, 0.3, 0]))",
        "DpmPlusPlus2M(schedule: Karras)",
        "DpmPlusPlus2MSde(solver_type: Heun, noise: Fresh(plus: 0), schedule: Exponential)",
        "UniPc(order: 2, bh: Bh1, schedule: Spaced(spacing: LinspaceOpen))",
        r#"Named(sampler: "dpmpp_2m_sde", scheduler: "karras")"#,
        r#"Named(sampler: "DPMSolverMultistepScheduler", scheduler: "own")"#,
    ] {
        assert!(
            lab.plan(&denoise(sampler), &["latent"]).is_ok(),
            "{sampler}"
        );
    }
}

#[test]
fn what_is_wrong_with_a_sampler_is_said_at_its_place() {
    let lab = Lab::new();
    for (sampler, wanted) in [
        ("Eular", "did you mean `Euler`?"),
        ("Euler(schedule: Karas)", "did you mean `Karras`?"),
        (
            "Euler(schedule: Karras(roh: 7.0))",
            "`Karras` has no field `roh`",
        ),
        (
            "EulerAncestral(eta: 2.0)",
            "`eta` takes 0.0 to 1.0, found 2",
        ),
        (
            "Heun(churn: On(s_churn: -1))",
            "`s_churn` takes 0.0 to 1000.0",
        ),
        ("Euler(churn: true)", "wants Off | On, found"),
        (
            "Euler(schedule: Sigmas(sigmas: [1.0, 2.0, 0.0]))",
            "noise levels fall",
        ),
        (
            "Euler(schedule: Sigmas(sigmas: [1.0, 0.0]))",
            "make `steps` 1",
        ),
        ("DpmMultistep(algorithm: DpmSolver)", "give `end: Least`"),
        ("RePaint", "add `mask: …`"),
        ("Pndm()", ""),
        (r#"Named(sampler: "dpmpp_2mm")"#, "did you mean `dpmpp_2m`?"),
        (
            r#"Named(sampler: "euler", scheduler: "karas")"#,
            "did you mean `karras`?",
        ),
        (r#"Named(sampler: 3)"#, "wants Text, found Int"),
        (
            r#"Named(sampler: "DPM++ 2M Karras")"#,
            r#"write `sampler: "DPM++ 2M", scheduler: "karras"`"#,
        ),
        (r#"Named(sampler: "Euler A", scheduler: "Karras")"#, ""),
        (
            "Heun(churn: On(s_tmin: 4, s_tmax: 1))",
            "`s_tmin` up to a lower `s_tmax`",
        ),
        ("Seeds3(r1: 0.5, r2: 0.5)", "give `r1` below `r2`"),
    ] {
        if wanted.is_empty() {
            assert!(
                lab.plan(&denoise(sampler), &["latent"]).is_ok(),
                "{sampler}"
            );
            continue;
        }
        let said = lab.refusal(&denoise(sampler));
        assert!(
            said.contains(wanted),
            "{sampler}: wanted {wanted:?} in:\n{said}"
        );
    }
}

/// The text a person would write for a value.
fn text(value: &Value, kind: Kind) -> String {
    match (value, kind) {
        (Value::Bool(value), _) => value.to_string(),
        (Value::Int(value), _) => value.to_string(),
        (Value::Float(value), _) => format!("{value:?}"),
        (Value::Floats(values), _) => format!("{values:?}"),
        (Value::Name(name), _) => format!("{name:?}"),
        (Value::Choice(name, values), Kind::Choice(variants)) => {
            let variant = variants().iter().find(|v| v.name == *name).unwrap();
            let fields = variant.fields.iter().zip(values);
            let fields = fields.map(|(f, v)| format!("{}: {}", f.name, text(v, f.kind)));
            format!("{name}({})", fields.collect::<Vec<_>>().join(", "))
        }
        (Value::Choice(..), _) => panic!("a choice of no choice"),
    }
}

#[test]
fn every_sampler_written_out_in_full_is_the_one_left_at_its_defaults() {
    let lab = Lab::new();
    // RePaint is refused without a mask.
    let variants = Sampler::variants().iter();
    for variant in variants.filter(|variant| variant.name != "RePaint") {
        let usual = Sampler::usual(variant.name).unwrap();
        let full = text(&usual.to_value(), Kind::Choice(Sampler::variants));
        let shown = |sampler: &str| {
            let plan = lab.plan(&denoise(sampler), &["latent"]);
            let plan = plan.unwrap_or_else(|_| panic!("{sampler}"));
            format!("{:?}", plan.node("latent").unwrap().settings())
        };
        assert_eq!(shown(&full), shown(variant.name));
    }
}

#[test]
fn every_name_of_comfyui_gives_a_latent() {
    let mut lab = Lab::new();
    let names = SamplerName::comfy_ui();
    let schedulers = SchedulerName::all();
    for (i, name) in names.iter().enumerate() {
        let scheduler = schedulers[i % 9];
        let sampler = format!(r#"Named(sampler: "{name}", scheduler: "{scheduler}")"#);
        let report = lab.run(&denoise(&sampler), &["latent"]);
        let latent = report.value::<Latent>("latent.latent").unwrap();
        let finite = latent
            .numbers
            .numbers()
            .iter()
            .all(|number| number.is_finite());
        assert!(finite, "{sampler}");
    }
}

#[test]
fn repaint_keeps_what_the_mask_does_not_cover() {
    let mut lab = Lab::new();
    let mut strayed = |sampler: &str| {
        let nodes = format!(
            r#"{MODEL}"photo": LoadImage(path: "images/scene.png"),
            "start": VaeEncode(vae: "model", image: "photo"),
            "latent": Denoise(
                unet: "model", latent: "start", positive: "wanted", steps: 6, seed: 7,
                sampler: {sampler},
            ),"#
        );
        let report = lab.run(&nodes, &["latent", "start"]);
        let latent = |name: &str| report.value::<Latent>(name).unwrap();
        let (made, start) = (latent("latent.latent"), latent("start.latent"));
        let pairs = made.numbers.numbers().iter().zip(start.numbers.numbers());
        pairs.map(|(made, start)| (made - start).abs()).sum::<f32>()
    };
    // The picture is all but opaque, so its mask covers next to nothing.
    let kept = strayed("RePaint(jump_length: 2, jump_n_sample: 2), mask: \"photo\"");
    let free = strayed("Ddim");
    assert!(0.0 < kept && kept < free / 4.0, "{kept} {free}");
}
