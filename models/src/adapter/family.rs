//! Which released model an adapter was made for, from the names and shapes of its layers.

use super::merge::Pieces;
use super::method::{Method, Shapes};
use super::names::{self, Piece};
use super::{Adapter, Part, Target};
use crate::weights::TensorFile;
use crate::weights::detect::Kind;

impl Adapter {
    /// Whether `file` has tensors that only an adapter has, be they all of one or not.
    pub fn is_one(file: &TensorFile) -> bool {
        use Piece::{Down, HadaW1A, HadaW1B, HadaW2A, HadaW2B, LokrW1, LokrW2, Up};
        let marks = [Down, Up, HadaW1A, HadaW1B, HadaW2A, HadaW2B, LokrW1, LokrW2];
        let is_mark = |key: &String| names::parse(key).is_some_and(|(_, p)| marks.contains(&p));
        file.names().iter().any(is_mark)
    }

    /// The released model whose layers have these names and shapes; none where they tell of
    /// none, or of several.
    pub fn family(&self) -> Option<Kind> {
        let of = |tells: fn(&Self, &Target) -> Option<Kind>| {
            let mut told = self.targets.iter().filter_map(|target| tells(self, target));
            told.next()
        };
        of(Self::by_context)
            .or_else(|| of(Self::by_name))
            .or_else(|| of(Self::by_text))
    }

    /// By how wide the tokens are that cross-attention looks at.
    fn by_context(&self, target: &Target) -> Option<Kind> {
        let looks = ["attn2_to_k", "attn2_to_v"]
            .iter()
            .any(|end| target.flat.ends_with(end));
        match self
            .inputs(target)
            .filter(|_| looks && target.part == Part::Unet)?
        {
            768 => Some(Kind::Sd1),
            1024 => Some(Kind::Sd2),
            1280 => Some(Kind::SdxlRefiner),
            2048 => Some(Kind::Sdxl),
            _ => None,
        }
    }

    /// Of these families, only Stable Diffusion XL has two text encoders, and transformers of
    /// more than one block.
    fn by_name(&self, target: &Target) -> Option<Kind> {
        let block = target.flat.split("transformer_blocks_").nth(1);
        let block = block.and_then(|rest| rest.split('_').next()?.parse::<usize>().ok());
        let deep = target.part == Part::Unet && block.is_some_and(|block| block > 0);
        let second = target.part == Part::Text2 || target.name.starts_with("lora_te1_");
        (deep || second).then_some(Kind::Sdxl)
    }

    /// By the width of the text encoder.
    fn by_text(&self, target: &Target) -> Option<Kind> {
        let looks = target.flat.ends_with("q_proj") && target.part == Part::Text;
        match self.inputs(target).filter(|_| looks)? {
            768 => Some(Kind::Sd1),
            1024 => Some(Kind::Sd2),
            _ => None,
        }
    }

    /// How many numbers the layer takes, where the tensors say it without the layer.
    fn inputs(&self, target: &Target) -> Option<usize> {
        let pieces = Pieces {
            adapter: self,
            target,
        };
        let down = pieces.matrix(Piece::Down).or(pieces.matrix(Piece::HadaW1B));
        let whole = || match target.method? {
            method @ (Method::Lokr | Method::Diff | Method::Set) => method.target(&pieces, &[0]),
            _ => None,
        };
        down.or_else(whole).map(|[_, inputs]| inputs)
    }
}
