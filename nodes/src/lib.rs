//! The node library: one kind of node, one short file.
//!
//! ```text
//! values       what travels on links, with the facts that planning knows of it
//! machine      the device that nodes compute on, lent by the program
//! weights      networks in memory, under a budget
//! carried      what a finished picture file holds: pixels, and the graph that made it
//! load_model … the nodes, one a file; `list` is their order on the reference page
//! ```
//!
//! Promises
//! - A node reaches files, progress and the device through its context alone.
//! - A pairing that cannot work (channels, widths, scales, sizes) is an error while planning,
//!   at the field it comes from; the same check runs again on the values.
//! - Every kind's example is run by a test, and a result that moves without its kind's version
//!   moving fails one.
//!
//! A program opens a [`Machine`], lends it to its runs, and passes its
//! [`numerics`](Machine::numerics) to the engine's `Host`.
//!
//! Not here: networks and samplers (`ldm-models`), graphs and caches (`ldm-engine`).

mod array;
mod carried;
mod checkpoint;
mod choices;
mod coding;
mod fit;
mod guidance;
mod hole;
mod list;
mod machine;
mod model_folder;
mod picture;
mod preparing;
mod prompted;
mod reading;
mod ready;
mod sampling;
#[cfg(test)]
mod tests;
mod tiling;
pub mod values;
mod weights;

mod apply_control_net;
mod apply_lora;
mod average_conditioning;
mod class_encode;
mod combine_conditioning;
mod concat_conditioning;
mod concat_image;
mod concat_latent;
mod dataset_image;
mod denoise;
mod empty_latent;
mod evaluate;
mod image_scale;
mod image_upscale;
mod inpaint_conditioning;
mod instruct_conditioning;
mod load_checkpoint;
mod load_control_net;
mod load_image;
mod load_latent;
mod load_model;
mod load_text_encoder;
mod load_unet;
mod load_upscale_model;
mod load_vae;
mod model_sampling;
mod preview;
mod save_image;
mod save_latent;
mod save_model;
mod save_report;
mod semantic_encode;
mod set_area;
mod set_class;
mod set_mask;
mod set_strength;
mod set_timestep_range;
mod text_encode;
mod text_encode_sdxl;
mod train_autoencoder;
mod train_diffusion;
mod vae_decode;
mod vae_encode;
mod world_dataset;
mod zero_out_conditioning;

pub use array::Array;
pub use carried::{Carried, Difference};
pub use choices::Chosen;
pub use guidance::{Guidance, RescaleOf};
pub use ldm_models::bench;
pub use ldm_models::device::{DeviceChoice, DeviceError, Isa};
pub use ldm_models::inspect::{self, Inspected};
pub use ldm_models::read::OutOfMemory;
pub use ldm_models::{memory, prepare};
pub use list::list;
pub use machine::{Machine, Precision};
pub use weights::Weights;
