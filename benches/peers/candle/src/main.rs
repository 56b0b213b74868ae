//! candle, as one of the programs that `networks.py` measures.
//!
//! `candle-peer FOLDER unet|vae|clip f32 THREADS INPUTS OUTPUT`; answers as `served.py` says.

use std::io::BufRead;
use std::time::Instant;

use candle_core::{safetensors, DType, Device, Module, Result, Tensor};
use candle_transformers::models::stable_diffusion::{build_clip_transformer, StableDiffusionConfig};

type Run = Box<dyn Fn() -> Result<Tensor>>;

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [folder, network, _, threads, inputs, output] = &words[..] else {
        candle_core::bail!("candle-peer FOLDER unet|vae|clip f32 THREADS INPUTS OUTPUT");
    };
    // Read by candle before its first operation.
    std::env::set_var("RAYON_NUM_THREADS", threads);
    let start = Instant::now();
    let run = load(folder, network, inputs)?;
    let ready = start.elapsed().as_secs_f64();
    let start = Instant::now();
    let result = run()?;
    let first = start.elapsed().as_secs_f64();
    safetensors::save(&[("out", result)].into(), output)?;
    println!(
        "{{\"ready\": {ready}, \"first\": {first}, \"versions\": {{\"candle-transformers\": \"0.11.1\"}}}}"
    );
    for line in std::io::stdin().lock().lines() {
        line?;
        let start = Instant::now();
        run()?;
        println!("{{\"seconds\": {}}}", start.elapsed().as_secs_f64());
    }
    Ok(())
}

fn load(folder: &str, network: &str, inputs: &str) -> Result<Run> {
    let (device, dtype) = (Device::Cpu, DType::F32);
    let config = StableDiffusionConfig::v1_5(None, None, None);
    let told = safetensors::load(inputs, &device)?;
    let told = |name: &str| told[name].clone();
    let weights = |part: &str, file: &str| format!("{folder}/{part}/{file}.safetensors");
    Ok(match network {
        "unet" => {
            let file = weights("unet", "diffusion_pytorch_model");
            let unet = config.build_unet(file, &device, 4, false, dtype)?;
            let (latent, context) = (told("latent"), told("context"));
            let t = f64::from(told("t").to_vec1::<f32>()?[0]);
            Box::new(move || unet.forward(&latent, t, &context))
        }
        "vae" => {
            let file = weights("vae", "diffusion_pytorch_model");
            let (vae, z) = (config.build_vae(file, &device, dtype)?, told("z"));
            Box::new(move || vae.decode(&z))
        }
        _ => {
            let file = weights("text_encoder", "model");
            let text = build_clip_transformer(&config.clip, file, &device, dtype)?;
            let ids = told("ids").to_dtype(DType::U32)?;
            Box::new(move || text.forward(&ids))
        }
    })
}
