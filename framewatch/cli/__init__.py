"""The command line: each verb parses its arguments and calls one function of the pipeline."""
