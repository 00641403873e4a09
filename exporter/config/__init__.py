"""config.yaml and environment: model, reading, explanations, schema."""
