//! The U-Net that predicts the noise.
