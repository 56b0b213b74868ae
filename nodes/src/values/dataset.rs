//! `Dataset`: pictures with captions to train and test on.

use std::sync::Arc;

use ldm_engine::{Data, Identity, Storage};
use ldm_models::train::Dataset as Pictures;

/// A handle on pictures and captions reached by index.
#[derive(Clone)]
pub struct Dataset {
    pictures: Arc<dyn Pictures>,
    identity: Identity,
}

/// What is known of a [`Dataset`] before it exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DatasetFacts {
    /// How many pictures there are.
    pub count: usize,
    /// Width and height of each.
    pub size: usize,
}

impl Dataset {
    /// A dataset that `made_of` tells wholly: version, seed and count of a painter, or hashes
    /// of files.
    pub fn new(pictures: impl Pictures + 'static, made_of: &[&[u8]]) -> Self {
        let identity = Identity::of(&[Self::NAME.as_bytes(), &Identity::of(made_of).0]);
        Self {
            pictures: Arc::new(pictures),
            identity,
        }
    }

    /// The pictures and captions.
    pub fn pictures(&self) -> &dyn Pictures {
        &*self.pictures
    }

    /// How many there are and how large.
    pub fn facts(&self) -> DatasetFacts {
        DatasetFacts {
            count: self.pictures.len(),
            size: self.pictures.size(),
        }
    }
}

impl Data for Dataset {
    const NAME: &'static str = "Dataset";

    fn identity(&self) -> Identity {
        self.identity
    }
    fn bytes(&self) -> u64 {
        size_of::<Self>() as u64
    }
    fn storage(&self) -> Storage {
        Storage::Handle
    }
}
