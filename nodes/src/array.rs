//! Numbers on the host with their shape: what every data value is made of.
//!
//! Values rest here rather than on the device: the cache counts and stores host memory, an
//! identity needs the bits anyway, and a latent's way to a GPU is short.
//!
//! Promises
//! - Identities and stored bytes cover shape and bits, so equal identity means equal numbers.
//! - What a device gives is checked: a failed launch or a NaN is an error here, not a black
//!   picture later.

use std::borrow::Cow;
use std::collections::HashMap;

use burn::tensor::{DType, Device, Tensor, TensorData};
use ldm_engine::{Error, Hasher, Result};
use ldm_models::read::ReadError;
use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensors, serialize};

use crate::machine;

/// The header entry that holds what a value is besides its numbers.
pub(crate) const NOTE: &str = "ldm-graph";

/// `f32` numbers in row-major order.
#[derive(Debug, Clone, PartialEq)]
pub struct Array<const D: usize> {
    shape: [usize; D],
    numbers: Vec<f32>,
}

/// What to do about numbers that ran over.
const RAN_OVER: &str = "use `--dtype f32` or a lower `cfg`; where a weight was said to hold NaN, \
                        fetch its file again";

impl<const D: usize> Array<D> {
    /// `numbers` as an array of `shape`.
    ///
    /// # Panics
    /// When there are not as many numbers as the shape says: a fault of the caller.
    pub fn new(shape: [usize; D], numbers: Vec<f32>) -> Self {
        assert_eq!(
            shape.iter().product::<usize>(),
            numbers.len(),
            "numbers fill {shape:?}"
        );
        Self { shape, numbers }
    }

    /// Zeros.
    pub fn zeros(shape: [usize; D]) -> Self {
        Self {
            shape,
            numbers: vec![0.0; shape.iter().product()],
        }
    }

    /// What was read back from a device; `what` names it.
    ///
    /// # Errors
    /// When the device failed, or gave a number that is none.
    pub(crate) fn of_device(
        shape: [usize; D],
        read: Result<Vec<f32>, ReadError>,
        what: &str,
    ) -> Result<Self> {
        let numbers = read.map_err(|e| match e {
            ReadError::OutOfMemory(e) => machine::out_of_memory(&e).context(what),
            ReadError::Failed(words) => Error::new(format!("{what}: {words}")),
        })?;
        if let Some(bad) = numbers.iter().find(|x| !x.is_finite()) {
            let message = format!("{what} holds {bad}: the network's numbers ran over");
            return Err(Error::new(message).hint(RAN_OVER));
        }
        Ok(Self::new(shape, numbers))
    }

    /// The array on a device.
    pub fn tensor(&self, device: &Device, dtype: DType) -> Tensor<D> {
        let data = TensorData::new(self.numbers.clone(), self.shape);
        Tensor::<D>::from_data(data, (device, DType::F32)).cast(dtype)
    }

    /// How long each axis is.
    pub fn shape(&self) -> [usize; D] {
        self.shape
    }

    /// The numbers in row-major order.
    pub fn numbers(&self) -> &[f32] {
        &self.numbers
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> u64 {
        size_of_val(&self.numbers[..]) as u64
    }

    /// Adds shape and bits to an identity.
    pub fn hash_into(&self, hasher: &mut Hasher) {
        let shape: Vec<u8> = self
            .shape
            .iter()
            .flat_map(|n| (*n as u64).to_le_bytes())
            .collect();
        hasher
            .part(&shape)
            .part(bytemuck::cast_slice(&self.numbers));
    }

    fn view(&self) -> Result<TensorView<'_>> {
        let bytes = bytemuck::cast_slice(&self.numbers);
        Ok(TensorView::new(Dtype::F32, self.shape.to_vec(), bytes)?)
    }
}

/// A value being written down as a safetensors file.
#[derive(Default)]
pub(crate) struct Pack<'a>(Vec<(String, TensorView<'a>)>);

impl<'a> Pack<'a> {
    pub(crate) fn with<const D: usize>(
        mut self,
        name: impl Into<String>,
        array: &'a Array<D>,
    ) -> Result<Self> {
        self.0.push((name.into(), array.view()?));
        Ok(self)
    }

    /// The file's bytes; `note` says what the value is besides its numbers.
    pub(crate) fn bytes(self, note: String) -> Result<Cow<'static, [u8]>> {
        // A map of one entry has one order: the same value gives the same bytes.
        let notes = (!note.is_empty()).then(|| HashMap::from([(NOTE.to_owned(), note)]));
        Ok(serialize(self.0, notes)?.into())
    }
}

/// A value being read back.
pub(crate) struct Unpack<'a> {
    tensors: SafeTensors<'a>,
    pub(crate) note: String,
}

impl<'a> Unpack<'a> {
    pub(crate) fn open(bytes: &'a [u8]) -> Result<Self> {
        let (_, header) = SafeTensors::read_metadata(bytes)?;
        let notes = header.metadata().as_ref();
        let note = notes
            .and_then(|notes| notes.get(NOTE))
            .cloned()
            .unwrap_or_default();
        Ok(Self {
            tensors: SafeTensors::deserialize(bytes)?,
            note,
        })
    }

    pub(crate) fn find<const D: usize>(&self, name: &str) -> Result<Option<Array<D>>> {
        let Ok(view) = self.tensors.tensor(name) else {
            return Ok(None);
        };
        let wrong = || Error::new(format!("`{name}` is {:?} {}", view.shape(), view.dtype()));
        let shape = <[usize; D]>::try_from(view.shape()).map_err(|_| wrong())?;
        if view.dtype() != Dtype::F32 {
            return Err(wrong());
        }
        let (numbers, _) = view.data().as_chunks::<4>();
        Ok(Some(Array::new(
            shape,
            numbers.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        )))
    }

    pub(crate) fn get<const D: usize>(&self, name: &str) -> Result<Array<D>> {
        self.find(name)?
            .ok_or_else(|| Error::new(format!("there is no `{name}` in it")))
    }
}

#[cfg(test)]
mod tests {
    use ldm_models::read::numbers;

    use super::*;

    /// There and back.
    fn back<const D: usize>(array: &Array<D>) -> Result<Array<D>> {
        let tensor = array.tensor(&Device::flex(), DType::F32);
        Array::of_device(array.shape, numbers(tensor), "the picture")
    }

    #[test]
    fn an_array_comes_back_from_a_device_and_from_bytes() {
        let array = Array::new([1, 2, 3], vec![0.5, -1.0, 2.0, 1e-30, -0.0, 3.0]);
        assert_eq!(back(&array).unwrap(), array);
        let bytes = Pack::default()
            .with("a", &array)
            .unwrap()
            .bytes("note".into())
            .unwrap();
        let back = Unpack::open(&bytes).unwrap();
        assert_eq!(
            (back.get::<3>("a").unwrap(), &back.note[..]),
            (array, "note")
        );
        assert!(back.get::<2>("a").is_err());
        assert!(back.get::<3>("b").is_err());
    }

    #[test]
    fn a_number_that_is_none_is_refused() {
        let array = Array::new([2], vec![1.0, f32::NAN]);
        let error = back(&array).unwrap_err();
        assert!(error.message().starts_with("the picture holds NaN"));
    }

    #[test]
    fn identities_tell_shape_and_bits_apart() {
        let identity = |shape, numbers: [f32; 4]| {
            let mut hasher = Hasher::default();
            Array::<2>::new(shape, numbers.to_vec()).hash_into(&mut hasher);
            hasher.finish()
        };
        let one = identity([2, 2], [0.0; 4]);
        assert_eq!(one, identity([2, 2], [0.0; 4]));
        assert_ne!(one, identity([1, 4], [0.0; 4]));
        assert_ne!(one, identity([2, 2], [0.0, 0.0, 0.0, -0.0]));
    }
}
