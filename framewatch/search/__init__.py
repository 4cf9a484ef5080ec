"""Similar moments: indexing in Milvus, queries, and hits; clusters and outliers of the footage."""
