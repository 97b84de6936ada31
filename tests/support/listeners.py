"""Those who listen to a bus in tests: what they were told, awaitable one by one."""

import asyncio
from collections.abc import Callable

from broker.port import Bus, Delivery


class Taken:
    """What a consumer was given, awaitable one by one."""

    def __init__(self) -> None:
        self.all: list[Delivery] = []
        self._queue: asyncio.Queue[Delivery] = asyncio.Queue()

    def __call__(self, delivery: Delivery) -> None:
        self.all.append(delivery)
        self._queue.put_nowait(delivery)

    async def next(self) -> Delivery:
        return await asyncio.wait_for(self._queue.get(), 10)

    async def some(self, count: int) -> list[Delivery]:
        return [await self.next() for _ in range(count)]


class Heard:
    """What an inbox got."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[tuple[bytes, str]] = asyncio.Queue()

    def __call__(self, body: bytes, correlation: str) -> None:
        self._queue.put_nowait((body, correlation))

    @property
    def waiting(self) -> int:
        """How many nobody has asked for yet."""
        return self._queue.qsize()

    async def next(self) -> tuple[bytes, str]:
        return await asyncio.wait_for(self._queue.get(), 10)


class Troubles:
    """What a bus says about itself."""

    def __init__(self, bus: Bus) -> None:
        self.all: list[str | None] = []
        self._queue: asyncio.Queue[str | None] = asyncio.Queue()
        bus.on_trouble = self._told

    def _told(self, trouble: str | None) -> None:
        self.all.append(trouble)
        self._queue.put_nowait(trouble)

    async def until(self, wanted: Callable[[str | None], bool]) -> str | None:
        """The next trouble that is wanted."""
        async with asyncio.timeout(20):
            while not wanted(trouble := await self._queue.get()):
                pass
            return trouble

    async def over(self) -> None:
        """Until it says that there is none."""
        await self.until(lambda trouble: trouble is None)

    async def some(self) -> str:
        """Until there is one."""
        trouble = await self.until(lambda trouble: trouble is not None)
        assert trouble is not None
        return trouble
