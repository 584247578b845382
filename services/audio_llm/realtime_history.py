"""What both sides said, for a server that has to be told it again."""

from dataclasses import dataclass, field

from openai.types.realtime import ConversationItemCreateEventParam

KEPT_ENTRIES, KEPT_CHARACTERS = 64, 16_000


@dataclass
class _Entry:
    role: str
    text: str = field(repr=False)
    item_id: str = ""


class History:
    """Questions enter it when they were asked, answers when they were heard."""

    def __init__(self) -> None:
        self._entries: list[_Entry] = []

    def asked(self, text: str) -> None:
        self._add(_Entry("user", text))

    def spoken(self, item_id: str) -> None:
        """Something was said; what it was comes later, in `understood`."""
        self._add(_Entry("user", "", item_id))

    def understood(self, item_id: str, text: str) -> None:
        for entry in self._entries:
            if entry.item_id == item_id:
                entry.text = text

    def heard(self, text: str) -> None:
        if text:
            self._add(_Entry("assistant", text))

    @property
    def ends_with_question(self) -> bool:
        """Whether the last that was said is a question of which the words are known."""
        return bool(self._entries and self._entries[-1].role == "user" and self._entries[-1].text)

    def items(self) -> list[ConversationItemCreateEventParam]:
        """The newest of it, as events that create it anew."""
        kept: list[_Entry] = []
        num_characters = 0
        for entry in reversed(self._entries):
            num_characters += len(entry.text)
            if num_characters > KEPT_CHARACTERS:
                break
            kept.insert(0, entry)
        return [
            said(entry.text) if entry.role == "assistant" else asked(entry.text)
            for entry in kept
            if entry.text
        ]

    def _add(self, entry: _Entry) -> None:
        self._entries.append(entry)
        del self._entries[:-KEPT_ENTRIES]


def asked(text: str) -> ConversationItemCreateEventParam:
    """Something that the caller has said, or typed."""
    return {
        "type": "conversation.item.create",
        "item": {
            "type": "message",
            "role": "user",
            "content": [{"type": "input_text", "text": text}],
        },
    }


def said(text: str) -> ConversationItemCreateEventParam:
    """Something that the avatar has said."""
    return {
        "type": "conversation.item.create",
        "item": {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": text}],
        },
    }
