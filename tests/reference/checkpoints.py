"""Checkpoints as people have them, and checkpoints that attack whoever opens them.

Writes into OUT/checkpoints:

- `*.ckpt`       small files of `torch.save`, in its zip archive and in its older stream, with
                 what trainers put around weights; each beside the safetensors file that holds
                 the same tensors.
- `adapter.pt`, `embedding_*`: a LoRA and textual inversions as trainers pickled them.
- `compressed`, `bomb`: archives that are packed, which `torch.save` never does.
- `hostile/*`    pickles that run something when Python reads them. This script reads each one
                 with Python, in a folder of its own, and fails unless that makes the file
                 `ran`: what the reader under test refuses is no straw man.

Nothing here reads a file of this project. torch is the only oracle.
"""

import io
import pickle
import re
import subprocess
import sys
import tempfile
import time
import types
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save as to_bytes

PROOF = "ran"
COMMAND = f"touch {PROOF}"


def tensors():
    """Every type that is read, and every way of lying in a storage."""
    g = torch.Generator().manual_seed(5)
    base = torch.randn(6, 8, generator=g)
    return OrderedDict(
        {
            "f32": torch.randn(3, 4, generator=g),
            "f16": torch.randn(5, generator=g).half(),
            "bf16": torch.randn(2, 2, generator=g).bfloat16(),
            "f64": torch.randn(2, 3, generator=g).double(),
            "i64": torch.arange(4),
            "u8": torch.arange(3).to(torch.uint8),
            "flag": torch.tensor([True, False]),
            "scalar": torch.tensor(0.18215),
            "empty": torch.zeros(0, 3),
            "turned": base.t(),
            "part": base[1:4, 2:7],
            "same.a": base,
            "same.b": base,
            "row": base[2].expand(3, 8),
            "conv": torch.randn(2, 3, 3, 3, generator=g).to(memory_format=torch.channels_last),
        }
    )


def trainer():
    """What PyTorch Lightning 1.4 leaves beside a `state_dict`, of classes made up here."""
    module = types.ModuleType("pytorch_lightning.callbacks.model_checkpoint")
    for name in ("pytorch_lightning", "pytorch_lightning.callbacks"):
        sys.modules[name] = types.ModuleType(name)
    sys.modules[module.__name__] = module
    callback = type("ModelCheckpoint", (), {"__module__": module.__name__})
    module.ModelCheckpoint = callback
    return {
        "epoch": 3,
        "global_step": 470000,
        "pytorch-lightning_version": "1.4.2",
        "callbacks": {
            callback: {
                "monitor": "val/loss",
                "best_model_score": np.float64(0.25),
                "best": torch.tensor(0.25),
            }
        },
        "lr_schedulers": [{"base_lrs": [np.float32(1e-4)], "last_epoch": 470000}],
        "hyper_parameters": None,
    }


def written(value, legacy=False):
    out = io.BytesIO()
    torch.save(value, out, _use_new_zipfile_serialization=not legacy)
    return counted(out.getvalue()) if legacy else out.getvalue()


def counted(stream):
    """The same stream with its storages, named by address, named by their order."""
    names = sorted(set(re.findall(rb"(?<=X.\0\0\0)\d{12,18}", stream)))
    for i, name in enumerate(names):
        stream = stream.replace(name, str(i).zfill(len(name)).encode())
    return stream


def sound(out):
    held = tensors()
    plain = {k: v.clone().contiguous() for k, v in held.items()}
    (out / "tensors.safetensors").write_bytes(to_bytes(plain))
    (out / "plain.ckpt").write_bytes(written(held))
    (out / "stream.ckpt").write_bytes(written(held, legacy=True))
    whole = {"state_dict": held, **trainer()}
    (out / "trainer.ckpt").write_bytes(written(whole))
    (out / "trainer_stream.ckpt").write_bytes(written(whole, legacy=True))
    parameters = OrderedDict((k, torch.nn.Parameter(v)) for k, v in held.items() if k == "f32")
    (out / "parameters.ckpt").write_bytes(written(parameters))
    nested = {"params": {"a": held["f32"]}, "params_ema": {"a": held["f16"]}}
    (out / "nested.ckpt").write_bytes(written(nested))
    torch.manual_seed(1)
    network = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.LayerNorm(2))
    (out / "network.ckpt").write_bytes(written(network))


class Call:
    """Pickles as a call."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def adapters(out):
    """What kohya's trainer, AUTOMATIC1111's and diffusers' wrote with `torch.save`."""
    g = torch.Generator().manual_seed(6)
    layer = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k"
    lora = {
        f"{layer}.lora_up.weight": torch.randn(8, 2, generator=g),
        f"{layer}.lora_down.weight": torch.randn(2, 4, generator=g),
        f"{layer}.alpha": torch.tensor(2.0),
    }
    (out / "adapter.pt").write_bytes(written(lora))
    vectors = torch.arange(8).float().reshape(2, 4)
    web_ui = {
        "string_to_token": {"*": 265},
        "string_to_param": {"*": torch.nn.Parameter(vectors)},
        "name": "cat",
        "step": 1999,
        "sd_checkpoint": "7460a6fa",
        "sd_checkpoint_name": "model",
    }
    (out / "embedding_web_ui.pt").write_bytes(written(web_ui))
    (out / "embedding_old.pt").write_bytes(written(web_ui, legacy=True))
    (out / "embedding_diffusers.bin").write_bytes(written({"<cat>": vectors[0]}))
    (out / "embedding_bare.pt").write_bytes(written(vectors))


def pickled(value, protocol=2):
    return pickle.dumps(value, protocol)


def hostile():
    """Name, the pickle, and what the refusal has to name.

    Protocols before 3 write the names that Python 2 had.
    """
    import os
    import runpy

    touch = f"open({PROOF!r}, 'w').close()"
    yield "system", pickled(Call(os.system, COMMAND)), "posix.system"
    yield "system_by_os", f"cos\nsystem\n(S'{COMMAND}'\ntR.".encode(), "os.system"
    yield "eval", pickled(Call(eval, touch)), "__builtin__.eval"
    yield "exec_4", pickled(Call(exec, touch), 4), "builtins.exec"
    yield "exec_0", pickled(Call(exec, touch), 0), "__builtin__.exec"
    yield "popen", pickled(Call(subprocess.Popen, ["touch", PROOF]), 4), "subprocess.Popen"
    yield "check_call", pickled(Call(subprocess.check_call, ["touch", PROOF]), 4), (
        "subprocess.check_call"
    )
    yield "run_code", pickled(Call(runpy._run_code, touch, {})), "runpy._run_code"
    yield "getattr", (
        b"cbuiltins\ngetattr\n(cbuiltins\n__import__\n(S'os'\ntRS'system'\ntR"
        + f"(S'{COMMAND}'\ntR.".encode()
    ), "builtins.getattr"
    yield "inst", f"(S'{COMMAND}'\nios\nsystem\n.".encode(), "os.system"
    yield "obj", f"(cos\nsystem\nS'{COMMAND}'\no.".encode(), "os.system"
    # A map is made without a call, and runs when a list is made of it.
    yield "newobj_map", (
        b"\x80\x02cbuiltins\nlist\n(cbuiltins\nmap\n(cos\nsystem\n("
        + f"S'{COMMAND}'\n".encode()
        + b"lt\x81tR."
    ), "builtins.map"
    # The name of what is imported is made by a call.
    computed = (
        b"\x80\x04\x8c\x02oscbuiltins\nstr\n(\x8c\x06systemtR\x93("
        + bytes([0x8C, len(COMMAND)])
        + COMMAND.encode()
        + b"tR."
    )
    yield "computed_name", computed, "computes the name"
    # A name with dots reaches through one module into another.
    dotted = (
        b"\x80\x04\x8c\x13torch.serialization\x8c\x09os.system\x93("
        + bytes([0x8C, len(COMMAND)])
        + COMMAND.encode()
        + b"tR."
    )
    yield "dotted_name", dotted, "torch.serialization.os.system"
    # A state that runs: an object's __setstate__ is what its dictionary says it is.
    yield "build", (
        b"\x80\x02ctypes\nSimpleNamespace\n)\x81}X\x0c\x00\x00\x00__setstate__cos\nsystem\nsb"
        + f"S'{COMMAND}'\nb.".encode()
    ), "os.system"
    weights = {"state_dict": {"a": torch.zeros(2), "b": Call(os.system, COMMAND)}}
    yield "in_archive", written(weights), "posix.system"
    yield "in_stream", written(weights, legacy=True), "posix.system"
    yield "beside_weights", written({"state_dict": tensors(), "x": Call(exec, touch)}), (
        "__builtin__.exec"
    )


READ = """
import sys, io, pickle
bytes = open(sys.argv[1], 'rb').read()
saved_by_torch = bytes[:2] == b'PK' or b'_rebuild_tensor' in bytes
if saved_by_torch or b'torch' in bytes:
    import torch
try:
    if saved_by_torch:
        torch.load(io.BytesIO(bytes), weights_only=False)
    else:
        pickle.loads(bytes)
except Exception:
    pass
"""


def runs(path):
    """Whether Python, reading the file, does what it says."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-c", READ, str(path)], cwd=folder, check=True)
        for _ in range(50):  # what Popen starts may be late
            if (Path(folder) / PROOF).exists():
                return True
            time.sleep(0.1)
    return False


def bad_archives(out):
    """Archives that lie about what they hold; nothing in them runs."""
    good = written({"a": torch.zeros(64)})
    with zipfile.ZipFile(io.BytesIO(good)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}

    def packed(method):
        made = io.BytesIO()
        with zipfile.ZipFile(made, "w", method) as archive:
            for name, content in files.items():
                archive.writestr(zipfile.ZipInfo(name), content, method)
        return made.getvalue()

    (out / "compressed.ckpt").write_bytes(packed(zipfile.ZIP_DEFLATED))
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        name = zipfile.ZipInfo("archive/data.pkl")
        archive.writestr(name, b"\0" * (1 << 24), zipfile.ZIP_DEFLATED)
    (out / "bomb.ckpt").write_bytes(bomb.getvalue())


def main(out):
    out = Path(out) / "checkpoints"
    (out / "hostile").mkdir(parents=True, exist_ok=True)
    sound(out)
    adapters(out)
    bad_archives(out)
    names = []
    for name, content, wanted in hostile():
        path = out / "hostile" / f"{name}.ckpt"
        path.write_bytes(content)
        assert runs(path), f"{name} does not run: it tests nothing"
        names.append(f"{name} {wanted}\n")
    (out / "hostile" / "names.txt").write_text("".join(names))
    print(f"checkpoints: {len(names)} hostile files, each ran in Python")


if __name__ == "__main__":
    main(sys.argv[1])
