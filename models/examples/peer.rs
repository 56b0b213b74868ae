//! Networks of a checkpoint, run when told to: our side of `benches/peers/networks.py` and of
//! `benches/gpu/`.
//!
//! ```text
//! peer FOLDER NETWORK f32|bf16|f16 THREADS INPUTS OUTPUT [cpu|cuda|cuda:N [KERNELS]]
//! ```
//!
//! NETWORK is `unet`, `vae`, `clip`, or of the U-Net what the program does at each step of a walk:
//! `step`, a step of what was heard when it was loaded (keys and values of the tokens, what the
//! label says), with what the blocks are told of the timestep made ahead; `captured`, the same
//! replayed from a capture. `unet` is a whole call, which hears all of it anew.
//!
//! FOLDER is a Stable Diffusion 1 or XL as diffusers writes it. INPUTS is a safetensors file that
//! holds, all in f32, `latent [b, 4, h, w]`, `t [b]`, `context [b, n, d]` and for XL
//! `label [b, v]`; `z [b, 4, h, w]`; or `ids [b, 77]`. The network is loaded, run once, and its
//! result written to OUTPUT as `out`. Then `{"ready": SECONDS, …}` is printed, and every line on
//! stdin is answered by one:
//!
//! - `profile`: it runs again, and the kernels that this launched on a GPU are told.
//! - `measure N`, or any other for one: it runs N times; `{"seconds": MEDIAN, "times": [, …]}`.
//!
//! A time ends when the device has done all. Each answer of `captured` has `captured`, whether the
//! device captured the step: where it is `false`, as on the CPU, the step was called, and the time
//! is not that of a replay. A profile does not see the kernels of one.
//!
//! On a GPU each answer has `device_bytes`, what burn's allocator has taken of its memory, and
//! `prepared`, how many kernels were compiled or tuned so far. Those are kept in the folder KERNELS
//! as the program keeps them in `kernels` of its cache folder, so that either finds there what the
//! other prepared.

use std::io::{BufRead, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use burn::module::Module;
use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use ldm_models::autoencoder::Autoencoder;
use ldm_models::device::{self, DeviceChoice, Isa, OpenDevice};
use ldm_models::prepare::{self, Heard};
use ldm_models::text::{ClipText, TextNetwork};
use ldm_models::unet::{self, Captured, Told, UNet};
use ldm_models::weights::folder::{self, Files, Found, Place, Wanted};
use ldm_models::weights::{
    Aim, Filling, KeyTable, NoPatch, SaveAs, TensorFile, TensorWriter, Types,
};

type Failed = Box<dyn std::error::Error>;

#[global_allocator]
static MEMORY: ldm_models::memory::Large = ldm_models::memory::Large;

const USAGE: &str = "peer FOLDER unet|step|captured|vae|clip f32|bf16|f16 THREADS INPUTS OUTPUT \
                     [DEVICE [KERNELS]]";

/// Kernels that were compiled or tuned.
static PREPARED: AtomicU64 = AtomicU64::new(0);

/// Whether the device captured nothing where it was asked to.
static CALLED: AtomicBool = AtomicBool::new(false);

fn main() -> Result<(), Failed> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (&[checkpoint, network, dtype, threads, inputs, output], more) =
        words.split_first_chunk().ok_or(USAGE)?;
    let (device, kernels) = match *more {
        [] => ("cpu", None),
        [device] => (device, None),
        [device, kernels] => (device, Some(Path::new(kernels))),
        _ => return Err(USAGE.into()),
    };
    let choice: DeviceChoice = device.parse()?;
    if let Some(folder) = kernels {
        prepare::keep(folder, heard);
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.parse()?);
    pool.build_global()?;
    let work = || -> Result<(), String> {
        let told = |error: Failed| error.to_string();
        let device = device::open(choice, Isa::Auto).map_err(|error| error.to_string())?;
        let start = Instant::now();
        let from = From {
            checkpoint: Path::new(checkpoint),
            inputs: Path::new(inputs),
            types: types(dtype, &device),
            device: device.device().clone(),
        };
        let network = Network::load(&from, network).map_err(told)?;
        let loaded = start.elapsed().as_secs_f64();
        serve(&network, &device, loaded, Path::new(output)).map_err(told)
    };
    Ok(rayon::scope(|_| work())?)
}

#[allow(clippy::print_stderr)] // How far it came, should it be ended for taking too long.
fn heard(what: Heard) {
    match what {
        Heard::Prepared => {
            let now = PREPARED.fetch_add(1, Ordering::Relaxed) + 1;
            if now.is_multiple_of(20) {
                eprintln!("{now} kernels prepared");
            }
        }
        Heard::NotKept(why) => eprintln!("kernels are not kept: {why}"),
    }
}

/// As the program does with `--dtype`: the CPU computes in f32.
fn types(dtype: &str, device: &OpenDevice) -> Types {
    let weights = match dtype {
        "bf16" => DType::BF16,
        "f16" => DType::F16,
        _ => DType::F32,
    };
    let compute = match device.name() {
        "cpu" => DType::F32,
        _ => weights,
    };
    Types { weights, compute }
}

/// Answers until stdin ends.
#[allow(clippy::print_stdout)] // What it measures is what it is for.
fn serve(network: &Network, open: &OpenDevice, loaded: f64, output: &Path) -> Result<(), Failed> {
    let device = open.device();
    let (first, result) = timed(network, device)?;
    let mut writer = TensorWriter::default();
    writer.tensor("out", &result);
    writer.write(output, SaveAs::F32)?;
    drop(result);
    let isa = ldm_models::bench::isa();
    let told = format!("\"ready\": {loaded:.3}, \"first\": {first:.4}, \"isa\": \"{isa}\"");
    println!(
        "{{{told}, \"device\": \"{}\"{}}}",
        open.name(),
        state(network, device)
    );
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let answer = match words[..] {
            ["profile"] => profile(network, device),
            ["measure", count] => times(network, device, count.parse()?)?,
            _ => times(network, device, 1)?,
        };
        println!("{{{answer}{}}}", state(network, device));
        std::io::stdout().flush()?;
    }
    Ok(())
}

/// Seconds until the device has done all, and the result.
fn timed(network: &Network, device: &Device) -> Result<(f64, Tensor<4>), Failed> {
    let start = Instant::now();
    let result = network.run();
    device.sync()?;
    Ok((start.elapsed().as_secs_f64(), result))
}

fn times(network: &Network, device: &Device, count: usize) -> Result<String, Failed> {
    let each = (0..count.max(1)).map(|_| Ok(timed(network, device)?.0));
    let mut times = each.collect::<Result<Vec<f64>, Failed>>()?;
    let told: Vec<String> = times.iter().map(|time| format!("{time:.6}")).collect();
    times.sort_by(f64::total_cmp);
    let median = times[times.len() / 2];
    let told = told.join(", ");
    Ok(format!("\"seconds\": {median:.6}, \"times\": [{told}]"))
}

/// Device time by kernel.
fn profile(network: &Network, device: &Device) -> String {
    let launched = ldm_models::bench::profile(device, || drop(network.run()));
    let told = launched.iter().map(|one| {
        let (launches, seconds) = (one.launches, one.seconds);
        let kernel = &one.kernel;
        format!("{{\"kernel\": {kernel:?}, \"launches\": {launches}, \"seconds\": {seconds:.7}}}")
    });
    format!("\"profile\": [{}]", told.collect::<Vec<_>>().join(", "))
}

/// What burn's allocator tells of, and the kernels, nothing on the CPU; and whether all that was
/// to be replayed was.
fn state(network: &Network, device: &Device) -> String {
    let captured = matches!(network, Network::Captured(..)).then(|| {
        let captured = !CALLED.load(Ordering::Relaxed);
        format!(", \"captured\": {captured}")
    });
    let usage = device.memory_pool_usage().map(|usage| {
        let prepared = PREPARED.load(Ordering::Relaxed);
        let bytes = usage.bytes_reserved;
        format!(", \"device_bytes\": {bytes}, \"prepared\": {prepared}")
    });
    captured.into_iter().chain(usage).collect()
}

/// What a network is loaded from, and to where.
struct From<'a> {
    checkpoint: &'a Path,
    inputs: &'a Path,
    types: Types,
    device: Device,
}

/// A network with what it is run on.
#[expect(clippy::large_enum_variant, reason = "a process has one")]
enum Network {
    Unet(Box<UNet>, Tensor<4>, Tensor<1>, Told),
    Step(Box<UNet>, Tensor<4>, f64, Box<unet::Heard>),
    Captured(Captured<'static>, Tensor<4>, f64),
    Vae(Box<Autoencoder>, Tensor<4>),
    Clip(Box<ClipText>, Tensor<2, Int>),
}

impl Network {
    fn load(from: &From<'_>, name: &str) -> Result<Self, Failed> {
        let (device, types) = (&from.device, from.types);
        let files = Disk(from.checkpoint.to_path_buf());
        let found = Found::look(&files, Wanted::ALL, None)?;
        let inputs = TensorFile::open(from.inputs)?;
        match name {
            "unet" | "step" | "captured" => {
                let (unet, place) = found.unet.ok_or("no U-Net")?;
                let made = unet.part.config.init(device, 0)?;
                let unet = filled(made, &files, &place, &unet.part.table(), types)?;
                let latent = read(&inputs, "latent", device)?.cast(types.compute);
                let context = read(&inputs, "context", device)?.cast(types.compute);
                let t = read(&inputs, "t", device)?;
                let label = inputs.shape("label").is_some();
                let label = label.then(|| read(&inputs, "label", device)).transpose()?;
                let told = Told {
                    label,
                    ..Told::tokens(Some(context))
                };
                if name == "unet" {
                    return Ok(Self::Unet(Box::new(unet), latent, t, told));
                }
                let t = same(&inputs.read("t")?)?;
                let heard = unet.hear(&told).ahead(&[t]);
                if name == "step" {
                    return Ok(Self::Step(Box::new(unet), latent, t, Box::new(heard)));
                }
                // A capture borrows its network; a process has one of each, to its end.
                let unet: &'static UNet = Box::leak(Box::new(unet));
                let called = |_: &str| CALLED.store(true, Ordering::Relaxed);
                Ok(Self::Captured(
                    Captured::new(unet, heard, called),
                    latent,
                    t,
                ))
            }
            "vae" => {
                let (vae, place) = found.vae.ok_or("no autoencoder")?;
                let made = vae.part.config.init(device, 0)?;
                let vae = filled(made, &files, &place, &vae.part.table(), types)?;
                let z = read(&inputs, "z", device)?.cast(types.compute);
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

    /// The result; on a GPU it may still be computed.
    fn run(&self) -> Tensor<4> {
        match self {
            Self::Unet(unet, latent, t, told) => {
                unet.forward(latent.clone(), t.clone(), told.clone())
            }
            Self::Step(unet, latent, t, heard) => unet.step(latent.clone(), *t, heard, None),
            Self::Captured(captured, latent, t) => captured.step(latent.clone(), *t, None),
            Self::Vae(vae, z) => vae.decode(z.clone()),
            Self::Clip(text, ids) => {
                let states = text.states(text.embed(ids.clone()));
                let last = states.into_iter().next_back();
                text.norm(last.expect("a state after all")).unsqueeze()
            }
        }
    }
}

/// The timestep that all rows have: a step takes one.
fn same(t: &[f32]) -> Result<f64, Failed> {
    match t {
        [first, rest @ ..] if rest.iter().all(|other| other == first) => Ok(f64::from(*first)),
        _ => Err("rows with timesteps of their own are no step of a walk".into()),
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
