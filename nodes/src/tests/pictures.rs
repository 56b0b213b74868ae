//! Pictures end to end: drawn, saved, changed, and found again.

use std::io::Cursor;

use ldm_engine::{Data, Event, Run, Stop};

use super::{Lab, MODEL};
use crate::values::{Conditioning, Image, Latent};

fn draw(extra: &str) -> String {
    format!(
        r#"{MODEL}
        "latent": Denoise(
            unet: "model", latent: "noise", positive: "wanted", negative: "empty",
            steps: 4, {extra}
        ),
        "image": VaeDecode(vae: "model", latent: "latent"),
        "save": SaveImage(image: "image", columns: 2, path: "sheet.png"),"#
    )
}

/// The text entry of a PNG that holds its graph.
fn recipe(png: &[u8]) -> Option<String> {
    let reader = png::Decoder::new(Cursor::new(png)).read_info().unwrap();
    let text = reader.info().utf8_text.first()?;
    assert_eq!(text.keyword, "ldm-graph");
    Some(text.get_text().unwrap())
}

#[test]
fn text_becomes_a_sheet_that_carries_the_graph_it_was_made_by() {
    let mut lab = Lab::new();
    lab.run(&draw("seed: 3"), &[]);
    let png = lab.file("save");
    let picture = image::load_from_memory(&png).unwrap();
    assert_eq!((picture.width(), picture.height()), (64, 16));
    let graph = recipe(&png).unwrap();
    for kind in [
        "LoadModel",
        "TextEncode",
        "Denoise",
        "VaeDecode",
        "SaveImage",
    ] {
        assert!(graph.contains(kind), "{graph}");
    }
    let folder = lab.folder.path().display().to_string();
    assert!(!graph.contains(&folder), "{graph}");
    let plan = lab.plan_text(graph, &[]).unwrap();
    let mut again = Lab::new();
    std::mem::swap(&mut again.host, &mut lab.host);
    again.host.out = lab.folder.path().join("again");
    again.carry_out(&plan);
    assert_eq!(
        again.file("save"),
        png,
        "the graph of a picture draws the picture"
    );
}

#[test]
fn no_graph_is_carried_where_none_is_wanted() {
    let mut lab = Lab::new();
    let nodes = r#""photo": LoadImage(path: "images/scene.png"),
        "save": SaveImage(image: "photo", path: "a.png", metadata: false),"#;
    lab.run(nodes, &[]);
    assert_eq!(recipe(&lab.file("save")), None);
}

#[test]
fn seed_text_guidance_and_sampler_each_matter_and_nothing_else_does() {
    let mut lab = Lab::new();
    let mut latent = |nodes: &str| {
        let report = lab.run(nodes, &["latent"]);
        report.value::<Latent>("latent.latent").unwrap().identity()
    };
    let first = latent(&draw("seed: 3"));
    let others = [
        draw("seed: 4"),
        draw("seed: 3, cfg: 2.0"),
        draw("seed: 3, denoise: 0.5"),
        draw("seed: 3, sampler: Ddim(eta: 1.0)"),
        draw("seed: 3, sampler: Ddpm()"),
        draw("seed: 3, sampler: Euler()"),
        draw("seed: 3, sampler: Euler(schedule: Karras())"),
        draw("seed: 3, sampler: EulerAncestral()"),
        draw("seed: 3").replace("a red house", "a blue house"),
    ];
    let mut seen = vec![first];
    for other in &others {
        let identity = latent(other);
        assert!(!seen.contains(&identity), "{other}");
        seen.push(identity);
    }
    let mut fresh = Lab::new();
    let report = fresh.run(&draw("seed: 3"), &["latent"]);
    assert_eq!(
        report.value::<Latent>("latent.latent").unwrap().identity(),
        first
    );
}

#[test]
fn the_noise_of_a_batch_is_one_draw_over_its_whole_shape() {
    use ldm_models::noise::Noise;
    let mut lab = Lab::new();
    let report = lab.run(&draw("seed: 5, sampler: Euler(), cfg: 1.0"), &["latent"]);
    let latent = report.value::<Latent>("latent.latent").unwrap();
    let shape = latent.numbers.shape();
    assert_eq!(shape, [2, 2, 2, 4]);
    // A walk ends near where its noise began; the second picture's began with the rest of the
    // same draw, not with a draw of its own.
    let alike = |seed| {
        let noise = Noise::new(seed).randn(&shape);
        let (first, second) = latent.numbers.numbers().split_at(16);
        [
            correlation(first, &noise[..16]),
            correlation(second, &noise[16..]),
        ]
    };
    assert!(alike(5).iter().all(|alike| *alike > 0.5), "{:?}", alike(5));
    let alone = Noise::new(6).randn(&[1, 2, 2, 4]);
    let second = correlation(&latent.numbers.numbers()[16..], &alone);
    assert!(second < 0.5, "{second}");
}

#[test]
fn a_stop_is_obeyed_at_the_next_step_and_what_had_finished_is_kept() {
    let lab = Lab::new();
    let plan = lab.plan(&draw("seed: 3"), &[]).unwrap();
    let (stop, mut steps) = (Stop::new(), Vec::new());
    let run = Run::new(&plan, &lab.host, &lab.cache).stopped_by(stop.clone());
    let report = run.go(&mut |event| match event {
        Event::Node(event) if *event.node == *"latent" && event.step.is_some() => {
            steps.extend(event.step);
            stop.stop();
        }
        _ => {}
    });
    assert!(steps.len() < 4, "{steps:?}");
    assert!(
        report.done.cancelled.contains(&"latent".to_owned()),
        "{:?}",
        report.done
    );
    assert!(
        report.done.ran.contains(&"wanted".to_owned()),
        "{:?}",
        report.done
    );
    let report = Run::new(&plan, &lab.host, &lab.cache).go(&mut |_| {});
    assert!(report.is_complete(), "{:?}", report.done);
    assert!(
        report.done.kept.contains(&"wanted".to_owned()),
        "{:?}",
        report.done
    );
}

fn correlation(a: &[f32], b: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[test]
fn at_strength_0_a_latent_comes_back_as_it_was() {
    let mut lab = Lab::new();
    let nodes = format!(
        r#"{MODEL}
        "photo": LoadImage(path: "images/scene.png"),
        "start": VaeEncode(vae: "model", image: "photo"),
        "drawn": VaeEncode(vae: "model", image: "photo", seed: 1),
        "latent": Denoise(unet: "model", latent: "start", positive: "wanted", denoise: 0.0),"#
    );
    let report = lab.run(&nodes, &["start", "latent", "drawn"]);
    let value = |name: &str| report.value::<Latent>(name).unwrap();
    assert_eq!(
        value("latent.latent").identity(),
        value("start.latent").identity()
    );
    assert_ne!(
        value("drawn.latent").identity(),
        value("start.latent").identity()
    );
    assert!(
        lab.notes
            .iter()
            .any(|note| note.contains("`cfg` does nothing"))
    );
}

#[test]
fn a_picture_and_its_mask_are_read_as_they_are() {
    let mut lab = Lab::new();
    let nodes = r#""photo": LoadImage(path: "images/scene.png"),"#;
    let report = lab.run(nodes, &["photo"]);
    let image = report.value::<Image>("photo.image").unwrap();
    assert_eq!(image.rgb8(0)[..6], [0, 0, 90, 8, 0, 90]);
    let mask = report.value::<crate::values::Mask>("photo.mask").unwrap();
    assert_eq!(mask.0.shape(), [1, 16, 32]);
    assert!(
        (mask.0.numbers()[3] - 3.0 / 255.0).abs() < 1e-6,
        "1 − alpha"
    );
}

#[test]
fn a_latent_that_was_saved_is_the_latent_that_is_loaded() {
    let mut lab = Lab::new();
    let nodes = format!(
        r#"{} "keep": SaveLatent(latent: "latent", path: "kept.safetensors"),"#,
        draw("seed: 1")
    );
    let report = lab.run(&nodes, &["latent", "keep"]);
    let saved = report.value::<Latent>("latent.latent").unwrap();
    let nodes = r#""stored": LoadLatent(path: "out/kept.safetensors"),"#;
    let report = lab.run(nodes, &["stored"]);
    assert_eq!(report.value::<Latent>("stored.latent").unwrap(), saved);
    let file = lab.folder.path().join("out/kept.safetensors");
    let file = ldm_models::weights::TensorFile::open(&file).unwrap();
    assert_eq!(file.names(), ["latent"]);
    assert_eq!(
        (file.shape("latent").unwrap(), file.dtype("latent").unwrap()),
        (&[2, 2, 2, 4][..], "F32".into())
    );
}

#[test]
fn a_model_that_was_saved_is_a_model_that_loads_and_saves_the_same() {
    let mut lab = Lab::new();
    let save = |from: &str, to: &str| {
        format!(
            r#""model": LoadModel(path: "{from}"),
            "save": SaveModel(unet: "model", vae: "model", text_encoder: "model", path: "{to}"),"#
        )
    };
    lab.run(&save("weights/text", "first"), &[]);
    assert_eq!(lab.wrote["save"].len(), 5, "{:?}", lab.wrote);
    lab.run(&save("out/first", "second"), &[]);
    for file in [
        "unet.safetensors",
        "vae.safetensors",
        "text_encoder.safetensors",
        "tokenizer.json",
    ] {
        let read =
            |model: &str| std::fs::read(lab.folder.path().join("out").join(model).join(file));
        assert_eq!(read("first").unwrap(), read("second").unwrap(), "{file}");
    }
    let nodes = draw("seed: 3").replace("weights/text", "out/first");
    lab.run(&nodes, &[]);
}

#[test]
fn weights_are_read_when_first_used_and_once_for_all_nodes() {
    let mut lab = Lab::new();
    lab.run(MODEL, &["model", "noise"]);
    assert!(lab.loads.is_empty(), "{:?}", lab.loads);
    let nodes = format!(
        r#"{MODEL}
        "one": VaeDecode(vae: "model", latent: "noise"),
        "again": LoadModel(path: "weights/text"),
        "two": VaeDecode(vae: "again", latent: "stored"),
        "stored": LoadLatent(path: "latent.safetensors"),"#
    );
    lab.run(&nodes, &["one", "two", "wanted", "empty"]);
    let mut loads = lab.loads.clone();
    loads.sort();
    assert_eq!(loads, ["TextEncoder", "Vae"]);
}

#[test]
fn joined_texts_keep_their_own_tokens_and_unknown_words_are_told() {
    let mut lab = Lab::new();
    let nodes = format!(
        r#"{MODEL}
        "strange": TextEncode(text_encoder: "model", text: "a zebra by the lake at night"),
        "both": ConcatConditioning(conditioning: ["wanted", "empty"]),"#
    );
    let report = lab.run(&nodes, &["wanted", "empty", "both", "strange"]);
    let tokens = |name: &str| {
        let told = report
            .value::<Conditioning>(&format!("{name}.conditioning"))
            .unwrap();
        told.entries[0].tokens.clone().unwrap().numbers().to_vec()
    };
    assert_eq!(tokens("both"), [tokens("wanted"), tokens("empty")].concat());
    assert!(
        lab.notes
            .iter()
            .any(|note| note.contains("never taught `zebra`")),
        "{:?}",
        lab.notes
    );
    assert!(
        lab.notes.iter().any(|note| note.contains("too long")),
        "{:?}",
        lab.notes
    );
}

#[test]
fn a_preview_goes_to_the_cache_folder_and_nowhere_else() {
    let mut lab = Lab::new();
    let nodes = r#""photo": LoadImage(path: "images/scene.png"),
        "look": Preview(image: "photo", size: 16),"#;
    lab.run(nodes, &[]);
    let note = lab
        .notes
        .iter()
        .find_map(|note| note.strip_prefix("preview: "))
        .unwrap();
    let small = image::open(note).unwrap();
    assert_eq!((small.width(), small.height()), (16, 8));
    assert!(!lab.folder.path().join("out").exists());
}

#[test]
fn a_scene_of_the_world_is_the_same_picture_for_the_same_number() {
    let mut lab = Lab::new();
    let nodes = |seed: u64, count: u32, split: &str| {
        format!(
            r#""scenes": WorldDataset(seed: {seed}, count: {count}, split: {split}),
            "scene": DatasetImage(dataset: "scenes", index: 2, count: 3),"#
        )
    };
    let mut image = |nodes: &str| {
        let report = lab.run(nodes, &["scene"]);
        (*report.value::<Image>("scene.image").unwrap()).clone()
    };
    let first = image(&nodes(1, 10, "Train"));
    assert_eq!(first.pixels().shape(), [3, 3, 64, 64]);
    assert_eq!(
        image(&nodes(1, 50, "Train")),
        first,
        "more scenes change none of the first"
    );
    assert_ne!(image(&nodes(2, 10, "Train")), first);
    assert_ne!(image(&nodes(1, 10, "Any")), first);
    assert_ne!(first.rgb8(0), first.rgb8(1));
}
