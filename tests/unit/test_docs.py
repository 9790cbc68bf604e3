# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation held to its word without a lab: shape, names, sentences, examples, pages that are drawn."""

from __future__ import annotations

import contextlib
import io
import re
import typing as t
from functools import lru_cache

import pytest
import yaml

from plugins.module_utils.hostnic.commands.cli import main
from tests.docs import commands as described
from tests.docs import errors, examples, listing, pages, prompt, sentences, variables
from tests.docs.pages import CLONE, Block, PageError

PAGES = pages.paths()
GUIDES = [path for path in PAGES if path.startswith("docs/guides/")]


# -- blocks ------------------------------------------------------------------------------------------------------------


def blocks(text: str) -> list[Block]:
    return pages.blocks("page.md", text)


def test_what_stands_above_a_block_says_where_it_is_executed() -> None:
    text = "# Title\n\n{}\n\n```sh\ntrue\n```\n"
    told = {"Do it:": "control", "Do it on a node:": "node", "On every node\nonce:": "nodes", "": "control"}
    assert {above: blocks(text.format(above))[0].where for above in told} == told


def test_a_reason_stands_alone_right_above() -> None:
    text = "{}\n\n```sh\nreboot\n```\n"
    assert blocks(text.format("*Not executed here: it takes\nthe lab away.*"))[0].reason == "it takes the lab away"
    assert blocks(text.format("Careful. *Not executed here: no.*"))[0].reason == ""
    assert blocks(text.format("*Not executed here: no.*\n\n## Title"))[0].reason == ""


def test_a_file_is_named_last_of_all() -> None:
    text = "With `a` write `group_vars/all.yml`:\n\n```yaml\na: 1\n```\n"
    assert blocks(text)[0].file == "group_vars/all.yml"


def test_blocks_of_lists_are_found_with_their_lines() -> None:
    text = "1. One on a node:\n\n   ```console\n   $ true\n   ```\n\n```text\n picture\n```\n"
    [block] = blocks(text)
    assert (block.line, block.language, block.text, block.where) == (3, "console", "$ true\n", "node")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("Do:\n\n    true\n", "page.md:3: an indented block"),
        ("Do:\n\n```\ntrue\n```\n", "page.md:3: a block of no language"),
        ("Do:\n\n```bash\ntrue\n```\n", "page.md:3: a block of bash"),
        ("Write:\n\n```yaml\na: 1\n```\n", "page.md:3: name this file"),
    ],
)
def test_what_breaks_the_convention_is_named(text: str, complaint: str) -> None:
    with pytest.raises(PageError, match=complaint):
        blocks(text)


def test_commands_are_told_from_what_they_print() -> None:
    assert prompt.steps("$ a \\\n  b\nout\n$ c\n") == [
        prompt.Step("a \\\n  b\n", "out\n"),
        prompt.Step("c\n", "\n"),
    ]
    with pytest.raises(ValueError, match="before the first prompt"):
        prompt.steps("out\n$ a\n")


@pytest.mark.parametrize(
    ("expected", "printed", "fits"),
    [
        ("...\nok=... failed=0 ...\n", "PLAY\nTASK\nok=3   failed=0  rescued=0\n", True),
        ("...\nok=... failed=0 ...\n", "PLAY\nok=3 failed=1 rescued=0\n", False),
        ("\n", "", True),
        ("\n", "a warning\n", False),
    ],
)
def test_what_is_printed_has_to_fit(expected: str, printed: str, fits: bool) -> None:
    assert prompt.Step("a", expected).fits(printed) is fits


# -- every page --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PAGES)
def test_a_page_keeps_to_the_convention(path: str) -> None:
    for block in pages.read(path):
        if block.language == "console":
            assert prompt.steps(block.text), block.place


@pytest.mark.parametrize("path", PAGES)
def test_files_are_used_by_a_command_below(path: str) -> None:
    """Or by Ansible itself, which reads what lies in `group_vars`."""
    found = pages.read(path)
    for number, block in enumerate(found):
        if block.language in pages.FILES and not block.reason and not block.file.startswith("group_vars/"):
            later = [one.text for one in found[number + 1 :] if one.language in pages.COMMANDS and not one.reason]
            assert any(block.file in text for text in later), f"{block.place}: no command below uses {block.file}"


@pytest.mark.parametrize("path", PAGES)
def test_what_is_executed_on_nodes_belongs_there(path: str) -> None:
    """A sentence that happens to say "on every node" above a block for the control host is found here."""
    elsewhere = re.compile(r"^(\$ )?(ansible|make|kubectl|python -m tests)\b", re.MULTILINE)
    for block in pages.read(path):
        assert block.where == "control" or not elsewhere.search(block.text), block.place


@pytest.mark.parametrize("path", PAGES)
def test_pictures_hide_no_commands(path: str) -> None:
    pictures = re.findall(r"^```(?:text|mermaid)\n(.*?)^```", (CLONE / path).read_text(), re.DOTALL | re.MULTILINE)
    ours = re.compile(r"\s*(\$|sudo|ansible[a-z-]*|make|qingagent|kubectl) ")
    assert [line for picture in pictures for line in picture.splitlines() if ours.match(line)] == []


@pytest.mark.parametrize("path", PAGES)
def test_links_lead_somewhere(path: str) -> None:
    for file, heading in pages.links(path):
        target = (CLONE / path).parent.joinpath(file).resolve() if file else CLONE / path
        assert target.exists(), file
        if heading:
            assert heading in pages.headings(str(target.relative_to(CLONE))), f"{file}#{heading}"


def test_pages_of_the_documentation_site_leave_commands_to_the_guides() -> None:
    """They are in another language than the pages whose blocks are executed."""
    written = [path.read_text(encoding="utf-8") for path in (CLONE / "docs/docsite").rglob("*.rst")]
    assert written and not any("code-block" in text or "::\n\n " in text for text in written)


@lru_cache(maxsize=1)
def commands() -> frozenset[str]:
    """Those of `qingagent`."""
    told = io.StringIO()
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(told):
        main(["--help"])
    return frozenset(re.findall(r"^  ([a-z-]+)   ", told.getvalue(), re.MULTILINE))


@lru_cache(maxsize=1)
def content() -> frozenset[str]:
    """Names of the collection: modules, inventory plugins, roles, playbooks."""
    files = [*(CLONE / "plugins/modules").glob("*.py"), *(CLONE / "plugins/inventory").glob("*.py")]
    files += [*(CLONE / "playbooks").glob("*.yml"), *(CLONE / "roles").iterdir()]
    return frozenset(one.stem for one in files)


def named(path: str) -> t.Iterator[tuple[str, str]]:
    """Where and what: every piece of code of a page, lines of blocks one by one."""
    for line, text in pages.spans(path):
        yield f"{path}:{line}", text
    for block in pages.read(path):
        for text in block.text.splitlines():
            yield block.place, text


@pytest.mark.parametrize("path", PAGES)
def test_commands_and_names_exist(path: str) -> None:
    """As far as they are ours: `qingagent`, units, modules, roles, playbooks, words of `make`, files of the clone."""
    known = {
        r"(?:^|[/ ])qingagent ([a-z][a-z-]*)": commands(),
        r"\bqingcloud\.cni\.([a-z_]+)\b": content(),
        r"\bqingagent[a-z-]*\.(?:service|socket)\b": {one.name for one in (CLONE / "files/units").iterdir()},
        r"^make ([a-z-]+)": set(re.findall(r"^([a-z-]+):", (CLONE / "Makefile").read_text(), re.MULTILINE)),
    }
    for place, text in named(path):
        for pattern, names in known.items():
            for name in re.findall(pattern, text):
                assert name in names, f"{place}: there is no {name}"
        for name in re.findall(r"^(?:playbooks|roles|plugins|files|tests|docs)/[\w./-]+$", text):
            there = (CLONE / name).exists() or (CLONE / f"{name}.template").exists()
            assert there, f"{place}: there is no {name}"


TAGS = re.compile(r"_(preflight|install|configure|run)$")


@lru_cache(maxsize=1)
def metrics() -> frozenset[str]:
    """Of docs/metrics.md; another test says that they are those that the agent exports."""
    return frozenset(re.findall(r"^\| `([a-z_]+)` \|", (CLONE / "docs/metrics.md").read_text(), re.MULTILINE))


@pytest.mark.parametrize("path", PAGES)
def test_variables_exist(path: str) -> None:
    known = examples.variables().keys() | examples.facts() | metrics()
    for place, text in named(path):
        for name in re.findall(r"(?<![\w<-])(?:qingagent|qingcni)_[a-z0-9_]*[a-z0-9]", text):
            assert name in known or TAGS.search(name), f"{place}: the roles have no variable {name}"


@pytest.mark.parametrize("path", PAGES)
def test_variables_of_examples_are_what_the_roles_take(path: str) -> None:
    known = examples.variables()
    for block in pages.read(path):
        if block.language == "yaml":
            for name, value in examples.set_variables(list(yaml.safe_load_all(block.text))):
                assert examples.complaints({name: known[name]}, {name: value}) == [], block.place


# -- sentences ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", GUIDES)
def test_the_product_says_what_is_quoted(path: str) -> None:
    assert [sentence for sentence in sentences.quoted(path) if not sentences.said(sentence)] == []


def test_sentences_of_python_have_gaps_for_what_is_put_in() -> None:
    source = 'raise Error(f"NIC {mac} is " f"gone: {why}")\nlog.warning("%s: %d tries", 1)\n'
    assert {"NIC … is gone: …", "…: … tries"} <= set(sentences.of_python(source))


@pytest.mark.parametrize(
    ("sentence", "fits"),
    [
        ("NIC … is gone for good…", True),
        ("NIC … is lost for good", False),
        ("gone for good… NIC", False),
        ("NIC … is", False),
    ],
)
def test_a_sentence_is_said_where_its_pieces_stand_in_order(sentence: str, fits: bool) -> None:
    assert sentences.said(sentence, ["NIC … is gone for good: …"]) is fits


# -- examples of modules and plugins -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def modules() -> dict[str, dict[str, t.Any]]:
    return examples.plugins("module")


def test_every_module_has_examples_that_its_options_allow(modules: dict[str, dict[str, t.Any]]) -> None:
    for name, told in modules.items():
        found = list(examples.tasks(yaml.safe_load(told["examples"])))
        assert any(name in task for task in found), f"{name} has no example of itself"
        for task in found:
            for key in modules.keys() & task.keys():
                given = {**(task[key] or {}), **task.get("args", {})}
                assert examples.complaints(modules[key]["doc"]["options"], given) == [], f"{name}: {task}"


def test_every_inventory_plugin_has_examples_that_its_options_allow() -> None:
    for name, told in examples.plugins("inventory").items():
        found = [one for one in yaml.safe_load_all(told["examples"]) if one]
        assert found, name
        for given in found:
            assert given["plugin"] == name
            assert examples.complaints(told["doc"]["options"], given) == [], given


def test_what_options_do_not_allow_is_noticed() -> None:
    options = {"state": {"type": "str", "choices": ["present"]}, "count": {"type": "int", "required": True}}
    assert examples.complaints(options, {"state": "present", "count": "{{ some }}"}) == []
    for wrong in ({"state": "there", "count": 1}, {"state": "present"}, {"count": "few"}, {"count": 1, "size": 1}):
        assert examples.complaints(options, wrong), wrong


# -- drawn pages -------------------------------------------------------------------------------------------------------


def test_the_list_of_what_is_executed_is_current() -> None:
    print(listing.summary())
    drawn = (CLONE / "docs/executed.md").read_text(encoding="utf-8")
    assert drawn == listing.page(), "python -m tests.docs executed >docs/executed.md"


def test_the_page_of_commands_is_current() -> None:
    drawn = (CLONE / "docs/qingagent.md").read_text(encoding="utf-8")
    assert drawn == described.page(), "python -m tests.docs commands >docs/qingagent.md"


def test_the_page_of_errors_is_current() -> None:
    drawn = (CLONE / "docs/errors.md").read_text(encoding="utf-8")
    assert drawn == errors.page(), "python -m tests.docs errors >docs/errors.md"


def test_the_page_of_variables_is_current() -> None:
    drawn = (CLONE / "docs/guides/variables.md").read_text(encoding="utf-8")
    assert drawn == variables.page(), "python -m tests.docs variables >docs/guides/variables.md"


def test_names_are_cut_short_and_values_are_not() -> None:
    told = "See O(qingcloud.cni.qingagent#role:main:zone) of P(qingcloud.cni.qingagent#role), such as V(http://a:80/)."
    option = {"description": told, "choices": ["", "a", "b"]}
    assert variables.meaning(option) == (
        "See `zone` of `qingcloud.cni.qingagent`, such as `http://a:80/`. One of `a`, `b`."
    )
