"""vq_<case>.safetensors and their weights: autoencoders with a codebook; conditioners.safetensors.

Laid out as `networks.py` says, whose rules for weights and whose checks run here too.
- `x` a picture, `z` a latent to decode; results `latent` (not quantised), `decoded` (quantised
  first) and `unquantised` (decoded as it is).
- `nearest` i64 [b, h, w], the code for each pixel of `z`, which no other code comes near.
- `tied` f32 [b, c, h, w], pixels half-way between two codes, `one` and `two` i64 [b, h, w], which
  either will do; no third comes near.
- More mutants: `codebook`, `z` not quantised; `attention`, none at the coarsest size.
- `vq_compvis` counts codes as `remap` does: `used` i64; `to_used` and `to_all` i64 [b, h, w], the
  nearest codes' numbers among those in use (the unknown as one more), and the codes again.

`conditioners`: `class` [b] i64 and `tokens` [b, 1, d] f64 by the table
`classes.embedding.weight` f32; `map` [b, c, h, w] f32 and `channels` f64, what two stages of
halving and `rescaler.channel_mapper.weight` f32 make of it; odd sides included.

Run: python autoencoders.py OUT_DIR LATENT_DIFFUSION TAMING_TRANSFORMERS
"""

import copy
import sys
import tempfile

import diffusers
import networks
import numpy as np
import torch
from common import error_over_std, save, stub, use_compvis
from networks import AE_MUTANTS, draw, record
from torch import nn


def unquantised(model):
    model.quantise = lambda z: z


def no_attention(model):
    half = [model.encoder, model.decoder]
    for side in half:
        if hasattr(side, "mid_block"):
            side.mid_block.attentions[0] = None
        else:
            side.mid.attn_1 = nn.Identity()


def nearest(z, table, n):
    """The `n` nearest codes for each pixel, and how much further the next is at least."""
    pixels = z.double().permute(0, 2, 3, 1)
    squares = (pixels[..., None, :] - table.double()).square().sum(-1)
    squares, codes = squares.topk(n + 1, largest=False)
    margin = (squares[..., n] - squares[..., n - 1]) / squares[..., n - 1]
    return codes[..., :n].unbind(-1), margin.min().item()


def halfway(table):
    """Pixels half-way between two codes, for each pair of codes between which no third stands."""
    pairs = torch.combinations(torch.arange(len(table)))
    middles = table[pairs].mean(1).T[None, :, None]  # [1, c, 1, pairs]
    again, _ = nearest(middles, table, 2)
    clear = [
        torch.equal(torch.stack(again, -1)[0, 0, i].sort()[0], pair)
        and nearest(middles[..., i : i + 1], table, 2)[1] > 1e-3
        for i, pair in enumerate(pairs)
    ]
    one, two = pairs[torch.tensor(clear)].unbind(-1)
    assert len(one) > 4
    return {"tied": middles[..., clear], "one": one[None, None], "two": two[None, None]}


def vq(out, name, make, seed, shape, config, mutants, oracle, extra=lambda model, codes: {}):
    """Record one case; the codes' table is drawn with the weights, so the inputs come after."""
    model = networks.randomise(make(), seed)
    table = model.quantize.embedding.weight.data
    z = draw(seed + 2, *shape)
    (codes,), margin = nearest(z, table, 1)
    print(f"{name}: {codes.unique().numel()} codes in use, least margin {margin:.1e}")
    assert margin > 1e-4
    size = 2 ** (len(config["widths"]) - 1)
    x = draw(seed + 1, shape[0], 3, shape[2] * size, shape[3] * size).clamp(-1, 1)
    indices = {"nearest": codes, **halfway(table), **extra(model, codes)}
    call = lambda model, x, z: model(x, z)  # noqa: E731
    record(out, name, config, make, call, {"x": x, "z": z}, mutants, seed, oracle, indices)


# ---- CompVis -------------------------------------------------------------------------------


class Coded(nn.Module):
    """What VQModelInterface does, from CompVis's halves and taming's quantiser."""

    def __init__(self, parts, quantiser, embed, codes, used, args):
        super().__init__()
        self.encoder = parts.Encoder(double_z=False, **args)
        self.decoder = parts.Decoder(**args)
        if used is None:
            self.quantize = quantiser(codes, embed, 0.25)
        else:
            with tempfile.NamedTemporaryFile(suffix=".npy") as file:
                np.save(file.name, used)
                more = dict(remap=file.name, unknown_index="extra", sane_index_shape=True)
                self.quantize = quantiser(codes, embed, 0.25, **more)
        self.quant_conv = nn.Conv2d(args["z_channels"], embed, 1)
        self.post_quant_conv = nn.Conv2d(embed, args["z_channels"], 1)

    def quantise(self, z):
        return self.quantize(z)[0]

    def forward(self, x, z):
        decode = lambda z: self.decoder(self.post_quant_conv(z))  # noqa: E731
        latent = self.quant_conv(self.encoder(x))
        return {"latent": latent, "decoded": decode(self.quantise(z)), "unquantised": decode(z)}


def compvis(out, name, seed, used, mutants, **config):
    from ldm.modules.diffusionmodules import model as parts
    from taming.modules.vqvae.quantize import VectorQuantizer2

    args = dict(z_channels=4, resolution=16, in_channels=3, out_ch=3, ch=8, dropout=0.0)
    args = dict(**args, num_res_blocks=1, **config)
    parts.Normalize = lambda c, num_groups=4: nn.GroupNorm(num_groups, c, eps=1e-6)
    make = lambda: Coded(parts, VectorQuantizer2, 3, 12, used, args)  # noqa: E731
    shown = {**args, "embed": 3, "codes": 12, "groups": 4, "widths": config["ch_mult"]}
    oracle = "CompVis/latent-diffusion Encoder, Decoder; taming-transformers VectorQuantizer2"

    def remapped(model, codes):
        if used is None:
            return {}
        numbers = model.quantize.remap_to_used(codes)
        flat = model.quantize.used[numbers.clamp(max=len(used) - 1)]
        flat[numbers >= len(used)] = used[0]
        entries = model.quantize.get_codebook_entry(numbers.clone(), (*codes.shape, 3))
        table = model.quantize.embedding.weight.data
        assert torch.equal(entries, table[flat].permute(0, 3, 1, 2))
        return {"used": torch.tensor(used), "to_used": numbers, "to_all": flat}

    vq(out, name, make, seed, (2, 3, 4, 6), shown, mutants, oracle, remapped)


# ---- diffusers -----------------------------------------------------------------------------


class Diffusers(diffusers.VQModel):
    def quantise(self, z):
        return self.quantize(z)[0]

    def forward(self, x, z):
        decode = lambda z: self.decoder(self.post_quant_conv(z))  # noqa: E731
        latent = self.encode(x).latents
        if "quantise" not in vars(self):
            assert torch.equal(self.decode(z).sample, decode(self.quantise(z)))
        return {"latent": latent, "decoded": decode(self.quantise(z)), "unquantised": decode(z)}


def of_diffusers(out, name, seed):
    attending = dict(
        down_block_types=("DownEncoderBlock2D", "AttnDownEncoderBlock2D", "DownEncoderBlock2D"),
        up_block_types=("UpDecoderBlock2D", "AttnUpDecoderBlock2D", "UpDecoderBlock2D"),
    )
    config = dict(
        **attending,
        block_out_channels=(8, 16, 16),
        layers_per_block=1,
        latent_channels=4,
        vq_embed_dim=3,
        num_vq_embeddings=12,
        norm_num_groups=4,
        scaling_factor=1.0,
    )
    make = lambda: Diffusers(**config)  # noqa: E731
    shown = {**config, "widths": config["block_out_channels"]}
    mutants = {**AE_MUTANTS, "codebook": unquantised, "attention": no_attention}
    oracle = f"diffusers {diffusers.__version__} VQModel"
    vq(out, name, make, seed, (2, 3, 4, 6), shown, mutants, oracle)


# ---- conditioners --------------------------------------------------------------------------


def conditioners(out):
    stub("clip", "kornia")
    from ldm.modules.encoders import modules

    classes = modules.ClassEmbedder(5, n_classes=6)
    rescale = modules.SpatialRescaler(2, in_channels=7, out_channels=3)
    for i, m in enumerate((classes, rescale)):
        for p in m.parameters():
            p.data = draw(401 + i, *p.shape)
    ids, map_ = torch.tensor([4, 0, 2]), draw(403, 2, 7, 12, 10).abs()
    tensors = {"class": ids, "map": map_}
    tensors["classes.embedding.weight"] = classes.embedding.weight
    tensors["rescaler.channel_mapper.weight"] = rescale.channel_mapper.weight
    meta = {"oracle": "CompVis/latent-diffusion ClassEmbedder, SpatialRescaler"}
    with torch.no_grad():
        single, double = rescale(map_), copy.deepcopy(rescale).double()(map_.double())
        tensors["tokens"] = classes.double()({"class": ids})
    tensors["channels"] = double
    meta["f32_error.channels"] = f"{error_over_std(single, double):.3e}"
    meta["f32_error.tokens"] = "0.0"
    save(out, "conditioners", tensors, meta)


def main(out, latent_diffusion, taming):
    diffusers.logging.set_verbosity_error()
    use_compvis(latent_diffusion)
    sys.path.insert(0, str(taming))
    of_diffusers(out, "vq_diffusers", 300)
    attending = dict(ch_mult=(1, 1, 2), attn_resolutions=[8])
    mutants = {**AE_MUTANTS, "codebook": unquantised, "attention": no_attention}
    compvis(out, "vq_compvis", 310, np.array([7, 2, 5, 0, 11, 9]), mutants, **attending)
    without = {k: v for k, v in mutants.items() if k not in ("qk", "attention")}
    plain = dict(ch_mult=(1, 1, 2), attn_resolutions=[], attn_type="none")
    compvis(out, "vq_noattn", 320, None, without, **plain)
    conditioners(out)


if __name__ == "__main__":
    main(*sys.argv[1:])
