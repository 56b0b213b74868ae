"""parity_<model>.safetensors: whole models, from a prompt to a picture.

Each model is built from diffusers' and transformers' own classes (`cin256`'s autoencoder and
classes included) with random weights, written as a diffusers folder and as the single file that
diffusers' conversion scripts (for LDM: the inverse of its converters, checked by running
CompVis's own network on the result) make of it, and run: prompt, tokens, conditioning, four steps
of DDIM and four of Euler on 32x32 latents (small: 8x8), decoded picture.

Weights: tensor number i of the folder's parts, both sorted by name, is torch.randn from seed i
in f32, times a scale, plus a mean: `RECIPES` has both by a letter. The small models' goldens
therefore hold no weights, only names, shapes and letters; a test writes the files anew. Those of
full size are rounded to f16 before anything is computed.

`parity_<model>.safetensors` holds
- `ids` [2, n] i32 (prompt, then negative; SDXL: `ids_2` too); `noise` [1, c, h, w] f32; inpaint:
  `image` [1, 3, H, W] in -1..1, `mask` [1, 1, H, W]; for models of full size `conditioning` and
  `negative` [1, n, d], SDXL's `pooled`, `pooled_negative` [1, d], inpaint's `masked` latent;
- `ddim`, `euler`: final latents; `ddim.picture`, `euler.picture`: u8 [H, W, 3];
- metadata: `f32_error.<result>` of torch's own f32 run where an f64 run was made (then results
  are f64's, else f32's), `prompt`, `negative`, `cfg`, `steps`, and for small models `folder`,
  `single` and `configs`: how to write the files. `folder`: part -> [[name, shape, letter]];
  `single`: [[name, shape, how, "part/name"...]], how: `as` the tensor named (a linear layer may
  be shaped as a 1x1 convolution), `turned` is its transpose, `stacked` has three, one below the
  other; `configs`: part -> its config.json.

Run: python parity.py OUT DIFFUSERS LATENT_DIFFUSION MODEL... [--full DIR]
With --full DIR the models have their real sizes and DIR gets the files themselves.
"""

import argparse
import contextlib
import gc
import gzip
import importlib.util
import io
import json
import sys
from pathlib import Path

import diffusers
import diffusers.models.embeddings as embeddings_module
import numpy as np
import torch
from common import double_precision, error_over_std, save, use_compvis
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    EulerDiscreteScheduler,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
    VQModel,
)
from diffusers.pipelines.latent_diffusion.pipeline_latent_diffusion import (
    LDMBertConfig,
    LDMBertModel,
)
from diffusers.schedulers import scheduling_ddim, scheduling_euler_discrete
from safetensors.torch import save_file
from transformers import (
    BertTokenizer,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
)

PROMPT = "A photograph of an astronaut riding a horse, 4k, detailed"
NEGATIVE = "blurry, low quality"
SEED = 42
STEPS = 4
DOUBLE = (embeddings_module, scheduling_ddim, scheduling_euler_discrete)


# ---- weights -------------------------------------------------------------------------------


RECIPES = {
    "g": lambda shape: (1.0, 0.1),  # a norm's weight
    "s": lambda shape: (0.0, 0.1),  # a norm's bias
    "b": lambda shape: (0.0, 0.05),  # a bias
    "e": lambda shape: (0.0, 0.05),  # an embedding
    "w": lambda shape: (0.0, 1.0 / np.prod(shape[1:]) ** 0.5),  # anything else
}


def letter(name, tensor):
    """Which of `RECIPES` a tensor is drawn by."""
    if "norm" in name or "ln_" in name:
        return "g" if name.endswith("weight") else "s"
    if "embed" in name and not any(k in name for k in ("linear", "time", "class")):
        return "e"
    return "b" if tensor.ndim < 2 else "w"


def fill(parts, full):
    """Draws every tensor of `parts` (name -> module) anew; returns how, by part."""
    how, seed = {}, 0
    for part, module in sorted(parts.items()):
        how[part] = []
        state = module.state_dict()
        for name in sorted(state):
            tensor = state[name]
            if not tensor.is_floating_point():
                continue
            which = letter(name, tensor)
            mean, scale = RECIPES[which](tensor.shape)
            generator = torch.Generator().manual_seed(seed)
            draw = torch.randn(tensor.shape, generator=generator, dtype=torch.float32)
            draw = draw * float(np.float32(scale)) + mean
            tensor.copy_(draw.half().float() if full else draw)
            how[part].append([name, list(tensor.shape), which])
            seed += 1
        module.eval()
    return how


# ---- single files --------------------------------------------------------------------------


def script(diffusers_checkout, name):
    """One of diffusers' conversion scripts as a module."""
    path = Path(diffusers_checkout) / "scripts" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def with_prefix(prefix, state):
    return {prefix + key: value for key, value in state.items()}


def clip_names(state):
    """CLIP's names as they were before transformers 5, which the scripts expect."""
    known = lambda key: key.startswith(("text_model.", "text_projection"))  # noqa: E731
    return {key if known(key) else f"text_model.{key}": value for key, value in state.items()}


def single_sd(checkout, parts):
    convert = script(checkout, "convert_diffusers_to_original_stable_diffusion")
    text = clip_names(parts["text_encoder"].state_dict())
    with contextlib.redirect_stdout(io.StringIO()):
        vae = convert.convert_vae_state_dict(parts["vae"].state_dict())
    if parts["text_encoder"].config.hidden_act == "gelu":
        text = convert.convert_text_enc_state_dict_v20(with_prefix("transformer.", text))
        # The released files have one layer more, which is not looked at.
        last = parts["text_encoder"].config.num_hidden_layers - 1
        here, more = f"resblocks.{last}.", f"resblocks.{last + 1}."
        text |= {k.replace(here, more): v.clone() for k, v in text.items() if here in k}
        text = with_prefix("cond_stage_model.model.", text)
    else:
        text = with_prefix("cond_stage_model.transformer.", text)
    unet = convert.convert_unet_state_dict(parts["unet"].state_dict())
    return {
        **with_prefix("model.diffusion_model.", unet),
        **with_prefix("first_stage_model.", vae),
        **text,
    }


def single_sdxl(checkout, parts):
    convert = script(checkout, "convert_diffusers_to_original_sdxl")
    first = clip_names(parts["text_encoder"].state_dict())
    second = convert.convert_openclip_text_enc_state_dict(
        clip_names(parts["text_encoder_2"].state_dict())
    )
    with contextlib.redirect_stdout(io.StringIO()):
        vae = convert.convert_vae_state_dict(parts["vae"].state_dict())
    unet = convert.convert_unet_state_dict(parts["unet"].state_dict())
    projection = "conditioner.embedders.1.model.text_projection"
    single = {
        **with_prefix("model.diffusion_model.", unet),
        **with_prefix("first_stage_model.", vae),
        **with_prefix("conditioner.embedders.0.transformer.", first),
        **with_prefix("conditioner.embedders.1.model.", second),
    }
    single[projection] = single.pop(projection + ".weight").T.contiguous()
    return single


RES = [("norm1", "in_layers.0"), ("conv1", "in_layers.2"), ("time_emb_proj", "emb_layers.1")]
RES += [("norm2", "out_layers.0"), ("conv2", "out_layers.3"), ("conv_shortcut", "skip_connection")]


def ldm_unet(unet):
    """diffusers' names of a U-Net that attends at every level but perhaps the last -> LDM's."""
    names = [("time_embedding.linear_1", "time_embed.0"), ("time_embedding.linear_2", "time_embed.2")]
    names += [("conv_in", "input_blocks.0.0"), ("conv_norm_out", "out.0"), ("conv_out", "out.2")]
    levels = len(unet.config.block_out_channels)
    each = unet.config.layers_per_block
    for i in range(levels):
        for j in range(each):
            names.append((f"down_blocks.{i}.resnets.{j}", f"input_blocks.{(each + 1) * i + j + 1}.0"))
            names.append((f"down_blocks.{i}.attentions.{j}", f"input_blocks.{(each + 1) * i + j + 1}.1"))
        names.append((f"down_blocks.{i}.downsamplers.0.conv", f"input_blocks.{(each + 1) * (i + 1)}.0.op"))
        attends = "Attn" in unet.config.up_block_types[i]
        for j in range(each + 1):
            names.append((f"up_blocks.{i}.resnets.{j}", f"output_blocks.{(each + 1) * i + j}.0"))
            names.append((f"up_blocks.{i}.attentions.{j}", f"output_blocks.{(each + 1) * i + j}.1"))
        last = f"output_blocks.{(each + 1) * i + each}.{2 if attends else 1}.conv"
        names.append((f"up_blocks.{i}.upsamplers.0.conv", last))
    names += [("mid_block.resnets.0", "middle_block.0"), ("mid_block.resnets.1", "middle_block.2")]
    names.append(("mid_block.attentions.0", "middle_block.1"))
    return renamed(unet.state_dict(), names, "resnets", RES)


def ldm_vae(vae):
    """diffusers' names of an autoencoder -> LDM's, attention inside levels included."""
    last = len(vae.config.block_out_channels) - 1
    names = []
    for side, block, inner in [("encoder", "down", "down"), ("decoder", "up", "up")]:
        for i in range(last + 1):
            theirs = f"{side}.{inner}.{i if block == 'down' else last - i}"
            ours = f"{side}.{block}_blocks.{i}"
            names.append((f"{ours}.resnets", f"{theirs}.block"))
            names.append((f"{ours}.attentions", f"{theirs}.attn"))
            names.append((f"{ours}.{block}samplers.0", f"{theirs}.{block}sample"))
        names.append((f"{side}.mid_block.resnets.0", f"{side}.mid.block_1"))
        names.append((f"{side}.mid_block.resnets.1", f"{side}.mid.block_2"))
        names.append((f"{side}.mid_block.attentions.0", f"{side}.mid.attn_1"))
        names.append((f"{side}.conv_norm_out", f"{side}.norm_out"))
    inside = [("group_norm", "norm"), ("to_q", "q"), ("to_k", "k"), ("to_v", "v"), ("to_out.0", "proj_out")]
    state = renamed(vae.state_dict(), names, "attentions", inside)
    state = {key.replace("conv_shortcut", "nin_shortcut"): value for key, value in state.items()}
    square = lambda key, v: v[..., None, None] if v.ndim == 2 and "attn" in key else v  # noqa: E731
    return {key: square(key, value) for key, value in state.items()}


def renamed(state, names, where, inside):
    out = {}
    for key, value in state.items():
        ours, theirs = max(
            ((o, t) for o, t in names if key.startswith(o + ".")), key=lambda n: len(n[0]), default=("", "")
        )
        rest = key[len(ours) :]
        if where in key:
            for a, b in inside:
                rest = rest.replace(f".{a}.", f".{b}.", 1) if f".{a}." in rest else rest
        out[theirs + rest] = value
    return out


def ldm_bert(bert):
    """The inverse of diffusers' `convert_ldm_bert_checkpoint`."""
    out = {}
    for key, value in bert.state_dict().items():
        key = key.replace("model.embed_tokens", "token_emb")
        key = key.replace("model.embed_positions.", "pos_emb.emb.")
        key = key.replace("model.layer_norm.", "norm.")
        if key.startswith("model.layers."):
            _, _, i, rest = key.split(".", 3)
            attention, feed = f"attn_layers.layers.{2 * int(i)}", f"attn_layers.layers.{2 * int(i) + 1}"
            for a, b in [
                ("self_attn_layer_norm", f"{attention}.0"),
                ("self_attn.q_proj", f"{attention}.1.to_q"),
                ("self_attn.k_proj", f"{attention}.1.to_k"),
                ("self_attn.v_proj", f"{attention}.1.to_v"),
                ("self_attn.out_proj", f"{attention}.1.to_out"),
                ("final_layer_norm", f"{feed}.0"),
                ("fc1", f"{feed}.1.net.0.0"),
                ("fc2", f"{feed}.1.net.2"),
            ]:
                if rest.startswith(a + "."):
                    key = b + rest[len(a) :]
        out[key] = value
    return out


def single_ldm(parts):
    text = parts["bert"] if "bert" in parts else parts["classes"]
    if "bert" in parts:
        text = with_prefix("transformer.", ldm_bert(text))
    else:
        text = {"embedding.weight": text.state_dict()["weight"]}
    return {
        **with_prefix("model.diffusion_model.", ldm_unet(parts["unet"])),
        **with_prefix("first_stage_model.", ldm_vae(parts["vae"])),
        **with_prefix("cond_stage_model.", text),
    }


def provenance(single, parts):
    """For each tensor of the single file: the folder's tensors it is made of, and how."""
    print_of = lambda t: (t.numel(), t.flatten()[:6].numpy().tobytes())  # noqa: E731
    known = {}
    for part, module in parts.items():
        for name, tensor in module.state_dict().items():
            if tensor.is_floating_point():
                known[print_of(tensor)] = f"{part}/{name}"
    found = []
    for key, tensor in single.items():
        if not tensor.is_floating_point():
            continue
        if print_of(tensor) in known:
            made = ["as", known[print_of(tensor)]]
        elif tensor.ndim == 2 and print_of(tensor.T.contiguous()) in known:
            made = ["turned", known[print_of(tensor.T.contiguous())]]
        else:
            made = ["stacked", *(known[print_of(t)] for t in tensor.chunk(3))]
        found.append([key, list(tensor.shape), *made])
    return found


# ---- models --------------------------------------------------------------------------------

SD_BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
LDM_BETAS = {"beta_start": 0.0015, "beta_end": 0.0195, "beta_schedule": "scaled_linear"}
COMMON = {"steps_offset": 1, "clip_sample": False, "set_alpha_to_one": False}
COMMON |= {"timestep_spacing": "leading", "num_train_timesteps": 1000}


def scheduler(betas, prediction="epsilon"):
    return DDIMScheduler(**betas, **COMMON, prediction_type=prediction)


def autoencoder(full, scale):
    width = (128, 256, 512, 512) if full else (32, 32, 64, 64)
    return AutoencoderKL(
        block_out_channels=width,
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
        layers_per_block=2,
        latent_channels=4,
        sample_size=512,
        scaling_factor=scale,
    )


def clip(full, small_width, width, layers, act, projection=None, kind=CLIPTextModel):
    width, layers = (width, layers) if full else (small_width, 3)
    ends = {"bos_token_id": 49406, "eos_token_id": 49407, "pad_token_id": 1}
    config = CLIPTextConfig(
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=width // 64,
        hidden_act=act,
        projection_dim=projection or width,
        **ends,
    )
    return kind(config)


def unet(widths, **more):
    n = len(widths)
    down = more.pop("down", ["CrossAttnDownBlock2D"] * (n - 1) + ["DownBlock2D"])
    up = [d.replace("Down", "Up") for d in reversed(down)]
    given = {"in_channels": 4, "out_channels": 4, "layers_per_block": 2, "sample_size": 64} | more
    return UNet2DConditionModel(
        block_out_channels=widths, down_block_types=down, up_block_types=up, **given
    )


def sd15(full, channels=4):
    widths = (320, 640, 1280, 1280) if full else (32, 64, 64, 64)
    context = 768 if full else 64
    return {
        "unet": unet(widths, in_channels=channels, cross_attention_dim=context, attention_head_dim=8),
        "vae": autoencoder(full, 0.18215),
        "text_encoder": clip(full, 64, 768, 12, "quick_gelu"),
    }, scheduler(SD_BETAS)


def sd21v(full):
    widths = (320, 640, 1280, 1280) if full else (64, 128, 128, 128)
    context = 1024 if full else 128
    heads = [width // 64 for width in widths]
    return {
        "unet": unet(
            widths, cross_attention_dim=context, attention_head_dim=heads, use_linear_projection=True
        ),
        "vae": autoencoder(full, 0.18215),
        "text_encoder": clip(full, 128, 1024, 23, "gelu"),
    }, scheduler(SD_BETAS, "v_prediction")


def sdxl(full):
    widths = (320, 640, 1280) if full else (64, 128, 128)
    pooled = 1280 if full else 128
    context = 2048 if full else 192
    down = ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"]
    return {
        "unet": unet(
            widths,
            down=down,
            cross_attention_dim=context,
            attention_head_dim=[width // 64 for width in widths],
            transformer_layers_per_block=[1, 2, 10] if full else [1, 2, 3],
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=256,
            projection_class_embeddings_input_dim=6 * 256 + pooled,
            sample_size=128,
        ),
        "vae": autoencoder(full, 0.13025),
        "text_encoder": clip(full, 64, 768, 12, "quick_gelu"),
        "text_encoder_2": clip(full, 128, 1280, 32, "gelu", pooled, CLIPTextModelWithProjection),
    }, scheduler(SD_BETAS)


def ldm_text(full):
    widths = (320, 640, 1280, 1280) if full else (32, 64, 64, 64)
    width = 1280 if full else 64
    bert = LDMBertConfig(
        vocab_size=30522,
        max_position_embeddings=77,
        d_model=width,
        encoder_layers=32 if full else 3,
        encoder_ffn_dim=4 * width,
        head_dim=64,
        encoder_attention_heads=8,
        dropout=0.0,
    )
    return {
        "unet": unet(widths, cross_attention_dim=width, attention_head_dim=8, sample_size=32),
        "vae": autoencoder(full, 0.18215),
        "bert": LDMBertModel(bert),
    }, scheduler(SD_BETAS)


def cin256(full):
    widths = (256, 512, 1024) if full else (32, 64, 128)
    context = 512 if full else 64
    vq = (128, 256, 256, 512) if full else (32, 32, 32, 64)
    down = ["DownEncoderBlock2D"] * 2 + ["AttnDownEncoderBlock2D"] * 0
    down = ["DownEncoderBlock2D", "DownEncoderBlock2D", "DownEncoderBlock2D", "AttnDownEncoderBlock2D"]
    return {
        "unet": unet(
            widths,
            down=["CrossAttnDownBlock2D"] * 3,
            cross_attention_dim=context,
            attention_head_dim=[width // 32 for width in widths],
            sample_size=32,
        ),
        "vae": VQModel(
            block_out_channels=vq,
            down_block_types=down,
            up_block_types=[d.replace("Down", "Up").replace("Encoder", "Decoder") for d in reversed(down)],
            layers_per_block=2,
            latent_channels=4,
            num_vq_embeddings=16384 if full else 256,
            vq_embed_dim=4,
            scaling_factor=1.0,
        ),
        "classes": torch.nn.Embedding(1000, context),
    }, scheduler(LDM_BETAS)


MODELS = {
    "sd15": sd15,
    "sd15_inpaint": lambda full: sd15(full, 9),
    "sd21v": sd21v,
    "sdxl": sdxl,
    "ldm_text": ldm_text,
    "cin256": cin256,
}


# ---- tokenizers ----------------------------------------------------------------------------


def byte_letters():
    """GPT-2's printable letter for each byte, in the vocabulary's order."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in plain]
    return [chr(b) for b in plain] + [chr(256 + i) for i in range(len(rest))]


def clip_tokenizer(folder, pad=None):
    """OpenAI's vocabulary, from the package that carries it."""
    package = importlib.util.find_spec("open_clip").submodule_search_locations[0]
    path = Path(package) / "bpe_simple_vocab_16e6.txt.gz"
    merges = gzip.open(path).read().decode().split("\n")[1 : 49152 - 256 - 2 + 1]
    letters = byte_letters()
    words = letters + [letter + "</w>" for letter in letters]
    words += ["".join(merge.split()) for merge in merges]
    words += ["<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({w: i for i, w in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    more = {"pad_token": pad} if pad else {}
    return CLIPTokenizer.from_pretrained(str(folder), model_max_length=77, **more)


def bert_tokenizer(folder):
    """A vocabulary of BERT's size with its special tokens at their places; the words are ours."""
    words = [f"[unused{i}]" for i in range(30522)]
    for i, word in {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]"}.items():
        words[i] = word
    text = "a photo ##graph of an astronaut rid ##ing horse , 4 ##k detail ##ed blur ##ry low quality"
    for i, word in enumerate(text.split()):
        words[1000 + i] = word
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    return BertTokenizer.from_pretrained(str(folder), model_max_length=77, do_lower_case=True)


# ---- runs ----------------------------------------------------------------------------------


def inpaint_inputs(parts, size, dtype):
    g = torch.Generator().manual_seed(SEED + 1)
    image = torch.rand(1, 3, size, size, generator=g, dtype=torch.float32)
    image = (image * 255).round() / 127.5 - 1
    mask = torch.zeros(1, 1, size, size, dtype=torch.float32)
    mask[..., size // 4 : size // 2, size // 3 : size] = 1
    masked = parts["vae"].encode((image * (mask < 0.5)).to(dtype)).latent_dist.mode()
    return image, mask, masked * parts["vae"].config.scaling_factor


def text_run(name, parts, schedule, tokenizers, noise, dtype):
    """Results of one precision: a pipeline of diffusers, twice."""
    size = noise.shape[-1] * 8
    out, extra = {}, {}
    with_safety = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    kind = {"sdxl": StableDiffusionXLPipeline, "sd15_inpaint": StableDiffusionInpaintPipeline}
    made = {**parts, **tokenizers, "scheduler": schedule}
    if name != "sdxl":
        made |= with_safety
    pipe = kind.get(name, StableDiffusionPipeline)(**made)
    pipe.set_progress_bar_config(disable=True)
    told = pipe.encode_prompt(
        PROMPT, device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=True,
        negative_prompt=NEGATIVE,
    )
    out["conditioning"], out["negative"] = told[0], told[1]
    if name == "sdxl":
        out["pooled"], out["pooled_negative"] = told[2], told[3]
    if name == "sd15_inpaint":
        image, mask, masked = inpaint_inputs(parts, size, dtype)
        extra = {"image": image.to(dtype), "mask_image": mask.to(dtype), "masked_image_latents": masked.to(dtype)}
        out |= {"image": image, "mask": mask, "masked": masked}
    for sampler, cls in [("ddim", DDIMScheduler), ("euler", EulerDiscreteScheduler)]:
        pipe.scheduler = cls.from_config(schedule.config)
        latent = pipe(
            PROMPT, negative_prompt=NEGATIVE, height=size, width=size, num_inference_steps=STEPS,
            guidance_scale=5.0, latents=noise.to(dtype), output_type="latent", **extra,
        ).images
        out[sampler] = latent
        decoded = parts["vae"].decode(latent / parts["vae"].config.scaling_factor).sample
        out[f"{sampler}.picture"] = picture(decoded)
    return out


def ldm_run(name, parts, schedule, tokenizers, noise, dtype):
    """The loop of `LDMTextToImagePipeline`, with the scaling that Euler needs."""
    out = {}
    if name == "cin256":
        cfg, conditions = 1.0, [parts["classes"](torch.tensor([[207]]))]
    else:
        ids = [tokenizers["tokenizer"](
            t, padding="max_length", max_length=77, truncation=True, return_tensors="pt"
        ).input_ids for t in (PROMPT, NEGATIVE)]
        cfg, conditions = 5.0, [parts["bert"](i)[0] for i in ids]
        out["negative"] = conditions[1]
    out["conditioning"] = conditions[0]
    for sampler, cls in [("ddim", DDIMScheduler), ("euler", EulerDiscreteScheduler)]:
        s = cls.from_config(schedule.config)
        s.set_timesteps(STEPS)
        x = noise.to(dtype) * s.init_noise_sigma
        for t in s.timesteps:
            scaled = s.scale_model_input(x, t)
            each = [parts["unet"](scaled, t, encoder_hidden_states=c).sample for c in conditions]
            e = each[0] if cfg == 1.0 else each[1] + cfg * (each[0] - each[1])
            x = s.step(e, t, x).prev_sample
        out[sampler] = x
        decoded = parts["vae"].decode(x / parts["vae"].config.scaling_factor).sample
        out[f"{sampler}.picture"] = picture(decoded)
    return out


def picture(decoded):
    """-1..1 -> u8, as diffusers' image processor rounds."""
    pixels = (decoded / 2 + 0.5).clamp(0, 1)[0].permute(1, 2, 0).float().numpy()
    return torch.from_numpy((pixels * 255).round().astype("uint8"))


@torch.no_grad()
def results(name, parts, schedule, tokenizers, noise, double):
    run = ldm_run if name in ("ldm_text", "cin256") else text_run
    single = run(name, parts, schedule, tokenizers, noise, torch.float32)
    if not double:
        return single, {}
    for module in parts.values():
        module.to(torch.float64)
    with double_precision(*DOUBLE):
        exact = run(name, parts, schedule, tokenizers, noise, torch.float64)
    for module in parts.values():
        module.to(torch.float32)
    errors = {
        f"f32_error.{k}": error_over_std(single[k], v)
        for k, v in exact.items()
        if v.dtype == torch.float64 and v.std() > 0
    }
    for k in ("ddim.picture", "euler.picture"):
        off = (single[k].int() - exact[k].int()).abs()
        errors[f"f32_error.{k}"] = (off > 1).double().mean().item()
    return exact, errors


# ---- writing -------------------------------------------------------------------------------


def half(state):
    return {k: v.half().contiguous() for k, v in state.items() if v.is_floating_point()}


def write_full(folder, name, parts, schedule, tokenizers, single):
    root = folder / name
    for part, module in parts.items():
        if part == "classes":
            continue
        inside = root / "folder" / {"bert": "bert", "vae": "vqvae" if name == "ldm_text" else "vae"}.get(part, part)
        inside.mkdir(parents=True, exist_ok=True)
        is_text = part.startswith("text_encoder") or part == "bert"
        file = "model.safetensors" if is_text else "diffusion_pytorch_model.safetensors"
        save_file(half(module.state_dict()), str(inside / file), metadata={"format": "pt"})
        (inside / "config.json").write_text(config_of(module))
    if "classes" in parts:
        save_file(half(parts["classes"].state_dict()), str(root / "folder" / "classes.safetensors"))
    schedule.save_pretrained(str(root / "folder" / "scheduler"))
    (root / "folder" / "model_index.json").write_text(index_of(name, parts))
    save_file(half(single), str(root / f"{name}.safetensors"))


def config_of(module):
    config = module.config
    text = config.to_json_string() if hasattr(config, "to_json_string") else None
    if text is None:
        kept = {k: v for k, v in dict(config).items() if not k.startswith("_")}
        text = json.dumps(kept | {"_class_name": type(module).__name__}, indent=1)
    return text


def index_of(name, parts):
    kinds = {"sdxl": "StableDiffusionXLPipeline", "sd15_inpaint": "StableDiffusionInpaintPipeline"}
    kinds |= {"ldm_text": "LDMTextToImagePipeline", "cin256": "LDMPipeline"}
    index = {"_class_name": kinds.get(name, "StableDiffusionPipeline")}
    for part, module in parts.items():
        index[part] = [type(module).__module__.split(".")[0], type(module).__name__]
    return json.dumps(index, indent=1)


def check_against_compvis(parts, single, config):
    """CompVis's own U-Net with the single file's tensors gives what diffusers' gives."""
    import ldm.modules.diffusionmodules.openaimodel as openaimodel

    network = openaimodel.UNetModel(**config).eval()
    prefix = "model.diffusion_model."
    own = {k[len(prefix) :]: v for k, v in single.items() if k.startswith(prefix)}
    network.load_state_dict(own, strict=True)
    x = torch.randn(1, config["in_channels"], 8, 8)
    context = torch.randn(1, 3, config["context_dim"])
    t = torch.tensor([321])
    with torch.no_grad():
        want = parts["unet"](x, t, encoder_hidden_states=context).sample
        apart = error_over_std(network(x, t, context), want)
    assert apart < 1e-4, apart


def one(name, options):
    full = options.full is not None
    parts, schedule = MODELS[name](full)
    how = fill(parts, full)
    where = Path(options.full or options.out) / ("" if not full else name + "/folder")
    tokenizers = {}
    Path(where).mkdir(parents=True, exist_ok=True)
    if name == "ldm_text":
        tokenizers["tokenizer"] = bert_tokenizer(where / "tokenizer")
    elif name != "cin256":
        tokenizers["tokenizer"] = clip_tokenizer(
            where / "tokenizer", "!" if name == "sd21v" else None
        )
    if name == "sdxl":
        tokenizers["tokenizer_2"] = clip_tokenizer(where / "tokenizer_2", "!")
    if name in ("ldm_text", "cin256"):
        single = single_ldm(parts)
        if not full:
            use_compvis(options.latent_diffusion)
            check_against_compvis(parts, single, compvis_config(name))
    elif name == "sdxl":
        single = single_sdxl(options.diffusers, parts)
    else:
        single = single_sd(options.diffusers, parts)
    meta = {"prompt": PROMPT, "negative": NEGATIVE, "cfg": 1.0 if name == "cin256" else 5.0}
    meta |= {"steps": STEPS, "seed": SEED}
    if full:
        write_full(Path(options.full), name, parts, schedule, tokenizers, single)
    else:
        meta["folder"] = json.dumps(how, separators=(",", ":"))
        meta["single"] = json.dumps(provenance(single, parts), separators=(",", ":"))
        configs = {part: config_of(m) for part, m in parts.items() if part != "classes"}
        configs |= {"scheduler": schedule.to_json_string(), "model_index": index_of(name, parts)}
        meta["configs"] = json.dumps(configs)
    del single
    gc.collect()
    side = 32 if full else 8
    noise = torch.randn(1, 4, side, side, generator=torch.Generator().manual_seed(SEED))
    double = not full or sum(p.numel() for m in parts.values() for p in m.parameters()) < 1.6e9
    out, errors = results(name, parts, schedule, tokenizers, noise, double)
    out["noise"] = noise
    if not full:
        left_out = ("conditioning", "negative", "pooled", "pooled_negative", "masked")
        out = {key: value for key, value in out.items() if key not in left_out}
    for key, tokenizer in tokenizers.items():
        ids = tokenizer([PROMPT, NEGATIVE], padding="max_length", max_length=77, truncation=True)
        out[key.replace("tokenizer", "ids")] = torch.tensor(ids["input_ids"], dtype=torch.int32)
    save(options.full and Path(options.full) / name or options.out, f"parity_{name}", out, meta | errors)


def compvis_config(name):
    shared = {"image_size": 32, "in_channels": 4, "out_channels": 4, "num_res_blocks": 2}
    shared |= {"use_spatial_transformer": True, "transformer_depth": 1, "context_dim": 64}
    shared |= {"model_channels": 32, "use_checkpoint": False}
    if name == "cin256":
        return shared | {"channel_mult": [1, 2, 4], "attention_resolutions": [4, 2, 1], "num_head_channels": 32}
    return shared | {
        "channel_mult": [1, 2, 2, 2], "attention_resolutions": [4, 2, 1], "num_heads": 8, "legacy": False,
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out")
    parser.add_argument("diffusers")
    parser.add_argument("latent_diffusion")
    parser.add_argument("models", nargs="*")
    parser.add_argument("--full")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for name in options.models or MODELS:
        one(name, options)
        gc.collect()


if __name__ == "__main__":
    main()
