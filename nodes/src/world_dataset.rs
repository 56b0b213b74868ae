//! `WorldDataset`: scenes of the little world, painted as they are asked for.

use ldm_engine::{Choice, Ctx, Facts, Node, Result};
use ldm_models::train;
use ldm_world::{Scene, VERSION};

use crate::values::{Dataset, DatasetFacts};

/// Scenes of the little world with their captions, drawn from a seed.
///
/// Nothing is stored: scene number 7 is painted again whenever it is wanted, and is the same on
/// every machine.
///
/// ```ron
/// "scenes": WorldDataset(seed: 1, count: 30000, split: Train)
/// ```
#[derive(Node)]
pub(crate) struct WorldDataset {
    /// Which scenes; two seeds share none but by chance.
    #[node(default = 0)]
    seed: u64,
    /// How many.
    #[node(range = 1..=100_000_000)]
    count: usize,
    /// Whether combinations are left out that training never sees.
    #[node(default = Split::Train)]
    split: Split,
    /// Width and height of a picture.
    #[node(default = 64, range = 8..=4096, unit = "px")]
    size: usize,
}

/// Which scenes may be drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Choice)]
pub(crate) enum Split {
    /// Without the combinations that are held out to test on.
    Train,
    /// Any, held-out combinations among them.
    Any,
}

/// The scenes of one node.
struct World {
    seed: u64,
    count: usize,
    split: Split,
    size: usize,
}

impl World {
    fn scene(&self, index: usize) -> Scene {
        let seed = self.seed.wrapping_mul(1 << 32).wrapping_add(index as u64);
        match self.split {
            Split::Train => Scene::train(seed),
            Split::Any => Scene::from_seed(seed),
        }
    }
}

impl train::Dataset for World {
    fn len(&self) -> usize {
        self.count
    }
    fn size(&self) -> usize {
        self.size
    }
    fn picture(&self, index: usize, out: &mut [f32]) {
        let rgb = self.scene(index).paint(self.size).rgb;
        let area = self.size * self.size;
        for (at, pixel) in rgb.chunks_exact(3).enumerate() {
            for (channel, byte) in pixel.iter().enumerate() {
                out[channel * area + at] = f32::from(*byte) / 127.5 - 1.0;
            }
        }
    }
    fn captions(&self, index: usize) -> Vec<String> {
        self.scene(index)
            .captions()
            .into_iter()
            .map(|caption| caption.text)
            .collect()
    }

    fn words(&self) -> Vec<String> {
        ldm_world::vocabulary()
            .iter()
            .map(|word| (*word).to_owned())
            .collect()
    }
}

impl Node for WorldDataset {
    type Out = Dataset;

    fn facts(&self, facts: &mut Facts<'_>) -> Result<()> {
        facts.give(DatasetFacts {
            count: self.count,
            size: self.size,
        });
        Ok(())
    }

    fn run(&self, _ctx: &mut Ctx<'_>) -> Result<Dataset> {
        let Self {
            seed,
            count,
            split,
            size,
        } = *self;
        let numbers = format!("world {VERSION}: {seed} {count} {split:?} {size}");
        Ok(Dataset::new(
            World {
                seed,
                count,
                split,
                size,
            },
            &[numbers.as_bytes()],
        ))
    }
}
