"""Matplotlib figures as text and files, with the same bytes every time."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO, StringIO
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from markupsafe import Markup

from pagethrift.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK = "#0b0c0d"
"""colour of text and lines; on the page it becomes the text's colour, so that a dark page gets light ink"""
DARK_INK, PAPER, DARK_PAPER = "#e6edf3", "#ffffff", "#0d1117"
_STYLE = {
    "svg.hashsalt": "pagethrift",
    "svg.fonttype": "none",
    "text.parse_math": False,  # a mode named "$x" is not a formula
    "path.simplify": True,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.0,
    "hatch.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.alpha": 0.15,
    "legend.frameon": False,
    "legend.fontsize": 8.0,
    "figure.constrained_layout.use": True,
    **{
        f"{part}color": INK
        for part in ("text.", "axes.label", "axes.edge", "axes.title", "xtick.", "ytick.", "grid.", "hatch.")
    },
}
Draw = Callable[["Figure"], None]


@contextmanager
def _figure(draw: Draw, width_in: float, height_in: float) -> Iterator[Figure]:
    # imported here: a report as Markdown needs no matplotlib
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):  # type: ignore[arg-type]
        figure = Figure(figsize=(width_in, height_in))
        draw(figure)
        yield figure


def inline_svg(draw: Draw, size_in: tuple[float, float], name: str, title: str, description: str) -> Markup:
    """Return a drawing as an ``<svg>`` element for a page.

    ``name`` makes its ids unique on the page; title and description are for screen readers.
    """
    view, body = _drawn(draw, size_in, name)
    return Markup(
        '<svg viewBox="{view}" role="img" aria-labelledby="{name}-title {name}-desc">'
        '<title id="{name}-title">{title}</title><desc id="{name}-desc">{description}</desc>{body}</svg>'
    ).format(view=view, name=name, title=title, description=description, body=body)


def standalone_svg(draw: Draw, size_in: tuple[float, float], title: str, description: str) -> str:
    """Return a drawing as an SVG file's text; it brings light and dark colours, ink and paper."""
    view, body = _drawn(draw, size_in, "chart")
    return Markup(
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="{view}" role="img" aria-labelledby="title desc">\n'
        '<title id="title">{title}</title>\n<desc id="desc">{description}</desc>\n'
        "<style>svg{{color:{ink};font-family:sans-serif}}.paper{{fill:{paper}}}"
        "@media (prefers-color-scheme:dark){{svg{{color:{dark_ink}}}.paper{{fill:{dark_paper}}}}}</style>\n"
        '<rect class="paper" width="100%" height="100%"/>\n{body}\n</svg>\n'
    ).format(
        view=view, title=title, description=description, ink=INK, paper=PAPER, dark_ink=DARK_INK,
        dark_paper=DARK_PAPER, body=body,
    )  # fmt: skip


def _drawn(draw: Draw, size_in: tuple[float, float], name: str) -> tuple[str, Markup]:
    """Return the view box and the content of the svg element, with ink in the surrounding text's colour."""
    text = StringIO()
    with _figure(draw, *size_in) as figure:
        figure.savefig(text, format="svg", transparent=True, metadata=dict.fromkeys(_METADATA))
    drawing = ElementTree.fromstring(text.getvalue())
    _slim(drawing, name)
    body = "".join(ElementTree.tostring(child, encoding="unicode") for child in drawing)
    return drawing.get("viewBox", ""), Markup(body.replace(INK, "currentColor"))


def write_files(draw: Draw, size_in: tuple[float, float], path: Path, title: str) -> list[Path]:
    """Write a drawing with its title as ``path`` + ``.svg`` and ``.png``; return both paths."""
    written = []
    for suffix, metadata in ((".svg", dict.fromkeys(_METADATA)), (".png", {"Software": None})):
        with _figure(draw, *size_in) as figure:
            figure.suptitle(title if len(title) <= 60 else title[:59] + "…", fontsize=10)
            written.append(path.with_name(path.name + suffix))
            figure.savefig(written[-1], dpi=160, facecolor="white", metadata=metadata)
    return written


_METADATA = ("Creator", "Date", "Format", "Type")


def picture(draw: Draw, size_in: tuple[float, float], suffix: str, title: str, description: str) -> bytes:
    """Return a drawing as a file's content; ``suffix``: .svg, .png or .html. Raises UsageError for others."""
    match suffix.lower():
        case ".svg":
            return standalone_svg(draw, size_in, title, description).encode()
        case ".html":
            page = '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>{}</title>\n{}</html>\n'
            return (
                Markup(page).format(title, Markup(standalone_svg(draw, size_in, title, description))).encode()
            )
        case ".png":
            content = BytesIO()
            with _figure(draw, *size_in) as figure:
                figure.savefig(content, format="png", dpi=160, facecolor="white", metadata={"Software": None})
            return content.getvalue()
        case _:
            raise UsageError(f"{suffix or 'no ending'} is no kind of picture; choose .svg, .png or .html")


def _slim(drawing: Element, name: str) -> None:
    """Keep what a browser needs: no namespaces, and only ids that are used and unique to this drawing."""
    used: set[str] = set()
    for element in drawing.iter():
        element.tag = element.tag.rpartition("}")[2]
        element.text = (element.text or "").strip()
        element.tail = None
        for key, value in list(element.attrib.items()):
            del element.attrib[key]
            key = key.rpartition("}")[2]
            # a colour begins with # as well, so only links and url(...) are references
            reference = r"^#([\w-]+)$" if key == "href" else r"(?<=url\()#([\w-]+)"
            used.update(re.findall(reference, value))
            value = re.sub(reference, rf"#{name}-\1", value)
            if key in ("d", "x", "y", "width", "height", "transform", "points"):
                value = (
                    re.sub(r"\d+\.\d{2,}", lambda n: f"{float(n[0]):.1f}", value).replace("\n", "").strip()
                )
            element.set(key, re.sub(r"font-family:[^;]+; ?", "", value))
    for parent in drawing.iter():
        for child in list(parent):
            if child.tag in ("style", "metadata"):
                parent.remove(child)
            elif "id" in child.attrib:
                if child.get("id") in used:
                    child.set("id", f"{name}-{child.get('id')}")
                else:
                    del child.attrib["id"]
