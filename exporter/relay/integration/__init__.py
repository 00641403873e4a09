"""The Telex integration: `GET /integration`, `GET /integration.json` and `POST /tick`."""
