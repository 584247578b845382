"""Which back end runs a stage: an export on the CPU where there is one, else torch."""

from collections.abc import Mapping

from avatar.backends import Backend, Running
from avatar.backends.graph import FOLDER, Graph, choose_graph
from avatar.cast.profiles import Profile
from avatar.errors import Unavailable


def graph_or_torch(
    running: Running, profile: Profile, network: str, about: Mapping[str, str]
) -> tuple[Graph | None, Backend]:
    """The graph to run `network` with, or None for torch, and why.

    Raises:
        AvatarError: OpenVINO was asked for by name and cannot be had; the message says why.
    """
    has_export = (profile.folder / FOLDER).is_dir()
    if running.wish == "auto" and not has_export:
        return None, Backend("torch", "the profile has no export for CPUs")
    if running.device in ("auto", "cpu"):
        return choose_graph(running.wish, profile.folder, network, about)
    if running.wish == "openvino":
        raise Unavailable(
            f"BACKEND=openvino runs on the CPU, and the device {running.device} was asked for; "
            "use BACKEND=auto, or the device cpu"
        )
    return None, Backend("torch", f"the device {running.device} was asked for")
