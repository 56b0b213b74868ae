//! Conditionings of several entries, in graphs.

use ldm_engine::Run;
use ldm_models::unet::LabelConfig;

use super::{Lab, MODEL, Tiny};
use crate::values::{Conditioning, Latent};

/// Nodes that most graphs here have: a picture with its mask, and its latent.
const PHOTO: &str = r#"
    "photo": LoadImage(path: "images/scene.png"),
    "start": VaeEncode(vae: "model", image: "photo"),
"#;

/// The latent that `positive` asks for; `nodes` define it, `extra` are settings.
fn walk(lab: &mut Lab, nodes: &str, positive: &str, extra: &str) -> Vec<f32> {
    let nodes = format!(
        r#"{MODEL}{PHOTO}{nodes}
        "latent": Denoise(
            unet: "model", latent: "noise", positive: "{positive}", negative: "empty",
            sampler: Euler(), steps: 4, seed: 3, {extra}
        ),"#
    );
    let report = lab.run(&nodes, &["latent"]);
    let latent = report.value::<Latent>("latent.latent").unwrap();
    latent.numbers.numbers().to_vec()
}

/// The largest difference, of the largest number.
fn apart(a: &[f32], b: &[f32]) -> f32 {
    let most = a.iter().fold(0.0f32, |most, x| most.max(x.abs()));
    let off = a.iter().zip(b).map(|(a, b)| (a - b).abs());
    off.fold(0.0, f32::max) / most
}

#[test]
fn what_says_nothing_more_changes_nothing() {
    let mut lab = Lab::new();
    let plain = walk(&mut lab, "", "wanted", "");
    for node in [
        r#"SetArea(conditioning: "wanted", area: Share())"#,
        r#"SetArea(conditioning: "wanted", area: Pixels(width: 32, height: 16))"#,
        r#"SetStrength(conditioning: "wanted", strength: 3.0)"#,
        r#"SetTimestepRange(conditioning: "wanted")"#,
        r#"CombineConditioning(conditioning: ["wanted", "wanted"])"#,
        r#"CombineConditioning(conditioning: ["wanted", "never"])"#,
        r#"AverageConditioning(conditioning: "wanted", other: "empty")"#,
    ] {
        let nodes = format!(
            r#""told": {node}, "never": SetStrength(conditioning: "empty", strength: 0.0),"#
        );
        let told = walk(&mut lab, &nodes, "told", "");
        assert!(apart(&told, &plain) < 1e-4, "{node}");
    }
    for extra in ["guidance: Plain", "guidance: Rescaled(phi: 0.0)"] {
        let told = walk(&mut lab, "", "wanted", extra);
        assert!(apart(&told, &plain) < 1e-4, "{extra}");
    }
}

#[test]
fn each_saying_matters() {
    let mut lab = Lab::new();
    let plain = walk(&mut lab, "", "wanted", "");
    let mut seen = vec![plain];
    let also = r#""also": TextEncode(text_encoder: "model", text: "by the lake at night"),"#;
    let both = |also: &str| format!(r#"CombineConditioning(conditioning: ["wanted", {also}])"#);
    for (node, more) in [
        (both(r#""also""#), String::new()),
        (
            both(r#""part""#),
            r#""part": SetStrength(conditioning: "also", strength: 0.1),"#.into(),
        ),
        (
            both(r#""part""#),
            r#""part": SetArea(conditioning: "also", area: Share(width: 0.5)),"#.into(),
        ),
        (
            both(r#""part""#),
            r#""part": SetMask(conditioning: "also", mask: "photo"),"#.into(),
        ),
        (
            both(r#""part""#),
            r#""part": SetTimestepRange(conditioning: "also", end: 0.5),"#.into(),
        ),
        (
            r#"AverageConditioning(conditioning: "wanted", other: "also", share: 0.5)"#.into(),
            String::new(),
        ),
        (
            r#"ConcatConditioning(conditioning: ["wanted", "also"])"#.into(),
            String::new(),
        ),
        (
            r#"ZeroOutConditioning(conditioning: "wanted")"#.into(),
            String::new(),
        ),
    ] {
        let nodes = format!(r#"{also}{more} "told": {node},"#);
        let told = walk(&mut lab, &nodes, "told", "");
        assert!(
            seen.iter().all(|other| apart(&told, other) > 1e-5),
            "{node} {more}"
        );
        seen.push(told);
    }
    for extra in ["guidance: Rescaled()", "guidance: Rescaled(of: Output)"] {
        let told = walk(&mut lab, "", "wanted", extra);
        assert!(
            seen.iter().all(|other| apart(&told, other) > 1e-5),
            "{extra}"
        );
        seen.push(told);
    }
}

#[test]
fn tokens_are_averaged_and_silenced_by_the_rule() {
    let mut lab = Lab::new();
    let nodes = format!(
        r#"{MODEL}
        "long": ConcatConditioning(conditioning: ["wanted", "empty"]),
        "mixed": AverageConditioning(conditioning: "long", other: "wanted", share: 0.75),
        "cut": AverageConditioning(conditioning: "wanted", other: "long", share: 0.0),
        "nothing": ZeroOutConditioning(conditioning: "wanted"),"#
    );
    let report = lab.run(&nodes, &["wanted", "long", "mixed", "cut", "nothing"]);
    let tokens = |name: &str| {
        let told = report.value::<Conditioning>(&format!("{name}.conditioning"));
        told.unwrap().entries[0]
            .tokens
            .clone()
            .unwrap()
            .numbers()
            .to_vec()
    };
    let (wanted, long) = (tokens("wanted"), tokens("long"));
    let short = wanted.len();
    let other = |at: usize| wanted.get(at).copied().unwrap_or(0.0);
    let want = long
        .iter()
        .enumerate()
        .map(|(at, x)| x * 0.75 + other(at) * 0.25);
    assert_eq!(tokens("mixed"), want.collect::<Vec<_>>());
    assert_eq!(tokens("cut"), long[..short], "a longer text is cut");
    assert_eq!(tokens("nothing"), vec![0.0; short]);
}

#[test]
fn what_a_mask_does_not_cover_is_kept() {
    let mut lab = Lab::new();
    let mut walk = |extra: &str| {
        let nodes = format!(
            r#"{MODEL}{PHOTO}
            "latent": Denoise(
                unet: "model", latent: "start", positive: "wanted", negative: "empty",
                sampler: Euler(), steps: 4, seed: 3, {extra}
            ),"#
        );
        let report = lab.run(&nodes, &["latent", "start", "photo"]);
        let latent = |name: &str| {
            let latent = report.value::<Latent>(name).unwrap();
            latent.numbers.numbers().to_vec()
        };
        (latent("start.latent"), latent("latent.latent"))
    };
    let (start, free) = walk("");
    let (_, kept) = walk(r#"mask: "photo""#);
    // The picture is all but opaque, so its mask covers next to nothing.
    let (near, far) = (apart(&start, &kept), apart(&start, &free));
    assert!(near < far / 4.0 && near > 0.0, "{near} {far}");
}

#[test]
fn an_inpainting_network_is_shown_the_hole_on_both_sides() {
    let mut lab = Lab::new();
    lab.model(
        "holes",
        &Tiny {
            shown: 3,
            ..Tiny::default()
        },
    );
    let mut walk = |layout: &str, negative: &str| {
        let nodes = format!(
            r#"{MODEL}{PHOTO}
            "holes": LoadModel(path: "weights/holes"),
            "one": EmptyLatent(vae: "model", width: 32, height: 16),
            "hole": InpaintConditioning(
                conditioning: "wanted", vae: "model", image: "photo", mask: "photo", {layout}
            ),
            "same": InpaintConditioning(
                conditioning: "empty", vae: "model", image: "photo", mask: "photo", {layout}
            ),
            "latent": Denoise(
                unet: "holes", latent: "one", positive: "hole", negative: "{negative}", steps: 3,
            ),"#
        );
        let report = lab.run(&nodes, &["latent", "hole"]);
        let told = report.value::<Conditioning>("hole.conditioning").unwrap();
        let latent = report.value::<Latent>("latent.latent").unwrap();
        let channels = told.entries[0].channels.clone().unwrap();
        (channels, latent.numbers.numbers().to_vec())
    };
    let (channels, shown) = walk("", "same");
    assert_eq!(channels.shape(), [1, 3, 2, 4]);
    assert_eq!(
        channels.numbers()[..8],
        [0.0; 8],
        "the mask is the first, and covers nothing"
    );
    let (_, shared) = walk("", "empty");
    assert_eq!(
        shared, shown,
        "a negative side is shown what the positive one is"
    );
    let (channels, other) = walk("layout: Ldm", "empty");
    assert_eq!(
        channels.numbers()[16..],
        [-1.0; 8],
        "the mask is the last, from -1 on"
    );
    assert_ne!(other, shown);
}

#[test]
fn an_instructed_network_is_guided_by_text_and_picture() {
    let mut lab = Lab::new();
    lab.model(
        "edit",
        &Tiny {
            shown: 2,
            ..Tiny::default()
        },
    );
    let mut walk = |guidance: &str| {
        let nodes = format!(
            r#"{MODEL}{PHOTO}
            "edit": LoadModel(path: "weights/edit"),
            "one": EmptyLatent(vae: "model", width: 32, height: 16),
            "told": InstructConditioning(conditioning: "wanted", vae: "model", image: "photo"),
            "latent": Denoise(
                unet: "edit", latent: "one", positive: "told", negative: "empty", steps: 3,
                guidance: {guidance},
            ),"#
        );
        let report = lab.run(&nodes, &["latent", "told", "start"]);
        let told = report.value::<Conditioning>("told.conditioning").unwrap();
        let start = report.value::<Latent>("start.latent").unwrap();
        let channels = told.entries[0].channels.clone().unwrap();
        let scaled: Vec<f32> = channels.numbers().iter().map(|x| x * 0.5).collect();
        assert_eq!(scaled, start.numbers.numbers(), "shown unscaled");
        let latent = report.value::<Latent>("latent.latent").unwrap();
        latent.numbers.numbers().to_vec()
    };
    let plain = walk("Plain");
    assert_eq!(walk("Image(image_cfg: 1.0)"), plain);
    assert!(apart(&walk("Image(image_cfg: 3.0)"), &plain) > 1e-3);
}

#[test]
fn a_picture_with_a_pixel_a_place_is_shown_as_it_is() {
    let mut lab = Lab::new();
    let nodes = r#""photo": LoadImage(path: "images/scene.png"),
        "shown": ConcatImage(image: "photo"),"#;
    let report = lab.run(nodes, &["shown", "photo"]);
    let told = report.value::<Conditioning>("shown.conditioning").unwrap();
    let image = report.value::<crate::values::Image>("photo.image").unwrap();
    let channels = told.entries[0].channels.clone().unwrap();
    let want = image.pixels().numbers().iter().map(|x| x * 2.0 - 1.0);
    assert_eq!(channels.numbers(), want.collect::<Vec<_>>());
}

#[test]
fn places_that_no_entry_speaks_for_are_told() {
    let mut lab = Lab::new();
    let noted = |lab: &Lab| {
        lab.notes
            .iter()
            .any(|note| note.contains("asks for a blank picture"))
    };
    walk(&mut lab, "", "wanted", "");
    assert!(!noted(&lab), "{:?}", lab.notes);
    let part = r#""told": SetArea(conditioning: "wanted", area: Share(width: 0.5)),"#;
    walk(&mut lab, part, "told", "");
    assert!(noted(&lab), "{:?}", lab.notes);
}

#[test]
fn what_cannot_be_said_of_this_picture_is_a_planning_error() {
    let lab = Lab::new();
    let check = |nodes: &str, extra: &str, wanted: &[&str]| {
        let said = lab.refusal(&format!(
            r#"{MODEL}{PHOTO}{nodes}
            "bad": Denoise(
                unet: "model", latent: "noise", positive: "told", negative: "empty", {extra}
            ),"#
        ));
        for words in wanted {
            assert!(said.contains(words), "wanted {words:?} in:\n{said}");
        }
    };
    let area = |area: &str| format!(r#""told": SetArea(conditioning: "wanted", area: {area}),"#);
    let between = area("Pixels(x: 4, width: 8, height: 8)");
    check(
        &between,
        "",
        &["`bad.positive`", "multiples of 8, found 4", "write 8"],
    );
    let outside = area("Pixels(x: 16, width: 24, height: 8)");
    check(
        &outside,
        "",
        &["24×8 at 16, 0 leaves the picture of 32×16", "Share"],
    );
    check(&area("Mask"), "", &["has no mask", "SetMask"]);
    check(&area("Share(width: 1.5)"), "", &["width"]);
    let range = r#""told": SetTimestepRange(conditioning: "wanted", start: 0.5, end: 0.5),"#;
    check(range, "", &["`told.end`", "begins at 0.5 and ends at 0.5"]);
    let two = r#""two": CombineConditioning(conditioning: ["wanted", "empty"]),"#;
    let mixed = r#""told": AverageConditioning(conditioning: "wanted", other: "two"),"#;
    check(
        &format!("{two}{mixed}"),
        "",
        &["has 2 entries", "mix before"],
    );
    let joined = r#""told": ConcatConditioning(conditioning: ["wanted", "two"]),"#;
    check(
        &format!("{two}{joined}"),
        "",
        &["only the first may have several"],
    );
    let second = r#""part": SetArea(conditioning: "empty", area: Pixels(width: 40, height: 8)),
        "told": CombineConditioning(conditioning: ["wanted", "part"]),"#;
    check(second, "", &["entry 2 of 2: the area 40×8"]);
    let told = r#""told": SetStrength(conditioning: "wanted", strength: 1.0),"#;
    check(
        told,
        r#"guidance: Image(), "#,
        &["`bad.guidance`", "shown no picture"],
    );
    let strong = r#""told": SetStrength(conditioning: "wanted", strength: 11.0),"#;
    check(strong, "", &["strength"]);
}

#[test]
fn a_network_is_walked_as_the_graph_says_it_was_trained_and_is_in_memory_once() {
    let mut lab = Lab::new();
    let mut walk = |node: &str| {
        let nodes = format!(
            r#"{MODEL}
            "trained": {node},
            "plain": Denoise(
                unet: "model", latent: "noise", positive: "wanted", negative: "empty", steps: 3,
            ),
            "latent": Denoise(
                unet: "trained", latent: "noise", positive: "wanted", negative: "empty", steps: 3,
            ),"#
        );
        let report = lab.run(&nodes, &["latent", "plain", "trained", "model"]);
        let latent = |name: &str| {
            let latent = report.value::<Latent>(name).unwrap();
            latent.numbers.numbers().to_vec()
        };
        let identity = |name: &str| report.values[name].identity();
        let loads = lab.loads.iter().filter(|what| *what == "Unet").count();
        assert!(loads <= 1, "{:?}", lab.loads);
        (
            latent("latent.latent"),
            latent("plain.latent"),
            identity("trained.unet") == identity("model.unet"),
        )
    };
    let (alike, plain, same) = walk(r#"ModelSampling(unet: "model", prediction: Epsilon)"#);
    assert!(alike == plain && same, "nothing else was said");
    for node in [
        r#"ModelSampling(unet: "model", prediction: Velocity)"#,
        r#"ModelSampling(unet: "model", prediction: X0)"#,
        r#"ModelSampling(unet: "model", betas: ScaledLinear())"#,
        r#"ModelSampling(unet: "model", betas: Cosine)"#,
        r#"ModelSampling(unet: "model", prediction: Velocity, zero_snr: Diffusers)"#,
        r#"ModelSampling(unet: "model", betas: ScaledLinear(), zero_snr: ComfyUi)"#,
        r#"ModelSampling(unet: "model", prediction: Edm, betas: Edm())"#,
    ] {
        let (other, plain, same) = walk(node);
        assert!(apart(&other, &plain) > 1e-3 && !same, "{node}");
    }
}

#[test]
fn a_schedule_that_is_none_is_a_planning_error() {
    let lab = Lab::new();
    let betas = "betas: Linear(start: 0.5, end: 0.1)";
    let nodes = format!(r#"{MODEL}"bad": ModelSampling(unet: "model", {betas}),"#);
    let said = lab.refusal(&nodes);
    assert!(
        said.contains("`bad.betas`") && said.contains("from 0.5 to 0.1"),
        "{said}"
    );
    // The paper's noise rises above ComfyUI's last level before the last timestep.
    let nodes = format!(r#"{MODEL}"bad": ModelSampling(unet: "model", zero_snr: ComfyUi),"#);
    let said = lab.refusal(&nodes);
    assert!(
        said.contains("`bad.zero_snr`") && said.contains("`Diffusers` fits"),
        "{said}"
    );
}

#[test]
fn a_network_with_classes_is_told_one_of_its_own() {
    let mut lab = Lab::new();
    let label = Some(LabelConfig::Classes(4));
    lab.model(
        "classes",
        &Tiny {
            label,
            ..Tiny::default()
        },
    );
    let nodes = |class: &str| {
        format!(
            r#"{MODEL}
            "classes": LoadModel(path: "weights/classes"),
            "told": {class},
            "latent": Denoise(unet: "classes", latent: "noise", positive: "told", steps: 3),"#
        )
    };
    let told = |class: usize| {
        nodes(&format!(
            r#"SetClass(conditioning: "wanted", class: {class})"#
        ))
    };
    let mut walk = |class| {
        let report = lab.run(&told(class), &["latent"]);
        let latent = report.value::<Latent>("latent.latent").unwrap();
        latent.numbers.numbers().to_vec()
    };
    assert!(apart(&walk(0), &walk(3)) > 1e-3);
    let said = lab.refusal(&nodes(r#"SetStrength(conditioning: "wanted")"#));
    assert!(
        said.contains("with a class") && said.contains("SetClass"),
        "{said}"
    );
    let without = told(1).replace(r#"unet: "classes""#, r#"unet: "model""#);
    let said = lab.refusal(&without);
    assert!(
        said.contains("was trained without classes") && said.contains("leave `SetClass` out"),
        "{said}"
    );
    let plan = lab.plan(&told(4), &["latent"]).unwrap();
    let report = Run::new(&plan, &lab.host, &lab.cache).go(&mut |_| {});
    let failure = report.failures[0].to_string();
    assert!(
        failure.contains("knows classes 0 to 3, found 4"),
        "{failure}"
    );
}
