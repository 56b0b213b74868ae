"""Everything between a prompt and its conditioning: CLIP, tokenizers, prompt syntax, layouts.

- `clip_hf`, `clip_flat`, `clip_open` and their `.weights`: small CLIP text transformers, laid out
  as `networks.py` says. Inputs `ids` [b, n] i64; results `state<i>` [b, n, d], what stands
  after i layers, `out`, that under the final norm, and `pooled` [b, p].
- `clip_sizes`: i64, the parameters of the text transformers in the field.
- `clip_tokens`: 10,000 prompts and their ids by transformers' CLIPTokenizer over OpenAI's
  vocabulary. Texts are stored as one run of UTF-8 bytes, `texts` u8, with `text_ends` i32; ids
  as `ids` u16 with `id_ends` i32, without start and end.
- `clip_small`: the same over a small vocabulary, whose `vocab.json` and `merges.txt` stand there
  as bytes, and `bert_small`: BERT's word pieces over a small `vocab.txt`, start and end included.
- `prompts`: what ComfyUI makes of prompts: `ids` i64 [rows, 77] and `weights` f64 beside them,
  prompt by prompt (`row_ends`). An id below 0 is vector -1-id of the vectors in the embeddings
  `one` (one vector), `three` (three) and `ten` (ten), counted through.
- `prompt_encode` and `.weights`: weighted prompts through ComfyUI's rules and a small CLIP over the
  vocabulary of `clip_small`, in rows of 16 tokens: results `out<i>` and `pooled<i>`, prompt i.
- `layout_boxes`, `layout_points`: what taming-transformers makes of boxes: per case `boxes<i>` f64
  [n, 4], `classes<i>` [n, 5] i64 (category and the four flags), `crop<i>` f64, `flip<i>`, and
  `tokens<i>` i64. Shuffling, which it does at random, is left out.
- `size_vectors`: f64 `numbers` [n, 6] and their embeddings `out` [n, 1536].

Weights follow the rules of `networks.py`, whose checks run here too.

Run: python text.py OUT_DIR OPEN_CLIP COMFYUI TAMING_TRANSFORMERS, the first being the folder that
holds the package `open_clip`, of which only the network and the vocabulary are used.
"""

import copy
import gzip
import json
import random
import sys
import types
import unicodedata
from pathlib import Path

import networks
import torch
import transformers
from common import error_over_std, save, stub
from networks import eps, qk, record
from torch import nn
from transformers import BertTokenizer, CLIPTextConfig, CLIPTokenizer

# ---- networks ------------------------------------------------------------------------------

KNOWN = networks.gain


def gain(name, module, parent):
    if name.endswith("position_embedding") or name == "":
        return networks.STREAM
    if "text_projection" in name:
        return 1.0
    if name.endswith("c_fc"):
        return 1.0
    if name.endswith("c_proj"):
        return 3.5 * networks.STREAM
    if name.endswith(".attn"):  # torch's own attention: one tensor for q, k and v
        return 1.6
    return KNOWN(name, module, parent)


networks.gain = gain
networks.BESIDE += [
    ("self_attn", "layer_norm1", "in"),
    ("mlp", "layer_norm2", "in"),
    ("attn", "ln_1", "in"),
    ("mlp", "ln_2", "in"),
]
networks.idle = lambda name: name.endswith(("k_proj.bias", "logit_scale"))

SMALL = dict(
    vocab_size=37,
    hidden_size=24,
    intermediate_size=56,
    num_hidden_layers=3,
    num_attention_heads=3,
    max_position_embeddings=12,
    bos_token_id=35,
    attn_implementation="sdpa",  # the eager one takes its softmax in float32
)


def clip_ids(seed, end, *shape):
    """Random tokens, the end somewhere in the middle, then whatever comes."""
    g = torch.Generator().manual_seed(seed)
    ids = torch.randint(1, 34, shape, generator=g)
    for row, place in enumerate([4, shape[1] - 2, 7][: shape[0]]):
        ids[row, place] = end
        ids[row, place + 1 :] = end if row == 0 else 0
    return ids


def states(model, ids):
    found = model(input_ids=ids, output_hidden_states=True)
    results = {f"state{i}": s for i, s in enumerate(found.hidden_states) if i > 0}
    pooled = getattr(found, "text_embeds", None)
    pooled = found.pooler_output if pooled is None else pooled
    return {**results, "out": found.last_hidden_state, "pooled": pooled}


def other_heads(model):
    for m in model.modules():
        if type(m).__name__ == "CLIPAttention":
            m.num_heads, m.head_dim, m.scale = 6, 4, 0.5
        if isinstance(m, nn.MultiheadAttention):
            m.num_heads, m.head_dim = 6, 4


def other_gelu(model):
    """The quick form where the exact one is right, and the reverse."""
    for m in model.modules():
        if type(m).__name__ == "CLIPMLP":
            quick = "quick" in type(m.activation_fn).__name__.lower()
            m.activation_fn.forward = nn.functional.gelu if quick else quick_gelu
        if type(m).__name__ == "Sequential" and hasattr(m, "gelu"):
            m.gelu.forward = quick_gelu


def quick_gelu(x):
    return x * torch.sigmoid(1.702 * x)


def seeing_all(model):
    """No causal mask."""
    for m in model.modules():
        if type(m).__name__ == "CLIPEncoder":
            old = m.forward

            def forward(*a, old=old, **k):
                mask = torch.zeros(1, 1, 1, 1, dtype=k["inputs_embeds"].dtype)
                return old(**{**k, "attention_mask": mask, "is_causal": False})

            m.forward = forward
        if hasattr(m, "attn_mask"):
            m.attn_mask = torch.zeros_like(m.attn_mask)


def fused_qk(model):
    for m in model.modules():
        if isinstance(m, nn.MultiheadAttention):
            for p in (m.in_proj_weight.data, m.in_proj_bias.data):
                q, k, v = p.chunk(3)
                p.copy_(torch.cat([k, q, v]))


CLIP_MUTANTS = {
    "eps_layer": eps(nn.LayerNorm, 1e-5, 1e-6),
    "qk": qk,
    "heads": other_heads,
    "gelu": other_gelu,
    "mask": seeing_all,
}


def clip_hf(out, name, seed):
    config = dict(**SMALL, projection_dim=10, hidden_act="quick_gelu", eos_token_id=2)
    make = lambda: transformers.CLIPTextModelWithProjection(CLIPTextConfig(**config))  # noqa: E731
    inputs = {"ids": clip_ids(seed + 1, 36, 3, 12)}
    inputs["ids"][1, 3] = 2  # what the config calls the end, and is not
    oracle = f"transformers {transformers.__version__} CLIPTextModelWithProjection"
    record(out, name, config, make, states, inputs, CLIP_MUTANTS, seed, oracle)


def clip_flat(out, name, seed):
    config = dict(**SMALL, hidden_act="gelu", eos_token_id=30)
    make = lambda: transformers.CLIPTextModel(CLIPTextConfig(**config))  # noqa: E731
    inputs = {"ids": clip_ids(seed + 1, 30, 3, 10)}
    inputs["ids"][1, 2] = 36  # larger than the end
    oracle = f"transformers {transformers.__version__} CLIPTextModel"
    record(out, name, config, make, states, inputs, CLIP_MUTANTS, seed, oracle)


def use_open_clip(folder):
    stub("torchvision", "torchvision.ops", "torchvision.ops.misc")
    package = types.ModuleType("open_clip")
    package.__path__ = [str(Path(folder) / "open_clip")]
    sys.modules["open_clip"] = package
    import open_clip.transformer as transformer

    return transformer


def clip_open(out, name, seed, folder):
    parts = use_open_clip(folder)
    config = dict(context_length=12, vocab_size=37, width=24, heads=3, layers=3, output_dim=10)

    def make():
        model = parts.TextTransformer(**config, mlp_ratio=2.5)
        model.logit_scale = nn.Parameter(torch.tensor(2.5))
        return model

    def call(model, ids):
        length = ids.shape[1]
        x = model.token_embedding(ids) + model.positional_embedding[:length]
        results = {}
        mask = model.attn_mask[:length, :length].to(x.dtype)
        for i, block in enumerate(model.transformer.resblocks):
            x = block(x, attn_mask=mask)
            results[f"state{i + 1}"] = x
        out = model.ln_final(x)
        if length == model.context_length:
            assert torch.equal(model(ids), pooled(out, ids) @ model.text_projection)
        return {**results, "out": out, "pooled": pooled(out, ids) @ model.text_projection}

    def pooled(x, ids):
        return x[torch.arange(len(x)), ids.argmax(-1)]

    inputs = {"ids": clip_ids(seed + 1, 36, 3, 12)}
    mutants = {**CLIP_MUTANTS, "qk": fused_qk}
    oracle = "open_clip 3.3.0 TextTransformer"
    shown = {**config, "mlp_ratio": 2.5}
    record(out, name, shown, make, call, inputs, mutants, seed, oracle)


def clip_sizes(out):
    common = dict(vocab_size=49408, max_position_embeddings=77, hidden_act="gelu")
    field = {
        "vit_l": dict(hidden_size=768, intermediate_size=3072, num_hidden_layers=12),
        "vit_h": dict(hidden_size=1024, intermediate_size=4096, num_hidden_layers=24),
        "vit_h_23": dict(hidden_size=1024, intermediate_size=4096, num_hidden_layers=23),
        "big_g": dict(hidden_size=1280, intermediate_size=5120, num_hidden_layers=32),
    }
    sizes = {}
    with torch.device("meta"):
        for name, shape in field.items():
            heads = shape["hidden_size"] // 64
            config = CLIPTextConfig(**common, **shape, num_attention_heads=heads)
            if name == "big_g":
                config.projection_dim = 1280
                model = transformers.CLIPTextModelWithProjection(config)
            else:
                model = transformers.CLIPTextModel(config)
            sizes[name] = torch.tensor(sum(p.numel() for p in model.parameters()), device="cpu")
    save(out, "clip_sizes", sizes, {"oracle": f"transformers {transformers.__version__}"})


# ---- texts ---------------------------------------------------------------------------------

WORDS = """a an the of in on at with by and red blue green golden dark light old young tall tiny
house lake night portrait woman man cat dog astronaut horse castle forest city street rain snow
mountain river sky cloud sunset dawn oil painting photo render sketch watercolor anime concept art
trending artstation greg rutkowski cinematic lighting highly detailed sharp focus bokeh 35mm 8k uhd
hdr masterpiece best quality illustration intricate baroque steampunk cyberpunk neon glass marble
dragon wizard robot flower garden ocean beach ship spaceship library kitchen breakfast bicycle
mustache donaudampfschifffahrtsgesellschaft antidisestablishmentarianism supercalifragilistic
i'm you're they've she'll he'd isn't don't it's rock'n'roll o'clock 'tis y'all've""".split()
FOREIGN = """café naïve Ångström über straße STRASSE ΣΟΦΟΣ ὈΔΥΣΣΕΎΣ Ελλάδα москва Київ İstanbul
ISTANBUL ılık ﬁne ﬃ Ⅷ ½ ³ x² ｆｕｌｌ ①② 東京タワー 猫と犬 北京 夜の街 한국어 서울 漢字かな混じり ภาษาไทย हिन्दी
العربية עברית e\u0301a\u0300 n\u0303 \u1e9b\u0323 𝓯𝓪𝓷𝓬𝔂 𝕳𝖊𝖑𝖑𝖔 Ǆ ŉ ﷺ ꙮ ᏣᎳᎩ""".split()
MARKS = list(",.;:!?-_/\\|()[]{}<>@#$%^&*+=~`'\"")
MARKS += "... ?! :) :-( <3 -> => -- *** ((( ))) $$$ 1.2".split()
MARKS += "“ ” ‘ ’ « » – — … ¿ ¡ 、 。 「 」 ・ ％ ° © ™ € ₽ № × ÷ ≠ ∞".split()
EMOJI = "😀 😂 ❤️ 🔥 👍🏽 👩‍👩‍👧‍👦 🏳️‍🌈 🇩🇪 🐉 ✨ ☕ 1️⃣ 🤦🏿‍♀️ 🎨 🌃 ☃ ♥".split()
SPACES = [" ", " ", " ", " ", "  ", "\t", "\n", "\r\n", "\u00a0", "\u3000"]
SPACES += ["\u2009", "\u200b", "\ufeff", "\x0b", "\x85"]
ENTITIES = "&amp; &lt;b&gt; &quot;art&quot; &#39; &nbsp; &eacute; &#x1F600;".split()
ENTITIES += "&amp;amp; &notanentity; <br/>".split()
SPECIAL = "<|endoftext|> <|startoftext|> <|ENDOFTEXT|>".split()
SPECIAL += "<start_of_text> <end_of_text> !<start_of_text>".split()
SPECIAL += ["x<end_of_text>", "<|endoftext", "<|endoftext|>a", "\x00", "\x01", "\x7f"]
SPECIAL += ["\ue000", "\U000f0000", "\ufffd"]


def letter(rng):
    """Any character that has been in Unicode for long, of any kind but surrogates."""
    old = unicodedata.ucd_3_2_0
    while True:
        c = chr(rng.choice([rng.randrange(0x250), rng.randrange(0x3000), rng.randrange(0x10000)]))
        if old.category(c) not in ("Cn", "Cs", "Co"):
            return c


def bit(rng):
    kind = rng.random()
    if kind < 0.62:
        word = rng.choice(WORDS)
        return rng.choice([str, str, str, str.upper, str.capitalize])(word)
    if kind < 0.70:
        return rng.choice(MARKS)
    if kind < 0.76:
        return rng.choice(FOREIGN)
    if kind < 0.80:
        return rng.choice(EMOJI)
    if kind < 0.84:
        return str(rng.randrange(10 ** rng.randrange(1, 9)))
    if kind < 0.88:
        return "".join(letter(rng) for _ in range(rng.randrange(1, 5)))
    if kind < 0.91:
        return rng.choice(ENTITIES)
    if kind < 0.93:
        return rng.choice(SPECIAL)
    if kind < 0.97:
        return rng.choice(WORDS) + rng.choice(MARKS) + rng.choice(WORDS + FOREIGN)
    return "".join(rng.choice("aeioubdklmnrstz") for _ in range(rng.randrange(12, 40)))


def prompt(rng):
    parts = []
    for _ in range(min(int(rng.expovariate(0.35)), 24) + 1):
        parts += [bit(rng), rng.choice(SPACES) if rng.random() < 0.9 else ""]
    return "".join(parts[: len(parts) - (rng.random() < 0.8)])


def prompts(seed, count):
    rng = random.Random(seed)
    hard = ["", " ", "\n", "a", "'s", "'S", "a" * 300, "ä" * 60, "😀" * 30, "1" * 100, "!" * 100]
    hard += FOREIGN + EMOJI + ENTITIES + SPECIAL + MARKS + WORDS
    return hard + [prompt(rng) for _ in range(count - len(hard))]


def lists(texts, ids):
    """Texts and ids of any length as plain tensors."""
    raw = [t.encode() for t in texts]
    ends = lambda parts: torch.tensor([len(p) for p in parts]).cumsum(0).int()  # noqa: E731
    return {
        "texts": torch.frombuffer(bytearray(b"".join(raw)), dtype=torch.uint8),
        "text_ends": ends(raw),
        "ids": torch.tensor([i for row in ids for i in row]).to(torch.uint16),
        "id_ends": ends(ids),
    }


def as_bytes(text):
    return torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)


def bytes_to_unicode():
    """How byte-level vocabularies write a byte: itself where it prints, else past 255."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in shown]
    return [chr(b) for b in shown] + [chr(256 + i) for i in range(len(rest))]


def vocabulary(folder, merges):
    """The first `merges` of OpenAI's merges, with the vocabulary they make."""
    path = Path(folder) / "open_clip" / "bpe_simple_vocab_16e6.txt.gz"
    lines = gzip.open(path).read().decode().split("\n")[1 : merges + 1]
    pairs = [tuple(line.split()) for line in lines]
    letters = bytes_to_unicode()
    words = letters + [v + "</w>" for v in letters] + ["".join(p) for p in pairs]
    words += ["<|startoftext|>", "<|endoftext|>"]
    return {w: i for i, w in enumerate(words)}, pairs


def clip_tokenizer(folder, merges):
    vocab, pairs = vocabulary(folder, merges)
    assert len(vocab) == merges + 514
    return CLIPTokenizer(vocab=vocab, merges=pairs), vocab, pairs


OPENAI_MERGES = 49152 - 256 - 2
SMALL_MERGES = 500


def clip_tokens(out, folder):
    tokenizer, *_ = clip_tokenizer(folder, OPENAI_MERGES)
    assert tokenizer("a photo of a cat")["input_ids"] == [49406, 320, 1125, 539, 320, 2368, 49407]
    texts = prompts(2112, 10_000)
    ids = [tokenizer(t)["input_ids"][1:-1] for t in texts]
    oracle = f"transformers {transformers.__version__} CLIPTokenizer"
    save(out, "clip_tokens", lists(texts, ids), {"oracle": oracle})


def clip_small(out, folder):
    tokenizer, vocab, pairs = clip_tokenizer(folder, SMALL_MERGES)
    texts = prompts(5, 600)
    tensors = lists(texts, [tokenizer(t)["input_ids"][1:-1] for t in texts])
    tensors["vocab.json"] = as_bytes(json.dumps(vocab, ensure_ascii=False))
    merges = "#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in pairs)
    tensors["merges.txt"] = as_bytes(merges)
    save(out, "clip_small", tensors, {"oracle": f"transformers {transformers.__version__}"})


def bert_small(out):
    words = ["[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = [chr(c) for c in range(97, 123)] + list("0123456789éü東京猫")
    words += letters + ["##" + c for c in letters] + list(",.;:!?-_/()[]<>'\"&#")
    words += sorted({w for w in WORDS if w.isalpha()})[::2] + ["##ing", "##ed", "##s", "cafe"]
    words = list(dict.fromkeys(words))
    vocab = {w: i for i, w in enumerate(words)}
    tokenizer = BertTokenizer(vocab=vocab, do_lower_case=True)
    texts = prompts(6, 600)
    ids = [tokenizer(t)["input_ids"] for t in texts]
    tensors = lists(texts, ids)
    tensors["vocab.txt"] = as_bytes("\n".join(words) + "\n")
    save(out, "bert_small", tensors, {"oracle": f"transformers {transformers.__version__}"})


# ---- prompts -------------------------------------------------------------------------------

WEIGHTED = [
    "",
    "a red house",
    "a (red) house",
    "a (red:1.3) house, ((at night))",
    "(a:1.2)(b:0.8)",
    "((a:1.2) b:1.5)",
    "((very (deep:0.3)) house)",
    "(a:1.2",
    "a:1.2)",
    ") a (b",
    "a) (b) c",
    "(a: 1.25 ) (b:1e-1) (c:-0.5) (d:.5) (e:1.)",
    "(a:b) (c:1.2:1.3) (:1.2) ()",
    "(10:30 o'clock:1.1)",
    r"a \(quoted\) word, (and \(inside\):1.4)",
    "\\\\(what is this\\\\)",
    "[a] [b:1.2] BREAK c",
    "(red house:0) (blue:2)",
    "a\nb\tc",
    "embedding:one",
    "a embedding:three b",
    "a (embedding:three:1.2), night",
    "a embedding:three, night",
    "embedding:one embedding:ten\nembedding:three",
    "(embedding:one a:0.5) lake",
    "x embedding:three " * 9,
    "word " * 75,
    "word " * 76,
    "word " * 74 + "(a red house by the lake:1.2)",
    "word " * 70 + "(a red house by the lake:1.2)",
    "word " * 70 + "(a red house by the lake at night with a dragon:1.2) and more of it",
    "(a:1.1) " * 40,
    "(word:0.9) " * 80,
    "a " * 72 + "embedding:ten night",
    "a " * 70 + "embedding:three night",
    ", ".join(f"({w}:{1 + i / 100})" for i, w in enumerate(WORDS)),
    " ".join(WORDS * 2),
]


def use_comfyui(path):
    package = types.ModuleType("comfy")
    package.__path__ = [str(Path(path) / "comfy")]
    sys.modules["comfy"] = package
    stub("comfy.ops", "comfy.model_management", "comfy.clip_model")
    package.ops = sys.modules["comfy.ops"]
    package.model_management = sys.modules["comfy.model_management"]
    package.model_management.intermediate_device = lambda: "cpu"
    package.clip_model = sys.modules["comfy.clip_model"]
    import comfy.sd1_clip as sd1_clip

    return sd1_clip


EMBEDDINGS = {"one": 1, "three": 3, "ten": 10}


def comfy_tokenizer(sd1_clip, tokenizer, **settings):
    """ComfyUI's tokenizer over `tokenizer`; vectors of embeddings come as ids below 0."""
    first, at = {}, 0
    for name, count in EMBEDDINGS.items():
        first[name], at = at, at + count

    def load_embed(name, *_):
        if name not in EMBEDDINGS:
            return None
        return -1 - torch.arange(first[name], first[name] + EMBEDDINGS[name])[:, None]

    sd1_clip.load_embed = load_embed
    loader = types.SimpleNamespace(from_pretrained=lambda *_, **__: tokenizer)
    made = sd1_clip.SDTokenizer("", embedding_directory="", tokenizer_class=loader, **settings)
    return lambda text: [[(int(t), w) for t, w in row] for row in made.tokenize_with_weights(text)]


def comfy_prompts(out, open_clip, sd1_clip):
    tokenizer, *_ = clip_tokenizer(open_clip, OPENAI_MERGES)
    split = comfy_tokenizer(sd1_clip, tokenizer)
    texts = WEIGHTED + [p.replace("\x00", "") for p in prompts(7, 1200)[-120:]]
    rows = [split(text) for text in texts]
    raw = [t.encode() for t in texts]
    tensors = {
        "texts": as_bytes("".join(texts)),
        "text_ends": torch.tensor([len(t) for t in raw]).cumsum(0).int(),
        "row_ends": torch.tensor([len(r) for r in rows]).cumsum(0).int(),
        "ids": torch.tensor([[t for t, _ in row] for r in rows for row in r]).int(),
        "weights": torch.tensor([[w for _, w in row] for r in rows for row in r]).float(),
    }
    save(out, "prompts", tensors, {"oracle": "ComfyUI SDTokenizer"})


def prompt_encode(out, open_clip, sd1_clip, seed):
    tokenizer, vocab, _ = clip_tokenizer(open_clip, SMALL_MERGES)
    end = vocab["<|endoftext|>"]
    settings = {**SMALL, "vocab_size": len(vocab), "max_position_embeddings": 16}
    settings.update(hidden_size=16, num_attention_heads=2, intermediate_size=40)
    settings.update(num_hidden_layers=2, bos_token_id=end - 1)
    config = CLIPTextConfig(**settings, projection_dim=6, hidden_act="quick_gelu", eos_token_id=end)
    model = networks.randomise(transformers.CLIPTextModelWithProjection(config), seed)
    vectors = networks.STREAM * networks.draw(seed + 1, sum(EMBEDDINGS.values()), 16)
    vectors = vectors.half().float()
    weights = {k: v.half() for k, v in model.state_dict().items()}
    split = comfy_tokenizer(sd1_clip, tokenizer, max_length=16, embedding_size=16)
    texts = [
        "a red house",
        "a (red:1.4) house (at night:0.5)",
        "a (embedding:three:1.2) by the lake",
        "(an old castle:1.3) in the forest, embedding:one, ((dark sky)), a dragon at dawn",
    ]
    special = {"start": end - 1, "end": end, "pad": end}

    def encode(dtype, skip, norm):
        whole = copy.deepcopy(model).to(dtype)
        table = whole.text_model.embeddings.token_embedding
        table.weight.data = torch.cat([table.weight.data, vectors.to(dtype)])

        class Encoder(sd1_clip.ClipTokenWeightEncoder):
            special_tokens = special

            def encode(self, rows):
                ids = torch.tensor([[t if t >= 0 else len(vocab) - 1 - t for t in r] for r in rows])
                found = whole(input_ids=ids, output_hidden_states=True)
                x = found.hidden_states[-skip]
                return whole.text_model.final_layer_norm(x) if norm else x, found.text_embeds

        with torch.no_grad():
            return [Encoder().encode_token_weights(split(text)) for text in texts]

    tensors, meta = {"vectors": vectors}, {"texts": json.dumps(texts)}
    kept, torch.Tensor.float = torch.Tensor.float, torch.Tensor.double
    wide = {k: encode(torch.float64, *k) for k in [(1, True), (2, True), (2, False)]}
    torch.Tensor.float = kept
    for (skip, norm), results in wide.items():
        single = encode(torch.float32, skip, norm)
        for i, (want, got) in enumerate(zip(results, single)):
            for key, w, g in zip(("out", "pooled"), want, got):
                name = f"{key}{i}.skip{skip}{'.norm' if norm else ''}"
                tensors[name] = w
                meta[f"f32_error.{name}"] = f"{error_over_std(g, w):.3e}"
    meta["oracle"] = "ComfyUI ClipTokenWeightEncoder over transformers' CLIP"
    save(out, "prompt_encode.weights", weights, {"oracle": meta["oracle"]})
    save(out, "prompt_encode", tensors, meta)


# ---- layouts and sizes ---------------------------------------------------------------------


def layouts(out, taming):
    sys.path.insert(0, str(taming))
    stub("more_itertools", "more_itertools.recipes", "torchvision", "torchvision.transforms")
    stub("taming.data.image_transforms")
    from taming.data.conditional_builder import objects_bbox, objects_center_points
    from taming.data.helper_types import Annotation

    objects_center_points.random.shuffle = lambda _: None
    builders = {
        "layout_boxes": objects_bbox.ObjectsBoundingBoxConditionalBuilder,
        "layout_points": objects_center_points.ObjectsCenterPointsConditionalBuilder,
    }
    for name, builder in builders.items():
        made = builder(354, 30, 8192, True, True, True)
        plain = builder(354, 5, 1024, False, False, False)
        rng, tensors = random.Random(9), {}
        for case in range(24):
            count = [0, 1, 3, 8, 30, 33][case % 6]
            boxes = [box(rng) for _ in range(count)]
            kinds = [[rng.randrange(354)] + [rng.randrange(2) for _ in range(4)] for _ in boxes]
            crop = box(rng) if case % 2 else (0.0, 0.0, 1.0, 1.0)
            notes = [
                Annotation(
                    area=b[2] * b[3],
                    image_id="",
                    bbox=b,
                    category_no=k[0],
                    category_id="",
                    **dict(zip(FLAGS, map(bool, k[1:]))),
                )
                for b, k in zip(boxes, kinds)
            ]
            flip = case % 4 == 3
            tensors[f"boxes{case}"] = torch.tensor(boxes, dtype=torch.float64).reshape(-1, 4)
            tensors[f"classes{case}"] = torch.tensor(kinds, dtype=torch.int64).reshape(-1, 5)
            tensors[f"crop{case}"] = torch.tensor(crop, dtype=torch.float64)
            tensors[f"flip{case}"] = torch.tensor([int(flip)])
            tensors[f"tokens{case}"] = made.build(list(notes), crop, flip)
            tensors[f"plain{case}"] = plain.build(list(notes), crop, flip)
        save(out, name, tensors, {"oracle": f"taming-transformers {builder.__name__}"})


FLAGS = ("is_group_of", "is_occluded", "is_depiction", "is_inside")


def box(rng):
    """A box inside the picture; every other one on the middle between two sections."""
    if rng.random() < 0.5:
        x, y = (rng.randrange(60) + 0.5) / 89, (rng.randrange(60) + 0.5) / 89
        return (x, y, rng.randrange(1, 28) / 89, rng.randrange(1, 28) / 89)
    x, y = rng.random() * 0.9, rng.random() * 0.9
    return (x, y, (1 - x) * rng.random(), (1 - y) * rng.random())


def size_vectors(out):
    from diffusers.models.embeddings import get_timestep_embedding

    numbers = [[1024, 1024, 0, 0, 1024, 1024], [768, 1344, 16, 250, 832, 1216]]
    numbers = torch.tensor([*numbers, [64, 4096, 0, 1, 6, 2.5]])

    def rows(x):
        return get_timestep_embedding(x.flatten(), 256, True, 0).reshape(len(x), -1)

    single = rows(numbers)
    with networks.double_precision(*networks.WIDENED):
        kept, torch.Tensor.float = torch.Tensor.float, torch.Tensor.double
        wide = rows(numbers.double())
        torch.Tensor.float = kept
    meta = {"f32_error.out": f"{error_over_std(single, wide):.3e}", "oracle": "diffusers"}
    save(out, "size_vectors", {"numbers": numbers.double(), "out": wide}, meta)


def main(out, open_clip, comfyui, taming):
    transformers.logging.set_verbosity_error()
    clip_hf(out, "clip_hf", 200)
    clip_flat(out, "clip_flat", 210)
    clip_open(out, "clip_open", 220, open_clip)
    clip_sizes(out)
    clip_tokens(out, open_clip)
    clip_small(out, open_clip)
    bert_small(out)
    sd1_clip = use_comfyui(comfyui)
    comfy_prompts(out, open_clip, sd1_clip)
    prompt_encode(out, open_clip, sd1_clip, 230)
    size_vectors(out)
    layouts(out, taming)


if __name__ == "__main__":
    main(*sys.argv[1:])
