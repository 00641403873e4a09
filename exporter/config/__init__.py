"""config.yaml and environment: model, reading, explanations, schema."""

CONFIG_VARIABLE = "AWS_SPEND_EXPORTER_CONFIG"
"""Environment variable that names the configuration file. It stands here for commands that read none, as for `--help`."""
