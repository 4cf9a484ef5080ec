"""Moments in Milvus: what is indexed, how it is found again, and what a search makes of it."""
