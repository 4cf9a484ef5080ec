"""The review page: a queue of moments, a player, verdicts, and active learning. Does not import Spark."""
