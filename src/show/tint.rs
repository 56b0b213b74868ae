//! A colour for each type of value, on light and on dark ground.

/// Types that we know, with colours that tell those apart that meet in one graph.
const KNOWN: [(&str, Tint); 17] = [
    ("Unet", Tint::new("#8250df", "#b392f0")),
    ("Vae", Tint::new("#cf222e", "#ff7b72")),
    ("TextEncoder", Tint::new("#9a6700", "#e3b341")),
    ("Latent", Tint::new("#bf3989", "#f778ba")),
    ("Conditioning", Tint::new("#bc4c00", "#ffa657")),
    ("Image", Tint::new("#0969da", "#58a6ff")),
    ("Mask", Tint::new("#1a7f37", "#56d364")),
    ("Dataset", Tint::new("#0e7c86", "#39c5cf")),
    ("ControlNet", Tint::new("#4d7c0f", "#a3d65c")),
    ("UpscaleModel", Tint::new("#a21caf", "#e0a3ff")),
    ("Sigmas", Tint::new("#7a5c3e", "#d0b08a")),
    ("Noise", Tint::new("#4b5d73", "#9fb3c8")),
    ("Report", Tint::new("#57606a", "#a0aab4")),
    ("Text", Tint::new("#3558a0", "#a5c8ff")),
    ("Int", Tint::new("#2f6f5e", "#7ee2c4")),
    ("Float", Tint::new("#1b6e8c", "#7fd0ea")),
    ("Bool", Tint::new("#8c2f5b", "#f0a3c4")),
];

/// Two colours for one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tint {
    /// On light ground.
    pub(crate) light: &'static str,
    /// On dark ground.
    pub(crate) dark: &'static str,
}

impl Tint {
    const fn new(light: &'static str, dark: &'static str) -> Self {
        Self { light, dark }
    }

    /// The colours of a type; those of some known one for a type that nobody told us of.
    pub(crate) fn of(data: &str) -> Self {
        let known = KNOWN.iter().find(|(name, _)| *name == data);
        let sum: usize = data.bytes().map(usize::from).sum();
        known.map_or(KNOWN[sum % KNOWN.len()].1, |(_, tint)| *tint)
    }
}
