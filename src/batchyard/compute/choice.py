"""What runs the containers here: the direct runtime, Docker, or Podman.

Decides it, from what works and what the operator wishes, and says why. Rule: tasks that another one
of them has left in the data folder are never passed over: their containers may still run, and a
server that cannot see them would run their jobs a second time.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, get_args

from batchyard.compute.docker.detect import KINDS, FoundEngine, find_engine
from batchyard.compute.local.detect import Check, find_runtime
from batchyard.compute.port import Trouble

Wish = Literal["auto", "crun", "runc", "docker", "podman"]
WISHES: Final[Sequence[Wish]] = get_args(Wish)

#: Where each keeps the records of its tasks, in the data folder.
FOLDER_BY_KIND: Final = {
    "direct": "tasks",
    "docker": "docker-tasks",
    "podman": "podman-tasks",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What was chosen. `engine` None: the direct runtime."""

    engine: FoundEngine | None
    why: str

    @property
    def kind(self) -> str:
        return "direct" if self.engine is None else self.engine.kind


def choose(data_dir: Path, wish: Wish, *, socket_path: str | None = None) -> Choice:
    """Choose what runs containers; blocks. Raises `Trouble` if nothing can, or must not.

    `socket_path` is where the engine is looked for, instead of its usual places.
    """
    left = [kind for kind, name in FOLDER_BY_KIND.items() if _has_tasks(data_dir / name)]
    choice = _choose_freely(data_dir, wish, socket_path, left)
    others = [kind for kind in left if kind != choice.kind]
    if others:
        runtime = "auto" if others[0] == "direct" else others[0]
        raise Trouble(
            f"{data_dir} has tasks that run, or ran, as {others[0]} containers, and"
            f" {choice.kind} does not see them: start with the setting runtime={runtime} until"
            " their jobs have ended, or use another data folder"
        )
    return choice


def _choose_freely(
    data_dir: Path, wish: Wish, socket_path: str | None, left: Sequence[str]
) -> Choice:
    if wish in KINDS:
        return Choice(engine=find_engine(wish, socket_path), why="the setting runtime says so")
    if wish != "auto":
        return Choice(engine=None, why="the setting runtime says so")
    for kind in KINDS:
        if kind in left:
            return Choice(
                engine=find_engine(kind, socket_path), why="tasks of it are left in the data folder"
            )
    problems = [_problem_of_direct(data_dir)]
    if not problems[0]:
        return Choice(engine=None, why="it works, and is the fastest")
    for kind in KINDS:
        try:
            engine = find_engine(kind, socket_path)
        except Trouble as trouble:
            problems.append(str(trouble))
        else:
            return Choice(engine=engine, why="; ".join(problems))
    raise Trouble(f"nothing here can run containers: {'; '.join(problems)}; see `batchyard doctor`")


def _problem_of_direct(data_dir: Path) -> str:
    """Say why containers cannot be run directly; empty if they can."""
    if os.geteuid() != 0:
        return "running containers directly needs root"
    try:
        find_runtime(data_dir)
    except (Trouble, OSError) as error:
        return str(error)
    return ""


def _has_tasks(folder: Path) -> bool:
    return any(folder.glob("*.task"))


def check_engines(wish: Wish, *, socket_path: str | None = None) -> list[Check]:
    """Look for engines, for `batchyard doctor`: one that is not there is amiss only if wished."""
    checks = []
    for kind in KINDS:
        is_wished = wish == kind
        try:
            engine = find_engine(kind, socket_path if is_wished else None)
        except Trouble as trouble:
            detail, _, remedy = str(trouble).partition("): ")
            checks.append(
                Check(
                    name=kind,
                    is_ok=not is_wished,
                    detail=f"{detail})" if remedy else detail,
                    remedy=remedy if is_wished else "",
                )
            )
        else:
            detail = f"{engine.version} at {engine.socket_path}"
            checks.append(Check(name=kind, is_ok=True, detail=detail))
    return checks
