"""Members take turns: order is what is tested, no time is measured."""

from __future__ import annotations

import asyncio

import pytest

from hub.turns import Turns


async def flood_and_others(turns: Turns, flood: int, others: int) -> list[str]:
    """One member asks many times before the others ask once each; who got a turn, in order."""
    order: list[str] = []

    async def work(member: str) -> None:
        async with turns.turn(member):
            order.append(member)
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        for _ in range(flood):
            group.create_task(work("flood"))
        for number in range(others):
            group.create_task(work(f"other-{number}"))
    return order


@pytest.mark.parametrize("slots", [1, 2, 5])
def test_a_flood_waits_behind_everybody_elses_first(slots: int) -> None:
    order = asyncio.run(flood_and_others(Turns(slots), 1000, 20))
    assert len(order) == 1020
    last = max(order.index(f"other-{number}") for number in range(20))
    assert last < slots + 20 + 1


def test_no_more_than_the_slots_work_at_once() -> None:
    turns, now, most = Turns(3), 0, 0

    async def work(member: str) -> None:
        nonlocal now, most
        async with turns.turn(member):
            now += 1
            most = max(most, now)
            await asyncio.sleep(0)
            now -= 1

    async def everybody() -> None:
        await asyncio.gather(*(work(f"member-{n % 7}") for n in range(100)))

    asyncio.run(everybody())
    assert (most, now) == (3, 0)


def test_who_gives_up_waiting_takes_no_slot_with_it() -> None:
    async def story() -> None:
        turns, order = Turns(1), []

        async def work(member: str) -> None:
            async with turns.turn(member):
                order.append(member)

        async with turns.turn("first"):
            tasks = [asyncio.create_task(work(f"member-{n}")) for n in range(4)]
            await asyncio.sleep(0)
            tasks[0].cancel()
            tasks[2].cancel()
        tasks[1].cancel()  # it has been given the turn already, and does not use it
        await asyncio.gather(*tasks, return_exceptions=True)
        async with turns.turn("last"):
            order.append("last")
        assert order == ["member-3", "last"]

    asyncio.run(story())


def test_a_member_has_no_more_than_its_own_slots_and_others_get_past_it() -> None:
    async def story() -> None:
        turns, goes_on, order = Turns(4, each=2), asyncio.Event(), []

        async def work(member: str) -> None:
            async with turns.turn(member):
                order.append(member)
                await goes_on.wait()

        async with asyncio.TaskGroup() as group:
            for member in ("flood", "flood", "flood", "flood", "one", "two", "three"):
                group.create_task(work(member))
            while len(order) < 4:
                await asyncio.sleep(0)
            assert order == ["flood", "flood", "one", "two"], "two slots wait for others than the flood"
            goes_on.set()
        assert sorted(order) == ["flood"] * 4 + ["one", "three", "two"]
        async with turns.turn("flood"), turns.turn("flood"), turns.turn("one"), turns.turn("two"):
            pass

    asyncio.run(story())
