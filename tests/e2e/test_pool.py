# SPDX-License-Identifier: MIT
"""One PHP process and many who want it."""
import pathlib
import time

from conftest import has_read, wait_until
from phpsite import in_threads, make_site, php_fpm, serving

CLIENTS = 200


def test_200_clients_and_one_process_in_order_of_arrival(folder):
    """Everybody is answered, and nobody overtakes: the script writes down who comes when."""
    root, notes = make_site(folder / "site"), folder / "notes"
    notes.mkdir()
    notes.chmod(0o777)
    (root / "note.php").write_text(f"""<?php
        file_put_contents('{notes}/order', $_GET['n'] . "\\n", FILE_APPEND);
        while ($_GET['n'] === 'plug' && !file_exists('{notes}/go')) usleep(5000);
        echo 'noted ', $_GET['n'];""")
    (root / "note.php").chmod(0o644)

    def noted():
        order = pathlib.Path(notes / "order")
        return order.read_text().split() if order.exists() else []

    with php_fpm(folder / "fpm", "pm.max_children=1") as (_, address), \
            serving(folder / "run", root, "-a", address, "--threads", 1) as ferry:
        plug = ferry.client()
        clients = [ferry.client() for _ in range(CLIENTS)]
        try:
            plug.send("GET /note.php?n=plug HTTP/1.1\r\nHost: x\r\n\r\n")
            end = time.monotonic() + 20
            while noted() != ["plug"]:
                assert time.monotonic() < end
                time.sleep(0.01)
            for n, client in enumerate(clients):
                client.send(f"GET /note.php?n={n} HTTP/1.1\r\nHost: x\r\n\r\n")
                if n % 8 == 7:
                    wait_until(lambda: has_read(ferry.port))
            time.sleep(1)  # ferry sees after 20 ms that the one process is pinned, and keeps no connection from then on
            (notes / "go").touch()
            for n, client in enumerate(clients):
                r = client.response()
                assert r.status == 200 and r.text == f"noted {n}", (n, r.status, r.body)
            assert plug.response().status == 200
        finally:
            for client in [plug, *clients]:
                client.close()
    order = noted()[1:]
    assert sorted(order, key=int) == [str(n) for n in range(CLIENTS)]  # each once
    # Those whose bytes the loop sees in one turn may be seen in another order.
    assert max(abs(int(n) - at) for at, n in enumerate(order)) <= 8, order


def test_20_requests_one_after_the_other(folder):
    """gofast issues 14 to 16: kept connections do not use up the only process."""
    root = make_site(folder / "site")
    with php_fpm(folder / "fpm", "pm.max_children=1") as (_, address), \
            serving(folder / "run", root, "-a", address, "--threads", 2) as ferry:
        for _ in range(20):
            assert ferry.get("/exit.php").status == 200


def test_100_clients_that_leave_use_nothing_up(folder):
    """gofast issues 48, 50 and 64: requests that are given up leave no connection, and no place in the queue."""
    root = make_site(folder / "site")
    with php_fpm(folder / "fpm", "pm.max_children=1") as (_, address), \
            serving(folder / "run", root, "-a", address, "--threads", 2) as ferry:
        def leave(_):
            client = ferry.client()
            client.send("GET /sleep.php?ms=20 HTTP/1.1\r\nHost: x\r\n\r\n")
            client.close()

        def opened():
            return len(list(pathlib.Path(f"/proc/{ferry.worker()}/fd").iterdir()))

        assert ferry.get("/exit.php").status == 200
        before = opened()
        in_threads(100, leave)
        assert ferry.get("/exit.php").status == 200
        end = time.monotonic() + 20
        while opened() > before + 2:  # one to the application is kept for a while
            assert time.monotonic() < end, opened()
            time.sleep(0.05)
