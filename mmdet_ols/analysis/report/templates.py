"""The templates of this project's HTML pages, which share a style sheet and parts."""

from __future__ import annotations

from typing import Any

#: Where the style sheet and the shared parts lie.
SHARED = 'mmdet_ols.analysis.report'


def page_template(name: str, package: str = SHARED) -> Any:
    """The template of a page, which may include what the pages share.

    Args:
        name: Its file.
        package: The package that the file lies in.

    Raises:
        ImportError: Jinja is missing.
    """
    try:
        from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
    except ImportError as error:
        raise ImportError("The page needs Jinja: pip install 'mmdet_ols[plot]'.") from error
    loaders = [PackageLoader(home, '.') for home in dict.fromkeys((package, SHARED))]
    environment = Environment(
        loader=ChoiceLoader(loaders),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)
