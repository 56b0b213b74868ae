"""control_<case>, adapter_<case> and unet_controlled: networks that steer a U-Net, and one steered.

Laid out as networks.py says, with these inputs and results.
- `control_*`: `x` [b, 4, h, w], `t` [b], `context` [b, n, d], `hint` [b, 3, k·h, k·w] in 0..1 and
  for `control_xl` `label` [b, n] (f32) → `skip<i>` and `middle`, at full scale; `guess<i>`, of
  `control_net` alone, are the scales of diffusers' guess mode, the middle's last.
- `adapter_*`: `hint` → `feature<i>`.
- `unet_controlled`: `x`, `t`, `context`, `skip<i>`, `middle` and `feature<i>`, all drawn → `net`,
  `adapter` and `both`, the U-Net's results with a ControlNet's additions, an adapter's, and both.

`control_compvis.weights` is `control_net.weights` under the names of the released code, behind
`control_model.`; that diffusers' converter makes the one of the other was checked when it was
made. `adapter_*_tencent.weights` are those of `adapter_*` under the names of the released code.

All convolutions that start at zero are drawn like the rest.

Run: python control.py OUT_DIR
"""

import copy
import re
import sys

import diffusers
import networks
import torch
import torch.nn.functional as F
from common import save
from diffusers.loaders.single_file_utils import convert_controlnet_checkpoint
from safetensors.torch import load_file
from torch import nn

VERSION = diffusers.__version__
plain_gain = networks.gain


def gain(name, module, parent):
    """networks.py's rules, and those for what steers."""
    if "cond_embedding.conv_out" in name:
        return networks.STREAM
    if "controlnet_cond" in name or name.startswith("adapter."):
        return 1.4
    if name.startswith("controlnet_"):
        return 1.0
    return plain_gain(name, module, parent)


def relu(model):
    """The hint's network cuts off below zero in place of SiLU."""
    part = model.controlnet_cond_embedding

    def forward(hint):
        h = F.relu(part.conv_in(hint))
        for block in part.blocks:
            h = F.relu(block(h))
        return part.conv_out(h)

    part.forward = forward


def swapped(model):
    """The first two zero convolutions change places."""
    blocks = model.controlnet_down_blocks
    blocks[0], blocks[1] = blocks[1], blocks[0]


MUTANTS = {**networks.CROSS_MUTANTS, "relu": relu, "swapped": swapped}
COMMON = dict(in_channels=4, norm_num_groups=4, block_out_channels=(8, 16), layers_per_block=1)


def steer(model, x, t, context, hint, label=None):
    added = None
    if label is not None:
        pooled, sizes = label[:, :10], label[:, 10:]
        # What the model would make of the sizes stands in the label already.
        model.add_time_proj.forward = lambda flat: sizes
        added = dict(text_embeds=pooled, time_ids=torch.zeros(len(x), 6))
    kwargs = dict(added_cond_kwargs=added, return_dict=False)
    skips, middle = model(x, t, context, hint, **kwargs)
    return {**{f"skip{i}": skip for i, skip in enumerate(skips)}, "middle": middle}


def control_nets(out):
    down = ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D")
    config = dict(**COMMON, down_block_types=down, cross_attention_dim=6, attention_head_dim=2)
    config["conditioning_embedding_out_channels"] = (4, 6)
    make = lambda: diffusers.ControlNetModel(**config)  # noqa: E731
    inputs = dict(
        x=networks.draw(301, 2, 4, 4, 6),
        t=networks.TIMES,
        context=networks.draw(302, 2, 5, 6),
        hint=networks.draw(303, 2, 3, 8, 12).mul(0.25).add(0.5).clamp(0, 1),
    )
    oracle = f"diffusers {VERSION} ControlNetModel"
    networks.record(out, "control_net", config, make, steer, inputs, MUTANTS, 300, oracle)
    compvis(out, config)

    down = ("DownBlock2D", "CrossAttnDownBlock2D")
    config = dict(**COMMON, down_block_types=down, cross_attention_dim=6)
    config.update(attention_head_dim=(2, 4), transformer_layers_per_block=(1, 2))
    config.update(addition_embed_type="text_time", addition_time_embed_dim=4)
    config.update(projection_class_embeddings_input_dim=34, use_linear_projection=True)
    config["conditioning_embedding_out_channels"] = (3, 4, 6)
    make = lambda: diffusers.ControlNetModel(**config)  # noqa: E731
    inputs = dict(
        x=networks.draw(311, 2, 4, 4, 6),
        t=networks.TIMES,
        context=networks.draw(312, 2, 5, 6),
        hint=networks.draw(313, 2, 3, 16, 24).mul(0.25).add(0.5).clamp(0, 1),
        label=networks.draw(314, 2, 34),
    )
    networks.record(out, "control_xl", config, make, steer, inputs, MUTANTS, 310, oracle)


def compvis(out, config):
    """The weights under the names of the released code, as the converter reads them."""
    theirs = load_file(f"{out}/control_net.weights.safetensors")
    names = [
        (r"time_embedding\.linear_1", "time_embed.0"),
        (r"time_embedding\.linear_2", "time_embed.2"),
        (r"controlnet_cond_embedding\.conv_in", "input_hint_block.0"),
        (r"controlnet_cond_embedding\.blocks\.(\d+)", lambda m: f"input_hint_block.{2 * int(m[1]) + 2}"),
        (r"controlnet_cond_embedding\.conv_out", "input_hint_block.14"),
        (r"controlnet_down_blocks\.(\d+)", r"zero_convs.\1.0"),
        (r"controlnet_mid_block", "middle_block_out.0"),
        (r"conv_in", "input_blocks.0.0"),
        (r"mid_block\.resnets\.(\d)", lambda m: f"middle_block.{2 * int(m[1])}"),
        (r"mid_block\.attentions\.0", "middle_block.1"),
        (r"down_blocks\.(\d)\.resnets\.0", lambda m: f"input_blocks.{2 * int(m[1]) + 1}.0"),
        (r"down_blocks\.(\d)\.attentions\.0", lambda m: f"input_blocks.{2 * int(m[1]) + 1}.1"),
        (r"down_blocks\.(\d)\.downsamplers\.0\.conv", lambda m: f"input_blocks.{2 * int(m[1]) + 2}.0.op"),
    ]
    resnet = [("norm1", "in_layers.0"), ("conv1", "in_layers.2"), ("time_emb_proj", "emb_layers.1")]
    resnet += [("norm2", "out_layers.0"), ("conv2", "out_layers.3"), ("conv_shortcut", "skip_connection")]
    ours = {}
    for name, value in theirs.items():
        new = name
        for pattern, other in names:
            new, found = re.subn("^" + pattern, other, new)
            if found:
                break
        for old, other in resnet if "resnets" in name else []:
            new = new.replace(f".{old}.", f".{other}.")
        ours[f"control_model.{new}"] = value
    back = convert_controlnet_checkpoint(copy.copy(ours), config)
    assert back.keys() == theirs.keys(), back.keys() ^ theirs.keys()
    assert all(torch.equal(back[k], theirs[k]) for k in theirs)
    # The converter knows the hint's last convolution by the number it has in the full network.
    ours = {k.replace("hint_block.14", "hint_block.6"): v for k, v in ours.items()}
    save(out, "control_compvis.weights", ours, {"oracle": "as control_net.weights"})


# ---- T2I-Adapters --------------------------------------------------------------------------


def order(model):
    """Pixels leave their squares column by column."""
    unshuffle = model.adapter.unshuffle
    plain = unshuffle.forward
    unshuffle.forward = lambda x: plain(x.mT).mT


def blunt(model):
    """The largest of four pixels is kept in place of their mean."""
    for m in model.modules():
        if isinstance(getattr(m, "downsample", None), nn.AvgPool2d):
            m.downsample = nn.MaxPool2d(2, 2)


def silu(model):
    for m in model.modules():
        if isinstance(getattr(m, "act", None), nn.ReLU):
            m.act = nn.SiLU()


def adapter(out, name, seed, hint, **config):
    make = lambda: diffusers.T2IAdapter(**config)  # noqa: E731

    def call(model, hint):
        return {f"feature{i}": feature for i, feature in enumerate(model(hint))}

    hint = networks.draw(seed + 1, *hint).mul(0.25).add(0.5).clamp(0, 1)
    mutants = {"border": networks.border, "order": order, "blunt": blunt, "silu": silu}
    networks.WHOLE.update(AdapterResnetBlock=None, LightAdapterResnetBlock=None)
    oracle = f"diffusers {VERSION} T2IAdapter"
    networks.record(out, name, config, make, call, {"hint": hint}, mutants, seed, oracle)


def tencent(out, name, flat):
    """The weights under the names of the released code: one list of blocks in the large network."""
    ours = {}
    for key, value in load_file(f"{out}/{name}.weights.safetensors").items():
        key = key.removeprefix("adapter.")
        if flat:
            key = re.sub(
                r"^body\.(\d)\.resnets\.(\d)", lambda m: f"body.{2 * int(m[1]) + int(m[2])}", key
            )
            key = re.sub(r"^body\.(\d)\.in_conv", lambda m: f"body.{2 * int(m[1])}.in_conv", key)
        ours[key.replace(".resnets.", ".body.")] = value
    save(out, f"{name}_tencent.weights", ours, {"oracle": f"as {name}.weights"})


def adapters(out):
    full = dict(in_channels=3, channels=[4, 8], num_res_blocks=2, downscale_factor=8)
    adapter(out, "adapter_full", 330, (1, 3, 32, 48), **full, adapter_type="full_adapter")
    tencent(out, "adapter_full", flat=True)
    xl = dict(in_channels=1, channels=[4, 6, 8, 8], num_res_blocks=2, downscale_factor=16)
    adapter(out, "adapter_xl", 340, (1, 1, 64, 96), **xl, adapter_type="full_adapter_xl")
    light = dict(in_channels=3, channels=[8, 16], num_res_blocks=3, downscale_factor=8)
    adapter(out, "adapter_light", 350, (1, 3, 64, 32), **light, adapter_type="light_adapter")
    tencent(out, "adapter_light", flat=False)


# ---- a U-Net that is steered ---------------------------------------------------------------


def controlled(out):
    config = dict(
        sample_size=8,
        in_channels=3,
        out_channels=3,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=(8, 16),
        layers_per_block=1,
        cross_attention_dim=6,
        attention_head_dim=2,
        norm_num_groups=4,
    )
    shapes = [(8, 4, 6), (8, 4, 6), (8, 2, 3), (16, 2, 3)]
    inputs = dict(
        x=networks.draw(361, 2, 3, 4, 6), t=networks.TIMES, context=networks.draw(362, 2, 5, 6)
    )
    # Of the size of what they are added to.
    small = lambda seed, *shape: networks.draw(seed, *shape).mul(networks.STREAM)  # noqa: E731
    for i, shape in enumerate(shapes):
        inputs[f"skip{i}"] = small(370 + i, 2, *shape)
    inputs["middle"] = small(380, 2, 16, 2, 3)
    inputs["feature0"], inputs["feature1"] = small(381, 2, 8, 4, 6), small(382, 2, 16, 2, 3)

    def call(model, x, t, context, middle, feature0, feature1, **skips):
        net = dict(mid_block_additional_residual=middle)
        net["down_block_additional_residuals"] = tuple(skips[f"skip{i}"] for i in range(4))
        adapter = lambda: dict(  # noqa: E731
            down_intrablock_additional_residuals=[feature0.clone(), feature1.clone()]
        )
        run = lambda **more: model(x, t, context, **more).sample  # noqa: E731
        return dict(net=run(**net), adapter=run(**adapter()), both=run(**net, **adapter()))

    def unsteered(model):
        forward = model.forward
        model.forward = lambda x, t, context, **_: forward(x, t, context)

    def late(model):
        """An adapter's features are added as a ControlNet's are: where the way down ends."""
        forward = model.forward

        def wrong(x, t, context, **more):
            features = more.pop("down_intrablock_additional_residuals", None)
            if features is None:
                return forward(x, t, context, **more)
            skips = more.get("down_block_additional_residuals")
            if skips is None:
                skips = [torch.zeros(2, *shape, dtype=x.dtype) for shape in shapes]
                more["mid_block_additional_residual"] = torch.zeros(1, 16, 1, 1, dtype=x.dtype)
            skips = list(skips)
            skips[1], skips[3] = skips[1] + features[0], skips[3] + features[1]
            more["down_block_additional_residuals"] = tuple(skips)
            return forward(x, t, context, **more)

        model.forward = wrong

    make = lambda: diffusers.UNet2DConditionModel(**config)  # noqa: E731
    mutants = {"unsteered": unsteered, "late": late, "border": networks.border}
    oracle = f"diffusers {VERSION} UNet2DConditionModel"
    name = "unet_controlled"
    networks.record(out, name, config, make, call, inputs, mutants, 360, oracle)


def main(out):
    diffusers.logging.set_verbosity_error()
    networks.gain = gain
    control_nets(out)
    adapters(out)
    controlled(out)


if __name__ == "__main__":
    main(*sys.argv[1:])
