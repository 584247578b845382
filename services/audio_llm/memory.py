"""What both sides of a live conversation said, as it was heard."""

from avatar.speech.chat import Message
from services.audio_llm.conversation import KEPT_CHARACTERS, recent


class Memory:
    """Questions enter it when they are asked, answers when they were heard."""

    def __init__(self) -> None:
        self.messages: tuple[Message, ...] = ()

    def asked(self, question: str) -> None:
        self._add(Message("user", question))

    def heard(self, answer: str) -> None:
        """So much of the answer was heard; nothing of it, and there was none."""
        if answer:
            self._add(Message("assistant", answer))

    def prompt(self, question: str) -> tuple[str, tuple[Message, ...]]:
        """The question as the model is asked it, and the turns before it.

        What stayed without an answer belongs to the question: the caller was interrupted in the
        middle of it, or spoke on.
        """
        before = self.messages
        while before and before[-1].role == "user" and len(question) < KEPT_CHARACTERS:
            question = f"{before[-1].text} {question}"
            before = before[:-1]
        return question, before

    def _add(self, message: Message) -> None:
        self.messages = recent((*self.messages, message))
