//! The nodes at work: graphs over a model of a few channels, made here.

mod adapters;
mod checkpoint;
mod choices;
mod coding;
mod conditioning;
mod examples;
mod first_stages;
mod list;
mod pairings;
mod pictures;
mod shortage;
mod sizes;
mod steering;
mod texts;
mod threads;
mod tiling;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::Tensor;
use ldm_engine::{
    Cache, Diagnostics, Event, Graph, Host, Kinds, Options, Plan, Report as Ran, Run, Source,
};
use ldm_models::autoencoder::KlAutoencoderConfig;
use ldm_models::conditioner::{ClassEmbedderConfig, SpatialRescalerConfig};
use ldm_models::noise::Noise;
use ldm_models::schedule::ScheduleConfig;
use ldm_models::text::{ClipConfig, TextTransformerConfig};
use ldm_models::tokenizer::Tokenizer;
use ldm_models::unet::{Heads, LabelConfig, UNetConfig};
use ldm_models::weights::manifest::{
    ClassPart, MapPart, TextConfig, TextPart, UNetPart, VaeConfig, VaePart,
};
use ldm_models::weights::{LatentSpec, Manifest, SaveAs, TensorWriter, save};

use crate::{DeviceChoice, Isa, Machine};

/// A folder with models, a picture and a latent, and what graphs in it run with.
pub(super) struct Lab {
    pub(super) folder: tempfile::TempDir,
    pub(super) kinds: Kinds,
    pub(super) host: Host,
    pub(super) cache: Cache,
    /// Files written by each node of the last run, and loads of weights by name.
    pub(super) wrote: BTreeMap<String, Vec<PathBuf>>,
    pub(super) loads: Vec<String>,
    pub(super) notes: Vec<String>,
}

/// The nodes that most graphs begin with.
pub(super) const MODEL: &str = r#"
    "model": LoadModel(path: "weights/text"),
    "wanted": TextEncode(text_encoder: "model", text: "a red house"),
    "empty": TextEncode(text_encoder: "model", text: ""),
    "noise": EmptyLatent(vae: "model", width: 32, height: 16, batch: 2),
"#;

impl Lab {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let machine = Machine::open(DeviceChoice::Cpu, Isa::Auto, None, 1 << 30, None).unwrap();
        make_model(
            &folder.path().join("weights/text"),
            &Tiny::default(),
            &machine,
        );
        make_files(folder.path());
        let mut host = Host {
            out: folder.path().join("out"),
            ..Host::default()
        };
        host.previews = Some(folder.path().join("previews"));
        host.work = Some(folder.path().join("work"));
        host.numerics = machine.numerics();
        host.extensions.insert(machine);
        let mut kinds = crate::list();
        kinds.extend(coding::kinds());
        Self {
            folder,
            kinds: Kinds::new(kinds),
            host,
            cache: Cache::new(1 << 30),
            wrote: BTreeMap::new(),
            loads: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Makes another model beside the first.
    pub(super) fn model(&self, name: &str, tiny: &Tiny) {
        let machine = Machine::open(DeviceChoice::Cpu, Isa::Auto, None, 1 << 30, None).unwrap();
        make_model(
            &self.folder.path().join("weights").join(name),
            tiny,
            &machine,
        );
    }

    /// Makes a model of a text encoder alone, with CLIP's vocabulary.
    pub(super) fn text_model(&self, name: &str, config: TextConfig) {
        let machine = Machine::open(DeviceChoice::Cpu, Isa::Auto, None, 1 << 30, None).unwrap();
        let folder = self.folder.path().join("weights").join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let network = config.init(machine.device(), 3).unwrap();
        save(&network, &folder.join("text.safetensors"), SaveAs::F32).unwrap();
        let latent = LatentSpec {
            factor: 8,
            channels: 4,
            scale: 1.0,
        };
        let mut manifest = Manifest::new(name, latent);
        manifest.text_encoder = Some(TextPart {
            file: "text.safetensors".into(),
            tokenizer: String::new(),
            config,
        });
        manifest.write(&folder).unwrap();
    }

    /// Plans the graph of these nodes; `only` are its roots, where there are any.
    pub(super) fn plan(&self, nodes: &str, only: &[&str]) -> Result<Plan, Diagnostics> {
        self.plan_text(format!("Graph(nodes: {{\n{nodes}\n}})"), only)
    }

    pub(super) fn plan_text(&self, text: String, only: &[&str]) -> Result<Plan, Diagnostics> {
        let path = self.folder.path().join("test.ron");
        let graph = Graph::parse(Source::new("test.ron", text), &path)?;
        let only = only.iter().map(|name| (*name).to_owned()).collect();
        Plan::new(
            &graph,
            &self.kinds,
            &Options {
                only,
                ..Options::default()
            },
        )
    }

    /// What planning says is wrong; all messages and hints in one text.
    pub(super) fn refusal(&self, nodes: &str) -> String {
        let faults = self.plan(nodes, &[]).err();
        let faults = faults.unwrap_or_else(|| panic!("this was planned:\n{nodes}"));
        faults.to_string()
    }

    /// Runs the graph of these nodes.
    pub(super) fn run(&mut self, nodes: &str, only: &[&str]) -> Ran {
        let plan = self
            .plan(nodes, only)
            .unwrap_or_else(|faults| panic!("{faults}\n{nodes}"));
        self.carry_out(&plan)
    }

    pub(super) fn carry_out(&mut self, plan: &Plan) -> Ran {
        let (wrote, loads, notes) = (&mut self.wrote, &mut self.loads, &mut self.notes);
        wrote.clear();
        loads.clear();
        notes.clear();
        let report = Run::new(plan, &self.host, &self.cache).go(&mut |event| match event {
            Event::Wrote { node, path, .. } => {
                wrote
                    .entry(node.clone())
                    .or_default()
                    .push(PathBuf::from(path));
            }
            Event::Load { what, .. } => loads.push(what.clone()),
            Event::Note { message, .. } => notes.push(message.clone()),
            _ => {}
        });
        let words: Vec<_> = report.failures.iter().map(ToString::to_string).collect();
        assert!(report.is_complete(), "{}", words.join("\n"));
        report
    }

    /// The one file that a node wrote in the last run.
    pub(super) fn file(&self, node: &str) -> Vec<u8> {
        let files = self
            .wrote
            .get(node)
            .unwrap_or_else(|| panic!("`{node}` wrote nothing"));
        assert_eq!(files.len(), 1, "{files:?}");
        std::fs::read(&files[0]).unwrap()
    }
}

/// Stable Diffusion XL's text encoder with a few channels.
pub(super) fn two_clips() -> TextConfig {
    let narrow = |config: ClipConfig, width| ClipConfig {
        width,
        layers: 2,
        heads: 2,
        feed: 2 * width,
        ..config
    };
    let second = narrow(ClipConfig::big_g(), 6);
    TextConfig::TwoClips {
        first: narrow(ClipConfig::vit_l().for_xl(), 4),
        second: ClipConfig {
            projection: Some(5),
            ..second
        },
    }
}

/// The shape of a model of a few channels.
pub(super) struct Tiny {
    pub(super) channels: usize,
    pub(super) width: usize,
    pub(super) scale: f64,
    pub(super) seed: u64,
    /// Channels that the UNet is shown beside the latent's.
    pub(super) shown: usize,
    /// Residual blocks a level of the UNet.
    pub(super) blocks: usize,
    /// What else the UNet is told of a picture.
    pub(super) label: Option<LabelConfig>,
}

impl Default for Tiny {
    fn default() -> Self {
        Self {
            channels: 2,
            width: 4,
            scale: 0.5,
            seed: 1,
            shown: 0,
            blocks: 1,
            label: None,
        }
    }
}

fn make_model(folder: &Path, tiny: &Tiny, machine: &Machine) {
    std::fs::create_dir_all(folder).unwrap();
    let (device, seed) = (machine.device(), tiny.seed);
    let tokenizer = Tokenizer::from_words(["a red blue house by the lake at night"], 6).unwrap();
    let vae = KlAutoencoderConfig {
        in_channels: 3,
        ch: 4,
        ch_mult: vec![1, 1, 1, 1],
        num_res_blocks: 1,
        attn_resolutions: vec![],
        resolution: 64,
        z_channels: tiny.channels,
        embed_dim: tiny.channels,
        groups: 2,
    };
    let unet = UNetConfig {
        in_channels: tiny.channels + tiny.shown,
        out_channels: tiny.channels,
        model_channels: 4,
        channel_mult: vec![1, 2],
        num_res_blocks: tiny.blocks,
        attention_resolutions: vec![1],
        heads: Heads::Count(2),
        context_dim: Some(tiny.width),
        transformer_depth: vec![1],
        groups: 2,
        middle_depth: None,
        label: tiny.label,
        scale_shift: false,
        resblock_updown: false,
    };
    let text = TextTransformerConfig {
        vocab_size: tokenizer.vocabulary(),
        max_length: tokenizer.length(),
        width: tiny.width,
        layers: 1,
        heads: 2,
        head_width: 2,
    };
    write(vae.init(device, seed).unwrap(), folder, "vae.safetensors");
    write(unet.init(device, seed).unwrap(), folder, "unet.safetensors");
    write(text.init(device, seed).unwrap(), folder, "text.safetensors");
    std::fs::write(folder.join("tokenizer.json"), tokenizer.to_json().unwrap()).unwrap();
    let latent = LatentSpec {
        factor: 8,
        channels: tiny.channels,
        scale: tiny.scale,
    };
    let mut manifest = Manifest::new("tiny", latent);
    manifest.schedule = Some(ScheduleConfig::scaled_linear(0.0015, 0.0195));
    manifest.vae = Some(VaePart {
        fits_f16: false,
        file: "vae.safetensors".into(),
        config: VaeConfig::Kl(vae),
    });
    manifest.unet = Some(UNetPart {
        file: "unet.safetensors".into(),
        config: unet,
    });
    manifest.text_encoder = Some(TextPart {
        file: "text.safetensors".into(),
        tokenizer: "tokenizer.json".into(),
        config: TextConfig::Bert(text),
    });
    manifest.write(folder).unwrap();
}

/// Stirred first: layers that start at zero would hide what comes before them.
pub(super) fn write<M: Module>(network: M, folder: &Path, file: &str) {
    let network = network.map(&mut Stir(Noise::new(7)));
    save(&network, &folder.join(file), SaveAs::F32).unwrap();
}

struct Stir(Noise);

impl ModuleMapper for Stir {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|weights| {
            let noise = self.0.like(&weights);
            weights + noise * 0.1
        })
    }
}

/// A picture with transparency, a latent of nobody's, and a checkpoint.
fn make_files(folder: &Path) {
    checkpoint::make(&folder.join("checkpoints/model.safetensors"));
    std::fs::create_dir_all(folder.join("images")).unwrap();
    let pixel = |x: u32, y: u32| image::Rgba([8 * x as u8, 16 * y as u8, 90, 255 - x as u8]);
    let picture = image::RgbaImage::from_fn(32, 16, pixel);
    picture.save(folder.join("images/scene.png")).unwrap();
    let numbers = crate::Array::new([1, 2, 2, 4], (0..16).map(|i| i as f32 / 8.0).collect());
    let latent = crate::values::Latent {
        numbers,
        space: None,
    };
    let bytes = ldm_engine::Data::save(&latent).unwrap();
    std::fs::write(folder.join("latent.safetensors"), bytes).unwrap();
    let map = image::GrayImage::from_fn(8, 4, |x, y| image::Luma([(x + y) as u8 % 3]));
    map.save(folder.join("images/map.png")).unwrap();
    make_conditioners(&folder.join("weights/classes"));
    adapters::make_style(folder);
    make_enlarger(&folder.join("weights/x2.safetensors"));
    steering::make_control_net(&folder.join("weights/control"), 4);
}

/// The networks of classes and of maps, as a model of their own.
fn make_conditioners(folder: &Path) {
    std::fs::create_dir_all(folder).unwrap();
    let device = burn::tensor::Device::flex();
    let classes = ClassEmbedderConfig {
        classes: 1000,
        width: 4,
    };
    let maps = SpatialRescalerConfig {
        stages: 2,
        in_channels: 3,
        out_channels: 2,
    };
    write(
        classes.init(&device, 1).unwrap(),
        folder,
        "class.safetensors",
    );
    write(maps.init(&device, 1).unwrap(), folder, "map.safetensors");
    let latent = LatentSpec {
        factor: 4,
        channels: 2,
        scale: 1.0,
    };
    let mut manifest = Manifest::new("classes", latent);
    manifest.class_embedder = Some(ClassPart {
        file: "class.safetensors".into(),
        config: classes,
    });
    manifest.spatial_rescaler = Some(MapPart {
        file: "map.safetensors".into(),
        config: maps,
    });
    manifest.write(folder).unwrap();
}

/// A compact network that doubles, under the names that such files have.
fn make_enlarger(path: &Path) {
    let device = burn::tensor::Device::flex();
    let mut noise = Noise::new(11);
    let mut writer = TensorWriter::default();
    for (name, [to, from]) in [("body.0", [4, 3]), ("body.2", [4, 4]), ("body.4", [12, 4])] {
        let weight = noise.tensor([to, from, 3, 3], &device) * 0.1;
        writer.tensor(&format!("{name}.weight"), &weight);
        let bias = noise.tensor([to], &device) * 0.02;
        writer.tensor(&format!("{name}.bias"), &bias);
    }
    for name in ["body.1.weight", "body.3.weight"] {
        writer.tensor(name, &Tensor::<1>::full([4], 0.25, &device));
    }
    writer.write(path, SaveAs::F32).unwrap();
}
