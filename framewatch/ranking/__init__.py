"""Labels, the classifier, its evaluation, and the ranking of frames and incidents."""
