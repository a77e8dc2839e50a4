"""Check the rules of layout and habit that no linter knows; prints each breach, exits 1 on any.

- every module has its test file: ``src/skydiver/a/b.py`` and ``tests/a/test_b.py``;
- tasks have names and are started in task groups only;
- every probe in ``probes.BUILTIN`` has its module and its page in ``docs/probes``;
- imports are absolute;
- the stub of the compiled module names exactly what the module offers;
- no file or folder called utils, helpers or manager.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "skydiver"

# Modules whose behaviour is tested through another file, with the reason.
TESTED_ELSEWHERE = {
    "filters/tree.py": "plain data; tests/filters/test_evaluate.py",
    "graph/elements.py": "plain data; tests/graph/test_graph.py",
    "graph/events.py": "plain data; tests/graph/test_graph.py",
    "graph/view.py": "a protocol; tests/graph/test_graph.py",
    "flow/batch.py": "plain data and protocols; tests/hub/test_flow_server.py",
    "flow/search.py": "plain data and a protocol; tests/flow/test_wire.py",
    "base/clock.py": "two calls of the standard library",
    "base/settings_files.py": "part of loading; tests/base/test_settings.py",
    "base/settings_kinds.py": "part of loading; tests/base/test_settings.py",
    "base/settings_loading.py": "part of loading; tests/base/test_settings.py",
    "base/settings_reserved.py": "a table; tests/base/test_settings.py",
    "api/models.py": "types; tests/api/test_openapi.py",
    "probes/netlink/part.py": "a contract; tests of the parts",
    "probes/netlink/probe.py": "wiring; tests/probes/netlink/test_follower.py",
    "api/routes.py": "plain data; tests/api/test_openapi.py",
}


def main() -> None:
    breaches = [
        *missing_tests(),
        *unnamed_tasks(),
        *undocumented_probes(),
        *relative_imports(),
        *stub_differences(),
        *bad_names(),
    ]
    for breach in breaches:
        print(breach)
    sys.exit(1 if breaches else 0)


def modules() -> Iterator[Path]:
    for path in sorted(SOURCE.rglob("*.py")):
        if not path.name.endswith("_pb2.py"):
            yield path


def missing_tests() -> Iterator[str]:
    for path in modules():
        relative = path.relative_to(SOURCE)
        if path.name.startswith("__") or str(relative) in TESTED_ELSEWHERE:
            continue
        if relative.parts[:2] == ("gremlin", "steps"):
            continue  # one table of conformance rows tests all steps
        test = ROOT / "tests" / relative.parent / f"test_{path.name}"
        if not test.exists():
            yield f"src/skydiver/{relative}: no {test.relative_to(ROOT)}"


def unnamed_tasks() -> Iterator[str]:
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            where = f"{path.relative_to(ROOT)}:{node.lineno}"
            if node.func.attr == "ensure_future":
                yield f"{where}: start tasks in a task group"
            if node.func.attr == "create_task":
                owner = node.func.value
                if isinstance(owner, ast.Name) and owner.id in {"asyncio", "loop"}:
                    yield f"{where}: start tasks in a task group"
                if not any(keyword.arg == "name" for keyword in node.keywords):
                    yield f"{where}: a task without a name"


def undocumented_probes() -> Iterator[str]:
    from skydiver import probes

    for name in probes.BUILTIN:
        module = SOURCE / "probes" / f"{name}.py"
        if not module.exists() and not (SOURCE / "probes" / name / "__init__.py").exists():
            yield f"probe {name}: no {module.relative_to(ROOT)}"
        page = ROOT / "docs" / "probes" / f"{name}.md"
        if not page.exists():
            yield f"probe {name}: no {page.relative_to(ROOT)}"


def relative_imports() -> Iterator[str]:
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level:
                yield f"{path.relative_to(ROOT)}:{node.lineno}: relative import"


def stub_differences() -> Iterator[str]:
    from skydiver.native import _native

    stub = ast.parse((SOURCE / "native" / "_native.pyi").read_text(encoding="utf-8"))
    for node in stub.body:
        if isinstance(node, ast.FunctionDef) and not hasattr(_native, node.name):
            yield f"_native.pyi: {node.name} is not in the compiled module"
        if isinstance(node, ast.ClassDef):
            real = getattr(_native, node.name, None)
            if real is None:
                yield f"_native.pyi: {node.name} is not in the compiled module"
                continue
            promised = {item.name for item in node.body if isinstance(item, ast.FunctionDef)}
            offered = {name for name in vars(real) if not name.startswith("__")}
            for name in sorted((promised - {"__init__"}) ^ offered):
                yield f"_native.pyi: {node.name}.{name} is in only one of stub and module"
    named = {n.name for n in stub.body if isinstance(n, (ast.FunctionDef, ast.ClassDef))}
    offered = {name for name in vars(_native) if not name.startswith("_")}
    for name in sorted(offered - named):
        yield f"_native.pyi: {name} of the compiled module is not documented"


def bad_names() -> Iterator[str]:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.split()
    for name in listed:
        if set(Path(name).with_suffix("").parts) & {"utils", "util", "helpers", "manager"}:
            yield f"{name}: name says nothing; use the word of the domain"


if __name__ == "__main__":
    main()
