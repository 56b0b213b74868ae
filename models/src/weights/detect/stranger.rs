//! What a file is in which none of the networks was found that a checkpoint may hold.
//!
//! Promise: names alone tell; no tensor is read.
//!
//! Not here: web pages, archives and other files without tensors (`format`).

use super::super::TensorFile;
use crate::adapter::Adapter;
use crate::control;
use crate::upscale;

/// What the names of a file's tensors say that it is, and what to do; `None` where they say
/// nothing to us.
pub fn stranger(file: &TensorFile) -> Option<&'static str> {
    if let Some(what) = foreign(file) {
        return Some(what);
    }
    if Adapter::is_one(file) {
        return Some("an adapter, which changes another model: give it to `ApplyLora`");
    }
    if control::recognise(file, None).is_ok() {
        return Some("a ControlNet or a T2I-Adapter: give it to `LoadControlNet`");
    }
    if file.has_averages() {
        return Some(AVERAGES);
    }
    let upscaler = upscale::recognise(file).is_ok();
    upscaler.then_some("an upscaler: give it to `LoadUpscaleModel`")
}

/// The same of a network that nothing here runs.
pub(crate) fn foreign(file: &TensorFile) -> Option<&'static str> {
    let names = file.names();
    let said = |(part, _): &&(&str, _)| names.iter().any(|name| name.contains(part));
    let (_, what) = FOREIGN.iter().find(said)?;
    // An adapter for a transformer has the transformer's names.
    (*what != TRANSFORMER || !Adapter::is_one(file)).then_some(*what)
}

/// Parts of names, and what has them; the first that is found counts.
const FOREIGN: &[(&str, &str)] = &[
    ("lora_controlnet", CONTROL_LORA),
    (
        "lllite_",
        "a ControlNet-LLLite, which is not known here: use the whole ControlNet",
    ),
    ("task_embedding", UNION),
    ("control_add_embedding.", UNION),
    (
        "decoder.layers.",
        "a small autoencoder like TAESD, which is not known here",
    ),
    (
        "motion_modules.",
        "a motion module of AnimateDiff: videos are not made here",
    ),
    ("time_stack.", "a model of videos, which are not made here"),
    (".to_k_ip.", IP_ADAPTER),
    ("ip_adapter.", IP_ADAPTER),
    ("double_blocks.0.", TRANSFORMER),
    ("joint_blocks.0.", TRANSFORMER),
    ("single_transformer_blocks.0.", TRANSFORMER),
    ("transformer_blocks.0.attn.add_k_proj.", TRANSFORMER),
    ("adaln_single.", TRANSFORMER),
    ("adaLN_modulation.", TRANSFORMER),
    (
        "SelfAttention.relative_attention_bias.",
        "the text encoder T5, which no UNet here reads",
    ),
    ("relative_position_bias_table", WINDOWS),
    (
        "vision_model.embeddings.",
        "CLIP's encoder of pictures, which nothing here reads",
    ),
];

const AVERAGES: &str = "the averages of a UNet's weights alone, under names that lost their dots: \
                        use the whole checkpoint";
const CONTROL_LORA: &str = "a Control-LoRA, which is not known here: use the whole ControlNet";
const UNION: &str =
    "a union of ControlNets, which is not known here: use the ControlNet of one kind of hint";
const IP_ADAPTER: &str = "an IP-Adapter, which is not known here";
const TRANSFORMER: &str = "a model with a transformer in place of a UNet, as those after Stable \
                           Diffusion XL are, which is not run here: use Stable Diffusion 1, 2 \
                           or XL";
const WINDOWS: &str = "an upscaler that attends in windows, as SwinIR does, which is not known \
                       here: use one of ESRGAN's family";

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Tensor};

    use super::*;
    use crate::weights::{SaveAs, TensorWriter};

    /// What a file of tensors with these names is.
    fn said(names: &[&str]) -> Option<&'static str> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let mut writer = TensorWriter::default();
        for name in names {
            writer.tensor(name, &Tensor::<1>::ones([1], &Device::flex()));
        }
        writer.write(&path, SaveAs::F32).unwrap();
        stranger(&TensorFile::open(&path).unwrap())
    }

    #[test]
    fn files_of_other_kinds_are_called_what_they_are() {
        let flux = "model.diffusion_model.double_blocks.0.img_attn.qkv";
        let of_flux = [
            format!("diffusion_model.{flux}.lora_A.weight"),
            format!("diffusion_model.{flux}.lora_B.weight"),
        ];
        let of_sd = [
            "lora_unet_conv_in.lora_down.weight",
            "lora_unet_conv_in.lora_up.weight",
        ];
        for (names, wanted) in [
            (
                &[&format!("{flux}.weight")[..]][..],
                "a model with a transformer",
            ),
            (&[&of_flux[0], &of_flux[1]], "give it to `ApplyLora`"),
            (&of_sd, "give it to `ApplyLora`"),
            (
                &["lora_controlnet", "input_blocks.1.0.in_layers.2.up"],
                "a Control-LoRA",
            ),
            (
                &["lllite_unet_input_blocks_4.down.0.weight"],
                "ControlNet-LLLite",
            ),
            (
                &["task_embedding", "conv_in.weight"],
                "a union of ControlNets",
            ),
            (
                &["model_ema.diffusion_modelout2weight"],
                "the averages of a UNet's weights alone",
            ),
            (&["ip_adapter.1.to_k_ip.weight"], "an IP-Adapter"),
            (
                &["down_blocks.0.motion_modules.0.proj_in.weight"],
                "AnimateDiff",
            ),
        ] {
            let said = said(names).unwrap_or_default();
            assert!(said.contains(wanted), "{names:?}: {said}");
        }
        assert_eq!(said(&["foo.weight"]), None);
    }
}
