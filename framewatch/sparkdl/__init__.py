"""The names of sparkdl 1.x, for old notebooks: `from framewatch.sparkdl import ...`."""

from typing import Any

from framewatch.featurizer import transformer
from framewatch.featurizer.predictor import DeepImagePredictor
from framewatch.models.registry import Pooling
from framewatch.sparkdl.image import imageIO
from framewatch.sparkdl.image.imageIO import (
    PIL_decode,
    PIL_decode_and_resize,
    createResizeImageUDF,
    filesToDF,
    imageArrayToStruct,
    imageStructToArray,
    imageStructToPIL,
    imageTypeByName,
    imageTypeByOrdinal,
    readImagesWithCustomFn,
)

__all__ = [
    "DeepImageFeaturizer",
    "DeepImagePredictor",
    "PIL_decode",
    "PIL_decode_and_resize",
    "createResizeImageUDF",
    "filesToDF",
    "imageArrayToStruct",
    "imageIO",
    "imageStructToArray",
    "imageStructToPIL",
    "imageTypeByName",
    "imageTypeByOrdinal",
    "readImagesWithCustomFn",
]


class DeepImageFeaturizer(transformer.DeepImageFeaturizer):
    """`framewatch.DeepImageFeaturizer` with the vectors of sparkdl 1.x: unpooled, flattened, and in float32.

    InceptionV3 gives 131072 numbers (8 x 8 x 2048, in the order height, width, channel), Xception 204800,
    VGG16 and VGG19 25088; ResNet50 gives 2048, pooled, as its old Keras model did. Set `pooling` or
    `precision` for shorter vectors or more speed.
    """

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        self._setDefault(precision="float32")

    def getPooling(self) -> Pooling:
        """How the last feature map becomes a vector: as sparkdl did, where it is not set."""
        if self.isSet(self.pooling):
            return super().getPooling()
        return "avg" if self.getModelName() == "ResNet50" else "none"
