//! A checkpoint as others write it, of a few channels; and the nodes that load it.

use std::collections::BTreeMap;
use std::path::Path;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{DType, Device, Tensor};
use ldm_engine::Data;
use ldm_models::autoencoder::{KlAutoencoderConfig, VaeConfig};
use ldm_models::noise::Noise;
use ldm_models::text::{ClipConfig, TextConfig, TextTransformerConfig};
use ldm_models::unet::{Heads, UNetConfig};
use ldm_models::weights::{Family, KeyTable, SaveAs, TensorWriter};

use super::Lab;
use crate::values::{TextEncoder, Unet, Vae};

fn unet() -> UNetConfig {
    UNetConfig {
        in_channels: 4,
        out_channels: 4,
        model_channels: 32,
        channel_mult: vec![1, 2],
        num_res_blocks: 1,
        attention_resolutions: vec![1],
        heads: Heads::Count(8),
        context_dim: Some(8),
        transformer_depth: vec![1],
        middle_depth: None,
        label: None,
        scale_shift: false,
        resblock_updown: false,
        groups: 32,
    }
}

fn vae() -> VaeConfig {
    VaeConfig::Kl(KlAutoencoderConfig {
        in_channels: 3,
        ch: 32,
        ch_mult: vec![1, 1, 1, 1],
        num_res_blocks: 1,
        attn_resolutions: vec![],
        resolution: 256,
        z_channels: 4,
        embed_dim: 4,
        groups: 32,
    })
}

fn clip() -> ClipConfig {
    ClipConfig {
        width: 8,
        layers: 1,
        heads: 1,
        feed: 16,
        ..ClipConfig::vit_l()
    }
}

/// Tensors of a family's files, and random numbers for each.
struct Checkpoint {
    shapes: BTreeMap<String, Vec<usize>>,
    table: KeyTable,
    path: Vec<String>,
    /// The tensor that holds one NaN.
    odd: &'static str,
}

impl Checkpoint {
    fn add<M: Module>(&mut self, network: &M, table: KeyTable) {
        self.table = table;
        network.visit(self);
    }

    fn write(self, path: &Path) {
        let (mut writer, mut noise) = (TensorWriter::default(), Noise::new(11));
        let device = Device::flex();
        for (name, shape) in self.shapes {
            let zeros = Tensor::<1>::zeros([shape.iter().product::<usize>()], &device);
            let mut numbers = noise.like(&zeros) * 0.2;
            if name == self.odd {
                let nan = Tensor::<1>::from_data([f32::NAN], &device);
                numbers = numbers.slice_assign(0..1, nan);
            }
            match shape[..] {
                [a, b] => writer.tensor(&name, &numbers.reshape([a, b])),
                [a, b, c, d] => writer.tensor(&name, &numbers.reshape([a, b, c, d])),
                _ => writer.tensor(&name, &numbers),
            }
        }
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        writer.write(path, SaveAs::F32).unwrap();
    }
}

impl ModuleVisitor for Checkpoint {
    fn enter_module(&mut self, name: &str, container: &str) {
        if !container.starts_with("Enum:") {
            self.path.push(name.to_owned());
        }
    }

    fn exit_module(&mut self, _: &str, container: &str) {
        if !container.starts_with("Enum:") {
            self.path.pop();
        }
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let shape = param.lazy_shape().dims::<D>();
        let source = self.table.source(&self.path.join("."), &shape);
        let mut shape = source.shape;
        // Projections around a transformer stand there as convolutions.
        if source.key.contains(".proj_") && shape.len() == 2 {
            shape.extend([1, 1]);
        }
        self.shapes.insert(source.key, shape);
    }
}

/// Writes Stable Diffusion 1's layout with a few channels.
pub(super) fn make(path: &Path) {
    make_with(path, &TextConfig::Clip(clip()), "cond_stage_model.", "");
}

fn make_with(path: &Path, text: &TextConfig, before: &str, odd: &'static str) {
    let (device, family) = (Device::flex(), Family::CompVis);
    let mut file = Checkpoint {
        shapes: BTreeMap::new(),
        table: KeyTable::native(),
        path: vec![],
        odd,
    };
    let table = KeyTable::unet(family, &unet()).under("model.diffusion_model.");
    file.add(&unet().init(&device, 0).unwrap(), table);
    let table = autoencoder_table(family).under("first_stage_model.");
    file.add(&vae().init(&device, 0).unwrap(), table);
    let table = KeyTable::text_encoder(family, text).under(before);
    file.add(&text.init(&device, 0).unwrap(), table);
    file.write(path);
}

fn autoencoder_table(family: Family) -> KeyTable {
    KeyTable::autoencoder(family, &vae())
}

const CHECKPOINT: &str = r#"
    "checkpoint": LoadCheckpoint(path: "checkpoints/model.safetensors"),
    "wanted": TextEncode(text_encoder: "checkpoint", text: "a (red:1.2) house"),
    "noise": EmptyLatent(vae: "checkpoint", width: 32, height: 16, batch: 1),
    "latent": Denoise(
        unet: "checkpoint", latent: "noise", positive: "wanted", steps: 2, cfg: 1.0, seed: 3,
    ),
    "image": VaeDecode(vae: "checkpoint", latent: "latent"),
"#;

#[test]
fn a_checkpoint_draws_from_words_to_a_picture() {
    let mut lab = Lab::new();
    let ran = lab.run(CHECKPOINT, &["image"]);
    assert!(ran.done.ran.contains(&"image".to_owned()));
    let mut loads = lab.loads.clone();
    loads.sort();
    assert_eq!(loads, ["TextEncoder", "Unet", "Vae"]);
    assert!(lab.notes.is_empty(), "{:?}", lab.notes);
}

#[test]
fn a_network_alone_is_the_one_of_the_whole() {
    let mut lab = Lab::new();
    let path = r#"path: "checkpoints/model.safetensors""#;
    let nodes = format!(
        r#""all": LoadCheckpoint({path}), "unet": LoadUnet({path}), "vae": LoadVae({path}),
        "text": LoadTextEncoder({path}), "other": LoadVae({path}, scale: 0.13025),"#
    );
    let ran = lab.run(&nodes, &["all", "unet", "vae", "text", "other"]);
    let all = |output: &str| &ran.values[&format!("all.{output}")];
    let (unet, alone) = (
        all("unet").get::<Unet>(),
        ran.values["unet.unet"].get::<Unet>(),
    );
    assert_eq!(unet.unwrap().identity(), alone.unwrap().identity());
    let (vae, alone) = (all("vae").get::<Vae>(), ran.values["vae.vae"].get::<Vae>());
    let vae = vae.unwrap();
    assert_eq!(vae.identity(), alone.unwrap().identity());
    let text = all("text_encoder").get::<TextEncoder>();
    let alone = ran.values["text.text_encoder"].get::<TextEncoder>();
    assert_eq!(text.unwrap().identity(), alone.unwrap().identity());
    let other = ran.values["other.vae"].get::<Vae>().unwrap();
    assert_eq!(other.about().scale, 0.13025);
    assert_ne!(other.identity(), vae.identity());
}

#[test]
fn odd_numbers_are_told_with_the_tensors_name() {
    let mut lab = Lab::new();
    let path = lab.folder.path().join("checkpoints/model.safetensors");
    let text = TextConfig::Clip(clip());
    let odd = "first_stage_model.encoder.conv_in.bias";
    make_with(&path, &text, "cond_stage_model.", odd);
    lab.run(CHECKPOINT, &["image"]);
    let [told] = &lab.notes[..] else {
        panic!("{:?}", lab.notes);
    };
    let wanted = format!("`{odd}` holds 1 numbers that are NaN, infinite or too large");
    assert!(told.starts_with(&wanted), "{told}");
}

#[test]
fn what_cannot_be_loaded_is_refused_while_planning() {
    let lab = Lab::new();
    let at = |name: &str| lab.folder.path().join("checkpoints").join(name);
    let bert = TextTransformerConfig {
        vocab_size: 30,
        max_length: 5,
        width: 8,
        layers: 1,
        heads: 8,
        head_width: 2,
    };
    make_with(
        &at("bert.safetensors"),
        &TextConfig::Bert(bert),
        "cond_stage_model.transformer.",
        "",
    );
    std::fs::write(at("page.safetensors"), "<html>not found</html>").unwrap();
    let device = Device::flex();
    let mut other = TensorWriter::default();
    other.tensor("a", &Tensor::<1>::zeros([2], &device).cast(DType::F32));
    other.write(&at("other.safetensors"), SaveAs::F32).unwrap();
    let whole = std::fs::read(at("model.safetensors")).unwrap();
    let name = br#""model.diffusion_model.out.2.bias":"#;
    let place = whole.windows(name.len()).position(|w| w == name).unwrap();
    let mut lacking = whole.clone();
    lacking[place + 1..place + 6].copy_from_slice(b"other");
    std::fs::write(at("lacking.safetensors"), lacking).unwrap();
    for (node, wanted) in [
        (
            r#"LoadCheckpoint(path: "checkpoints/page.safetensors")"#,
            "is a web page",
        ),
        (
            r#"LoadCheckpoint(path: "checkpoints/other.safetensors")"#,
            "holds no network",
        ),
        (
            r#"LoadUnet(path: "checkpoints/other.safetensors")"#,
            "holds no UNet",
        ),
        (
            r#"LoadVae(path: "checkpoints/other.safetensors")"#,
            "holds no autoencoder",
        ),
        (
            r#"LoadTextEncoder(path: "checkpoints/other.safetensors")"#,
            "holds no text encoder",
        ),
        (
            r#"LoadUnet(path: "checkpoints/lacking.safetensors")"#,
            "1 missing:\n    `model.diffusion_model.out.2.bias`, wanted [4]",
        ),
        (
            r#"LoadUnet(path: "checkpoints/model.safetensors", ema: true)"#,
            "holds no averages of its weights",
        ),
        (
            r#"LoadUnet(path: "checkpoints/model.safetensors", variant: "fp16")"#,
            "is one file, which has no `variant`",
        ),
        (
            r#"LoadCheckpoint(path: "checkpoints/bert.safetensors")"#,
            "no checkpoint holds its words",
        ),
    ] {
        let said = lab.refusal(&format!("\"a\": {node},"));
        assert!(said.contains(wanted), "wanted {wanted:?} in\n{said}");
    }
}

#[test]
fn a_text_encoder_without_words_takes_those_of_a_file() {
    let mut lab = Lab::new();
    let bert = TextTransformerConfig {
        vocab_size: 30,
        max_length: 5,
        width: 8,
        layers: 1,
        heads: 8,
        head_width: 2,
    };
    let path = lab.folder.path().join("checkpoints/bert.safetensors");
    make_with(
        &path,
        &TextConfig::Bert(bert),
        "cond_stage_model.transformer.",
        "",
    );
    let words = "[PAD]\n[UNK]\n[CLS]\n[SEP]\na\nred\nhouse\n";
    std::fs::write(lab.folder.path().join("vocab.txt"), words).unwrap();
    let nodes = r#"
        "model": LoadCheckpoint(path: "checkpoints/bert.safetensors", vocab: "vocab.txt"),
        "wanted": TextEncode(text_encoder: "model", text: "a red house"),
    "#;
    let ran = lab.run(nodes, &["wanted"]);
    assert!(ran.done.ran.contains(&"wanted".to_owned()));
}

/// Writes a folder of diffusers with a few channels, without a tokenizer.
fn make_folder(at: &Path) {
    let (device, family) = (Device::flex(), Family::Diffusers);
    let write = |add: &dyn Fn(&mut Checkpoint), inside: &str, json: &str| {
        let mut file = Checkpoint {
            shapes: BTreeMap::new(),
            table: KeyTable::native(),
            path: vec![],
            odd: "",
        };
        add(&mut file);
        file.write(&at.join(inside).join("diffusion_pytorch_model.safetensors"));
        std::fs::write(at.join(inside).join("config.json"), json).unwrap();
    };
    let unet_of = |file: &mut Checkpoint| {
        let network = unet().init(&device, 0).unwrap();
        file.add(&network, KeyTable::unet(family, &unet()));
    };
    write(
        &unet_of,
        "unet",
        r#"{"_class_name": "UNet2DConditionModel", "attention_head_dim": 8}"#,
    );
    let vae_of = |file: &mut Checkpoint| {
        file.add(&vae().init(&device, 0).unwrap(), autoencoder_table(family));
    };
    write(
        &vae_of,
        "vae",
        r#"{"_class_name": "AutoencoderKL", "scaling_factor": 1.0}"#,
    );
    let text = TextConfig::Clip(clip());
    let text_of = |file: &mut Checkpoint| {
        let network = text.init(&device, 0).unwrap();
        file.add(&network, KeyTable::text_encoder(family, &text));
    };
    let json = r#"{"hidden_act": "quick_gelu", "num_attention_heads": 1}"#;
    write(&text_of, "text_encoder", json);
}

const FOLDER: &str = r#"
    "folder": LoadCheckpoint(path: "models/tiny"),
    "wanted": TextEncode(text_encoder: "folder", text: "a red house"),
    "noise": EmptyLatent(vae: "folder", width: 32, height: 16, batch: 1),
    "latent": Denoise(
        unet: "folder", latent: "noise", positive: "wanted", steps: 1, cfg: 1.0,
    ),
"#;

#[test]
fn a_folder_without_a_tokenizer_is_read_with_clips_words_and_that_is_told() {
    let mut lab = Lab::new();
    let at = lab.folder.path().join("models/tiny");
    make_folder(&at);
    lab.run(FOLDER, &["latent"]);
    let wanted = format!(
        "{} has no tokenizer; texts are cut by CLIP's own words",
        at.display()
    );
    assert!(
        lab.notes.iter().any(|note| note.starts_with(&wanted)),
        "{:?}",
        lab.notes
    );
    let vocabulary = r#"{"<|startoftext|>": 0, "<|endoftext|>": 1, "a</w>": 2}"#;
    std::fs::create_dir_all(at.join("tokenizer")).unwrap();
    std::fs::write(at.join("tokenizer/vocab.json"), vocabulary).unwrap();
    std::fs::write(at.join("tokenizer/merges.txt"), "#version: 0.2\n").unwrap();
    lab.run(FOLDER, &["latent"]);
    assert!(lab.notes.is_empty(), "{:?}", lab.notes);
}

#[test]
fn what_is_wrong_with_a_folder_is_told_where_it_was_found() {
    let lab = Lab::new();
    let at = lab.folder.path().join("models/tiny");
    make_folder(&at);
    let said = |words: &[&str]| {
        let said = lab.refusal(FOLDER);
        for words in words {
            assert!(said.contains(words), "wanted {words:?} in:\n{said}");
        }
    };
    let shown = |inside: &str| at.join(inside).display().to_string();
    let (unet, config) = (shown("unet"), at.join("unet/config.json"));
    let whole = std::fs::read_to_string(&config).unwrap();
    let other = whole.replace('}', r#", "cross_attention_dim": 768}"#);
    std::fs::write(&config, other).unwrap();
    said(&[
        "`folder.path`",
        &unet,
        "says cross_attention_dim is 768, but its tensors say 8",
    ]);
    std::fs::remove_file(&config).unwrap();
    let no_config = format!("{unet} has weights and no `config.json`");
    said(&["`latent.unet`: there is no `folder.unet`", &no_config]);
    let alone = lab.refusal(r#""a": LoadUnet(path: "models/tiny"),"#);
    let none = format!("{} holds no UNet that is known here", at.display());
    assert!(
        alone.contains(&none) && alone.contains(&no_config),
        "{alone}"
    );
    std::fs::rename(at.join("unet"), at.join("transformer")).unwrap();
    std::fs::write(at.join("transformer/config.json"), &whole).unwrap();
    let transformer = format!("{} holds a transformer", shown("transformer"));
    said(&["`latent.unet`: there is no `folder.unet`", &transformer]);
    std::fs::rename(at.join("transformer"), at.join("unet")).unwrap();
    std::fs::remove_file(&config).unwrap();
    for other in ["text_encoder", "vae"] {
        std::fs::remove_dir_all(at.join(other)).unwrap();
    }
    let none = format!("{} holds no network that is known here", at.display());
    said(&["`folder.path`", &none, &no_config]);
}

#[test]
fn what_is_wrong_with_one_network_keeps_nobody_from_another() {
    let mut lab = Lab::new();
    let at = lab.folder.path().join("models/tiny");
    make_folder(&at);
    std::fs::write(
        at.join("unet/config.json"),
        r#"{"cross_attention_dim": 768}"#,
    )
    .unwrap();
    lab.refusal(r#""a": LoadUnet(path: "models/tiny"),"#);
    lab.run(r#""a": LoadVae(path: "models/tiny"),"#, &["a"]);
    lab.run(r#""a": LoadTextEncoder(path: "models/tiny"),"#, &["a"]);
}
