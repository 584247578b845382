"""TalkingMachines: the library (maths, media types, transports; runs without Ray)."""

__version__ = "0.1.0"
