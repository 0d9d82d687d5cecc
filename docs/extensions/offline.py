"""Refuse a site that would load anything from the network."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

#: Where a browser loads something by itself; an `<a href>` waits for a click.
LOADING = {
    ('audio', 'src'),
    ('iframe', 'src'),
    ('img', 'src'),
    ('img', 'srcset'),
    ('link', 'href'),
    ('object', 'data'),
    ('script', 'src'),
    ('source', 'src'),
    ('source', 'srcset'),
    ('video', 'src'),
}
REMOTE = re.compile(r'(https?:)?//')
REMOTE_IN_STYLES = re.compile(r'(?:url\(|@import)\s*["\']?((?:https?:)?//[^)"\';]+)')


class Loads(HTMLParser):
    """Collect what a page loads from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.remote: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if (tag, name) in LOADING and REMOTE.match(value or ''):
                self.remote.append(str(value))
            if name == 'style':
                self.remote += REMOTE_IN_STYLES.findall(value or '')


def remote_resources(site: Path) -> dict[str, list[str]]:
    """What each page or style sheet of a built site loads from the network."""
    remote = {}
    for path in sorted(site.rglob('*')):
        if path.suffix == '.html':
            parser = Loads()
            parser.feed(path.read_text(encoding='utf-8'))
            loads = parser.remote
        elif path.suffix == '.css':
            loads = REMOTE_IN_STYLES.findall(path.read_text(encoding='utf-8'))
        else:
            continue
        if loads:
            remote[str(path.relative_to(site))] = loads
    return remote


def on_post_build(config: Any) -> None:
    from mkdocs.exceptions import PluginError  # the rest is tested where MkDocs is not installed

    if remote := remote_resources(Path(config.site_dir)):
        listed = '\n'.join(f'  {page}: {", ".join(urls)}' for page, urls in remote.items())
        raise PluginError(
            f'The site must work without a network, but its pages load\n{listed}\n'
            'Remedy: keep a copy of these files in docs/, or do without them.'
        )
