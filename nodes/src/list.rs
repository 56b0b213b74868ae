//! The list of kinds, in the order of the reference page: what a newcomer meets first comes
//! first. Nothing registers itself; a kind that is not here does not exist.

use ldm_engine::{Kind, kind};

use crate::apply_control_net::ApplyControlNet;
use crate::apply_lora::ApplyLora;
use crate::average_conditioning::AverageConditioning;
use crate::class_encode::ClassEncode;
use crate::combine_conditioning::CombineConditioning;
use crate::concat_conditioning::ConcatConditioning;
use crate::concat_image::ConcatImage;
use crate::concat_latent::ConcatLatent;
use crate::dataset_image::DatasetImage;
use crate::denoise::Denoise;
use crate::empty_latent::EmptyLatent;
use crate::evaluate::Evaluate;
use crate::image_scale::ImageScale;
use crate::image_upscale::ImageUpscale;
use crate::inpaint_conditioning::InpaintConditioning;
use crate::instruct_conditioning::InstructConditioning;
use crate::load_checkpoint::LoadCheckpoint;
use crate::load_control_net::LoadControlNet;
use crate::load_image::LoadImage;
use crate::load_latent::LoadLatent;
use crate::load_model::LoadModel;
use crate::load_text_encoder::LoadTextEncoder;
use crate::load_unet::LoadUnet;
use crate::load_upscale_model::LoadUpscaleModel;
use crate::load_vae::LoadVae;
use crate::model_sampling::ModelSampling;
use crate::preview::Preview;
use crate::save_image::SaveImage;
use crate::save_latent::SaveLatent;
use crate::save_model::SaveModel;
use crate::save_report::SaveReport;
use crate::semantic_encode::SemanticEncode;
use crate::set_area::SetArea;
use crate::set_class::SetClass;
use crate::set_mask::SetMask;
use crate::set_strength::SetStrength;
use crate::set_timestep_range::SetTimestepRange;
use crate::text_encode::TextEncode;
use crate::text_encode_sdxl::TextEncodeSdxl;
use crate::train_autoencoder::TrainAutoencoder;
use crate::train_diffusion::TrainDiffusion;
use crate::vae_decode::VaeDecode;
use crate::vae_encode::VaeEncode;
use crate::world_dataset::WorldDataset;
use crate::zero_out_conditioning::ZeroOutConditioning;

/// Every kind of node.
pub fn list() -> Vec<Kind> {
    vec![
        kind::<LoadModel>(),
        kind::<LoadCheckpoint>(),
        kind::<LoadUnet>(),
        kind::<LoadVae>(),
        kind::<LoadTextEncoder>(),
        kind::<TextEncode>(),
        kind::<EmptyLatent>(),
        kind::<Denoise>(),
        kind::<VaeDecode>(),
        kind::<SaveImage>(),
        kind::<Preview>(),
        kind::<LoadImage>(),
        kind::<VaeEncode>(),
        kind::<CombineConditioning>(),
        kind::<TextEncodeSdxl>(),
        kind::<ClassEncode>(),
        kind::<SemanticEncode>(),
        kind::<ApplyLora>(),
        kind::<ConcatConditioning>(),
        kind::<AverageConditioning>(),
        kind::<ZeroOutConditioning>(),
        kind::<SetArea>(),
        kind::<SetMask>(),
        kind::<SetStrength>(),
        kind::<SetTimestepRange>(),
        kind::<SetClass>(),
        kind::<InpaintConditioning>(),
        kind::<InstructConditioning>(),
        kind::<LoadControlNet>(),
        kind::<ApplyControlNet>(),
        kind::<ConcatLatent>(),
        kind::<ConcatImage>(),
        kind::<ImageScale>(),
        kind::<LoadUpscaleModel>(),
        kind::<ImageUpscale>(),
        kind::<ModelSampling>(),
        kind::<LoadLatent>(),
        kind::<SaveLatent>(),
        kind::<SaveModel>(),
        kind::<WorldDataset>(),
        kind::<DatasetImage>(),
        kind::<TrainAutoencoder>(),
        kind::<TrainDiffusion>(),
        kind::<Evaluate>(),
        kind::<SaveReport>(),
    ]
}
