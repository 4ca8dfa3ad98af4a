"""The harness tells of what does not hold: commands that fail, output that was not printed, Python that raises."""

import textwrap

import pytest
from helpers.doc_pages import running
from helpers.doc_pages.blocks import blocks_of
from helpers.doc_pages.checking import absent, commands, refused
from helpers.doc_pages.readers import Reader
from helpers.doc_pages.shapes import shape, unprinted
from helpers.doc_pages.shell import Shell

PAGE = """
<!-- a remark -->

```bash
echo a # b
```

<!-- not run: `echo no` needs a loudspeaker -->
```text
$ echo no
$ echo \\
> yes
yes
```

1. A list:

   <!-- not run: reads minds of people -->
   ```python
   x = 1
   ```

```
featcache 1
{"x": 1}
```

```
featcache doctor
```
"""


def test_blocks_of_a_page():
    first, second, third, fourth, fifth = blocks_of(PAGE, "p.md")
    assert (first.place, first.kind, first.text, first.comments) == ("p.md:4", "bash", "echo a # b\n", ())
    assert (second.kind, second.runs) == ("console", True)
    assert list(second.commands()) == [("echo no", ""), ("echo \\\nyes", "yes\n")]
    assert (third.text, third.runs, third.not_run) == ("x = 1\n", False, ("reads minds of people",))
    assert (fourth.kind, fifth.kind) == ("text", "bash")


def test_lines_that_begin_so_are_left_out():
    (block,) = blocks_of("<!-- not run: `echo no` a reason -->\n```bash\necho no\necho yes\n```\n", "p.md")
    assert (block.script, block.left_out) == ("\necho yes\n", ("echo no",))


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ("360 images, 2.0 MB", "60 images, 312.5 kB"),
        ("classes 9: brick, cat, coffee", "classes 3: daisy, rose, tulip"),
        ("photos/a.jpg  tulips 99.3 %", "new/1.png   rose 8 %"),
        ("change -0.8 to +1.5 points", "change 0.3 to 2 points"),
        ("1 photo", "12 photos"),
        ("head\n1  roses  3\n2  tulips  5", "head\n1  daisy  1"),
        ("*1  ridge  l2=1e+03; 3 s", " 12  logistic  defaults; 4 min"),
        ("all: linear on x, c=1 epochs=2; y", "all: ridge on x, defaults; y"),
        ("35 training, 3 test", "2 training, 1 validation, 1 test"),
        ("largest differences: probabilities 1.5e-06, …", "largest differences: probabilities 2, logits 3"),
    ],
)
def test_lines_of_one_shape(shown, printed):
    assert unprinted(shown, printed) == []


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ("360 images", "360 pictures"),
        ("a line\nanother", "another\na line"),
        ("a line …", "the line is long"),
        ("efficientnet_lite0", "efficientnet_lite1"),
        ("accuracy 82.5 %", "accuracy none"),
    ],
)
def test_lines_of_other_shapes(shown, printed):
    assert unprinted(shown, printed) != []


def test_a_line_may_be_wrapped_and_others_left_out():
    assert unprinted("error: this is\nlong …\n…\nend", "x\nerror: this is long indeed\ny\nend\nz") == []


def test_a_shape_keeps_names_with_numbers():
    assert (
        shape("float32 of efficientnet_lite0.tf_in1k, opset 17")
        == "float32 of efficientnet_lite0.tf_in1k, opset 0"
    )


def test_commands_behind_variables_pipes_and_comments():
    script = "A=1 featcache extract 'a #b' | featcache x && cd y # it's featcache z\nseq 4 | xargs featcache \\\n  w"
    assert list(commands(script)) == [["extract", "a #b"], ["x"], ["w"]]


def test_options_and_names_that_do_not_exist_are_told():
    assert "--epoch" in (refused(["train-head", "x.h5", "--epoch", "3"]) or "")
    assert refused(["train-head", "x.h5", "--epochs", "3"]) is None
    assert refused(["cache", "no"]) == "featcache cache has no command no"
    source = (
        "import featcache\nfrom featcache import nothing\nfeatcache.none\nfeatcache.extract('x', colour=1)"
    )
    assert list(absent(source)) == ["featcache.nothing", "featcache.none", "featcache.extract(colour=)"]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run a page's text; returns what went wrong."""
    monkeypatch.setattr(running, "reader_of", lambda page: Reader(shell="mkdir -p below"))
    monkeypatch.setattr(running.photos, "for_all", lambda root: None)

    def run(text):
        for name in ("reader", "tools"):
            (tmp_path / name).mkdir(exist_ok=True)
        return running.run_blocks(blocks_of(textwrap.dedent(text), "p.md"), "p.md", *tmp_path.iterdir())

    return run


def test_a_page_that_holds(run, tmp_path):
    assert (
        run("""
        ```bash
        cd below && featcache --version | tee version
        ```
        <!-- output -->
        ```text
        featcache 99.99.99
        ```
        ```python
        print(open("version").read())
        ```
        <!-- output -->
        ```text
        featcache 0.0.0
        ```
        ```pycon
        >>> 1 + 1
        7
        ```
        ```console
        $ featcache extract nowhere
        error: …nowhere…
        ```
        """)
        == []
    )


@pytest.mark.parametrize(
    ("block", "told"),
    [
        ("```bash\nfalse\ntrue\n```", "which failed: exit code 1"),
        ("```bash\nfeatcache extract nowhere | cat\n```", "which failed: exit code"),
        ("```python\n1 / 0\n```", "ZeroDivisionError"),
        ("```console\n$ echo yes\nno\n```", "shown, but not printed: no"),
        ("```console\n$ echo error: no\nerror: no\n```", "should have failed"),
        ("```pycon\n>>> 'a'\n'b'\n```", "shown, but not printed: 'b'"),
        (
            "<!-- output of: featcache --version -->\n```text\nversion 1\n```",
            "shown, but not printed: version 1",
        ),
    ],
)
def test_a_page_that_does_not_hold(run, block, told):
    (problem,) = run(block)
    assert told in problem
    assert problem.startswith("p.md:")


def test_commands_have_their_own_environment_and_folder(tmp_path):
    for name in ("reader", "tools"):
        (tmp_path / name).mkdir()
    shell = Shell(tmp_path / "reader", tmp_path / "tools")
    done = shell.run(
        "mkdir x && cd x && NO_COLOR=1 featcache --version > out; featcache --version 2>&1 | head -c 4"
    )
    assert (done.code, done.printed, shell.folder.name) == (0, "feat", "x")
    assert [ran.words for ran in done.commands] == [["--version"], ["--version"]]
    assert (shell.folder / "out").read_text() == done.commands[0].out
