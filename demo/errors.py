"""What ends a demo."""


class DemoError(Exception):
    """Something went wrong; the text is shown to the user as it is."""


class NotInTimeError(DemoError):
    """What was waited for did not come."""


class Stopped(Exception):  # noqa: N818 - the user asked for it, it is no error
    """The demo was asked to stop while it waited for something."""
