"""What the hub asks of its SuperLink: make a site's key known, start and stop Flower runs, take a run's server task.

Flower's Control API knows no accounts in this edition, so the SuperLink that we start demands our secret for it
(`superlink_process`). flwr is imported on use: it costs half a second and the hub's main process mostly does without.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from trust.errors import Denied, Unavailable

if TYPE_CHECKING:
    from flwr.supercore.control.control_http_client import ControlHttpClient
    from flwr.supercore.runtime import RuntimeHttpClient

SECRET_HEADER = "x-coalition-secret"  # noqa: S105 - the header's name
ACQUIRE = "/flwr.proto.Runtime/AcquireTask"
UNREGISTERED = "unregistered"
_FINISHED = "finished"


def given_up() -> Denied:
    """The refusal of a SuperNode's key that is nobody's any more."""
    return Denied(
        "This site key was given up when a key of its member was revoked.",
        "Move keys/site.key away: the site makes a new one.",
    )


class _Secret:
    """Adds the secret to every request (an interceptor of Flower's HTTP clients)."""

    def __init__(self, secret: str) -> None:
        self._secret = secret

    def intercept(self, context: Any, call_next: Any) -> Any:
        context.request.headers[SECRET_HEADER] = self._secret
        return call_next(context)


def _version() -> Any:
    from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor

    return RuntimeVersionHttpInterceptor(component_name="coalition-hub")


def control_client(address: str, authority: bytes, secret: str) -> ControlHttpClient:
    """A client of the Control API at HOST:PORT; a context manager."""
    from flwr.supercore.control.control_http_client import ControlHttpClient

    return ControlHttpClient.from_server_address(
        server_address=address,
        insecure=False,
        root_certificates=authority,
        interceptors=[_version(), _Secret(secret)],
    )


def register_node(client: ControlHttpClient, public_key: bytes) -> int:
    """Make a SuperNode's key (SPKI PEM) known; the node's number. Registering a known key answers with its number.

    Raises `Denied` for one that was given up.
    """
    from flwr.proto.control_pb2 import ListNodesRequest, RegisterNodeRequest

    for node in client.ListNodes(ListNodesRequest()).nodes_info:
        if node.public_key == public_key:
            if node.status == UNREGISTERED:
                raise given_up()
            return int(node.node_id)
    return int(client.RegisterNode(RegisterNodeRequest(public_key=public_key)).node_id)


def unregister_nodes(client: ControlHttpClient, public_keys: Collection[bytes]) -> None:
    """Make SuperNodes' keys unknown: the SuperLink takes no call of theirs any more, and no such key again."""
    from flwr.proto.control_pb2 import ListNodesRequest, UnregisterNodeRequest

    for node in client.ListNodes(ListNodesRequest()).nodes_info:
        if node.public_key in public_keys and node.status != UNREGISTERED:
            client.UnregisterNode(UnregisterNodeRequest(node_id=node.node_id))


def start_run(client: ControlHttpClient, fab: bytes) -> int:
    """Start a Flower run of our app; the run's number."""
    from flwr.proto.control_pb2 import StartRunRequest
    from flwr.proto.fab_pb2 import Fab

    response = client.StartRun(StartRunRequest(fab=Fab(hash_str=hashlib.sha256(fab).hexdigest(), content=fab)))
    if not response.HasField("run_id"):
        raise Unavailable("The SuperLink started no run.")
    return int(response.run_id)


def stop_runs(client: ControlHttpClient) -> None:
    """Stop every run that is not over: those of server apps that were killed."""
    from flwr.proto.control_pb2 import ListRunsRequest, StopRunRequest

    for number, run in client.ListRuns(ListRunsRequest()).run_dict.items():
        if run.status.status != _FINISHED:
            client.StopRun(StopRunRequest(run_id=number))


def acquire_server_task(client: RuntimeHttpClient) -> tuple[int, str] | None:
    """(run, token) of the oldest server task that waits, or None."""
    from flwr.proto.runtime_pb2 import AcquireTaskRequest
    from flwr.supercore.constant import TaskType

    response = client.AcquireTask(AcquireTaskRequest(supported_task_types=[TaskType.SERVER_APP]))
    if response.HasField("task") and response.token:
        return int(response.task.run_id), str(response.token)
    return None


def runtime_client(address: str, authority: bytes, secret: str) -> RuntimeHttpClient:
    """A client that may acquire tasks: it signs the request with the secret, as a SuperExec does."""
    from flwr.supercore.interceptors import SuperExecAuthHttpInterceptor
    from flwr.supercore.runtime import RuntimeHttpClient

    auth = SuperExecAuthHttpInterceptor(master_secret=secret.encode(), protected_methods={ACQUIRE})
    return RuntimeHttpClient.from_server_address(
        server_address=address, insecure=False, root_certificates=authority, interceptors=[_version(), auth]
    )
