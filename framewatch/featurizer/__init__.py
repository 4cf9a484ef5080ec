"""Deep features in Spark ML: `DeepImageFeaturizer`, its parameters, persistence and workers."""
