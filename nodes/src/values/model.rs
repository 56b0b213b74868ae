//! `Unet` and `Vae`: handles on networks, and what `TextEncoder` shares with them.
//!
//! A handle knows what its network is ([`About`], which is also its facts) and where the
//! weights are: in a file, or in its own bytes when training just made them. The network
//! itself is read on first use and held by the machine's pool.
//!
//! Promises
//! - A handle's identity is the hash of what it is made of: description, names of the tensors,
//!   content of the files; the adapters on it, in order with their strengths; and another
//!   description, where one was put in its place. Never a path, never the tensors.
//! - A trained network is an object like any other: stored by its bytes, and found again.

use std::borrow::Cow;
use std::fmt::Debug;
use std::ops::ControlFlow;
use std::sync::Arc;

use burn::module::Module;
use burn::tensor::{DType, Device};
use ldm_engine::{Data, Error, FileRef, Identity, OpenFile, Reporter, Result, Storage};
use ldm_models::adapter::{Adapter, Chain, Fit, Part};
use ldm_models::autoencoder::{Autoencoder, VaeConfig};
use ldm_models::error::Error as Fault;
use ldm_models::prediction::Prediction;
use ldm_models::schedule::ScheduleConfig;
use ldm_models::unet::{UNet, UNetConfig};
use ldm_models::weights::{
    Aim, Family, Filling, Heard, KeyTable, SaveAs, TensorFile, TensorWriter, Types, faults,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::LatentSpace;
use crate::machine::Machine;

/// What a network is besides its weights.
pub trait About: Debug + Clone + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The module with the weights.
    type Module: Module + Sync + 'static;
    /// The type's name on links.
    const NAME: &'static str;
    /// What it is to adapters; none where they are not made for such networks.
    const PART: Option<Part> = None;

    /// A network whose weights are not there yet; takes no memory for them.
    ///
    /// # Errors
    /// When the description is of no network.
    fn init(&self, device: &Device) -> Result<Self::Module>;

    /// What a family of checkpoints calls the weights.
    fn table(&self, family: Family) -> KeyTable;

    /// The number types it takes when `asked` are wanted of a UNet.
    fn types(&self, asked: Types) -> Types {
        let _ = asked;
        DType::F32.into()
    }

    /// An adapter held against this network, if it is for such a one.
    ///
    /// # Errors
    /// When the description is of no network.
    fn fit(&self, adapter: &Arc<Adapter>) -> Result<Option<Fit>> {
        let Some(part) = Self::PART.filter(|part| adapter.is_for(*part)) else {
            return Ok(None);
        };
        // The device is only remembered by networks whose parameters are never drawn.
        let network = self.init(&Device::flex())?;
        let tables = [Family::Diffusers, Family::CompVis].map(|family| self.table(family));
        Ok(Some(Fit::of(Arc::clone(adapter), part, &network, &tables)))
    }
}

/// Opens an adapter's file and reads its header.
///
/// # Errors
/// When it is no adapter.
pub(crate) fn adapter(file: OpenFile) -> Result<Arc<Adapter>> {
    let path = file.path().to_owned();
    let tensors = TensorFile::of(&file.into_file(), &path)?;
    Ok(Arc::new(Adapter::of(tensors)?))
}

/// A handle on a network.
#[derive(Debug, Clone)]
pub struct Model<A> {
    about: Arc<A>,
    source: Source,
    /// What changes the weights as they are read, in order, and how strongly.
    adapters: Vec<(FileRef, f64)>,
    /// The hash of what the weights are, under the description that came with them.
    identity: Identity,
    /// The description in words, where it is another than the one that came with the weights.
    described: Option<Arc<str>>,
}

/// Where the weights are.
#[derive(Debug, Clone)]
enum Source {
    /// In files that a graph names, each with what is put before its tensors' names.
    Files(Vec<(FileRef, String)>, Names),
    /// In these bytes: a safetensors file of our own names, the description in its header.
    Made(Arc<Vec<u8>>),
}

/// What the tensors of a network are called in its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// Who named them.
    pub family: Family,
    /// What all begin with.
    pub prefix: String,
    /// Whether the weights' averages over training are meant, beside which they stand.
    pub averaged: bool,
}

impl Names {
    /// Those of `family`, and nothing around them.
    pub fn of(family: Family) -> Self {
        Self {
            family,
            prefix: String::new(),
            averaged: false,
        }
    }

    /// What identities are made of; plain names stand as they did when there were no others.
    fn words(&self) -> String {
        let mut words = format!("{:?}", self.family);
        if !self.prefix.is_empty() {
            words += &format!(" {:?}", self.prefix);
        }
        if self.averaged {
            words += " averaged";
        }
        words
    }
}

/// Names the description in a made network's header.
const ABOUT: &str = "ldm-graph";

impl<A: About> Model<A> {
    /// The network whose weights are in `file` under the names of `family`.
    ///
    /// # Errors
    /// When the description cannot be written down.
    pub fn in_file(about: A, file: FileRef, family: Family) -> Result<Self> {
        Self::in_files(about, vec![(file, String::new())], Names::of(family))
    }

    /// The network whose weights are in `files`, each with what is put before the names of
    /// its tensors, under these names.
    ///
    /// # Errors
    /// When the description cannot be written down.
    pub fn in_files(about: A, files: Vec<(FileRef, String)>, names: Names) -> Result<Self> {
        let (words, called) = (ron::to_string(&about)?, names.words());
        let mut made_of = vec![A::NAME.as_bytes(), words.as_bytes(), called.as_bytes()];
        let contents: Vec<_> = files.iter().map(|(file, _)| file.identity()).collect();
        for ((_, before), content) in files.iter().zip(&contents) {
            made_of.push(&content.0);
            if !before.is_empty() {
                made_of.push(before.as_bytes());
            }
        }
        let identity = Identity::of(&made_of);
        Ok(Self {
            about: Arc::new(about),
            source: Source::Files(files, names),
            adapters: Vec::new(),
            identity,
            described: None,
        })
    }

    /// A network that training made.
    ///
    /// # Errors
    /// When the device fails, or there is no room for a temporary file.
    pub fn made(about: A, network: &A::Module) -> Result<Self> {
        let mut writer = TensorWriter::default();
        writer.add("", network);
        writer.note(ABOUT, &ron::to_string(&about)?);
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("made.safetensors");
        writer.write(&path, SaveAs::F32)?;
        Ok(Self::of_bytes(about, std::fs::read(&path)?))
    }

    fn of_bytes(about: A, bytes: Vec<u8>) -> Self {
        let identity = Identity::of(&[A::NAME.as_bytes(), &bytes]);
        Self {
            about: Arc::new(about),
            source: Source::Made(Arc::new(bytes)),
            adapters: Vec::new(),
            identity,
            described: None,
        }
    }

    /// The same weights under another description, which must be of a network of their shape.
    ///
    /// # Errors
    /// When the description cannot be written down.
    pub fn described(&self, about: A) -> Result<Self> {
        Ok(Self {
            described: Some(ron::to_string(&about)?.into()),
            about: Arc::new(about),
            ..self.clone()
        })
    }

    /// The same network, its weights changed by the adapter in `file`; itself at strength 0.
    pub fn adapted(&self, file: FileRef, strength: f64) -> Self {
        if strength == 0.0 {
            return self.clone();
        }
        let (before, content) = (self.identity.0, file.identity().0);
        let strength_bits = strength.to_bits().to_le_bytes();
        let mut adapted = self.clone();
        adapted.identity = Identity::of(&[&before, b"adapter", &content, &strength_bits]);
        adapted.adapters.push((file, strength));
        adapted
    }

    /// What the network is.
    pub fn about(&self) -> &A {
        &self.about
    }

    /// The network with its weights, read now if they are not in memory, to be run.
    ///
    /// # Errors
    /// When the file is not what it was, does not hold this network, or finds no room.
    pub fn network(&self, machine: &Machine, reporter: &Reporter) -> Result<Arc<A::Module>> {
        self.network_for(Aim::Run, machine, reporter)
    }

    /// [`Model::network`] for this aim.
    ///
    /// # Errors
    /// As there.
    pub fn network_for(
        &self,
        aim: Aim,
        machine: &Machine,
        reporter: &Reporter,
    ) -> Result<Arc<A::Module>> {
        self.network_of(self.about.types(machine.types()), aim, machine, reporter)
    }

    /// [`Model::network`] in this type, whatever the machine's is.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn network_in(
        &self,
        dtype: DType,
        machine: &Machine,
        reporter: &Reporter,
    ) -> Result<Arc<A::Module>> {
        self.network_of(dtype.into(), Aim::Run, machine, reporter)
    }

    fn network_of(
        &self,
        types: Types,
        aim: Aim,
        machine: &Machine,
        reporter: &Reporter,
    ) -> Result<Arc<A::Module>> {
        machine.at_work(reporter);
        let held = Identity::of(&[&self.identity.0, format!("{types:?} {aim:?}").as_bytes()]);
        if let Some(network) = machine.weights().held(held) {
            return Ok(network);
        }
        let empty = self.about.init(machine.device())?;
        let bytes = types.bytes(&empty);
        let loaded = |seconds| reporter.loaded(A::NAME, bytes, seconds);
        machine.weights().get((held, A::NAME, bytes), loaded, || {
            let (file, names) = self.open()?;
            let filling = Filling {
                file: &file,
                table: &self.about.table(names.family).under(&names.prefix),
                types,
                patch: &self.chain()?,
                aim,
            };
            let mut told = Told { reporter, odd: 0 };
            match filling.fill(empty, &mut |heard| told.hear(heard)) {
                Err(Fault::Stopped) => Err(Error::stopped()),
                filled => Ok(filled?),
            }
        })
    }

    /// The adapters, open.
    fn chain(&self) -> Result<Chain> {
        let mut chain = Chain::default();
        for (file, strength) in &self.adapters {
            if let Some(fit) = self.about.fit(&adapter(file.open()?)?)? {
                fit.check()?;
                chain.push(fit, *strength);
            }
        }
        Ok(chain)
    }

    /// Whether the bytes that training made are all there is to it.
    fn is_as_made(&self) -> bool {
        self.described.is_none() && self.adapters.is_empty()
    }

    /// The file that holds the weights, and what it calls them.
    fn open(&self) -> Result<(TensorFile, Names)> {
        match &self.source {
            Source::Files(files, names) => {
                let mut parts = Vec::new();
                for (file, before) in files {
                    // The handle whose content was checked, not the path: another file may
                    // have taken its place by now.
                    let opened = file.open()?.into_file();
                    parts.push(TensorFile::of(&opened, file.path())?.under(before));
                }
                let mut file = TensorFile::joined(parts)?.with_known_names();
                if names.averaged {
                    file = file.averaged()?;
                }
                Ok((file, names.clone()))
            }
            Source::Made(bytes) => {
                let folder = tempfile::tempdir()?;
                let path = folder.path().join("made.safetensors");
                std::fs::write(&path, &**bytes)?;
                Ok((TensorFile::open(&path)?, Names::of(Family::Native)))
            }
        }
    }
}

/// Passes on what a load says.
struct Told<'a> {
    reporter: &'a Reporter,
    /// How many tensors with odd numbers were told of.
    odd: usize,
}

/// As many tensors are told of one by one.
const MOST_TOLD: usize = 8;

impl Told<'_> {
    fn hear(&mut self, heard: Heard<'_>) -> ControlFlow<()> {
        if let Heard::Odd { key, count } = heard {
            self.odd += 1;
            if self.odd <= MOST_TOLD {
                self.reporter.note(format!(
                    "`{key}` holds {count} numbers that are NaN, infinite or too large for its \
                     type; what is computed with them will be, too"
                ));
            }
        }
        match self.reporter.go_on() {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    }
}

impl<A: About> Data for Model<A> {
    const NAME: &'static str = A::NAME;

    fn identity(&self) -> Identity {
        match &self.described {
            None => self.identity,
            Some(words) => Identity::of(&[&self.identity.0, b"described", words.as_bytes()]),
        }
    }
    fn bytes(&self) -> u64 {
        match &self.source {
            Source::Files(..) => size_of::<Self>() as u64,
            Source::Made(bytes) => bytes.len() as u64,
        }
    }
    fn storage(&self) -> Storage {
        match &self.source {
            Source::Made(_) if self.is_as_made() => Storage::Object,
            _ => Storage::Handle,
        }
    }
    fn save(&self) -> Result<Cow<'_, [u8]>> {
        match &self.source {
            Source::Made(bytes) if self.is_as_made() => Ok((&**bytes).into()),
            _ => Err(Error::new(format!("a {} is a handle", A::NAME))),
        }
    }
    fn load(bytes: Vec<u8>) -> Result<Self> {
        let note = crate::array::Unpack::open(&bytes)?.note;
        Ok(Self::of_bytes(ron::from_str(&note)?, bytes))
    }
}

/// `about`, when `file` holds all of its network and nothing else under these names; reads
/// headers only.
///
/// # Errors
/// Every tensor that is missing, spare or of another shape.
pub(crate) fn fitting<A: About>(about: A, file: &TensorFile, names: &Names) -> Result<A> {
    // The device is only remembered by networks whose parameters are never drawn.
    let empty = about.init(&Device::flex())?;
    let table = about.table(names.family).under(&names.prefix);
    let faults = faults(&empty, file, &table);
    match faults.is_empty() {
        true => Ok(about),
        false => Err(Fault::Tensors {
            path: file.path().to_path_buf(),
            faults: Box::new(faults),
        }
        .into()),
    }
}

/// A handle on the network that predicts the noise.
pub type Unet = Model<UnetAbout>;

/// What a UNet is.
#[derive(Debug, Clone, PartialEq, Serialize, serde::Deserialize)]
pub struct UnetAbout {
    /// The network.
    pub config: UNetConfig,
    /// How noise grew in training.
    pub schedule: ScheduleConfig,
    /// What it predicts.
    pub prediction: Prediction,
    /// The space of its latents.
    pub space: LatentSpace,
}

impl About for UnetAbout {
    type Module = UNet;
    const NAME: &'static str = "Unet";
    const PART: Option<Part> = Some(Part::Unet);

    fn init(&self, device: &Device) -> Result<UNet> {
        self.schedule.check()?;
        Ok(self.config.init(device, 0)?)
    }
    fn table(&self, family: Family) -> KeyTable {
        KeyTable::unet(family, &self.config)
    }
    fn types(&self, asked: Types) -> Types {
        asked
    }
}

/// A handle on an autoencoder.
pub type Vae = Model<VaeAbout>;

/// What an autoencoder is.
#[derive(Debug, Clone, PartialEq, Serialize, serde::Deserialize)]
pub struct VaeAbout {
    /// The network.
    pub config: VaeConfig,
    /// What latents are multiplied by after encoding, and divided by before decoding.
    pub scale: f64,
    /// Whether the model says that its numbers stay within f16.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fits_f16: bool,
}

impl VaeAbout {
    /// The space of its latents.
    pub fn space(&self) -> LatentSpace {
        LatentSpace {
            factor: self.config.factor(),
            scale: self.scale,
        }
    }
}

impl About for VaeAbout {
    type Module = Autoencoder;
    const NAME: &'static str = "Vae";

    fn init(&self, device: &Device) -> Result<Autoencoder> {
        if !(self.scale.is_finite() && self.scale > 0.0) {
            let scale = self.scale;
            return Err(Error::new(format!(
                "the latent's scale is {scale}, wanted above 0"
            )));
        }
        Ok(self.config.init(device, 0)?)
    }
    fn table(&self, family: Family) -> KeyTable {
        KeyTable::autoencoder(family, &self.config)
    }
}
