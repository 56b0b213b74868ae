//! Files that are no adapters, or adapters of something else. What adapters do to weights is
//! held to recorded tensors, in `models/tests/golden/adapters.rs`.

use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use safetensors::tensor::{Dtype, TensorView};

use super::{Adapter, Fit, Method, Part};
use crate::text::TextTransformerConfig;
use crate::weights::detect::Kind;
use crate::weights::{Family, KeyTable, SaveAs, TensorFile, TensorWriter};

/// A file of zeros of these shapes, as matrices.
fn file(tensors: &[(&str, [usize; 2])], note: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut writer = TensorWriter::default();
    for (name, shape) in tensors {
        writer.tensor(name, &Tensor::<2>::zeros(*shape, &Device::flex()));
    }
    if !note.is_empty() {
        writer.note("lora_adapter_metadata", note);
    }
    writer.write(file.path(), SaveAs::F32).unwrap();
    file
}

fn open(tensors: &[(&str, [usize; 2])], note: &str) -> crate::error::Result<Adapter> {
    Adapter::of(TensorFile::open(file(tensors, note).path()).unwrap())
}

fn refusal(tensors: &[(&str, [usize; 2])]) -> String {
    open(tensors, "").unwrap_err().to_string()
}

const UP: (&str, [usize; 2]) = ("a.lora_up.weight", [4, 2]);
const DOWN: (&str, [usize; 2]) = ("a.lora_down.weight", [2, 4]);

#[test]
fn what_is_no_whole_adapter_is_refused_with_the_layer() {
    let said = refusal(&[]);
    assert!(said.contains("it holds no tensor at all"), "{said}");
    let said = refusal(&[("conv_in.weight", [2, 2]), ("a.alpha", [1, 1])]);
    assert!(
        said.contains("2 tensors like `conv_in.weight`, `a.alpha`"),
        "{said}"
    );
    assert!(said.contains("wanted names like `lora_unet_"), "{said}");
    let said = refusal(&[UP]);
    assert!(
        said.contains("`a` lacks one of the tensors that LoRA is made of"),
        "{said}"
    );
    let said = refusal(&[("a.lokr_w1", [2, 2]), ("a.lokr_w2_a", [2, 2])]);
    assert!(
        said.contains("`a` lacks one of the tensors that LoKr"),
        "{said}"
    );
    let said = refusal(&[UP, DOWN, ("a.diff", [4, 4])]);
    assert!(
        said.contains("`a` has tensors of LoRA and of diff"),
        "{said}"
    );
    let said = refusal(&[("a.diff", [4, 4]), ("a.dora_scale", [4, 1])]);
    assert!(
        said.contains("`a` has magnitudes (DoRA), which diff has no use for"),
        "{said}"
    );
}

#[test]
fn tensors_without_numbers_are_refused() {
    let nothing = TensorView::new(Dtype::F32, vec![4, 0], &[]).unwrap();
    let whole = TensorView::new(Dtype::I32, vec![1], &[0; 4]).unwrap();
    for (view, wanted) in [(nothing, "holds nothing in"), (whole, "holds I32 in")] {
        let file = tempfile::NamedTempFile::new().unwrap();
        let bytes = safetensors::serialize([("a.diff", view)], None).unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        let said = Adapter::of(TensorFile::open(file.path()).unwrap()).unwrap_err();
        assert!(said.to_string().contains(wanted), "{said}");
    }
}

#[test]
fn what_is_not_understood_is_told() {
    let tensors = [UP, DOWN, ("a.lora_B.bias", [1, 4]), ("b.alpha", [1, 1])];
    let adapter = open(&tensors, "").unwrap();
    assert_eq!(adapter.leftover(), ["a.lora_B.bias", "b.alpha"]);
    let [target] = adapter.targets() else {
        panic!("one layer is named");
    };
    assert_eq!(target.name(), "a");
    assert_eq!(
        (target.part(), target.method()),
        (Part::Unet, Some(Method::Lora))
    );
    assert!(adapter.is_for(Part::Unet) && !adapter.is_for(Part::Text));
}

#[test]
fn a_note_is_read_for_the_layer_that_it_is_for() {
    let tensors = [
        ("unet.a.to_q.lora_A.weight", [2, 4]),
        ("unet.a.to_q.lora_B.weight", [4, 2]),
        ("unet.a.proj_in.lora_A.weight", [2, 4]),
        ("unet.a.proj_in.lora_B.weight", [4, 2]),
        ("text_encoder.fc1.lora_A.weight", [2, 4]),
        ("text_encoder.fc1.lora_B.weight", [4, 2]),
    ];
    let note = r#"{"unet.lora_alpha": 6, "unet.alpha_pattern": {"proj_in": 3.0, "q": 9},
        "text_encoder.lora_alpha": 8, "text_encoder.use_rslora": true}"#;
    let scale = |adapter: &Adapter, name: &str| {
        let mut targets = adapter.targets().iter();
        let target = targets.find(|target| target.name() == name).unwrap();
        adapter.scale(target, 4).unwrap()
    };
    let adapter = open(&tensors, note).unwrap();
    assert_eq!(scale(&adapter, "unet.a.to_q"), 1.5);
    assert_eq!(scale(&adapter, "unet.a.proj_in"), 0.75);
    assert_eq!(scale(&adapter, "text_encoder.fc1"), 4.0);
    for no_note in ["", "{", "[1]", r#"{"unet.lora_alpha": "many"}"#] {
        assert_eq!(scale(&open(&tensors, no_note).unwrap(), "unet.a.to_q"), 1.0);
    }
}

fn fit(tensors: &[(&str, [usize; 2])]) -> Fit {
    let config = TextTransformerConfig {
        vocab_size: 9,
        max_length: 4,
        width: 6,
        layers: 1,
        heads: 1,
        head_width: 5,
    };
    let table = KeyTable::text(Family::Diffusers, &config);
    let network = config.init(&Device::flex(), 0).unwrap();
    let adapter = Arc::new(open(tensors, "").unwrap());
    Fit::of(adapter, Part::Text, &network, &[table])
}

const Q_UP: (&str, [usize; 2]) = ("lora_te_model_layers_0_self_attn_q_proj.lora_up", [5, 2]);
const Q_DOWN: (&str, [usize; 2]) = ("lora_te_model_layers_0_self_attn_q_proj.lora_down", [2, 6]);

#[test]
fn layers_that_are_not_there_are_left_out_and_told() {
    let beside = [
        Q_UP,
        Q_DOWN,
        ("lora_te_model_layers_7_fc1.lora_up", [24, 2]),
        ("lora_te_model_layers_7_fc1.lora_down", [2, 6]),
        ("lora_unet_conv_in.lora_up", [24, 2]),
        ("lora_unet_conv_in.lora_down", [2, 6]),
        // The same layer again, under another of its names.
        (
            "text_encoder.model.layers.0.self_attn.to_q_lora.up.weight",
            [5, 2],
        ),
        (
            "text_encoder.model.layers.0.self_attn.to_q_lora.down.weight",
            [2, 6],
        ),
    ];
    let fit = fit(&beside);
    assert_eq!((fit.fitting(), fit.wanted()), (1, 3));
    let notes = fit.check().unwrap();
    let wanted = "1 of the adapter's 3 targets fit this text encoder; left out: \
                  `lora_te_model_layers_7_fc1`, `text_encoder.model.layers.0.self_attn.to_q`";
    assert_eq!(notes, [wanted]);
}

#[test]
fn shapes_that_do_not_go_together_are_of_another_model() {
    let refusal = |tensors: &[(&str, [usize; 2])]| fit(tensors).check().unwrap_err().to_string();
    let said = refusal(&[(Q_UP.0, [6, 2]), Q_DOWN]);
    assert!(
        said.contains("is for a weight of [6, 6], here it is [5, 6]"),
        "{said}"
    );
    assert!(
        said.contains("0 of 1 targets fit this text encoder"),
        "{said}"
    );
    let said = refusal(&[(Q_UP.0, [5, 3]), Q_DOWN]);
    assert!(said.contains("is for a weight of another shape"), "{said}");
    let said = refusal(&[("lora_te_model_layers_0_self_attn_q_proj.diff_b", [1, 5])]);
    assert!(
        said.contains("which this text encoder does not have"),
        "{said}"
    );
    let said = refusal(&[("lora_te_nothing.diff", [1, 5])]);
    assert!(said.contains("there is no `lora_te_nothing`"), "{said}");
    let zeros = fit(&[
        Q_UP,
        Q_DOWN,
        ("lora_te_model_layers_0_self_attn_q_proj.dora_scale", [5, 1]),
    ]);
    assert_eq!(zeros.fitting(), 1);
    let said = refusal(&[
        Q_UP,
        Q_DOWN,
        ("lora_te_model_layers_0_self_attn_q_proj.dora_scale", [7, 1]),
    ]);
    assert!(said.contains("another shape"), "{said}");
}

#[test]
fn the_model_that_an_adapter_is_for_is_told_by_its_layers() {
    const BLOCK: &str = "lora_unet_down_blocks_2_attentions_0_transformer_blocks";
    const TEXT: &str = "text_model_encoder_layers_0_self_attn_q_proj";
    let family = |layer: &str, inputs: usize| {
        let (up, down) = (format!("{layer}.lora_up"), format!("{layer}.lora_down"));
        let adapter = open(&[(&up, [8, 2]), (&down, [2, inputs])], "").unwrap();
        adapter.family()
    };
    for (layer, inputs, wanted) in [
        (format!("{BLOCK}_0_attn2_to_k"), 768, Some(Kind::Sd1)),
        (format!("{BLOCK}_0_attn2_to_v"), 1024, Some(Kind::Sd2)),
        (format!("{BLOCK}_0_attn2_to_k"), 2048, Some(Kind::Sdxl)),
        (
            format!("{BLOCK}_0_attn2_to_k"),
            1280,
            Some(Kind::SdxlRefiner),
        ),
        (format!("{BLOCK}_0_attn2_to_k"), 32, None),
        (format!("{BLOCK}_0_attn1_to_k"), 768, None),
        (format!("{BLOCK}_9_attn1_to_k"), 640, Some(Kind::Sdxl)),
        (format!("lora_te_{TEXT}"), 768, Some(Kind::Sd1)),
        (format!("lora_te_{TEXT}"), 1024, Some(Kind::Sd2)),
        (format!("lora_te1_{TEXT}"), 768, Some(Kind::Sdxl)),
        (format!("lora_te2_{TEXT}"), 1280, Some(Kind::Sdxl)),
    ] {
        assert_eq!(family(&layer, inputs), wanted, "{layer} {inputs}");
    }
    let said = fit(&[(Q_UP.0, [5, 2]), (Q_DOWN.0, [2, 768])]);
    let said = said.check().unwrap_err().to_string();
    let wanted = "another model (it is one for Stable Diffusion 1): 0 of 1 targets";
    assert!(said.contains(wanted), "{said}");
}
