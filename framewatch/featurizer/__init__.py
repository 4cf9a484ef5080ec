"""Deep features: the transformer, its models, their weights, and the engines that run them."""
