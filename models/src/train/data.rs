//! What a loop trains on.

/// Pictures with captions, reached by index.
///
/// An index always gives the same picture; that is what lets a loop resume. Pictures
/// are square and all of one size.
pub trait Dataset: Send + Sync {
    /// How many pictures there are; never 0.
    fn len(&self) -> usize;

    /// Whether there is nothing to train on.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Width and height of every picture, in pixels.
    fn size(&self) -> usize;

    /// Writes picture `index` into `out`, `[3, size, size]` in −1..1.
    fn picture(&self, index: usize, out: &mut [f32]);

    /// Every caption of picture `index`, at least one; a loop draws among them.
    fn captions(&self, index: usize) -> Vec<String>;

    /// Every word that captions use, sorted; what a tokenizer made for them knows.
    fn words(&self) -> Vec<String>;

    /// The pictures at `indices` in one buffer, `[n, 3, size, size]` in −1..1.
    fn pictures(&self, indices: &[usize]) -> Vec<f32> {
        let one = 3 * self.size() * self.size();
        let mut out = vec![0.0; one * indices.len()];
        for (&index, out) in indices.iter().zip(out.chunks_exact_mut(one)) {
            self.picture(index, out);
        }
        out
    }
}
