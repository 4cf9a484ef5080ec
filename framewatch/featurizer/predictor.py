"""`DeepImagePredictor`: converts pictures to probabilities of the ImageNet classes."""

from typing import Self

from pyspark import keyword_only
from pyspark.ml.functions import array_to_vector
from pyspark.ml.param import TypeConverters
from pyspark.sql import Column
from pyspark.sql import functions as F

from framewatch.featurizer.base import DeepImageTransformer, log
from framewatch.featurizer.params import at_least, param
from framewatch.io.images import MAX_PIXELS
from framewatch.models import imagenet
from framewatch.models.resolve import OnMessage, resolve_classifying_network
from framewatch.models.spec import Network


class DeepImagePredictor(DeepImageTransformer):
    """Predicts the ImageNet classes of pictures.

    Without `decodePredictions` the output column contains an MLlib vector of 1,000 probabilities; with it,
    the `topK` most probable classes as an array of structs `class` (WordNet id), `description`,
    `probability`, in descending order. A picture that is null, damaged or too large gives null.

    Args:
        inputCol: the column of pictures, as for `DeepImageFeaturizer`.
        outputCol: the column to add.
        modelName: a registered name.
        decodePredictions: whether to return the names of the most probable classes.
        topK: the number of classes to return.
        weights: `imagenet`, or the path of a weights file with the classification top.
        maxPixels: larger pictures are not decoded.
        errorCol: the column to add for the reason of a null output, as for `DeepImageFeaturizer`.
    """

    decodePredictions = param(
        "decodePredictions", "whether to return the names of the classes", TypeConverters.toBoolean
    )
    topK = param("topK", "the number of classes to return", at_least(1))

    @keyword_only
    def __init__(
        self,
        *,
        inputCol: str | None = None,
        outputCol: str | None = None,
        modelName: str | None = None,
        decodePredictions: bool = False,
        topK: int = 5,
        scaleHint: str = "SCALE_AREA_AVERAGING",
        weights: str = "imagenet",
        engine: str = "auto",
        precision: str = "auto",
        batchSize: int = 32,
        maxPixels: int = MAX_PIXELS,
        errorCol: str | None = None,
    ) -> None:
        super().__init__()
        self._setDefault(decodePredictions=False, topK=5)
        self.setParams(**self._input_kwargs)  # type: ignore[attr-defined]  # set by keyword_only

    def setDecodePredictions(self, value: bool) -> Self:
        """Sets whether to return the names of the most probable classes."""
        return self._set(decodePredictions=value)

    def getDecodePredictions(self) -> bool:
        """Returns whether the names of the most probable classes are returned."""
        return self.getOrDefault(self.decodePredictions)

    def setTopK(self, value: int) -> Self:
        """Sets the number of classes to return."""
        return self._set(topK=value)

    def getTopK(self) -> int:
        """Returns the number of classes to return."""
        return self.getOrDefault(self.topK)

    def network(self, *, on_message: OnMessage = log.info) -> Network:
        """Resolves the network with its classification top, and finds or downloads its weights.

        Raises:
            WeightsError: the weights are not found.
        """
        return resolve_classifying_network(
            self.getModelName(), self.getWeights(), sha256=self.getWeightsSha256(), on_message=on_message
        )

    def output(self, numbers: Column) -> Column:
        """Returns an MLlib vector, or the most probable classes."""
        return (
            _top_classes(numbers, self.getTopK()) if self.getDecodePredictions() else array_to_vector(numbers)
        )


def _top_classes(scores: Column, top_k: int) -> Column:
    names = F.array(*[F.array(F.lit(wnid), F.lit(name)) for wnid, name in imagenet.class_names()])
    pairs = F.transform(scores, lambda p, n: F.struct(p.alias("probability"), (-n).alias("n")))
    return F.transform(
        F.slice(F.sort_array(pairs, asc=False), 1, top_k),
        lambda pair: F.struct(
            F.get(F.get(names, -pair["n"]), F.lit(0)).alias("class"),
            F.get(F.get(names, -pair["n"]), F.lit(1)).alias("description"),
            pair["probability"].alias("probability"),
        ),
    )
