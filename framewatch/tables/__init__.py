"""The tables of an output: schemas, the ledger's rules, readers and writers for Spark and Arrow, views."""
