"""How we listen and how we ask over HTTP."""
