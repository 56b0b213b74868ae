//! How long a checkpoint takes to load, and how much memory: one row of `benches/load.py`.
//!
//! ```text
//! load make sd1|xl PATH        writes a checkpoint of that shape, f16, all numbers random
//! load read PATH f16|f32       loads all its networks; prints one JSON object
//! ```

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::Instant;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{DType, Device, Tensor};
use ldm_models::autoencoder::{KlAutoencoderConfig, VaeConfig};
use ldm_models::nn::parameter_count;
use ldm_models::text::{ClipConfig, TextConfig};
use ldm_models::unet::{Heads, LabelConfig, UNetConfig};
use ldm_models::weights::{Family, KeyTable, NoPatch, TensorFile, detect, load};

type Failed = Box<dyn std::error::Error>;

#[global_allocator]
static MEMORY: ldm_models::memory::Large = ldm_models::memory::Large;

#[allow(clippy::print_stdout)] // What it measures is what it is for.
fn main() -> Result<(), Failed> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["make", kind, path] => make(kind, Path::new(path)),
        ["read", path, dtype] => {
            let dtype = if dtype == "f16" {
                DType::F16
            } else {
                DType::F32
            };
            println!("{}", read(Path::new(path), dtype)?);
            Ok(())
        }
        _ => Err("load make sd1|xl PATH, or load read PATH f16|f32".into()),
    }
}

/// Loads every network and holds them all.
fn read(path: &Path, dtype: DType) -> Result<String, Failed> {
    let device = Device::flex();
    let start = Instant::now();
    let file = TensorFile::open(path)?;
    let unet = detect::unet(&file, None)?.ok_or("no U-Net")?.part;
    let vae = detect::vae(&file, None)?.ok_or("no autoencoder")?;
    let text = detect::text(&file, None)?.ok_or("no text encoder")?;
    let headers = start.elapsed().as_secs_f64();
    let networks = (unet.config.init(&device, 0)?, text.config.init(&device, 0)?);
    let networks = (networks, vae.config.init(&device, 0)?);
    let ((unet_net, text_net), vae_net) = networks;
    let unet = load(unet_net, &file, &unet.table(), dtype, &NoPatch)?;
    let vae = load(vae_net, &file, &vae.table(), dtype, &NoPatch)?;
    let text = load(text_net, &file, &text.table(), dtype, &NoPatch)?;
    let seconds = start.elapsed().as_secs_f64();
    let numbers = parameter_count(&unet) + parameter_count(&vae) + parameter_count(&text);
    let bytes = numbers * dtype.size();
    let peak = peak()?;
    Ok(format!(
        "{{\"seconds\": {seconds:.3}, \"headers\": {headers:.4}, \"bytes\": {bytes}, \
         \"peak\": {peak}}}"
    ))
}

/// The most memory this process ever had, mapped files included.
fn peak() -> Result<u64, Failed> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().nth(1));
    Ok(kilobytes.ok_or("no VmHWM")?.parse::<u64>()? * 1024)
}

/// Names and shapes of a checkpoint's tensors.
struct Names {
    tensors: BTreeMap<String, Vec<usize>>,
    table: KeyTable,
    path: Vec<String>,
    linear: bool,
}

impl Names {
    fn add<M: Module>(&mut self, network: &M, table: KeyTable) {
        self.table = table;
        network.visit(self);
    }
}

impl ModuleVisitor for Names {
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
        if !self.linear && source.key.contains(".proj_") && shape.len() == 2 {
            shape.extend([1, 1]);
        }
        self.tensors.insert(source.key, shape);
    }
}

fn make(kind: &str, path: &Path) -> Result<(), Failed> {
    let (device, xl) = (Device::flex(), kind == "xl");
    let family = Family::CompVis;
    let mut names = Names {
        tensors: BTreeMap::new(),
        table: KeyTable::native(),
        path: vec![],
        linear: xl,
    };
    let unet = if xl { xl_unet() } else { sd1_unet() };
    let table = KeyTable::unet(family, &unet).under("model.diffusion_model.");
    names.add(&unet.init(&device, 0)?, table);
    let vae = vae();
    let table = KeyTable::autoencoder(family, &vae).under("first_stage_model.");
    names.add(&vae.init(&device, 0)?, table);
    let (text, before) = match xl {
        true => {
            let (first, second) = (ClipConfig::vit_l().for_xl(), ClipConfig::big_g());
            (
                TextConfig::TwoClips { first, second },
                "conditioner.embedders.",
            )
        }
        false => (TextConfig::Clip(ClipConfig::vit_l()), "cond_stage_model."),
    };
    let table = KeyTable::text_encoder(family, &text).under(before);
    names.add(&text.init(&device, 0)?, table);
    write(path, &names.tensors)
}

/// Random f16 of about unit variance, which no file system can make smaller.
fn write(path: &Path, tensors: &BTreeMap<String, Vec<usize>>) -> Result<(), Failed> {
    let (mut header, mut at) = (serde_json::Map::new(), 0);
    for (name, shape) in tensors {
        let end = at + 2 * shape.iter().product::<usize>();
        let entry = serde_json::json!({"dtype": "F16", "shape": shape, "data_offsets": [at, end]});
        header.insert(name.clone(), entry);
        at = end;
    }
    let header = serde_json::to_vec(&header)?;
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(&header)?;
    let mut state = 1u64;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        // A sign and a fraction below an exponent of 14 or 15: between 1/2 and 2.
        let bits = (state >> 48) as u16;
        (bits & 0x83ff) | (0x3800 + ((bits >> 4) & 0x400))
    };
    for _ in 0..at / 2 {
        out.write_all(&next().to_le_bytes())?;
    }
    out.flush()?;
    Ok(())
}

fn sd1_unet() -> UNetConfig {
    UNetConfig {
        in_channels: 4,
        out_channels: 4,
        model_channels: 320,
        channel_mult: vec![1, 2, 4, 4],
        num_res_blocks: 2,
        attention_resolutions: vec![1, 2, 4],
        heads: Heads::Count(8),
        context_dim: Some(768),
        transformer_depth: vec![1],
        middle_depth: None,
        label: None,
        scale_shift: false,
        resblock_updown: false,
        groups: 32,
    }
}

fn xl_unet() -> UNetConfig {
    UNetConfig {
        channel_mult: vec![1, 2, 4],
        attention_resolutions: vec![2, 4],
        heads: Heads::Width(64),
        context_dim: Some(2048),
        transformer_depth: vec![0, 2, 10],
        label: Some(LabelConfig::Vector(2816)),
        ..sd1_unet()
    }
}

fn vae() -> VaeConfig {
    VaeConfig::Kl(KlAutoencoderConfig {
        in_channels: 3,
        ch: 128,
        ch_mult: vec![1, 2, 4, 4],
        num_res_blocks: 2,
        attn_resolutions: vec![],
        resolution: 256,
        z_channels: 4,
        embed_dim: 4,
        groups: 32,
    })
}
