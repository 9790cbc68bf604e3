# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent's configuration file in any of the formats that the original promised, as a flat mapping.

Values are what the format has: YAML, JSON and TOML know numbers and lists, INI and XML only text.
"""

from __future__ import annotations

import configparser
import json
import re
import sys
import typing as t
from pathlib import Path
from xml.etree import ElementTree

from ..errors import InvalidConfig

try:
    import yaml
except ImportError:
    yaml = None  # type: ignore[assignment]
tomllib: t.Any = None
if sys.version_info >= (3, 11):
    import tomllib

NAME: t.Final = "QingAgent"
Content = dict[str, t.Any]


def find(cwd: t.Union[str, Path]) -> t.Optional[Path]:
    """`QingAgent.*` in this directory, None without one. Raises `InvalidConfig` for two: which one counts?"""
    found = [path for path in (Path(cwd) / f"{NAME}{ending}" for ending in READERS) if path.is_file()]
    if len(found) > 1:
        raise InvalidConfig(f"{found[0]} and {found[1].name} are both there: remove one")
    return found[0] if found else None


def read(path: Path) -> Content:
    """Key ► value. Raises `InvalidConfig` naming the file, where known the line, and never quoting it."""
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise InvalidConfig(f"{path}: what format is this? Name it {NAME}{', '.join(READERS)}", path=str(path))
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise InvalidConfig(f"cannot read {path}: {why}", path=str(path)) from error
    content = reader(path, text)
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise InvalidConfig(f"{path} must hold settings by name, such as zone: pek3a", path=str(path))
    return content


def _yaml(path: Path, text: str) -> t.Any:
    if yaml is None:
        raise InvalidConfig(f"{path} is YAML, and the Python package PyYAML is missing: install it", library="PyYAML")
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise _broken(path, "YAML", mark.line + 1 if mark is not None else None) from None


def _json(path: Path, text: str) -> t.Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise _broken(path, "JSON", getattr(error, "lineno", None)) from None


def _toml(path: Path, text: str) -> t.Any:
    if tomllib is None:
        raise InvalidConfig(f"{path}: this Python reads no TOML, which takes 3.11: write the file as YAML or JSON")
    try:
        return tomllib.loads(text)
    except ValueError as error:
        line = re.search(r"at line (\d+)", str(error))
        raise _broken(path, "TOML", int(line.group(1)) if line else None) from None


def _ini(path: Path, text: str) -> t.Any:
    """Settings stand on their own or in a section [QingAgent]."""
    parser = configparser.ConfigParser(interpolation=None, strict=True, default_section="")
    parser.optionxform = str  # type: ignore[method-assign,assignment]
    # A heading of our own, on the first line, so that line numbers stay right.
    lines = (line.strip() for line in text.splitlines())
    headed = next((line for line in lines if line and line[0] not in "#;"), "").startswith("[")
    try:
        parser.read_string(text if headed else f"[{NAME}]\n{text}")
    except configparser.Error as error:
        line = getattr(error, "lineno", None) or next((number for number, __ in getattr(error, "errors", ())), None)
        raise _broken(path, "INI", line - (0 if headed else 1) if line else None) from None
    for section in parser.sections():
        if section.lower() != NAME.lower():
            raise InvalidConfig(f"{path}: unknown section [{section}]: settings stand in [{NAME}]", path=str(path))
    return {key: value for section in parser.sections() for key, value in parser[section].items()}


def _xml(path: Path, text: str) -> t.Any:
    """`<QingAgent><zone>pek3a</zone><vxnet>…</vxnet><vxnet>…</vxnet></QingAgent>`: repeated elements are a list."""
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise InvalidConfig(f"{path}: a document type has no place here: remove it", path=str(path))
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise _broken(path, "XML", error.position[0]) from None
    content: Content = {}
    for element in root:
        if len(element):
            raise InvalidConfig(f"{path}: <{element.tag}> holds other elements: give a list by repeating it")
        value = (element.text or "").strip()
        if element.tag in content:
            before = content[element.tag]
            content[element.tag] = [*(before if isinstance(before, list) else [before]), value]
        else:
            content[element.tag] = value
    return content


def _broken(path: Path, kind: str, line: t.Optional[int]) -> InvalidConfig:
    where = f", line {line}" if line else ""
    return InvalidConfig(f"{path}{where}: not valid {kind}", path=str(path))


READERS: t.Final[t.Mapping[str, t.Callable[[Path, str], t.Any]]] = {
    ".yaml": _yaml,
    ".yml": _yaml,
    ".json": _json,
    ".toml": _toml,
    ".ini": _ini,
    ".xml": _xml,
}
