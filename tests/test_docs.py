"""The documents say what the program does: links, commands, examples, and the fields of the format."""

from __future__ import annotations

import importlib
import json
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType

import pytest

from wvc import main, plugins, recipes
from wvc.recipes import _schema
from wvc.repo.objects import Attachment, Commit, Manifest, ModelSpec, Parent, TaskDescription, Tensor, parse
from wvc.repo.repository import create
from wvc.repo.scores import Circumstances, Score
from wvc.store.canonical import dumps
from wvc.store.log import Log
from wvc.store.records import Draft, Move, State, Transaction

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [*sorted(DOCS.rglob("*.md")), *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"(?:^|&& |\$ |`)wvc(?: -C \S+)? ([a-z][a-z-]*)", re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")
# Somebody's own folders; those of Ada, who does not exist, and a name such as /root/x in a test are none.
MACHINE = re.compile(r"(?<![\w.:~/-])/(?:(?:home|Users|work|mnt|scratch|data)/(?!ada/)[\w.-]+|root/[\w.-]+/)")


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of one language."""
    return [body for found, body in FENCE.findall(page.read_text(encoding="utf-8")) if found == language]


def section(title: str) -> str:
    """One section of design.md with those below it."""
    text = (DOCS / "design.md").read_text(encoding="utf-8")
    match = re.search(rf"^(#+) {re.escape(title)}$", text, re.MULTILINE)
    assert match is not None, f"design.md has no section {title!r}"
    end = re.search(rf"^#{{1,{len(match[1])}}} ", text[match.end() :], re.MULTILINE)
    return text[match.end() :][: end.start() if end else None]


def unnamed(names: object, title: str) -> list[str]:
    """Those of `names` that do not stand as code in a section of design.md."""
    text = section(title)
    return [name for name in sorted(names) if f"`{name}`" not in text]  # type: ignore[call-overload]


def heading(text: str) -> str:
    """What a link to a heading ends with, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        place, _, anchor = link.partition("#")
        if "://" in link or link.startswith("mailto:"):
            continue
        target = (page.parent / place) if place else page
        assert target.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in map(heading, headings), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_in_the_documents_exist(page: Path) -> None:
    known = set(plugins.names(main.DOOR))

    assert set(COMMAND.findall(page.read_text(encoding="utf-8"))) <= known


def test_no_file_names_a_place_on_somebodys_machine() -> None:
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    made = subprocess.run(listed, capture_output=True, text=True, cwd=ROOT, check=False)
    if made.returncode != 0:
        pytest.skip("not a git checkout")
    found = []
    for name in made.stdout.splitlines():
        try:
            text = (ROOT / name).read_text(encoding="utf-8")
        except (UnicodeDecodeError, FileNotFoundError):
            continue
        found += [f"{name}: {place}" for place in MACHINE.findall(text)]

    assert found == []


def test_the_reference_is_what_the_commands_say() -> None:
    page = (DOCS / "reference.md").read_text(encoding="utf-8")
    made = runpy.run_path(str(DOCS / "make_reference.py"))["page"]()

    def facts(text: str) -> tuple[list[str], list[str]]:
        return re.findall(r"^## .+$", text, re.MULTILINE), re.findall(r"^  (?:-\w, )?--[\w-]+", text, re.MULTILINE)

    assert facts(page) == facts(made), "run `python docs/make_reference.py > docs/reference.md`"
    if re.findall("<!-- typer .+ -->", page) == re.findall("<!-- typer .+ -->", made):  # each formats in its own way
        assert page == made, "run `python docs/make_reference.py > docs/reference.md`"


def test_the_format_names_every_field() -> None:
    id, spec = "0" * 64, ModelSpec("family/name", 2, None, "head")
    score = Score(Circumstances(id, id, 0, "val", 16), {"photo": (1, 2)})
    commit = Commit(id, id, (Parent(id),), "ada", 0, 1, "", {"kind": "import"})
    objects: Mapping[str, list[Mapping[str, object]]] = {
        "Manifest": [Manifest((Tensor("x", "F32", (), id),), (), spec).json(), spec.json()],
        "Commit": [commit.json(), commit.json()["parents"][0]],
        "Attachment": [Attachment("score", id, {}).json(), score.json()],
        "Task description": [TaskDescription("pets", "folder", (), (), id).json()],
        "The log": [Transaction(1, None, "0" * 32, id, 0, "ada", "").json(), {"state": 0}, State(id).json()],
    }

    missing = {title: [unnamed(value, title) for value in values] for title, values in objects.items()}

    assert missing == {title: [[] for _ in values] for title, values in objects.items()}


def test_the_examples_of_the_format_are_objects_that_name_each_other(tmp_path: Path) -> None:
    values = [json.loads(text) for text in blocks(DOCS / "design.md", "json")]
    found = {type(item): item for item in (parse(dumps(v)) for v in values if "transaction" not in v["_type"])}

    assert all(dumps(value) in {item.data for item in found.values()} for value in values[:4])
    manifest, commit = found[Manifest], found[Commit]
    attachment, task = found[Attachment], found[TaskDescription]
    assert isinstance(manifest, Manifest)
    assert isinstance(commit, Commit)
    assert isinstance(attachment, Attachment)
    assert isinstance(task, TaskDescription)
    assert (commit.manifest, commit.weights) == (manifest.id, manifest.weights)
    assert attachment.subject == commit.id
    assert (commit.how["task"]["object"], commit.how["task"]["fingerprint"]) == (task.id, task.fingerprint)
    (tmp_path / "000000000005.json").write_bytes(dumps(values[4]))
    transaction, _ = Log(tmp_path, tmp_path).read(5)
    assert transaction.moves == (Move("refs/heads/main", commit.parents[0].commit, commit.id),)
    assert transaction.attachments == (attachment.id,)


@pytest.fixture
def recipe(tmp_path: Path) -> recipes.Recipe:
    """The example in recipes.md."""
    (text,) = blocks(DOCS / "recipes.md", "toml")
    (tmp_path / "tiny.toml").write_text(text, encoding="utf-8")
    return recipes.read(tmp_path / "tiny.toml")


def test_the_recipe_in_the_documents_can_be_read(recipe: recipes.Recipe) -> None:
    assert [step.branch for step in recipe.steps] == ["random/0", "foundation/0", "run/0/0", "run/0/1", "soup/0"]
    assert recipe.steps[-1].models == ("run/0/0", "run/0/1")
    assert recipe.steps[2].options["steps"] == 40
    assert [row.name for table in recipe.tables for row in table.rows] == ["linear probe", "best single run", "soup"]


def test_recipes_md_names_every_key() -> None:
    text = (DOCS / "recipes.md").read_text(encoding="utf-8")
    keys = {*_schema.TOP, *_schema.STEP, *_schema.POOL, *_schema.TASK, *_schema.TABLE, *_schema.ROW}
    keys |= {key for options in _schema.OPTIONS.values() for key in options}

    assert [key for key in sorted(keys) if f"`{key}`" not in text and f"**{key}**" not in text] == []


def test_the_format_names_every_key_of_how(recipe: recipes.Recipe, tmp_path: Path) -> None:
    from wvc.verbs.cook import cook

    repository = create(tmp_path / "zoo", Draft("init", "ada", 0, default_branch="main"))

    cook(repository, recipe)

    ids = {id for ref, id in repository.refs.items() if not ref.startswith("refs/tasks/")}
    hows = [repository.commit(id).how for id in ids]
    assert {how["kind"] for how in hows} == {"create", "train", "merge"}
    assert unnamed({key for how in hows for key in keys_of(how)}, "How") == []


def keys_of(value: object) -> Iterator[str]:
    """Every key in JSON, but those that are names of domains."""
    for item in value if isinstance(value, list) else []:
        yield from keys_of(item)
    for key, item in value.items() if isinstance(value, Mapping) else []:
        yield key
        if key != "domains":
            yield from keys_of(item)


@pytest.fixture
def behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], ModuleType]]:
    """Put the example of extending.md that begins like `first` behind a door, and import it."""
    made = []

    def put(door: str, first: str) -> ModuleType:
        (text,) = (text for text in blocks(DOCS / "extending.md", "python") if text.startswith(f'"""{first}'))
        room = door.rpartition(".")[2]
        name = re.findall(rf"wvc/{room}/(\w+)\.py", (DOCS / "extending.md").read_text(encoding="utf-8"))[0]
        folder = tmp_path / room
        shutil.copytree(ROOT / "wvc" / room, folder, ignore=shutil.ignore_patterns("__pycache__"))
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
        package = importlib.import_module(door)
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
        real = plugins._folder
        monkeypatch.setattr(plugins, "_folder", lambda asked: folder if asked == door else real(asked))
        made.append(f"{door}.{name}")
        return plugins.load(door, name)

    yield put
    for name in made:
        sys.modules.pop(name, None)


def test_the_example_of_a_command(
    behind: Callable[[str, str], ModuleType],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    behind("wvc.commands", "Count")
    create(tmp_path / "zoo", Draft("init", "ada", 0))
    monkeypatch.chdir(tmp_path / "zoo")

    assert main.run(["count", "--kind", "merge"]) == 0
    assert capsys.readouterr().out == "0 commits\n"
    assert main.run(["--help"]) == 0
    assert "Count the commits\n" in capsys.readouterr().out


def test_the_example_of_a_strategy(behind: Callable[[str, str], ModuleType]) -> None:
    torch = pytest.importorskip("torch")
    from wvc.strategies import Models

    strategy = behind("wvc.strategies", "Take the median")
    models = [{"w": torch.tensor([x, -x]), "n": torch.tensor(3)} for x in (1.0, 5.0, 2.0)]

    merged = strategy.merge(Models.of(models))

    assert merged["w"].tolist() == [2.0, -2.0]
    assert strategy.merge(Models.of(models[:2]), upper=True)["w"].tolist() == [5.0, -1.0]
    assert merged["n"].item() == 3
    assert torch.equal(strategy.merge(Models.of([models[0]] * 4))["w"], models[0]["w"])


def test_the_example_of_a_kind_of_task(behind: Callable[[str, str], ModuleType]) -> None:
    from wvc import tasks

    behind("wvc.tasks", "Stripes")

    task = tasks.load("stripes", "mine", None, {})

    assert parse(task.description().data) == task.description()
    assert task.images(1, 9).shape == (100, 1, 9, 9)
    assert task.images(1, 9).std() > 0


def test_the_example_of_a_family(behind: Callable[[str, str], ModuleType]) -> None:
    torch = pytest.importorskip("torch")
    from wvc import architectures

    behind("wvc.architectures", "A perceptron")

    spec = architectures.describe("perceptron_64", 3)
    model = architectures.build(spec)
    featurizer, head = architectures.split(model, spec)
    images = torch.rand(2, 3, architectures.image_size(spec, 64), 32)
    assert spec.architecture == "perceptron/perceptron_64"
    assert torch.equal(head(featurizer(images)), model(images))
