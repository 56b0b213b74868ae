//! What encoding and decoding take, beside what plans are told that they take: a process of its
//! own, since its allocator counts for all of it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::tensor::{Device, Distribution, Tensor};
use ldm_models::autoencoder::{Autoencoder, KlAutoencoderConfig, VaeConfig, VqAutoencoderConfig};
use ldm_models::tiles::{Lay, Tiles};

/// The system's allocator, with a count of what is given out and of the most that was.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is the system's; counting changes nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        MOST.fetch_max(now, Ordering::Relaxed);
        // SAFETY: the caller's promises are the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static MEMORY: Counting = Counting;

/// The most bytes that `work` held at once beyond what was held before, the second time: the
/// first draws weights, and gives threads what they work in.
fn most<T>(work: impl Fn() -> T) -> u64 {
    drop(work());
    let before = NOW.load(Ordering::Relaxed);
    MOST.store(before, Ordering::Relaxed);
    drop(work());
    (MOST.load(Ordering::Relaxed) - before) as u64
}

fn random(shape: [usize; 4]) -> Tensor<4> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), &Device::flex())
}

/// Stable Diffusion's with a quarter of its widths; the paper's f4 with a codebook; one that
/// attends at every size.
///
/// With each, the height and width of a picture.
fn configs() -> [(VaeConfig, [usize; 2]); 3] {
    let kl = |ch, mult: &[usize], attends: &[usize]| KlAutoencoderConfig {
        in_channels: 3,
        ch,
        ch_mult: mult.to_vec(),
        num_res_blocks: 2,
        attn_resolutions: attends.to_vec(),
        resolution: 128,
        z_channels: 4,
        embed_dim: 4,
        groups: 8,
    };
    let coded = VqAutoencoderConfig {
        in_channels: 3,
        ch: 32,
        ch_mult: vec![1, 2, 4],
        num_res_blocks: 2,
        attn_resolutions: vec![],
        resolution: 256,
        attention: true,
        z_channels: 3,
        embed_dim: 3,
        codes: 64,
        groups: 8,
    };
    [
        (VaeConfig::Kl(kl(32, &[1, 2, 4, 4], &[])), [256, 192]),
        (VaeConfig::Vq(coded), [256, 192]),
        (VaeConfig::Kl(kl(16, &[2, 2], &[128, 64])), [128, 96]),
    ]
}

/// What is told beyond what was found is for turned weights and pictures beside the network.
fn check(what: &str, found: u64, told: u64) {
    let share = found as f64 / told as f64;
    assert!(
        (0.6..1.0).contains(&share),
        "{what} took {found} bytes, {share:.2} of what was told"
    );
}

#[test]
fn activations_take_what_plans_are_told() {
    // What threads work in is not told, and grows with them.
    let two = rayon::ThreadPoolBuilder::new().num_threads(2);
    two.build_global().expect("the first pool");
    for (config, [height, width]) in configs() {
        let factor = config.factor();
        let network: Autoencoder = config.init(&Device::flex(), 1).expect("a network");
        let latent = [height / factor, width / factor];
        let z = random([1, config.embed_dim(), latent[0], latent[1]]);
        let x = random([1, 3, height, width]);
        let found = most(|| network.decode(z.clone()));
        check("decoding", found, config.decode_bytes(latent));
        let found = most(|| network.encode(x.clone(), None));
        check("encoding", found, config.encode_bytes(latent));

        let tiles = Tiles {
            size: height / 2 / factor,
            overlap: 16 / factor,
            lay: Lay::Evenly,
        };
        let tile = [tiles.size; 2];
        let go_on = |_: usize, _: usize| Ok::<(), ()>(());
        let found = most(|| network.decode_tiled(&z, tiles, go_on));
        check("decoding in tiles", found, config.decode_bytes(tile));
        let found = most(|| network.encode_tiled(&x, None, tiles, go_on));
        check("encoding in tiles", found, config.encode_bytes(tile));
    }
}
