"""docs/quickstart.md, pasted block by block, in the order it tells."""

import re
import stat
import subprocess

import psutil
import pytest

from tests.portal import ROOT, clean_environment, free_port, wait_for

pytestmark = pytest.mark.journey

BLOCKS = re.findall(r"```bash\n(.*?)```", (ROOT / "docs/quickstart.md").read_text(), re.DOTALL)


@pytest.fixture
def paste(portal):
    """`(adapted, start)`: a block as it stands but for ports and VAR, and a shell that runs one."""
    receiver_port = free_port()
    processes = []

    def adapted(block):
        for written, here in (("8000", portal.port), ("9000", receiver_port), ("var/", f"{portal.var}/")):
            block = block.replace(written, str(here))
        return block

    def start(block, output, **pipes):
        with output.open("wb") as file:
            process = subprocess.Popen(
                ["bash", "-c", block], cwd=ROOT, env=clean_environment(VAR=str(portal.var)), stdout=file,
                stderr=subprocess.STDOUT, text=True, **pipes,
            )  # fmt: skip
        processes.append(process)
        return process

    yield adapted, start
    for process in processes:
        if process.poll() is None:
            for child in (*psutil.Process(process.pid).children(recursive=True), process):
                child.terminate()
        process.wait(10)


def test_every_block_of_the_quickstart_does_what_it_says(paste, portal, tmp_path):
    adapted, start = paste
    serve, tenant, receiver, subscription, confirm, source, send, remove = map(adapted, BLOCKS)
    assert "make serve" in serve  # the portal runs already

    heard, said = tmp_path / "receiver", tmp_path / "terminal"
    start(receiver, heard, stdin=subprocess.DEVNULL)
    wait_for(lambda: heard.exists() and "listening" in heard.read_text(), "the receiver listens")
    terminal = start("bash -s 2>&1", said, stdin=subprocess.PIPE)

    def type_in(text):
        terminal.stdin.write(text)
        terminal.stdin.flush()

    type_in(tenant + subscription)
    link = wait_for(lambda: re.search(r"to agree, open · (\S+)", heard.read_text()), "the link arrives")[1]
    type_in(confirm)
    type_in(link + "\n")
    wait_for(lambda: '"state": "idle"' in said.read_text(), f"it agrees: {said.read_text()}")
    type_in(source + send)
    wait_for(lambda: "202" in said.read_text(), "the event is accepted")
    wait_for(lambda: re.search(r"204 · login\.failed · \S+ · standard-webhooks", heard.read_text()), "it is verified")
    for name in ("acme.json", "subscription.json", "receiver.secret", "source.json", "send.sh"):
        assert stat.S_IMODE((portal.var / name).stat().st_mode) == 0o600, name
    type_in(remove)
    terminal.stdin.close()
    assert terminal.wait(10) == 0
