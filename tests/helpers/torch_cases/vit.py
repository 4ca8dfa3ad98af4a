"""Vision Transformers of timm and torchvision; see `torch_reference`.

Cases named ``….shallow`` are the same networks with two narrow blocks: every form in seconds.
"""

from collections.abc import Callable
from typing import Any

from helpers.torch_reference import TorchCase

SHALLOW = {"embed_dim": 128, "depth": 2, "num_heads": 2}


def _timm(name: str, **options: Any) -> Callable[[], Any]:
    def build() -> Any:
        import timm

        return timm.create_model(name, dynamic_img_size=True, **options)

    return build


def _torchvision(name: str) -> Callable[[], Any]:
    def build() -> Any:
        import torchvision

        return getattr(torchvision.models, name)(weights=None)

    return build


def _shallow_torchvision() -> Any:
    import torchvision

    return torchvision.models.VisionTransformer(
        image_size=64, patch_size=16, num_layers=2, num_heads=2, hidden_dim=128, mlp_dim=512, num_classes=10
    )


STAGES = (r"pos_drop", r"norm_pre", r"blocks\.\d+", r"norm", r"attn_pool", r"head_drop", r"head")
INSIDE = (r"patch_embed\.proj", r"blocks\.\d+\.(attn|mlp)")
TORCHVISION = (
    r"conv_proj",
    r"encoder\.dropout",
    r"encoder\.layers\.encoder_layer_\d+(\.mlp)?",
    r"encoder\.ln",
    r"heads",
)

# The first size is the one of the weights (or near it), the second no square; both are whole numbers of patches.
CASES = (
    TorchCase(
        "vit_tiny_patch16_224.shallow",
        _timm("vit_tiny_patch16_224", num_classes=10, **SHALLOW),
        (*STAGES, *INSIDE),
        ((256, 240), (80, 112)),
    ),
    *(
        TorchCase(
            f"vit_small_patch14_{name}.shallow",
            _timm(f"vit_small_patch14_{name}", **SHALLOW),
            (*STAGES, *INSIDE),
            ((126, 70),),
        )
        for name in ("dinov2", "reg4_dinov2")
    ),
    TorchCase(
        "vit_base_patch32_clip_224.shallow",
        _timm("vit_base_patch32_clip_quickgelu_224", num_classes=10, **SHALLOW),
        (*STAGES, *INSIDE),
        ((224, 224), (288, 160)),
    ),
    TorchCase(
        "vit_base_patch16_siglip_224.shallow",
        _timm("vit_base_patch16_siglip_224", num_classes=0, **SHALLOW),
        (*STAGES, *INSIDE),
        ((80, 112),),
    ),
    TorchCase("vit_base_patch16_224.shallow_tv", _shallow_torchvision, TORCHVISION, ((64, 64),)),
    TorchCase(
        "vit_tiny_patch16_224.augreg_in21k_ft_in1k",
        _timm("vit_tiny_patch16_224"),
        (*STAGES, *INSIDE),
        ((224, 224), (144, 80)),
    ),
    *(
        TorchCase(f"{arch}.augreg_in21k_ft_in1k", _timm(arch), STAGES, sizes)
        for arch, sizes in (
            ("vit_small_patch16_224", ((224, 224), (80, 48))),
            ("vit_base_patch16_224", ((224, 224), (80, 48))),
            ("vit_base_patch32_224", ((224, 224), (160, 96))),
            ("vit_large_patch16_224", ((224, 224), (80, 48))),
        )
    ),
    *(
        TorchCase(f"vit_{size}_patch14_{name}.lvd142m", _timm(f"vit_{size}_patch14_{name}"), STAGES, sizes)
        for name in ("dinov2", "reg4_dinov2")
        for size, sizes in (
            ("small", ((518, 518), (98, 42))),
            ("base", ((98, 42),)),
            ("large", ((98, 42),)),
        )
    ),
    *(
        TorchCase(
            f"vit_{name}_clip_224.openai",
            _timm(f"vit_{name}_clip_quickgelu_224", num_classes=projection),
            STAGES,
            sizes,
        )
        for name, projection, sizes in (
            ("base_patch16", 512, ((224, 224), (80, 48))),
            ("base_patch32", 512, ((224, 224), (160, 96))),
            ("large_patch14", 768, ((224, 224), (98, 42))),
        )
    ),
    TorchCase(
        "vit_base_patch16_siglip_224.v2_webli",
        _timm("vit_base_patch16_siglip_224", num_classes=0),
        STAGES,
        ((224, 224), (80, 48)),
    ),
    *(
        TorchCase(f"{name}.tv_in1k", _torchvision(theirs), TORCHVISION, ((224, 224),))
        for name, theirs in (("vit_base_patch16_224", "vit_b_16"), ("vit_base_patch32_224", "vit_b_32"))
    ),
)
