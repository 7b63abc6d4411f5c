"""The budget for replies: who holds it, who waits, and what is looked at again after that."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

import pytest
from cryptography.fernet import Fernet
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from agents.attempts import Attempts, LeftOut, Oversized, Removed, Tried
from agents.directory import Directory
from agents.parcels import Batch
from agents.reply_budget import BUDGET, ReplyBudget, Reservation, reply_cap
from agents.retrying import Attempt, Backoff
from agents.webhooks import Answer, HttpSender
from streams import signing
from streams.events import EVIDENCE_CAP, PartnerStatus, SealedSecret
from streams.failures import THRESHOLD
from streams.sealing import Sealer
from streams.signing import Scheme
from tests.misbehaving import Seen, Serve, answer, flooding, listening, trickling
from tests.misbehaviours import LONG
from tests.unit.fakes import OK, FakeClock, FakeSender, MemoryLog, announce, partner, settle, written_notice

PARTNERS = "abcdef"


def test_the_cap_follows_from_what_may_be_in_a_reply() -> None:
    for notices in (1, 5, 1000):
        assert notices * (EVIDENCE_CAP + 2048) <= reply_cap(notices) <= notices * (EVIDENCE_CAP + 2048) + 65536
    assert 3 * reply_cap(1000) <= BUDGET // 4


def granted(*asked: Reservation) -> list[bool]:
    return [each.granted.is_set() for each in asked]


def test_a_partner_that_holds_its_share_waits_for_itself_alone() -> None:
    budget = ReplyBudget(400, spare=40, small=20)
    first, second, third = budget.ask("a", 60), budget.ask("a", 60), budget.ask("a", 10)
    other = budget.ask("b", 100)
    assert granted(first, second, third, other) == [True, False, False, True]
    first.end()
    assert granted(second, third) == [True, True]


def test_a_large_one_is_not_overtaken_for_ever_by_smaller_ones() -> None:
    budget = ReplyBudget(400, spare=0, small=20)
    held = [budget.ask(partner, 100) for partner in "abcd"]
    large, small = budget.ask("e", 100), budget.ask("f", 1)
    assert granted(large, small) == [False, False]
    held[0].end()
    assert granted(large, small) == [True, False]
    held[1].end()
    assert granted(small) == [True]


def test_what_is_spared_for_small_ones_is_not_held_by_large_ones() -> None:
    budget = ReplyBudget(400, spare=40, small=20)
    large = [budget.ask(partner, 90) for partner in "abcd"]
    more = budget.ask("e", 21)
    small = [budget.ask(partner, 20) for partner in "fgh"]
    assert granted(*large, more, *small) == [True, True, True, True, False, True, True, False]
    small[0].end()
    assert granted(more, small[2]) == [False, True]
    large[0].end()
    assert granted(more) == [True]


def test_small_ones_do_not_keep_a_large_one_waiting() -> None:
    """They may hold all that is left; but once it waits, no more than what is spared for them."""
    budget = ReplyBudget(400, spare=40, small=20)
    small = [budget.ask(f"p{number}", 20) for number in range(20)]
    large = budget.ask("a", 100)
    assert granted(*small, large) == [True] * 20 + [False]
    for each in small[:7]:
        each.end()
        assert granted(budget.ask("b", 20)) == [False]
    assert granted(large) == [True]


def test_more_than_a_share_is_a_share() -> None:
    budget = ReplyBudget(400, spare=40, small=20)
    assert granted(budget.ask("a", 10**9), budget.ask("a", 1)) == [True, False]


class Budgets(RuleBasedStateMachine):
    """Whatever is asked for and given back, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.budget = ReplyBudget(400, spare=40, small=20)
        self.asked: list[Reservation] = []

    @property
    def held(self) -> list[Reservation]:
        return [each for each in self.asked if each.granted.is_set()]

    @property
    def waiting(self) -> list[Reservation]:
        return [each for each in self.asked if not each.granted.is_set()]

    @rule(partner=st.sampled_from(PARTNERS), size=st.integers(1, 150))
    def ask(self, partner: str, size: int) -> None:
        self.asked.append(self.budget.ask(partner, size))

    @precondition(lambda self: self.asked)
    @rule(data=st.data(), times=st.integers(1, 2))
    def end(self, data: st.DataObject, times: int) -> None:
        """Also of one that waits, and twice."""
        chosen = data.draw(st.sampled_from(self.asked))
        for _ in range(times):
            chosen.end()
        self.asked.remove(chosen)

    @invariant()
    def nobody_holds_more_than_a_quarter_and_all_no_more_than_there_is(self) -> None:
        of_partner: Counter[str] = Counter()
        for each in self.held:
            of_partner[each.partner] += each.size
        assert max(of_partner.values(), default=0) <= 100
        assert of_partner.total() <= 400
        assert sum(each.size for each in self.held if each.size > 20) <= 360

    @invariant()
    def who_waits_waits_for_somebody(self) -> None:
        """The first one of all that wait, but for those who hold their share, does not fit in."""
        left = 400 - sum(each.size for each in self.held)
        over_share: set[str] = set()
        for each in self.waiting:
            own = sum(other.size for other in self.held if other.partner == each.partner)
            if each.partner not in over_share and own + each.size <= 100:
                assert each.size > left - (40 if each.size > 20 else 0)
                return
            over_share.add(each.partner)

    @invariant()
    def a_partner_is_served_in_order(self) -> None:
        late: set[str] = set()
        for each in self.asked:
            assert not (each.granted.is_set() and each.partner in late)
            if not each.granted.is_set():
                late.add(each.partner)

    def teardown(self) -> None:
        for each in list(self.asked):
            each.end()
        assert self.budget.left == 400


TestBudgets = Budgets.TestCase


# -- attempts

Begun = asyncio.Task[Tried | LeftOut | Oversized]


class Scene:
    """Partner p, which has one notice to get, where others hold all of the budget."""

    def __init__(self, *answers: Answer) -> None:
        self.log = MemoryLog()
        self.directory = Directory(self.log)
        self.sender = FakeSender(list(answers))
        self.sealer = Sealer(Fernet.generate_key().decode())
        self.budget = ReplyBudget(4 * reply_cap(1), spare=0)
        self.attempts = Attempts(
            self.log, self.directory, self.sender, self.sealer, FakeClock(), Backoff(0.0, 0.0), budget=self.budget
        )
        self.gone: list[str] = []
        self.others = [self.budget.ask(name, reply_cap(1)) for name in "wxyz"]
        self.parcel = Batch(3, 7, 7, "p", (written_notice(0),), (7,)).parcels(1)[0]

    async def announce(self, **changes: object) -> None:
        secret = SealedSecret(scheme=Scheme.V1, sealed=self.sealer.seal(signing.new_secret()))
        await announce(self.log, self.directory, partner("p", **({"secrets": (secret,)} | changes)))

    async def begin(self) -> Begun:
        """One attempt, which waits for the budget."""
        await self.announce()
        task = asyncio.ensure_future(self.attempts.once(self.parcel, 1, lambda parcel: self.gone))
        await settle()
        assert not task.done()
        assert self.sender.requests == []
        return task

    def all_is_given_back(self) -> bool:
        for each in self.others:
            each.end()
        return self.budget.left == 4 * reply_cap(1)


async def test_who_finds_the_budget_used_waits_before_its_post_and_is_not_charged() -> None:
    scene = Scene(OK)
    task = await scene.begin()
    scene.others[0].end()
    tried = await task
    assert isinstance(tried, Tried)
    assert (tried.number, tried.answer) == (1, OK)
    assert scene.attempts.channel("p").breaker.failures == 0
    assert len(scene.sender.requests) == 1
    assert scene.all_is_given_back()


async def test_the_budget_is_held_while_the_request_is_under_way() -> None:
    scene = Scene(OK)
    left: list[int] = []
    scene.sender.before_answer = lambda: left.append(scene.budget.left)
    task = await scene.begin()
    scene.others[0].end()
    await task
    assert left == [0]
    assert scene.budget.left == reply_cap(1)


@pytest.mark.parametrize("granted_first", [True, False])
async def test_a_notice_that_was_reversed_meanwhile_is_left_out(granted_first: bool) -> None:
    scene = Scene(OK)
    task = await scene.begin()
    if granted_first:
        scene.others[0].end()
    scene.gone = ["n0"]
    scene.others[0].end()
    assert await task == LeftOut(["n0"])
    assert scene.sender.requests == []
    assert scene.all_is_given_back()


async def test_a_partner_that_was_removed_meanwhile_gets_nothing() -> None:
    scene = Scene(OK)
    task = await scene.begin()
    await scene.announce(revision=2, status=PartnerStatus.REMOVED)
    with pytest.raises(Removed):
        await task
    assert scene.sender.requests == []
    assert scene.all_is_given_back()


async def test_a_partner_that_was_paused_meanwhile_gets_nothing_until_it_is_active_and_holds_nothing() -> None:
    scene = Scene(OK)
    task = await scene.begin()
    await scene.announce(revision=2, status=PartnerStatus.PAUSED)
    await settle()
    assert scene.all_is_given_back()
    assert scene.sender.requests == []
    await scene.announce(revision=3, url="https://q.example/")
    assert isinstance(await task, Tried)
    assert [each.url for each in scene.sender.requests] == ["https://q.example/"]
    assert scene.all_is_given_back()


async def test_a_partner_whose_other_lane_is_probing_meanwhile_waits_for_that_and_holds_nothing() -> None:
    scene = Scene(OK)
    task = await scene.begin()
    channel = scene.attempts.channel("p")
    for _ in range(THRESHOLD):
        channel.breaker.failed(0.0)
    channel.breaker.begin()
    scene.others[0].end()
    await settle()
    assert scene.sender.requests == []
    assert scene.budget.left == reply_cap(1)
    channel.breaker.answered()
    channel.move()
    assert isinstance(await task, Tried)
    assert scene.all_is_given_back()


@pytest.mark.parametrize("yields", range(12))
@pytest.mark.parametrize("granted", [True, False])
async def test_who_is_cancelled_at_any_point_holds_nothing(granted: bool, yields: int) -> None:
    scene = Scene(OK)
    await scene.announce()
    task = asyncio.ensure_future(scene.attempts.once(scene.parcel, 1, lambda parcel: ()))
    if granted:
        scene.others[0].end()
    for _ in range(yields):
        await asyncio.sleep(0)
    if not granted and yields % 2:
        scene.others[0].end()
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    await settle()
    assert scene.all_is_given_back()
    assert scene.budget.ask("p", reply_cap(1)).granted.is_set()


async def test_own_trouble_gives_the_budget_back_while_it_waits() -> None:
    scene = Scene(Answer(Attempt(None, "", ours="this host has no memory left"), 0.0), OK)
    task = await scene.begin()
    scene.others[0].end()
    assert isinstance(await task, Tried)
    assert scene.all_is_given_back()


# -- real partners


@pytest.mark.parametrize(
    "greedy",
    [flooding(LONG, b" " * 65536), trickling(LONG, b" " * 10**6)],
    ids=["as fast as they can", "a byte now and then, until the time is over"],
)
async def test_four_greedy_partners_with_endless_replies_do_not_keep_a_fifth_from_its_own(greedy: Serve) -> None:
    """Each of them could use up a quarter with two of its four lanes."""
    size, timeout = 50, 30.0
    log, clock = MemoryLog(), FakeClock()
    directory = Directory(log)
    sealer = Sealer(Fernet.generate_key().decode())
    secret = SealedSecret(scheme=Scheme.V1, sealed=sealer.seal(signing.new_secret()))
    sender = HttpSender(timeout, allow_private=True)
    budget = ReplyBudget(8 * reply_cap(size), 2 * reply_cap(1), reply_cap(1))
    attempts = Attempts(log, directory, sender, sealer, clock, Backoff(0.0, 0.0), budget=budget)
    notices = tuple(written_notice(number) for number in range(size))

    async def go_on(name: str, lane: int) -> None:
        (parcel,) = Batch(lane, 7, 7, name, notices, (7,) * size).parcels(size)
        while True:
            tried = await attempts.once(parcel, 1, lambda _: ())
            assert isinstance(tried, Tried)
            attempts.disregarded(tried)

    small, tiny = Seen(), Batch(9, 7, 7, "e", notices[:1], (7,)).parcels(1)[0]
    async with listening(greedy, Seen(), None) as port, listening(answer(200), small, None) as other:
        for name in "abcd":
            await announce(log, directory, partner(name, url=f"http://127.0.0.1:{port}/", secrets=(secret,)))
        await announce(log, directory, partner("e", url=f"http://127.0.0.1:{other}/", secrets=(secret,)))
        lanes = [asyncio.ensure_future(go_on(name, lane)) for name in "abcd" for lane in range(4)]
        async with asyncio.timeout(timeout / 2):
            while budget.left >= 2 * reply_cap(size):
                await asyncio.sleep(0.01)
        longest = 0.0
        for _ in range(20):
            began = time.monotonic()
            tried = await attempts.once(tiny, 1, lambda _: ())
            longest = max(longest, time.monotonic() - began)
            assert isinstance(tried, Tried)
            assert tried.answer.attempt.accepted
        assert longest < timeout / 2
        assert not any(lane.done() for lane in lanes)
        for lane in lanes:
            lane.cancel()
        await asyncio.wait(lanes)
    await sender.close()
    assert small.requests == 20
    assert budget.left == 8 * reply_cap(size)
