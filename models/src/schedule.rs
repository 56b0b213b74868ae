//! The noise schedule: β, ᾱ and σ over training's timesteps.
