"""`python -m exporter` is `aws-spend-exporter`."""

from exporter.cli import main

main(prog_name="aws-spend-exporter")
