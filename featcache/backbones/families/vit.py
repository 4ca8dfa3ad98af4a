"""Vision Transformers: AugReg, torchvision, DINO, DINOv2, and the image towers of CLIP and SigLIP.

Dosovitskiy et al., "An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale",
https://arxiv.org/abs/2010.11929; the weights are of https://arxiv.org/abs/2106.10270 (AugReg),
https://arxiv.org/abs/2104.14294 (DINO), https://arxiv.org/abs/2304.07193 (DINOv2),
https://arxiv.org/abs/2309.16588 (its registers), https://arxiv.org/abs/2103.00020 (CLIP),
https://arxiv.org/abs/2303.15343 and https://arxiv.org/abs/2502.14786 (SigLIP and SigLIP 2).

Stage names are timm's: ``blocks.0`` … ``blocks.11``, ``norm``. ``patch_embed`` is the whole input of the blocks:
patches behind the class token (and registers), positions added; the patches alone are its point
``patch_embed_proj``. Values are tokens ``[B, N, D]``, class token first, up to ``pool`` (``[B, D]``): the
normalised class token, or in SigLIP, which has none, its attention pooling. CLIP ends in ``projection``, the
vector that it compares with texts; DINO, DINOv2 and SigLIP in ``pool``.

Images may have any size that is a whole number of patches. Position embeddings are interpolated as timm does it
(``dynamic_img_size``), which for DINOv2 is not quite what the authors' own code does.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from flax import nnx

from featcache.backbones.chain import Backbone
from featcache.backbones.families.presets import hub_file, timm_preset, torchvision_file, torchvision_preset
from featcache.backbones.family import Family, Pretrained
from featcache.backbones.nn.attention import AttentionPool, TransformerBlock, quick_gelu
from featcache.backbones.nn.basic import Dense, LayerNorm, gelu
from featcache.backbones.nn.tokens import Embedding, FirstToken
from featcache.backbones.weights.key_mapping import KeyTable, torch_leaf

ACTIVATIONS = {"gelu": gelu, "quick_gelu": quick_gelu}


@dataclass(frozen=True)
class Config:
    """What differs between the variants and their sources.

    Parameters
    ----------
    width, depth
        Numbers in a token, and blocks.
    patch
        Side of a patch, in pixels.
    grid
        Rows, and columns, of patches that the stored position embeddings are for.
    epsilon
        Of the layer normalisations: 1e-5 in CLIP, 1e-6 elsewhere.
    activation
        Of the MLPs: one of `ACTIVATIONS`.
    layer_scale
        Whether what a block adds is scaled by learnt factors (DINOv2).
    registers
        Tokens that are there for the network's own use, behind the class token (DINOv2).
    pre_norm
        Whether tokens are normalised before the first block, instead of a bias of the patches (CLIP).
    pooling
        What ``pool`` is: the class ``"token"``, or attention over the patches (``"map"``), without such a token.
    projection
        Width of CLIP's common space with texts; 0 for none.
    classes
        Outputs of the original classifier; 0 for none.
    """

    width: int
    depth: int
    patch: int = 16
    grid: int = 14
    epsilon: float = 1e-6
    activation: str = "gelu"
    layer_scale: bool = False
    registers: int = 0
    pre_norm: bool = False
    pooling: Literal["token", "map"] = "token"
    projection: int = 0
    classes: int = 1000


def build(config: Config, rngs: nnx.Rngs | None) -> Backbone:
    """Build the chain: ``patch_embed``, ``norm_pre`` (CLIP), ``blocks.0`` …, ``norm``, ``pool``, then the head."""
    activation = ACTIVATIONS[config.activation]
    width, epsilon = config.width, config.epsilon
    tokens = config.pooling == "token"
    stages: dict[str, nnx.Module] = {
        "patch_embed": Embedding(
            width,
            patch=config.patch,
            grid=config.grid,
            patch_bias=not config.pre_norm,
            class_token=tokens,
            registers=config.registers,
            rngs=rngs,
        )
    }
    if config.pre_norm:
        stages["norm_pre"] = LayerNorm(width, epsilon=epsilon)
    for block in range(config.depth):
        stages[f"blocks.{block}"] = TransformerBlock(
            width, epsilon=epsilon, activation=activation, layer_scale=config.layer_scale, rngs=rngs
        )
    stages["norm"] = LayerNorm(width, epsilon=epsilon)
    stages["pool"] = (
        FirstToken() if tokens else AttentionPool(width, epsilon=epsilon, activation=activation, rngs=rngs)
    )
    if config.projection:
        stages["projection"] = Dense(width, config.projection, rngs=rngs)  # timm's files have a bias of zeros
    if config.classes:
        stages["logits"] = Dense(width, config.classes, rngs=rngs)
    return Backbone(stages, _aliases(config, list(stages)[-1]), prefix_tokens=int(tokens) + config.registers)


def _aliases(config: Config, last: str) -> dict[str, str]:
    """Module paths of timm and torchvision."""
    layer = "encoder.layers.encoder_layer_"
    return {
        "patch_embed.proj": "patch_embed_proj",
        "conv_proj": "patch_embed_proj",
        "pos_drop": "patch_embed",
        "encoder.dropout": "patch_embed",
        **{
            f"blocks.{n}.{part}": f"blocks.{n}_{part}"
            for n in range(config.depth)
            for part in ("attn", "mlp")
        },
        **{f"{layer}{n}": f"blocks.{n}" for n in range(config.depth)},
        **{f"{layer}{n}.mlp": f"blocks.{n}_mlp" for n in range(config.depth)},
        "encoder.ln": "norm",
        "attn_pool": "pool",
        "fc_norm": "pool",
        "head_drop": "pool",
        "head": last,
        "heads": last,
        "heads.head": last,
    }


_LEAVES = {
    "gamma": "scale",
    "cls_token": "class_token",
    "reg_token": "registers",
    "pos_embed": "positions",
    "pos_embedding": "positions",
}


def _leaf(name: str, tensor: np.ndarray) -> tuple[str, np.ndarray]:
    """`torch_leaf`, and the tokens, positions, scales and fused attention weights of these files."""
    # torch.nn.MultiheadAttention's "in_proj_weight" has its module's path, but is a module of its own here.
    name, tensor = torch_leaf(name.removeprefix("in_proj_"), tensor)
    return _LEAVES.get(name, name), tensor


def _timm(config: Config) -> KeyTable:
    """Names of ``timm.models.vision_transformer``, which are ours but for the heads; and of facebook's DINOv2."""
    return KeyTable(
        modules=(
            ("", "patch_embed"),  # class token, registers and positions are the network's own
            (r"(patch_embed\.proj|norm|norm_pre|blocks\..+)", "{0}"),
            (r"attn_pool(|\..+)", "pool{0}"),
            ("head", "projection" if config.projection else "logits"),
        ),
        leaf=_leaf,
        # DINOv2's own files keep the token that stood for hidden patches in training.
        ignore=("mask_token",),
    )


def _torchvision(config: Config) -> KeyTable:
    """Names of ``torchvision.models.vit_b_16``.

    The published files are older than torchvision's present MLP, whose ``mlp.0`` was called ``mlp.linear_1``.
    """
    del config
    layer = r"encoder\.layers\.encoder_layer_(\d+)"
    return KeyTable(
        modules=(
            ("|encoder", "patch_embed"),
            ("conv_proj", "patch_embed.proj"),
            (layer + r"\.ln_([12])", "blocks.{0}.norm{1}"),
            (layer + r"\.self_attention", "blocks.{0}.attn.qkv"),
            (layer + r"\.self_attention\.out_proj", "blocks.{0}.attn.proj"),
            (layer + r"\.mlp\.(?:0|linear_1)", "blocks.{0}.mlp.fc1"),
            (layer + r"\.mlp\.(?:3|linear_2)", "blocks.{0}.mlp.fc2"),
            (r"encoder\.ln", "norm"),
            (r"heads\.head", "logits"),
        ),
        leaf=_leaf,
    )


# Table 1 of the paper and Table 2 of AugReg's: width and depth.
TINY, SMALL, BASE, LARGE = (192, 12), (384, 12), (768, 12), (1024, 24)

_HALF = (0.5, 0.5, 0.5)
_CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
_CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def _clip(size: tuple[int, int], patch: int, projection: int) -> Config:
    return Config(
        *size,
        patch=patch,
        grid=224 // patch,
        epsilon=1e-5,
        activation="quick_gelu",
        pre_norm=True,
        projection=projection,
        classes=0,
    )


def _dinov2(size: tuple[int, int], registers: int = 0) -> Config:
    return Config(*size, patch=14, grid=37, layer_scale=True, registers=registers, classes=0)


_SOURCES = {
    "augreg2_in21k_ft_in1k": "timm, AugReg fine-tuned anew",
    "augreg_in21k_ft_in1k": "timm, AugReg",
    "dino": "timm, DINO",
    "lvd142m": "timm, DINOv2",
    # timm's own network of this name has the exact GELU; OpenAI's numbers need the one of training.
    "openai": "timm, CLIP of OpenAI",
    "v2_webli": "timm, SigLIP 2",
    "webli": "timm, SigLIP",
    "tv_in1k": "torchvision IMAGENET1K_V1",
}

# By tag, and by name where one size departs from the others.
_HALVES = timm_preset(224, 0.9, mean=_HALF, std=_HALF)
_TRANSFORMS = {
    "augreg2_in21k_ft_in1k": _HALVES,
    "augreg_in21k_ft_in1k": _HALVES,
    "dino": timm_preset(224, 0.9),
    "lvd142m": timm_preset(518, 1.0),
    "openai": timm_preset(224, 0.9, mean=_CLIP_MEAN, std=_CLIP_STD),
    "vit_large_patch14_clip_224.openai": timm_preset(224, 1.0, mean=_CLIP_MEAN, std=_CLIP_STD),
    "v2_webli": _HALVES,
    "webli": _HALVES,
    "tv_in1k": torchvision_preset(),
    "vit_large_patch16_224.tv_in1k": torchvision_preset(resized=242),
}


_SIGLIP = Config(*BASE, pooling="map", classes=0)

# Parameters and multiply-accumulates.
_NUMBERS = {
    Config(*TINY): (5_717_416, 1_253_683_200),
    Config(*SMALL): (22_050_664, 4_598_882_304),
    Config(*BASE): (86_567_656, 17_563_828_224),
    Config(*LARGE): (304_326_632, 61_554_712_576),
    Config(*BASE, 32, 7): (88_224_232, 4_409_186_304),
    Config(*SMALL, classes=0): (21_665_664, 4_598_498_304),
    Config(*BASE, classes=0): (85_798_656, 17_563_060_224),
    _dinov2(SMALL): (22_056_192, 46_696_739_328),
    _dinov2(BASE): (86_579_712, 151_573_718_016),
    _dinov2(LARGE): (304_367_616, 506_803_826_688),
    _dinov2(SMALL, 4): (22_057_344, 46_882_828_800),
    _dinov2(BASE, 4): (86_582_016, 152_115_766_272),
    _dinov2(LARGE, 4): (304_370_688, 508_551_278_592),
    _clip(BASE, 16, 512): (86_193_152, 17_563_453_440),
    _clip(BASE, 32, 512): (87_849_728, 4_408_811_520),
    _clip(LARGE, 14, 768): (303_966_976, 81_012_768_768),
    _SIGLIP: (92_884_224, 17_708_292_096),
}


def _pretrained(name: str, config: Config, top1: float | None = None, file: str = "") -> Pretrained:
    arch, tag = name.split(".")
    params, macs = _NUMBERS[config]
    return Pretrained(
        arch=arch,
        tag=tag,
        config=config,
        transforms=_TRANSFORMS.get(name) or _TRANSFORMS[tag],
        file=torchvision_file(file) if file else hub_file(name),
        layout="torchvision" if file else "timm",
        source=_SOURCES[tag],
        licence="BSD-3-Clause" if file else "Apache-2.0",
        features=config.width,
        params=params,
        macs=macs,
        top1=top1,
    )


# Accuracies of AugReg as timm's table of results gives them, rounded.
PRETRAINED = (
    _pretrained("vit_tiny_patch16_224.augreg_in21k_ft_in1k", Config(*TINY), 75.5),
    _pretrained("vit_small_patch16_224.augreg_in21k_ft_in1k", Config(*SMALL), 81.4),
    _pretrained("vit_small_patch16_224.dino", Config(*SMALL, classes=0)),
    _pretrained("vit_base_patch16_224.augreg2_in21k_ft_in1k", Config(*BASE), 85.1),
    _pretrained("vit_base_patch16_224.augreg_in21k_ft_in1k", Config(*BASE), 84.5),
    _pretrained("vit_base_patch16_224.dino", Config(*BASE, classes=0)),
    _pretrained("vit_base_patch16_224.tv_in1k", Config(*BASE), 81.1, "vit_b_16-c867db91.pth"),
    _pretrained("vit_base_patch32_224.augreg_in21k_ft_in1k", Config(*BASE, 32, 7), 80.7),
    _pretrained("vit_base_patch32_224.tv_in1k", Config(*BASE, 32, 7), 75.9, "vit_b_32-d86f8d99.pth"),
    _pretrained("vit_large_patch16_224.augreg_in21k_ft_in1k", Config(*LARGE), 85.8),
    _pretrained("vit_large_patch16_224.tv_in1k", Config(*LARGE), 79.7, "vit_l_16-852ce7e3.pth"),
    _pretrained("vit_small_patch14_dinov2.lvd142m", _dinov2(SMALL)),
    _pretrained("vit_base_patch14_dinov2.lvd142m", _dinov2(BASE)),
    _pretrained("vit_large_patch14_dinov2.lvd142m", _dinov2(LARGE)),
    _pretrained("vit_small_patch14_reg4_dinov2.lvd142m", _dinov2(SMALL, 4)),
    _pretrained("vit_base_patch14_reg4_dinov2.lvd142m", _dinov2(BASE, 4)),
    _pretrained("vit_large_patch14_reg4_dinov2.lvd142m", _dinov2(LARGE, 4)),
    _pretrained("vit_base_patch16_clip_224.openai", _clip(BASE, 16, 512)),
    _pretrained("vit_base_patch32_clip_224.openai", _clip(BASE, 32, 512)),
    _pretrained("vit_large_patch14_clip_224.openai", _clip(LARGE, 14, 768)),
    _pretrained("vit_base_patch16_siglip_224.v2_webli", _SIGLIP),
    _pretrained("vit_base_patch16_siglip_224.webli", _SIGLIP),
)

_DINOV2 = ("small", "base", "large")

FAMILY = Family(
    name="vit",
    paper="https://arxiv.org/abs/2010.11929",
    revision=1,
    build=build,
    key_tables={"timm": _timm, "torchvision": _torchvision},
    pretrained=PRETRAINED,
    aliases={
        "vit_b_16": "vit_base_patch16_224",
        "vit_b_32": "vit_base_patch32_224",
        "vit_l_16": "vit_large_patch16_224",
        **{f"dinov2_vit{size[0]}14": f"vit_{size}_patch14_dinov2" for size in _DINOV2},
        **{f"dinov2_vit{size[0]}14_reg": f"vit_{size}_patch14_reg4_dinov2" for size in _DINOV2},
        **{
            f"vit_{size}_clip_quickgelu_224": f"vit_{size}_clip_224"
            for size in ("base_patch16", "base_patch32", "large_patch14")
        },
    },
)
