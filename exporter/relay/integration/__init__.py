"""What a chat platform can install: `GET /integration`, `GET /integration.json` and `POST /tick`."""
