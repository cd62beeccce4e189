"""A story told by kazoo, the Python client, to servers of ours.

Usage: story.py HOSTS [KILL...]. HOSTS is `host:port,host:port`. KILL is a command that kills the first of them; the
story then goes on with the others. Ends with `kazoo: all is well`, or with a traceback.
"""

import os
import subprocess
import sys
import threading
import time
import traceback

from kazoo.client import KazooClient
from kazoo.exceptions import BadVersionError, NoAuthError, NodeExistsError, NoNodeError, NotEmptyError
from kazoo.exceptions import RolledBackError, RuntimeInconsistency
from kazoo.protocol.states import KazooState
from kazoo.security import make_digest_acl

PATIENCE = 30


def connect(hosts, **options):
    client = KazooClient(hosts=hosts, timeout=10, randomize_hosts=False, **options)
    client.start(timeout=PATIENCE)
    return client


def refused(error, call, *arguments, **options):
    try:
        call(*arguments, **options)
    except error:
        return
    raise AssertionError(f"{call} did not raise {error}")


def until(what, condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"waited {PATIENCE} s for {what}"
        time.sleep(0.02)


def creates(client, other):
    client.ensure_path("/story/basics")
    assert client.create("/story/basics/a", b"one") == "/story/basics/a"
    refused(NodeExistsError, client.create, "/story/basics/a")
    data, stat = client.get("/story/basics/a")
    assert (data, stat.version, stat.dataLength) == (b"one", 0, 3)
    assert client.set("/story/basics/a", b"two", version=0).version == 1
    refused(BadVersionError, client.set, "/story/basics/a", b"three", version=0)
    refused(NotEmptyError, client.delete, "/story/basics")
    path, stat = client.create("/story/basics/b", b"", include_data=True)
    assert path == "/story/basics/b" and stat.ephemeralOwner == 0
    other.sync("/story")
    assert other.get("/story/basics/a")[0] == b"two"
    names, stat = other.get_children("/story/basics", include_data=True)
    assert sorted(names) == ["a", "b"] and stat.numChildren == 2
    client.delete("/story/basics/b")
    refused(NoNodeError, client.get, "/story/basics/b")
    assert client.exists("/story/basics/b") is None
    big = b"x" * 900_000
    client.create("/story/basics/big", big)
    assert client.get("/story/basics/big")[0] == big
    pending = [client.set_async("/story/basics/a", str(n).encode()) for n in range(500)]
    assert [p.get(timeout=PATIENCE).version for p in pending] == list(range(2, 502))
    client.delete("/story/basics", recursive=True)


def sequences(client, other):
    client.ensure_path("/story/sequence")
    paths = [client.create("/story/sequence/n-", sequence=True) for _ in range(3)]
    assert paths == [f"/story/sequence/n-{n:010}" for n in range(3)], paths
    assert other.create("/story/sequence/m-", sequence=True, ephemeral=True).endswith("m-0000000003")


def watches(client, other):
    told = []
    client.ensure_path("/story/watches")
    assert client.exists("/story/watches/a", watch=told.append) is None
    other.create("/story/watches/a", b"")
    until("the creation to be told", lambda: len(told) == 1)
    assert (told[0].type, told[0].path) == ("CREATED", "/story/watches/a")
    seen, children = [], []
    client.DataWatch("/story/watches/a")(lambda data, stat: seen.append(data))
    client.ChildrenWatch("/story/watches")(lambda names: children.append(sorted(names)))
    other.set("/story/watches/a", b"1")
    until("the change to be told", lambda: seen[-1] == b"1")
    other.create("/story/watches/b", b"")
    until("the child to be told", lambda: children[-1] == ["a", "b"])
    other.delete("/story/watches/a")
    until("the deletion to be told", lambda: seen[-1] is None and children[-1] == ["b"])


def ephemerals(client, hosts):
    short = connect(hosts)
    short.create("/story/short", b"", ephemeral=True)
    session = short.client_id[0]
    client.sync("/story")
    assert client.exists("/story/short").ephemeralOwner == session
    gone = threading.Event()
    client.exists("/story/short", watch=lambda event: gone.set())
    short.stop()
    assert gone.wait(PATIENCE), "an ephemeral znode goes with its session"
    short.close()


def transactions(client):
    client.ensure_path("/story/transaction")
    transaction = client.transaction()
    transaction.create("/story/transaction/a", b"1")
    transaction.check("/story/transaction", version=0)
    transaction.set_data("/story/transaction/a", b"2")
    results = transaction.commit()
    assert results[0] == "/story/transaction/a" and results[1] is True and results[2].version == 1, results
    transaction = client.transaction()
    transaction.create("/story/transaction/b")
    transaction.delete("/story/transaction/none")
    transaction.create("/story/transaction/c")
    kinds = [type(result) for result in transaction.commit()]
    assert kinds == [RolledBackError, NoNodeError, RuntimeInconsistency], kinds
    assert client.get_children("/story/transaction") == ["a"]


def acls(client, other):
    acl = make_digest_acl("reader", "secret", all=True)
    client.create("/story/guarded", b"treasure", acl=[acl])
    other.sync("/story")
    refused(NoAuthError, other.get, "/story/guarded")
    other.add_auth("digest", "reader:secret")
    assert other.get("/story/guarded")[0] == b"treasure"
    assert other.get_acls("/story/guarded")[0] == [acl]


def locks(clients):
    held, worst, rounds = [0], [0], [0]

    def work(client):
        for _ in range(5):
            with client.Lock("/story/lock", str(client.client_id[0])):
                held[0] += 1
                worst[0] = max(worst[0], held[0])
                time.sleep(0.005)
                rounds[0] += 1
                held[0] -= 1

    workers = [threading.Thread(target=work, args=(client,)) for client in clients]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(PATIENCE)
    assert (worst[0], rounds[0]) == (1, 5 * len(clients)), (worst, rounds)


def elections(clients):
    leaders, step_down = [], threading.Event()

    def lead(name):
        leaders.append(name)
        step_down.wait(PATIENCE)

    elections = [client.Election("/story/election", str(n)) for n, client in enumerate(clients)]
    workers = []
    for n, election in enumerate(elections):
        workers.append(threading.Thread(target=election.run, args=(lead, n)))
        workers[-1].start()
        until("its candidacy", lambda: len(election.contenders()) == n + 1)
    until("a leader", lambda: leaders)
    assert elections[0].contenders() == [str(n) for n in range(len(clients))]
    assert leaders == [0], leaders
    step_down.set()
    for worker in workers:
        worker.join(PATIENCE)
    assert leaders == list(range(len(clients))), leaders


def counters(clients):
    for client in clients:
        counter = client.Counter("/story/counter")
        for _ in range(5):
            counter += 1
    clients[0].sync("/story")
    assert clients[0].Counter("/story/counter").value == 5 * len(clients)


def survives_a_kill(hosts, kill):
    states, seen = [], []
    client = connect(hosts)
    client.add_listener(states.append)
    client.ensure_path("/story/survivor")
    client.create("/story/survivor/ephemeral", b"", ephemeral=True)
    # kazoo drops plain watches with a connection; this one sets itself again.
    client.DataWatch("/story/survivor/later")(lambda data, stat: seen.append(data))
    assert seen == [None]
    lock = client.Lock("/story/survivor/lock", "survivor")
    lock.acquire(timeout=PATIENCE)
    session = client.client_id[0]
    subprocess.run(kill, check=True)
    until("the loss to be noticed", lambda: KazooState.SUSPENDED in states)
    until("a new connection", lambda: client.connected)
    client.retry(client.create, "/story/survivor/later", b"late")
    until("the watch that was set before", lambda: seen[-1] == b"late")
    assert client.client_id[0] == session
    assert client.exists("/story/survivor/ephemeral").ephemeralOwner == session
    assert KazooState.LOST not in states, states
    lock.release()
    client.stop()
    client.close()


def main():
    hosts, kill = sys.argv[1], sys.argv[2:]
    servers = hosts.split(",")
    # One client for each server, or three for the only one.
    clients = [connect(server) for server in (servers if len(servers) > 1 else servers * 3)]
    first, second = clients[0], clients[1]
    steps = [
        (creates, (first, second)),
        (sequences, (first, second)),
        (watches, (first, second)),
        (ephemerals, (first, hosts)),
        (transactions, (first,)),
        (acls, (first, second)),
        (locks, (clients,)),
        (elections, (clients,)),
        (counters, (clients,)),
    ]
    for step, arguments in steps:
        step(*arguments)
        print("kazoo:", step.__name__, flush=True)
    for client in clients:
        client.stop()
        client.close()
    if kill:
        survives_a_kill(hosts, kill)
        print("kazoo: survives_a_kill", flush=True)
    print("kazoo: all is well")


try:
    main()
except BaseException:
    # The threads of a story that failed may wait for what never comes: nobody waits for them.
    traceback.print_exc()
    sys.stdout.flush()
    os._exit(1)
