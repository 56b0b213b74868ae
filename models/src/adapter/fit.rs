//! Which of an adapter's targets a network has, and several adapters one after another.

use std::collections::BTreeMap;
use std::sync::Arc;

use burn::module::Module;

use super::merge::Pieces;
use super::method::{Shapes, as_matrix};
use super::names::Piece;
use super::{Adapter, Names, Part, SHOWN, Target};
use crate::error::{Error, Result};
use crate::weights::keys::Source;
use crate::weights::{KeyTable, Patch, plan};

/// An adapter held against one network.
#[derive(Debug)]
pub struct Fit {
    adapter: Arc<Adapter>,
    part: Part,
    /// Our path of a layer → the target that changes it.
    layers: BTreeMap<String, usize>,
    misfits: Vec<Misfit>,
    strangers: Vec<String>,
}

/// A target whose layer has another shape.
#[derive(Debug)]
struct Misfit {
    name: String,
    /// The weight that the adapter was made for, as a matrix.
    made_for: Option<[usize; 2]>,
    found: Vec<usize>,
    /// Whether it is the first or the last layer, of which models of one family differ.
    is_end: bool,
}

impl Misfit {
    /// Both shapes, of a layer of `part`.
    fn words(&self, part: &str) -> String {
        let name = &self.name;
        if self.found.is_empty() {
            return format!("`{name}` changes a parameter which this {part} does not have");
        }
        let found = as_matrix(&self.found);
        let made_for = match self.made_for {
            Some(shape) => format!("{shape:?}"),
            None => "another shape".to_owned(),
        };
        format!("`{name}` is for a weight of {made_for}, here it is {found:?}")
    }
}

impl Fit {
    /// Holds `adapter` against `network`, whose layers have the names of `tables`; the first
    /// table's are laid out as the adapter's are. A pair of text encoders is one network, whose
    /// `part` is that of the first.
    pub fn of<M: Module>(
        adapter: Arc<Adapter>,
        part: Part,
        network: &M,
        tables: &[KeyTable],
    ) -> Self {
        let names = Names::of(tables, part);
        let sources = tables.first().map(|table| plan(network, table));
        let shapes: Shaped = sources.into_iter().flatten().collect();
        let mut fit = Self {
            adapter: Arc::clone(&adapter),
            part,
            layers: BTreeMap::new(),
            misfits: Vec::new(),
            strangers: Vec::new(),
        };
        for (at, target) in adapter.targets.iter().enumerate() {
            if target.part.is_like(part) {
                let path = names.path(target.part, &target.flat);
                fit.place(at, target, path, &shapes);
            }
        }
        fit
    }

    /// Notes where the target numbered `at` goes: the layer at `path`, if it fits there.
    fn place(&mut self, at: usize, target: &Target, path: Option<&str>, shapes: &Shaped) {
        let free = path.filter(|path| !self.layers.contains_key(*path));
        let Some(path) = free else {
            return self.strangers.push(target.name.clone());
        };
        let pieces = Pieces {
            adapter: &self.adapter,
            target,
        };
        match misfit(&pieces, path, shapes) {
            None => drop(self.layers.insert(path.to_owned(), at)),
            Some(misfit) => self.misfits.push(misfit),
        }
    }

    /// How many of the adapter's targets this network has.
    pub fn fitting(&self) -> usize {
        self.layers.len()
    }

    /// How many targets of the adapter are for such a network.
    pub fn wanted(&self) -> usize {
        self.layers.len() + self.misfits.len() + self.strangers.len()
    }

    /// Whether the adapter can be applied; the answer is what is left out, in sentences.
    ///
    /// # Errors
    /// It was made for another model: no layer fits, or one has another shape. The first and
    /// the last layer may, as those of inpainting models do.
    pub fn check(&self) -> Result<Vec<String>> {
        let told = self.misfits.iter().find(|misfit| !misfit.is_end);
        if told.is_some() || self.layers.is_empty() {
            return Err(self.stranger(told.or(self.misfits.first())));
        }
        let mut notes = Vec::new();
        let left_out = (self.misfits.iter().map(|misfit| &misfit.name)).chain(&self.strangers);
        let left_out: Vec<&String> = left_out.collect();
        if !left_out.is_empty() {
            let (part, list) = (self.part.name(), list(&left_out));
            let (fitting, wanted) = (self.fitting(), self.wanted());
            notes.push(format!(
                "{fitting} of the adapter's {wanted} targets fit this {part}; left out: {list}"
            ));
        }
        Ok(notes)
    }

    fn stranger(&self, misfit: Option<&Misfit>) -> Error {
        let (fitting, wanted, part) = (self.fitting(), self.wanted(), self.part.name());
        let because = match misfit {
            None => {
                let names: Vec<&String> = self.strangers.iter().collect();
                format!("there is no {}", list(&names))
            }
            Some(misfit) => misfit.words(part),
        };
        let family = self.adapter.family();
        let family = family.map_or_else(String::new, |kind| format!(" (it is one for {kind})"));
        let what = format!(
            "was made for another model{family}: {fitting} of {wanted} targets fit this {part}; \
             {because}"
        );
        Error::wrong_file(self.adapter.path(), what)
    }
}

fn list(names: &[&String]) -> String {
    let shown: Vec<_> = names.iter().take(SHOWN).map(|n| format!("`{n}`")).collect();
    match names.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// The parameters of a network: our path → where it stands in a file, in PyTorch's layout.
type Shaped = BTreeMap<String, Source>;

/// How the tensors of a target do not fit the layer at `path`, if they do not.
fn misfit(pieces: &Pieces<'_>, path: &str, shapes: &Shaped) -> Option<Misfit> {
    let shape = |names: &[&str]| {
        let find = |name: &&str| shapes.get(&format!("{path}.{name}"));
        let found = names.iter().find_map(find);
        found.map_or_else(Vec::new, |source| source.shape.clone())
    };
    let misfit = |made_for, found| Misfit {
        name: pieces.target.name.clone(),
        made_for,
        found,
        is_end: matches!(path, "conv_in" | "conv_out"),
    };
    if let Some(method) = pieces.target.method {
        let weight = shape(&["weight", "gamma", "table"]);
        let made_for = (!weight.is_empty()).then(|| method.target(pieces, &weight));
        if made_for.flatten() != Some(as_matrix(&weight)) {
            return Some(misfit(made_for.flatten(), weight));
        }
    }
    let bias = pieces.matrix(Piece::DiffBias)?;
    let found = shape(&["bias", "beta"]);
    (found.is_empty() || bias != as_matrix(&found)).then(|| misfit(Some(bias), found))
}

/// Adapters that change one network, in order.
#[derive(Debug, Default)]
pub struct Chain(Vec<(Fit, f64)>);

impl Chain {
    /// Adds one more, at `strength`.
    pub fn push(&mut self, fit: Fit, strength: f64) {
        self.0.push((fit, strength));
    }

    /// What changes the parameter at `path`: its target, and whether it is a bias.
    fn changes<'a>(&'a self, path: &'a str) -> impl Iterator<Item = (Pieces<'a>, f64, bool)> + 'a {
        let (layer, parameter) = path.rsplit_once('.').unwrap_or(("", path));
        let is_bias = matches!(parameter, "bias" | "beta");
        self.0.iter().filter_map(move |(fit, strength)| {
            let target = &fit.adapter.targets[*fit.layers.get(layer)?];
            let adapter = &fit.adapter;
            let pieces = Pieces { adapter, target };
            let changes = match is_bias {
                true => pieces.has(Piece::DiffBias),
                false => target.method.is_some(),
            };
            (changes && *strength != 0.0).then_some((pieces, *strength, is_bias))
        })
    }
}

impl Patch for Chain {
    fn wants(&self, path: &str) -> bool {
        self.changes(path).next().is_some()
    }

    fn apply(&self, path: &str, shape: &[usize], numbers: &mut Vec<f32>) -> Result<()> {
        for (pieces, strength, is_bias) in self.changes(path) {
            let before = numbers.len();
            match pieces.target.method.filter(|_| !is_bias) {
                Some(method) => pieces.change_weight(method, strength, shape, numbers)?,
                None => pieces.change_bias(strength, numbers)?,
            }
            if numbers.len() != before {
                return Err(Error::bug("an adapter's weight of another size"));
            }
        }
        Ok(())
    }
}
