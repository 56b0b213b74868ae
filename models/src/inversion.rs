//! Textual inversion: learned vectors that a prompt calls by name. Gal et al. 2022
//! (arXiv 2208.01618).
//!
//! | layout | tensors |
//! |---|---|
//! | bare | one, without a name (a pickle) or called `emb_params` |
//! | diffusers | one, called as the token |
//! | AUTOMATIC1111 | `string_to_param.*` among notes |
//! | Stable Diffusion XL | `clip_l` and `clip_g` |
//!
//! Each is `[width]`, or `[n, width]` for n tokens in a row.
//!
//! Promises
//! - Works on any list of named tensors, so that pickles and safetensors files are read alike.
//! - What fits no layout is refused with the names found.
//!
//! Not here: opening files; the place of the vectors in a prompt (`prompt`).

use std::sync::Arc;

use crate::adapter::Adapter;
use crate::error::{Error, Result};
use crate::weights::TensorFile;

/// More vectors than any prompt has room for.
const MOST_VECTORS: usize = 1 << 12;

/// A tensor with its name: what an inversion is read from.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedTensor {
    /// As the file calls it; parts of nested dictionaries joined by dots, empty if there is none.
    pub name: String,
    /// How long each axis is.
    pub shape: Vec<usize>,
    /// Its numbers, row by row.
    pub numbers: Vec<f32>,
}

/// Learned vectors, called by a name.
#[derive(Clone, Debug, PartialEq)]
pub struct Inversion {
    name: String,
    vectors: Vectors,
}

#[derive(Clone, Debug, PartialEq)]
enum Vectors {
    /// For the one text encoder that they fit.
    One(Table),
    /// For the two of Stable Diffusion XL.
    Two { first: Table, second: Table },
}

/// Vectors of one width.
#[derive(Clone, Debug, PartialEq)]
struct Table {
    width: usize,
    rows: Vec<Arc<[f32]>>,
}

/// An embedding of more numbers is none: the largest have a hundred vectors or so.
const MOST_NUMBERS: usize = 1 << 22;

impl Inversion {
    /// The vectors in a safetensors file, called `name`.
    ///
    /// # Errors
    /// As [`Inversion::of`], and what reading the file says.
    pub fn open(name: &str, file: &TensorFile) -> Result<Self> {
        if Adapter::is_one(file) {
            let what = "is an adapter, no embedding: link the model through `ApplyLora`";
            return Err(Error::wrong_file(file.path(), what));
        }
        let floats = file.names().into_iter().filter(|name| file.is_float(name));
        let floats: Vec<String> = floats.collect();
        let numbers =
            |name: &String| -> usize { file.shape(name).unwrap_or_default().iter().product() };
        // No embedding is so large, and what is no embedding need not be read to be told so.
        let large = floats.iter().map(numbers).sum::<usize>() > MOST_NUMBERS;
        if large {
            let (found, name) = (floats.len(), floats.first().map_or("", |name| &name[..]));
            let what = format!(
                "is no embedding: it holds {found} tensors like `{name}`, of more than \
                 {MOST_NUMBERS} numbers; use a file that textual inversion made"
            );
            return Err(Error::wrong_file(file.path(), what));
        }
        let read = |tensor: String| {
            Ok(NamedTensor {
                shape: file.shape(&tensor).unwrap_or_default().to_vec(),
                numbers: file.read(&tensor)?,
                name: tensor,
            })
        };
        let tensors: Vec<NamedTensor> = floats.into_iter().map(read).collect::<Result<_>>()?;
        Self::of(name, tensors).map_err(|e| Error::file(file.path(), "is no embedding", e))
    }

    /// The vectors among `tensors`, called `name`.
    ///
    /// # Errors
    /// When the tensors are of no known layout.
    pub fn of(name: &str, tensors: Vec<NamedTensor>) -> Result<Self> {
        let named = |wanted: &str| tensors.iter().find(|tensor| tensor.name == wanted);
        let learned = |tensor: &&NamedTensor| tensor.name.starts_with("string_to_param.");
        let vectors = if let (Some(first), Some(second)) = (named("clip_l"), named("clip_g")) {
            let (first, second) = (Table::of(first)?, Table::of(second)?);
            Vectors::Two { first, second }
        } else if let Some(tensor) = tensors.iter().find(learned) {
            Vectors::One(Table::of(tensor)?)
        } else if let [tensor] = &tensors[..] {
            Vectors::One(Table::of(tensor)?)
        } else {
            return Err(Error::config("textual inversion", no_layout(&tensors)));
        };
        Ok(Self {
            name: name.to_owned(),
            vectors,
        })
    }

    /// How many vectors it has for each text encoder, and how wide they are.
    pub fn sizes(&self) -> Vec<(usize, usize)> {
        let tables = match &self.vectors {
            Vectors::One(table) => vec![table],
            Vectors::Two { first, second } => vec![first, second],
        };
        let size = |table: &Table| (table.rows.len(), table.width);
        tables.into_iter().map(size).collect()
    }

    /// What a prompt calls it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The vectors for text encoder `which` of `of`, whose tokens are `width` wide.
    ///
    /// # Errors
    /// When they were learned for another text encoder.
    pub fn vectors(&self, which: usize, of: usize, width: usize) -> Result<&[Arc<[f32]>]> {
        let table = match &self.vectors {
            Vectors::One(table) => table,
            Vectors::Two { first, second } => match (which, of) {
                // A refiner reads with the second of the two alone.
                (0, 1) if second.width == width => second,
                (0, _) => first,
                _ => second,
            },
        };
        if table.width == width {
            return Ok(&table.rows);
        }
        let why = format!(
            "`{}` has vectors {} wide, the text encoder's tokens are {width}: use one that was \
             learned for this model",
            self.name, table.width
        );
        Err(Error::config("textual inversion", why))
    }
}

/// As many names are shown, and so much of each.
const SHOWN: usize = 2;
const LONGEST: usize = 40;

fn no_layout(tensors: &[NamedTensor]) -> String {
    let short = |tensor: &NamedTensor| match tensor.name.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}…", &tensor.name[..at]),
        None => tensor.name.clone(),
    };
    let mut names: Vec<String> = tensors.iter().take(SHOWN).map(short).collect();
    if tensors.len() > SHOWN {
        names.push("…".to_owned());
    }
    format!(
        "found {} tensors ({}), wanted one, `string_to_param.*`, or `clip_l` and `clip_g`",
        tensors.len(),
        names.join(", ")
    )
}

impl Table {
    fn of(tensor: &NamedTensor) -> Result<Self> {
        let refused = |what: &str| {
            let why = format!("`{}` of shape {:?} {what}", tensor.name, tensor.shape);
            Err(Error::config("textual inversion", why))
        };
        let (count, width) = match tensor.shape[..] {
            [width] => (1, width),
            [count, width] => (count, width),
            _ => return refused("is no vector and no list of vectors"),
        };
        let numbers = &tensor.numbers;
        if count == 0 || width == 0 || count > MOST_VECTORS || count * width != numbers.len() {
            return refused("holds no vectors, or too many");
        }
        if numbers.iter().any(|x| !x.is_finite()) {
            return refused("holds a number that is none");
        }
        let rows = numbers.chunks_exact(width).map(Arc::from);
        Ok(Self {
            width,
            rows: rows.collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(name: &str, shape: &[usize]) -> NamedTensor {
        let count = shape.iter().product::<usize>();
        NamedTensor {
            name: name.to_owned(),
            shape: shape.to_vec(),
            numbers: (0..count).map(|i| i as f32).collect(),
        }
    }

    fn counts(tensors: &[NamedTensor], which: usize, of: usize, width: usize) -> usize {
        let inversion = Inversion::of("it", tensors.to_vec()).unwrap();
        inversion.vectors(which, of, width).unwrap().len()
    }

    #[test]
    fn the_four_layouts_are_read_with_one_vector_and_with_several() {
        assert_eq!(counts(&[tensor("", &[4])], 0, 1, 4), 1);
        assert_eq!(counts(&[tensor("emb_params", &[3, 4])], 0, 1, 4), 3);
        assert_eq!(counts(&[tensor("<cat>", &[4])], 0, 1, 4), 1);
        let a1111 = [tensor("string_to_param.*", &[2, 4]), tensor("step", &[1])];
        assert_eq!(counts(&a1111, 0, 1, 4), 2);
        let xl = [tensor("clip_g", &[2, 6]), tensor("clip_l", &[2, 4])];
        assert_eq!((counts(&xl, 0, 2, 4), counts(&xl, 1, 2, 6)), (2, 2));
        assert_eq!(counts(&xl, 0, 1, 6), 2, "a refiner takes the second");
        let inversion = Inversion::of("it", vec![tensor("a", &[2, 2])]).unwrap();
        assert_eq!(inversion.vectors(0, 1, 2).unwrap()[1][..], [2.0, 3.0]);
    }

    #[test]
    fn other_tensors_and_other_widths_are_refused() {
        let said = |tensors: &[NamedTensor]| {
            let refused = Inversion::of("it", tensors.to_vec()).unwrap_err();
            refused.to_string()
        };
        let two = said(&[tensor("a", &[4]), tensor("b", &[4])]);
        assert!(two.contains("found 2 tensors (a, b)"), "{two}");
        assert!(said(&[]).contains("found 0 tensors"));
        assert!(said(&[tensor("a", &[1, 2, 3])]).contains("is no vector"));
        assert!(said(&[tensor("a", &[0, 3])]).contains("holds no vectors"));
        let mut bad = tensor("a", &[2]);
        bad.numbers[0] = f32::NAN;
        assert!(said(&[bad]).contains("holds a number that is none"));
        let narrow = Inversion::of("cat", vec![tensor("a", &[4])]).unwrap();
        let said = narrow.vectors(0, 1, 6).unwrap_err().to_string();
        assert!(said.contains("`cat` has vectors 4 wide, the text encoder's tokens are 6"));
    }

    #[test]
    fn what_is_no_inversion_is_told_in_a_line() {
        let tensors: Vec<NamedTensor> = (0..9)
            .map(|i| tensor(&format!("{i}{}", "_block".repeat(30)), &[4]))
            .collect();
        let said = Inversion::of("it", tensors).unwrap_err().to_string();
        assert!(said.contains("found 9 tensors (0_block") && said.contains("…, 1_block"));
        assert!(said.chars().count() < 200, "{said}");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("style.safetensors");
        let mut writer = crate::weights::TensorWriter::default();
        let device = burn::tensor::Device::flex();
        let down = burn::tensor::Tensor::<2>::zeros([1, 4], &device);
        writer.tensor("lora_unet_conv_in.lora_down.weight", &down);
        writer.write(&path, crate::weights::SaveAs::F32).unwrap();
        let file = TensorFile::open(&path).unwrap();
        let said = Inversion::open("style", &file).unwrap_err().to_string();
        assert!(said.contains("is an adapter, no embedding"), "{said}");
    }

    #[test]
    fn a_whole_model_is_refused_before_it_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let header =
            r#"{"out.2.weight":{"dtype":"F32","shape":[8388608],"data_offsets":[0,33554432]}}"#;
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        std::fs::write(&path, &bytes).unwrap();
        let on_disk = std::fs::File::options().write(true).open(&path).unwrap();
        on_disk.set_len((bytes.len() + (32 << 20)) as u64).unwrap();
        let file = TensorFile::open(&path).unwrap();
        on_disk.set_len(bytes.len() as u64).unwrap(); // What is read from here on is not there.
        let said = Inversion::open("model", &file).unwrap_err().to_string();
        let wanted = "is no embedding: it holds 1 tensors like `out.2.weight`";
        assert!(said.contains(wanted), "{said}");
    }

    #[test]
    fn an_inversion_is_read_from_a_file_of_tensors() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cat.safetensors");
        let bytes: Vec<u8> = [1.0f32, 2.0].iter().flat_map(|x| x.to_le_bytes()).collect();
        let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![2], &bytes);
        let file = safetensors::serialize([("<cat>", view.unwrap())], None).unwrap();
        std::fs::write(&path, file).unwrap();
        let inversion = Inversion::open("cat", &TensorFile::open(&path).unwrap()).unwrap();
        assert_eq!(inversion.vectors(0, 1, 2).unwrap()[0][..], [1.0, 2.0]);
    }
}
