//! Weights with adapters in them, held to recorded ones: `tests/reference/adapters.py` tells
//! what was recorded and by whom.
//!
//! The networks are those of the network tests, loaded from their own recorded weights through
//! a chain of adapters; what the chain should not touch must keep its bits.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use burn::module::Module;
use burn::tensor::{DType, Device};
use half::f16;
use ldm_models::adapter::{Adapter, Chain, Fit, Part};
use ldm_models::text::{Activation, ClipConfig, TextConfig, TextTransformerConfig};
use ldm_models::unet::{Heads, UNetConfig};
use ldm_models::weights::{Family, KeyTable, SaveAs, TensorFile, load, save};
use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensors, serialize};

use crate::networks::small_unet;
use crate::recorded::path;
use crate::text::{beside, small};

/// Parameters by their recorded names, in PyTorch's layout.
type Weights = BTreeMap<String, Vec<f32>>;

/// How far a merged weight may be off, of the largest number of its tensor.
const ALLOWED: f64 = 1e-6;

#[test]
fn every_kind_of_adapter_gives_its_trainers_weights() {
    let lab = Lab::new();
    assert_eq!(lab.cases().len(), 28);
    for case in lab.cases() {
        let got = lab.merged(&[(&case, 1.0)]);
        let (base, wanted) = (lab.merged_with(&case, Chain::default()), lab.wanted(&case));
        for (name, numbers) in &got {
            match wanted.get(name) {
                Some(want) => {
                    let off = distance(numbers, want);
                    assert!(off <= ALLOWED, "{case}: {name} is {off:.1e} off");
                }
                None => assert_eq!(numbers, &base[name], "{case}: {name} was changed"),
            }
        }
        assert!(wanted.keys().all(|name| got.contains_key(name)), "{case}");
    }
}

#[test]
fn no_strength_is_no_change_and_some_is_some_of_it() {
    let lab = Lab::new();
    for case in lab.cases().iter().filter(|case| *case != "whole") {
        let base = lab.merged_with(case, Chain::default());
        assert_eq!(lab.merged(&[(case, 0.0)]), base, "{case}");
        let half = lab.merged(&[(case, 0.6)]);
        for (name, whole) in lab.wanted(case) {
            let part = |(w, v): (&f32, f32)| (f64::from(*w) + 0.6 * f64::from(v - w)) as f32;
            let want: Vec<f32> = base[&name].iter().zip(whole).map(part).collect();
            let off = distance(&half[&name], &want);
            assert!(off <= ALLOWED, "{case}: {name} is {off:.1e} off");
        }
    }
}

#[test]
fn a_new_weight_stands_at_any_strength_and_its_neighbours_follow_it() {
    let lab = Lab::new();
    let base = lab.merged_with("whole", Chain::default());
    assert_eq!(lab.merged(&[("whole", 0.0)]), base);
    let (half, wanted) = (lab.merged(&[("whole", 0.5)]), lab.wanted("whole"));
    let (set, bias) = (
        format!("{BLOCK}.to_q.weight"),
        format!("{BLOCK}.to_out.0.bias"),
    );
    assert_eq!(half[&set], wanted[&set]);
    let between = |(w, v): (&f32, &f32)| 0.5 * (w + v);
    let want: Vec<f32> = base[&bias]
        .iter()
        .zip(&wanted[&bias])
        .map(between)
        .collect();
    assert!(distance(&half[&bias], &want) <= ALLOWED);
}

const BLOCK: &str = "down_blocks.1.attentions.0.transformer_blocks.1.attn1";

#[test]
fn what_only_adds_may_come_in_any_order() {
    let lab = Lab::new();
    let one = lab.merged(&[("kohya", 0.8), ("loha", -0.5), ("peft_lokr", 1.0)]);
    let other = lab.merged(&[("peft_lokr", 1.0), ("kohya", 0.8), ("loha", -0.5)]);
    for (name, numbers) in &one {
        let off = distance(numbers, &other[name]);
        assert!(off <= ALLOWED, "{name} is {off:.1e} off");
    }
    let base = lab.merged_with("kohya", Chain::default());
    let alone = lab.merged(&[("loha", -0.5)]);
    let q = format!("{BLOCK}.to_q.weight");
    assert!(distance(&one[&q], &base[&q]) > 0.01 && distance(&one[&q], &alone[&q]) > 0.01);
    // Magnitudes are of the weight as it is then.
    let first = lab.merged(&[("dora", 1.0), ("kohya", 1.0)]);
    let last = lab.merged(&[("kohya", 1.0), ("dora", 1.0)]);
    assert!(distance(&first[&q], &last[&q]) > 0.01);
}

#[test]
fn one_per_cent_in_half_of_any_tensor_shows() {
    let lab = Lab::new();
    for case in lab.cases() {
        let wanted = lab.wanted(&case);
        for key in lab.keys(&case) {
            let file = lab.file(&case, |name, numbers| {
                if name == key {
                    // Half: a bound on rotations undoes what scales all of them.
                    let half = numbers.len().div_ceil(2);
                    numbers[..half].iter_mut().for_each(|x| *x *= 1.01);
                }
            });
            let got = lab.merged_of(&case, file.path());
            let off = wanted.iter().map(|(name, want)| distance(&got[name], want));
            let shown = off.fold(0.0, f64::max) > 10.0 * ALLOWED;
            assert_eq!(
                shown,
                !is_idle(&case, &key),
                "{case}: one per cent in {key}"
            );
        }
    }
}

/// Tensors that change nothing: the alpha of a Kronecker product of two whole factors, which
/// has no rank; a bound on rotations that bounds nothing.
fn is_idle(case: &str, key: &str) -> bool {
    let whole = ["_conv1.alpha", "_conv_shortcut.alpha"];
    let whole = whole.iter().any(|end| key.ends_with(end)) && !key.contains("up_blocks_0");
    let unbound = matches!(case, "oft" | "boft");
    key.ends_with(".alpha") && (unbound || (case == "lokr" && whole))
}

#[test]
fn up_and_down_exchanged_or_alpha_forgotten_shows() {
    let lab = Lab::new();
    let layer = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_1_attn1_to_q";
    let want = &lab.wanted("kohya")[&format!("{BLOCK}.to_q.weight")];
    let up = lab.numbers("kohya", &format!("{layer}.lora_up.weight"));
    let down = lab.numbers("kohya", &format!("{layer}.lora_down.weight"));
    // Of a square layer up and down, each turned, are a sound adapter of another change.
    let turned = |numbers: &[f32], rows: usize| -> Vec<f32> {
        let columns = numbers.len() / rows;
        let at = |i: usize| numbers[(i % rows) * columns + i / rows];
        (0..numbers.len()).map(at).collect()
    };
    let exchanged = lab.file("kohya", |name, numbers| {
        if name == format!("{layer}.lora_up.weight") {
            *numbers = turned(&down, 3);
        } else if name == format!("{layer}.lora_down.weight") {
            *numbers = turned(&up, 16);
        }
    });
    let forgotten = lab.file("kohya", |name, numbers| {
        if name == format!("{layer}.alpha") {
            numbers[0] = 3.0;
        }
    });
    for wrong in [exchanged, forgotten] {
        let got = &lab.merged_of("kohya", wrong.path())[&format!("{BLOCK}.to_q.weight")];
        assert!(distance(got, want) > 0.01);
    }
}

#[test]
fn an_adapter_of_another_model_is_refused() {
    let lab = Lab::new();
    let file = lab.file("kohya", |_, _| ());
    let adapter = Arc::new(Adapter::of(TensorFile::open(file.path()).unwrap()).unwrap());
    let other = UNetConfig {
        context_dim: Some(12),
        ..unet()
    };
    let table = [KeyTable::unet(Family::Diffusers, &other)];
    let network = other.init(&Device::flex(), 0).unwrap();
    let fit = Fit::of(Arc::clone(&adapter), Part::Unet, &network, &table);
    let said = fit.check().unwrap_err().to_string();
    assert!(said.contains("7 of 8 targets fit this UNet"), "{said}");
    assert!(
        said.contains("is for a weight of [16, 6], here it is [16, 12]"),
        "{said}"
    );
    let network = bert().init(&Device::flex(), 0).unwrap();
    let table = [KeyTable::text_encoder(Family::Diffusers, &bert())];
    let fit = Fit::of(adapter, Part::Unet, &network, &table);
    let said = fit.check().unwrap_err().to_string();
    assert!(said.contains("0 of 8 targets fit"), "{said}");
}

#[test]
fn each_of_two_text_encoders_has_its_own_targets() {
    let lab = Lab::new();
    let one = lab.file("clip_kohya", |_, _| ());
    let bytes = std::fs::read(one.path()).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let renamed = file
        .iter()
        .map(|(key, view)| (key.replace("lora_te_", "lora_te2_"), view));
    let second = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(second.path(), serialize(renamed, None).unwrap()).unwrap();
    let pair = TextConfig::TwoClips {
        first: clip_config(),
        second: clip_config(),
    };
    let base = beside(&[("clip_hf", "text_encoder."), ("clip_hf", "text_encoder_2.")]);
    let merged = |adapter: &Path| {
        let mut chain = Chain::default();
        let fit = fit_text(open(adapter), &pair);
        assert_eq!((fit.fitting(), fit.check().unwrap().len()), (4, 0));
        chain.push(fit, 1.0);
        let table = KeyTable::text_encoder(Family::Diffusers, &pair);
        let network = pair.init(&Device::flex(), 0).unwrap();
        loaded(network, base.path(), &table, &chain)
    };
    let wanted = lab.wanted("clip_kohya");
    let plain = lab.merged_with("clip_kohya", Chain::default());
    let ways = [
        ("text_encoder.", one.path()),
        ("text_encoder_2.", second.path()),
    ];
    for (changed, adapter) in ways {
        for (name, numbers) in merged(adapter) {
            let (part, inner) = name.split_at(name.find('.').unwrap() + 1);
            match wanted.get(inner).filter(|_| part == changed) {
                Some(want) => assert!(distance(&numbers, want) <= ALLOWED, "{name}"),
                None => assert_eq!(numbers, plain[inner], "{name}"),
            }
        }
    }
    // The second's targets are no single encoder's.
    let said = fit_text(open(second.path()), &clip())
        .check()
        .unwrap_err()
        .to_string();
    assert!(
        said.contains("0 of 4 targets fit this text encoder"),
        "{said}"
    );
}

/// The recorded adapters.
struct Lab {
    bytes: Vec<u8>,
    notes: HashMap<String, String>,
}

impl Lab {
    fn new() -> Self {
        let bytes = std::fs::read(path("adapters")).unwrap();
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        let notes = header.metadata().clone().unwrap();
        Self { bytes, notes }
    }

    fn tensors(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.bytes).unwrap()
    }

    fn cases(&self) -> Vec<String> {
        let is_case = |name: &&String| *name != "torch" && !name.contains('.');
        let mut cases: Vec<String> = self.notes.keys().filter(is_case).cloned().collect();
        cases.sort();
        cases
    }

    /// The tensors recorded under `<case>/<what>/`.
    fn under(&self, case: &str, what: &str) -> Vec<(String, Vec<usize>, Vec<f32>)> {
        let (file, start) = (self.tensors(), format!("{case}/{what}/"));
        let mut found: Vec<_> = (file.iter())
            .filter_map(|(name, view)| {
                let inner = name.strip_prefix(&start)?;
                Some((inner.to_owned(), view.shape().to_vec(), numbers(&view)))
            })
            .collect();
        found.sort_by(|a, b| a.0.cmp(&b.0));
        found
    }

    fn wanted(&self, case: &str) -> Weights {
        let found = self.under(case, "merged").into_iter();
        found.map(|(name, _, numbers)| (name, numbers)).collect()
    }

    fn keys(&self, case: &str) -> Vec<String> {
        let found = self.under(case, "file").into_iter();
        found.map(|(key, ..)| key).collect()
    }

    fn numbers(&self, case: &str, key: &str) -> Vec<f32> {
        let mut found = self.under(case, "file").into_iter();
        found.find(|(name, ..)| name == key).unwrap().2
    }

    /// A case's file as its trainer wrote it, but for what `change` does to its tensors.
    fn file(&self, case: &str, change: impl Fn(&str, &mut Vec<f32>)) -> tempfile::NamedTempFile {
        let tensors = self
            .under(case, "file")
            .into_iter()
            .map(|(key, shape, mut numbers)| {
                change(&key, &mut numbers);
                let bytes: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
                (key, shape, bytes)
            });
        let tensors: Vec<_> = tensors.collect();
        let view = |(key, shape, bytes)| {
            let (shape, bytes): (&Vec<usize>, &Vec<u8>) = (shape, bytes);
            let view = TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap();
            (key, view)
        };
        let views = tensors
            .iter()
            .map(|(key, shape, bytes)| view((key, shape, bytes)));
        let note = self.notes.get(&format!("{case}.note"));
        let note = note.map(|n| HashMap::from([("lora_adapter_metadata".into(), n.clone())]));
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), serialize(views, note).unwrap()).unwrap();
        file
    }

    /// The weights of the first case's network with these adapters at these strengths.
    fn merged(&self, adapters: &[(&str, f64)]) -> Weights {
        let mut chain = Chain::default();
        for (case, strength) in adapters {
            let file = self.file(case, |_, _| ());
            chain.push(fit(case, file.path()), *strength);
        }
        self.merged_with(adapters[0].0, chain)
    }

    fn merged_of(&self, case: &str, file: &Path) -> Weights {
        let mut chain = Chain::default();
        chain.push(fit(case, file), 1.0);
        self.merged_with(case, chain)
    }

    fn merged_with(&self, case: &str, chain: Chain) -> Weights {
        let device = Device::flex();
        let family = Family::Diffusers;
        let text = |config: &TextConfig, weights: &str| {
            let table = KeyTable::text_encoder(family, config);
            loaded(
                config.init(&device, 0).unwrap(),
                &path(weights),
                &table,
                &chain,
            )
        };
        match case.split('_').next().unwrap() {
            "text" => text(&bert(), "text_diffusers.weights"),
            "clip" => text(&clip(), "clip_hf.weights"),
            _ => {
                let table = KeyTable::unet(family, &unet());
                let network = unet().init(&device, 0).unwrap();
                loaded(network, &path("unet_cross_width.weights"), &table, &chain)
            }
        }
    }
}

fn open(file: &Path) -> Arc<Adapter> {
    let adapter = Adapter::of(TensorFile::open(file).unwrap()).unwrap();
    assert!(adapter.leftover().is_empty(), "{:?}", adapter.leftover());
    Arc::new(adapter)
}

/// An adapter held against its network: every target must fit, and no tensor be left over.
fn fit(case: &str, file: &Path) -> Fit {
    let fit = match case.split('_').next().unwrap() {
        "text" => fit_text(open(file), &bert()),
        "clip" => fit_text(open(file), &clip()),
        _ => {
            let tables = FAMILIES.map(|family| KeyTable::unet(family, &unet()));
            let network = unet().init(&Device::flex(), 0).unwrap();
            Fit::of(open(file), Part::Unet, &network, &tables)
        }
    };
    assert_eq!(fit.check().unwrap(), Vec::<String>::new(), "{case}");
    fit
}

const FAMILIES: [Family; 2] = [Family::Diffusers, Family::CompVis];

fn fit_text(adapter: Arc<Adapter>, config: &TextConfig) -> Fit {
    let tables = FAMILIES.map(|family| KeyTable::text_encoder(family, config));
    let network = config.init(&Device::flex(), 0).unwrap();
    Fit::of(adapter, Part::Text, &network, &tables)
}

/// The network's parameters as they are after loading, by their recorded names.
fn loaded<M: Module>(network: M, weights: &Path, table: &KeyTable, chain: &Chain) -> Weights {
    let file = TensorFile::open(weights).unwrap();
    let network = load(network, &file, table, DType::F32, chain).unwrap();
    let written = tempfile::NamedTempFile::new().unwrap();
    save(&network, written.path(), SaveAs::F32).unwrap();
    let ours = TensorFile::open(written.path()).unwrap();
    let parameter = |name: String| {
        let (shape, numbers) = (ours.shape(&name).unwrap(), ours.read(&name).unwrap());
        let numbers = match shape {
            // Our linear layers are `[in, out]`.
            [rows, columns] if name.ends_with(".weight") => (0..rows * columns)
                .map(|i| numbers[(i % rows) * columns + i / rows])
                .collect(),
            _ => numbers,
        };
        (table.source(&name, shape).key, numbers)
    };
    ours.names().into_iter().map(parameter).collect()
}

fn unet() -> UNetConfig {
    UNetConfig {
        heads: Heads::Width(4),
        context_dim: Some(6),
        transformer_depth: vec![1, 2],
        ..small_unet()
    }
}

fn bert() -> TextConfig {
    TextConfig::Bert(TextTransformerConfig {
        vocab_size: 37,
        max_length: 12,
        width: 20,
        layers: 2,
        heads: 2,
        head_width: 16,
    })
}

fn clip() -> TextConfig {
    TextConfig::Clip(clip_config())
}

fn clip_config() -> ClipConfig {
    ClipConfig {
        activation: Activation::QuickGelu,
        projection: Some(10),
        ..small()
    }
}

/// The largest difference, of the largest number wanted.
fn distance(got: &[f32], want: &[f32]) -> f64 {
    assert_eq!(got.len(), want.len(), "how many numbers");
    let largest = want.iter().fold(0.0, |a: f64, w| a.max(f64::from(w.abs())));
    let further = |a: f64, b: f64| if b > a || b.is_nan() { b } else { a };
    let off = got
        .iter()
        .zip(want)
        .map(|(g, w)| (f64::from(*g) - f64::from(*w)).abs());
    off.fold(0.0, further) / largest
}

fn numbers(view: &TensorView<'_>) -> Vec<f32> {
    let data = view.data();
    match view.dtype() {
        Dtype::F16 => (data.as_chunks().0.iter())
            .map(|b| f16::from_le_bytes(*b).to_f32())
            .collect(),
        Dtype::F32 => (data.as_chunks().0.iter())
            .map(|b| f32::from_le_bytes(*b))
            .collect(),
        other => panic!("a tensor is in {other:?}"),
    }
}
