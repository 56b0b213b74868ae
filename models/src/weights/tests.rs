//! Round trips, foreign names, and files that do not fit.

use std::path::Path;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{DType, Device, Tensor};

use super::load::plan;
use super::manifest::{TextConfig, TextPart, UNetPart, VaeConfig, VaePart};
use super::*;
use crate::autoencoder::{KlAutoencoderConfig, VqAutoencoderConfig};
use crate::schedule::ScheduleConfig;
use crate::text::{ClipConfig, TextTransformerConfig};
use crate::tokenizer::Tokenizer;
use crate::unet::{Heads, UNetConfig};

fn vae() -> KlAutoencoderConfig {
    KlAutoencoderConfig {
        in_channels: 3,
        ch: 8,
        ch_mult: vec![1, 2],
        num_res_blocks: 1,
        attn_resolutions: vec![8],
        resolution: 16,
        z_channels: 4,
        embed_dim: 3,
        groups: 4,
    }
}

fn unet() -> UNetConfig {
    UNetConfig {
        in_channels: 3,
        out_channels: 3,
        model_channels: 8,
        channel_mult: vec![1, 2],
        num_res_blocks: 1,
        attention_resolutions: vec![2],
        heads: Heads::Count(2),
        context_dim: Some(12),
        transformer_depth: vec![1],
        groups: 4,
        middle_depth: None,
        label: None,
        scale_shift: false,
        resblock_updown: false,
    }
}

fn text() -> TextTransformerConfig {
    TextTransformerConfig {
        vocab_size: 11,
        max_length: 6,
        width: 12,
        layers: 2,
        heads: 3,
        head_width: 5,
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

fn native<M: Module>(network: M, path: &Path) -> Result<M, crate::error::Error> {
    load(
        network,
        &TensorFile::open(path)?,
        &KeyTable::native(),
        DType::F32,
        &NoPatch,
    )
}

#[test]
fn what_is_saved_is_loaded_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    let device = Device::flex();
    let path = folder.path().join("a.safetensors");
    let made = unet().init(&device, 1).unwrap();
    save(&made, &path, SaveAs::F32).unwrap();
    let other = unet().init(&device, 2).unwrap();
    let loaded = native(other.clone(), &path).unwrap();
    assert_ne!(numbers(&other), numbers(&made));
    assert_eq!(numbers(&loaded), numbers(&made));

    let again = folder.path().join("b.safetensors");
    save(&loaded, &again, SaveAs::F32).unwrap();
    assert_eq!(
        std::fs::read(&path).unwrap(),
        std::fs::read(&again).unwrap()
    );
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        2,
        "nothing is left beside"
    );
}

#[test]
fn half_precision_rounds_once_and_refuses_what_it_cannot_hold() {
    let folder = tempfile::tempdir().unwrap();
    let (path, device) = (folder.path().join("a.safetensors"), Device::flex());
    let made = text().init(&device, 1).unwrap();
    save(&made, &path, SaveAs::F16).unwrap();
    let loaded = native(text().init(&device, 2).unwrap(), &path).unwrap();
    let rounded = |v: Vec<f32>| {
        v.into_iter()
            .map(|x| half::f16::from_f32(x).to_f32())
            .collect()
    };
    let wanted: Vec<Vec<f32>> = numbers(&made).into_iter().map(rounded).collect();
    assert_eq!(numbers(&loaded), wanted);

    let before = std::fs::read(&path).unwrap();
    let mut writer = TensorWriter::default();
    writer.tensor("a", &Tensor::<1>::from_data([1.0, 7e4], &device));
    let said = writer.write(&path, SaveAs::F16).unwrap_err().to_string();
    assert!(
        said.ends_with("cannot be written as f16: `a` holds 70000; save as f32"),
        "{said}"
    );
    assert_eq!(
        std::fs::read(&path).unwrap(),
        before,
        "a failed save leaves what was there"
    );
}

#[test]
fn a_file_may_hold_several_networks_and_notes() {
    let folder = tempfile::tempdir().unwrap();
    let (path, device) = (folder.path().join("a.safetensors"), Device::flex());
    let made = [
        text().init(&device, 1).unwrap(),
        text().init(&device, 2).unwrap(),
    ];
    let mut writer = TensorWriter::default();
    writer.add("now.", &made[0]);
    writer.add("average.", &made[1]);
    writer.note("step", "12");
    writer.note("fingerprint", "abc");
    writer.write(&path, SaveAs::F32).unwrap();
    let file = TensorFile::open(&path).unwrap();
    assert_eq!((file.note("step"), file.note("none")), (Some("12"), None));
    for (prefix, made) in ["now.", "average."].into_iter().zip(&made) {
        let table = KeyTable::native().under(prefix);
        let fresh = text().init(&device, 3).unwrap();
        let loaded = load(fresh, &file, &table, DType::F32, &NoPatch).unwrap();
        assert_eq!(numbers(&loaded), numbers(made));
    }
}

#[test]
fn a_loaded_network_keeps_its_device_and_learns_if_it_should() {
    struct Learns(Vec<bool>);
    impl ModuleVisitor for Learns {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0.push(param.val().is_require_grad());
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.safetensors");
    let device = Device::flex();
    save(&text().init(&device, 1).unwrap(), &path, SaveAs::F32).unwrap();
    for (device, wanted) in [(device.clone(), false), (device.autodiff(), true)] {
        let loaded = native(text().init(&device, 2).unwrap(), &path).unwrap();
        let mut learns = Learns(vec![]);
        loaded.visit(&mut learns);
        assert!(learns.0.iter().all(|learns| *learns == wanted));
    }
}

#[test]
fn every_fault_of_a_file_is_told_at_once_with_both_shapes() {
    let folder = tempfile::tempdir().unwrap();
    let (path, device) = (folder.path().join("a.safetensors"), Device::flex());
    let smaller = TextTransformerConfig {
        layers: 1,
        width: 10,
        ..text()
    };
    let mut writer = TensorWriter::default();
    writer.add("", &smaller.init(&device, 1).unwrap());
    writer.tensor("stray", &Tensor::<1>::from_data([1.0, 2.0], &device));
    writer.write(&path, SaveAs::F32).unwrap();
    let said = native(text().init(&device, 1).unwrap(), &path)
        .unwrap_err()
        .to_string();
    for wanted in [
        "the tensors are not those of the network that this is taken for",
        "`layers.0.attention.k.weight` is [10, 15], wanted [12, 15]",
        "13 missing:",
        "`layers.1.attention.k.weight`, wanted [12, 15]",
        "and 5 more",
        "1 spare:\n    `stray` [2]\n",
        "use a whole file, with the configuration that it was made with",
    ] {
        assert!(said.contains(wanted), "wanted {wanted:?} in\n{said}");
    }
}

#[test]
fn a_file_cut_short_while_it_is_loaded_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let (path, device) = (folder.path().join("a.safetensors"), Device::flex());
    let made = text().init(&device, 1).unwrap();
    save(&made, &path, SaveAs::F32).unwrap();
    let filling = Filling {
        file: &TensorFile::open(&path).unwrap(),
        table: &KeyTable::native(),
        types: DType::F16.into(),
        patch: &NoPatch,
        aim: Aim::Any,
    };
    let on_disk = std::fs::File::options().write(true).open(&path).unwrap();
    let mut loaded = 0;
    let cut = &mut |heard: Heard<'_>| {
        loaded += usize::from(matches!(heard, Heard::Parameter { .. }));
        on_disk.set_len(100).unwrap();
        std::ops::ControlFlow::Continue(())
    };
    let said = filling.fill(made, cut).unwrap_err().to_string();
    assert!(said.contains("became shorter while it was read"), "{said}");
    assert_eq!(loaded, 1);
}

#[test]
fn a_tensor_of_integers_is_refused_by_its_type() {
    let folder = tempfile::tempdir().unwrap();
    let (path, device) = (folder.path().join("a.safetensors"), Device::flex());
    save(&text().init(&device, 1).unwrap(), &path, SaveAs::F32).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let name = br#""norm_out.beta":{"dtype":"F32""#;
    let at = bytes.windows(name.len()).position(|w| w == name).unwrap();
    let mut lying = bytes.clone();
    lying[at + name.len() - 4..][..3].copy_from_slice(b"I32");
    std::fs::write(&path, lying).unwrap();
    let said = native(text().init(&device, 1).unwrap(), &path)
        .unwrap_err()
        .to_string();
    assert!(
        said.contains("`norm_out.beta` holds I32, wanted F16"),
        "{said}"
    );
}

/// The names, in `table`, of all that `network` needs.
fn keys<M: Module>(network: &M, table: &KeyTable) -> Vec<String> {
    let mut keys: Vec<String> = plan(network, table)
        .into_iter()
        .map(|(_, source)| source.key)
        .collect();
    keys.sort();
    keys.dedup();
    keys
}

fn holds(keys: &[String], wanted: &[&str]) {
    for key in wanted {
        assert!(keys.binary_search(&(*key).to_owned()).is_ok(), "no {key}");
    }
}

#[test]
fn the_half_of_a_whole_clip_that_reads_pictures_is_not_spare() {
    let table = KeyTable::clip(ClipNames::Transformers, &ClipConfig::vit_l());
    for (key, owned) in [
        ("text_model.embeddings.position_ids", false),
        ("vision_model.post_layernorm.weight", false),
        ("visual_projection.weight", false),
        ("text_model.encoder.layers.99.mlp.fc1.weight", true),
    ] {
        assert_eq!(table.owns(key), owned, "{key}");
    }
}

/// Names and counts of the released Stable Diffusion 1 checkpoint, which has the paper's
/// layers, and of diffusers' copy of it.
#[test]
fn the_released_unet_is_found_under_both_families_of_names() {
    let config = UNetConfig {
        in_channels: 4,
        out_channels: 4,
        model_channels: 320,
        channel_mult: vec![1, 2, 4, 4],
        num_res_blocks: 2,
        attention_resolutions: vec![4, 2, 1],
        heads: Heads::Count(8),
        context_dim: Some(768),
        transformer_depth: vec![1],
        groups: 32,
        middle_depth: None,
        label: None,
        scale_shift: false,
        resblock_updown: false,
    };
    let network = config.init(&Device::flex(), 0).unwrap();
    let table = KeyTable::unet(Family::CompVis, &config).under("model.diffusion_model.");
    let found = keys(&network, &table);
    assert_eq!(found.len(), 686);
    holds(
        &found,
        &[
            "model.diffusion_model.time_embed.2.bias",
            "model.diffusion_model.input_blocks.0.0.weight",
            "model.diffusion_model.input_blocks.3.0.op.weight",
            "model.diffusion_model.input_blocks.4.0.skip_connection.weight",
            "model.diffusion_model.input_blocks.8.1.transformer_blocks.0.ff.net.0.proj.weight",
            "model.diffusion_model.input_blocks.11.0.out_layers.3.bias",
            "model.diffusion_model.middle_block.1.proj_in.weight",
            "model.diffusion_model.output_blocks.2.1.conv.weight",
            "model.diffusion_model.output_blocks.5.2.conv.weight",
            "model.diffusion_model.output_blocks.11.1.transformer_blocks.0.attn2.to_out.0.bias",
            "model.diffusion_model.out.2.weight",
        ],
    );
    let found = keys(&network, &KeyTable::unet(Family::Diffusers, &config));
    assert_eq!(found.len(), 686);
    holds(
        &found,
        &[
            "time_embedding.linear_2.bias",
            "conv_in.weight",
            "down_blocks.0.downsamplers.0.conv.weight",
            "down_blocks.1.resnets.0.conv_shortcut.weight",
            "down_blocks.2.attentions.1.transformer_blocks.0.ff.net.0.proj.weight",
            "mid_block.attentions.0.proj_in.weight",
            "up_blocks.0.upsamplers.0.conv.weight",
            "up_blocks.3.attentions.2.transformer_blocks.0.attn2.to_out.0.bias",
            "conv_norm_out.weight",
        ],
    );
}

#[test]
fn the_released_autoencoder_is_found_under_both_families_of_names() {
    let config = VaeConfig::Kl(KlAutoencoderConfig::released("kl-f8").unwrap());
    let network = config.init(&Device::flex(), 0).unwrap();
    let found = keys(&network, &KeyTable::autoencoder(Family::CompVis, &config));
    assert_eq!(found.len(), 248);
    holds(
        &found,
        &[
            "encoder.down.0.downsample.conv.weight",
            "encoder.down.1.block.0.nin_shortcut.weight",
            "encoder.mid.attn_1.proj_out.weight",
            "decoder.up.0.block.0.nin_shortcut.weight",
            "decoder.up.3.upsample.conv.bias",
            "post_quant_conv.weight",
        ],
    );
    let found = keys(&network, &KeyTable::autoencoder(Family::Diffusers, &config));
    assert_eq!(found.len(), 248);
    holds(
        &found,
        &[
            "encoder.down_blocks.0.downsamplers.0.conv.weight",
            "encoder.mid_block.attentions.0.to_out.0.weight",
            "decoder.up_blocks.3.resnets.0.conv_shortcut.weight",
            "decoder.up_blocks.0.upsamplers.0.conv.bias",
            "decoder.conv_norm_out.weight",
        ],
    );
}

#[test]
fn the_attention_inside_levels_of_vq_f16_is_found_under_both_families_of_names() {
    let config = VaeConfig::Vq(VqAutoencoderConfig::released("vq-f16").unwrap());
    let network = config.init(&Device::flex(), 0).unwrap();
    let table = |family| KeyTable::autoencoder(family, &config);
    holds(
        &keys(&network, &table(Family::CompVis)),
        &[
            "encoder.down.4.attn.1.q.weight",
            "encoder.mid.attn_1.k.bias",
            "quantize.embedding.weight",
            "decoder.up.4.attn.2.proj_out.weight",
            "decoder.up.1.upsample.conv.bias",
        ],
    );
    holds(
        &keys(&network, &table(Family::Diffusers)),
        &[
            "encoder.down_blocks.4.attentions.1.to_q.weight",
            "quantize.embedding.weight",
            "decoder.up_blocks.0.attentions.2.to_out.0.weight",
            "decoder.up_blocks.3.upsamplers.0.conv.bias",
        ],
    );
}

#[test]
fn the_released_text_encoder_is_found_under_both_families_of_names() {
    let network = text().init(&Device::flex(), 0).unwrap();
    let found = keys(&network, &KeyTable::text(Family::CompVis, &text()));
    assert_eq!(found.len(), 4 + 2 * 13);
    holds(
        &found,
        &[
            "token_emb.weight",
            "pos_emb.emb.weight",
            "attn_layers.layers.2.1.to_out.bias",
            "attn_layers.layers.3.1.net.0.0.weight",
            "attn_layers.layers.3.0.bias",
            "norm.weight",
        ],
    );
    let found = keys(&network, &KeyTable::text(Family::Diffusers, &text()));
    assert_eq!(found.len(), 4 + 2 * 13);
    holds(
        &found,
        &[
            "model.embed_tokens.weight",
            "model.layers.1.self_attn.out_proj.bias",
            "model.layers.1.final_layer_norm.weight",
            "model.layers.0.fc2.weight",
            "model.layer_norm.bias",
        ],
    );
}

/// A file in a foreign layout: each tensor counts up from its own thousand.
fn counted(path: &Path, network: &impl Module, table: &KeyTable) {
    let mut writer = TensorWriter::default();
    for (i, (_, source)) in plan(network, table).into_iter().enumerate() {
        let n = source.shape.iter().product::<usize>();
        let numbers: Vec<f32> = (0..n).map(|j| (1000 * i + j) as f32).collect();
        let flat = Tensor::<1>::from_data(&numbers[..], &Device::flex());
        // Linear layers stand there as 1×1 convolutions.
        match source.shape[..] {
            [a, b] => writer.tensor(&source.key, &flat.reshape([a, b, 1])),
            [a, b, c, d] => writer.tensor(&source.key, &flat.reshape([a, b, c, d])),
            _ => writer.tensor(&source.key, &flat),
        }
    }
    writer.write(path, SaveAs::F32).unwrap();
}

#[test]
fn one_tensor_of_three_is_split_within_each_head_and_transposed() {
    let folder = tempfile::tempdir().unwrap();
    let (path, device) = (folder.path().join("a.safetensors"), Device::flex());
    let config = UNetConfig {
        context_dim: None,
        ..unet()
    };
    let fresh = config.init(&device, 1).unwrap();
    let table = KeyTable::unet(Family::CompVis, &config);
    counted(&path, &fresh, &table);
    let file = TensorFile::open(&path).unwrap();
    let qkv = file.read("middle_block.1.qkv.weight").unwrap();
    let biases = file.read("middle_block.1.qkv.bias").unwrap();
    assert_eq!(
        file.shape("middle_block.1.qkv.weight"),
        Some(&[48, 16, 1][..])
    );

    let loaded = load(fresh, &file, &table, DType::F32, &NoPatch).unwrap();
    save(&loaded, &path, SaveAs::F32).unwrap();
    let native = TensorFile::open(&path).unwrap();
    for (part, name) in ["q", "k", "v"].into_iter().enumerate() {
        let weight = native
            .read(&format!("middle.attention.{name}.weight"))
            .unwrap();
        let bias = native
            .read(&format!("middle.attention.{name}.bias"))
            .unwrap();
        for out in 0..16 {
            // 2 heads of 8 channels; within a head 8 rows of q, 8 of k, 8 of v.
            let row = out / 8 * 24 + part * 8 + out % 8;
            assert_eq!(bias[out], biases[row]);
            for from in 0..16 {
                assert_eq!(weight[from * 16 + out], qkv[row * 16 + from]);
            }
        }
    }
}

fn model(folder: &Path) -> Manifest {
    let device = Device::flex();
    let spec = LatentSpec {
        factor: 2,
        channels: 3,
        scale: 0.5,
    };
    let mut manifest = Manifest::new("tiny", spec);
    manifest.schedule = Some(ScheduleConfig::scaled_linear(0.00085, 0.012));
    let file = |name: &str| format!("{name}.safetensors");
    manifest.vae = Some(VaePart {
        fits_f16: false,
        file: file("vae"),
        config: VaeConfig::Kl(vae()),
    });
    manifest.unet = Some(UNetPart {
        file: file("unet"),
        config: unet(),
    });
    let config = TextConfig::Bert(text());
    let tokenizer = "tokenizer.json".to_owned();
    manifest.text_encoder = Some(TextPart {
        file: file("text"),
        tokenizer,
        config,
    });
    let at = |name: &str| folder.join(file(name));
    save(&vae().init(&device, 1).unwrap(), &at("vae"), SaveAs::F16).unwrap();
    save(&unet().init(&device, 1).unwrap(), &at("unet"), SaveAs::F16).unwrap();
    save(&text().init(&device, 1).unwrap(), &at("text"), SaveAs::F16).unwrap();
    let tokenizer = Tokenizer::from_words(["red", "house"], 6).unwrap();
    tokenizer.save(&folder.join("tokenizer.json")).unwrap();
    manifest.write(folder).unwrap();
    Manifest::read(folder).unwrap()
}

#[test]
fn a_model_is_written_read_checked_and_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = model(folder.path());
    let text = std::fs::read_to_string(folder.path().join("model.ron")).unwrap();
    assert!(
        text.starts_with("Model(\n    format: 1,\n    name: \"tiny\",\n"),
        "{text}"
    );
    assert!(text.contains("config: Kl(\n"), "{text}");
    manifest.check().unwrap();
    let device = Device::flex();
    let count = crate::nn::parameter_count(&manifest.load_vae(&device, DType::F32).unwrap());
    assert_eq!(
        count,
        crate::nn::parameter_count(&vae().init(&device, 9).unwrap())
    );
    manifest.load_unet(&device, DType::F32).unwrap();
    manifest.load_text_encoder(&device, DType::F32).unwrap();
    assert_eq!(
        manifest
            .load_tokenizer()
            .unwrap()
            .ids("a red house")
            .unwrap()
            .len(),
        6
    );
}

#[test]
fn a_tokenizer_with_more_ids_than_the_encoder_has_rows_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = model(folder.path());
    let words = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let path = folder.path().join("tokenizer.json");
    Tokenizer::from_words(words, 6)
        .unwrap()
        .save(&path)
        .unwrap();
    let said = manifest.check().unwrap_err()[0].to_string();
    assert!(
        said.contains("has ids up to 11, wanted less than vocab_size, 11"),
        "{said}"
    );
}

#[test]
fn parts_that_contradict_each_other_or_their_files_are_all_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut manifest = model(folder.path());
    manifest.latent = LatentSpec {
        factor: 8,
        channels: 4,
        scale: f64::NAN,
    };
    manifest.schedule = None;
    if let Some(part) = &mut manifest.unet {
        part.config.context_dim = Some(16);
    }
    if let Some(part) = &mut manifest.text_encoder {
        part.tokenizer = "../secret".to_owned();
    }
    std::fs::write(folder.path().join("vae.safetensors"), "no tensors").unwrap();
    let wrong = manifest.check().unwrap_err();
    let said: Vec<String> = wrong.iter().map(ToString::to_string).collect();
    let said = said.join("\n");
    for wanted in [
        "says latent.channels is 4 and vae.embed_dim is 3; they must be equal",
        "says latent.factor is 8 and vae's factor is 2; they must be equal",
        "says latent.channels is 4 and unet.out_channels is 3; they must be equal",
        "says unet.context_dim is 16 and text_encoder.width is 12; they must be equal",
        "says latent.scale is NaN, wanted a number above 0",
        "has a `unet` and no `schedule`",
        "vae.safetensors is neither a safetensors file nor a checkpoint of PyTorch",
        "`middle.attention.blocks.0.attn2.k.weight` is [12, 16], wanted [16, 16]",
        "names the file `../secret`, wanted one inside its own folder",
    ] {
        assert!(said.contains(wanted), "wanted {wanted:?} in\n{said}");
    }
}

#[test]
fn a_manifest_that_cannot_be_read_says_where_and_why() {
    let folder = tempfile::tempdir().unwrap();
    let refusal = |text: &[u8]| {
        std::fs::write(folder.path().join("model.ron"), text).unwrap();
        Manifest::read(folder.path()).unwrap_err().to_string()
    };
    let start = "Model(format: 1, name: \"a\",\n  latent: (factor: 8, channels: 4, scale: 1.0)";
    for (text, wanted) in [
        (format!("{start}, colour: 3)"), "at 2:"),
        (format!("{start}, colour: 3)"), "colour"),
        (
            "Model(format: 2, new: \"thing\")".to_owned(),
            "has format 2, wanted 1",
        ),
        ("Model(format: 1)".to_owned(), "`name`"),
        ("{\"format\": 1}".to_owned(), "does not parse at 1:"),
        ("(".repeat(100_000), "does not parse at"),
        (
            " ".repeat((1 << 20) + 1),
            "wanted a manifest of at most 1048576",
        ),
        (String::new(), "does not parse at 1:1"),
    ] {
        let said = refusal(text.as_bytes());
        assert!(said.contains(wanted), "wanted {wanted:?} in {said}");
    }
    assert!(refusal(&[0xff, 0xfe]).contains("is no text in UTF-8"));
    std::fs::remove_file(folder.path().join("model.ron")).unwrap();
    let said = Manifest::read(folder.path()).unwrap_err().to_string();
    assert!(
        said.contains("model.ron cannot be read; a model's folder holds one"),
        "{said}"
    );
}

/// Adds to every parameter its own index, and remembers the shapes it was shown.
#[derive(Default)]
struct Counting(std::cell::RefCell<Vec<(String, Vec<usize>)>>);

impl Patch for Counting {
    fn apply(
        &self,
        path: &str,
        shape: &[usize],
        numbers: &mut Vec<f32>,
    ) -> crate::error::Result<()> {
        self.0.borrow_mut().push((path.to_owned(), shape.to_vec()));
        assert_eq!(numbers.len(), shape.iter().product::<usize>());
        (0..).zip(numbers).for_each(|(i, x)| *x += i as f32);
        Ok(())
    }
}

#[test]
fn a_patch_sees_pytorchs_layout_whoever_named_the_tensors() {
    let folder = tempfile::tempdir().unwrap();
    let (path, device) = (folder.path().join("a.safetensors"), Device::flex());
    let config = UNetConfig {
        context_dim: None,
        ..unet()
    };
    let fresh = || config.init(&device, 1).unwrap();
    let mut seen = vec![];
    for family in [Family::CompVis, Family::Diffusers, Family::Native] {
        let table = KeyTable::unet(family, &config);
        let mut writer = TensorWriter::default();
        for (_, source) in plan(&fresh(), &table) {
            let zeros = Tensor::<1>::zeros([source.shape.iter().product::<usize>()], &device);
            match source.shape[..] {
                [a, b] => writer.tensor(&source.key, &zeros.reshape([a, b])),
                [a, b, c, d] => writer.tensor(&source.key, &zeros.reshape([a, b, c, d])),
                _ => writer.tensor(&source.key, &zeros),
            }
        }
        writer.write(&path, SaveAs::F32).unwrap();
        let file = TensorFile::open(&path).unwrap();
        let patch = Counting::default();
        let loaded = load(fresh(), &file, &table, DType::F32, &patch).unwrap();
        seen.push((patch.0.into_inner(), numbers(&loaded)));
    }
    let (shown, patched) = &seen[0];
    assert!(seen.iter().all(|one| one == &seen[0]));
    let linear = "time.linear1.weight".to_owned();
    assert!(shown.contains(&(linear, vec![32, 8])), "out before in");
    let place = shown.iter().position(|(p, _)| p == "time.linear1.weight");
    // Ours is [in, out]: one step along a row is a whole row of PyTorch's.
    assert_eq!(patched[place.unwrap()][..3], [0.0, 8.0, 16.0]);
}
