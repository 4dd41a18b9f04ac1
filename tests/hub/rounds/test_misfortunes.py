"""Bad input and bad luck, with real SuperNodes in one campaign: rounds go on without whom it meets, who can act is told what to
do in one sentence, and once it is over its site takes part again.

| what meets a member           | what it is told                                                                        |
|-------------------------------|----------------------------------------------------------------------------------------|
| its text is of no dataset     | ... belongs to no dataset that law has submitted                                       |
| another base model is sent    | model.safetensors of the task is not that of tiny-1 on the ledger. Tell the core team. |
| it joins late                 | joined campaign-...                                                                    |
| its clock is off by a day     | This machine's clock is 1 day, 0:00:00 ahead of the hub's: ...                         |
| its certificate ran out       | Your certificate expired at ... Ask the operator for an invitation, then run ...       |
| it runs another version       | This site runs coalition 0.0.9 and the hub 0.1.0: ...                                  |
| it is slow                    | our update was left out: the round's deadline passed while its site had the task       |
| it has too little text        | The site's text does not fill one block of tokens. Give it more text.                  |
| it has no text                | ... holds no text. Put .jsonl, ... files there.                                        |
| it is cut off amid an upload  | the SuperNode died; it starts again                                                    |
| its dataset was withdrawn     | notes.txt may not be trained on: data-... was withdrawn                                |
| it leaves for good            | The member law was revoked.                                                            |
"""

from __future__ import annotations

import re

import pytest

from contributors import keychain
from contributors.client import Coalition
from contributors.site.clientapp import UNFIT
from protos.coalition.v1 import rounds_pb2
from protos.documents.campaigns import CampaignSpec
from protos.documents.methods import Patience
from protos.transport.version import installed
from tests.hub.rounds.conftest import PATIENCE, World, until
from tests.hub.rounds.misfortunes import DAY, OLDER, Machine

pytestmark = pytest.mark.system

DEADLINE = 15.0
AGAIN = "Trying again."


class Course:
    """A campaign as it goes on, looked at from a member's screen and from the core team's."""

    def __init__(self, world: World, campaign: str) -> None:
        self._world, self.campaign = world, campaign

    def says(self, machine: Machine, sentence: str) -> None:
        until(lambda: sentence in machine.log, f"{machine.member} to read {sentence!r}")

    def tells(self, what: str) -> None:
        """The core team, which watches it."""
        with Coalition(self._world.homes["core"]) as core:
            assert any(re.search(what, event.message) for event in core.watch_campaign(self.campaign))

    def leaves_out(self, machine: Machine, why: str) -> None:
        """A round that goes on without a member, to whom its site says why."""

        def without(each: rounds_pb2.Round) -> bool:
            parts = {part.member: part for part in each.participants}
            return machine.member in parts and why in parts[machine.member].excluded and parts["medicine"].weight > 0

        self._world.wait(self.campaign, lambda found: any(map(without, found.rounds)))
        self.says(machine, f"our update was left out: {why}")

    def goes_on_with(self, *members: str) -> None:
        """A round that ends from now on, in which these members' updates count and no other's."""
        before = len(self._world.campaign(self.campaign).rounds)

        def counted(each: rounds_pb2.Round) -> set[str]:
            return {part.member for part in each.participants if part.weight}

        self._world.wait(
            self.campaign, lambda found: any(counted(each) == set(members) for each in found.rounds[before:])
        )


def test_a_campaign_goes_on_whatever_meets_its_sites(world: World, spec: CampaignSpec) -> None:
    law, medicine, museum = (Machine(world, name) for name in ("law", "medicine", "museum"))
    for machine in (law, medicine, museum):
        world.member(machine.member)
    training = spec.training.model_copy(update={"steps": 40})  # slow enough for 100 rounds to outlast what is to come
    hurried = {"rounds": 100, "minimum_members": 2, "training": training, "patience": Patience(seconds=DEADLINE)}
    course = Course(world, world.open_campaign(spec.model_copy(update=hurried)))

    notes = start_with_text_of_no_dataset_and_another_base(course, world, law, medicine)
    join_late_with_a_wrong_clock_and_an_older_version(course, world, museum, law)
    have_too_little_text_and_none(course, world, law)
    be_cut_off_amid_an_upload(course, law)
    withdraw_what_was_learned_from_and_leave(course, world, law, notes)


def start_with_text_of_no_dataset_and_another_base(
    course: Course, world: World, law: Machine, medicine: Machine
) -> str:
    """Law's dataset. No site joins with data that nobody has declared, or trains a model that is not the ledger's."""
    for machine in (law, medicine):
        world.declared[machine.member] = ""  # its site starts all the same
        machine.start()
    for machine in (law, medicine):
        course.says(machine, f"notes.txt belongs to no dataset that {machine.member} has submitted")
    assert not world.campaign(course.campaign).members
    notes = world.declare("law", world.private_text("law"))
    course.says(law, f"joined {course.campaign}")
    law.mistake_the_base()
    world.declared["medicine"] = world.declare("medicine", world.private_text("medicine"))
    wrong = "model.safetensors of the task is not that of tiny-1 on the ledger."
    course.leaves_out(law, f"The site refused: {wrong}")
    course.says(law, f"{wrong} Tell the core team.")

    course.goes_on_with("law", "medicine")
    newest = world.campaign(course.campaign).rounds[-1].model
    with Coalition(world.homes["core"]) as core:
        used = {(data.member, data.dataset): data.category for data in core.lineage(newest).data}
    assert used == {("law", notes): "private", ("medicine", world.declared["medicine"]): "private"}
    return notes


def join_late_with_a_wrong_clock_and_an_older_version(
    course: Course, world: World, museum: Machine, law: Machine
) -> None:
    """And meanwhile another site is too slow: one deadline passes for both."""
    museum.clock(ahead=DAY)
    museum.start(older=True)
    course.says(museum, "This machine's clock is 1 day, 0:00:0")
    course.says(museum, f"This site runs coalition {OLDER} and the hub {installed()}")
    course.says(museum, f"joined {course.campaign}")
    course.tells("^asks .*museum")
    with law.stalled():
        course.leaves_out(law, "the round's deadline passed while its site had the task")
        course.leaves_out(museum, "the round's deadline passed while its site was away")
    museum.clock(ahead=4000 * DAY)
    course.says(museum, f"Ask the operator for an invitation, then run `coalition keys renew --token TOKEN`. {AGAIN}")
    assert re.search(r"Your certificate expired at .* UTC; it is 20\d\d", museum.log)
    museum.clock(ahead=0)
    course.says(museum, "the hub is back")
    course.says(museum, "this machine's clock is right again")
    course.leaves_out(
        museum, f"The site refused: This site runs coalition {OLDER} and the hub another version, whose task"
    )
    course.says(museum, "Install the hub's version of coalition.")
    course.goes_on_with("law", "medicine")


def have_too_little_text_and_none(course: Course, world: World, law: Machine) -> None:
    text = law.home / "private" / "notes.txt"
    full = text.read_text()
    text.write_text("Too short.")
    world.declare("law", text.parent, "short")
    course.leaves_out(law, f"The site refused: {UNFIT}")
    course.says(law, "The site's text does not fill one block of tokens. Give it more text.")
    text.unlink()
    course.says(law, "holds no text. Put ")
    text.write_text(full)
    course.goes_on_with("law", "medicine")


def be_cut_off_amid_an_upload(course: Course, law: Machine) -> None:
    law.cut()
    course.says(law, "the SuperNode died; it starts again")
    course.tells("law's site is back and gets its task again")
    course.goes_on_with("law", "medicine")


def withdraw_what_was_learned_from_and_leave(course: Course, world: World, law: Machine, notes: str) -> None:
    world.withdraw("law", notes)
    course.goes_on_with("medicine")
    (why,) = (part.excluded for part in world.campaign(course.campaign).rounds[-1].participants if part.member == "law")
    assert "notes.txt" not in why
    course.says(law, f"notes.txt may not be trained on: {notes} was withdrawn")
    with Coalition(world.homes["core"]) as core:
        keychain.revoke_member(core, "law", "", None, "the member left")
    site = world.processes.pop("law")
    world.wait(
        course.campaign,
        lambda found: [part.member for part in found.rounds[-1].participants] == ["medicine", "museum"],
    )
    assert world.campaign(course.campaign).members == ["medicine", "museum"]
    assert site.wait(PATIENCE) != 0, "a revoked member's site has nothing to do here"
    course.says(law, "The member law was revoked.")
