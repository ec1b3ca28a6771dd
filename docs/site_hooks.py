"""Hooks of the site: pages made from the code, and files that lie elsewhere in the repository and are linked to.

A link in a page leads where it leads on disk, so that the pages can be read as plain files, too. What lies outside docs/
becomes part of the site under its path in the repository: SECURITY.md as SECURITY.html, and so on.
"""

from __future__ import annotations

import json
import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mkdocs.structure.files import File

from deepfake_detect import cli
from deepfake_detect.report import SCHEMA_FILE

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
# The target of a link to another file of the repository; neither an address elsewhere nor a place on the same page.
_LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#|/)([^)\s#]+)")


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the pages that are made, and what the nav and the pages name outside docs/."""
    for name, text in (("reference/command.md", command_page()), ("reference/report.md", report_page())):
        files.append(File.generated(config, name, content=text))
    waiting = [path for path in _leaves(config.nav) if files.get_file_from_path(path) is None]
    for file in files.documentation_pages():
        waiting += _linked(file.src_uri, file.content_string)
    while waiting:
        path = waiting.pop()
        if files.get_file_from_path(_in_site(path)) is None and (ROOT / path).is_file():
            files.append(File.generated(config, path, abs_src_path=str(ROOT / path)))
            if path.endswith(".md"):
                waiting += _linked(path, (ROOT / path).read_text(encoding="utf-8"))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links from where they lead on disk to where they lead in the site."""
    source = page.file.src_uri
    here = posixpath.dirname(source) or "."
    return _LINK.sub(lambda link: posixpath.relpath(_in_site(_on_disk(source, link[1])), here), markdown)


def _on_disk(source: str, link: str) -> str:
    """Path in the repository to which a link of a page leads."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(_home(source)), link))


def _home(source: str) -> str:
    """Path in the repository of a page of the site; one that is made counts as lying in docs/."""
    return source if (ROOT / source).exists() else f"docs/{source}"


def _in_site(path: str) -> str:
    return path.removeprefix("docs/")


def _linked(source: str, text: str) -> list[str]:
    return [_on_disk(source, match[1]) for match in _LINK.finditer(text)]


def _leaves(nav: Any) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    elif isinstance(nav, (list, dict)):
        for part in nav.values() if isinstance(nav, dict) else nav:
            yield from _leaves(part)


def command_page() -> str:
    """What `--help` says of each command, as a page."""
    made = [
        "# The command\n\nWhat `--help` says, of each command. Results go to stdout, everything else to stderr; the exit"
        " status says how it went."
    ]
    for each in (cli.parser(), *cli.parsers_within()):
        made += _command(each)
    return "\n\n".join(made) + "\n"


def _command(parser: argparse.ArgumentParser) -> Iterator[str]:
    formatter = parser.formatter_class(parser.prog, width=100)
    formatter.add_usage(parser.usage, parser._actions, parser._mutually_exclusive_groups)
    yield f"## `{parser.prog}`"
    yield str(parser.description)
    yield _fenced(formatter.format_help().strip())
    for group in parser._action_groups:
        rows = [(formatter._format_action_invocation(action), formatter._expand_help(action))
                for action in group._group_actions if action.help]  # fmt: skip
        if rows:
            yield _table((str(group.title).capitalize(), ""), [(f"`{name}`", said) for name, said in rows])
    if "\n" in str(parser.epilog):
        yield _fenced(str(parser.epilog).strip())
    elif parser.epilog:
        yield parser.epilog[:1].upper() + parser.epilog[1:]


def report_page() -> str:
    """The fields of `report.json`, from its schema."""
    schema = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    made = [
        "# report.json",
        f"{schema['title']}: `{schema['$id']}`. {schema['description']}",
        "The schema itself: [report.schema.json](../../deepfake_detect/report.schema.json)."
        " A field that is not required is missing where it makes no sense; a new version may add fields, which its own copy"
        " of the schema knows and an older copy refuses; none goes without another number.",
    ]
    waiting = [("The whole", schema)]
    waiting += [(f"`{name}`", part) for name, part in schema["$defs"].items()]
    while waiting:
        title, part = waiting.pop(0)
        rows = []
        inner = []
        for name, field in part["properties"].items():
            kind, below = _kind(name, field)
            required = "" if name in part.get("required", ()) else " (optional)"
            rows.append((f"`{name}`{required}", kind, field.get("description", "")))
            inner += below
        made += [f"## {title}", _table(("Field", "Is", ""), rows)]
        waiting[:0] = inner
    return "\n\n".join(made) + "\n"


def _kind(name: str, field: dict[str, Any]) -> tuple[str, list[tuple[str, dict[str, Any]]]]:
    """What a value is, in words, and the objects in it that want a table of their own."""
    if "$ref" in field:
        target = field["$ref"].rpartition("/")[2]
        return f"[{target}](#{target})", []
    if "oneOf" in field:
        parts = [_kind(name, part) for part in field["oneOf"]]
        return " or ".join(sorted((said for said, _ in parts), key="null".__eq__)), [
            one for _, more in parts for one in more
        ]
    if "const" in field:
        return f"`{json.dumps(field['const'])}`", []
    if "enum" in field:
        return ", ".join(f"`{json.dumps(value)}`" for value in field["enum"]), []
    kinds = field["type"] if isinstance(field["type"], list) else [field["type"]]
    if "properties" in field:
        return " or ".join([f"[object](#{name})", *(kind for kind in kinds if kind != "object")]), [
            (f"`{name}`", field)
        ]
    said = " or ".join(kinds)
    if "minimum" in field and "maximum" in field:
        said += f", {field['minimum']} to {field['maximum']}"
    elif "exclusiveMinimum" in field:
        said += f", above {field['exclusiveMinimum']}"
    if "items" in field:
        inner, below = _kind(name, field["items"])
        count = f"{field['minItems']} × " if field.get("minItems", 0) == field.get("maxItems") else ""
        return f"{said} of {count}{inner}", below
    if isinstance(field.get("additionalProperties"), dict):
        inner, below = _kind(name, field["additionalProperties"])
        return f"{said}, each value {inner}", below
    return said, []


def _fenced(text: str) -> str:
    return f"```text\n{text}\n```"


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|").replace("*", "\\*") for cell in line) + " |" for line in lines
    )
