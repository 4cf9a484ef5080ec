"""The ImageNet weights published by Keras, and the names of the 1,000 classes.

File names and digests (MD5, or SHA-256 for the longer ones) are those with which `keras.applications` checks
its downloads; it has none for MobileNetV2. For InceptionV3, Keras has only an MD5, so the SHA-256 of its two
files are pinned here, as stated by independent projects that download the same files.
"""

import functools
import importlib.resources
from dataclasses import dataclass

_KERAS_FILES = "https://storage.googleapis.com/tensorflow/keras-applications"
_KERNELS = "weights_tf_dim_ordering_tf_kernels"
NUM_CLASSES = 1000


@dataclass(frozen=True)
class WeightsFile:
    """A file to download.

    Attributes:
        url: address of the file.
        digest: MD5 or SHA-256 published by Keras; None without one.
        sha256: required SHA-256 of the file; None to pin the digest of its first use.
    """

    url: str
    digest: str | None
    sha256: str | None = None


_NO_TOP = {
    "InceptionV3": (f"inception_v3/inception_v3_{_KERNELS}_notop.h5", "bcbd6486424b2319ff4ef7d526e38f63"),
    "Xception": (f"xception/xception_{_KERNELS}_notop.h5", "b0042744bf5b25fce3cb969f33bebb97"),
    "ResNet50": (f"resnet/resnet50_{_KERNELS}_notop.h5", "4d473c1dd8becc155b73f8504c6f6626"),
    "VGG16": (f"vgg16/vgg16_{_KERNELS}_notop.h5", "6d6bbae143d832006294945121d1f1fc"),
    "VGG19": (f"vgg19/vgg19_{_KERNELS}_notop.h5", "253f8cb515780f3b799900260a226db6"),
    "DenseNet121": (f"densenet/densenet121_{_KERNELS}_notop.h5", "30ee3e1110167f948a6b9946edeeb738"),
    "MobileNetV2": (f"mobilenet_v2/mobilenet_v2_{_KERNELS}_1.0_224_no_top.h5", None),
    "MobileNetV3Small": (
        "mobilenet_v3/weights_mobilenet_v3_small_224_1.0_float_no_top_v2.h5",
        "d3e8ec802a04aa4fc771ee12a9a9b836",
    ),
    "MobileNetV3Large": (
        "mobilenet_v3/weights_mobilenet_v3_large_224_1.0_float_no_top_v2.h5",
        "07fb09a5933dd0c8eaafa16978110389",
    ),
    "EfficientNetV2B0": ("efficientnet_v2/efficientnetv2-b0_notop.h5", "893217f2bb855e2983157299931e43ff"),
    "EfficientNetV2S": ("efficientnet_v2/efficientnetv2-s_notop.h5", "af0682fb74e8c54910f2d4393339c070"),
    "ConvNeXtTiny": (
        "convnext/convnext_tiny_notop.h5",
        "d547c096cabd03329d7be5562c5e14798aa39ed24b474157cef5e85ab9e49ef1",
    ),
    "ConvNeXtBase": (
        "convnext/convnext_base_notop.h5",
        "40a20c5548a5e9202f69735ecc06c990e6b7c9d2de39f0361e27baeb24cb7c45",
    ),
}

_TOP = {
    "InceptionV3": (f"inception_v3/inception_v3_{_KERNELS}.h5", "9a0d58056eeedaa3f26cb7ebd46da564"),
    "Xception": (f"xception/xception_{_KERNELS}.h5", "0a58e3b7378bc2990ea3b43d5981f1f6"),
    "ResNet50": (f"resnet/resnet50_{_KERNELS}.h5", "2cb95161c43110f7111970584f804107"),
    "VGG16": (f"vgg16/vgg16_{_KERNELS}.h5", "64373286793e3c8b2b4e3219cbf3544b"),
    "VGG19": (f"vgg19/vgg19_{_KERNELS}.h5", "cbe5617147190e668d6c5d5026f83318"),
    "DenseNet121": (f"densenet/densenet121_{_KERNELS}.h5", "9d60b8095a5708f2dcce2bca79d332c7"),
    "MobileNetV2": (f"mobilenet_v2/mobilenet_v2_{_KERNELS}_1.0_224.h5", None),
    "MobileNetV3Small": (
        "mobilenet_v3/weights_mobilenet_v3_small_224_1.0_float.h5",
        "8768d4c2e7dee89b9d02b2d03d65d862",
    ),
    "MobileNetV3Large": (
        "mobilenet_v3/weights_mobilenet_v3_large_224_1.0_float.h5",
        "59e551e166be033d707958cf9e29a6a7",
    ),
    "EfficientNetV2B0": ("efficientnet_v2/efficientnetv2-b0.h5", "21ecbf6da12460d5c40bb2f29ceb2188"),
    "EfficientNetV2S": ("efficientnet_v2/efficientnetv2-s.h5", "e1d88a8495beba45748fedd0cecbe016"),
    "ConvNeXtTiny": (
        "convnext/convnext_tiny.h5",
        "8ae6e78ce2933352b1ef4008e6dd2f17bc40771563877d156bc6426c7cf503ff",
    ),
    "ConvNeXtBase": (
        "convnext/convnext_base.h5",
        "52cbb006d3dadd03f6e095a8ca1aca47aecdd75acb4bc74bce1f5c695d0086e6",
    ),
}


# Both are in gomlx/gomlx, examples/inceptionv3; the first also in NewKnowledge's D3M primitive "gator", the
# second in USC ISI's "dsbox-featurizer-image".
_SHA256 = {
    f"inception_v3_{_KERNELS}_notop.h5": "9617109a16463f250180008f9818336b767bdf5164315e8cd5761a8c34caa62a",
    f"inception_v3_{_KERNELS}.h5": "00c9ea4e4762f716ac4d300d6d9c2935639cc5e4d139b5790d765dcbeea539d0",
}


def weights_file(model_name: str, *, classes: bool) -> WeightsFile:
    """Returns Keras' file for a registered model, with or without its classification top."""
    path, digest = (_TOP if classes else _NO_TOP)[model_name]
    return WeightsFile(f"{_KERAS_FILES}/{path}", digest, _SHA256.get(path.rpartition("/")[2]))


@functools.lru_cache(maxsize=1)
def class_names() -> tuple[tuple[str, str], ...]:
    """Returns WordNet id and English name of each of the 1,000 classes, in the order of the outputs."""
    text = importlib.resources.files("framewatch.models").joinpath("imagenet_classes.csv").read_text("utf-8")
    rows = [line.split(",", 1) for line in text.splitlines()[1:]]
    return tuple((wnid, name) for wnid, name in rows)
