"""A platform of a script's own: `tradewind up --fresh` on private engines, in a folder of its own. For `demo` and `tour`."""
import json
import os
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
JARS = ROOT / ".tradewind" / "kafka-home"  # shared with `tradewind up` and `make test`
UP_SECONDS_MAX = 180  # the first time, Kafka's jars are fetched
STOP_SECONDS_MAX = 60


class Platform:
    """`home`: where its state and its log are kept."""

    def __init__(self, home: Path) -> None:
        self.state = home / "state"
        self.log = home / "up.log"
        self.state.mkdir(parents=True, exist_ok=True)
        JARS.mkdir(parents=True, exist_ok=True)
        if not (self.state / JARS.name).exists():
            (self.state / JARS.name).symlink_to(JARS)
        (self.state / "endpoints.json").unlink(missing_ok=True)
        log = self.log.open("w")
        words = [ROOT / "bin/tradewind", "up", "--fresh", "--state-dir", self.state, "--command-port", "0", "--query-port", "0"]
        self.up = subprocess.Popen(
            words, cwd=ROOT, env=self.environment(), stdout=log, stderr=log, start_new_session=True
        )

    def endpoints(self) -> dict:
        """Waits until it is up. Raises RuntimeError when it does not come up."""
        until = time.monotonic() + UP_SECONDS_MAX
        while not (self.state / "endpoints.json").exists():
            if self.up.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"the platform did not come up; {self.log} says:\n{self.log.read_text()[-3000:]}")
            time.sleep(0.05)
        return json.loads((self.state / "endpoints.json").read_text())

    def stop(self) -> int:
        """The exit status of `up`."""
        self.up.terminate()
        return self.up.wait(STOP_SECONDS_MAX)

    def environment(self) -> dict:
        """Without what would lead to other engines than its own."""
        others = ("DATABASE_URL", "KAFKA_BROKERS", "KAFKA_PROPERTIES", "TOPIC_PREFIX")
        kept = {name: value for name, value in os.environ.items() if not name.endswith(others)}
        return kept | {"TRADEWIND_STATE_DIR": str(self.state)}
