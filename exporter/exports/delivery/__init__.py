"""What AWS has delivered: where an export lies, its manifests, and its objects."""
