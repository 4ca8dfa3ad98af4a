"""Runs the commands of `helpers.failing_scenarios` with every system call failing in every way, and judges each.

Started by `tests/faults/test_failing_commands.py` with ``failing_calls.c`` preloaded::

    python -c "from helpers.failing_commands import main; main()" INPUTS WORK SCRATCH {"scenarios": …}

It prints a line of JSON for each command: how many calls it makes, how many were tried in how many ways, and what was
wrong.
"""

import gc
import json
import os
import pickle
import random
import re
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from signal import SIGKILL
from typing import Any

from helpers.failing_calls import FAULTS, Ended, Fault, Shim
from helpers.failing_scenarios import SCENARIOS, Place, Scenario, load, make_inputs, run
from helpers.tiny_finetuning import registered

_RANDOM = re.compile(r"-[0-9]+-[0-9a-f]{8}\b|(?<=checkpoints/)(last|best)-[0-9a-f]{8}(/.*)?")


class SharedPrograms:
    """Takes the place of `jax.jit`: what a command compiles when it is run again is what it compiled before.

    A forked child cannot compile, because XLA's threads are not forked; it can run what is compiled.
    """

    def __init__(self, jit: Callable[..., Any]) -> None:
        self._jit = jit
        self._known: dict[Any, Any] = {}
        self._turns: Counter[Any] = Counter()
        self._scenario = ""

    def begin(self, scenario: str) -> None:
        """Begin a command; those of a scenario compile the same functions of one name, in the same order."""
        self._scenario = scenario
        self._turns.clear()

    def __call__(self, function: Callable[..., Any], **options: Any) -> Any:
        name = self._scenario, getattr(function, "__qualname__", "partial"), str(options)
        self._turns[name] += 1
        key = name, self._turns[name]
        if key not in self._known:
            self._known[key] = self._jit(function, **options)
        return self._known[key]


def in_children(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let this process call a function in a forked child; children of this process call it themselves.

    Tensorstore, with which checkpoints are written, aborts a process that is forked from one that has used it.
    """
    here = os.getpid()

    def call(*arguments: Any) -> Any:
        if os.getpid() != here:
            return function(*arguments)
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            with open(writing, "wb") as stream:
                pickle.dump(function(*arguments), stream)
            os._exit(0)
        os.close(writing)
        with open(reading, "rb") as stream:
            result = pickle.load(stream)
        os.waitpid(child, 0)
        return result

    return call


@dataclass
class Bench:
    """One scenario, ready to be run again and again from the same situation."""

    name: str
    place: Place
    scratch: Path
    shim: Shim
    programs: SharedPrograms
    scenario: Scenario = field(init=False)
    before: dict[str, Any] = field(init=False)
    after: dict[str, Any] = field(init=False)
    listing: list[str] = field(init=False)
    kinds: str = field(init=False)

    def __post_init__(self) -> None:
        self.scenario = SCENARIOS[self.name]
        self._empty()
        self.programs.begin(f"before {self.name}")
        self.scenario.prepare(self.place)
        shutil.copytree(self.place.work, self.scratch)
        self.before = self._contents()
        warm = self._command()  # in this process: what it compiles, children need not
        assert warm == 0, f"{self.name} ends with {warm} on a healthy disk"
        self.after = self._contents()
        self.listing = self._files()
        self._reset()
        gc.freeze()  # so that a child's collector does not copy what it shares with this process
        healthy = self.shim.in_a_child(self._command)
        assert healthy.code == 0, healthy
        assert self._contents() == self.after, f"{self.name} ends differently when it is run twice"
        self.kinds = healthy.calls

    def verdict(self, fault: Fault, call: int) -> str:
        """Let one call fail, run the command again with a healthy disk; return what was wrong, or nothing."""
        self._reset()
        ended = self.shim.in_a_child(self._command, fault, call)
        try:
            self._judge(ended, fault)
            self._finish()
        except Exception as error:
            failed = ended.first_failed.replace(str(self.place.work), "")
            return f"{type(error).__name__}: {error} [{failed}; exit {ended.code}: {ended.output[-600:]}]"
        return ""

    def _judge(self, ended: Ended, fault: Fault) -> None:
        if ended.signal:
            ours = fault.kills and ended.signal == SIGKILL and ended.failed
            assert ours, f"signal {ended.signal}"
        found = self._contents()
        for name, content in found.items():
            old, new = self.before[name], self.after[name]
            allowed = self.scenario.allowed.get(name)
            right = allowed(content, old, new) if allowed else content in (old, new)
            assert right, f"{name} is neither old nor new: {content}"
        if ended.signal:
            return
        if ended.code == 0:
            told = [
                name
                for name in self.scenario.extras
                if f"warning: cannot write {self.place.work}/{name}" in ended.output
            ]
            assert found == self.after | {name: found[name] for name in told}, "it says that it succeeded"
        else:
            self._judge_words(ended)

    def _judge_words(self, ended: Ended) -> None:
        lines = ended.output.splitlines()
        errors = [line for line in lines if line.startswith("error:")]
        assert "Traceback" not in ended.output, "a traceback"
        assert "unexpected" not in ended.output, "an unexpected error"
        assert lines[-1:] == errors, f"{len(errors)} lines of errors"
        _path, _, rest = errors[0].partition(str(self.place.work))
        assert rest, "no path"
        assert re.search(r"[;:] \w+ \w+", rest), "no remedy"
        assert ended.code == 1, f"exit code {ended.code}"

    def _finish(self) -> None:
        scenario, place = self.scenario, self.place
        commands = scenario.then(place) if scenario.then else [scenario.command(place)]
        for arguments in commands:
            again = self.shim.in_a_child(lambda given=arguments: self._run(given))
            assert again.code in scenario.done, (
                f"run again it ends with {again.code}, {again.signal}: {again.output}"
            )
        found = self._contents()
        wrong = [name for name, content in found.items() if content != self.after[name]]
        assert not wrong, f"run again it leaves another {', '.join(wrong)}"
        files = self._files()
        more, less = sorted(set(files) - set(self.listing)), sorted(set(self.listing) - set(files))
        assert files == self.listing, f"run again it leaves {more}, and lacks {less}"

    def _command(self) -> int:
        return self._run(self.scenario.command(self.place))

    def _run(self, arguments: list[str]) -> int:
        self.programs.begin(self.name)
        return run(arguments)

    def _contents(self) -> dict[str, Any]:
        return {name: read(self.place.work / name) for name, read in self.scenario.objects.items()}

    def _files(self) -> list[str]:
        """Return every path in the folder; what is random in a name is left out."""
        found = (str(path.relative_to(self.place.work)) for path in self.place.work.rglob("*"))
        return sorted({_RANDOM.sub(r"\1", path) for path in found})

    def _empty(self) -> None:
        for path in self.place.work.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def _reset(self) -> None:
        self._empty()
        shutil.copytree(self.scratch, self.place.work, dirs_exist_ok=True)


def report(bench: Bench, faults: Sequence[str], points: int | None, chance: random.Random) -> dict[str, Any]:
    """Try some of the pairs of calls and faults of a command, or all."""
    pairs = [
        (call, name)
        for call, name in product(range(1, len(bench.kinds) + 1), faults)
        if FAULTS[name].concerns(bench.kinds[call - 1])
    ]
    chosen = pairs if points is None or points >= len(pairs) else sorted(chance.sample(pairs, points))
    wrong = {}
    for call, name in chosen:
        if found := bench.verdict(FAULTS[name], call):
            wrong[f"{name}, call {call}"] = found
    return {"scenario": bench.name, "calls": len(bench.kinds), "tried": len(chosen), "wrong": wrong}


def main() -> None:
    """Read what to do from the command line."""
    import jax

    from featcache import backbones
    from featcache.core import forked
    from featcache.finetuning.runs import checkpoints

    forked.jax_has_started = lambda: (
        False
    )  # what runs in the children needs none of the threads that are not forked
    jax.config.update("jax_cpu_enable_async_dispatch", False)  # its thread is not forked, either
    jax.jit = programs = SharedPrograms(jax.jit)
    inputs, work, scratch, asked = (*map(Path, sys.argv[1:4]), json.loads(sys.argv[4]))
    os.environ["FEATCACHE_HOME"] = str(work / "home")
    backbones.load = load
    for name in ("read_tree", "write_tree"):
        setattr(checkpoints, name, in_children(getattr(checkpoints, name)))
    for folder in (inputs, work, scratch):
        folder.mkdir(exist_ok=True)
    place, shim = Place(inputs, work), Shim()
    scenarios = asked["scenarios"] or list(SCENARIOS)
    if any(name.startswith("finetune") for name in scenarios):
        from orbax.checkpoint import v1  # noqa: F401 - once, not in each child
    with registered():
        make_inputs(inputs)
        for name in scenarios:
            bench = Bench(name, place, scratch / name.replace(" ", "-"), shim, programs)
            chance = random.Random(f"{name} {asked['seed']}")
            found = report(bench, asked["faults"] or list(FAULTS), asked["points"], chance)
            print(json.dumps(found), flush=True)
