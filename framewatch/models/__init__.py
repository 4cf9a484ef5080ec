"""Networks: registry, weights, engines, conversion, CLIP, and the encoder. Does not import Spark."""
