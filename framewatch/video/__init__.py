"""Reads video files: probes, samples and decodes them. Does not import Spark."""
