//! What a file of weights is, told to people: networks and their sizes, adapters, notes,
//! faults.
//!
//! Promises
//! - Headers are read, and of the tensors only the few numbers that `weights::detect` names.
//! - Every file that opens gets an answer: what is not known is described by its tensors.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::tensor::Device;
use serde::Serialize;

use crate::adapter::Adapter;
use crate::control::{ControlConfig, recognise as recognise_control};
use crate::error::{Error, Result};
use crate::inversion::Inversion;
use crate::schedule::ZeroSnr;
use crate::text::TextConfig;
use crate::unet::UNetConfig;
use crate::upscale::recognise as recognise_upscaler;
use crate::weights::detect::{Denoiser, Kind, NetworkJson, foreign, stranger};
use crate::weights::folder::{self, Coder, Files, Found, Wanted};
use crate::weights::manifest::{FILE, VaeConfig};
use crate::weights::{KeyTable, Manifest, TensorFile, contents};

/// What a file or a folder holds.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Inspected {
    /// In a few words.
    pub what: String,
    /// `safetensors`, `checkpoint of PyTorch`, `folder of diffusers`, `model folder`.
    pub format: &'static str,
    /// Bytes of all files that were opened.
    pub bytes: u64,
    /// How many tensors there are, of all kinds.
    pub tensors: usize,
    /// How many numbers, by the type they are written in.
    pub dtypes: BTreeMap<String, u64>,
    /// The networks.
    pub networks: Vec<Network>,
    /// What an adapter changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adapter: Option<AdapterFound>,
    /// What a textual inversion has learned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inversion: Option<InversionFound>,
    /// What the writer noted.
    pub notes: BTreeMap<String, String>,
    /// Some of the tensors' names, where nothing is known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// What is wrong.
    pub faults: Vec<String>,
}

/// A network in a file.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Network {
    /// `unet`, `vae`, `text_encoder`, `controlnet`, `upscale_model`
    pub role: &'static str,
    /// Its numbers that matter, in words.
    pub about: String,
    /// How many numbers it has.
    pub parameters: u64,
    /// The same, by the type they are written in.
    pub dtypes: BTreeMap<String, u64>,
}

/// A textual inversion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InversionFound {
    /// How many vectors there are.
    pub vectors: usize,
    /// How wide they are, for each text encoder.
    pub widths: Vec<usize>,
}

/// An adapter.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AdapterFound {
    /// The release whose layers it changes, where names and shapes tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub family: Option<String>,
    /// The methods that it uses.
    pub methods: Vec<String>,
    /// The ranks of its matrices.
    pub ranks: Vec<usize>,
    /// How many layers of each network it changes.
    pub targets: BTreeMap<String, usize>,
}

/// What stands at `path`.
///
/// # Errors
/// It cannot be read, holds no tensors, or contradicts itself.
pub fn inspect(path: &Path) -> Result<Inspected> {
    if path.is_dir() && path.join(FILE).exists() {
        return model_folder(path);
    }
    let disk = Disk(path.to_path_buf());
    let mut found = Inspected {
        format: "folder of diffusers",
        ..Inspected::default()
    };
    if !path.is_dir() {
        let file = TensorFile::open(path)?;
        found.format = match file.is_pickled() {
            true => "checkpoint of PyTorch",
            false => "safetensors",
        };
        found.count(&file, &[path.to_path_buf()]);
        found.notes = file
            .notes()
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .collect();
    }
    found.networks(&disk)?;
    if found.networks.is_empty() {
        found.alone(&disk)?;
    }
    if found.what.is_empty() {
        "weights of an unknown kind".clone_into(&mut found.what);
    }
    Ok(found)
}

impl Inspected {
    fn count(&mut self, file: &TensorFile, paths: &[PathBuf]) {
        let lengths = paths.iter().filter_map(|path| fs::metadata(path).ok());
        self.bytes += lengths.map(|data| data.len()).sum::<u64>();
        for name in file.names() {
            self.tensors += 1;
            let numbers = file
                .shape(&name)
                .unwrap_or_default()
                .iter()
                .product::<usize>();
            *self
                .dtypes
                .entry(file.dtype(&name).unwrap_or_default())
                .or_default() += numbers as u64;
        }
    }

    /// What there is; where a network is at fault, that it is, and the others.
    fn looked(&mut self, disk: &Disk) -> Result<Found> {
        let error = match Found::look(disk, Wanted::ALL, None) {
            Ok(found) => return Ok(found),
            Err(error) => error,
        };
        let none = Wanted {
            unet: false,
            vae: false,
            text: false,
        };
        let unet = Wanted { unet: true, ..none };
        let vae = Wanted { vae: true, ..none };
        let text = Wanted { text: true, ..none };
        let [unet, vae, text] = [unet, vae, text].map(|one| Found::look(disk, one, None));
        if unet.is_err() && vae.is_err() && text.is_err() {
            return Err(error);
        }
        let mut take = |found: Result<Found>| {
            found.unwrap_or_else(|error| {
                self.faults.push(error.to_string());
                Found::default()
            })
        };
        let (unet, vae, text) = (take(unet), take(vae), take(text));
        Ok(Found {
            unet: unet.unet,
            vae: vae.vae,
            ..text
        })
    }

    /// The networks of a checkpoint, or of a folder.
    fn networks(&mut self, disk: &Disk) -> Result<()> {
        let found = self.looked(disk)?;
        if let Some((unet, place)) = &found.unet {
            let file = self.opened(disk, place)?;
            self.unet(unet, &file)?;
        }
        if let Some((Coder { part, scale, .. }, place)) = &found.vae {
            let about = format!("{}, scale {scale}", vae_words(&part.config));
            let network = part.config.init(&Device::flex(), 0)?;
            let file = self.opened(disk, place)?;
            self.network("vae", about, &network, (&file, &part.table()));
        }
        // What it is instead is told by `others`.
        let alone = !disk.is_folder() || folder::own(disk).is_some();
        for unread in found.unread.iter().filter(|_| !alone) {
            self.faults
                .push(format!("{}: {}", unread.output, unread.why));
        }
        if let Some((text, place)) = &found.text {
            let network = text.part.config.init(&Device::flex(), 0)?;
            let mut about = text_words(&text.part.config);
            if disk.is_folder() && text.tokenizer.is_none() {
                about += ", without a tokenizer";
            }
            let file = self.opened(disk, place)?;
            self.network("text_encoder", about, &network, (&file, &text.part.table()));
        }
        if let Some((part, place)) = &found.class {
            let about = format!(
                "{} classes, {} wide",
                part.config.classes, part.config.width
            );
            let network = part.config.init(&Device::flex(), 0)?;
            let file = self.opened(disk, place)?;
            self.network("class_embedder", about, &network, (&file, &part.table()));
        }
        if let Some((part, place)) = &found.map {
            let (from, to) = (part.config.in_channels, part.config.out_channels);
            let network = part.config.init(&Device::flex(), 0)?;
            let (about, file) = (
                format!("{from} to {to} channels"),
                self.opened(disk, place)?,
            );
            self.network("spatial_rescaler", about, &network, (&file, &part.table()));
        }
        Ok(())
    }

    fn unet(&mut self, unet: &Denoiser, file: &TensorFile) -> Result<()> {
        self.what = unet.kind.to_string();
        let mut about = unet_words(&unet.part.config);
        about += &format!(", predicts {:?}", unet.prediction);
        if unet.schedule.rescale_zero_snr != ZeroSnr::No {
            about += ", from nothing but noise";
        }
        if unet.averages {
            about += ", with averages over training";
        }
        let network = unet.part.config.init(&Device::flex(), 0)?;
        self.network("unet", about, &network, (file, &unet.part.table()));
        Ok(())
    }

    /// A network's tensors; those of a folder are counted here.
    fn opened(&mut self, disk: &Disk, place: &folder::Place) -> Result<TensorFile> {
        let file = folder::open(disk, place)?;
        if disk.is_folder() {
            let paths: Vec<_> = place.iter().map(|(inside, _)| disk.at(inside)).collect();
            self.count(&file, &paths);
        }
        Ok(file)
    }

    fn network<M: Module>(
        &mut self,
        role: &'static str,
        about: String,
        network: &M,
        (file, table): (&TensorFile, &KeyTable),
    ) {
        let held = contents(network, file, table);
        if !held.faults.is_empty() {
            self.faults.push(format!("{role}: {}", held.faults));
        }
        if self.what.is_empty() {
            self.what = name_of(role).to_owned();
        }
        self.networks.push(Network {
            role,
            about,
            parameters: held.dtypes.values().sum(),
            dtypes: held.dtypes,
        });
    }

    /// What is no model: a file, or a folder that is one network's own.
    fn alone(&mut self, disk: &Disk) -> Result<()> {
        if !disk.is_folder() {
            return self.others(TensorFile::open(disk.path())?, None);
        }
        match folder::own(disk) {
            Some(place) => {
                let file = self.opened(disk, &place)?;
                let json = disk.text("config.json").ok();
                let json = json.and_then(|json| NetworkJson::read(&json).ok());
                self.others(file, json.as_ref())
            }
            None if self.faults.is_empty() => {
                let fault = "there are no weights in it under the names that diffusers gives them";
                self.faults.push(fault.to_owned());
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// What is no model of its own.
    fn others(&mut self, file: TensorFile, json: Option<&NetworkJson>) -> Result<()> {
        if let Some(what) = foreign(&file) {
            what.clone_into(&mut self.what);
            self.names = file.names().into_iter().take(MOST_NAMES).collect();
            return Ok(());
        }
        if let Ok(found) = recognise_control(&file, None) {
            let (name, unet) = match &found.config {
                ControlConfig::Net(net) => ("ControlNet", unet_words(&net.unet)),
                ControlConfig::Adapter(_) => ("T2I-Adapter", "features for a UNet".to_owned()),
            };
            name.clone_into(&mut self.what);
            let told = json.and_then(|json| recognise_control(&file, Some(json)).err());
            self.faults.extend(told.map(|wrong| wrong.to_string()));
            let network = found.config.init(&Device::flex(), 0)?;
            let table = KeyTable::control(found.family, &found.config).under(&found.prefix);
            self.network("controlnet", unet, &network, (&file, &table));
            return Ok(());
        }
        if let Ok((config, naming)) = recognise_upscaler(&file) {
            "upscaler".clone_into(&mut self.what);
            let about = format!("{} times as large", config.scale());
            let network = config.init(&Device::flex(), 0)?;
            let table = KeyTable::upscaler(&naming, &config);
            self.network("upscale_model", about, &network, (&file, &table));
            return Ok(());
        }
        if let Some(inversion) = self.inversion_in(&file) {
            self.inversion(&inversion);
            return Ok(());
        }
        let (names, ranks, is_adapter) = (file.names(), ranks(&file), Adapter::is_one(&file));
        let stranger = stranger(&file);
        match Adapter::of(file) {
            Ok(adapter) => self.adapter(&adapter, ranks),
            Err(error) => {
                match stranger {
                    _ if is_adapter => {
                        "adapter".clone_into(&mut self.what);
                        self.faults.push(error.to_string());
                    }
                    Some(what) => what.clone_into(&mut self.what),
                    None => {}
                }
                self.names = names.into_iter().take(MOST_NAMES).collect();
            }
        }
        Ok(())
    }

    /// The inversion in `file`, where a name or a width says that it is one: any small tensor
    /// could be a vector.
    fn inversion_in(&self, file: &TensorFile) -> Option<Inversion> {
        const NAMED: [&str; 3] = ["emb_params", "string_to_param.*", "clip_l"];
        const WIDTHS: [usize; 4] = [640, 768, 1024, 1280];
        if self.tensors >= MOST_NAMES {
            return None;
        }
        let named = NAMED.iter().any(|name| file.has(name));
        let inversion = Inversion::open("", file).ok()?;
        let like = inversion
            .sizes()
            .iter()
            .any(|(_, width)| WIDTHS.contains(width));
        (named || like).then_some(inversion)
    }

    fn inversion(&mut self, inversion: &Inversion) {
        let sizes = inversion.sizes();
        let family = match sizes[..] {
            [(_, 768)] => Some(Kind::Sd1),
            [(_, 1024)] => Some(Kind::Sd2),
            [(_, 768), (_, 1280)] => Some(Kind::Sdxl),
            _ => None,
        };
        self.what = made_for("textual inversion", family);
        self.inversion = Some(InversionFound {
            vectors: sizes[0].0,
            widths: sizes.into_iter().map(|(_, width)| width).collect(),
        });
    }

    fn adapter(&mut self, adapter: &Adapter, ranks: Vec<usize>) {
        let mut methods = BTreeSet::new();
        let mut targets = BTreeMap::new();
        for target in adapter.targets() {
            methods.extend(target.method().map(|method| method.to_string()));
            *targets.entry(target.part().name().to_owned()).or_default() += 1;
        }
        let family = adapter.family();
        self.what = made_for("adapter", family);
        match adapter.leftover() {
            [] => {}
            [one] => self.faults.push(format!("`{one}` is not understood")),
            [first, others @ ..] => {
                let more = others.len();
                let fault = format!("`{first}` and {more} more are not understood");
                self.faults.push(fault);
            }
        }
        self.adapter = Some(AdapterFound {
            family: family.map(|family| family.to_string()),
            methods: methods.into_iter().collect(),
            ranks,
            targets,
        });
    }
}

fn made_for(what: &str, family: Option<Kind>) -> String {
    match family {
        Some(family) => format!("{what} for {family}"),
        None => what.to_owned(),
    }
}

/// As many names of an unknown file are told.
const MOST_NAMES: usize = 8;

/// The ranks of an adapter's matrices, each once.
fn ranks(file: &TensorFile) -> Vec<usize> {
    const DOWN: [&str; 6] = [
        "lora_down.weight",
        "lora_A.weight",
        "lora_A.default.weight",
        "lora.down.weight",
        "hada_w1_b",
        "lokr_w2_b",
    ];
    let down = |name: &String| DOWN.iter().any(|end| name.ends_with(end));
    let names = file.names().into_iter().filter(down);
    let ranks = names.filter_map(|name| file.shape(&name)?.first().copied());
    ranks.collect::<BTreeSet<_>>().into_iter().collect()
}

fn name_of(role: &str) -> &'static str {
    match role {
        "vae" => "autoencoder",
        "text_encoder" => "text encoder",
        _ => "network",
    }
}

fn unet_words(config: &UNetConfig) -> String {
    let (from, to) = (config.in_channels, config.out_channels);
    let mut words = format!("{from} to {to} channels, {} wide", config.model_channels);
    if let Some(dim) = config.context_dim {
        words += &format!(", context {dim}");
    }
    if let Some(label) = config.label {
        words += &format!(", {label:?}");
    }
    words
}

fn vae_words(config: &VaeConfig) -> String {
    let kind = match config {
        VaeConfig::Kl(_) => "KL".to_owned(),
        VaeConfig::Vq(vq) => format!("VQ of {} codes", vq.codes),
    };
    let (factor, channels) = (config.factor(), config.embed_dim());
    format!("{kind}, factor {factor}, {channels} channels")
}

fn text_words(config: &TextConfig) -> String {
    let kind = match config {
        TextConfig::Bert(_) => "BERT's",
        TextConfig::Clip(_) => "CLIP's",
        TextConfig::TwoClips { .. } => "two of CLIP's",
    };
    format!(
        "{kind}, {} wide, {} tokens",
        config.width(),
        config.max_length()
    )
}

/// A folder of our own.
fn model_folder(path: &Path) -> Result<Inspected> {
    let manifest = Manifest::read(path)?;
    let mut found = Inspected {
        what: format!("model `{}`", manifest.name),
        format: "model folder",
        ..Inspected::default()
    };
    if !manifest.about.is_empty() {
        found
            .notes
            .insert("about".to_owned(), manifest.about.clone());
    }
    let table = KeyTable::native();
    let device = Device::flex();
    let open = |found: &mut Inspected, name: &str| {
        let file = TensorFile::open(&path.join(name))?;
        found.count(&file, &[path.join(name)]);
        Ok::<_, Error>(file)
    };
    if let Some(part) = &manifest.unet {
        let file = open(&mut found, &part.file)?;
        let network = part.config.init(&device, 0)?;
        let about = format!(
            "{}, predicts {:?}",
            unet_words(&part.config),
            manifest.prediction
        );
        found.network("unet", about, &network, (&file, &table));
    }
    if let Some(part) = &manifest.vae {
        let file = open(&mut found, &part.file)?;
        let network = part.config.init(&device, 0)?;
        found.network("vae", vae_words(&part.config), &network, (&file, &table));
    }
    if let Some(part) = &manifest.text_encoder {
        let file = open(&mut found, &part.file)?;
        let network = part.config.init(&device, 0)?;
        found.network(
            "text_encoder",
            text_words(&part.config),
            &network,
            (&file, &table),
        );
    }
    if let Err(wrong) = manifest.check() {
        found.faults = wrong.iter().map(ToString::to_string).collect();
    }
    Ok(found)
}

/// Files below a path that a person named.
struct Disk(PathBuf);

/// Largest text that is read: a tokenizer.
const MOST_BYTES: u64 = 64 << 20;

impl Disk {
    fn at(&self, inside: &str) -> PathBuf {
        match inside {
            "" => self.0.clone(),
            inside => self.0.join(inside),
        }
    }
}

impl Files for Disk {
    fn path(&self) -> &Path {
        &self.0
    }
    fn is_folder(&self) -> bool {
        self.0.is_dir()
    }
    fn has(&self, inside: &str) -> bool {
        self.at(inside).is_file()
    }
    fn text(&self, inside: &str) -> Result<String> {
        let path = self.at(inside);
        let cannot = |e| Error::file(&path, "cannot be read", e);
        let length = fs::metadata(&path).map_err(cannot)?.len();
        if length > MOST_BYTES {
            let what = format!("has {length} bytes, at most {MOST_BYTES} are read");
            return Err(Error::wrong_file(&path, what));
        }
        fs::read_to_string(&path).map_err(cannot)
    }
    fn tensors(&self, inside: &str) -> Result<TensorFile> {
        TensorFile::open(&self.at(inside))
    }
}
