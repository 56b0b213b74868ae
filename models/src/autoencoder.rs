//! The KL autoencoder: pictures to latents and back.
