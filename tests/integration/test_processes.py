"""Descendants end with the launcher, also those whose own parent has gone."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux adopts orphans"),
]

ROOT = Path(__file__).parent.parent.parent

LAUNCHER = """
import subprocess, sys
from services.processes import adopt_orphans, end_descendants

adopt_orphans()
# a parent that ends at once, and leaves a grandchild that does not listen to SIGTERM
parent = subprocess.Popen([sys.executable, "-c", '''
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c",
    "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); "
    "signal.pause()"], stdout=subprocess.PIPE, start_new_session=True)
child.stdout.readline()
print(child.pid, flush=True)
'''], stdout=subprocess.PIPE)
grandchild = int(parent.stdout.readline())
parent.wait()
print(grandchild, end_descendants(grace_s=0.2))
"""


def test_a_stubborn_orphan_is_ended_too() -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(LAUNCHER)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    grandchild, num_stubborn = done.stdout.split()
    assert num_stubborn == "1"
    assert not Path(f"/proc/{grandchild}").exists()
