"""What the demo prints is readable on a terminal and in a log, and foreign text cannot steer a terminal."""

import io
from datetime import UTC, datetime

from rich.console import Console

from demo.display import QUERIES, Progress, show_message, show_where
from demo.telex_channel import Message

AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
URLS = {"Prometheus": "http://127.0.0.1:9090", "Telex channel": "http://127.0.0.1:8080"}


def console(*, terminal: bool) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=100, color_system=None)


def printed(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def message(text: str) -> Message:
    return Message(1, AT, "AWS daily spend above threshold", text, "error", "AWS Spend Exporter")


def test_a_message_in_a_log_is_plain_lines() -> None:
    log = console(terminal=False)
    show_message(log, message("FIRING: [bold]prod[/bold] spent\nmore than its threshold"))
    assert printed(log) == (
        "Telex, 12:00:00 UTC: AWS daily spend above threshold [error]\n"
        "  FIRING: [bold]prod[/bold] spent\n"
        "  more than its threshold\n"
    )


def test_control_characters_of_a_message_do_not_reach_the_terminal() -> None:
    for terminal in (True, False):
        screen = console(terminal=terminal)
        show_message(screen, message("a\x1b[2Jb\x07c\u202ed\x9be"))
        assert not set("\x1b\x07\u202e\x9b") & set(printed(screen))


def test_progress_in_a_log_is_one_line_for_each_server_that_is_ready() -> None:
    log, now = console(terminal=False), iter([1.0, 2.25])
    with Progress(log, clock=lambda: next(now)) as progress:
        progress.starting("simulator")
        progress.ready("simulator", "http://127.0.0.1:1")
    assert printed(log) == "simulator ready in 1.2 s (http://127.0.0.1:1)\n"


def test_a_log_says_now_and_then_how_far_a_part_is() -> None:
    log, now = console(terminal=False), iter([0.0, 1.0, 14.0, 16.0, 20.0, 32.0])
    with Progress(log, clock=lambda: next(now)) as progress:
        progress.starting("exporter")
        for count in (5, 4, 3, 2, 1):
            progress.reading("exporter", f"{count} units to read")
    assert printed(log) == "exporter, after 16 s: 3 units to read\nexporter, after 32 s: 1 units to read\n"


def test_what_is_left_out_is_one_line_that_cannot_steer_a_terminal() -> None:
    log = console(terminal=False)
    with Progress(log) as progress:
        progress.left_out("grafana", "it says\x1b[2J no")
    assert printed(log) == "The demo goes on without grafana: it says[2J no\n"


def test_progress_on_a_terminal_leaves_the_screen_as_it_was() -> None:
    screen = console(terminal=True)
    with Progress(screen) as progress:
        progress.starting("simulator")
        progress.ready("simulator")
    assert "simulator" in printed(screen)
    assert printed(screen).endswith("\x1b[2K")


def test_urls_and_queries_are_shown_whole() -> None:
    log = console(terminal=False)
    show_where(log, URLS)
    for text in (*URLS.values(), *(promql for _, promql in QUERIES)):
        assert text in printed(log)
