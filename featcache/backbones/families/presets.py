"""How the frameworks publish weights: where their files are, and how they prepare images.

The transforms of a framework are written once here, with the size as the only free value; where a model departs
from its framework's rule, its family says so.
"""

from featcache.backbones.family import Download
from featcache.images.transforms import IMAGENET_MEAN, IMAGENET_STD, Transforms

_KERAS = "https://storage.googleapis.com/tensorflow/keras-applications/"
_TORCHVISION = "https://download.pytorch.org/models/"
_HUB = "https://huggingface.co/timm/"

_HALF = (0.5, 0.5, 0.5)


def keras_file(path: str, md5: str | None = None) -> Download:
    """Return a file of ``keras.applications``; Keras publishes an MD5 of most, and none of the MobileNets.

    Parameters
    ----------
    path
        Below Keras' folder, such as ``"vgg16/vgg16_weights_tf_dim_ordering_tf_kernels.h5"``, or a whole URL.
    md5
        As the source code of ``keras.applications`` gives it.
    """
    return Download(path if path.startswith("https://") else _KERAS + path, md5=md5)


def torchvision_file(name: str) -> Download:
    """Return a file of torchvision, whose name ends in the first eight digits of its sha256."""
    return Download(_TORCHVISION + name, sha256=name.removesuffix(".pth").rpartition("-")[2])


def hub_file(name: str, sha256: str | None = None) -> Download:
    """Return timm's file of ``arch.tag`` on the Hugging Face hub."""
    return Download(f"{_HUB}{name}/resolve/main/model.safetensors", sha256=sha256, name=f"{name}.safetensors")


def keras_caffe(size: int) -> Transforms:
    """``preprocess_input`` of mode "caffe": blue first, the mean of ImageNet taken off, no scaling."""
    mean = (123.68 / 255, 116.779 / 255, 103.939 / 255)
    return _squashed(size, mean, (1 / 255, 1 / 255, 1 / 255), channel_order="bgr")


def keras_tf(size: int) -> Transforms:
    """``preprocess_input`` of mode "tf": −1 to 1."""
    return _squashed(size, _HALF, _HALF)


def keras_torch(size: int) -> Transforms:
    """``preprocess_input`` of mode "torch": mean and standard deviation of ImageNet."""
    return _squashed(size, IMAGENET_MEAN, IMAGENET_STD)


def _squashed(
    size: int,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
    channel_order: str = "rgb",
) -> Transforms:
    # Keras' loaders resize to the input size whatever the aspect ratio, bilinearly in
    # image_dataset_from_directory. Pillow antialiases, which Keras does only when asked.
    return Transforms(
        input_size=(size, size),
        crop_mode="squash",
        interpolation="bilinear",
        mean=mean,
        std=std,
        channel_order=channel_order,
    )


def torchvision_preset(size: int = 224, resized: int = 256, interpolation: str = "bilinear") -> Transforms:
    """``ImageClassification(crop_size, resize_size)`` of torchvision.

    Parameters
    ----------
    size
        Side of the crop, in pixels.
    resized
        Short side before the crop, in pixels.
    interpolation
        ``"bilinear"`` unless the weights say otherwise.
    """
    return timm_preset(size, crop_pct_of(size, resized), interpolation)


def crop_pct_of(size: int, resized: int) -> float:
    """Return the fraction of which `size` pixels are a crop from `resized`, as timm writes it."""
    # The nearest short decimals whose quotient comes back to `resized` when rounded down.
    for digits in range(2, 17):
        crop_pct = round(size / resized, digits)
        if int(size / crop_pct) == resized:
            return crop_pct
    raise ValueError(f"no crop_pct gives {resized} from {size}")


def timm_preset(
    size: int,
    crop_pct: float = 0.875,
    interpolation: str = "bicubic",
    *,
    mean: tuple[float, float, float] = IMAGENET_MEAN,
    std: tuple[float, float, float] = IMAGENET_STD,
) -> Transforms:
    """Return the evaluation transforms of timm: resize the short side, crop the centre."""
    return Transforms(
        input_size=(size, size),
        crop_pct=crop_pct,
        crop_mode="center",
        interpolation=interpolation,
        mean=mean,
        std=std,
    )
