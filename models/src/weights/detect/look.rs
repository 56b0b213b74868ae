//! Looking into a file for the layers of one network.

use super::super::TensorFile;

/// A file, whose names of interest all begin with `prefix`.
#[derive(Clone, Copy)]
pub(super) struct Look<'a> {
    pub(super) file: &'a TensorFile,
    pub(super) prefix: &'a str,
}

impl<'a> Look<'a> {
    /// The shape of the tensor `name`, behind the prefix.
    pub(super) fn shape(self, name: &str) -> Option<&'a [usize]> {
        self.file.shape(&format!("{}{name}", self.prefix))
    }

    /// What a layer makes, and of how many numbers: the first axes of its `weight`.
    pub(super) fn layer(self, name: &str) -> Option<(usize, usize)> {
        match self.shape(&format!("{name}.weight"))? {
            [to, from, ..] => Some((*to, *from)),
            _ => None,
        }
    }

    /// Whether any tensor is called so, or so and more.
    pub(super) fn any(self, beginning: &str) -> bool {
        self.file.has_under(&format!("{}{beginning}", self.prefix))
    }

    /// How many parts there are in a row, from 0: those that some tensor's name begins with.
    pub(super) fn count(self, part: impl Fn(usize) -> String) -> usize {
        // A file of so many tensors is refused before; this bounds what a name can cost.
        (0..1 << 10).take_while(|i| self.any(&part(*i))).count()
    }
}
