"""Hooks of the documentation site: what `mkdocs build` makes from other files of the repository.

- `notebooks/*.ipynb` become the tutorials, with their stored outputs; nothing is executed.
- CONTRIBUTING.md, SECURITY.md and CHANGELOG.md become pages.
- A link from a page to another file of the repository leads to a copy of that file on the site. So the same
  link works in the repository and on the site, and mkdocs checks both.
- The command-line reference comes from the parser of `framewatch`.
"""

import argparse
import json
import posixpath
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
CLI_PAGE, CLI_MARK = "reference/cli.md", "<!-- verbs -->"
_LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)#\s]+)")


def pages_made() -> dict[str, str]:
    """Pages that do not lie in docs/: their path on the site -> their path in the repository."""
    made = {f"project/{name.lower()}.md": f"{name}.md" for name in ("CONTRIBUTING", "SECURITY", "CHANGELOG")}
    notebooks = sorted((ROOT / "notebooks").glob("*.ipynb"))
    return made | {f"tutorials/{path.stem}.md": f"notebooks/{path.name}" for path in notebooks}


def source_of(page: str) -> str:
    """The path in the repository of a page of the site."""
    return pages_made().get(page, f"docs/{page}")


def text_of(source: str) -> str:
    """The Markdown of a page, by its path in the repository."""
    text = (ROOT / source).read_text(encoding="utf-8")
    return notebook_as_markdown(json.loads(text)) if source.endswith(".ipynb") else text


def with_links_of_the_site(text: str, source: str) -> tuple[str, set[str]]:
    """Turns the relative links of a page into those of the site.

    Args:
        text: Markdown.
        source: the page's path in the repository.

    Returns:
        The Markdown, and the files of the repository that it links to and the site needs a copy of.
    """
    page_at = {made: page for page, made in pages_made().items()}
    here = posixpath.dirname(page_at.get(source, source.removeprefix("docs/")))
    copied = set()

    def on_the_site(link: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), link[1]))
        if path.startswith("docs/"):
            target = path.removeprefix("docs/")
        elif path in page_at:
            target = page_at[path]
        elif (ROOT / path).is_file() and not path.startswith(".."):
            copied.add(path)
            target = f"repository/{path}"
        else:
            return link[1]  # mkdocs reports it
        return posixpath.relpath(target, here or ".")

    return _LINK.sub(on_the_site, text), copied


def notebook_as_markdown(notebook: dict[str, Any]) -> str:
    """The cells of a notebook and their stored outputs as Markdown."""
    return "\n\n".join(part for cell in notebook["cells"] for part in _cell(cell))


def _cell(cell: dict[str, Any]) -> list[str]:
    source = "".join(cell["source"])
    if cell["cell_type"] != "code":
        return [source]
    parts, printed = [f"```python\n{source}\n```"], ""
    for output in cell.get("outputs", []):
        if "text/html" in output.get("data", {}):
            html = re.sub(r"\n\s*\n", "\n", "".join(output["data"]["text/html"]))  # a blank line ends a block
            parts += [_as_text(printed), f'<div class="output">\n{html}\n</div>']
            printed = ""
        else:
            printed += "".join(output.get("text") or [*output["data"]["text/plain"], "\n"])
    return [part for part in (*parts, _as_text(printed)) if part]


def _as_text(printed: str) -> str:
    return f"```text\n{printed.rstrip()}\n```" if printed else ""


def cli_reference() -> str:
    """Every verb with its arguments, as Markdown, from the parser of `framewatch`."""
    from framewatch.cli.main import _parser

    verbs = next(action for action in _parser()._actions if action.dest == "verb")
    parsers: dict[str, argparse.ArgumentParser] = verbs.choices  # type: ignore[assignment]
    help_of = {choice.dest: choice.help for choice in verbs._choices_actions}  # type: ignore[attr-defined]
    shared = set.intersection(*({_name(action) for action in _arguments(it)} for it in parsers.values()))
    any_verb = _arguments(next(iter(parsers.values())))
    parts = ["## Options of every verb", _table([it for it in any_verb if _name(it) in shared])]
    for verb, parser in parsers.items():
        own = [action for action in _arguments(parser) if _name(action) not in shared]
        usage = argparse.HelpFormatter(parser.prog, width=100)
        usage.add_usage(None, own, [], prefix="")
        parts += [f"## `framewatch {verb}`", _escaped(parser.description or help_of[verb] or "")]
        parts += [f"```text\n{usage.format_help().strip()}\n```", _table(own)]
    return "\n\n".join(part for part in parts if part)


def _arguments(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    shown = (action for action in parser._actions if action.help != argparse.SUPPRESS)
    return [action for action in shown if action.dest != "help"]


def _name(action: argparse.Action) -> str:
    value = action.metavar or (
        f"{{{','.join(map(str, action.choices))}}}" if action.choices else action.dest.upper()
    )
    shown = "" if action.option_strings and action.nargs == 0 else str(value)
    return f"{', '.join(action.option_strings)} {shown}".strip()


def _table(actions: list[argparse.Action]) -> str:
    rows = []
    for action in actions:
        text = (action.help or "") % {**vars(action), "prog": "framewatch"}
        rows.append(f"| `{_name(action)}` | {_escaped(text)} |")
    return "\n".join(["| argument | meaning |", "| --- | --- |", *rows]) if rows else ""


def _escaped(text: str) -> str:
    return re.sub(r"(?<!`)([<|*])", r"\\\1", " ".join(text.split()))


def on_files(files: Any, config: Any) -> Any:
    """Adds the pages and the copies of files that do not lie in docs/."""
    from mkdocs.structure.files import File

    copied = set()
    for page, source in pages_made().items():
        files.append(File.generated(config, page, content=text_of(source)))
    for page in files.documentation_pages():
        source = source_of(page.src_uri)
        copied |= with_links_of_the_site(text_of(source), source)[1]
    for path in sorted(copied):
        files.append(File.generated(config, f"repository/{path}", abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Turns links into those of the site, and fills in the command-line reference."""
    text, _ = with_links_of_the_site(markdown, source_of(page.file.src_uri))
    return text.replace(CLI_MARK, cli_reference()) if page.file.src_uri == CLI_PAGE else text
