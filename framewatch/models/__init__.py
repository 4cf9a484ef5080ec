"""Networks, without Spark: the registry, weights, engines, conversion, CLIP, the encoder for pictures."""
