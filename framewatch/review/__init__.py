"""The review page: a queue of moments, a player, verdicts, and a ranking that learns from them. No Spark."""
