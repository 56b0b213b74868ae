//! What a network predicts (noise, picture, velocity), settled into `denoise`.
