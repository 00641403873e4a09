"""Writes lines of CUR 2.0 as AWS does: Parquet with its column names and types, or gzipped CSV."""
