"""A Stable Diffusion 1.5 of random numbers, as diffusers writes it, and what it is run on.

    python checkpoint.py FOLDER

writes FOLDER/sd15 (f32, 4.3 GB; the numbers fit f16, so that a peer that keeps f16 has the same)
and FOLDER/inputs-SIZE.safetensors for pictures of 256 to 1024 pixels: `latent [2, 4, h, w]`,
`t [2]`, `context [2, 77, 768]`, `z [1, 4, h, w]`, `ids [1, 77]`, all f32. What is there is kept.

The networks and how they are filled are those of tests/reference/parity.py: each branch changes
what goes into it, and nothing overflows.
"""

import json
import sys
from pathlib import Path

SIZES = (256, 512, 768, 1024)
SEED = 42


def make(folder):
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "sd15" / "model_index.json").exists():
        networks(folder / "sd15")
    for size in SIZES:
        path = folder / f"inputs-{size}.safetensors"
        if not path.exists():
            inputs(path, size // 8)
    return folder / "sd15"


def networks(folder):
    import torch

    parity = reference()
    with torch.no_grad():
        parts, schedule = parity.sd15(True)
        parity.fill(parts, True)
    write(folder, "sd15", parts, schedule)


def reference():
    """tests/reference/parity.py as a module."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "reference"))
    import parity

    return parity


def write(folder, name, parts, schedule):
    """`parts` of parity.py's model `name` as diffusers keeps them, in the type that they have."""
    from safetensors.torch import save_file

    parity = reference()
    for part, module in parts.items():
        text = part.startswith("text_encoder")
        state = {key: value.contiguous().cpu() for key, value in module.state_dict().items()}
        state = {key: value for key, value in state.items() if value.is_floating_point()}
        inside = folder / part
        inside.mkdir(parents=True, exist_ok=True)
        file = "model" if text else "diffusion_pytorch_model"
        state = parity.clip_names(state) if text else state
        save_file(state, str(inside / f"{file}.safetensors"), metadata={"format": "pt"})
        (inside / "config.json").write_text(parity.config_of(module))
    schedule.save_pretrained(str(folder / "scheduler"))
    index = json.loads(parity.index_of(name, parts)) | {"scheduler": ["diffusers", "DDIMScheduler"]}
    for part, pad in (("tokenizer", None), ("tokenizer_2", "!")):
        if part.replace("tokenizer", "text_encoder") in parts:
            parity.clip_tokenizer(folder / part, pad).save_pretrained(str(folder / part))
            index[part] = ["transformers", "CLIPTokenizer"]
    if name == "sd15":
        index |= {"safety_checker": [None, None], "feature_extractor": [None, None]}
        index["requires_safety_checker"] = False
    (folder / "model_index.json").write_text(json.dumps(index, indent=1))


def inputs(path, side):
    import torch
    from safetensors.torch import save_file

    drawn = torch.Generator().manual_seed(SEED)
    normal = lambda *shape: torch.randn(*shape, generator=drawn)  # noqa: E731
    ids = torch.randint(0, 49406, (1, 77), generator=drawn).float()
    ids[0, 0], ids[0, 40:] = 49406, 49407
    tensors = {"context": normal(2, 77, 768), "t": torch.tensor([501.0, 501.0]), "ids": ids}
    tensors |= {"latent": normal(2, 4, side, side), "z": normal(1, 4, side, side)}
    save_file(tensors, str(path))


if __name__ == "__main__":
    print(make(sys.argv[1]))
