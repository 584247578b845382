"""What a client asks about avatars, for programs with asyncio."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

import grpc

from talkingmachines._async_operation import AsyncOperation, AsyncOperationCalls
from talkingmachines._avatar_wire import avatar_of, create_avatar, progress_of
from talkingmachines._avatars import OperationList, Portrait
from talkingmachines._connection import Metadata
from talkingmachines._events import Avatar
from talkingmachines._input import (
    MAX_PAGE_SIZE,
    FileSource,
    check_avatar,
    check_name,
    check_page_size,
)
from talkingmachines_api.v1 import avatar_pb2, avatar_pb2_grpc

R = TypeVar("R")


class AsyncAvatarCalls(ABC):
    """Part of `AsyncClient`."""

    _server: str
    _metadata: Metadata

    async def avatars(self) -> list[Avatar]:
        """The characters this server can show; the first is its default."""
        return [avatar async for page in self.avatar_pages(MAX_PAGE_SIZE) for avatar in page]

    def avatar_pages(self, page_size: int = 100) -> AsyncIterator[list[Avatar]]:
        """The same, a page at a time, each asked for when it is wanted.

        Args:
            page_size: At most so many at once, 1 to 1000.
        """
        return self._pages(check_page_size(page_size))

    async def portrait(self, avatar: str) -> bytes:
        """A picture of an avatar, as PNG; empty where there is none.

        Raises:
            NotFound: There is no such avatar.
        """
        request = avatar_pb2.GetAvatarRequest(avatar_id=check_avatar(avatar))
        return (await self._unary(self._avatar_stub().GetAvatar, request)).portrait

    async def create_avatar(self, source: FileSource | Portrait) -> AsyncOperation:
        """Begins to make an avatar, minutes later it can be called. For operators.

        Which of both a server takes depends on its profile. One is made at a time.

        Args:
            source: A character description, the bytes of a TOML file (at most 64 KiB) or its path;
                or a portrait of somebody who agrees.

        Raises:
            InvalidInput: The description or the portrait is wrong; the message says where.
            NotOffered: This server makes none from that.
            Busy: Another one is being made.
            PermissionDenied: If the key is not an operator's.
            OSError: If the file cannot be read.
        """
        request = await asyncio.to_thread(create_avatar, source)
        answer = await self._unary(self._avatar_stub().CreateAvatar, request)
        return self.operation(answer.operation.id)

    async def delete_avatar(self, avatar: str) -> None:
        """Removes an avatar that was made on the server; calls that go on keep it. For operators.

        Raises:
            NotFound: There is none of that name.
            PermissionDenied: It comes with the server; or the key is not an operator's.
            Busy: It is being made.
        """
        request = avatar_pb2.DeleteAvatarRequest(avatar_id=check_avatar(avatar))
        await self._unary(self._avatar_stub().DeleteAvatar, request)

    def operation(self, operation_id: str) -> AsyncOperation:
        """The making of an avatar that was begun before, by its id. For operators."""
        calls = AsyncOperationCalls(
            server=self._server,
            metadata=self._metadata,
            stub=self._avatar_stub,
            get=lambda request: self._unary(self._avatar_stub().GetOperation, request),
            cancel=lambda request: self._unary(self._avatar_stub().CancelOperation, request),
        )
        return AsyncOperation(calls, check_name(operation_id, "operation's id"))

    async def operations(self) -> OperationList:
        """All avatars that are being made or were, as far as remembered; the newest first.

        For operators.

        Raises:
            PermissionDenied: If the key is not an operator's.
        """
        request = avatar_pb2.ListOperationsRequest()
        answer = await self._unary(self._avatar_stub().ListOperations, request)
        found = tuple(progress_of(each) for each in answer.operations)
        return OperationList(found, tuple(answer.silent_gateways))

    async def _pages(self, page_size: int) -> AsyncIterator[list[Avatar]]:
        token = ""
        while True:
            request = avatar_pb2.AvatarServiceListAvatarsRequest(
                page_size=page_size, page_token=token
            )
            answer = await self._unary(self._avatar_stub().ListAvatars, request)
            yield [avatar_of(each) for each in answer.avatars]
            if not (token := answer.next_page_token):
                return

    def _avatar_stub(self) -> "avatar_pb2_grpc.AvatarServiceAsyncStub":
        return avatar_pb2_grpc.AvatarServiceStub(self._open_channel())

    @abstractmethod
    async def _unary(self, call: Callable[..., Awaitable[R]], request: object) -> R: ...

    @abstractmethod
    def _open_channel(self) -> grpc.aio.Channel: ...
