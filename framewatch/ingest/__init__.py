"""Ingestion: list video files, track new arrivals, and extract frames."""
