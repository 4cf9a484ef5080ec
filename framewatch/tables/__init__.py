"""The tables of an output: schemas, which rows count, readers and writers for Spark and for Arrow, views."""
