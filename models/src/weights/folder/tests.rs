//! Folders of diffusers, made here from networks of a few channels.

use std::fs;
use std::path::PathBuf;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{DType, Device, Tensor};

use super::super::{Family, KeyTable, NoPatch, SaveAs, TensorWriter, load, save};
use super::*;
use crate::autoencoder::KlAutoencoderConfig;
use crate::prediction::Prediction;
use crate::schedule::Betas;
use crate::text::Activation;
use crate::unet::{Heads, UNetConfig};

struct Disk(PathBuf);

impl Files for Disk {
    fn path(&self) -> &Path {
        &self.0
    }
    fn is_folder(&self) -> bool {
        self.0.is_dir()
    }
    fn has(&self, inside: &str) -> bool {
        self.0.join(inside).is_file()
    }
    fn text(&self, inside: &str) -> Result<String> {
        let path = self.0.join(inside);
        fs::read_to_string(&path).map_err(|e| Error::file(&path, "cannot be read", e))
    }
    fn tensors(&self, inside: &str) -> Result<TensorFile> {
        TensorFile::open(&match inside {
            "" => self.0.clone(),
            inside => self.0.join(inside),
        })
    }
}

fn unet() -> UNetConfig {
    UNetConfig {
        in_channels: 4,
        out_channels: 4,
        model_channels: 32,
        channel_mult: vec![1, 2],
        num_res_blocks: 1,
        attention_resolutions: vec![1],
        heads: Heads::Count(4),
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
        ch_mult: vec![1, 1],
        num_res_blocks: 1,
        attn_resolutions: vec![],
        resolution: 256,
        z_channels: 4,
        embed_dim: 4,
        groups: 32,
    })
}

fn clip(width: usize) -> ClipConfig {
    ClipConfig {
        vocab_size: 12,
        max_length: 6,
        width,
        layers: 2,
        heads: 2,
        feed: 3 * width,
        projection: None,
        layer: 1,
        norm: true,
        pad: 0,
        end: None,
        ..ClipConfig::vit_h()
    }
}

/// The numbers of every parameter, in order.
fn numbers<M: Module>(network: &M) -> Vec<Vec<f32>> {
    struct Read(Vec<Vec<f32>>);
    impl ModuleVisitor for Read {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let data = param.val().into_data().convert::<f32>();
            self.0.push(data.try_to_vec().unwrap());
        }
    }
    let mut read = Read(vec![]);
    network.visit(&mut read);
    read.0
}

/// Writes a network under the names of `table`, by way of our own: a name's layout is turned
/// where the family's is.
fn written<M: Module>(network: &M, table: &KeyTable, path: &Path) {
    let mut writer = TensorWriter::default();
    for (name, shape, numbers) in foreign(network, table) {
        let flat = Tensor::<1>::from_data(&numbers[..], &Device::flex());
        match shape[..] {
            [a, b] => writer.tensor(&name, &flat.reshape([a, b])),
            [a, b, c, d] => writer.tensor(&name, &flat.reshape([a, b, c, d])),
            _ => writer.tensor(&name, &flat),
        }
    }
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    writer.write(path, SaveAs::F32).unwrap();
}

/// Every tensor of a family's file, its numbers those of `network`.
fn foreign<M: Module>(network: &M, table: &KeyTable) -> Vec<(String, Vec<usize>, Vec<f32>)> {
    let native = super::super::load::plan(network, &KeyTable::native());
    let theirs = super::super::load::plan(network, table);
    let mut out = vec![];
    for (((_, ours), (_, source)), numbers) in native.iter().zip(theirs).zip(numbers(network)) {
        let turned = ours.shape != source.shape && source.shape.len() == 2;
        let numbers = match (turned, &ours.shape[..]) {
            (true, [rows, columns]) => (0..rows * columns)
                .map(|i| numbers[i % rows * columns + i / rows])
                .collect(),
            _ if source.transposed() => {
                let side = ours.shape[0];
                (0..side * side)
                    .map(|i| numbers[i % side * side + i / side])
                    .collect()
            }
            _ => numbers,
        };
        out.push((source.key, source.shape, numbers));
    }
    out
}

const UNET_JSON: &str = r#"{"_class_name": "UNet2DConditionModel", "attention_head_dim": 4}"#;
const VAE_JSON: &str = r#"{"_class_name": "AutoencoderKL", "scaling_factor": 0.5,
    "force_upcast": false}"#;
const TEXT_JSON: &str =
    r#"{"hidden_act": "quick_gelu", "num_attention_heads": 2, "eos_token_id": 11}"#;
const SCHEDULER_JSON: &str = r#"{"beta_schedule": "scaled_linear", "beta_start": 0.001,
    "beta_end": 0.02, "prediction_type": "v_prediction"}"#;

const WEIGHTS_FILE: &str = "diffusion_pytorch_model.safetensors";

/// A folder with all that one of diffusers has.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let (at, device) = (folder.path(), Device::flex());
    let family = Family::Diffusers;
    let network = unet().init(&device, 1).unwrap();
    written(
        &network,
        &KeyTable::unet(family, &unet()),
        &at.join("unet").join(WEIGHTS_FILE),
    );
    let network = vae().init(&device, 1).unwrap();
    let table = detect::Part {
        config: vae(),
        family,
        prefix: String::new(),
    };
    written(&network, &table.table(), &at.join("vae").join(WEIGHTS_FILE));
    let config = TextConfig::Clip(clip(8));
    let network = config.init(&device, 1).unwrap();
    let table = KeyTable::text_encoder(family, &config);
    written(&network, &table, &at.join("text_encoder/model.safetensors"));
    fs::create_dir_all(at.join("scheduler")).unwrap();
    fs::create_dir_all(at.join("tokenizer")).unwrap();
    for (name, text) in [
        ("unet/config.json", UNET_JSON),
        ("vae/config.json", VAE_JSON),
        ("text_encoder/config.json", TEXT_JSON),
        (SCHEDULER, SCHEDULER_JSON),
        (
            "tokenizer/special_tokens_map.json",
            r#"{"pad_token": "<|endoftext|>"}"#,
        ),
        (
            "tokenizer/tokenizer_config.json",
            r#"{"pad_token": {"content": "b"}}"#,
        ),
        (
            "tokenizer/tokenizer.json",
            r#"{"model": {"vocab": {"a": 3, "b": 4}}}"#,
        ),
    ] {
        fs::write(at.join(name), text).unwrap();
    }
    folder
}

fn look(folder: &tempfile::TempDir) -> Result<Found> {
    Found::look(&Disk(folder.path().to_path_buf()), Wanted::ALL, None)
}

fn refused(folder: &tempfile::TempDir, wanted: &str) {
    let said = look(folder).unwrap_err().to_string();
    assert!(said.contains(wanted), "wanted {wanted:?} in {said:?}");
}

#[test]
fn a_folder_of_diffusers_is_its_networks_and_what_its_configurations_say() {
    let folder = folder();
    let found = look(&folder).unwrap();
    let disk = Disk(folder.path().to_path_buf());
    let (denoiser, place) = found.unet.unwrap();
    assert_eq!(denoiser.part.config, unet());
    assert_eq!(denoiser.prediction, Prediction::Velocity);
    let betas = Betas::ScaledLinear {
        start: 0.001,
        end: 0.02,
    };
    assert_eq!((denoiser.schedule.betas, denoiser.scale), (betas, 0.5));
    let file = open(&disk, &place).unwrap();
    let fresh = unet().init(&Device::flex(), 2).unwrap();
    let loaded = load(fresh, &file, &denoiser.part.table(), DType::F32, &NoPatch).unwrap();
    assert_eq!(
        numbers(&loaded),
        numbers(&unet().init(&Device::flex(), 1).unwrap())
    );

    let (coder, _) = found.vae.unwrap();
    assert_eq!((coder.part.config, coder.scale), (vae(), 0.5));
    assert!(coder.fits_f16);
    let (reader, _) = found.text.unwrap();
    let wanted = ClipConfig {
        activation: Activation::QuickGelu,
        end: Some(11),
        pad: 4,
        ..clip(8)
    };
    assert_eq!(reader.part.config, TextConfig::Clip(wanted));
    assert!(reader.tokenizer.unwrap().contains("vocab"));
}

#[test]
fn a_networks_own_folder_is_one_too() {
    let folder = folder();
    let disk = Disk(folder.path().join("vae"));
    let found = Found::look(&disk, Wanted::ALL, None).unwrap();
    assert!(found.vae.is_some() && found.unet.is_none() && found.text.is_none());
}

#[test]
fn a_network_that_is_there_and_not_taken_is_told_with_the_reason() {
    let unread = |folder: &tempfile::TempDir| {
        let found = look(folder).unwrap();
        let unread = found.unread.into_iter();
        unread.map(|one| (one.output, one.why)).collect::<Vec<_>>()
    };
    let folder = folder();
    assert_eq!(unread(&folder), []);
    let (unet, vae) = (folder.path().join("unet"), folder.path().join("vae"));
    fs::copy(vae.join(WEIGHTS_FILE), unet.join(WEIGHTS_FILE)).unwrap();
    let [("unet", why)] = &unread(&folder)[..] else {
        panic!("{:?}", unread(&folder));
    };
    let wanted = format!("{} holds an autoencoder, wanted a UNet", unet.display());
    assert!(why.starts_with(&wanted), "{why}");
    fs::remove_file(vae.join("config.json")).unwrap();
    let found = unread(&folder);
    assert_eq!((found.len(), found[1].0), (2, "vae"));
    let wanted = format!("{} has weights and no `config.json`", vae.display());
    assert!(found[1].1.starts_with(&wanted), "{found:?}");
    // What is not wanted is not looked for.
    let disk = Disk(folder.path().to_path_buf());
    let text = Wanted {
        unet: false,
        vae: false,
        text: true,
    };
    assert_eq!(Found::look(&disk, text, None).unwrap().unread, []);
}

#[test]
fn a_folder_of_hugging_faces_cache_is_told_where_its_model_is() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("refs")).unwrap();
    fs::write(folder.path().join("refs/main"), "0a1b\n").unwrap();
    let found = look(&folder).unwrap();
    assert!(
        found.unread[0].why.contains("`snapshots/0a1b`: name that"),
        "{:?}",
        found.unread
    );
    fs::write(folder.path().join("refs/main"), "../../a").unwrap();
    assert_eq!(look(&folder).unwrap().unread, []);
}

#[test]
fn the_second_of_two_text_encoders_stands_alone_or_not_at_all() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    fs::rename(at("text_encoder"), at("text_encoder_2")).unwrap();
    let Some((reader, _)) = look(&folder).unwrap().text else {
        panic!("the refiner has no other");
    };
    let TextConfig::Clip(clip) = reader.part.config else {
        panic!("one, not {:?}", reader.part.config);
    };
    assert_eq!((clip.layer, clip.norm), (2, false), "as in the single file");
    fs::create_dir(at("text_encoder")).unwrap();
    for name in ["model.safetensors", "config.json"] {
        fs::copy(
            at("text_encoder_2").join(name),
            at("text_encoder").join(name),
        )
        .unwrap();
    }
    fs::remove_file(at("text_encoder_2/config.json")).unwrap();
    let found = look(&folder).unwrap();
    assert!(found.text.is_none(), "half of a pair draws other pictures");
    assert!(
        found.unread[0]
            .why
            .contains("text_encoder_2 has weights and no")
    );
}

#[test]
fn a_configuration_of_another_network_is_refused_with_both_sides() {
    for (name, text, wanted) in [
        (
            "unet/config.json",
            r#"{"cross_attention_dim": 768}"#,
            "says cross_attention_dim is 768, but its tensors say 8",
        ),
        (
            "unet/config.json",
            r#"{"_class_name": "FluxTransformer2DModel"}"#,
            "says _class_name is FluxTransformer2DModel, but its tensors are those of UNet2D",
        ),
        (
            "unet/config.json",
            r#"{"block_out_channels": [32, 96]}"#,
            "says block_out_channels is [32,96], but its tensors say [32,64]",
        ),
        (
            "unet/config.json",
            r#"{"in_channels": 9}"#,
            "says in_channels is 9, but its tensors say 4",
        ),
        (
            "vae/config.json",
            r#"{"_class_name": "VQModel"}"#,
            "says _class_name is VQModel, but its tensors are those of AutoencoderKL",
        ),
        (
            "vae/config.json",
            r#"{"latent_channels": 16}"#,
            "says latent_channels is 16, but its tensors say 4",
        ),
        (
            "text_encoder/config.json",
            r#"{"hidden_size": 768}"#,
            "says hidden_size is 768, but its tensors say 8",
        ),
    ] {
        let folder = folder();
        fs::write(folder.path().join(name), text).unwrap();
        refused(&folder, wanted);
    }
    let folder = folder();
    let agrees = r#"{"cross_attention_dim": [8, 8], "block_out_channels": [32, 64],
        "in_channels": 4, "attention_head_dim": 4}"#;
    fs::write(folder.path().join("unet/config.json"), agrees).unwrap();
    assert!(look(&folder).unwrap().unet.is_some());
}

#[test]
fn full_precision_comes_before_half_unless_asked_for() {
    let folder = folder();
    let (full, half) = (
        folder.path().join("unet").join(WEIGHTS_FILE),
        folder
            .path()
            .join("unet/diffusion_pytorch_model.fp16.safetensors"),
    );
    fs::copy(&full, &half).unwrap();
    let disk = Disk(folder.path().to_path_buf());
    let wanted = Wanted {
        vae: false,
        text: false,
        ..Wanted::ALL
    };
    let taken = |variant| {
        let found = Found::look(&disk, wanted, variant);
        found.map(|found| found.unet.unwrap().1[0].0.clone())
    };
    assert_eq!(taken(None).unwrap(), format!("unet/{WEIGHTS_FILE}"));
    assert!(taken(Some("fp16")).unwrap().contains("fp16"));
    fs::remove_file(full).unwrap();
    assert!(taken(None).unwrap().contains("fp16"));
    let said = taken(Some("int8")).unwrap_err().to_string();
    assert!(
        said.contains("`unet/diffusion_pytorch_model.int8.safetensors`"),
        "{said}"
    );
}

/// Splits the U-Net's tensors over two files and lists them in an index.
fn split(folder: &tempfile::TempDir, both: &str) {
    let at = folder.path().join("unet");
    let network = unet().init(&Device::flex(), 1).unwrap();
    let table = KeyTable::unet(Family::Diffusers, &unet());
    let mut parts = [TensorWriter::default(), TensorWriter::default()];
    let mut map = BTreeMap::new();
    for (i, (name, shape, numbers)) in foreign(&network, &table).into_iter().enumerate() {
        let flat = Tensor::<1>::from_data(&numbers[..], &Device::flex());
        for (part, writer) in parts.iter_mut().enumerate() {
            if i % 2 != part && name != both {
                continue;
            }
            match shape[..] {
                [a, b] => writer.tensor(&name, &flat.clone().reshape([a, b])),
                [a, b, c, d] => writer.tensor(&name, &flat.clone().reshape([a, b, c, d])),
                _ => writer.tensor(&name, &flat),
            }
            map.insert(name.clone(), format!("part-{part}.safetensors"));
        }
    }
    for (part, writer) in parts.into_iter().enumerate() {
        writer
            .write(&at.join(format!("part-{part}.safetensors")), SaveAs::F32)
            .unwrap();
    }
    let index = serde_json::json!({"metadata": {"total_size": 1}, "weight_map": map});
    let name = format!("{WEIGHTS_FILE}.index.json");
    fs::write(at.join(name), serde_json::to_string(&index).unwrap()).unwrap();
    fs::remove_file(at.join(WEIGHTS_FILE)).unwrap();
}

#[test]
fn weights_in_parts_are_one_file() {
    let folder = folder();
    split(&folder, "");
    let (denoiser, place) = look(&folder).unwrap().unet.unwrap();
    assert_eq!(place.len(), 2);
    let file = open(&Disk(folder.path().to_path_buf()), &place).unwrap();
    let fresh = unet().init(&Device::flex(), 2).unwrap();
    let loaded = load(fresh, &file, &denoiser.part.table(), DType::F32, &NoPatch).unwrap();
    assert_eq!(
        numbers(&loaded),
        numbers(&unet().init(&Device::flex(), 1).unwrap())
    );
}

#[test]
fn parts_that_are_missing_doubled_or_elsewhere_are_refused() {
    let missing = folder();
    split(&missing, "");
    fs::remove_file(missing.path().join("unet/part-1.safetensors")).unwrap();
    refused(&missing, "part-1.safetensors cannot be read");
    let doubled = folder();
    split(&doubled, "conv_in.bias");
    refused(&doubled, "holds `conv_in.bias`, and so does");
    for (astray, wanted) in [
        (
            "../vae/diffusion_pytorch_model.safetensors",
            "wanted one beside it",
        ),
        ("/etc/passwd", "wanted one beside it"),
        ("", "wanted one beside it"),
    ] {
        let folder = folder();
        let index = serde_json::json!({"weight_map": {"a": astray}}).to_string();
        let at = folder.path().join("unet");
        fs::remove_file(at.join(WEIGHTS_FILE)).unwrap();
        fs::write(at.join(format!("{WEIGHTS_FILE}.index.json")), index).unwrap();
        refused(&folder, wanted);
    }
}

#[test]
fn a_configuration_that_is_none_is_told_with_its_name() {
    for (name, text, wanted) in [
        (
            "unet/config.json",
            "[1",
            "unet/config.json is no config.json of diffusers",
        ),
        (
            SCHEDULER,
            r#"{"beta_schedule": "x"}"#,
            "says beta_schedule is `x`, wanted",
        ),
        (
            SCHEDULER,
            r#"{"_class_name": "EDMEulerScheduler", "prediction_type": "epsilon"}"#,
            "says _class_name is EDMEulerScheduler, which adds noise by no betas",
        ),
        (
            SCHEDULER,
            r#"{"_class_name": "DPMSolverMultistepScheduler", "use_flow_sigmas": true}"#,
            "which adds noise by no betas",
        ),
        (
            SCHEDULER,
            r#"{"prediction_type": "flow"}"#,
            "says prediction_type is `flow`",
        ),
        (
            "text_encoder/config.json",
            r#"{"hidden_act": "relu"}"#,
            "says hidden_act is `relu`",
        ),
        ("tokenizer/tokenizer.json", "", ""),
    ] {
        let folder = folder();
        if text.is_empty() {
            // A vocabulary without its merges.
            fs::remove_file(folder.path().join(name)).unwrap();
            fs::write(folder.path().join("tokenizer/vocab.json"), "{}").unwrap();
            refused(&folder, "merges.txt");
        } else {
            fs::write(folder.path().join(name), text).unwrap();
            refused(&folder, wanted);
        }
    }
}

#[test]
fn two_text_encoders_are_one() {
    let folder = folder();
    let second = ClipConfig {
        projection: Some(5),
        ..clip(10)
    };
    let config = TextConfig::Clip(second);
    let network = config.init(&Device::flex(), 3).unwrap();
    let table = KeyTable::text_encoder(Family::Diffusers, &config);
    let at = folder.path().join("text_encoder_2");
    written(&network, &table, &at.join("model.safetensors"));
    fs::write(
        at.join("config.json"),
        r#"{"hidden_act": "gelu", "num_attention_heads": 2}"#,
    )
    .unwrap();
    let (reader, place) = look(&folder).unwrap().text.unwrap();
    let TextConfig::TwoClips { first, second } = &reader.part.config else {
        panic!("two, not {:?}", reader.part.config);
    };
    assert_eq!((first.width, first.layer, first.norm), (8, 2, false));
    assert_eq!((second.width, second.projection), (10, Some(5)));
    assert_eq!(second.activation, Activation::Gelu);
    let file = open(&Disk(folder.path().to_path_buf()), &place).unwrap();
    let fresh = reader.part.config.init(&Device::flex(), 9).unwrap();
    load(fresh, &file, &reader.part.table(), DType::F32, &NoPatch).unwrap();
}

#[test]
fn names_of_older_and_newer_code_are_known() {
    let folder = folder();
    let renamed = |path: &Path, from: &[(&str, &str)]| {
        let file = TensorFile::open(path).unwrap();
        let mut writer = TensorWriter::default();
        for name in file.names() {
            let numbers = file.read(&name).unwrap();
            let flat = Tensor::<1>::from_data(&numbers[..], &Device::flex());
            let new = from
                .iter()
                .fold(name.clone(), |name, (a, b)| name.replace(a, b));
            match file.shape(&name).unwrap() {
                [a, b] => writer.tensor(&new, &flat.reshape([*a, *b])),
                [a, b, c, d] => writer.tensor(&new, &flat.reshape([*a, *b, *c, *d])),
                _ => writer.tensor(&new, &flat),
            }
        }
        writer.write(path, SaveAs::F32).unwrap();
    };
    let old = [
        (".to_q.", ".query."),
        (".to_k.", ".key."),
        (".to_v.", ".value."),
        (".to_out.0.", ".proj_attn."),
    ];
    renamed(&folder.path().join("vae").join(WEIGHTS_FILE), &old);
    renamed(
        &folder.path().join("text_encoder/model.safetensors"),
        &[("text_model.", "")],
    );
    let found = look(&folder).unwrap();
    let disk = Disk(folder.path().to_path_buf());
    let (Coder { part, .. }, place) = found.vae.unwrap();
    let fresh = vae().init(&Device::flex(), 9).unwrap();
    let file = open(&disk, &place).unwrap();
    assert!(super::super::faults(&fresh, &file, &part.table()).is_empty());
    let (reader, place) = found.text.unwrap();
    let fresh = reader.part.config.init(&Device::flex(), 9).unwrap();
    let file = open(&disk, &place).unwrap();
    assert!(super::super::faults(&fresh, &file, &reader.part.table()).is_empty());
}

#[test]
fn averages_over_training_are_found_by_their_names_without_dots() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.safetensors");
    let device = Device::flex();
    let (now, average) = (
        unet().init(&device, 1).unwrap(),
        unet().init(&device, 2).unwrap(),
    );
    let table = KeyTable::unet(Family::CompVis, &unet()).under("model.diffusion_model.");
    let mut writer = TensorWriter::default();
    let mut put = |name: &str, shape: &[usize], numbers: &[f32]| {
        let flat = Tensor::<1>::from_data(numbers, &device);
        match *shape {
            [a, b] => writer.tensor(name, &flat.reshape([a, b])),
            [a, b, c, d] => writer.tensor(name, &flat.reshape([a, b, c, d])),
            _ => writer.tensor(name, &flat),
        }
    };
    for (name, shape, numbers) in foreign(&now, &table) {
        put(&name, &shape, &numbers);
    }
    for (name, shape, numbers) in foreign(&average, &table) {
        let name = name.strip_prefix("model.").unwrap().replace('.', "");
        put(&format!("model_ema.{name}"), &shape, &numbers);
    }
    put("model_ema.num_updates", &[1], &[3.0]);
    writer.write(&path, SaveAs::F32).unwrap();
    let loaded = |file: TensorFile| {
        let fresh = unet().init(&device, 3).unwrap();
        numbers(&load(fresh, &file, &table, DType::F32, &NoPatch).unwrap())
    };
    let file = || TensorFile::open(&path).unwrap();
    assert!(file().has_averages());
    assert_eq!(loaded(file()), numbers(&now));
    assert_eq!(loaded(file().averaged().unwrap()), numbers(&average));
    save(&now, &path, SaveAs::F32).unwrap();
    let said = file().averaged().unwrap_err().to_string();
    assert!(said.contains("holds no averages of its weights"), "{said}");
}
