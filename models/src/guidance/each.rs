//! The pictures of a batch one by one: in the memory that one takes.
//!
//! A batch draws its noise at once and is walked at once, so this is no sampler's business: only
//! the network's calls are of one picture each.

use burn::tensor::Tensor;

use crate::prediction::{Both, Network};

/// For each picture of a batch the network that predicts it, told what is of that picture
/// ([`Condition::of_picture`](super::Condition::of_picture)).
pub struct OneByOne<N>(
    /// As many as there are pictures, in their order.
    pub Vec<N>,
);

impl<N: Network> Network for OneByOne<N> {
    fn predict(&self, x: Tensor<4>, t: f64) -> Tensor<4> {
        let each = self.0.iter().enumerate();
        let each = each.map(|(at, network)| network.predict(x.clone().narrow(0, at, 1), t));
        Tensor::cat(each.collect(), 0)
    }

    fn predict_both(&self, x: Tensor<4>, t: f64) -> Both {
        let each = self.0.iter().enumerate();
        let each = each.map(|(at, network)| {
            let both = network.predict_both(x.clone().narrow(0, at, 1), t);
            (both.guided, both.negative)
        });
        let (guided, negative): (Vec<_>, Vec<_>) = each.unzip();
        Both {
            guided: Tensor::cat(guided, 0),
            negative: Tensor::cat(negative, 0),
        }
    }

    fn ahead(&self, timesteps: &[f64]) {
        self.0.iter().for_each(|network| network.ahead(timesteps));
    }
}
