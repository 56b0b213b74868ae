//! Networks of a checkpoint, run when told to: our side of `benches/peers/networks.py`.
//!
//! ```text
//! peer FOLDER unet|vae|clip f32|bf16|f16 THREADS INPUTS OUTPUT
//! ```
//!
//! FOLDER is a Stable Diffusion 1 as diffusers writes it. INPUTS is a safetensors file that holds,
//! all in f32, `latent [b, 4, h, w]`, `t [b]` and `context [b, n, 768]`; `z [b, 4, h, w]`; or
//! `ids [b, 77]`. The network is loaded, run once, and its result written to OUTPUT as `out`. Then
//! `{"ready": SECONDS, …}` is printed, and for every line on stdin it runs again and prints
//! `{"seconds": …}`.

use std::io::{BufRead, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

use burn::module::Module;
use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use ldm_models::autoencoder::Autoencoder;
use ldm_models::device::{self, DeviceChoice, Isa};
use ldm_models::text::{ClipText, TextNetwork};
use ldm_models::unet::{Told, UNet};
use ldm_models::weights::folder::{self, Files, Found, Place, Wanted};
use ldm_models::weights::{
    Aim, Filling, KeyTable, NoPatch, SaveAs, TensorFile, TensorWriter, Types,
};

type Failed = Box<dyn std::error::Error>;

#[global_allocator]
static MEMORY: ldm_models::memory::Large = ldm_models::memory::Large;

fn main() -> Result<(), Failed> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let [checkpoint, network, dtype, threads, inputs, output] = words[..] else {
        return Err("peer FOLDER unet|vae|clip f32|bf16|f16 THREADS INPUTS OUTPUT".into());
    };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.parse()?);
    pool.build_global()?;
    // As the program does with `--dtype` on the CPU.
    let types = Types {
        weights: match dtype {
            "bf16" => DType::BF16,
            "f16" => DType::F16,
            _ => DType::F32,
        },
        compute: DType::F32,
    };
    let work = || -> Result<(), String> {
        let start = Instant::now();
        let network = Network::load(Path::new(checkpoint), network, types, Path::new(inputs));
        let network = network.map_err(|error| error.to_string())?;
        let loaded = start.elapsed().as_secs_f64();
        serve(&network, loaded, Path::new(output)).map_err(|error| error.to_string())
    };
    Ok(rayon::scope(|_| work())?)
}

/// Answers until stdin ends.
#[allow(clippy::print_stdout)] // What it measures is what it is for.
fn serve(network: &Network, loaded: f64, output: &Path) -> Result<(), Failed> {
    let start = Instant::now();
    let result = network.run();
    let first = start.elapsed().as_secs_f64();
    let mut writer = TensorWriter::default();
    writer.tensor("out", &result);
    writer.write(output, SaveAs::F32)?;
    let isa = ldm_models::bench::isa();
    println!("{{\"ready\": {loaded:.3}, \"first\": {first:.4}, \"isa\": \"{isa}\"}}");
    for line in std::io::stdin().lock().lines() {
        line?;
        let start = Instant::now();
        let result = network.run();
        let seconds = start.elapsed().as_secs_f64();
        drop(result);
        println!("{{\"seconds\": {seconds:.5}}}");
        std::io::stdout().flush()?;
    }
    Ok(())
}

/// A network with what it is run on.
#[expect(clippy::large_enum_variant, reason = "a process has one")]
enum Network {
    Unet(Box<UNet>, Tensor<4>, Tensor<1>, Told),
    Vae(Box<Autoencoder>, Tensor<4>),
    Clip(Box<ClipText>, Tensor<2, Int>),
}

impl Network {
    fn load(checkpoint: &Path, name: &str, types: Types, inputs: &Path) -> Result<Self, Failed> {
        let open = device::open(DeviceChoice::Cpu, Isa::Auto)?;
        let (device, files) = (open.device(), Disk(checkpoint.to_path_buf()));
        let found = Found::look(&files, Wanted::ALL, None)?;
        let inputs = TensorFile::open(inputs)?;
        match name {
            "unet" => {
                let (unet, place) = found.unet.ok_or("no U-Net")?;
                let made = unet.part.config.init(device, 0)?;
                let unet = filled(made, &files, &place, &unet.part.table(), types)?;
                let latent = read(&inputs, "latent", device)?;
                let context = read(&inputs, "context", device)?;
                let t = read(&inputs, "t", device)?;
                let told = Told::tokens(Some(context));
                Ok(Self::Unet(Box::new(unet), latent, t, told))
            }
            "vae" => {
                let (vae, place) = found.vae.ok_or("no autoencoder")?;
                let made = vae.part.config.init(device, 0)?;
                let vae = filled(made, &files, &place, &vae.part.table(), types)?;
                let z = read(&inputs, "z", device)?;
                Ok(Self::Vae(Box::new(vae), z))
            }
            _ => {
                let (text, place) = found.text.ok_or("no text encoder")?;
                let made = text.part.config.init(device, 0)?;
                let text = filled(made, &files, &place, &text.part.table(), types)?;
                let TextNetwork::Clip(text) = text else {
                    return Err("not CLIP's text encoder".into());
                };
                let ids = read::<2>(&inputs, "ids", device)?;
                Ok(Self::Clip(Box::new(text), ids.int()))
            }
        }
    }

    /// The result, read back: nothing is left to be computed.
    fn run(&self) -> Tensor<4> {
        match self {
            Self::Unet(unet, latent, t, told) => {
                unet.forward(latent.clone(), t.clone(), told.clone())
            }
            Self::Vae(vae, z) => vae.decode(z.clone()),
            Self::Clip(text, ids) => {
                let states = text.states(text.embed(ids.clone()));
                let last = states.into_iter().next_back();
                text.norm(last.expect("a state after all")).unsqueeze()
            }
        }
    }
}

fn filled<M: Module>(
    network: M,
    files: &Disk,
    place: &Place,
    table: &KeyTable,
    types: Types,
) -> Result<M, Failed> {
    let file = folder::open(files, place)?;
    let filling = Filling {
        file: &file,
        table,
        types,
        patch: &NoPatch,
        aim: Aim::Run,
    };
    Ok(filling.fill(network, &mut |_| ControlFlow::Continue(()))?)
}

fn read<const D: usize>(
    file: &TensorFile,
    name: &str,
    device: &Device,
) -> Result<Tensor<D>, Failed> {
    let shape = file.shape(name).ok_or("an input is missing")?.to_vec();
    let data = TensorData::new(file.read(name)?, shape);
    Ok(Tensor::from_data(data, device))
}

/// The checkpoint's folder.
struct Disk(PathBuf);

impl Files for Disk {
    fn path(&self) -> &Path {
        &self.0
    }
    fn is_folder(&self) -> bool {
        true
    }
    fn has(&self, inside: &str) -> bool {
        self.0.join(inside).is_file()
    }
    fn text(&self, inside: &str) -> ldm_models::error::Result<String> {
        let path = self.0.join(inside);
        std::fs::read_to_string(&path)
            .map_err(|e| ldm_models::error::Error::file(&path, "cannot be read", e))
    }
    fn tensors(&self, inside: &str) -> ldm_models::error::Result<TensorFile> {
        TensorFile::open(&self.0.join(inside))
    }
}
