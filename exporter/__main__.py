"""`python -m exporter` is `aws-spend-exporter`."""

from exporter.cli.main import main

main(prog_name="aws-spend-exporter")
