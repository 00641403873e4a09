"""The process: service, endpoints, pages, signals."""
