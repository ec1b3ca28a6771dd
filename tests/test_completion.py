"""What a shell offers, asked of the shell itself."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from deepfake_detect import cli

if TYPE_CHECKING:
    from pathlib import Path

# Asks the function as the shell would; zsh knows the words of a line under the same names while it completes.
_ASK = """
{script}
COMP_WORDS=({words}) COMP_CWORD={last}
_deepfake_detect
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def printed(capsys: pytest.CaptureFixture[str], shell: str) -> str:
    with pytest.raises(SystemExit) as left:
        cli.main(["--print-completion", shell])
    assert left.value.code == 0
    return capsys.readouterr().out


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("sc", ["scan"]),
        ("", ["scan", "serve", "verify", "compare", "my clip.mp4"]),
        ("my", ["my clip.mp4"]),
        ("--eng", ["--engine"]),
        ("--engine o", ["onnx"]),
        ("--thor", ["--thorough"]),
        ("scan --o", ["--out", "--on"]),
        ("scan --on r", ["ray"]),
        ("serve --no", ["--no-browser"]),
        ("--no", ["--no-images"]),
        ("scan --out r", [""]),  # names of files, which the shell itself offers
        ("clip.mp4 ", [""]),
    ],
)
def test_bash_offers(line: str, offered: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "my clip.mp4").touch()
    words = ["deepfake-detect", *line.split(" ")]
    asked = _ASK.format(
        script=printed(capsys, "bash"), words=" ".join(f"'{word}'" for word in words), last=len(words) - 1
    )
    found = subprocess.run(["bash", "-c", asked], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert found.stdout.removesuffix("\n").split("\n") == offered
    # `compopt` is only there while a shell completes.
    assert found.stderr == ""


@pytest.mark.skipif(shutil.which("zsh") is None, reason="needs zsh")
def test_zsh_takes_it(capsys: pytest.CaptureFixture[str]) -> None:
    asked = printed(capsys, "zsh") + "print -l $functions[_deepfake_detect] ${_comps[deepfake-detect]}"
    found = subprocess.run(["zsh", "-f", "-c", asked], capture_output=True, text=True, check=True)
    assert "--thorough" in found.stdout
    assert found.stdout.rstrip().endswith("_bash_complete -o default -F _deepfake_detect")


def test_another_shell_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        cli.main(["--print-completion", "csh"])
    assert left.value.code == 2
    assert "csh" in capsys.readouterr().err


def test_nothing_is_loaded_for_it() -> None:
    asked = """
import sys
from deepfake_detect import cli
try:
    cli.main(["--print-completion", "bash"])
except SystemExit:
    sys.exit("numpy" in sys.modules)
"""
    subprocess.run([sys.executable, "-c", asked], check=True, stdout=subprocess.DEVNULL)
