"""The channel as a web page that reloads itself."""

import html

from demo.telex_channel import FIELDS, Message


def render_page(messages: list[Message], *, nonce: str) -> str:
    """The channel as a page, newest message first; it reloads itself when a message arrives."""
    if messages:
        items = "\n".join(_render_message(message) for message in reversed(messages))
    else:
        items = '<p class="empty">No message yet: spend is below its thresholds.</p>'
    last = messages[-1].id if messages else 0
    count = f"{len(messages)} message{'' if len(messages) == 1 else 's'}"
    return _PAGE.format(
        nonce=nonce, style=_STYLE, script=_SCRIPT.replace("LAST", str(last)), items=items, count=count
    )


def _render_message(message: Message) -> str:
    text = {field: html.escape(getattr(message, field)) for field in FIELDS}
    at = message.received_at
    return (
        f'<article class="{text["status"]}"><header><strong>{text["username"]}</strong>'
        f"<span>{text['event_name']}</span>"
        f'<time datetime="{at.isoformat()}">{at:%Y-%m-%d %H:%M:%S} UTC</time></header>'
        f"<p>{text['message']}</p></article>"
    )


_STYLE = """
:root { color-scheme: light dark; --line: #d9dce1; --soft: #667;
  --card: #fff; --page: #f4f5f7; --ink: #1c1e21 }
@media (prefers-color-scheme: dark) {
  :root { --line: #363a42; --soft: #9aa0aa; --card: #1f2228; --page: #16181c; --ink: #e6e8eb }
}
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.5 system-ui, sans-serif }
main { max-width: 46rem; margin: 0 auto; padding: 1.5rem 1rem }
h1 { font-size: 1.15rem; margin: 0 } h1 small { color: var(--soft); font-weight: normal; margin-left: .5rem }
article { background: var(--card); border: 1px solid var(--line); border-left: 4px solid #2e9e5b;
  border-radius: 6px; margin: .8rem 0; padding: .7rem 1rem }
article.error { border-left-color: #d64545 }
article header { display: flex; flex-wrap: wrap; gap: .2rem .8rem; color: var(--soft); font-size: .85rem }
article header strong { color: var(--ink) } article header time { margin-left: auto }
article p { margin: .3rem 0 0; white-space: pre-wrap; overflow-wrap: anywhere }
.empty { color: var(--soft) }
"""

_SCRIPT = """
(async function () {
  for (;;) {
    try {
      const answer = await fetch("/messages.json?after=LAST&wait=25");
      if (answer.ok && (await answer.json()).length) { location.reload(); return; }
    } catch (gone) {
      await new Promise(resolve => setTimeout(resolve, 2000));
    }
  }
})();
"""

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Telex channel (demo), {count}</title>
<noscript><meta http-equiv="refresh" content="3"></noscript>
<style nonce="{nonce}">{style}</style>
</head>
<body>
<main>
<h1>Telex channel <small>demo, {count}</small></h1>
{items}
</main>
<script nonce="{nonce}">{script}</script>
</body>
</html>
"""
