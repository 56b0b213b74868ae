//! What tensors in adapter files are called, and which of a network's layers that means.
//!
//! A key is a layer's name and the name of a piece: `lora_unet_mid_block_attentions_0_proj_in`
//! and `.lora_up.weight`. The trainers name layers after diffusers' modules or after those of
//! the paper's code, with dots or with underscores for dots; so both sides are compared with
//! underscores only.
//!
//! Not here: which pieces go together (`method`).

use std::collections::BTreeMap;

use crate::weights::KeyTable;

/// The network that a layer is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The UNet.
    Unet,
    /// The text encoder, or the first of two.
    Text,
    /// The second of two text encoders.
    Text2,
}

impl Part {
    /// Whether both are text encoders, or both not.
    pub(super) fn is_like(self, other: Self) -> bool {
        (self == Self::Unet) == (other == Self::Unet)
    }

    /// What messages call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unet => "UNet",
            Self::Text => "text encoder",
            Self::Text2 => "second text encoder",
        }
    }
}

/// What one tensor is to its layer. The letters are those of the trainers' names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Piece {
    Up,
    Down,
    Mid,
    HadaW1A,
    HadaW1B,
    HadaW2A,
    HadaW2B,
    HadaT1,
    HadaT2,
    LokrW1,
    LokrW1A,
    LokrW1B,
    LokrW2,
    LokrW2A,
    LokrW2B,
    LokrT2,
    GloraA1,
    GloraA2,
    GloraB1,
    GloraB2,
    Blocks,
    Rescale,
    Diff,
    DiffBias,
    Set,
    Alpha,
    /// DoRA's magnitudes as LyCORIS writes them: of rows or of columns, by their shape.
    DoraScale,
    /// DoRA's magnitudes as PEFT writes them: of rows.
    Magnitude,
}

/// How keys end, `.weight` left out. Down is PEFT's A, up its B.
const ENDINGS: &[(&str, Piece)] = &[
    (".lora_up", Piece::Up),
    (".lora_down", Piece::Down),
    (".lora_mid", Piece::Mid),
    ("_lora.up", Piece::Up),
    ("_lora.down", Piece::Down),
    (".lora.up", Piece::Up),
    (".lora.down", Piece::Down),
    (".lora_linear_layer.up", Piece::Up),
    (".lora_linear_layer.down", Piece::Down),
    (".lora_B", Piece::Up),
    (".lora_A", Piece::Down),
    (".hada_w1_a", Piece::HadaW1A),
    (".hada_w1_b", Piece::HadaW1B),
    (".hada_w2_a", Piece::HadaW2A),
    (".hada_w2_b", Piece::HadaW2B),
    (".hada_t1", Piece::HadaT1),
    (".hada_t2", Piece::HadaT2),
    (".lokr_w1", Piece::LokrW1),
    (".lokr_w1_a", Piece::LokrW1A),
    (".lokr_w1_b", Piece::LokrW1B),
    (".lokr_w2", Piece::LokrW2),
    (".lokr_w2_a", Piece::LokrW2A),
    (".lokr_w2_b", Piece::LokrW2B),
    (".lokr_t2", Piece::LokrT2),
    (".a1", Piece::GloraA1),
    (".a2", Piece::GloraA2),
    (".b1", Piece::GloraB1),
    (".b2", Piece::GloraB2),
    (".oft_blocks", Piece::Blocks),
    (".rescale", Piece::Rescale),
    (".diff", Piece::Diff),
    (".w_norm", Piece::Diff),
    (".diff_b", Piece::DiffBias),
    (".b_norm", Piece::DiffBias),
    (".set_weight", Piece::Set),
    (".alpha", Piece::Alpha),
    (".dora_scale", Piece::DoraScale),
    (".lora_magnitude_vector", Piece::Magnitude),
];

/// The layer's name and the piece that the tensor called `key` is, if it is one.
pub(super) fn parse(key: &str) -> Option<(String, Piece)> {
    // PEFT puts the adapter's name, `default`, before or after `weight` or leaves it out.
    let key = key.replace(".default.", ".");
    let key = key.strip_suffix(".default").unwrap_or(&key);
    let key = key.strip_suffix(".weight").unwrap_or(key);
    let piece = |(ending, piece): &(&str, Piece)| {
        let name = key.strip_suffix(ending)?;
        Some((name.to_owned(), *piece))
    };
    ENDINGS.iter().find_map(piece)
}

/// How names begin that say which network they are for; longer ones first.
const BEGINNINGS: &[(&str, Part)] = &[
    ("lora_unet_", Part::Unet),
    ("lycoris_unet_", Part::Unet),
    ("unet.", Part::Unet),
    ("model.diffusion_model.", Part::Unet),
    ("diffusion_model.", Part::Unet),
    ("lora_te2_", Part::Text2),
    ("lora_te1_", Part::Text),
    ("lora_te_", Part::Text),
    ("text_encoder_2.", Part::Text2),
    ("text_encoder.", Part::Text),
];

/// The network that a layer's name is for, and its name there with nothing but underscores.
pub(super) fn place(name: &str) -> (Part, String) {
    let name = name.strip_prefix("base_model.model.").unwrap_or(name);
    let told = BEGINNINGS.iter().find_map(|(beginning, part)| {
        let rest = name.strip_prefix(beginning)?;
        Some((*part, flat(rest)))
    });
    told.unwrap_or_else(|| {
        let bare = name.strip_prefix("lycoris_").unwrap_or(name);
        let is_text = ["text_model", "encoder.layers", "encoder_layers"]
            .iter()
            .any(|beginning| bare.starts_with(beginning));
        let part = if is_text { Part::Text } else { Part::Unet };
        (part, flat(bare))
    })
}

/// A name with underscores for dots, without what only some give it.
fn flat(name: &str) -> String {
    let flat = name.replace(".processor.", ".").replace('.', "_");
    match flat.strip_prefix("text_model_") {
        Some(inner) => inner.to_owned(),
        None => flat,
    }
}

/// What a network's layers are called by everyone: part and flat name → our path.
#[derive(Debug, Clone, Default)]
pub(super) struct Names(BTreeMap<(Part, String), String>);

/// Other endings of the same layer: the table's, another's.
const ALSO: &[(&str, &str)] = &[
    ("_to_out_0", "_to_out"),
    ("_q_proj", "_to_q"),
    ("_k_proj", "_to_k"),
    ("_v_proj", "_to_v"),
    ("_out_proj", "_to_out"),
];

impl Names {
    /// The names that several families give one network, which is `part`; where it is two, the
    /// other is the second text encoder.
    pub(super) fn of(tables: &[KeyTable], part: Part) -> Self {
        let mut names = Self::default();
        let networks = tables
            .iter()
            .flat_map(|t| [part, Part::Text2].into_iter().zip(t.networks()));
        for (part, (beginning, table)) in networks {
            for (ours, theirs) in table.layers() {
                names.add(part, flat(theirs), &format!("{beginning}{ours}"));
            }
        }
        names
    }

    fn add(&mut self, part: Part, flat: String, path: &str) {
        for (ending, also) in ALSO {
            if let Some(stem) = flat.strip_suffix(ending) {
                let also = (part, format!("{stem}{also}"));
                self.0.insert(also, path.to_owned());
            }
        }
        self.0.insert((part, flat), path.to_owned());
    }

    /// Our path of the layer with that flat name.
    pub(super) fn path(&self, part: Part, flat: &str) -> Option<&str> {
        self.0.get(&(part, flat.to_owned())).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_name_a_layer_means_the_same() {
        let flat = "down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q";
        let dotted = "down_blocks.1.attentions.0.transformer_blocks.0.attn1";
        let keys = [
            format!("lora_unet_{flat}.lora_up.weight"),
            format!("lycoris_{flat}.lora_up.weight"),
            format!("unet.{dotted}.processor.to_q_lora.up.weight"),
            format!("unet.{dotted}.to_q.lora_B.weight"),
            format!("unet.{dotted}.to_q.lora.up.weight"),
            format!("{dotted}.to_q.lora_linear_layer.up.weight"),
            format!("base_model.model.{dotted}.to_q.lora_B.default.weight"),
            format!("base_model.model.unet.{dotted}.to_q.lora_B.default"),
            format!("diffusion_model.{dotted}.to_q.lora_up.weight"),
        ];
        for key in keys {
            let (name, piece) = parse(&key).unwrap();
            assert_eq!(
                (piece, place(&name)),
                (Piece::Up, (Part::Unet, flat.into())),
                "{key}"
            );
        }
    }

    #[test]
    fn text_encoders_are_told_apart() {
        let inner = "encoder_layers_3_self_attn_q_proj";
        for (name, part) in [
            (
                "lora_te_text_model_encoder_layers_3_self_attn_q_proj",
                Part::Text,
            ),
            (
                "lora_te1_text_model_encoder_layers_3_self_attn_q_proj",
                Part::Text,
            ),
            (
                "lora_te2_text_model_encoder_layers_3_self_attn_q_proj",
                Part::Text2,
            ),
            (
                "text_encoder.text_model.encoder.layers.3.self_attn.q_proj",
                Part::Text,
            ),
            (
                "text_encoder_2.text_model.encoder.layers.3.self_attn.q_proj",
                Part::Text2,
            ),
            ("text_model.encoder.layers.3.self_attn.q_proj", Part::Text),
            ("encoder.layers.3.self_attn.q_proj", Part::Text),
        ] {
            assert_eq!(place(name), (part, inner.to_owned()), "{name}");
        }
    }

    #[test]
    fn what_is_no_piece_is_left_over() {
        for key in ["conv_in.weight", "lora_unet_conv_in.lora_B.bias", "noise"] {
            assert_eq!(parse(key), None, "{key}");
        }
    }
}
