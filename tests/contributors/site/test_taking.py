"""What a hub sends is taken in within bounds, and answered when it is beyond them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from flwr.app import Context, Message, RecordDict
from flwr.common.serde import context_to_proto, message_to_proto
from flwr.proto.message_pb2 import ObjectTree, PullObjectRequest, PullObjectResponse
from flwr.proto.runtime_pb2 import PullAppMessagesResponse, PullTaskInputResponse
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree
from flwr.supercore.task_identity import TaskIdentity

from contributors.site.clientapp import message_content
from contributors.site.policy import Agreed, Agreements, write_agreements
from contributors.site.taking import BESIDE, emptied, half_of_memory, most_of, take_task
from protos.documents.base import FileEntry
from protos.transport import contents
from protos.transport.contents import data_of, document_of
from tests.contributors.site.test_policy import SPEC
from trust.digests import digest_bytes

RUN, SITE = 7, 3


class SuperNode:
    """Has one task for the training process, and the parts of its message."""

    def __init__(self, content: RecordDict) -> None:
        TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, RUN, 0
        message = Message(content, dst_node_id=SITE, message_type="train")
        message.metadata.__dict__["_message_id"] = message.object_id
        self.tree = get_object_tree(message)
        self.parts = {name: each.deflate() for name, each in get_all_nested_objects(message).items()}
        self.empty = message_to_proto(Message(RecordDict(), dst_node_id=SITE, message_type="train"))
        self.empty.metadata.message_id = self.tree.object_id
        self.confirmed: list[str] = []

    def change_array(self, repeat: int) -> None:
        """Say that the array's chunks follow each other so often."""
        name, content = next(each for each in self.parts.items() if each[1].startswith(b"Array "))
        head, body = content.split(b"\0", 1)
        said = json.loads(body)
        said["arraychunk_ids"] *= repeat
        self.parts[name] = head + b"\0" + json.dumps(said).encode()

    def PullTaskInput(self, request: object) -> PullTaskInputResponse:
        context = Context(RUN, SITE, {}, RecordDict(), {})
        return PullTaskInputResponse(context=context_to_proto(context), task_id=1)

    def PullMessages(self, request: object) -> PullAppMessagesResponse:
        return PullAppMessagesResponse(messages_list=[self.empty], message_object_trees=[self.tree])

    def PullObject(self, request: PullObjectRequest) -> PullObjectResponse:
        content = self.parts.get(request.object_id)
        return PullObjectResponse(object_found=content is not None, object_available=True, object_content=content)

    def ConfirmMessageReceived(self, request: object) -> None:
        self.confirmed.append(request.message_object_id)  # type: ignore[attr-defined]


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> SuperNode:
    """Its message's data is an array of 1000 bytes."""
    monkeypatch.setattr(contents, "AT_ONCE", 10)
    return SuperNode(message_content("task", b"{}", b"x" * 1000))


def test_a_task_is_taken_in_and_may_be_answered(large: SuperNode, tmp_path: Path) -> None:
    message, context, problem = take_task(large, 10_000, tmp_path)
    assert problem is None
    assert (context.run_id, context.node_id) == (RUN, SITE)
    assert (document_of(message.content, "task"), data_of(message.content, "task", 1000)[:]) == (b"{}", b"x" * 1000)
    assert Message(RecordDict(), reply_to=message).metadata.reply_to_message_id == large.tree.object_id
    assert large.confirmed == [large.tree.object_id]


def test_attack_17_a_chunk_that_a_hub_names_many_times_ends_no_training_process(
    large: SuperNode, tmp_path: Path
) -> None:
    """17: a few bytes that would join into more than a machine has are refused before, and the hub hears why."""
    large.change_array(100_000)
    message, _, problem = take_task(large, 1_000_000, tmp_path)
    assert problem is not None
    assert problem.what == "The message names more than 2 chunks of arrays."
    assert not list(tmp_path.iterdir())
    assert Message(RecordDict(), reply_to=message).metadata.reply_to_message_id == large.tree.object_id


def test_more_bytes_than_a_task_may_have_are_not_even_kept(large: SuperNode, tmp_path: Path) -> None:
    _, _, problem = take_task(large, 900, tmp_path)
    assert problem is not None
    assert problem.what == "The message holds an array that is none, or of more than 900 bytes."
    assert large.confirmed == [large.tree.object_id]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "without a head"),
        (b"Unheard 0 0\0", "lost"),
        (b"Message  3\0abc", "no message of Flower's"),
        (b"RecordDict  2\0{}", "no message of Flower's"),
    ],
)
def test_what_is_no_message_is_refused(content: bytes, words: str, tmp_path: Path) -> None:
    hub = SuperNode(RecordDict())
    hub.tree = ObjectTree(object_id=hub.tree.object_id)
    hub.parts[hub.tree.object_id] = content
    _, _, problem = take_task(hub, 1000, tmp_path)
    assert problem is not None
    assert words in problem.what


def test_a_task_may_have_so_many_bytes_as_the_models_that_were_agreed_to(tmp_path: Path) -> None:
    assert most_of(tmp_path) == BESIDE
    base = tuple(FileEntry(path=name, digest=digest_bytes(b""), size=1 << 20) for name in "ab")
    agreed = Agreed(campaign="campaign-a", spec=SPEC, base=base)
    write_agreements(tmp_path, Agreements(campaigns=(agreed, agreed.model_copy(update={"campaign": "campaign-b"}))))
    assert most_of(tmp_path) == (8 << 20) + BESIDE
    write_agreements(tmp_path, Agreements(campaigns=(agreed, Agreed(campaign="campaign-b", spec=SPEC))))
    assert most_of(tmp_path) == half_of_memory()


def test_tasks_come_into_a_folder_of_the_sites_own_which_begins_empty(tmp_path: Path) -> None:
    folder = emptied(tmp_path)
    assert folder.is_relative_to(tmp_path)
    assert folder.stat().st_mode & 0o777 == 0o700
    (folder / "reply-left").write_bytes(b"by a process that was killed")
    assert not list(emptied(tmp_path).iterdir())
