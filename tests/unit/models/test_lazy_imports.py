"""The default avatar pays nothing for the libraries of the large models."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.unit

HEAVY = ("diffusers", "transformers")
CODE = f"""
import sys
import avatar.engines.audio_encoder, avatar.engines.score, avatar.engines.vae_decoder, avatar.render
from avatar.cast.profile import load_dit, load_vae
from avatar.cast.profiles import load_profile

load_dit(load_profile("tiny")), load_vae(load_profile("tiny"))
print([each for each in {HEAVY} if each in sys.modules])
"""


def test_the_default_avatar_s_engines_import_no_library_of_the_large_models() -> None:
    ran = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
