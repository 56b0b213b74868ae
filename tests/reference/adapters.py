"""adapters.safetensors: adapter files of every kind, and the weights a network has with them.

The networks are those of `unet_cross_width.weights`, `text_diffusers.weights` (see
`networks.py`) and `clip_hf.weights` (`text.py`), drawn again here from the same seeds. For each
case:
- `<case>/file/<key>`: the tensors of an adapter's file, under the names their trainer gives
  them, rounded to f16 before anything was computed (f32: alpha);
- `<case>/merged/<name>` f32: what a parameter of the network (diffusers' name) becomes at
  strength 1, computed in f64;
- metadata `<case>`: whose names, whose arithmetic; `<case>.note`: what the file's own header
  says, where it says something.

Whose arithmetic:
- LyCORIS's modules (lycoris-lora) and PEFT's layers, in f64. What they do is measured: unit
  vectors (unit pixels, for a convolution) go through the layer's `forward` as a training run
  would call it, and the weight is read off.
- `own`: one line of arithmetic in this file, where no trainer has a module to ask: `diff`,
  `diff_b`, `w_norm`, `b_norm` and `set_weight`; and early GLoRA files, which hold the same
  tensors in another order.

Every case changes each weight it names by at least a tenth of that weight's norm.

Run: python adapters.py OUT_DIR
"""

import copy
import json
import sys
import tempfile

import diffusers
import lycoris
import peft
import text as prompts
import torch
import transformers
from common import save
from diffusers.pipelines.latent_diffusion import pipeline_latent_diffusion as ldm
from diffusers.utils.state_dict_utils import convert_unet_state_dict_to_peft
from lycoris.modules.boft import ButterflyOFTModule
from networks import randomise
from safetensors import safe_open
from torch import nn

# ---- the networks ------------------------------------------------------------------------


def unet():
    config = dict(
        sample_size=8,
        out_channels=3,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=6,
        in_channels=3,
        block_out_channels=(8, 16),
        norm_num_groups=4,
        attention_head_dim=(2, 4),
        transformer_layers_per_block=(1, 2),
    )
    return randomise(diffusers.UNet2DConditionModel(**config), 104).double()


def text():
    config = dict(
        vocab_size=37,
        max_position_embeddings=12,
        d_model=20,
        encoder_layers=2,
        encoder_ffn_dim=80,
        encoder_attention_heads=2,
        head_dim=16,
        dropout=0.0,
    )
    return randomise(ldm.LDMBertModel(ldm.LDMBertConfig(**config)), 110).double()


def clip():
    config = dict(**prompts.SMALL, projection_dim=10, hidden_act="quick_gelu", eos_token_id=2)
    config = transformers.CLIPTextConfig(**config)
    return randomise(transformers.CLIPTextModelWithProjection(config), 200).double()


BLOCK = "down_blocks.1.attentions.0.transformer_blocks.1"
Q = f"{BLOCK}.attn1.to_q"  # 16 → 16
K = f"{BLOCK}.attn2.to_k"  # 6 → 16
OUT = f"{BLOCK}.attn1.to_out.0"  # 16 → 16, with a bias
FEED = f"{BLOCK}.ff.net.0.proj"  # 16 → 128
CONV = "down_blocks.0.resnets.0.conv1"  # 8 → 8, 3×3
WIDE = "up_blocks.0.resnets.1.conv1"  # 24 → 16, 3×3
POINT = "mid_block.attentions.0.proj_in"  # 16 → 16, 1×1
SKIP = "up_blocks.1.resnets.0.conv_shortcut"  # 24 → 8, 1×1
NORM = "down_blocks.0.resnets.0.norm1"
TIME = "time_embedding.linear_1"  # 8 → 32

# The names that the paper's code gives the same layers.
SGM = {
    Q: "input_blocks.3.1.transformer_blocks.1.attn1.to_q",
    OUT: "input_blocks.3.1.transformer_blocks.1.attn1.to_out.0",
    FEED: "input_blocks.3.1.transformer_blocks.1.ff.net.0.proj",
    CONV: "input_blocks.1.0.in_layers.2",
    WIDE: "output_blocks.1.0.in_layers.2",
    POINT: "middle_block.1.proj_in",
    SKIP: "output_blocks.2.0.skip_connection",
    TIME: "time_embed.0",
}

DRAW = torch.Generator().manual_seed(7)


def rounded(x):
    return x.half().to(torch.float64)


def normal(*shape):
    return rounded(torch.randn(shape, generator=DRAW, dtype=torch.float32))


def gain(key):
    """The scale of a factor's numbers: larger where more of them are multiplied."""
    return 0.9 if "hada" in key or "lokr" in key else 0.5


# ---- what a layer's weight is, asked of the layer ----------------------------------------


@torch.no_grad()
def effective(layer, forward):
    """The weight with which `forward` computes what it computes; `layer` tells the shape."""
    bias = 0 if layer.bias is None else layer.bias
    if isinstance(layer, nn.Linear):
        return (forward(torch.eye(layer.in_features, dtype=torch.float64)) - bias).T
    kernel = layer.kernel_size[0]
    assert layer.kernel_size == (kernel, kernel) and layer.stride == (1, 1)
    assert layer.padding == (kernel // 2, kernel // 2)
    n = layer.in_channels
    x = torch.zeros(n, n, kernel, kernel, dtype=torch.float64)
    x[range(n), range(n), kernel // 2, kernel // 2] = 1
    y = forward(x) - (bias.reshape(1, -1, 1, 1) if layer.bias is not None else 0)
    return y.flip(2, 3).transpose(0, 1)


# ---- cases ---------------------------------------------------------------------------------


class Case:
    """One adapter's file, and the parameters that it changes."""

    def __init__(self, network, about, note=None):
        self.network, self.about, self.note = network, about, note
        self.file, self.merged = {}, {}

    def layer(self, name):
        return self.network.get_submodule(name)

    def changes(self, name, value):
        before = self.network.state_dict()[name]
        moved = ((value - before).norm() / before.norm()).item()
        assert value.shape == before.shape and value.dtype == torch.float64
        assert moved > 0.1, (self.about, name, moved)
        self.merged[name] = value.float()

    def holds(self, key, value):
        small = value.ndim == 0
        assert small or torch.equal(rounded(value), value.double()), key
        self.file[key] = value.float() if small else value.half()


def kohya(name, prefix="lora_unet_"):
    return prefix + name.replace(".", "_")


@torch.no_grad()
def with_module(case, kind, name, called, alpha, size, **options):
    """A module of LyCORIS on the layer `name`, which the file calls `called`."""
    layer = copy.deepcopy(case.layer(name))
    given = {} if kind in (lycoris.DiagOFTModule, ButterflyOFTModule) else {"alpha": alpha}
    module = kind(called, layer, lora_dim=size, **given, **options).double().eval()
    for key, p in module.named_parameters():
        if key == "dora_scale":
            p.copy_(rounded(p * (1 + 0.3 * torch.rand(p.shape, generator=DRAW).double())))
        elif key == "rescale":
            p.copy_(rounded(1 + 0.2 * torch.rand(p.shape, generator=DRAW).double()))
        elif key == "oft_blocks":
            p.copy_(rounded(0.3 * normal(*p.shape)))
        elif "org_module" not in key:
            p.copy_(rounded(gain(key) * normal(*p.shape)))
    case.changes(f"{name}.weight", effective(layer, module))
    state = module.custom_state_dict() or module.state_dict()
    for key, value in state.items():
        if key.split(".")[0] not in ("org_module", "scalar"):
            case.holds(f"{called}.{key}", value)
    if alpha is None:
        del case.file[f"{called}.alpha"]


def from_lycoris(network, kind, layers, names=kohya, about="", **options):
    """`layers`: name → (alpha, size)."""
    case = Case(network, f"lycoris-lora {about or kind.__name__}")
    for name, (alpha, size) in layers.items():
        with_module(case, kind, name, names(name), alpha, size, **options)
    return case


def lycoris_cases(net):
    locon, loha = lycoris.LoConModule, lycoris.LohaModule
    lokr, glora = lycoris.LokrModule, lycoris.GLoRAModule
    layers = {Q: (2.0, 3), K: (1.0, 2), OUT: (4.0, 3), FEED: (None, 3), CONV: (2.0, 3)}
    layers |= {POINT: (1.5, 2), SKIP: (2.0, 3), TIME: (2.0, 3)}
    sgm = {name: sizes for name, sizes in layers.items() if name in SGM}
    yield "kohya", from_lycoris(net, locon, layers)
    yield "kohya_sgm", from_lycoris(net, locon, sgm, lambda name: kohya(SGM[name]))
    bare = lambda name: kohya(name, "lycoris_")  # noqa: E731
    yield "tucker", from_lycoris(
        net, locon, {CONV: (2.0, 3), WIDE: (6.0, 4)}, bare, "LoCon, Tucker", use_tucker=True
    )
    few = {Q: (2.0, 3), FEED: (None, 4), CONV: (2.0, 3), POINT: (5.0, 2)}
    yield "loha", from_lycoris(net, loha, few)
    yield "loha_tucker", from_lycoris(
        net, loha, {CONV: (8.0, 3), WIDE: (12.0, 4)}, about="LoHa, Tucker", use_tucker=True
    )
    few = {Q: (3.0, 1), FEED: (3.0, 3), WIDE: (2.0, 1), CONV: (1.0, 9), SKIP: (1.0, 9)}
    yield "lokr", from_lycoris(net, lokr, few)
    both = {FEED: (5.0, 2), WIDE: (3.0, 1), POINT: (1.0, 1)}
    yield "lokr_factors", from_lycoris(net, lokr, both, decompose_both=True)
    yield "lokr_tucker", from_lycoris(
        net, lokr, {WIDE: (4.0, 2)}, about="LoKr, Tucker", use_tucker=True
    )
    few = {Q: (2.0, 3), K: (1.0, 2), CONV: (2.0, 3)}
    yield "dora", from_lycoris(net, locon, few, about="DoRA, rows", weight_decompose=True)
    yield "dora_inputs", from_lycoris(
        net, locon, few, about="DoRA, inputs", weight_decompose=True, wd_on_out=False
    )
    yield "dora_loha", from_lycoris(
        net, loha, {Q: (2.0, 3), CONV: (2.0, 3)}, about="LoHa, DoRA", weight_decompose=True
    )
    new = from_lycoris(net, glora, {Q: (2.0, 3), FEED: (None, 3), CONV: (2.0, 3)})
    yield "glora", new
    yield "glora_early", early(new)
    yield "oft", from_lycoris(net, lycoris.DiagOFTModule, {Q: (0, 4), CONV: (0, 4)})
    yield "oft_bound", from_lycoris(
        net, lycoris.DiagOFTModule, {FEED: (0, 8), SKIP: (0, 2)}, constraint=0.02, rescaled=True
    )
    yield "boft", from_lycoris(
        net, ButterflyOFTModule, {Q: (0, 4), CONV: (0, 2)}, rescaled=True
    )


def early(new):
    """The same change as early LyCORIS wrote it: both pairs the other way round."""
    case = Case(new.network, "own: the case glora with a1, a2 and b1, b2 exchanged")
    other = {".a1.": ".a2.", ".a2.": ".a1.", ".b1.": ".b2.", ".b2.": ".b1."}
    for key, value in new.file.items():
        for old, renamed in other.items():
            if old in key:
                key = key.replace(old, renamed)
                break
        case.file[key] = value
    case.merged = dict(new.merged)
    return case


def whole(net):
    case = Case(net, "own: W + diff, b + diff_b, or the new W")
    state = net.state_dict()
    for name, diff, diff_b in [(CONV, "diff", "diff_b"), (NORM, "w_norm", "b_norm")]:
        for key, param in [(diff, "weight"), (diff_b, "bias")]:
            before = state[f"{name}.{param}"]
            change = rounded(0.5 * before.std() * normal(*before.shape))
            case.holds(f"{kohya(name)}.{key}", change)
            case.changes(f"{name}.{param}", before + change)
    bias = 0.25 * normal(16)
    case.holds(f"{kohya(OUT)}.diff_b", bias)
    case.changes(f"{OUT}.bias", state[f"{OUT}.bias"] + bias)
    new = 0.25 * normal(16, 16)
    case.holds(f"{kohya(Q)}.set_weight", new)
    case.changes(f"{Q}.weight", new)
    return case


# ---- PEFT ----------------------------------------------------------------------------------


@torch.no_grad()
def trained(network, config):
    """A copy of the network with PEFT's layers, their numbers drawn."""
    network = copy.deepcopy(network).to(torch.float64)
    network = peft.inject_adapter_in_model(config, network).double().eval()
    for key, p in network.named_parameters():
        if "magnitude" in key:
            p.copy_(rounded(p * (1 + 0.3 * torch.rand(p.shape, generator=DRAW).double())))
        elif any(mark in key for mark in ("lora_", "hada_", "lokr_")):
            p.copy_(rounded(gain(key) * normal(*p.shape)))
    return network


def from_peft(net, config, layers, about, names, note=None):
    case = Case(net, f"peft {peft.__version__} {about}", note)
    network = trained(net, config)
    for name in layers:
        case.changes(f"{name}.weight", effective(case.layer(name), network.get_submodule(name)))
    state = peft.get_peft_model_state_dict(network)
    for key, value in names(state, network).items():
        case.holds(key, value)
    return case


def plain(state, _network):
    """As `PeftModel.save_pretrained` writes it."""
    return {f"base_model.model.{key}": value for key, value in state.items()}


def pipeline(state, network, part):
    """As diffusers' pipelines write it, and with the note that they put in the header."""
    with tempfile.TemporaryDirectory() as folder:
        note = network.peft_config["default"].to_dict()
        given = {f"{part}_lora_layers": state, f"{part}_lora_adapter_metadata": note}
        diffusers.StableDiffusionPipeline.save_lora_weights(folder, **given)
        with safe_open(f"{folder}/pytorch_lora_weights.safetensors", "pt") as file:
            network.noted = file.metadata()["lora_adapter_metadata"]
            return {key: file.get_tensor(key) for key in file.keys()}


def noted(net, config, layers, about, part="unet"):
    """A case whose file comes from a pipeline, whose settings are in the note."""
    memory = {}

    def names(state, network):
        written = pipeline(state, network, part)
        memory["note"] = network.noted
        return written

    case = from_peft(net, config, layers, about, names)
    case.note = memory["note"]
    return case


def processors(state, _network):
    """The names of diffusers before PEFT, held to diffusers' own way back."""
    old = {}
    for key, value in state.items():
        name, which = key.rsplit(".lora_", 1)
        name = f"unet.{name}".replace(".attn1.", ".attn1.processor.")
        name = name.replace(".attn2.", ".attn2.processor.").removesuffix(".0")
        way = {"A.weight": "down", "B.weight": "up"}[which]
        old[f"{name}_lora.{way}.weight"] = value
    back = convert_unet_state_dict_to_peft(
        {key.removeprefix("unet.").replace(".processor", ""): v for key, v in old.items()}
    )
    assert set(back) == set(state), set(back) ^ set(state)
    return old


def peft_cases(net):
    lora = lambda layers, **more: peft.LoraConfig(target_modules=layers, **more)  # noqa: E731
    layers = [Q, K, OUT, CONV, POINT]
    config = lora(layers, r=3, lora_alpha=3)
    yield "peft", from_peft(net, config, layers, "LoRA", plain)
    attention = [Q, K, OUT]
    config = lora(attention, r=3, lora_alpha=3)
    yield "processors", from_peft(net, config, attention, "LoRA, diffusers' old names", processors)
    config = lora(layers, r=3, lora_alpha=5, alpha_pattern={POINT: 1.5})
    yield "pipeline", noted(net, config, layers, "LoRA, alpha in the note")
    config = lora([Q, CONV], r=4, lora_alpha=5, use_rslora=True)
    yield "pipeline_rs", noted(net, config, [Q, CONV], "rsLoRA, alpha in the note")
    layers = [Q, K, CONV, POINT]
    config = lora(layers, r=3, lora_alpha=3, use_dora=True)
    yield "peft_dora", from_peft(net, config, layers, "DoRA", plain)
    layers = [Q, CONV, WIDE]
    config = peft.LoHaConfig(r=4, alpha=4, target_modules=layers, use_effective_conv2d=True)
    yield "peft_loha", from_peft(net, config, layers, "LoHa", plain)
    config = peft.LoKrConfig(
        r=2, alpha=2, target_modules=[FEED, WIDE], use_effective_conv2d=True, decompose_both=True
    )
    yield "peft_lokr", from_peft(net, config, [FEED, WIDE], "LoKr", plain)


def text_cases(net):
    layers = {
        "model.layers.0.self_attn.q_proj": (2.0, 3),
        "model.layers.1.self_attn.out_proj": (1.0, 2),
        "model.layers.1.fc1": (None, 4),
    }
    names = lambda name: kohya(name, "lora_te_")  # noqa: E731
    yield "text_kohya", from_lycoris(net, lycoris.LoConModule, layers, names)
    dotted = lambda name: f"text_encoder.{name}"  # noqa: E731
    yield "text_dotted", from_lycoris(net, lycoris.LohaModule, layers, dotted)


def clip_cases(net):
    layer = "text_model.encoder.layers.1"
    query, out = f"{layer}.self_attn.q_proj", f"{layer}.self_attn.out_proj"
    layers = {query: (2.0, 3), out: (1.0, 2), f"{layer}.mlp.fc1": (None, 4)}
    layers |= {"text_model.encoder.layers.2.mlp.fc2": (6.0, 3)}
    names = lambda name: kohya(name, "lora_te_")  # noqa: E731
    yield "clip_kohya", from_lycoris(net, lycoris.LoConModule, layers, names)
    config = peft.LoraConfig(target_modules=[query, out], r=3, lora_alpha=5)
    about = "LoRA, alpha in the note"
    yield "clip_pipeline", noted(net, config, [query, out], about, "text_encoder")


def in_order(note):
    """The same note with sets, which PEFT lists as they come, sorted."""
    settings = json.loads(note)
    settings = {k: sorted(v) if isinstance(v, list) else v for k, v in settings.items()}
    return json.dumps(settings, sort_keys=True)


def main(out):
    # LyCORIS inverts in f32 for devices that cannot invert halves; here f64 stays f64.
    torch.Tensor.float, single = torch.Tensor.double, torch.Tensor.float
    net, words, pairs = unet(), text(), clip()
    cases = dict(lycoris_cases(net))
    cases |= {"whole": whole(net)}
    cases |= dict(peft_cases(net))
    cases |= dict(text_cases(words))
    cases |= dict(clip_cases(pairs))
    torch.Tensor.float = single
    tensors, meta = {}, {}
    for name, case in cases.items():
        meta[name] = case.about
        if case.note:
            meta[f"{name}.note"] = in_order(case.note)
        tensors |= {f"{name}/file/{key}": value for key, value in case.file.items()}
        tensors |= {f"{name}/merged/{key}": v for key, v in case.merged.items()}
        print(f"{name}: {len(case.file)} tensors change {len(case.merged)} parameters")
    tensors = {k: v.float() if v.dtype == torch.float64 else v for k, v in tensors.items()}
    save(out, "adapters", tensors, meta)


if __name__ == "__main__":
    main(*sys.argv[1:])
