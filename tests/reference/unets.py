"""unet_<case>.safetensors and their weights: the U-Nets beside those of `networks.py`.

Laid out as `networks.py` says, whose rules for weights and whose checks run here too. One more
input: `label` f32, class numbers [b, 1] or vectors [b, v]; for SDXL's kind also what its vector
is made of, `text` [b, n] and `numbers` [b, 6], six sizes whose waves of `wave_width` follow the
text.
One more kind of mutant: `label`, the label of the second picture in place of the first's;
`scale_shift`, the scale and the shift exchanged; `pool`, the first of four pixels in place of
their mean; `heads_1`, two heads where there is one; `middle`, its first block alone.

Run: python unets.py OUT_DIR LATENT_DIFFUSION
"""

import sys

import diffusers
import networks
import torch
from common import use_compvis
from networks import CROSS_MUTANTS, TIMES, UNET_MUTANTS, draw, first, record
from torch import nn

# ---- weights and mistakes ------------------------------------------------------------------

ADDED = networks.gain


def scaling(name, module, parent):
    """What the timestep scales and shifts with is of the size of a norm's output."""
    if name.endswith(("time_emb_proj", "emb_layers.1")):
        return 0.5
    return ADDED(name, module, parent)


def small(name):
    """Biases that let the stream stay small through three or four levels."""
    return 0.3 * networks.STREAM if any(k in name + "." for k in networks.CARRY) else 0.3


def scale_shift(model):
    found = 0
    for name, m in model.named_modules():
        if name.endswith(("time_emb_proj", "emb_layers.1")):
            for p in (m.weight, m.bias):
                a, b = p.data.chunk(2)
                p.data = torch.cat([b, a])
            found += 1
    assert found


def pool(model):
    found = 0
    for m in model.modules():
        if isinstance(m, nn.AvgPool2d) or type(m).__name__ == "Downsample2D":
            m.forward = lambda x, *_: x[:, :, ::2, ::2]
            found += 1
    assert found


def heads_1(model):
    """Two heads where there should be one."""
    found = 0
    for m in model.modules():
        if type(m).__name__ in ("CrossAttention", "Attention") and m.heads == 1:
            m.heads, m.scale = 2, m.scale * 2**0.5
            found += 1
    assert found


def middle(model):
    """One transformer block in the middle, however many there should be."""
    transformer = model.mid_block.attentions[0]
    assert len(transformer.transformer_blocks) > 1
    transformer.transformer_blocks = transformer.transformer_blocks[:1]


def but(mutants, *without, **more):
    return {**{k: v for k, v in mutants.items() if k not in without}, **more}


# ---- CompVis -------------------------------------------------------------------------------


def compvis(out, name, seed, inputs, mutants, **config):
    from ldm.modules import attention
    from ldm.modules.diffusionmodules import openaimodel, util

    openaimodel.normalization = lambda c: util.GroupNorm32(4, c)
    attention.Normalize = lambda c: nn.GroupNorm(4, c, eps=1e-6)
    config = dict(image_size=8, num_res_blocks=1, out_channels=3, channel_mult=(1, 2), **config)
    make = lambda: openaimodel.UNetModel(**config)  # noqa: E731

    def call(model, x, t, context=None, label=None):
        if label is not None:
            label = label.squeeze(1).long()
        return {"out": model(x, timesteps=t, context=context, y=label)}

    oracle = "CompVis/latent-diffusion UNetModel; 4 norm groups"
    record(out, name, {**config, "groups": 4}, make, call, inputs, mutants, seed, oracle)


def compvis_cases(out):
    # As lsun_churches256: 2 heads at every width, scale and shift, blocks that resample.
    networks.gain = scaling
    count = dict(model_channels=8, num_heads=2, resblock_updown=True)
    inputs = {"x": draw(201, 2, 4, 8, 12), "t": TIMES}
    mutants = but(UNET_MUTANTS, "padding", scale_shift=scale_shift, pool=pool)
    churches = dict(in_channels=4, attention_resolutions=[1, 2], use_scale_shift_norm=True)
    compvis(out, "unet_churches", 200, inputs, mutants, **count, **churches)
    networks.gain = ADDED
    # As inpainting_big: the same without scale and shift; attention at the coarser level.
    inputs = {"x": draw(211, 2, 7, 8, 12), "t": TIMES}
    mutants = but(UNET_MUTANTS, "padding", pool=pool)
    big = dict(in_channels=7, attention_resolutions=[2])
    compvis(out, "unet_inpainting", 210, inputs, mutants, **count, **big)
    # As cin256-v2: one head; and a table of classes, which its configuration leaves out.
    inputs = {"x": draw(221, 2, 3, 8, 12), "t": TIMES, "context": draw(222, 2, 3, 6)}
    inputs["label"] = torch.tensor([[4.0], [1.0]])
    one = dict(in_channels=3, model_channels=8, num_heads=1, attention_resolutions=[2])
    one = dict(**one, context_dim=6, use_spatial_transformer=True, num_classes=5)
    mutants = but(CROSS_MUTANTS, "heads", heads_1=heads_1, label=other_class)
    compvis(out, "unet_classes", 220, inputs, mutants, **one)


def other_class(model):
    model.label_emb.weight.data = model.label_emb.weight.data.roll(1, 0)


# ---- diffusers -----------------------------------------------------------------------------

DOWN, UP = "DownBlock2D", "UpBlock2D"
CROSS_DOWN, CROSS_UP = "CrossAttnDownBlock2D", "CrossAttnUpBlock2D"


def updown(out, name, seed):
    """The names that diffusers gives blocks that resample; heads by their width."""
    networks.gain = scaling
    config = dict(
        sample_size=8,
        in_channels=3,
        out_channels=3,
        down_block_types=("ResnetDownsampleBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "ResnetUpsampleBlock2D"),
        block_out_channels=(8, 16),
        layers_per_block=1,
        attention_head_dim=8,
        norm_num_groups=4,
        attn_norm_num_groups=4,
        norm_eps=1e-5,
        resnet_time_scale_shift="scale_shift",
        downsample_type="resnet",
        upsample_type="resnet",
        flip_sin_to_cos=True,
        freq_shift=0,
    )
    inputs = {"x": draw(seed + 1, 2, 3, 8, 12), "t": TIMES}
    call = lambda model, x, t: {"out": first(model(x, t))}  # noqa: E731
    make = lambda: diffusers.UNet2DModel(**config)  # noqa: E731
    mutants = but(UNET_MUTANTS, "padding", scale_shift=scale_shift, pool=pool)
    oracle = f"diffusers {diffusers.__version__} UNet2DModel"
    record(out, name, config, make, call, inputs, mutants, seed, oracle)
    networks.gain = ADDED


def conditional(out, name, seed, inputs, call, mutants, **config):
    config = dict(sample_size=8, out_channels=4, in_channels=4, layers_per_block=1, **config)
    config = dict(norm_num_groups=4, use_linear_projection=True, **config)
    make = lambda: diffusers.UNet2DConditionModel(**config)  # noqa: E731
    oracle = f"diffusers {diffusers.__version__} UNet2DConditionModel"
    record(out, name, config, make, call, inputs, mutants, seed, oracle)


def pooled(width, seed):
    """Pooled texts, six sizes, and the vector of both as the network makes it."""
    text, numbers = draw(seed, 2, 5), torch.tensor([[64.0, 48, 0, 8, 64, 64], [32, 32, 5, 0, 9, 8]])
    waves = networks.embeddings_module.get_timestep_embedding
    vector = waves(numbers.double().flatten(), width, True, 0).reshape(2, -1)
    return text, numbers, torch.cat([text, vector.float()], 1)


def with_text_and_time(model, x, t, context, label, text, numbers):
    added = {"text_embeds": text, "time_ids": numbers}
    return {"out": first(model(x, t, context, added_cond_kwargs=added))}


def other_text(model):
    """The pooled text and the sizes in the other order."""
    w = model.add_embedding.linear_1.weight
    w.data = w.data.roll(5, 1)


def sdxl(out, name, seed, **config):
    width = 4
    levels = len(config["block_out_channels"])
    text, numbers, label = pooled(width, seed + 3)
    inputs = {
        "x": draw(seed + 1, 2, 4, 8, 8 if levels < 4 else 16),
        "t": TIMES,
        "context": draw(seed + 2, 2, 5, 6),
        "label": label,
        "text": text,
        "numbers": numbers,
    }
    config = dict(
        cross_attention_dim=6,
        addition_embed_type="text_time",
        addition_time_embed_dim=width,
        projection_class_embeddings_input_dim=5 + 6 * width,
        **config,
    )
    mutants = but(CROSS_MUTANTS, label=other_text, middle=middle)
    networks.bias, kept = small, networks.bias
    conditional(out, name, seed, inputs, with_text_and_time, mutants, **config)
    networks.bias = kept


def diffusers_cases(out):
    updown(out, "unet_updown", 230)
    # As SDXL: the finest level does not attend, the others deeper and deeper; heads of width 4.
    sdxl(
        out,
        "unet_sdxl",
        240,
        block_out_channels=(8, 16, 16),
        attention_head_dim=(2, 4, 4),
        down_block_types=(DOWN, CROSS_DOWN, CROSS_DOWN),
        up_block_types=(CROSS_UP, CROSS_UP, UP),
        transformer_layers_per_block=(1, 1, 2),
    )
    # As its refiner: neither end attends, and the middle has a depth of its own.
    sdxl(
        out,
        "unet_refiner",
        250,
        block_out_channels=(8, 8, 16, 16),
        attention_head_dim=(2, 2, 4, 4),
        down_block_types=(DOWN, CROSS_DOWN, CROSS_DOWN, DOWN),
        up_block_types=(UP, CROSS_UP, CROSS_UP, UP),
        transformer_layers_per_block=(1, 1, 1, 2),
    )
    # A table of classes under diffusers' name; as many linear layers as SD 2 has.
    inputs = {"x": draw(261, 2, 4, 8, 8), "t": TIMES, "context": draw(262, 2, 5, 6)}
    inputs["label"] = torch.tensor([[0.0], [6.0]])

    def call(model, x, t, context, label):
        return {"out": first(model(x, t, context, class_labels=label.squeeze(1).long()))}

    def other(model):
        model.class_embedding.weight.data = model.class_embedding.weight.data.roll(1, 0)

    conditional(
        out,
        "unet_class_table",
        260,
        inputs,
        call,
        but(CROSS_MUTANTS, label=other),
        block_out_channels=(8, 16),
        attention_head_dim=(2, 4),
        down_block_types=(CROSS_DOWN, DOWN),
        up_block_types=(UP, CROSS_UP),
        cross_attention_dim=6,
        num_class_embeds=7,
    )


def main(out, latent_diffusion):
    diffusers.logging.set_verbosity_error()
    use_compvis(latent_diffusion)
    from ldm.modules.diffusionmodules import util

    networks.WIDENED.append(util)
    compvis_cases(out)
    diffusers_cases(out)


if __name__ == "__main__":
    main(*sys.argv[1:])
