"""What Telex does with an integration: reads its description, keeps the user's settings, ticks."""

import copy
from collections.abc import Mapping
from typing import Any

from demo import http
from demo.errors import DemoError


class Installation:
    """One integration in one channel; every method raises DemoError where Telex would show an error."""

    def __init__(self, url: str, channel_id: str, return_url: str) -> None:
        """Installs what the description at `url` says; results come to `return_url`."""
        answer = http.get(url)
        try:
            data = answer["data"]
            self.name = str(data["descriptions"]["app_name"])
            self.tick_url = str(data["tick_url"])
            self._settings: list[dict[str, Any]] = copy.deepcopy(data["settings"])
            labels = [setting["label"] for setting in self._settings]
            kind = data["integration_type"]
        except (KeyError, TypeError) as error:
            raise DemoError(f"{url} does not describe an integration: {error!r} is missing") from error
        if kind != "interval" or len(set(labels)) != len(labels):
            raise DemoError(f"{url} does not describe an integration that is ticked")
        self._channel_id = channel_id
        self._return_url = return_url

    def set(self, values: Mapping[str, Any]) -> None:
        """What a user enters into the form: a value of any type for each label."""
        known = {setting["label"]: setting for setting in self._settings}
        if unknown := sorted(set(values) - set(known)):
            raise DemoError(f"{self.name} has no setting {unknown[0]}; it has {', '.join(known)}")
        for label, value in values.items():
            options = known[label].get("options")
            if options and value not in options:
                raise DemoError(f"{label} is one of {', '.join(options)}")
            known[label]["default"] = value

    def tick(self) -> Any:
        """One tick, as at each time of the interval; the integration's answer."""
        body = {
            "channel_id": self._channel_id,
            "return_url": self._return_url,
            "settings": copy.deepcopy(self._settings),
        }
        return http.post(self.tick_url, body)
