"""Processors that run other programs are told apart."""

import pytest

from featcache.core.processor import processor

X86 = """processor\t: 0
model name\t: Some CPU
cpu MHz\t\t: 2000.1
flags\t\t: fpu avx2

processor\t: 1
model name\t: Some CPU
flags\t\t: fpu
"""
ARM = "processor\t: 0\nBogoMIPS\t: 50.0\nFeatures\t: fp asimd\nCPU part\t: 0xd0c\n\n"


@pytest.mark.parametrize(
    ("text", "other", "same"),
    [
        (X86, X86.replace("avx2", "avx2 avx512f"), False),
        (X86, X86.replace("Some CPU", "Some other CPU"), False),
        (X86, X86.replace("2000.1", "3999.9"), True),
        (ARM, ARM.replace("asimd", "asimd sve"), False),
        (ARM, ARM.replace("0xd0c", "0xd4f"), False),
        (ARM, ARM.replace("50.0", "60.0"), True),
    ],
)
def test_a_processor_is_its_model_and_what_it_can_do(tmp_path, text, other, same):
    told = []
    for number, content in enumerate((text, other)):
        (tmp_path / f"{number}").write_text(content)
        told.append(processor(tmp_path / f"{number}"))
    assert (told[0] == told[1]) is same


def test_a_processor_that_is_not_told_is_that_of_this_machine(tmp_path, monkeypatch):
    here = processor(tmp_path / "absent")
    monkeypatch.setattr("platform.node", lambda: "elsewhere")
    assert processor(tmp_path / "absent") != here
